//! The opening handshake, both sides (RFC 6455, section 4).

use crate::accept::accept_key;

/// The key every client sends: the sample of RFC 6455, section 1.3. A fixed key saves a hash per
/// connection, for the right answer is a constant too; servers have no reason to mind.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// More header fields than any server sends in a 101.
const FIELDS_MAX: usize = 64;

/// A response head longer than this, in bytes, is no upgrade.
pub const HEAD_BYTES_MAX: usize = 16 << 10;

/// The client's request.
pub fn request(host: &str, path: &str, extra_fields: &[String]) -> Vec<u8> {
    let mut text = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n"
    );
    for field in extra_fields {
        text.push_str(field);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// What the server's answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The head is not whole yet.
    NeedMore,
    /// Upgraded; the frames begin after this many bytes.
    Open(usize),
    /// Another status than 101.
    Status(u16),
    /// Not HTTP, too long, or a wrong `Sec-WebSocket-Accept`.
    Invalid,
}

/// Reads the server's answer.
pub fn read_answer(bytes: &[u8]) -> Answer {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    match response.parse(bytes) {
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => Answer::NeedMore,
        Ok(httparse::Status::Complete(length)) => match response.code {
            Some(101) if field(response.headers, "sec-websocket-accept") == Some(ACCEPT.as_bytes()) => {
                Answer::Open(length)
            }
            Some(101) | None => Answer::Invalid,
            Some(code) => Answer::Status(code),
        },
        _ => Answer::Invalid,
    }
}

/// What a request asks of the bare server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The head is not whole yet.
    NeedMore,
    /// Send `response`; the frames begin after `length` bytes.
    Upgrade {
        /// Bytes of the request's head.
        length: usize,
        /// The whole 101.
        response: Vec<u8>,
    },
    /// Not an upgrade.
    Invalid,
}

/// Reads a client's request: only as strict as the bare server's yardstick needs.
pub fn read_request(bytes: &[u8]) -> Asked {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(bytes) {
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => Asked::NeedMore,
        Ok(httparse::Status::Complete(length)) => match field(request.headers, "sec-websocket-key") {
            Some(key) => Asked::Upgrade {
                length,
                response: format!(
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Accept: {}\r\n\r\n",
                    accept_key(key)
                )
                .into_bytes(),
            },
            None => Asked::Invalid,
        },
        _ => Asked::Invalid,
    }
}

fn field<'a>(fields: &[httparse::Header<'a>], name: &str) -> Option<&'a [u8]> {
    fields.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_sides_agree_at_every_split() {
        let asked = request("localhost:1", "/ws", &["Origin: http://a".into()]);
        for end in 0..asked.len() {
            assert_eq!(read_request(&asked[..end]), Asked::NeedMore);
        }
        let Asked::Upgrade { length, response } = read_request(&asked) else { panic!("no upgrade") };
        assert_eq!(length, asked.len());
        for end in 0..response.len() {
            assert_eq!(read_answer(&response[..end]), Answer::NeedMore);
        }
        assert_eq!(read_answer(&response), Answer::Open(response.len()));
    }

    #[test]
    fn refusals_are_told_apart() {
        assert_eq!(read_answer(b"HTTP/1.1 503 Busy\r\n\r\n"), Answer::Status(503));
        let wrong = b"HTTP/1.1 101 X\r\nSec-WebSocket-Accept: nonsense\r\n\r\n";
        assert_eq!(read_answer(wrong), Answer::Invalid);
        assert_eq!(read_answer(b"\0\0\0\0\0\0"), Answer::Invalid);
        assert_eq!(read_request(b"GET / HTTP/1.1\r\n\r\n"), Asked::Invalid);
    }
}
