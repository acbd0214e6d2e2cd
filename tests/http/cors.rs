//! Which web pages may read what the HTTP side answers: those of `allowed_origins`, by default none of another origin.

use crate::common::{Browser, Response, Server, left_out, request};
use std::time::Duration;

const ORIGIN: &str = "https://app.example";
const KEY: &str = "the-key-of-a-page";

/// Paths of every kind of answer.
const PATHS: [&str; 9] = [
    "/health",
    "/ready",
    "/metrics",
    "/openapi.json",
    "/ws/status",
    "/v1/rooms",
    "/v1/connections/none",
    "/v1/nothing",
    "/v1/rooms?limit=0",
];

fn get(server: &Server, path: &str, origin: &str) -> Response {
    let key = format!("Bearer {KEY}");
    request(server.addr(), "GET", path, &[("Origin", origin), ("Authorization", &key)], b"")
}

fn preflight(server: &Server, path: &str, origin: &str) -> Response {
    let asked = [
        ("Origin", origin),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "authorization,content-type"),
    ];
    request(server.addr(), "OPTIONS", path, &asked, b"")
}

/// The names of its CORS headers, and of `Vary: Origin`.
fn told(response: &Response) -> Vec<&str> {
    let is_told = |name: &str, value: &str| {
        name.starts_with("access-control-") || (name == "vary" && value == "Origin")
    };
    let headers = response.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    headers.filter(|(name, value)| is_told(name, value)).map(|(name, _)| name).collect()
}

fn with_key(flags: &[&str]) -> Server {
    Server::start_with(flags, &[("FANWIRE_API_KEY", KEY)])
}

#[test]
fn by_default_no_page_of_another_origin_is_told_anything() {
    let server = with_key(&[]);
    for path in PATHS {
        // Of another port of this host as well: it may connect, but CORS is about whole origins.
        for origin in [ORIGIN, "null", "http://127.0.0.1:3000", &format!("http://{}", server.addr())] {
            let answer = get(&server, path, origin);
            assert!(told(&answer).is_empty(), "{path} {origin}: {answer:?}");
        }
    }
    let refused = preflight(&server, "/v1/publish", ORIGIN);
    assert_eq!((refused.status, told(&refused).len()), (403, 0), "{refused:?}");
    assert!(refused.body.contains("allowed_origins"), "{}", refused.body);
}

#[test]
fn pages_of_a_listed_origin_may_read_all_answers() {
    let server = with_key(&["--allowed-origins=https://app.example,null"]);
    for path in PATHS {
        for origin in [ORIGIN, "null"] {
            let answer = get(&server, path, origin);
            assert_eq!(answer.header("access-control-allow-origin"), Some(origin), "{path}: {answer:?}");
            assert!(told(&answer).contains(&"vary"), "{path}: {answer:?}");
            assert_eq!(answer.header("access-control-allow-credentials"), None);
        }
        for origin in [
            "https://app.example.evil.example",
            "https://evil.example",
            "http://app.example",
            "https://app.example:8443",
            "https://app.example, https://evil.example",
            "https://evil.example/https://app.example",
            "app.example",
            "*",
            "",
            "\u{e9}",
        ] {
            let answer = get(&server, path, origin);
            assert_eq!(told(&answer), ["vary"], "{path} {origin:?}: {answer:?}");
        }
        let unasked = request(server.addr(), "GET", path, &[], b"");
        assert_eq!(told(&unasked), ["vary"], "a cache may keep it");
    }
    let twice = [("Origin", ORIGIN), ("Origin", "https://evil.example")];
    assert_eq!(told(&request(server.addr(), "GET", "/health", &twice, b"")), ["vary"]);
    // A page without the key reads that it has none.
    let refused = request(server.addr(), "GET", "/v1/rooms", &[("Origin", ORIGIN)], b"");
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (401, Some(ORIGIN)));
}

#[test]
fn a_preflight_needs_no_key_and_tells_the_methods_of_the_path() {
    let server = with_key(&["--allowed-origins=https://app.example"]);
    for (path, methods) in [
        ("/v1/publish", "POST"),
        ("/v1/rooms", "GET, HEAD"),
        ("/v1/rooms/a", "GET, HEAD, PUT, DELETE"),
        ("/v1/users/a", "GET, HEAD, DELETE"),
        ("/health", "GET, HEAD"),
        ("/ws/status", "GET, HEAD"),
        ("/openapi.json", "GET, HEAD"),
    ] {
        let answer = preflight(&server, path, ORIGIN);
        assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{path}");
        for (name, value) in [
            ("access-control-allow-origin", ORIGIN),
            ("access-control-allow-methods", methods),
            ("access-control-allow-headers", "authorization, content-type, idempotency-key"),
            ("access-control-max-age", "600"),
            ("vary", "Origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path}");
        }
        assert_eq!(answer.header("access-control-allow-credentials"), None);
        let refused = preflight(&server, path, "https://evil.example");
        assert_eq!((refused.status, told(&refused)), (403, vec!["vary"]), "{path}");
    }
    assert_eq!(preflight(&server, "/v1/nothing", ORIGIN).status, 404);
    // No preflight: it asks for nothing.
    let plain = request(server.addr(), "OPTIONS", "/v1/publish", &[("Origin", ORIGIN)], b"");
    assert_eq!((plain.status, plain.header("allow")), (405, Some("POST")));
}

