//! Who the client behind a proxy is.

use hyper::header::{FORWARDED, HeaderMap};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// Hops looked at: chains of proxies are short, header lines need not be.
const HOPS_MAX: usize = 64;

/// The client's address. `peer` is believed; if it is a trusted proxy, so is what it says of its own peer
/// (`X-Forwarded-For`, or else `Forwarded`, RFC 7239), and so on from right to left. The first address that is not
/// a trusted proxy's is the client's. What cannot be read ends the walk at the last address believed.
pub fn client_ip(headers: &HeaderMap, peer: IpAddr, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |ip: IpAddr| trusted.iter().any(|network| network.contains(&ip.to_canonical()));
    let mut client = peer;
    for hop in hops(headers).into_iter().rev().take(HOPS_MAX) {
        if !is_trusted(client) {
            break;
        }
        match hop {
            Some(ip) => client = ip,
            None => break,
        }
    }
    client.to_canonical()
}

/// The addresses of all hops, leftmost first; `None` for one that cannot be read.
fn hops(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let lines = |name: &str| -> Vec<String> {
        let values = headers.get_all(name).iter();
        values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
    };
    let elements = |lines: Vec<String>, read: fn(&str) -> Option<IpAddr>| {
        lines.iter().flat_map(|line| line.split(',')).map(|element| read(element.trim())).collect()
    };
    match lines("x-forwarded-for") {
        none if none.is_empty() => elements(lines(FORWARDED.as_str()), forwarded_for),
        found => elements(found, address),
    }
}

/// The `for` of one element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let node = element.split(';').find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        name.eq_ignore_ascii_case("for").then_some(value)
    })?;
    address(node.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(node))
}

/// An address, with or without a port, IPv6 with or without brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &'static str, lines: &[&str], expected: &str) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, line.parse().unwrap());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        let client = client_ip(&headers, "10.0.0.1".parse().unwrap(), &trusted);
        assert_eq!(client.to_string(), expected, "{lines:?}");
    }

    #[test]
    fn the_walk_goes_from_right_to_left() {
        check("x-forwarded-for", &["6.6.6.6, 1.2.3.4"], "1.2.3.4");
        check("x-forwarded-for", &["6.6.6.6", "1.2.3.4, 10.9.9.9"], "1.2.3.4");
        check("x-forwarded-for", &["[2001:db8::1]:99"], "2001:db8::1");
        check("x-forwarded-for", &["1.2.3.4:5678"], "1.2.3.4");
        check("x-forwarded-for", &["::ffff:1.2.3.4"], "1.2.3.4");
        check("x-forwarded-for", &["1.2.3.4, garbage"], "10.0.0.1");
        check("x-forwarded-for", &["garbage, 10.2.2.2"], "10.2.2.2");
        check("x-forwarded-for", &[], "10.0.0.1");
        check("forwarded", &["for=6.6.6.6, For=\"[2001:db8::1]:4711\";proto=http"], "2001:db8::1");
        check("forwarded", &["for=_hidden"], "10.0.0.1");
    }

    #[test]
    fn a_stranger_is_not_believed() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", "1.2.3.4".parse().unwrap());
        let peer = "8.8.8.8".parse().unwrap();
        assert_eq!(client_ip(&headers, peer, &["10.0.0.0/8".parse().unwrap()]), peer);
        assert_eq!(client_ip(&headers, peer, &[]), peer);
    }
}
