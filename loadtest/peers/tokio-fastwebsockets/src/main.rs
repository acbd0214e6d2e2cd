//! A room broadcaster on tokio, hyper and fastwebsockets: a broadcast channel for each room and a
//! task for each connection. A member that is found to be too far behind, when it can be written to
//! again, is cut off.
//!
//! Takes its port from `PORT`; tokio makes as many threads as the process may use cores.

mod connection;
mod rooms;

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use fastwebsockets::upgrade::{is_upgrade_request, upgrade};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::rooms::Rooms;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::var("PORT")?.parse()?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening");
    let rooms = Arc::new(Rooms::default());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let rooms = Arc::clone(&rooms);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let response = answer(request, Arc::clone(&rooms));
                async { Ok::<_, Infallible>(response) }
            });
            // An error ends this connection only.
            let _ =
                http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
        });
    }
}

fn answer(mut request: Request<Incoming>, rooms: Arc<Rooms>) -> Response<Empty<Bytes>> {
    let mut refusal = Response::new(Empty::new());
    *refusal.status_mut() = StatusCode::BAD_REQUEST;
    if !is_upgrade_request(&request) {
        return refusal;
    }
    let Ok((response, upgraded)) = upgrade(&mut request) else {
        return refusal;
    };
    tokio::spawn(async move {
        if let Ok(socket) = upgraded.await {
            connection::serve(socket, &rooms).await;
        }
    });
    response
}
