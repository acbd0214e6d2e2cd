//! The PROXY protocol's header, versions 1 and 2 (haproxy's `proxy-protocol.txt`).

use proxy_header::{Error, ParseConfig, ProxyHeader};
use std::net::SocketAddr;

/// What the start of a connection says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyParsed {
    /// The header is not there whole.
    NeedMore,
    /// The header, and the client that it names; `None` for the proxy's own checks and for unknown families.
    Done {
        /// Bytes of the header.
        len: usize,
        /// The client.
        source: Option<SocketAddr>,
    },
}

/// The bytes are no PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a PROXY header")]
pub struct ProxyError;

/// First bytes of a header of version 1 (section 2.1).
const V1_START: &[u8] = b"PROXY ";

/// A header of version 1 that names nobody; a blank and anything may follow up to the line's end.
const V1_UNKNOWN: &[u8] = b"PROXY UNKNOWN";

/// Longest header of version 1 in bytes, its line end included (section 2.1).
const V1_BYTES_MAX: usize = 107;

/// First bytes of a header of version 2 (section 2.2).
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes of a version 2 header before its addresses; the last two tell the length of what follows.
const V2_HEAD_BYTES: usize = 16;

/// Version 2, command `LOCAL`: the proxy itself connects.
const V2_LOCAL: u8 = 0x20;

/// Reads the header at the start of `bytes`.
///
/// # Errors
/// If there is none, or it is malformed.
pub fn parse(bytes: &[u8]) -> Result<ProxyParsed, ProxyError> {
    if begins_as(bytes, V2_SIGNATURE) {
        version_2(bytes)
    } else if begins_as(bytes, V1_START) {
        version_1(bytes)
    } else {
        Err(ProxyError)
    }
}

/// Whether `bytes` begin with `start`, as far as they go.
fn begins_as(bytes: &[u8], start: &[u8]) -> bool {
    let len = bytes.len().min(start.len());
    bytes[..len] == start[..len]
}

/// The library bounds a line only while its end is not there, takes `UNKNOWN` for the start of a word,
/// and reads ports as Rust writes numbers.
fn version_1(bytes: &[u8]) -> Result<ProxyParsed, ProxyError> {
    let after = bytes.strip_prefix(V1_UNKNOWN).and_then(|rest| rest.first());
    if after.is_some_and(|byte| !matches!(byte, b' ' | b'\r')) {
        return Err(ProxyError);
    }
    match by_library(bytes)? {
        ProxyParsed::Done { len, source }
            if len > V1_BYTES_MAX || source.is_some() && !ports_are_plain(&bytes[..len]) =>
        {
            Err(ProxyError)
        }
        ProxyParsed::NeedMore if bytes.len() >= V1_BYTES_MAX => Err(ProxyError),
        parsed => Ok(parsed),
    }
}

/// Whether the ports, which the library has read as numbers, have neither a sign nor zeroes in front, which section
/// 2.1 does not permit.
fn ports_are_plain(line: &[u8]) -> bool {
    let mut ports = line.trim_ascii_end().rsplit(|byte| *byte == b' ').take(2);
    ports.all(|port| matches!(port, b"0" | [b'1'..=b'9', ..]))
}

/// The library gets the header and nothing that follows it: where the header's own length leaves no room for the
/// addresses, it asks for more bytes until enough of what follows has come, and only then refuses.
fn version_2(bytes: &[u8]) -> Result<ProxyParsed, ProxyError> {
    let Some(head) = bytes.get(..V2_HEAD_BYTES) else { return Ok(ProxyParsed::NeedMore) };
    let len = V2_HEAD_BYTES + usize::from(u16::from_be_bytes([head[14], head[15]]));
    let header = bytes.get(..len);
    // Section 2.2: with `LOCAL` the receiver must discard the family and the addresses, whatever they are.
    if head[12] == V2_LOCAL {
        return Ok(header.map_or(ProxyParsed::NeedMore, |_| ProxyParsed::Done { len, source: None }));
    }
    match (by_library(header.unwrap_or(bytes))?, header) {
        (ProxyParsed::NeedMore, Some(_)) => Err(ProxyError),
        (parsed, _) => Ok(parsed),
    }
}

