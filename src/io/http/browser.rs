//! Whether a web page may connect: by its origin, and by the host name that it addresses.

use crate::auth;
use crate::base::{Mutation, mutated};
use crate::config::Config;
use hyper::StatusCode;
use hyper::header::{HeaderMap, ORIGIN};
use std::net::SocketAddr;

/// Checks the `Origin` of an upgrade, and the host that it addresses. `peer` is the connection's own other end.
///
/// # Errors
/// How the request is answered, and in which words.
pub(in crate::io) fn check(
    config: &Config,
    headers: &HeaderMap,
    host: Option<&str>,
    peer: Option<SocketAddr>,
) -> Result<(), (StatusCode, &'static str)> {
    let mut origins = headers.get_all(ORIGIN).iter();
    let Some(origin) = origins.next() else { return Ok(()) };
    if origins.next().is_some() {
        return Err((StatusCode::BAD_REQUEST, "the handshake must have one Origin header at most"));
    }
    // An Origin that is no text is no origin that was allowed.
    let origin = origin.to_str().unwrap_or("");
    if !auth::allowed(Some(origin), host, &config.allowed_origins) && !mutated(Mutation::AnyOrigin) {
        let text = "this Origin is not allowed: add it to allowed_origins (FANWIRE_ALLOWED_ORIGINS)";
        return Err((StatusCode::FORBIDDEN, text));
    }
    // Which origins may connect is said: a name that leads here by mistake or on purpose is of no use.
    if !config.allowed_origins.is_empty() {
        return Ok(());
    }
    let is_direct = || !headers.keys().any(|name| auth::is_forwarding_header(name.as_str()));
    let is_local = peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback()) && is_direct();
    if !auth::host_allowed(host, &config.allowed_hosts, is_local) {
        let text = "this Host is not allowed for web pages: add it to allowed_hosts (FANWIRE_ALLOWED_HOSTS), \
                    or the page's origin to allowed_origins (FANWIRE_ALLOWED_ORIGINS)";
        return Err((StatusCode::FORBIDDEN, text));
    }
    Ok(())
}
