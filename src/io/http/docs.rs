//! `/docs`: the guide, for people who reach the server with a browser.

use super::pages::takes_gzip;
use super::reply::{Reply, reply};
use crate::api::ApiError;
use crate::guide::page;
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};

/// What a page may load: its own style, its own script, and the index that this searches. No text of the guide is from
/// elsewhere; the policy holds also if that changes.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    // A new version of the server has another guide.
    (header::CACHE_CONTROL, "max-age=300"),
    (header::VARY, "Accept-Encoding"),
];

/// A page by its name, packed for those that take that.
///
/// # Errors
/// A 404 where there is no page of this name.
pub(super) fn docs(name: &str, asked: &HeaderMap) -> Result<Reply, ApiError> {
    let page = page(name).ok_or_else(|| ApiError::not_found("no such page"))?;
    let gzip = takes_gzip(asked);
    let body = if gzip { Bytes::from_static(page.packed) } else { page.unpacked() };
    let mut reply = reply(StatusCode::OK, page.content_type, body);
    let headers = reply.headers_mut();
    headers.extend(HEADERS.map(|(name, value)| (name, HeaderValue::from_static(value))));
    if gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(reply)
}
