//! May this request upgrade, and as whom: the one place where that is decided, for requests that the shard's own loop
//! has parsed ([`crate::io::door`]) and for those that come through hyper ([`crate::io::http`]).
//!
//! The loop takes nothing but a yes that can be had at once. Whatever else comes of [`decide`], it hands the request
//! to hyper unchanged, where it is decided anew, counted and answered; so nothing may be counted or kept here unless
//! the answer is yes. A decision that has to be waited for belongs into the task that serves the request by hyper,
//! before it calls [`decide`], and must make the loop leave such requests to it.

use super::browser;
use super::endpoint::{self, Entrance};
use super::identity::{self, Brought};
use super::reply::{Reply, full_reply, text_reply, token_reply, too_many_reply};
use super::subprotocol::Offer;
use crate::api::{self, Access, ApiError, Route};
use crate::auth::token::{TokenError, of_tenant};
use crate::config::{Config, Endpoint, HookEvent};
use crate::hub::{Party, Refused};
use crate::io::shared::NodeShared;
use crate::io::turn::seat;
use crate::metrics::HandshakeFailure;
use crate::model::hook::Decider;
use crate::model::{Compression, Identity, Refusal};
use crate::shard::{Newcomer, TurnedAway};
use crate::wire;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode, Uri, Version};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// The head of a request.
pub(in crate::io) struct Asked<'r> {
    pub method: &'r Method,
    pub version: Version,
    pub target: &'r Uri,
    pub headers: &'r HeaderMap,
}

/// Somebody who asks to upgrade, and how they came.
pub(in crate::io) struct Applicant<'r> {
    pub asked: &'r Asked<'r>,
    /// The host that it addresses.
    pub host: Option<&'r str>,
    /// Where its connection comes from; `None` for a Unix socket.
    pub peer: Option<SocketAddr>,
    /// The address for which its connection counts as arrived ([`crate::hub::Admission::arrive`]).
    pub arrived: Option<IpAddr>,
    pub entrance: &'r Entrance<'r>,
}

/// Somebody who may upgrade, and is counted as admitted, and what the answer says to them.
pub(in crate::io) struct Admitted {
    pub newcomer: Newcomer,
    accept_key: String,
    protocol: Option<String>,
    extensions: Option<HeaderValue>,
}

/// Somebody against whom nothing speaks, as far as they are known.
pub(in crate::io) struct Candidate {
    /// Without what is due to it by its way in.
    pub newcomer: Newcomer,
    /// It has no token where one is needed, so that only the backend can say who it is.
    needs_name: bool,
    accept_key: String,
    protocol: Option<String>,
    extensions: Option<HeaderValue>,
}

/// Why a request may not upgrade.
pub(in crate::io) struct Refused101 {
    /// How it is counted.
    pub failure: HandshakeFailure,
    /// What is wrong with its token, if that is it.
    pub token: Option<TokenError>,
    /// How it is answered.
    pub reply: Reply,
}

/// Whether a connection of `peer` (`None`: a Unix socket) begins with a PROXY header.
pub(in crate::io) fn has_proxy_header(config: &Config, peer: Option<SocketAddr>) -> bool {
    config.proxy_protocol && peer.is_none_or(|peer| seat::is_trusted(config, peer))
}

/// What a request is for.
pub(in crate::io) enum For<'r> {
    /// An upgrade to WebSocket, by this way in.
    Entrance(Entrance<'r>),
    /// Anything else.
    Api { route: Route, needs_key: bool },
}

/// What a request is for, and the host that it addresses.
///
/// # Errors
/// How a request is answered that is for nothing, or whose head is wrong.
pub(in crate::io) fn route<'r>(
    config: &'r Config,
    asked: &Asked<'r>,
) -> Result<(For<'r>, Option<&'r str>), ApiError> {
    let host = check_head(asked)?;
    let Some(path) = below_prefix(config, asked.target.path()) else {
        return Err(ApiError::not_found("no such path"));
    };
    if let Some(entrance) = endpoint::find(&config.endpoints, path)? {
        if asked.method != Method::GET {
            return Err(ApiError::method_not_allowed("GET"));
        }
        return Ok((For::Entrance(entrance), host));
    }
    let is_offered = |access| match access {
        Access::Probe => true,
        Access::Open | Access::Key => !config.admin_only,
        Access::Upgrade => config.echo,
    };
    Ok((of_table(path, asked, is_offered)?, host))
}

/// What a request to the admin listener is for, which has no endpoints. No proxy is before it: the path can be with the
/// prefix or without it.
///
/// # Errors
/// As [`route`].
pub(super) fn route_admin<'r>(
    config: &Config,
    asked: &Asked<'r>,
) -> Result<(For<'r>, Option<&'r str>), ApiError> {
    let host = check_head(asked)?;
    let path = asked.target.path();
    let path = below_prefix(config, path).unwrap_or(path);
    Ok((of_table(path, asked, |access| access != Access::Upgrade)?, host))
}

