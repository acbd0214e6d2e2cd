use super::{Json, PATIENCE};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// The key of RFC 6455 section 1.3, whose answer stands there too: no hash needed to check it.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// First bytes of frames: FIN and opcode (RFC 6455 section 5.2).
pub mod opcode {
    pub const CONTINUATION: u8 = 0x0;
    pub const TEXT: u8 = 0x1;
    pub const BINARY: u8 = 0x2;
    pub const CLOSE: u8 = 0x8;
    pub const PING: u8 = 0x9;
    pub const PONG: u8 = 0xA;
    /// Bit of the last frame of a message.
    pub const FIN: u8 = 0x80;
}

/// A frame from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// FIN and opcode.
    pub head: u8,
    pub payload: Vec<u8>,
}

/// Builds a frame as a client must send it: masked, with the shortest length. `head` is FIN, RSV and opcode.
pub fn frame(head: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = vec![head];
    match payload.len() {
        length @ 0..=125 => bytes.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// A WebSocket connection that sends the bytes it is told and checks every frame it gets. Shares no code with the
/// server.
pub struct Client {
    stream: TcpStream,
    /// Bytes received and not yet taken as frames.
    received: Vec<u8>,
    /// Its id, from the greeting.
    pub id: String,
    /// What the server accepted of the extensions that were offered.
    pub extensions: Option<String>,
}

impl Client {
    /// Connects to `/ws` and reads the greeting.
    pub fn connect(addr: SocketAddr) -> Self {
        Self::connect_with(addr, "/ws", &[])
    }

    /// Connects with a path and further headers, and reads the greeting.
    pub fn connect_with(addr: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Self {
        let stream = TcpStream::connect(addr).expect("the server accepts");
        Self::on(stream, &addr.to_string(), path, headers)
    }

    /// Connects with a path, further headers and a receive buffer of this size, so that not reading is felt by the
    /// server soon.
    pub fn connect_with_buffer(addr: SocketAddr, bytes: usize, path: &str, headers: &[(&str, &str)]) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.expect("a socket");
        socket.set_recv_buffer_size(bytes).expect("a size that the system takes");
        socket.connect(&addr.into()).expect("the server accepts");
        Self::on(TcpStream::from(socket), &addr.to_string(), path, headers)
    }

    /// Connects to `/echo`, which does not greet.
    pub fn connect_echo(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).expect("the server accepts");
        Self::upgrade(stream, &addr.to_string(), "/echo", &[])
    }

    /// Connects with a path and further headers, and reads no greeting.
    pub fn ungreeted(addr: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Self {
        let stream = TcpStream::connect(addr).expect("the server accepts");
        Self::upgrade(stream, &addr.to_string(), path, headers)
    }

    /// Connects to `/ws` for a dialect that it asks for, and reads no greeting.
    pub fn speaking(addr: SocketAddr, dialect: &str) -> Self {
        Self::ungreeted(addr, "/ws", &[("Sec-WebSocket-Protocol", &format!("fanwire.{dialect}"))])
    }

    /// Shakes hands on a connected stream and reads the greeting.
    pub fn on(stream: TcpStream, host: &str, path: &str, headers: &[(&str, &str)]) -> Self {
        Self::upgrade(stream, host, path, headers).greeted()
    }

    /// Shakes hands on a connected stream and reads nothing beyond it.
    pub fn upgrade(mut stream: TcpStream, host: &str, path: &str, headers: &[(&str, &str)]) -> Self {
        stream.set_nodelay(true).expect("a TCP socket");
        stream.write_all(&Self::handshake(host, path, headers)).expect("the server reads");
        Self::answered(stream)
    }

    /// Reads the answer to a handshake and the greeting.
    pub fn upgraded(stream: TcpStream) -> Self {
        Self::answered(stream).greeted()
    }

    fn greeted(mut self) -> Self {
        let greeting = self.expect_text();
        let greeting: serde_json::Value = serde_json::from_str(&greeting).expect("the greeting is JSON");
        self.id = greeting["data"]["client_id"].as_str().expect("the greeting has an id").to_owned();
        self
    }

    /// Reads the answer to a handshake.
    fn answered(stream: TcpStream) -> Self {
        let mut client = Self { stream, received: Vec::new(), id: String::new(), extensions: None };
        let head = client.response_head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let accepted = head.lines().any(|line| {
            line.split_once(": ").is_some_and(|(name, value)| {
                name.eq_ignore_ascii_case("sec-websocket-accept") && value.trim() == ACCEPT
            })
        });
        assert!(accepted, "{head}");
        client.extensions = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("sec-websocket-extensions").then(|| value.trim().to_owned())
        });
        client
    }

    /// The bytes of an upgrade request.
    pub fn handshake(host: &str, path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
        let mut text = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n");
        text += &format!("Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n");
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        text += "\r\n";
        text.into_bytes()
    }

    fn response_head(&mut self) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(end) = self.received.windows(4).position(|w| w == b"\r\n\r\n") {
                let head: Vec<u8> = self.received.drain(..end + 4).collect();
                return String::from_utf8(head).expect("a head of ASCII");
            }
            assert!(Instant::now() < deadline, "no response within {PATIENCE:?}");
            assert!(self.receive(deadline), "closed: {:?}", String::from_utf8_lossy(&self.received));
        }
    }

    /// The stream itself.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends bytes as they are.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// Ends the sending side; what the server still says can be read.
    pub fn end_sending(&self) {
        self.stream.shutdown(std::net::Shutdown::Write).expect("it is connected");
    }

    /// Goes away with a reset instead of an end.
    pub fn reset(self) {
        let linger = Some(Duration::ZERO);
        socket2::SockRef::from(&self.stream).set_linger(linger).expect("a TCP socket");
    }

    /// The same where the server may have ended the connection; `false` if it has.
    pub fn try_send_bytes(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends one masked frame.
    pub fn send_frame(&mut self, head: u8, payload: &[u8]) {
        self.send_bytes(&frame(head, payload));
    }

    /// Sends a text message.
    pub fn send_text(&mut self, text: &str) {
        self.send_frame(opcode::FIN | opcode::TEXT, text.as_bytes());
    }

    /// Joins a room and reads the answer.
    pub fn subscribe(&mut self, room: &str) {
        self.send_text(&serde_json::json!({"type": "subscribe", "room": room}).to_string());
        let answer = self.expect_text();
        assert!(answer.starts_with("{\"type\":\"subscribed\","), "{answer}");
    }

    /// The next frame, or `None` when the server ended the connection.
    pub fn read_frame(&mut self) -> Option<Frame> {
        self.read_frame_within(PATIENCE).unwrap_or_else(|| panic!("no frame within {PATIENCE:?}"))
    }

    /// Outer `None`: nothing within `patience`. Inner `None`: the connection ended.
    fn read_frame_within(&mut self, patience: Duration) -> Option<Option<Frame>> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some((frame, length)) = parse(&self.received, self.extensions.is_some()) {
                self.received.drain(..length);
                return Some(Some(frame));
            }
            if Instant::now() >= deadline {
                return None;
            }
            if !self.receive(deadline) {
                assert!(self.received.is_empty(), "the connection ended inside a frame");
                return Some(None);
            }
        }
    }

    /// Reads once, at most until `deadline` (then nothing may have come); `false` when the connection ended.
    fn receive(&mut self, deadline: Instant) -> bool {
        let mut buffer = [0; 65536];
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.stream.set_read_timeout(Some(left)).expect("a timeout can be set");
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(length) => {
                self.received.extend_from_slice(&buffer[..length]);
                true
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => true,
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => false,
                _ => panic!("{error}"),
            },
        }
    }

    /// Exactly these bytes come next.
    pub fn expect_bytes(&mut self, expected: &[u8]) {
        let deadline = Instant::now() + PATIENCE;
        while self.received.len() < expected.len() {
            assert!(Instant::now() < deadline, "only {} bytes within {PATIENCE:?}", self.received.len());
            assert!(self.receive(deadline), "the connection ended after {:02x?}", self.received);
        }
        let got: Vec<u8> = self.received.drain(..expected.len()).collect();
        let show = |bytes: &[u8]| format!("{:02x?}", &bytes[..bytes.len().min(64)]);
        assert!(got == expected, "{}\nis not {}", show(&got), show(expected));
    }

    /// The next text message. Pings before it are answered.
    pub fn expect_text(&mut self) -> String {
        loop {
            let frame = self.read_frame().expect("the connection is open");
            match frame.head {
                0x81 => return String::from_utf8(frame.payload).expect("text is UTF-8"),
                0x89 => self.send_frame(opcode::FIN | opcode::PONG, &frame.payload),
                _ => panic!("not a text: {:#x} {:?}", frame.head, String::from_utf8_lossy(&frame.payload)),
            }
        }
    }

    /// The next text message as JSON, handed to `check`.
    pub fn expect_json<T>(&mut self, check: impl FnOnce(serde_json::Value) -> T) -> T {
        let text = self.expect_text();
        check(serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}")))
    }

    /// Checks the next text message against a template (see [`Json::differs`]).
    pub fn expect(&mut self, template: &str) {
        let text = self.expect_text();
        let difference = Json::parse(&text).differs(&Json::parse(template));
        assert!(difference.is_none(), "{}\n got {text}\n not {template}", difference.unwrap_or_default());
    }

    /// The next frame is a close of this code and the connection ends after it; the reason.
    pub fn expect_close(&mut self, code: u16) -> String {
        let frame = self.read_frame().expect("a close frame comes before the end");
        self.finish(&frame, code)
    }

    /// Reads and hands over text messages until a close of this code; the reason.
    pub fn read_until_close(&mut self, code: u16, mut each: impl FnMut(&str)) -> String {
        loop {
            let frame = self.read_frame().expect("a close frame comes before the end");
            match frame.head {
                0x81 => each(std::str::from_utf8(&frame.payload).expect("text is UTF-8")),
                0x89 => {}
                _ => return self.finish(&frame, code),
            }
        }
    }

    fn finish(&mut self, frame: &Frame, code: u16) -> String {
        assert_eq!(frame.head, 0x88, "not a close: {:?}", String::from_utf8_lossy(&frame.payload));
        let reason = String::from_utf8(frame.payload.get(2..).unwrap_or_default().to_vec()).expect("UTF-8");
        let got = frame.payload.get(..2).map(|c| u16::from_be_bytes([c[0], c[1]]));
        assert_eq!(got, Some(code), "{reason}");
        // Echoed, as section 5.5.1 asks; the server may be gone already.
        self.stream.write_all(&super::frame(opcode::FIN | opcode::CLOSE, &code.to_be_bytes())).ok();
        assert_eq!(self.read_frame(), None, "nothing comes after a close");
        reason
    }

    /// Nothing comes for `silence`.
    pub fn expect_nothing(&mut self, silence: Duration) {
        if let Some(frame) = self.read_frame_within(silence) {
            let text = frame.map(|f| String::from_utf8_lossy(&f.payload).into_owned());
            panic!("nothing was to come: {text:?}");
        }
    }
}

