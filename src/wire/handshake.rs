//! The server's side of the opening handshake (RFC 6455 section 4.2).
//!
//! Written here because what fastwebsockets 0.10 does for it would have to be done again: its `upgrade` looks at the
//! key and the version alone (not at the method, `Connection` or `Upgrade`), takes any key of any length, and its
//! future gives its own connection object instead of the stream. What is left of it is the hash of the key.

use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use hyper::{Method, StatusCode, Version};
use sha1::{Digest, Sha1};

/// An upgrade request that is as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    /// Value of `Sec-WebSocket-Accept`.
    pub accept_key: String,
    /// Subprotocols that the client offers, in its order; at most 16.
    pub protocols: Vec<String>,
}

/// Subprotocols looked at.
const PROTOCOLS_MAX: usize = 16;

/// What is wrong with an upgrade request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// Only GET upgrades.
    #[error("the handshake must be a GET request")]
    Method,
    /// HTTP/1.1 at least.
    #[error("the handshake must be HTTP/1.1")]
    HttpVersion,
    /// Exactly one Host.
    #[error("the handshake must have one Host header")]
    Host,
    /// `Upgrade: websocket`.
    #[error("this is a WebSocket endpoint: the Upgrade header must say websocket")]
    Upgrade,
    /// `Connection: Upgrade`.
    #[error("the Connection header must say Upgrade")]
    Connection,
    /// Its bytes could be taken for frames.
    #[error("the handshake must have no body")]
    Body,
    /// Exactly one key of 16 bytes in base64.
    #[error("the handshake must have one Sec-WebSocket-Key of 16 bytes in base64")]
    Key,
    /// Exactly one version, and it is 13.
    #[error("the handshake must have one Sec-WebSocket-Version, 13")]
    Version,
}

impl HandshakeError {
    /// The HTTP status that tells the client. 426 comes with `Sec-WebSocket-Version: 13` (RFC 6455 section 4.4).
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::HttpVersion => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::Upgrade | Self::Version => StatusCode::UPGRADE_REQUIRED,
            Self::Host | Self::Connection | Self::Body | Self::Key => StatusCode::BAD_REQUEST,
        }
    }
}

/// Whether a request asks for WebSocket, rightly or wrongly.
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    has_token(headers, &UPGRADE, "websocket")
}

/// Checks an upgrade request strictly.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(method: &Method, version: Version, headers: &HeaderMap) -> Result<Handshake, HandshakeError> {
    if method != Method::GET {
        return Err(HandshakeError::Method);
    }
    if version != Version::HTTP_11 {
        return Err(HandshakeError::HttpVersion);
    }
    one(headers, &HOST).ok_or(HandshakeError::Host)?;
    if !is_upgrade(headers) {
        return Err(HandshakeError::Upgrade);
    }
    if !has_token(headers, &CONNECTION, "upgrade") {
        return Err(HandshakeError::Connection);
    }
    let length = headers.get(CONTENT_LENGTH).map_or(&b"0"[..], |length| length.as_bytes());
    if headers.contains_key(TRANSFER_ENCODING) || length != b"0" {
        return Err(HandshakeError::Body);
    }
    if one(headers, &SEC_WEBSOCKET_VERSION) != Some("13") {
        return Err(HandshakeError::Version);
    }
    let key = one(headers, &SEC_WEBSOCKET_KEY).filter(|key| is_key(key)).ok_or(HandshakeError::Key)?;
    let protocols = tokens(headers, &SEC_WEBSOCKET_PROTOCOL).take(PROTOCOLS_MAX).map(str::to_owned).collect();
    Ok(Handshake { accept_key: accept_key(key), protocols })
}

/// The header's value if it stands there once.
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

fn tokens<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|found| found.eq_ignore_ascii_case(token))
}

