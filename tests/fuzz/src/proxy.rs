//! The PROXY header against `ppp`, and against itself in smaller pieces.
//!
//! The input is the start of a connection. It holds that
//! - a header ends where it ends, whatever follows, and no shorter start of it is one or is refused;
//! - where more is asked for, more can come: a version 2 header never beyond its own length, a line of version 1
//!   never beyond the 107 bytes that the protocol allows;
//! - both name the same client and the same length, and refuse the same.
//!
//! `ppp`'s word is not taken in these points of haproxy's `proxy-protocol.txt`:
//! - it refuses a `LOCAL` header for its family or addresses, which section 2.2 wants discarded;
//! - it accepts addresses without a protocol, and the other way round, which a receiver may refuse;
//! - it reads ports as Rust writes numbers, a plus sign included, where section 2.1 has digits;
//! - it takes a blank and a line feed for the end of a line, where section 2.1 has a carriage return first;
//! - it takes what follows `UNKNOWN` for a fixed number of words, where section 2.1 wants all of it ignored, and
//!   refuses what is not UTF-8 there.

use fanwire::wire::{ProxyParsed, parse_proxy_header};
use ppp::{HeaderResult, PartialResult, v1, v2};
use std::net::SocketAddr;

/// First bytes of a version 2 header, and the first that are its own.
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_HEAD_BYTES: usize = 16;

/// Longest line of version 1, its end included (section 2.1).
const V1_BYTES_MAX: usize = 107;

/// Checks all that is said above.
pub fn check(data: &[u8]) {
    let ours = parse_proxy_header(data);
    match ours {
        Ok(ProxyParsed::Done { len, .. }) => {
            assert!(len <= data.len(), "longer than what came");
            assert_eq!(parse_proxy_header(&data[..len]), ours, "what follows changes it");
            // Every start of a short header, some of a long one.
            for cut in (0..len).step_by(1 + len / 256) {
                assert_eq!(
                    parse_proxy_header(&data[..cut]),
                    Ok(ProxyParsed::NeedMore),
                    "{cut} of {len} bytes"
                );
            }
        }
        Ok(ProxyParsed::NeedMore) => {
            let bytes_max = match v2_len(data) {
                Some(len) => len,
                None if data.starts_with(b"\r") => V2_HEAD_BYTES,
                None => V1_BYTES_MAX,
            };
            assert!(data.len() < bytes_max, "asks for more than {} bytes of {bytes_max}", data.len());
        }
        Err(_) => {}
    }
    match expected(data) {
        Expected::Done(len, source) => assert_eq!(ours, Ok(ProxyParsed::Done { len, source })),
        Expected::Wrong => assert!(!matches!(ours, Ok(ProxyParsed::Done { .. })), "{ours:?}"),
        Expected::Partial => assert!(!matches!(ours, Ok(ProxyParsed::Done { .. })), "{ours:?}"),
        Expected::Unsaid => {}
    }
}

/// What the others say.
enum Expected {
    /// A header of that length, and the client.
    Done(usize, Option<SocketAddr>),
    /// No header, or not yet known to be none.
    Wrong,
    /// The start of one.
    Partial,
    /// Their word is not taken.
    Unsaid,
}

fn expected(data: &[u8]) -> Expected {
    if let Some(len) = v2_len(data).filter(|_| data[12] == 0x20) {
        return if data.len() >= len { Expected::Done(len, None) } else { Expected::Partial };
    }
    if data.starts_with(b"PROXY UNKNOWN") {
        return unknown(data);
    }
    let result = HeaderResult::parse(data);
    match &result {
        HeaderResult::V2(Ok(header)) => {
            // The high half of this byte is the family, the low half the protocol (section 2.2).
            if !matches!(data[13], 0x00 | 0x11 | 0x12 | 0x21 | 0x22 | 0x31 | 0x32) {
                return Expected::Unsaid;
            }
            let source = match &header.addresses {
                v2::Addresses::IPv4(ip) => Some((ip.source_address, ip.source_port).into()),
                v2::Addresses::IPv6(ip) => Some((ip.source_address, ip.source_port).into()),
                v2::Addresses::Unix(_) | v2::Addresses::Unspecified => None,
            };
            Expected::Done(header.as_bytes().len(), source)
        }
        HeaderResult::V1(Ok(header)) if header.header.contains('+') || !header.header.ends_with("\r\n") => {
            Expected::Wrong
        }
        HeaderResult::V1(Ok(header)) => {
            let source = match header.addresses {
                v1::Addresses::Tcp4(ip) => (ip.source_address, ip.source_port).into(),
                v1::Addresses::Tcp6(ip) => (ip.source_address, ip.source_port).into(),
                v1::Addresses::Unknown => return Expected::Unsaid,
            };
            Expected::Done(header.header.len(), Some(source))
        }
        other if other.is_incomplete() => Expected::Partial,
        _ => Expected::Wrong,
    }
}

/// `PROXY UNKNOWN` and, after a blank, anything up to the line's end.
fn unknown(data: &[u8]) -> Expected {
    let rest = &data[b"PROXY UNKNOWN".len()..];
    let line = rest.windows(2).position(|pair| pair == b"\r\n").map(|at| data.len() - rest.len() + at + 2);
    match (rest.first(), line) {
        (Some(b' ' | b'\r'), Some(len)) if len <= V1_BYTES_MAX => {
            // What stands behind a lone carriage return is nobody's line.
            if data[..len - 2].contains(&b'\r') { Expected::Wrong } else { Expected::Done(len, None) }
        }
        (None | Some(b' ' | b'\r'), None) if data.len() < V1_BYTES_MAX => Expected::Partial,
        _ => Expected::Wrong,
    }
}

/// The length that a version 2 header of a known command says it has.
fn v2_len(data: &[u8]) -> Option<usize> {
    let head = data.get(..V2_HEAD_BYTES).filter(|head| head.starts_with(V2_SIGNATURE))?;
    matches!(head[12], 0x20 | 0x21)
        .then(|| V2_HEAD_BYTES + usize::from(u16::from_be_bytes([head[14], head[15]])))
}
