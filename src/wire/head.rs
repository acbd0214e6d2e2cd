//! The head of the one request that is common: an upgrade that is whole in the first bytes of its connection.

use super::handshake::is_upgrade;
use bytes::Bytes;
use httparse::Status;
use hyper::Uri;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use std::mem::MaybeUninit;

/// Longest head parsed here, in bytes: what hyper reads of any request, however small its buffer is configured.
pub const PLAIN_HEAD_BYTES_MAX: usize = 8192;

/// Most header fields parsed here.
const FIELDS_MAX: usize = 64;

/// A request `GET target HTTP/1.1` for WebSocket, as hyper would have it.
#[derive(Debug)]
pub struct PlainHead {
    /// Its target, which is a path with or without a query.
    pub target: Uri,
    /// Its header fields, in their order.
    pub headers: HeaderMap,
    /// Bytes of it; what follows is for the connection that it asks for.
    pub len: usize,
}

/// Parses the request at the start of `bytes`, with the parser that hyper has below it. Whatever is not whole, not
/// plain or not right gives `None` and is for hyper to deal with: other methods, versions and forms of the target,
/// bodies (RFC 9112 section 6), `Expect`, `Connection: close`, more than `fields_max` header fields, and all errors.
pub fn parse_plain(bytes: &[u8], fields_max: usize) -> Option<PlainHead> {
    let bytes = &bytes[..bytes.len().min(PLAIN_HEAD_BYTES_MAX)];
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let fields = &mut fields[..fields_max.min(FIELDS_MAX)];
    let mut request = httparse::Request::new(&mut []);
    let Ok(Status::Complete(len)) = request.parse_with_uninit_headers(bytes, fields) else { return None };
    let target = request.path.filter(|target| target.starts_with('/'))?;
    if request.method != Some("GET") || request.version != Some(1) {
        return None;
    }
    // One copy that all values share.
    let head = Bytes::copy_from_slice(&bytes[..len]);
    let part = |part: &[u8]| {
        let start = part.as_ptr().addr() - bytes.as_ptr().addr();
        head.slice(start..start + part.len())
    };
    let target = Uri::from_maybe_shared(part(target.as_bytes())).ok()?;
    let mut headers = HeaderMap::with_capacity(request.headers.len());
    for field in request.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        // An empty value points anywhere.
        let value = if field.value.is_empty() { Bytes::new() } else { part(field.value) };
        headers.append(name, HeaderValue::from_maybe_shared(value).ok()?);
    }
    let is_plain = is_upgrade(&headers)
        && ![CONTENT_LENGTH, TRANSFER_ENCODING, EXPECT].iter().any(|name| headers.contains_key(name))
        && !headers.get_all(CONNECTION).iter().any(|value| may_close(value.as_bytes()));
    is_plain.then_some(PlainHead { target, headers, len })
}

/// Whether a value of `Connection` may be taken to say `close`.
fn may_close(value: &[u8]) -> bool {
    value.windows(5).any(|word| word.eq_ignore_ascii_case(b"close"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "Host: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nX: \r\n";

    fn request(line: &str, more: &str) -> Vec<u8> {
        format!("{line}\r\n{LINES}{more}\r\n").into_bytes()
    }

    #[test]
    fn a_plain_request_is_parsed_and_what_follows_is_not() {
        let mut bytes = request("GET /ws?a=b HTTP/1.1", "X: y\r\n");
        let len = bytes.len();
        bytes.extend(b"\x81\x80abcd");
        let head = parse_plain(&bytes, 64).unwrap();
        assert_eq!((head.target.path(), head.target.query(), head.len), ("/ws", Some("a=b"), len));
        assert_eq!(head.headers.len(), 5);
        assert!(head.headers.get_all("x").iter().eq(["", "y"].iter()));
        for cut in 0..len {
            assert!(parse_plain(&bytes[..cut], 64).is_none(), "{cut}");
        }
    }

    #[test]
    fn all_else_is_left_alone() {
        let get = "GET /ws HTTP/1.1";
        let long = format!("X: {}\r\n", "x".repeat(PLAIN_HEAD_BYTES_MAX));
        for (line, more) in [
            ("POST /ws HTTP/1.1", ""),
            ("get /ws HTTP/1.1", ""),
            ("GET /ws HTTP/1.0", ""),
            ("GET http://a/ws HTTP/1.1", ""),
            ("GET * HTTP/1.1", ""),
            ("GET /w s HTTP/1.1", ""),
            (get, "Content-Length: 0\r\n"),
            (get, "Transfer-Encoding: chunked\r\n"),
            (get, "Expect: 100-continue\r\n"),
            (get, "Connection: Close\r\n"),
            (get, "no colon\r\n"),
            (get, " folded\r\n"),
            (get, &"X: y\r\n".repeat(61)),
            (get, &long),
        ] {
            assert!(parse_plain(&request(line, more), 64).is_none(), "{line} {more:.60}");
        }
        assert!(parse_plain(b"GET /ws HTTP/1.1\r\nHost: a\r\n\r\n", 64).is_none(), "no upgrade");
        assert!(parse_plain(&request(get, &"X: y\r\n".repeat(60)), 64).is_some());
        assert!(parse_plain(&request(get, ""), 3).is_none());
    }
}
