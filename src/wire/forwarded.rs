//! Who the client behind a proxy is.

use hyper::header::{FORWARDED, HeaderMap};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddrV4};

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
        let elements = lines.iter().flat_map(|line| split(line, ',')).map(str::trim);
        // An empty element counts for nothing (RFC 9110 section 5.6.1.2): a proxy may have left a comma behind.
        elements.filter(|element| !element.is_empty()).map(read).collect()
    };
    match lines("x-forwarded-for") {
        none if none.is_empty() => elements(lines(FORWARDED.as_str()), forwarded_for),
        found => elements(found, address),
    }
}

/// The parts of a text between separators that stand in no quoted string (RFC 9110 section 5.6.4). A string that does not
/// end reaches to the end.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut in_string, mut is_escaped) = (false, false);
    text.split(move |c: char| {
        let is_quote = c == '"' && !is_escaped;
        is_escaped = in_string && c == '\\' && !is_escaped;
        in_string ^= is_quote;
        c == separator && !in_string
    })
}

/// The `for` of one element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let node = split(element, ';').find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        name.trim_end().eq_ignore_ascii_case("for").then_some(value.trim_start())
    })?;
    address(node)
}

/// An address, with or without quotes, a port, and a zone (RFC 4007 section 11), which has no meaning elsewhere; IPv6
/// with or without brackets.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    if let Some((host, rest)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let is_port = |port: &str| port.parse::<u16>().is_ok();
        let ends_well = rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
        return without_zone(host).parse().ok().filter(|_| ends_well).map(IpAddr::V6);
    }
    let bare = without_zone(text).parse().ok();
    bare.or_else(|| text.parse::<SocketAddrV4>().ok().map(|address| (*address.ip()).into()))
}

fn without_zone(text: &str) -> &str {
    match text.split_once('%') {
        Some((address, zone)) if !zone.is_empty() && address.contains(':') => address,
        _ => text,
    }
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
    fn addresses_are_read_as_proxies_write_them() {
        for line in ["1.2.3.4,", "1.2.3.4, ,", ",1.2.3.4", "\"1.2.3.4\"", "\"1.2.3.4:80\"", " 1.2.3.4\t"] {
            check("x-forwarded-for", &[line], "1.2.3.4");
        }
        for line in ["fe80::1%eth0", "[fe80::1%25eth0]:80", "[fe80::1]", "\"[fe80::1]:4711\"", "fe80::1"] {
            check("x-forwarded-for", &[line], "fe80::1");
        }
        for line in [
            "1.2.3.4%eth0",
            "fe80::1%",
            "[fe80::1",
            "[fe80::1]x",
            "[fe80::1]:99999",
            "[1.2.3.4]",
            "\"1.2.3.4",
        ] {
            check("x-forwarded-for", &[line], "10.0.0.1");
        }
    }

    #[test]
    fn quoted_strings_hide_separators() {
        for line in [
            "for=1.2.3.4;host=\"a,b;for=6.6.6.6\"",
            "host=\"a;for=6.6.6.6,for=7.7.7.7\"; for=1.2.3.4",
            "for=6.6.6.6, host=\"a\\\",for=6.6.6.6;\";for = \"1.2.3.4:80\"",
            "for=1.2.3.4,",
        ] {
            check("forwarded", &[line], "1.2.3.4");
        }
        check("forwarded", &["for=\"1.2.3.4", "10.2.2.2"], "10.0.0.1");
        check("forwarded", &["for=6.6.6.6, host=\"never ends, for=1.2.3.4"], "10.0.0.1");
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
