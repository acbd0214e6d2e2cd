//! HTTP on a shard: health, metrics, the API, and the upgrade to WebSocket. hyper parses; [`crate::api`] decides
//! what a request is; this carries it out.

use super::driver::Driver;
use super::endpoint::{self, Entrance};
use super::reply::{HTTP_FULL, Reply, error_reply, full_reply, json, not_ready, reply, text_reply};
use super::shared::NodeShared;
use super::stalled::{Stalled, is_stall};
use super::stream::ShardStream;
use crate::api::{self, ApiError, Route};
use crate::auth;
use crate::config::Config;
use crate::hub::Refused;
use crate::metrics::{self, HandshakeFailure};
use crate::model::{Compression, Refusal};
use crate::shard::Newcomer;
use crate::wire;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::Socket;
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

/// hyper's own lower bound of its read buffer, in bytes.
const HYPER_BUFFER_MIN: usize = 8192;

/// What the tasks that serve HTTP on one shard share.
#[derive(Clone)]
pub(super) struct Http {
    pub driver: Rc<RefCell<Driver>>,
    pub node: Arc<NodeShared>,
    pub shard: usize,
    /// Connections that are not upgraded (yet).
    pub open: Rc<Cell<u32>>,
}

/// Counts an HTTP connection for as long as it is served here.
struct OpenGuard(Rc<Cell<u32>>);

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// What a connection's requests have come to, beside their answers.
#[derive(Default)]
struct Exchange {
    /// A request has come whole.
    asked: Cell<bool>,
    /// Who was admitted by the 101 that is being sent.
    newcomer: Cell<Option<Newcomer>>,
}

impl Http {
    pub(super) fn config(&self) -> Arc<Config> {
        self.driver.borrow().shard().config().clone()
    }

    fn metrics(&self) -> &metrics::ShardMetrics {
        &self.node.metrics.shards[self.shard]
    }

    fn failed(&self, failure: HandshakeFailure) {
        self.metrics().handshake_failures.inc(failure.index());
    }

    /// Serves one connection until it ends or is upgraded.
    pub(super) async fn serve<S: ShardStream>(self, mut stream: S, peer: Option<SocketAddr>) {
        let config = self.config();
        if self.open.get() >= config.http.connections_max {
            self.failed(HandshakeFailure::HttpFull);
            // So little fits the buffer of any new socket; a peer that has gone needs no answer.
            let _ = stream.write_all(HTTP_FULL).await;
            return;
        }
        self.open.set(self.open.get() + 1);
        let _guard = OpenGuard(self.open.clone());
        // The buffers of HTTP are some 20 KB, which a connection that says nothing shall not cost: they are made
        // when there is something to read, so few exist at once in a storm of connections too.
        let deadline = Instant::now() + config.times.handshake_timeout;
        match tokio::time::timeout_at(deadline, stream.has_input()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return self.failed(HandshakeFailure::Disconnected),
            Err(_) => return self.failed(HandshakeFailure::Timeout),
        }
        Box::pin(self.serve_input(stream, peer, config, deadline)).await;
    }

