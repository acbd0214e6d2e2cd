//! HTTP on a shard: health, metrics, the API, and the upgrade to WebSocket. hyper parses; [`crate::api`] decides
//! what a request is; this carries it out.

use super::cors::Cors;
use super::counted::{Counted, InputsFull};
use super::key_check::Origin;
use super::linger::linger;
use super::refused::About;
use super::reply::{Reply, client_file_reply, error_reply, full_reply, json, not_ready, reply};
use super::stalled::{Stalled, is_stall};
use super::stream::{Rewound, ShardStream};
use super::turns::HttpTurns;
use super::upgrade::{self, Applicant, Asked, For};
use crate::api::{self, ApiError, Route};
use crate::config::Config;
use crate::hub::METADATA_BYTES_MAX;
use crate::io::client::hook::connect;
use crate::io::shared::NodeShared;
use crate::io::turn::driver::Driver;
use crate::io::turn::seat::Seat;
use crate::metrics::{self, HandshakeFailure};
use crate::shard::{Newcomer, TurnedAway};
use crate::wire;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::Socket;
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use tokio::sync::watch;
use tokio::time::Instant;

/// hyper's own lower bound of its read buffer, in bytes.
const HYPER_BUFFER_MIN: usize = 8192;

/// Frames of a body that are discarded, or waited for, so that the connection can go on after an early answer.
const FRAMES_DISCARDED_MAX: usize = 4;

/// What the tasks that serve HTTP on one shard share.
#[derive(Clone)]
pub(in crate::io) struct Http {
    pub driver: Rc<RefCell<Driver>>,
    pub node: Arc<NodeShared>,
    pub shard: usize,
    /// By which door it comes.
    pub via: Via,
    /// The place of the connection that is served.
    pub seat: Option<Rc<Seat>>,
    /// Connections that are served by hyper.
    pub open: Rc<Cell<u32>>,
    pub turns: Rc<HttpTurns>,
    /// Becomes `true` when each connection has to end after the request that is under way.
    pub ending: Rc<watch::Sender<bool>>,
}

/// Counts a connection for as long as it is served here.
struct OpenGuard(Rc<Cell<u32>>);

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// By which door a request comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::io) enum Via {
    /// That of the clients.
    Public,
    /// That of the operators.
    Admin,
}

/// What a connection's requests have in common, and come to beside their answers.
struct Exchange {
    origin: Origin,
    /// The head of a request has come whole.
    asked: Cell<bool>,
    /// An answer went out before all of its request had come.
    unread: Cell<bool>,
    /// Who was admitted by the 101 that is being sent.
    newcomer: Cell<Option<Newcomer>>,
    /// There is one.
    is_admitted: Cell<bool>,
}

impl Http {
    pub(in crate::io) fn config(&self) -> Arc<Config> {
        self.driver.borrow().shard().config().clone()
    }

    pub(in crate::io) fn metrics(&self) -> &metrics::ShardMetrics {
        &self.node.metrics.shards[self.shard]
    }

    fn failed(&self, failure: HandshakeFailure, about: About<'_>) {
        self.node.note_failure(self.shard, failure, || about);
    }