/// Looks a path up in the table of routes. A path that this listener does not offer does not exist here, whatever the
/// method.
fn of_table<'r>(
    path: &str,
    asked: &Asked<'r>,
    is_offered: impl Fn(Access) -> bool,
) -> Result<For<'r>, ApiError> {
    let found = api::find(path).filter(|found| is_offered(found.access()));
    let found = found.ok_or_else(|| ApiError::not_found("no such path"))?;
    Ok(match found.route(asked.method.as_str(), asked.target.query())? {
        Route::Echo => For::Entrance(Entrance::Echo),
        route => For::Api { route, needs_key: found.access() == Access::Key },
    })
}

/// The host that a request addresses.
fn check_head<'r>(asked: &Asked<'r>) -> Result<Option<&'r str>, ApiError> {
    wire::check_request(asked.version, asked.target, asked.headers)
        .map_err(|error| ApiError::new(error.status().as_u16(), "bad_request", error.to_string()))
}

/// The path without the configured prefix, if it has that.
fn below_prefix<'p>(config: &Config, path: &'p str) -> Option<&'p str> {
    path.strip_prefix(config.path_prefix.as_str()).filter(|rest| rest.starts_with('/'))
}

/// Whether the backend or the embedding program has a say in who comes in here, so that a decision has to be waited for.
pub(in crate::io) fn asks_backend(node: &NodeShared, entrance: &Entrance<'_>) -> bool {
    // Who speaks to nobody needs nobody's leave.
    let asks = node.deciders.events().has(HookEvent::Connect);
    asks && entrance.endpoint().is_some_and(|endpoint| !endpoint.health)
}

/// Decides whether a request may upgrade, where nobody else has to be asked. Whoever may is counted as a connection
/// from here on: the caller opens it, or gives the admission back.
///
/// # Errors
/// The first reason against it.
pub(in crate::io) fn decide(
    node: &NodeShared,
    config: &Config,
    applicant: &Applicant<'_>,
) -> Result<Admitted, Box<Refused101>> {
    let candidate = check(node, config, applicant)?;
    admit(node, config, applicant, candidate)
}

fn refused<T>(failure: HandshakeFailure, reply: Reply) -> Result<T, Box<Refused101>> {
    Err(Box::new(Refused101 { failure, token: None, reply }))
}

/// Looks at what a request says. Nobody is counted as a connection by it.
///
/// # Errors
/// The first reason against it.
pub(in crate::io) fn check(
    node: &NodeShared,
    config: &Config,
    applicant: &Applicant<'_>,
) -> Result<Candidate, Box<Refused101>> {
    let Applicant { asked, host, peer, entrance, .. } = *applicant;
    let bad = |text| refused(HandshakeFailure::BadRequest, text_reply(StatusCode::BAD_REQUEST, text));
    let headers = asked.headers;
    let handshake = match wire::check_handshake(asked.method, asked.version, headers) {
        Ok(handshake) => handshake,
        Err(error) => {
            let mut reply = text_reply(error.status(), error.to_string());
            if error.status() != StatusCode::UPGRADE_REQUIRED {
                return refused(HandshakeFailure::BadRequest, reply);
            }
            reply.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            reply.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            return refused(HandshakeFailure::Version, reply);
        }
    };
    if let Err((status, text)) = browser::check(config, headers, host, peer) {
        let failure = if status == StatusCode::FORBIDDEN {
            HandshakeFailure::Origin
        } else {
            HandshakeFailure::BadRequest
        };
        return refused(failure, text_reply(status, text.to_owned()));
    }
    let subprotocol =
        |text| refused(HandshakeFailure::Subprotocol, text_reply(StatusCode::BAD_REQUEST, text));
    let offer = match Offer::of(handshake.protocols) {
        Ok(offer) => offer,
        // An echo speaks none.
        Err(_) if entrance.endpoint().is_none() => Offer { names: Vec::new(), tokens: Vec::new() },
        Err(text) => return subprotocol(text),
    };
    let peer = peer.map(|peer| {
        let ip = wire::client_ip(headers, peer.ip(), &config.trusted_proxies);
        if ip == peer.ip() { peer } else { SocketAddr::new(ip, 0) }
    });
    // Without keys a token means nothing here, but perhaps to the backend.
    let has_no_token = |error| error == TokenError::Missing || !node.tokens.is_configured();
    let (identity, turned_away, needs_name) = match who(node, config, asked, &offer.tokens, entrance) {
        Ok(identity) => (identity, None, false),
        Err(error) if has_no_token(error) && asks_backend(node, entrance) => (None, None, true),
        Err(error) => (None, turn_away(entrance, error)?, false),
    };
    let (dialect, protocol) = match entrance.dialect(&offer.names) {
        Ok(found) => found,
        Err(text) => return subprotocol(text),
    };
    let (compression, extensions) = match negotiate_deflate(headers, config) {
        Ok(agreed) => agreed,
        Err(error) => return bad(error.to_string()),
    };
    let batch = match endpoint::batch(asked.target.query()) {
        Ok(batch) => batch,
        Err(text) => return bad(text),
    };
    let agent = user_agent(headers).map(Box::from);
    let newcomer =
        Newcomer { peer, dialect, compression, identity, agent, turned_away, batch, ..Newcomer::default() };
    Ok(Candidate { newcomer, needs_name, accept_key: handshake.accept_key, protocol, extensions })
}