fn by_library(bytes: &[u8]) -> Result<ProxyParsed, ProxyError> {
    match ProxyHeader::parse(bytes, ParseConfig::default()) {
        Ok((header, len)) => {
            let source = header.proxied_address().map(|address| address.source);
            Ok(ProxyParsed::Done { len, source })
        }
        Err(Error::BufferTooShort) => Ok(ProxyParsed::NeedMore),
        Err(_) => Err(ProxyError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(len: usize, source: Option<&str>) -> Result<ProxyParsed, ProxyError> {
        Ok(ProxyParsed::Done { len, source: source.map(|source| source.parse().unwrap()) })
    }

    #[test]
    fn version_1() {
        let line = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n";
        assert_eq!(parse(line), done(line.len(), Some("192.168.0.1:56324")));
        let line = b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\nGET";
        assert_eq!(parse(line), done(line.len() - 3, Some("[2001:db8::1]:1")));
        assert_eq!(parse(b"PROXY UNKNOWN\r\n"), done(15, None));
        for cut in 0..46 {
            assert_eq!(
                parse(&b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"[..cut]),
                Ok(ProxyParsed::NeedMore)
            );
        }
    }

    #[test]
    fn version_2() {
        let mut header = V2_SIGNATURE.to_vec();
        header.extend([0x21, 0x11, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8, 0x10, 0x00, 0x01, 0xbb]);
        assert_eq!(parse(&header), done(28, Some("1.2.3.4:4096")));
        assert_eq!(parse(&header[..20]), Ok(ProxyParsed::NeedMore));
        let mut local = V2_SIGNATURE.to_vec();
        local.extend([0x20, 0, 0, 0]);
        assert_eq!(parse(&local), done(16, None));
    }

    #[test]
    fn a_line_has_at_most_107_bytes_whether_its_end_is_there_or_not() {
        let line = |len: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(len - 16)).into_bytes();
        assert_eq!(parse(&line(107)), done(107, None));
        assert_eq!(parse(&line(107)[..106]), Ok(ProxyParsed::NeedMore));
        assert_eq!(parse(&line(108)), Err(ProxyError));
        assert_eq!(parse(&line(108)[..107]), Err(ProxyError));
        assert_eq!(parse(&line(400)), Err(ProxyError));
    }

    #[test]
    fn a_length_without_room_for_the_addresses_is_refused_whatever_follows() {
        let mut header = V2_SIGNATURE.to_vec();
        header.extend([0x21, 0x11, 0, 4, 1, 2, 3, 4]);
        assert_eq!(parse(&header), Err(ProxyError));
        header.extend(b"GET / HTTP/1.1\r\n\r\n");
        assert_eq!(parse(&header), Err(ProxyError));
    }

    #[test]
    fn what_the_proxy_says_of_itself_is_discarded() {
        for rest in [&[0x20, 0x11, 0, 0][..], &[0x20, 0x31, 0, 2, 7, 7], &[0x20, 0xFF, 0, 1, 7]] {
            let header = [V2_SIGNATURE, rest].concat();
            assert_eq!(parse(&header), done(header.len(), None), "{rest:02x?}");
            assert_eq!(parse(&header[..header.len() - 1]), Ok(ProxyParsed::NeedMore), "{rest:02x?}");
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"PROXY TCP4 1.2.3.4 5.6.7.8 99999 1\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 +2\r\n",
            b"PROXY TCP9 1.2.3.4 5.6.7.8 1 2\r\n",
            b"PROXYxUNKNOWN\r\n",
            b"PROXY UNKNOWNx\r\n",
            b"GET",
            b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c",
        ] {
            assert_eq!(parse(bytes), Err(ProxyError), "{:?}", String::from_utf8_lossy(bytes));
        }
    }
}
