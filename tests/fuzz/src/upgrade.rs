//! The opening handshake, the origin and the client's address, all read from a request's header fields.
//!
//! The input is a request's head as HTTP/1.1 writes it, without the checks of an HTTP parser: `METHOD VERSION`, then
//! a field a line. The same bytes, and the fields behind a good first line, are also a connection's first bytes. It
//! holds that
//! - hyper takes whatever the plain parser takes, for the same request, and leaves the same bytes after it, so that a
//!   connection is decided alike whoever parses it;
//! - a handshake is accepted exactly where a plain reading of RFC 6455 section 4.2.1 accepts it, and refused for what
//!   that finds first;
//! - tungstenite accepts what is accepted here and computes the same `Sec-WebSocket-Accept`;
//! - an origin that is taken for the server's own has, by the `url` crate, its host;
//! - the client's address is the peer's, unless a trusted peer tells another, which then stands in the request.
//!
//! Tungstenite looks at the first `Connection` and the first `Upgrade` alone and compares the latter whole, so its
//! word is taken where each stands once and the latter names nothing else.

use fanwire::auth;
use fanwire::wire::{self, HandshakeError};
use hyper::body::{Body, Incoming};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use tungstenite::handshake::{derive_accept_key, server::create_response};

/// Checks all that is said above.
pub fn check(data: &[u8]) {
    check_plain(data);
    let fields = data.iter().position(|byte| *byte == b'\n').map_or(&[][..], |end| &data[end + 1..]);
    let lines: Vec<_> =
        fields.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect();
    check_plain(
        &[b"GET /ws?a=b HTTP/1.1", &b"\r\n"[..], &lines.join(&b"\r\n"[..]), b"\r\n\r\n\x81\x80"].concat(),
    );
    let mut lines = data.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let first = lines.next().unwrap_or_default();
    let (method, version) = first_line(first);
    let mut headers = HeaderMap::new();
    for line in lines.take(100) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    check_handshake(method, version, &headers);
    check_origin(&headers);
    check_client(&headers);
}

fn first_line(line: &[u8]) -> (Method, Version) {
    let (method, version) = match line.iter().position(|byte| *byte == b' ') {
        Some(blank) => (&line[..blank], &line[blank + 1..]),
        None => (line, &[][..]),
    };
    let version = match version {
        b"HTTP/0.9" => Version::HTTP_09,
        b"HTTP/1.0" => Version::HTTP_10,
        b"HTTP/2.0" => Version::HTTP_2,
        b"HTTP/3.0" => Version::HTTP_3,
        _ => Version::HTTP_11,
    };
    (Method::from_bytes(method).unwrap_or(Method::GET), version)
}

fn check_handshake(method: Method, version: Version, headers: &HeaderMap) {
    let ours = wire::check_handshake(&method, version, headers);
    assert_eq!(ours.as_ref().err().copied(), fault(&method, version, headers), "{headers:?}");
    assert_eq!(wire::is_upgrade(headers), list(headers, "upgrade").contains(&"websocket".to_owned()));

    let once = |name| headers.get_all(name).iter().count() == 1;
    let whole =
        headers.get("upgrade").is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.version_mut() = version;
    *request.headers_mut() = headers.clone();
    let theirs = create_response(&request);
    let Ok(ours) = ours else { return };
    let key = headers["sec-websocket-key"].as_bytes();
    assert_eq!(ours.accept_key, derive_accept_key(key));
    assert!(ours.protocols.len() <= 16);
    let offered = headers.get_all("sec-websocket-protocol").iter().filter_map(|value| value.to_str().ok());
    let offered = offered.flat_map(|value| value.split(',')).map(str::trim).filter(|name| !name.is_empty());
    assert!(offered.take(16).eq(ours.protocols.iter().map(String::as_str)), "{:?}", ours.protocols);
    // A blank before the comma, `Upgrade ,x`, is fine for both; a tab is not for tungstenite.
    // Nor are bits of the key that stand for nothing, which this server does not look at.
    let is_exact = matches!(key.get(21), Some(b'A' | b'Q' | b'g' | b'w'));
    if once("connection") && whole && is_exact && !headers["connection"].as_bytes().contains(&b'\t') {
        let theirs =
            theirs.unwrap_or_else(|error| panic!("accepted here, tungstenite: {error}: {headers:?}"));
        assert_eq!(theirs.headers()["sec-websocket-accept"], *ours.accept_key);
    }
}