#[test]
fn all_origins_are_a_star_without_credentials() {
    let server = with_key(&["--allowed-origins=*"]);
    for answer in [get(&server, "/v1/rooms", ORIGIN), preflight(&server, "/v1/publish", "null")] {
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{answer:?}");
        assert_eq!(answer.header("access-control-allow-credentials"), None);
    }
}

#[test]
fn without_a_key_no_page_of_another_site_uses_the_api() {
    // A browser sends such requests without asking before, and somebody who looks at the page sits at this machine.
    let publish = |server: &Server, headers: &[(&str, &str)]| {
        let headers = [headers, &[("Content-Type", "text/plain"), ("Host", "localhost")]].concat();
        request(server.addr(), "POST", "/v1/broadcast", &headers, br#"{"data":1}"#).status
    };
    let server = Server::start(&[]);
    assert_eq!(publish(&server, &[]), 200);
    assert_eq!(publish(&server, &[("Origin", "http://localhost:3000")]), 200);
    for origin in [ORIGIN, "null", "", "http://localhost.evil.example", "\u{e9}"] {
        assert_eq!(publish(&server, &[("Origin", origin)]), 401, "{origin:?}");
    }
    let twice = [("Origin", "http://localhost:3000"), ("Origin", ORIGIN)];
    assert_eq!(publish(&server, &twice), 401);
    assert_eq!(
        publish(&Server::start(&["--allowed-origins=https://app.example"]), &[("Origin", ORIGIN)]),
        200
    );
    // All may connect; that does not give them the API.
    assert_eq!(publish(&Server::start(&["--allowed-origins=*"]), &[("Origin", ORIGIN)]), 401);
}

/// A page that asks `{{server}}` and tells what it could read.
const PAGE: &str = r#"<!doctype html><meta charset="utf-8"><script type="module">
  async function read(path, options) {
    const answer = await fetch('{{server}}' + path, options).catch(() => null);
    return answer ? `${answer.status} ${JSON.stringify(await answer.json())}` : 'refused';
  }
  const headers = { Authorization: 'Bearer {{key}}', 'Content-Type': 'application/json' };
  const body = '{"data":"from a page"}';
  const outcomes = [
    await read('/health'),
    await read('/v1/rooms', { headers }),
    await read('/v1/broadcast', { method: 'POST', headers, body }),
    await read('/v1/rooms/made', { method: 'PUT', headers, body: '' }),
    await read('/v1/rooms'),
    await read('/health', { credentials: 'include' }),
  ];
  await fetch('/outcome', { method: 'POST', body: outcomes.map((it) => it.slice(0, 3)).join() });
</script>"#;

#[test]
fn a_browser_lets_pages_read_what_they_may() {
    for (flags, expected) in [
        // The page comes from another port of localhost. Nothing is sent with cookies to a server that takes none.
        (&["--allowed-origins=http://localhost:{{port}}"][..], "200,200,200,201,401,ref"),
        (&["--allowed-origins=*"], "200,200,200,201,401,ref"),
        (&["--allowed-origins=https://app.example"], "ref,ref,ref,ref,ref,ref"),
        (&[], "ref,ref,ref,ref,ref,ref"),
    ] {
        let opened = Browser::open_for(|port| {
            let flags: Vec<_> =
                flags.iter().map(|flag| flag.replace("{{port}}", &port.to_string())).collect();
            let server = with_key(&flags.iter().map(String::as_str).collect::<Vec<_>>());
            let url = format!("http://localhost:{}", server.addr().port());
            let page = PAGE.replace("{{server}}", &url).replace("{{key}}", KEY);
            (page, server)
        });
        let Some((browser, server)) = opened else { return left_out("cors::chromium", "chromium") };
        let outcome = browser.outcome(Duration::from_secs(60));
        assert_eq!(outcome.as_deref(), Some(expected), "{flags:?}\n{}", browser.output());
        let made = get(&server, "/v1/rooms/made", "").status == 200;
        assert_eq!(made, expected.contains("201"), "what is refused is not done");
    }
}