/// Looks once more at a candidate after the backend had its say: it may have said who that is, or not, or that it is
/// somebody else than the token said.
///
/// # Errors
/// It is nobody known, or has no role, where that is needed.
pub(super) fn check_named(
    node: &NodeShared,
    entrance: &Entrance<'_>,
    candidate: &mut Candidate,
) -> Result<(), Box<Refused101>> {
    let newcomer = &mut candidate.newcomer;
    let endpoint = entrance.endpoint();
    let role = endpoint.and_then(|endpoint| endpoint.role.as_deref());
    let of_tenants = endpoint.is_some_and(Endpoint::is_of_tenants) || node.tokens.policy().is_of_tenants();
    let identity = newcomer.identity.as_deref();
    let missing = identity.filter(|_| of_tenants).and_then(|identity| of_tenant(identity).err());
    let error = match (identity, missing, role) {
        _ if newcomer.turned_away.is_some() => return Ok(()),
        (None, ..) if candidate.needs_name => TokenError::Missing,
        (_, Some(missing), _) => missing,
        (Some(identity), _, Some(role)) if !identity.has_role(role) => TokenError::RoleMissing,
        _ => return Ok(()),
    };
    newcomer.turned_away = turn_away(entrance, error)?;
    newcomer.identity = None;
    Ok(())
}

/// How somebody is turned away: by a close, where the way in tells so.
///
/// # Errors
/// By an answer, everywhere else.
fn turn_away(entrance: &Entrance<'_>, error: TokenError) -> Result<Option<TurnedAway>, Box<Refused101>> {
    if entrance.tells_by_closing() {
        return Ok(Some(TurnedAway::Token(error)));
    }
    let failure = token_failure(error);
    Err(Box::new(Refused101 { failure, token: Some(error), reply: token_reply(error) }))
}

/// Counts a candidate as a connection, if there is room. The caller opens it, or gives the admission back.
///
/// # Errors
/// Why there is no room.
pub(super) fn admit(
    node: &NodeShared,
    config: &Config,
    &Applicant { entrance, arrived, .. }: &Applicant<'_>,
    candidate: Candidate,
) -> Result<Admitted, Box<Refused101>> {
    let Candidate { mut newcomer, accept_key, protocol, extensions, .. } = candidate;
    if node.hub.is_draining() {
        return refused(HandshakeFailure::Draining, full_reply("server is shutting down"));
    }
    let limits = &config.limits;
    let ip = newcomer.peer.map(|peer| peer.ip());
    let (node_max, ip_max) = (limits.connections_max, limits.connections_per_ip_max);
    let admission = &node.hub.admission;
    let admitted = match arrived {
        Some(ip) => admission.admit_arrived(ip, node_max, ip_max),
        None => admission.admit(ip, node_max, ip_max),
    };
    match admitted {
        Ok(()) => {}
        Err(Refused::Node) => {
            return refused(HandshakeFailure::Full, full_reply(Refusal::ServerFull.text()));
        }
        Err(Refused::Ip) => {
            return refused(HandshakeFailure::IpFull, full_reply("too many connections from this address"));
        }
    }
    if let Err(party) = hold(node, config, &mut newcomer) {
        if !entrance.tells_by_closing() {
            give_back(node, ip, arrived);
            return refused(party_failure(party), too_many_reply(party.too_many().text()));
        }
        (newcomer.identity, newcomer.turned_away) = (None, Some(TurnedAway::TooMany(party)));
    }
    let turned_away = newcomer.turned_away;
    let newcomer = Newcomer { turned_away, ..entrance.newcomer(config, newcomer) };
    let batch = if newcomer.echo || newcomer.health { Duration::ZERO } else { newcomer.batch };
    let newcomer = Newcomer { batch, ..newcomer };
    Ok(Admitted { newcomer, accept_key, protocol, extensions })
}