    /// Serves a connection whose first bytes have come, until it ends or is upgraded. Its first request has to come
    /// whole before `deadline`.
    pub(in crate::io) async fn serve<S: ShardStream>(
        self,
        stream: S,
        read: Vec<u8>,
        mut peer: Option<SocketAddr>,
        deadline: Instant,
    ) {
        let config = self.config();
        self.open.set(self.open.get() + 1);
        let _guard = OpenGuard(self.open.clone());
        // tokio does not know yet that a new stream takes bytes, and hyper does not wait to tell that it has read what
        // is no request.
        match tokio::time::timeout_at(deadline, stream.has_room()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return self.failed(HandshakeFailure::Disconnected, About::of(peer)),
            Err(_) => return self.failed(HandshakeFailure::Timeout, About::of(peer)),
        }
        let far_end = stream.far_end();
        let mut stream = Rewound::new(stream, read);
        if self.via == Via::Public && upgrade::has_proxy_header(&config, peer) {
            let header = super::proxy::read_header(&mut stream);
            match tokio::time::timeout_at(deadline, header).await {
                Ok(Ok(source)) => {
                    peer = source.or(peer);
                    self.at_seat(|seat| seat.speaks_for(&config, peer));
                }
                Ok(Err(error)) => {
                    let about = About { peer, cause: Some(&error), ..About::default() };
                    return self.failed(HandshakeFailure::ProxyHeader, about);
                }
                Err(_) => return self.failed(HandshakeFailure::Timeout, About::of(peer)),
            }
        }
        let http = self.clone();
        let exchange = Rc::new(Exchange {
            origin: Origin::new(peer, far_end),
            asked: Cell::default(),
            unread: Cell::default(),
            newcomer: Cell::default(),
            is_admitted: Cell::default(),
        });
        let of_service = exchange.clone();
        let service = service_fn(move |request| {
            let (http, exchange) = (http.clone(), of_service.clone());
            exchange.asked.set(true);
            Box::pin(async move { Ok::<_, Infallible>(http.respond(request, &exchange).await) })
        });
        let mut connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            // A client that has sent all it has to say may still want its answer (RFC 9112 section 9.6).
            .half_close(true)
            .header_read_timeout(config.times.handshake_timeout)
            .max_buf_size(config.http.header_bytes_max.max(HYPER_BUFFER_MIN))
            .max_headers(config.http.headers_max as usize)
            .serve_connection(TokioIo::new(Stalled::new(stream, config.times.write_wait)), service);
        let mut ending = self.ending.subscribe();
        let (mut is_late, mut is_told) = (false, false);
        let served = loop {
            tokio::select! {
                biased;
                served = poll_fn(|context| connection.poll_without_shutdown(context)) => break served,
                () = tokio::time::sleep_until(deadline), if !is_late => {
                    is_late = true;
                    if !exchange.asked.get() {
                        return self.failed(HandshakeFailure::Timeout, About::of(peer));
                    }
                }
                _ = ending.wait_for(|ending| *ending), if !is_told => {
                    is_told = true;
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
        };
        // Taken over by the same task and at once, so that HTTP's buffers live no longer than the handshake.
        if let Some(newcomer) = exchange.newcomer.take() {
            let parts = connection.into_parts();
            let (stream, unread) = parts.io.into_inner().into_inner().into_parts();
            let socket = served.is_ok().then(|| stream.into_socket());
            let mut read = parts.read_buf.to_vec();
            read.extend(unread);
            return self.take_over(socket.and_then(Result::ok), newcomer, &mut read);
        }
        if let Err(error) = &served {
            if error.is_parse_too_large() {
                self.failed(HandshakeFailure::TooLarge, About::of(peer));
            } else if error.is_parse() {
                self.failed(HandshakeFailure::BadRequest, About::of(peer));
            } else if is_stall(error) {
                self.failed(HandshakeFailure::Unread, About::of(peer));
            } else if exchange.asked.get() {
                // Kept alive and used no more, or its request was answered and counted.
            } else if error.is_timeout() {
                self.failed(HandshakeFailure::Timeout, About::of(peer));
            } else if error.is_incomplete_message() {
                self.failed(HandshakeFailure::Disconnected, About::of(peer));
            }
            tracing::debug!(%error, peer = peer.map(tracing::field::display), "HTTP connection failed");
        }
        // Otherwise the connection is broken, or its time is over.
        let is_refused = served.as_ref().is_err_and(hyper::Error::is_parse);
        if served.is_ok() || is_refused {
            let parts = connection.into_parts();
            let must_wait = is_refused || exchange.unread.get() || !parts.read_buf.is_empty();
            linger(parts.io.into_inner(), must_wait).await;
        }
    }

    async fn respond(self, mut request: Request<Incoming>, exchange: &Exchange) -> Reply {
        self.turns.wait().await;
        let config = self.config();
        let has_body = !request.body().is_end_stream();
        let client = exchange.origin.peer.filter(|_| self.via == Via::Public);
        self.at_seat(|seat| seat.asks(&config, client, request.headers(), has_body));
        let is_upgrade = wire::is_upgrade(request.headers());
        let cors = Cors::of(request.method(), request.headers(), &config.allowed_origins);
        let answer = self.route(&mut request, &config, exchange);
        let answer = match tokio::time::timeout(config.http.request_timeout, answer).await {
            Ok(answer) => answer.or_else(|error| cors.preflight(error)),
            Err(_) => Err(ApiError::new(408, "timeout", "the request took too long")),
        };
        let mut reply = answer.unwrap_or_else(|error| {
            if is_upgrade {
                let failure = match error.status {
                    404 | 405 => HandshakeFailure::Path,
                    _ => HandshakeFailure::BadRequest,
                };
                let path = Some(request.uri().path());
                let about = About { peer: client, path, cause: Some(&error.text), ..About::default() };
                self.failed(failure, about);
            } else {
                self.metrics().http_errors.inc(metrics::http_error_index(error.status));
            }
            error_reply(&error)
        });
        if !is_upgrade {
            cors.mark(&mut reply);
        }
        if reply.status() != StatusCode::SWITCHING_PROTOCOLS && !is_whole(&mut request).await {
            exchange.unread.set(true);
            reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if !exchange.is_admitted.get() {
            self.at_seat(Seat::is_answered);
        }
        reply
    }

    fn at_seat(&self, act: impl FnOnce(&Seat)) {
        if let Some(seat) = &self.seat {
            act(seat);
        }
    }

    async fn route(
        &self,
        request: &mut Request<Incoming>,
        config: &Arc<Config>,
        exchange: &Exchange,
    ) -> Result<Reply, ApiError> {
        let asked = Asked {
            method: request.method(),
            version: request.version(),
            target: request.uri(),
            headers: request.headers(),
        };
        let (route, host) = match self.via {
            Via::Public => upgrade::route(config, &asked)?,
            Via::Admin => upgrade::route_admin(config, &asked)?,
        };
        let host = host.map(str::to_owned);
        let host = host.as_deref();
        let (route, needs_key) = match route {
            For::Entrance(entrance) => {
                let arrived = self.seat.as_ref().and_then(|seat| seat.counted());
                let peer = exchange.origin.peer;
                let applicant = Applicant { asked: &asked, host, peer, arrived, entrance: &entrance };
                return Ok(self.upgrade(&applicant, config, exchange).await);
            }
            For::Api { route, needs_key } => (route, needs_key),
        };
        if needs_key {
            self.check_key(request.headers(), host, &exchange.origin, config).await?;
        }
        match route {
            // A way in, which is found above.
            Route::Echo => Err(ApiError::not_found("no such path")),
            Route::Health => {
                let hub = &self.node.hub;
                let clients = u64::from(hub.admission.connections());
                Ok(json(&api::Health::new(clients, u64::from(hub.directory.len()))))
            }
            Route::Ready => Ok(self.ready(config).await),
            Route::Metrics => Ok(self.node.metrics_page(request.headers())),
            Route::OpenApi => {
                Ok(reply(StatusCode::OK, api::CONTENT_TYPE, self.node.openapi_page(&config.path_prefix)))
            }
            Route::Client(file) => Ok(client_file_reply(file, request.headers())),
            Route::Docs { page } => super::docs::docs(&page, request.headers()),
            Route::Publish | Route::PublishBatch | Route::Broadcast => {
                self.publish(request, route, config).await
            }
            Route::Rooms { prefix, cursor, limit } => {
                let rooms =
                    self.node.rooms(prefix.as_deref().unwrap_or(""), cursor.as_deref(), limit as usize);
                let full = rooms.len() == limit as usize;
                let cursor = rooms.last().filter(|_| full).map(|last| last.room.clone());
                Ok(json(&api::RoomList { rooms, cursor }))
            }
            Route::Room { name } => match self.node.room(name.as_str()) {
                Some(room) => Ok(json(&room)),
                None => Err(ApiError::not_found("no such room")),
            },
            Route::PutRoom { name } => {
                let body = self.body(request, config).await?;
                let metadata = api::parse_room(&body, config.limits.json_depth_max, METADATA_BYTES_MAX)?;
                let created = self.node.register(&name, metadata);
                let created = created.map_err(|full| ApiError::new(507, "full", full.to_string()))?;
                let mut reply = json(&api::RoomPut { created });
                if created {
                    *reply.status_mut() = StatusCode::CREATED;
                }
                Ok(reply)
            }
            Route::RemoveRoom { name } => match self.node.remove_room(&name).await {
                Ok(removed) => Ok(json(&removed)),
                Err(_) => Err(ApiError::unavailable("shutting down")),
            },
            Route::Members { name, cursor, limit } => {
                let members = self.node.members(&name, cursor, limit as usize).await;
                match members.map_err(|_| ApiError::unavailable("shutting down"))? {
                    Some(members) => Ok(json(&members)),
                    None => Err(ApiError::not_found("no such room")),
                }
            }
            Route::Messages { name, offset, limit } => {
                match self.node.messages(name.as_str(), offset, limit as usize) {
                    Some(page) => Ok(json(&page)),
                    None => Err(ApiError::not_found("no such room, or it has no history")),
                }
            }
            Route::RoomStats { name } => {
                let stats = self.node.room_stats(&name).await;
                match stats.map_err(|_| ApiError::unavailable("shutting down"))? {
                    Some(stats) => Ok(json(&stats)),
                    None => Err(ApiError::not_found("no such room")),
                }
            }
            Route::Stats => Ok(json(&self.node.stats())),
            route @ (Route::Connections { .. }
            | Route::DebugConnections { .. }
            | Route::Connection { .. }
            | Route::Disconnect { .. }
            | Route::Join { .. }
            | Route::Leave { .. }
            | Route::Users { .. }
            | Route::User { .. }
            | Route::DisconnectUser { .. }
            | Route::Cleanup { .. }
            | Route::ConnectionStats
            | Route::Status) => super::connections::answer(&self.node, route).await,
            Route::Slow { limit } => {
                let slow = self.node.slow(limit as usize).await;
                Ok(json(&api::SlowList { slow: slow.map_err(|_| ApiError::unavailable("shutting down"))? }))
            }
        }
    }

    pub(in crate::io) async fn body(
        &self,
        request: &mut Request<Incoming>,
        config: &Config,
    ) -> Result<Bytes, ApiError> {
        let is_coded = |coding: &HeaderValue| !coding.as_bytes().eq_ignore_ascii_case(b"identity");
        if request.headers().get_all(header::CONTENT_ENCODING).iter().any(is_coded) {
            return Err(ApiError::coded());
        }
        let bytes_max = config.http.body_bytes_max;
        // By the announced length alone, so that no `100 Continue` asks for what will be refused.
        if request.body().size_hint().lower() > bytes_max as u64 {
            return Err(ApiError::too_large(bytes_max));
        }
        let inputs = &self.node.hub.inputs;
        let body = Limited::new(request.body_mut(), bytes_max);
        match Counted::new(body, inputs, config.limits.inputs_bytes_max).collect().await {
            Ok(body) => {
                self.at_seat(Seat::has_asked);
                Ok(body.to_bytes())
            }
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                Err(ApiError::too_large(bytes_max))
            }
            Err(error) if error.is::<InputsFull>() => Err(ApiError::unavailable(InputsFull.to_string())),
            Err(error) => Err(ApiError::bad_request(format!("the body cannot be read: {error}"))),
        }
    }

    async fn ready(&self, config: &Config) -> Reply {
        if *self.node.stop.borrow() {
            return not_ready("draining");
        }
        if self.node.waits_for_keys(config) {
            return not_ready("the keys of tokens have not been fetched yet");
        }
        match tokio::time::timeout(config.times.ready_timeout, self.node.canary()).await {
            Ok(Ok(())) => json(&api::Ready::yes()),
            _ => not_ready("a canary did not come through every shard in time"),
        }
    }

    /// Admits a newcomer and answers with 101, or says why not.
    async fn upgrade(&self, applicant: &Applicant<'_>, config: &Config, exchange: &Exchange) -> Reply {
        let &Applicant { asked, entrance, peer, .. } = applicant;
        let about = || About {
            peer,
            path: Some(asked.target.path()),
            origin: asked.headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok()),
            cause: None,
        };
        if self.seat.as_ref().is_some_and(|seat| seat.is_scarce()) {
            self.failed(HandshakeFailure::Descriptors, about());
            let mut reply = full_reply("the server has no file descriptors for more connections");
            reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            return reply;
        }
        let mut checked = upgrade::check(&self.node, config, applicant);
        if let Ok(candidate) = &mut checked
            && upgrade::asks_backend(&self.node, entrance)
        {
            // Who is refused anyway is not asked about; and nothing is held while the backend thinks.
            let allowed = connect::ask(&self.node.deciders, &config.path_prefix, asked, candidate).await;
            if let Err(refusal) = allowed.and_then(|()| upgrade::check_named(&self.node, entrance, candidate))
            {
                checked = Err(refusal);
            }
        }
        let admitted = checked.and_then(|candidate| upgrade::admit(&self.node, config, applicant, candidate));
        match admitted {
            Ok(admitted) => {
                let reply = admitted.reply();
                if let Some(why) = admitted.newcomer.turned_away {
                    if let TurnedAway::Token(error) = why {
                        self.node.note_token_failure(self.shard, error, about());
                    }
                    self.failed(upgrade::turned_away_failure(why), about());
                }
                self.at_seat(Seat::is_admitted);
                exchange.is_admitted.set(true);
                exchange.newcomer.set(Some(admitted.newcomer));
                reply
            }
            Err(refusal) => {
                if let Some(error) = refusal.token {
                    self.node.note_token_failure(self.shard, error, about());
                }
                self.failed(refusal.failure, about());
                refusal.reply
            }
        }
    }

    /// Moves an admitted connection from HTTP to the shard, with what was `read` beyond the handshake.
    fn take_over(&self, socket: Option<Socket>, newcomer: Newcomer, read: &mut [u8]) {
        let ip = newcomer.peer.map(|peer| peer.ip());
        let adopted = socket.is_some_and(|socket| self.driver.borrow_mut().adopt(socket, newcomer, read));
        if !adopted {
            self.node.hub.admission.release(ip);
            self.failed(HandshakeFailure::Disconnected, About::default());
        }
    }
}

/// Whether a request's body has come whole. What is there of it already is discarded; no more is asked for.
async fn is_whole(request: &mut Request<Incoming>) -> bool {
    if request.body().is_end_stream() {
        return true;
    }
    // To read on would send the client a `100 Continue`.
    if request.headers().contains_key(header::EXPECT) {
        return false;
    }
    let body = request.body_mut();
    // hyper hands a frame over when it is polled after it has been asked for one.
    for _ in 0..FRAMES_DISCARDED_MAX {
        let frame = poll_fn(|context| match Pin::new(&mut *body).poll_frame(context) {
            Poll::Ready(frame) => Poll::Ready(Some(frame)),
            Poll::Pending => Poll::Ready(None),
        });
        match frame.await {
            Some(None) => return true,
            Some(Some(Err(_))) => return false,
            Some(Some(Ok(_))) => {}
            None => tokio::task::yield_now().await,
        }
    }
    false
}
