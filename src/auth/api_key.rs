use super::host::Authority;
use crate::config::Secret;
use std::net::IpAddr;
use subtle::{Choice, ConstantTimeEq};

/// What is known of a request to the API beside its key.
#[derive(Debug, Clone, Copy)]
pub struct PeerFacts<'a> {
    /// Address of the peer of the connection itself; `None` on a Unix socket.
    pub ip: Option<IpAddr>,
    /// The `Host` header.
    pub host: Option<&'a str>,
    /// Whether the other end of the connection belongs to the server's own user, or to root.
    pub same_user: bool,
    /// Whether proxies are configured for the listener that the connection came by.
    pub behind_proxy: bool,
    /// Whether a proxy passed the request on: a header is there for which [`is_forwarding_header`] holds.
    pub forwarded: bool,
    /// Whether a web page made it whose origin is not allowed.
    pub foreign_page: bool,
}

/// Why a request to the API is refused. Each is a 401: the text says what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Keys are configured and the request has none.
    #[error("an API key is required: send `Authorization: Bearer KEY`")]
    KeyMissing,
    /// `Authorization` is there and holds none of the keys.
    #[error("the API key is wrong")]
    KeyWrong,
    /// No key is configured and the request does not come from this machine.
    #[error(
        "without a configured API key the API answers only direct requests from this machine to localhost: \
         set api_keys (FANWIRE_API_KEY)"
    )]
    NotLocal,
    /// No key is configured and another user of this machine makes the request, such as the one that a proxy runs as.
    #[error(
        "without a configured API key the API answers only the user that the server runs as, and root: \
         set api_keys (FANWIRE_API_KEY)"
    )]
    OtherUser,
    /// No key is configured where proxies are, whose requests look like local ones.
    #[error("with trusted_proxies or proxy_protocol the API needs a key: set api_keys (FANWIRE_API_KEY)")]
    BehindProxy,
    /// No key is configured and a web page makes the request, which any page can that somebody looks at on this machine.
    #[error("without a configured API key the API answers web pages only of origins in allowed_origins")]
    ForeignPage,
}

/// Decides whether a request may use the API.
///
/// With `keys` configured, `authorization` must be `Bearer` and one of them. With none, only requests from loopback
/// (or a Unix socket) whose other end belongs to the server's own user or to root, as PostgreSQL's `peer` has it; where
/// no proxies are configured; to a loopback `Host` (so that no web page reaches the API by a name of its own that it
/// lets point here); that no proxy has forwarded; and that no page of another site has made: a browser sends those for
/// it, and only does not let it read the answer.
pub fn authorize(keys: &[Secret], authorization: Option<&str>, peer: PeerFacts<'_>) -> Result<(), Denied> {
    if keys.is_empty() {
        return match () {
            () if peer.behind_proxy => Err(Denied::BehindProxy),
            () if !is_local(&peer) => Err(Denied::NotLocal),
            () if !peer.same_user => Err(Denied::OtherUser),
            () if peer.foreign_page => Err(Denied::ForeignPage),
            () => Ok(()),
        };
    }
    let token = bearer(authorization.ok_or(Denied::KeyMissing)?).ok_or(Denied::KeyWrong)?;
    // All keys are compared, so that the time does not tell which one matched.
    let mut matched = Choice::from(0);
    for key in keys.iter().map(Secret::reveal) {
        // An empty key can only be a mistake in the configuration; it must not open the API to all.
        matched |= same(key.as_bytes(), token.as_bytes()) & Choice::from(u8::from(!key.is_empty()));
    }
    if bool::from(matched) { Ok(()) } else { Err(Denied::KeyWrong) }
}

fn is_local(peer: &PeerFacts<'_>) -> bool {
    let from_here = peer.ip.is_none_or(|ip| ip.to_canonical().is_loopback());
    let to_here = peer.host.and_then(Authority::parse).is_some_and(|authority| authority.is_loopback());
    from_here && to_here && !peer.forwarded
}

/// Whether a header of this name (in lower case) says that a proxy passed the request on. The standard ones
/// (RFC 7239, RFC 9110 section 7.6.3, RFC 8586), and those of the proxies and networks in wide use.
pub fn is_forwarding_header(name: &str) -> bool {
    const NAMES: [&str; 9] = [
        "forwarded",
        "via",
        "cdn-loop",
        "x-real-ip",
        "true-client-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "fastly-client-ip",
        "x-proxyuser-ip",
    ];
    const PREFIXES: [&str; 8] =
        ["x-forwarded", "x-original-", "x-envoy-", "x-azure-", "x-amzn-", "x-amz-cf-", "x-appengine-", "cf-"];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Who holds the key of a request that may use the API: the key, however its header is written, or nothing where none is
/// asked for.
pub fn key_of<'a>(keys: &[Secret], authorization: Option<&'a str>) -> &'a str {
    authorization.filter(|_| !keys.is_empty()).and_then(bearer).unwrap_or_default()
}

/// The token of `Bearer TOKEN` (RFC 6750 section 2.1); the scheme's case does not matter (RFC 9110 section 11.1). `None`
/// for another scheme and where no token follows: what is returned is never empty.
pub fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.trim_ascii().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_ascii_start())
}

/// Compares in a time that depends on the key's length alone: neither on where the two differ nor on whether their
/// lengths agree.
fn same(key: &[u8], token: &[u8]) -> Choice {
    let mut same = key.len().ct_eq(&token.len());
    for (index, byte) in key.iter().enumerate() {
        same &= byte.ct_eq(token.get(index).unwrap_or(&0));
    }
    same
}

#[cfg(test)]
mod tests {
    use super::*;

