use super::host::Authority;

/// Whether a browser page of `origin` (RFC 6454 section 7) may connect to the server that it addressed as `host`.
///
/// No `Origin` at all is no browser and passes. With `list` empty the origin must have the host name of `host`,
/// whatever the port. Otherwise it must be in `list`:
/// - `*` admits all;
/// - `null` (sandboxed pages, files) only passes where it is listed or by `*`;
/// - a scheme alone (`file://`) is the origin that says just that;
/// - all else is compared as scheme, host and port, where case does not matter and a scheme's default port may be left
///   out. A host `*.example.com` stands for all names of one or more labels before `example.com`, and not for that itself;
///   a port `*` for every port.
pub fn allowed(origin: Option<&str>, host: Option<&str>, list: &[String]) -> bool {
    let Some(origin) = origin else { return true };
    if list.is_empty() {
        return same_host(origin, host);
    }
    let parsed = Origin::parse(origin);
    list.iter().any(|entry| match entry.as_str() {
        "*" => true,
        "null" => origin == "null",
        entry if entry.ends_with("://") => origin.eq_ignore_ascii_case(entry),
        entry => parsed.as_ref().is_some_and(|origin| is_listed(origin, entry)),
    })
}

/// Whether a web page may address the server as `host`, where no origins are listed.
///
/// A name that somebody else has in the DNS can be made to lead to this machine or into its network after the page of
/// that name was loaded (DNS rebinding); its origin then has the host name that is addressed. So a browser on this
/// machine (`is_local`: by loopback, without a proxy) must address it by a loopback name, or one of `list`; and where
/// there is a list, other browsers must address it by one of that.
pub fn host_allowed(host: Option<&str>, list: &[String], is_local: bool) -> bool {
    let Some(host) = host.and_then(Authority::parse) else { return false };
    if is_local && host.is_loopback() {
        return true;
    }
    let name = host.host.to_ascii_lowercase();
    match list {
        [] => !is_local,
        list => list.iter().any(|entry| is_host(&name, entry)),
    }
}

fn is_listed(origin: &Origin, entry: &str) -> bool {
    let (entry, any_port) = match entry.strip_suffix(":*") {
        Some(entry) => (entry, true),
        None => (entry, false),
    };
    let Some((scheme, rest)) = entry.split_once("://") else { return false };
    // A star is no character of a host, so a pattern is parsed without.
    let pattern = rest.strip_prefix("*.");
    let bare = format!("{scheme}://{}", pattern.unwrap_or(rest));
    let Some(entry) = Origin::parse(&bare) else { return false };
    let host = match pattern {
        Some(_) => is_below(&origin.host, &entry.host),
        None => origin.host == entry.host,
    };
    host && origin.scheme == entry.scheme && (any_port || origin.port == entry.port)
}

/// Whether a host name in lower case is `entry`, or fits it where that is a pattern.
fn is_host(name: &str, entry: &str) -> bool {
    match entry.strip_prefix("*.") {
        Some(above) => is_below(name, &above.to_ascii_lowercase()),
        None => name.eq_ignore_ascii_case(entry),
    }
}

/// Whether a name is one or more whole labels before another.
fn is_below(name: &str, above: &str) -> bool {
    let labels = name.strip_suffix(above).and_then(|rest| rest.strip_suffix('.'));
    labels.is_some_and(|labels| labels.split('.').all(|label| !label.is_empty()))
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

    #[test]
    fn patterns_stand_for_whole_labels() {
        let list =
            ["https://*.example.com", "http://localhost:*", "https://*.dev.example:*", "http://*.test:3000"];
        for origin in [
            "https://a.example.com",
            "https://a.b.example.com",
            "HTTPS://A.Example.Com:443",
            "http://localhost",
            "http://localhost:5173",
            "https://a.dev.example:8443",
            "http://a.test:3000",
        ] {
            assert!(listed(origin, &list), "{origin}");
        }
        for origin in [
            "https://example.com",
            "https://evilexample.com",
            "https://.example.com",
            "https://a..example.com",
            "https://a.example.com.evil.example",
            "https://a.example.com.",
            "https://a.example.com:8443",
            "http://a.example.com",
            "https://a.example.com@evil.example",
            "https://evil.example#.example.com",
            "https://evil.example/.example.com",
            "https://evil.example?.example.com",
            "https://*.example.com",
            "https://localhost",
            "http://localhost:x",
            "http://a.localhost",
            "http://a.test",
            "https://[::1].example.com",
        ] {
            let passes = listed(origin, &list);
            // A star is a character like others to a browser that would send it, and below the name all the same.
            assert!(!passes || origin == "https://*.example.com", "{origin}");
        }
    }

    #[test]
    fn a_scheme_alone_is_listed_literally() {
        assert!(listed("file://", &["file://"]) && listed("FILE://", &["https://a.example", "file://"]));
        for origin in ["file:///etc/passwd", "file://a", "file:", "null", "https://", "app://"] {
            assert!(!listed(origin, &["file://"]), "{origin}");
        }
        assert!(!listed("file://", &["https://a.example", "https://*.example.com:*"]));
    }

    #[test]
    fn a_browser_on_this_machine_must_address_it_by_its_own_name() {
        let list = ["fanwire.example".to_owned(), "*.dev.example".to_owned()];
        for (host, local, remote, listed) in [
            ("localhost:8081", true, true, false),
            ("127.0.0.1:8081", true, true, false),
            ("[::1]", true, true, false),
            ("evil.example", false, true, false),
            ("localhost.evil.example", false, true, false),
            ("Fanwire.Example:8081", false, true, true),
            ("a.dev.example", false, true, true),
            ("dev.example", false, true, false),
            ("evildev.example", false, true, false),
            ("a b", false, false, false),
        ] {
            let of = |list: &[String], is_local| host_allowed(Some(host), list, is_local);
            assert_eq!((of(&[], true), of(&[], false), of(&list, false)), (local, remote, listed), "{host}");
            assert_eq!(of(&list, true), local || listed, "{host}");
        }
        assert!(!host_allowed(None, &[], true) && !host_allowed(None, &[], false));
    }
}
