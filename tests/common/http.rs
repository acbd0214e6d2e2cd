use super::{Json, PATIENCE, Server};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// An HTTP response, read to the end of the connection.
#[derive(Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Header names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body as it was sent.
    pub body: String,
}

impl Response {
    /// Reads one from all bytes of a connection.
    pub fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no response: {text:?}"));
        let mut lines = head.split("\r\n");
        let status_line = lines.next().unwrap_or_default();
        let status = status_line.split(' ').nth(1).and_then(|s| s.parse().ok());
        let header = |line: &str| {
            let (name, value) = line.split_once(':').expect("a header has a colon");
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        Self {
            status: status.unwrap_or_else(|| panic!("no status: {status_line:?}")),
            headers: lines.map(header).collect(),
            body: body.to_owned(),
        }
    }

    /// The first header of this name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    /// Whether the body is `template`, wildcards allowed (see [`Json::matches`]).
    ///
    /// # Panics
    /// When it is not.
    pub fn expect(&self, status: u16, template: &str) {
        assert_eq!(self.status, status, "{}", self.body);
        let difference = Json::parse(&self.body).differs(&Json::parse(template));
        assert!(difference.is_none(), "{}: {} is not {template}", difference.unwrap_or_default(), self.body);
    }
}

/// One request on a connection of its own. `Host` is the address, unless `headers` name one.
pub fn request(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Response {
    let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head += &format!("Host: {addr}\r\n");
    }
    if !body.is_empty() || method == "POST" {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += "\r\n";
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body);
    exchange(addr, &bytes)
}

/// Sends `bytes` on a new connection and reads one response.
pub fn exchange(addr: SocketAddr, bytes: &[u8]) -> Response {
    exchange_on(TcpStream::connect(addr).expect("the server accepts"), bytes)
}

/// The same on a connection that is there.
pub fn exchange_on(mut stream: TcpStream, bytes: &[u8]) -> Response {
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
    // A server may answer and close before it has read all: then writing fails and there is still an answer.
    if let Err(error) = stream.write_all(bytes) {
        assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
    }
    let mut answer = Vec::new();
    let mut buffer = [0; 16384];
    while !is_whole(&answer) {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset && !answer.is_empty() => break,
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&answer)),
        }
    }
    Response::parse(&answer)
}

/// A connection whose own address is 127.0.0.`last`.
pub fn stream_from(last: u8, to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let own = SocketAddr::from((std::net::Ipv4Addr::new(127, 0, 0, last), 0));
    socket.bind(&own.into()).expect("all of 127/8 is this machine");
    socket.connect(&to.into()).expect("the server accepts");
    TcpStream::from(socket)
}

/// Whether all bytes that `Content-Length` tells are there: a refusal may leave the connection open. Without the
/// header the end of the connection is the end of the response.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, _)) = text.split_once("\r\n\r\n") else { return false };
    let told =
        Response::parse(answer).header("content-length").and_then(|length| length.parse::<usize>().ok());
    told.is_some_and(|length| answer.len() >= head.len() + 4 + length)
}

/// A request's head to the server's own address, with further lines.
pub fn head(request_line: &str, lines: &str) -> String {
    format!("{request_line}\r\nHost: localhost\r\n{lines}\r\n")
}

/// A publish request with further header lines.
pub fn post(lines: &str, body: &str) -> String {
    head("POST /v1/publish HTTP/1.1", lines) + body
}

/// A body that is right, and the same in one chunk.
pub const BODY: &str = r#"{"room":"a","data":1}"#;
pub const CHUNKED: &str = "15\r\n{\"room\":\"a\",\"data\":1}\r\n0\r\n\r\n";
/// All that comes on one connection until the server ends it; nothing else may be left open.
pub fn to_the_end(server: &Server, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The server may have ended it already.
    stream.write_all(bytes).ok();
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    String::from_utf8(answer).unwrap()
}