/// The first thing that is wrong with a handshake, read from the RFC without regard for speed.
fn fault(method: &Method, version: Version, headers: &HeaderMap) -> Option<HandshakeError> {
    let one = |name: &str| {
        let values: Vec<_> = headers.get_all(name).iter().collect();
        if let [value] = values[..] { String::from_utf8(value.as_bytes().to_vec()).ok() } else { None }
    };
    // A value with other than visible characters is no value that the RFC's grammar has.
    let one =
        |name: &str| one(name).filter(|value| value.chars().all(|c| c == '\t' || (' '..='~').contains(&c)));
    if method.as_str() != "GET" {
        Some(HandshakeError::Method)
    } else if version != Version::HTTP_11 {
        Some(HandshakeError::HttpVersion)
    } else if one("host").is_none() {
        Some(HandshakeError::Host)
    } else if !list(headers, "upgrade").contains(&"websocket".to_owned()) {
        Some(HandshakeError::Upgrade)
    } else if !list(headers, "connection").contains(&"upgrade".to_owned()) {
        Some(HandshakeError::Connection)
    } else if headers.contains_key("transfer-encoding")
        || headers.get("content-length").is_some_and(|length| length != "0")
    {
        Some(HandshakeError::Body)
    } else if one("sec-websocket-version").is_none_or(|value| value != "13") {
        Some(HandshakeError::Version)
    } else if one("sec-websocket-key").is_none_or(|key| !is_key(&key)) {
        Some(HandshakeError::Key)
    } else {
        None
    }
}

/// The elements of a list (RFC 9110 section 5.6.1) in all lines of a field, in lower case.
fn list(headers: &HeaderMap, name: &str) -> Vec<String> {
    let lines = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let readable =
        lines.filter(|line| line.iter().all(|byte| *byte == b'\t' || (b' '..=b'~').contains(byte)));
    let elements = readable.flat_map(|line| line.split(|byte| *byte == b','));
    elements.map(|element| String::from_utf8_lossy(element.trim_ascii()).to_lowercase()).collect()
}

/// Whether `key` is base64 of 16 bytes, whatever its loose bits.
fn is_key(key: &str) -> bool {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    key.strip_suffix("==").is_some_and(|digits| {
        digits.chars().count() == 22 && digits.chars().all(|digit| ALPHABET.contains(digit))
    })
}

fn check_origin(headers: &HeaderMap) {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let (origin, host) = (text("origin"), text("host"));
    assert!(auth::allowed(origin, host, &["*".to_owned()]));
    assert!(auth::allowed(None, host, &[]));
    let Some(origin) = origin else { return };
    check_pattern(origin);
    if auth::allowed(Some(origin), host, &[]) {
        let host = host.expect("an origin can only equal a host that is there");
        let [theirs, own] = [url::Url::parse(origin), url::Url::parse(&format!("http://{host}/"))];
        if let (Ok(theirs), Ok(own)) = (theirs, own) {
            assert_eq!(theirs.host(), own.host(), "{origin} at {host}");
            assert!(matches!(theirs.scheme(), "http" | "https"), "{origin}");
            assert!(theirs.username().is_empty() && own.username().is_empty(), "{origin} at {host}");
        }
    }
    // Listed alone, an origin lets in nobody of another scheme, host or port.
    let listed = ["https://a.example".to_owned()];
    if auth::allowed(Some(origin), host, &listed) {
        let parsed = url::Url::parse(origin).expect("equal to a URL");
        assert_eq!(parsed.origin().ascii_serialization(), listed[0], "{origin}");
    }
}

/// Hosts of one pattern are below its name, and nothing else is.
fn check_pattern(origin: &str) {
    let pattern = ["https://*.a.example".to_owned()];
    let Ok(parsed) = url::Url::parse(origin) else { return };
    let is_below = parsed.host_str().is_some_and(|host| {
        let labels = host.strip_suffix(".a.example");
        labels.is_some_and(|labels| labels.split('.').all(|label| !label.is_empty()))
    });
    if auth::allowed(Some(origin), None, &pattern) {
        assert!(is_below && parsed.scheme() == "https" && parsed.port().is_none(), "{origin}");
        assert!(parsed.username().is_empty(), "{origin}");
    }
}