/// Gives a newcomer its place among the connections of its user and tenant, where these have limits.
fn hold(node: &NodeShared, config: &Config, newcomer: &mut Newcomer) -> Result<(), Party> {
    if let Some(identity) = &newcomer.identity
        && config.limits.has_accounts()
    {
        newcomer.holding = node.hub.accounts.enter(identity, &config.limits)?;
    }
    Ok(())
}

/// Gives an admission back. A connection that had arrived before counts as arrived again.
fn give_back(node: &NodeShared, ip: Option<IpAddr>, arrived: Option<IpAddr>) {
    match arrived {
        Some(_) => node.hub.admission.release_to_arrived(),
        None => node.hub.admission.release(ip),
    }
}

const fn party_failure(party: Party) -> HandshakeFailure {
    match party {
        Party::User => HandshakeFailure::UserFull,
        Party::Tenant => HandshakeFailure::TenantFull,
    }
}

/// How somebody is counted who is let in only to be told why not.
pub(super) fn turned_away_failure(why: TurnedAway) -> HandshakeFailure {
    match why {
        TurnedAway::Token(error) => token_failure(error),
        TurnedAway::TooMany(party) => party_failure(party),
    }
}

/// How a refused token is counted among the handshakes that failed.
fn token_failure(error: TokenError) -> HandshakeFailure {
    if error.is_forbidden() { HandshakeFailure::Forbidden } else { HandshakeFailure::Unauthorized }
}

/// Who wants to come in.
fn who(
    node: &NodeShared,
    config: &Config,
    asked: &Asked<'_>,
    offered: &[String],
    entrance: &Entrance<'_>,
) -> Result<Option<Arc<Identity>>, TokenError> {
    let Some(endpoint) = entrance.endpoint() else { return Ok(None) };
    let brought = Brought {
        query: asked.target.query().unwrap_or_default(),
        headers: asked.headers,
        offered,
        names: &config.tokens,
        backend_names: asks_backend(node, entrance),
    };
    let now_unix_s = node.clock.now().unix_ms / 1000;
    identity::who(&node.tokens, endpoint, &brought, now_unix_s)
}

impl Admitted {
    /// Gives its admission back; `arrived` as its applicant was.
    pub fn give_back(&self, node: &NodeShared, arrived: Option<IpAddr>) {
        give_back(node, self.newcomer.peer.map(|peer| peer.ip()), arrived);
    }

    /// The header fields of the 101 (RFC 6455 section 4.2.2).
    fn fields(&self) -> impl Iterator<Item = (HeaderName, &[u8])> {
        let always: [(HeaderName, &[u8]); 3] = [
            (header::CONNECTION, b"Upgrade"),
            (header::UPGRADE, b"websocket"),
            (header::SEC_WEBSOCKET_ACCEPT, self.accept_key.as_bytes()),
        ];
        let protocol = self.protocol.as_ref().map(|name| (header::SEC_WEBSOCKET_PROTOCOL, name.as_bytes()));
        let extensions =
            self.extensions.as_ref().map(|value| (header::SEC_WEBSOCKET_EXTENSIONS, value.as_bytes()));
        always.into_iter().chain(protocol).chain(extensions)
    }

    /// The 101 for hyper to write.
    pub fn reply(&self) -> Reply {
        let mut reply = Response::new(Full::default());
        *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        for (name, value) in self.fields() {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                reply.headers_mut().insert(name, value);
            }
        }
        reply
    }

    /// The same in bytes. It has no `Date`, which an interim answer may go without (RFC 9110 section 6.6.1).
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\n");
        for (name, value) in self.fields() {
            for part in [name.as_str().as_bytes(), b": ", value, b"\r\n"] {
                bytes.extend_from_slice(part);
            }
        }
        bytes.extend_from_slice(b"\r\n");
        bytes
    }
}

/// What the client calls itself.
fn user_agent(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::USER_AGENT).and_then(|name| name.to_str().ok())
}

/// What a client and the configuration agree on of permessage-deflate, and the header that says so.
fn negotiate_deflate(
    headers: &HeaderMap,
    config: &Config,
) -> Result<(Compression, Option<HeaderValue>), wire::MalformedExtensions> {
    let offer = wire::deflate_offer(headers)?;
    let broken = || wire::has_broken_deflate(user_agent(headers).unwrap_or_default());
    let accepted = offer.filter(|_| config.deflate.enabled && !broken()).and_then(|offer| {
        let compression = Compression::within(offer.window_bits_max());
        let response = HeaderValue::from_str(&offer.response(compression.window_bits())).ok()?;
        Some((compression, Some(response)))
    });
    Ok(accepted.unwrap_or((Compression::None, None)))
}
