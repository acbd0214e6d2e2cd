use super::host::Authority;

/// Whether a browser page of `origin` (RFC 6454 section 7) may connect to the server that it addressed as `host`.
///
/// No `Origin` at all is no browser and passes. With `list` empty the origin must have the host name of `host`,
/// whatever the port. Otherwise it must be in `list`: `*` admits all, `null` (sandboxed pages, files) only passes
/// where it is listed or by `*`, and all else is compared as scheme, host and port, where case does not matter and
/// a scheme's default port may be left out.
pub fn allowed(origin: Option<&str>, host: Option<&str>, list: &[String]) -> bool {
    let Some(origin) = origin else { return true };
    if list.is_empty() {
        return same_host(origin, host);
    }
    let parsed = Origin::parse(origin);
    list.iter().any(|entry| match entry.as_str() {
        "*" => true,
        "null" => origin == "null",
        entry => {
            parsed.as_ref().is_some_and(|origin| Origin::parse(entry).is_some_and(|entry| entry == *origin))
        }
    })
}

fn same_host(origin: &str, host: Option<&str>) -> bool {
    let Some(host) = host.and_then(Authority::parse) else { return false };
    Origin::parse(origin).is_some_and(|origin| {
        // Other schemes name something else by their host: an extension, for example.
        matches!(origin.scheme.as_str(), "http" | "https") && origin.host.eq_ignore_ascii_case(host.host)
    })
}

/// An origin in the one form in which two can be compared.
#[derive(Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl Origin {
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let authority = Authority::parse(rest)?;
        let scheme = scheme.to_ascii_lowercase();
        let port = authority.port.or(match scheme.as_str() {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        });
        Some(Self { scheme, host: authority.host.to_ascii_lowercase(), port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(origin: &str, list: &[&str]) -> bool {
        let list: Vec<String> = list.iter().map(ToString::to_string).collect();
        allowed(Some(origin), Some("elsewhere.example"), &list)
    }

    #[test]
    fn no_origin_is_no_browser() {
        assert!(allowed(None, None, &[]));
        assert!(allowed(None, Some("a.example"), &["https://b.example".into()]));
    }

    #[test]
    fn by_default_the_host_name_must_agree() {
        for (origin, host) in [
            ("https://chat.example", "chat.example"),
            ("http://Chat.Example:3000", "chat.example:8081"),
            ("http://[::1]:3000", "[::1]:8081"),
            ("http://127.0.0.1", "127.0.0.1:8081"),
        ] {
            assert!(allowed(Some(origin), Some(host), &[]), "{origin} {host}");
        }
        for (origin, host) in [
            ("https://evil.example", Some("chat.example")),
            ("https://chat.example.evil.example", Some("chat.example")),
            ("https://evilchat.example", Some("chat.example")),
            ("https://chat.example@evil.example", Some("chat.example")),
            ("https://evil.example/chat.example", Some("chat.example")),
            ("https://chat.example:x", Some("chat.example")),
            ("chrome-extension://chat.example", Some("chat.example")),
            ("chat.example", Some("chat.example")),
            ("null", Some("null")),
            ("null", Some("chat.example")),
            ("", Some("")),
            ("https://", Some("")),
            ("https://chat.example", None),
        ] {
            assert!(!allowed(Some(origin), host, &[]), "{origin} {host:?}");
        }
    }

    #[test]
    fn a_list_replaces_the_default() {
        let list = ["https://a.example", "http://b.example:8080", "chrome-extension://abcd"];
        for origin in [
            "https://a.example",
            "https://A.example:443",
            "HTTPS://a.example",
            "http://b.example:8080",
            "chrome-extension://abcd",
        ] {
            assert!(listed(origin, &list), "{origin}");
        }
        for origin in [
            "http://a.example",
            "https://a.example:8443",
            "https://sub.a.example",
            "http://b.example",
            "https://elsewhere.example",
            "null",
            "",
            "*",
        ] {
            assert!(!listed(origin, &list), "{origin}");
        }
    }

    #[test]
    fn star_admits_all_and_null_is_listed_by_name() {
        for origin in ["https://any.example", "null", "not an origin"] {
            assert!(listed(origin, &["*"]), "{origin}");
        }
        assert!(listed("null", &["https://a.example", "null"]));
        assert!(!listed("https://null", &["null"]));
    }
}