fn check_client(headers: &HeaderMap) {
    let peer = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    let networks: [&[&str]; 3] = [&[], &["10.0.0.0/8", "::1/128"], &["0.0.0.0/0", "::/0"]];
    for trusted in networks {
        let trusted: Vec<_> = trusted.iter().map(|text| text.parse().expect("a network")).collect();
        let client = wire::client_ip(headers, peer, &trusted);
        assert_eq!(client, client.to_canonical());
        if client != peer {
            assert!(!trusted.is_empty(), "nobody is trusted");
            assert!(addresses(headers).contains(&client), "{client} stands nowhere: {headers:?}");
        }
    }
}

/// Every address that can be read anywhere in the two fields that may name one.
fn addresses(headers: &HeaderMap) -> Vec<IpAddr> {
    let lines = ["x-forwarded-for", "forwarded"].into_iter().flat_map(|name| headers.get_all(name));
    let mut found = Vec::new();
    for line in lines {
        let line = String::from_utf8_lossy(line.as_bytes()).into_owned();
        for word in line.split([',', ';', '=', '"', ' ', '\t']) {
            let bare = word.trim_start_matches('[');
            let ends = bare.char_indices().map(|(at, _)| at).chain([bare.len()]);
            found.extend(
                ends.filter_map(|end| bare[..end].parse::<IpAddr>().ok()).map(|ip| ip.to_canonical()),
            );
        }
    }
    found
}

/// A request as hyper parsed it.
struct Seen {
    method: Method,
    version: Version,
    target: Uri,
    headers: HeaderMap,
    has_body: bool,
}

/// Holds the plain parser against hyper.
fn check_plain(bytes: &[u8]) {
    const FIELDS_MAX: usize = 64;
    let Some(plain) = wire::parse_plain(bytes, FIELDS_MAX) else { return };
    let seen = Arc::new(Mutex::new(None));
    let of_service = seen.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let has_body = !request.body().is_end_stream();
        let (parts, _) = request.into_parts();
        let (method, version, target, headers) = (parts.method, parts.version, parts.uri, parts.headers);
        *of_service.lock().expect("one thread") = Some(Seen { method, version, target, headers, has_body });
        let mut reply = Response::new(String::new());
        *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        reply.headers_mut().insert("connection", HeaderValue::from_static("Upgrade"));
        reply.headers_mut().insert("upgrade", HeaderValue::from_static("websocket"));
        std::future::ready(Ok::<_, Infallible>(reply))
    });
    let mut connection = hyper::server::conn::http1::Builder::new()
        .max_buf_size(wire::PLAIN_HEAD_BYTES_MAX)
        .max_headers(FIELDS_MAX)
        .serve_connection(Whole { bytes: bytes.to_vec(), given: 0, written: Vec::new() }, service);
    let mut context = Context::from_waker(Waker::noop());
    let served =
        pin!(std::future::poll_fn(|context| connection.poll_without_shutdown(context))).poll(&mut context);
    assert!(matches!(served, Poll::Ready(Ok(()))), "{served:?}: {:?}", String::from_utf8_lossy(bytes));
    let seen = seen.lock().expect("one thread").take().expect("hyper asks the service");
    assert_eq!((seen.method, seen.version, seen.has_body), (Method::GET, Version::HTTP_11, false));
    assert_eq!((seen.target, seen.headers), (plain.target, plain.headers));
    let parts = connection.into_parts();
    let left = [&parts.read_buf[..], &parts.io.bytes[parts.io.given..]].concat();
    assert_eq!(left, bytes[plain.len..]);
    assert!(parts.io.written.starts_with(b"HTTP/1.1 101 "));
}

/// A connection on which all has come already, and nothing more does.
struct Whole {
    bytes: Vec<u8>,
    given: usize,
    written: Vec<u8>,
}

impl hyper::rt::Read for Whole {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        mut buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        let len = buffer.remaining().min(self.bytes.len() - self.given);
        if len == 0 {
            return Poll::Pending;
        }
        buffer.put_slice(&self.bytes[self.given..self.given + len]);
        self.given += len;
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Whole {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.written.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
