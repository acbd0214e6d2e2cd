use std::net::{Ipv4Addr, Ipv6Addr};

/// A host and its port, as they stand in `Host` or in an origin (RFC 3986 section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Authority<'a> {
    /// A name or an IPv4 address, or an IPv6 address with its brackets.
    pub(super) host: &'a str,
    /// The port, where one is written.
    pub(super) port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Splits `text`; `None` where it is no host with an optional port (user information, a path, several ports).
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let host_len = match text.strip_prefix('[') {
            Some(rest) => rest.find(']')? + 2,
            None => text.find(':').unwrap_or(text.len()),
        };
        let (host, rest) = text.split_at(host_len);
        let port = match rest.strip_prefix(':') {
            // RFC 3986 section 3.2.3 allows a colon without a port.
            Some("") => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
            None if rest.is_empty() => None,
            _ => return None,
        };
        let in_brackets = host.starts_with('[');
        let valid = !host.is_empty()
            && if in_brackets {
                host[1..host.len() - 1].parse::<Ipv6Addr>().is_ok()
            } else {
                !host.bytes().any(|byte| {
                    byte.is_ascii_whitespace() || byte.is_ascii_control() || b"@/\\?#[],".contains(&byte)
                })
            };
        valid.then_some(Self { host, port })
    }

    /// Whether this names the machine itself: `localhost`, 127.0.0.0/8 or `[::1]`.
    ///
    /// Only whole addresses count, so that `127.0.0.1.example.com` is none.
    pub(super) fn is_loopback(&self) -> bool {
        if self.host.eq_ignore_ascii_case("localhost") {
            return true;
        }
        match self.host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(v6) => v6.parse::<Ipv6Addr>().is_ok_and(|ip| ip.to_canonical().is_loopback()),
            None => self.host.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_split_from_ports() {
        for (text, host, port) in [
            ("example.com", "example.com", None),
            ("example.com:", "example.com", None),
            ("example.com:8081", "example.com", Some(8081)),
            ("[::1]", "[::1]", None),
            ("[2001:db8::7]:80", "[2001:db8::7]", Some(80)),
        ] {
            assert_eq!(Authority::parse(text), Some(Authority { host, port }), "{text}");
        }
        for text in [
            "",
            ":80",
            "::1",
            "a:b",
            "a:80:80",
            "a:65536",
            "a:+80",
            "user@a",
            "a/b",
            "a b",
            "[::1",
            "[]",
            "[::1]x",
            "[localhost]",
            "a,b",
        ] {
            assert_eq!(Authority::parse(text), None, "{text}");
        }
    }

    #[test]
    fn only_whole_loopback_addresses_count() {
        for text in
            ["localhost", "LocalHost:1", "127.0.0.1:8081", "127.255.0.9", "[::1]:5", "[::ffff:127.0.0.1]"]
        {
            assert!(Authority::parse(text).unwrap().is_loopback(), "{text}");
        }
        for text in
            ["localhost.example.com", "127.0.0.1.nip.io", "127.1", "0.0.0.0", "10.0.0.1", "[::]", "[::2]"]
        {
            assert!(!Authority::parse(text).unwrap().is_loopback(), "{text}");
        }
    }
}
