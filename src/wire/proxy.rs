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

/// Reads the header at the start of `bytes`.
///
/// # Errors
/// If there is none, or it is malformed.
pub fn parse(bytes: &[u8]) -> Result<ProxyParsed, ProxyError> {
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

    const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

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
            assert_eq!(parse(&b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"[..cut]), Ok(ProxyParsed::NeedMore));
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
    fn what_is_no_header_is_refused() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"PROXY TCP4 1.2.3.4 5.6.7.8 99999 1\r\n",
            b"PROXY TCP4 1.2.3.4\r\n",
            b"PROXY TCP9 1.2.3.4 5.6.7.8 1 2\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c",
        ] {
            assert_eq!(parse(bytes), Err(ProxyError), "{:?}", String::from_utf8_lossy(bytes));
        }
    }
}