/// A whole frame at the start of `bytes` and its length; `None` when more is needed. What a server must not send
/// is a panic. RSV1 marks compressed messages where `compression` was negotiated.
fn parse(bytes: &[u8], compression: bool) -> Option<(Frame, usize)> {
    let (&head, &second) = (bytes.first()?, bytes.get(1)?);
    let compressed = compression && head & 0x7c == 0x40 && head & 0x03 != 0;
    assert!(head & 0x70 == 0 || compressed, "RSV bits without an extension: {head:#x}");
    assert_eq!(second & 0x80, 0, "a server must not mask");
    let (length, start) = match second {
        126 => {
            let length = u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?);
            assert!(length > 125, "a length longer than needed");
            (usize::from(length), 4)
        }
        127 => {
            let length = u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?);
            assert!(length > 0xffff, "a length longer than needed");
            (length as usize, 10)
        }
        length => (usize::from(length), 2),
    };
    assert!(head & 0x08 == 0 || (length <= 125 && head & 0x80 != 0), "a control frame is short and whole");
    let payload = bytes.get(start..start + length)?.to_vec();
    Some((Frame { head, payload }, start + length))
}

/// The status line's code of an upgrade asked for on `stream`, after the bytes `before`; or why there is none.
pub fn upgrade_status(mut stream: TcpStream, before: &[u8], headers: &[(&str, &str)]) -> String {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut head = [0; 12];
    let request = [before, &Client::handshake("localhost", "/ws", headers)].concat();
    match stream.write_all(&request).and_then(|()| stream.read_exact(&mut head)) {
        Ok(()) => String::from_utf8_lossy(&head[9..]).into_owned(),
        Err(error) => error.kind().to_string(),
    }
}