    const REMOTE: PeerFacts<'_> = PeerFacts {
        ip: Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7))),
        host: None,
        same_user: false,
        behind_proxy: true,
        forwarded: true,
        foreign_page: true,
    };

    fn keys() -> Vec<Secret> {
        vec!["first-key".into(), "second".into()]
    }

    fn local(ip: &str, host: &'static str) -> PeerFacts<'static> {
        PeerFacts {
            ip: Some(ip.parse().unwrap()),
            host: Some(host),
            same_user: true,
            behind_proxy: false,
            forwarded: false,
            foreign_page: false,
        }
    }

    #[test]
    fn any_configured_key_opens_from_anywhere() {
        for text in ["Bearer first-key", "bearer second", "BEARER   second "] {
            assert_eq!(authorize(&keys(), Some(text), REMOTE), Ok(()), "{text}");
        }
    }

    #[test]
    fn all_else_is_refused_even_from_here() {
        let here = local("127.0.0.1", "localhost");
        assert_eq!(authorize(&keys(), None, here), Err(Denied::KeyMissing));
        for text in [
            "",
            "Bearer",
            "Bearer ",
            "second",
            "Basic second",
            "Bearer secon",
            "Bearer second2",
            "Bearer Second",
            "Bearer second\0",
            "Bearer first-key,second",
            "Bearer first-key second",
        ] {
            assert_eq!(authorize(&keys(), Some(text), here), Err(Denied::KeyWrong), "{text:?}");
        }
    }

    #[test]
    fn a_token_follows_its_scheme() {
        for (text, token) in
            [("Bearer t", "t"), (" bEARER \t  t u\t", "t u"), ("Bearer Bearer t", "Bearer t")]
        {
            assert_eq!(bearer(text), Some(token), "{text:?}");
        }
        for text in ["", " ", "t", "Bearer", "Bearer ", " Bearer \t ", "Bearer\tt", "BearerX t", "Basic t"] {
            assert_eq!(bearer(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_holder_is_known_by_the_key_alone() {
        for text in ["Bearer first-key", "bearer   first-key "] {
            assert_eq!(key_of(&keys(), Some(text)), "first-key", "{text}");
            assert_eq!(key_of(&[], Some(text)), "");
        }
        assert_eq!(key_of(&[], None), "");
    }

    #[test]
    fn an_empty_key_opens_nothing() {
        let keys = [Secret::default()];
        for text in ["Bearer ", "Bearer", "", "Bearer x"] {
            assert_eq!(authorize(&keys, Some(text), local("::1", "localhost")), Err(Denied::KeyWrong));
        }
        assert_eq!(authorize(&keys, None, local("::1", "localhost")), Err(Denied::KeyMissing));
    }

    #[test]
    fn comparing_is_equality() {
        for (key, token) in
            [("a", "a"), ("a", "b"), ("a", "ab"), ("ab", "a"), ("", ""), ("a", ""), ("\0", "")]
        {
            assert_eq!(bool::from(same(key.as_bytes(), token.as_bytes())), key == token, "{key:?} {token:?}");
        }
    }

    #[test]
    fn without_keys_only_this_machine_is_answered() {
        for peer in [
            local("127.0.0.1", "localhost:8081"),
            local("127.8.8.8", "127.0.0.1"),
            local("::1", "[::1]:8081"),
            local("::ffff:127.0.0.1", "localhost"),
            PeerFacts { ip: None, ..local("::1", "localhost") },
        ] {
            assert_eq!(authorize(&[], None, peer), Ok(()), "{peer:?}");
            assert_eq!(authorize(&[], Some("Bearer whatever"), peer), Ok(()), "{peer:?}");
            let forwarded = PeerFacts { forwarded: true, ..peer };
            assert_eq!(authorize(&[], None, forwarded), Err(Denied::NotLocal), "{forwarded:?}");
            let of_a_page = PeerFacts { foreign_page: true, ..peer };
            assert_eq!(authorize(&[], None, of_a_page), Err(Denied::ForeignPage), "{of_a_page:?}");
            let of_another = PeerFacts { same_user: false, ..peer };
            assert_eq!(authorize(&[], None, of_another), Err(Denied::OtherUser), "{of_another:?}");
            let by_a_proxy = PeerFacts { behind_proxy: true, ..peer };
            assert_eq!(authorize(&[], None, by_a_proxy), Err(Denied::BehindProxy), "{by_a_proxy:?}");
        }
        for peer in [
            local("192.0.2.7", "localhost"),
            local("::ffff:192.0.2.7", "localhost"),
            local("127.0.0.1", "api.example.com"),
            local("127.0.0.1", "127.0.0.1.example.com"),
            local("127.0.0.1", ""),
            PeerFacts { ip: None, host: None, ..local("::1", "") },
            PeerFacts { ip: None, ..local("::1", "fanwire.example") },
        ] {
            assert_eq!(authorize(&[], Some("Bearer x"), peer), Err(Denied::NotLocal), "{peer:?}");
        }
    }

    #[test]
    fn proxies_give_themselves_away() {
        for name in [
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-forwarded",
            "forwarded",
            "x-real-ip",
            "via",
            "cf-connecting-ip",
            "cf-ray",
            "true-client-ip",
            "x-client-ip",
            "x-envoy-external-address",
            "x-original-forwarded-for",
            "x-amzn-trace-id",
            "cdn-loop",
        ] {
            assert!(is_forwarding_header(name), "{name}");
        }
        for name in ["host", "user-agent", "x-request-id", "traceparent", "authorization", "xvia", "real-ip"]
        {
            assert!(!is_forwarding_header(name), "{name}");
        }
    }
}