/// 16 bytes in base64: 22 characters and two of padding. Four bits of the last character stand for nothing and should be
/// 0; they are not in the example of RFC 6455 section 4.1 (`AQIDBAUGBwgJCgsMDQ4PEC==`), and not with clients that make
/// the key of random characters.
fn is_key(key: &str) -> bool {
    let bytes = key.as_bytes();
    bytes.len() == 24
        && bytes.ends_with(b"==")
        && bytes[..22].iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

/// RFC 6455 section 4.2.2, step 5.4.
fn accept_key(key: &str) -> String {
    const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &[(&str, &str)] = &[
        ("host", "localhost"),
        ("upgrade", "WebSocket"),
        ("connection", "keep-alive, Upgrade"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
    ];

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn the_example_of_the_rfc() {
        let handshake = check(&Method::GET, Version::HTTP_11, &headers(GOOD)).unwrap();
        assert_eq!(handshake.accept_key, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_key_may_have_loose_bits() {
        let mut pairs: Vec<_> = GOOD.iter().copied().filter(|pair| pair.0 != "sec-websocket-key").collect();
        pairs.push(("sec-websocket-key", "AQIDBAUGBwgJCgsMDQ4PEC=="));
        let handshake = check(&Method::GET, Version::HTTP_11, &headers(&pairs)).unwrap();
        // The SHA-1 of the key as it came and the GUID, by Python.
        assert_eq!(handshake.accept_key, "OfS0wDaT5NoxF2gqm7Zj2YtetzM=");
    }

    #[test]
    fn each_header_must_be_there_and_right() {
        let wrong = [
            ("host", None, HandshakeError::Host),
            ("upgrade", Some("h2c"), HandshakeError::Upgrade),
            ("connection", Some("close"), HandshakeError::Connection),
            ("sec-websocket-key", Some("c2hvcnQ="), HandshakeError::Key),
            ("sec-websocket-key", Some("dGhlIHNhbXBsZSBub25jZ==="), HandshakeError::Key),
            ("sec-websocket-key", Some("dGhlIHNhbXBsZSBub25jZQ="), HandshakeError::Key),
            ("sec-websocket-key", Some("dGhlIHNhbXBsZSBub25jZQQ="), HandshakeError::Key),
            ("sec-websocket-key", Some("dGhlIHNhbXBsZSBub25jZ_=="), HandshakeError::Key),
            ("sec-websocket-version", Some("8"), HandshakeError::Version),
        ];
        for (name, value, error) in wrong {
            let mut pairs: Vec<_> = GOOD.iter().copied().filter(|pair| pair.0 != name).collect();
            assert_eq!(check(&Method::GET, Version::HTTP_11, &headers(&pairs)), Err(error), "{name} missing");
            if let Some(value) = value {
                pairs.push((name, value));
                assert_eq!(
                    check(&Method::GET, Version::HTTP_11, &headers(&pairs)),
                    Err(error),
                    "{name} wrong"
                );
            }
        }
        assert_eq!(check(&Method::POST, Version::HTTP_11, &headers(GOOD)), Err(HandshakeError::Method));
        assert_eq!(check(&Method::GET, Version::HTTP_10, &headers(GOOD)), Err(HandshakeError::HttpVersion));
    }

    #[test]
    fn a_body_is_refused() {
        for (name, value) in [("content-length", "7"), ("transfer-encoding", "chunked")] {
            let mut pairs = GOOD.to_vec();
            pairs.push((name, value));
            let error = check(&Method::GET, Version::HTTP_11, &headers(&pairs));
            assert_eq!(error, Err(HandshakeError::Body), "{name}");
        }
        let mut pairs = GOOD.to_vec();
        pairs.push(("content-length", "0"));
        assert!(check(&Method::GET, Version::HTTP_11, &headers(&pairs)).is_ok());
    }

    #[test]
    fn doubled_headers_are_refused() {
        for (name, error) in [
            ("host", HandshakeError::Host),
            ("sec-websocket-key", HandshakeError::Key),
            ("sec-websocket-version", HandshakeError::Version),
        ] {
            let mut pairs = GOOD.to_vec();
            pairs.push(*GOOD.iter().find(|pair| pair.0 == name).unwrap());
            assert_eq!(check(&Method::GET, Version::HTTP_11, &headers(&pairs)), Err(error));
        }
    }

    #[test]
    fn subprotocols_keep_their_order() {
        let mut pairs = GOOD.to_vec();
        pairs.extend([("sec-websocket-protocol", "b, a"), ("sec-websocket-protocol", "c")]);
        let handshake = check(&Method::GET, Version::HTTP_11, &headers(&pairs)).unwrap();
        assert_eq!(handshake.protocols, ["b", "a", "c"]);
    }
}
