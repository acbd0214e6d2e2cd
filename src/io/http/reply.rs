//! The answers of the HTTP side.

use crate::api::{self, ApiError, ClientFile};
use crate::auth::token::TokenError;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};

/// A whole answer.
pub(in crate::io) type Reply = Response<Full<Bytes>>;

/// Seconds after which a refused client may try again.
const RETRY_AFTER_S: &str = "5";

/// What a connection over `http_connections_max` is told, whatever it asks: to read that would cost what the bound
/// saves.
pub(in crate::io) const HTTP_FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// What a connection is told for which only the last file descriptors are left, likewise.
pub(in crate::io) const NO_DESCRIPTORS: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\ncontent-type: text/plain\r\n\
      content-length: 57\r\n\r\nthe server has no file descriptors for more connections\r\n";

/// What a connection is told whose address has all its places, or `connections_per_ip_max` connections, likewise.
pub(in crate::io) const ADDRESS_FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\ncontent-type: text/plain\r\n\
      content-length: 40\r\n\r\ntoo many connections from this address\r\n";

pub(in crate::io) fn json<T: serde::Serialize>(body: &T) -> Reply {
    reply(StatusCode::OK, api::CONTENT_TYPE, api::to_json(body).into())
}

pub(super) fn not_ready(reason: &str) -> Reply {
    reply(StatusCode::SERVICE_UNAVAILABLE, api::CONTENT_TYPE, api::to_json(&api::Ready::no(reason)).into())
}

pub(in crate::io) fn text_reply(status: StatusCode, text: String) -> Reply {
    reply(status, "text/plain; charset=utf-8", (text + "\n").into())
}

pub(in crate::io) fn full_reply(text: &str) -> Reply {
    let mut reply = text_reply(StatusCode::SERVICE_UNAVAILABLE, text.to_owned());
    reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
    reply
}

/// Whose user or tenant has too many connections (RFC 6585 section 4).
pub(super) fn too_many_reply(text: &str) -> Reply {
    let mut reply = text_reply(StatusCode::TOO_MANY_REQUESTS, text.to_owned());
    reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
    reply
}

pub(super) fn error_reply(error: &ApiError) -> Reply {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut reply = reply(status, api::CONTENT_TYPE, error.to_json().into());
    let headers = reply.headers_mut();
    if let Some(allow) = error.allow {
        headers.insert(header::ALLOW, HeaderValue::from_static(allow));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    if matches!(status, StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT) {
        // The rest of the body is not read, so the connection cannot go on.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    reply
}

/// Why a client may not come in, without telling more than it may know.
pub(super) fn token_reply(error: TokenError) -> Reply {
    let status = if error.is_forbidden() { StatusCode::FORBIDDEN } else { StatusCode::UNAUTHORIZED };
    let mut reply = text_reply(status, error.told().to_owned());
    if status == StatusCode::UNAUTHORIZED {
        // RFC 6750 section 3: without a token no error is named.
        let challenge = match error {
            TokenError::Missing => "Bearer",
            _ => "Bearer error=\"invalid_token\"",
        };
        reply.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    reply
}

/// How long a client may be used without a question whether there is a newer one.
const CLIENT_CACHED: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// A file of the client, or 304 to a cache that has it already.
pub(super) fn client_file_reply(file: ClientFile, asked: &HeaderMap) -> Reply {
    let tag = file.entity_tag();
    // RFC 9110 section 13.1.2: a list, or `*`; weak tags count as well.
    let lines = asked.get_all(header::IF_NONE_MATCH).into_iter().filter_map(|line| line.to_str().ok());
    let mut tags = lines.flat_map(|line| line.split(',')).map(str::trim);
    let is_known = tags.any(|known| known == "*" || known.trim_start_matches("W/") == tag);
    let (status, body) = match is_known {
        true => (StatusCode::NOT_MODIFIED, Bytes::new()),
        false => (StatusCode::OK, Bytes::from_static(file.text().as_bytes())),
    };
    let mut reply = reply(status, file.content_type(), body);
    let headers = reply.headers_mut();
    headers.insert(header::CACHE_CONTROL, CLIENT_CACHED);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::ETAG, HeaderValue::from_static(tag));
    reply
}

pub(in crate::io) fn reply(status: StatusCode, content_type: &'static str, body: Bytes) -> Reply {
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}
