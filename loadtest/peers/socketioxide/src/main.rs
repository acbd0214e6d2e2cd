//! A room broadcaster on socketioxide, the Socket.IO server for Rust, under axum: the same events as
//! `socketio.mjs`, the WebSocket transport only, the in-memory adapter.
//!
//! Takes its port from `PORT`; tokio makes as many threads as the process may use cores. The library
//! starts a task for each event it receives, so that two messages of one publisher may change places.

use std::error::Error;

use serde_json::{Value, json};
use socketioxide::extract::{Data, SocketRef};
use socketioxide::{SocketIo, TransportType};
use tokio::net::TcpListener;

/// Packets that a member may be behind. The library drops further ones, and its default of 128 is soon
/// reached at thousands of messages per second.
const MEMBER_PACKETS: usize = 1024;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (layer, io) = SocketIo::builder()
        .transports([TransportType::Websocket])
        .max_buffer_size(MEMBER_PACKETS)
        .build_layer();
    io.ns("/", on_connect);

    let port = std::env::var("PORT")?.parse()?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening");
    axum::serve(listener, axum::Router::new().layer(layer)).await?;
    Ok(())
}

async fn on_connect(socket: SocketRef) {
    socket.on("join", async |socket: SocketRef, Data::<String>(room)| {
        socket.join(room.clone());
        // An error says that the member is gone or far behind; there is nothing to be done about it,
        // here and below.
        let _ = socket.emit("joined", &room);
    });
    socket.on("leave", async |socket: SocketRef, Data::<String>(room)| {
        socket.leave(room.clone());
        let _ = socket.emit("left", &room);
    });
    socket.on("publish", async |io: SocketIo, Data::<(String, Value)>((room, data))| {
        let message = json!({ "room": room, "data": data });
        let _ = io.to(room).emit("message", &message).await;
    });
}