    /// Serves a connection whose first bytes are there; its first request has to come whole before `deadline`.
    async fn serve_input<S: ShardStream>(
        self,
        mut stream: S,
        mut peer: Option<SocketAddr>,
        config: Arc<Config>,
        deadline: Instant,
    ) {
        let trusted = peer.is_none_or(|peer| is_trusted(&config, peer.ip()));
        if config.proxy_protocol && trusted {
            let header = super::proxy::read_header(&mut stream);
            match tokio::time::timeout_at(deadline, header).await {
                Ok(Ok(source)) => peer = source.or(peer),
                Ok(Err(error)) => {
                    tracing::debug!(%error, "bad PROXY header");
                    return self.failed(HandshakeFailure::ProxyHeader);
                }
                Err(_) => return self.failed(HandshakeFailure::Timeout),
            }
        }
        let http = self.clone();
        let exchange = Rc::new(Exchange::default());
        let of_service = exchange.clone();
        let service = service_fn(move |request| {
            let (http, exchange) = (http.clone(), of_service.clone());
            exchange.asked.set(true);
            Box::pin(async move { Ok::<_, Infallible>(http.respond(request, peer, &exchange).await) })
        });
        let mut connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(config.times.handshake_timeout)
            .max_buf_size(config.http.header_bytes_max.max(HYPER_BUFFER_MIN))
            .max_headers(config.http.headers_max as usize)
            .serve_connection(TokioIo::new(Stalled::new(stream, config.times.write_wait)), service);
        let mut serving = poll_fn(|context| connection.poll_without_shutdown(context));
        let served = tokio::select! {
            biased;
            served = &mut serving => served,
            () = tokio::time::sleep_until(deadline) => {
                if !exchange.asked.get() {
                    return self.failed(HandshakeFailure::Timeout);
                }
                serving.await
            }
        };
        // Taken over by the same task and at once, so that HTTP's buffers live no longer than the handshake.
        if let Some(newcomer) = exchange.newcomer.take() {
            let parts = connection.into_parts();
            let socket = served.is_ok().then(|| parts.io.into_inner().into_inner().into_socket());
            return self.take_over(socket.and_then(Result::ok), newcomer, &parts.read_buf);
        }
        if let Err(error) = served {
            if error.is_parse_too_large() {
                self.failed(HandshakeFailure::TooLarge);
            } else if error.is_parse() {
                self.failed(HandshakeFailure::BadRequest);
            } else if is_stall(&error) {
                self.failed(HandshakeFailure::Unread);
            } else if exchange.asked.get() {
                // Kept alive and used no more, or its request was answered and counted.
            } else if error.is_timeout() {
                self.failed(HandshakeFailure::Timeout);
            } else if error.is_incomplete_message() {
                self.failed(HandshakeFailure::Disconnected);
            }
            tracing::debug!(%error, peer = peer.map(tracing::field::display), "HTTP connection failed");
        }
    }

    async fn respond(
        self,
        request: Request<Incoming>,
        peer: Option<SocketAddr>,
        exchange: &Exchange,
    ) -> Reply {
        let config = self.config();
        let is_upgrade = wire::is_upgrade(request.headers());
        let answer = self.route(request, peer, &config, exchange);
        let error = match tokio::time::timeout(config.http.request_timeout, answer).await {
            Ok(Ok(reply)) => return reply,
            Ok(Err(error)) => error,
            Err(_) => ApiError::new(408, "timeout", "the request took too long"),
        };
        if is_upgrade {
            self.failed(match error.status {
                404 | 405 => HandshakeFailure::Path,
                _ => HandshakeFailure::BadRequest,
            });
        } else {
            self.metrics().http_errors.inc(metrics::http_error_index(error.status));
        }
        error_reply(&error)
    }

    async fn route(
        &self,
        request: Request<Incoming>,
        peer: Option<SocketAddr>,
        config: &Arc<Config>,
        exchange: &Exchange,
    ) -> Result<Reply, ApiError> {
        let host = wire::check_request(request.version(), request.uri(), request.headers())
            .map_err(|error| ApiError::new(error.status().as_u16(), "bad_request", error.to_string()))?
            .map(str::to_owned);
        let host = host.as_deref();
        let path = request.uri().path();
        let path = match path.strip_prefix(config.path_prefix.as_str()) {
            Some(rest) if rest.starts_with('/') => rest,
            _ => return Err(ApiError::not_found("no such path")),
        };
        if let Some(entrance) = endpoint::find(&config.endpoints, path)? {
            if request.method() != hyper::Method::GET {
                return Err(ApiError::method_not_allowed("GET"));
            }
            return Ok(self.upgrade(&request, host, peer, config, exchange, &entrance));
        }
        let route = match api::route(request.method().as_str(), path, request.uri().query())? {
            Route::Echo if !config.echo => return Err(ApiError::not_found("no such path")),
            route => route,
        };
        if route.needs_key() {
            self.check_key(request.headers(), host, peer, config)?;
        }
        match route {
            Route::Echo => Ok(self.upgrade(&request, host, peer, config, exchange, &Entrance::Echo)),
            Route::Health => {
                let hub = &self.node.hub;
                let clients = u64::from(hub.admission.connections());
                Ok(json(&api::Health::new(clients, u64::from(hub.directory.len()))))
            }
            Route::Ready => Ok(self.ready(config).await),
            Route::Metrics => Ok(self.metrics_page()),
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
            Route::Stats => Ok(json(&self.node.stats())),
            Route::Slow { limit } => {
                let slow = self.node.slow(limit as usize).await;
                Ok(json(&api::SlowList { slow: slow.map_err(|_| ApiError::unavailable("shutting down"))? }))
            }
        }
    }

    fn check_key(
        &self,
        headers: &HeaderMap,
        host: Option<&str>,
        peer: Option<SocketAddr>,
        config: &Config,
    ) -> Result<(), ApiError> {
        const FORWARDED: [&str; 4] = ["x-forwarded-for", "forwarded", "x-real-ip", "via"];
        let facts = auth::PeerFacts {
            ip: peer.map(|peer| peer.ip()),
            host,
            forwarded: FORWARDED.iter().any(|name| headers.contains_key(*name)),
        };
        auth::authorize(&config.api_keys, text(headers, &header::AUTHORIZATION), facts)
            .map_err(|denied| ApiError::unauthorized(denied.to_string()))
    }

    pub(super) async fn body(&self, request: Request<Incoming>, config: &Config) -> Result<Bytes, ApiError> {
        let bytes_max = config.http.body_bytes_max;
        // By the announced length alone, so that no `100 Continue` asks for what will be refused.
        if request.body().size_hint().lower() > bytes_max as u64 {
            return Err(ApiError::too_large(bytes_max));
        }
        match Limited::new(request.into_body(), bytes_max).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                Err(ApiError::too_large(bytes_max))
            }
            Err(error) => Err(ApiError::bad_request(format!("the body cannot be read: {error}"))),
        }
    }

    async fn ready(&self, config: &Config) -> Reply {
        if self.node.hub.is_draining() {
            return not_ready("draining");
        }
        match tokio::time::timeout(config.times.ready_timeout, self.node.canary()).await {
            Ok(Ok(())) => json(&api::Ready::yes()),
            _ => not_ready("a canary did not come through every shard in time"),
        }
    }

    fn metrics_page(&self) -> Reply {
        let mut page = String::new();
        self.node.encode_metrics(&mut page);
        reply(StatusCode::OK, metrics::CONTENT_TYPE, page.into())
    }

    /// Admits a newcomer and answers with 101, or says why not.
    fn upgrade(
        &self,
        request: &Request<Incoming>,
        host: Option<&str>,
        peer: Option<SocketAddr>,
        config: &Config,
        exchange: &Exchange,
        entrance: &Entrance<'_>,
    ) -> Reply {
        let headers = request.headers();
        let handshake = match wire::check_handshake(request.method(), request.version(), headers) {
            Ok(handshake) => handshake,
            Err(error) => {
                let version = error.status() == StatusCode::UPGRADE_REQUIRED;
                self.failed(if version { HandshakeFailure::Version } else { HandshakeFailure::BadRequest });
                let mut reply = text_reply(error.status(), error.to_string());
                if error.status() == StatusCode::UPGRADE_REQUIRED {
                    reply.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
                    reply.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                }
                return reply;
            }
        };
        let origin = text(headers, &header::ORIGIN);
        // An Origin that is no text is no origin that was allowed.
        let origin = if headers.contains_key(header::ORIGIN) { Some(origin.unwrap_or("")) } else { None };
        if !auth::allowed(origin, host, &config.allowed_origins) {
            self.failed(HandshakeFailure::Origin);
            return text_reply(
                StatusCode::FORBIDDEN,
                "this Origin is not allowed: add it to allowed_origins (FANWIRE_ALLOWED_ORIGINS)".to_owned(),
            );
        }
        let peer = peer.map(|peer| {
            let ip = wire::client_ip(headers, peer.ip(), &config.trusted_proxies);
            if ip == peer.ip() { peer } else { SocketAddr::new(ip, 0) }
        });
        let (dialect, chosen) = match entrance.dialect(&handshake.protocols) {
            Ok(found) => found,
            Err(text) => {
                self.failed(HandshakeFailure::Subprotocol);
                return text_reply(StatusCode::BAD_REQUEST, text);
            }
        };
        let (compression, extensions) = match negotiate_deflate(headers, config) {
            Ok(agreed) => agreed,
            Err(error) => {
                self.failed(HandshakeFailure::BadRequest);
                return text_reply(StatusCode::BAD_REQUEST, error.to_string());
            }
        };
        let hub = &self.node.hub;
        if hub.is_draining() {
            self.failed(HandshakeFailure::Draining);
            return full_reply("server is shutting down");
        }
        let limits = &config.limits;
        let ip = peer.map(|peer| peer.ip());
        if let Err(refused) = hub.admission.admit(ip, limits.connections_max, limits.connections_per_ip_max) {
            let label = match refused {
                Refused::Node => HandshakeFailure::Full,
                Refused::Ip => HandshakeFailure::IpFull,
            };
            self.failed(label);
            return full_reply(match refused {
                Refused::Node => Refusal::ServerFull.text(),
                Refused::Ip => "too many connections from this address",
            });
        }
        let mut reply = Response::new(Full::default());
        *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = reply.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        if let Ok(accept) = HeaderValue::from_str(&handshake.accept_key) {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
        if let Some(chosen) = chosen.and_then(|name| HeaderValue::from_str(&name).ok()) {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, chosen);
        }
        if let Some(extensions) = extensions {
            headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, extensions);
        }
        let agent = text(request.headers(), &header::USER_AGENT).map(Box::from);
        exchange.newcomer.set(Some(entrance.newcomer(config, peer, dialect, compression, agent)));
        reply
    }

    /// Moves an admitted connection from HTTP to the shard, with what was `read` beyond the handshake.
    fn take_over(&self, socket: Option<Socket>, newcomer: Newcomer, read: &[u8]) {
        let ip = newcomer.peer.map(|peer| peer.ip());
        let adopted =
            socket.is_some_and(|socket| self.driver.borrow_mut().adopt(socket, newcomer, &mut read.to_vec()));
        if !adopted {
            self.node.hub.admission.release(ip);
            self.failed(HandshakeFailure::Disconnected);
        }
    }
}

/// What a client and the configuration agree on of permessage-deflate, and the header that says so.
fn negotiate_deflate(
    headers: &HeaderMap,
    config: &Config,
) -> Result<(Compression, Option<HeaderValue>), wire::MalformedExtensions> {
    let offer = wire::deflate_offer(headers)?;
    let broken = || wire::has_broken_deflate(text(headers, &header::USER_AGENT).unwrap_or_default());
    let accepted = offer.filter(|_| config.deflate.enabled && !broken()).and_then(|offer| {
        let compression = Compression::within(offer.window_bits_max());
        let response = HeaderValue::from_str(&offer.response(compression.window_bits())).ok()?;
        Some((compression, Some(response)))
    });
    Ok(accepted.unwrap_or((Compression::None, None)))
}

fn is_trusted(config: &Config, ip: IpAddr) -> bool {
    config.trusted_proxies.iter().any(|network| network.contains(&ip.to_canonical()))
}

fn text<'h>(headers: &'h HeaderMap, name: &header::HeaderName) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
