//! What a log and a peer may not be told: keys, secrets, cookies, bodies; where files lie, and how the code is made.
//! (Tokens: see `identity.rs`; values of a configuration that is refused: see `hostile_config.rs`.)

use crate::common::{Act, Backend, Client, Response, Server, eventually, exchange, request};
use serde_json::{Value, json};

const API_KEY: &str = "apikey-5b1e77";
const WRONG_KEY: &str = "wrongkey-90aa31";
const JWT_SECRET: &str = "jwtsecret-c44d0f-long-enough-for-hs256";
const HOOK_SECRET: &str = "hooksecret-2f8812-long-enough";
const COOKIE: &str = "cookie-77ab19";
const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.dG9rZW4tZmY4MTIy.c2lnbmF0dXJl";
const IDEMPOTENCY: &str = "idempotency-3d11c8";
const BODY: &str = "body-08fe21";
const BACKEND_SAYS: &str = "backendsays-66d0b2";

/// No line of the log may have these in it; a peer is told none of them that it has not said itself.
const SECRETS: [&str; 9] =
    [API_KEY, WRONG_KEY, JWT_SECRET, HOOK_SECRET, COOKIE, TOKEN, IDEMPOTENCY, BODY, BACKEND_SAYS];

/// What only we know, and no answer may have in it.
const OURS: [&str; 4] = [API_KEY, JWT_SECRET, HOOK_SECRET, BACKEND_SAYS];

/// What the code says of itself: paths, types, values as Rust writes them.
const INSIDE: [&str; 18] = [
    "src/",
    ".rs",
    "/home",
    "/root",
    "/tmp",
    "/work",
    "panicked",
    "Some(",
    "Ok(",
    "Err(",
    "Error {",
    "struct ",
    "enum ",
    "::",
    "Os {",
    "os error",
    "RUST_",
    "stack backtrace",
];

fn check(what: &str, text: &str) {
    for word in OURS.iter().chain(&INSIDE) {
        assert!(!text.contains(word), "{what} tells {word:?}: {text}");
    }
}

/// All of an answer that a peer reads.
fn told(answer: &Response) -> String {
    let headers = answer.headers.iter().map(|(name, value)| format!("{name}: {value}\n"));
    headers.collect::<String>() + &answer.body
}

/// Every wrong request of the HTTP side, by kind.
fn wrong_requests() -> Vec<(&'static str, String, String)> {
    let post = |path: &str, body: &str| ("POST", path.to_owned(), body.to_owned());
    let get = |path: &str| ("GET", path.to_owned(), String::new());
    let deep = format!(r#"{{"room":"a","data":{}"{BODY}"{}}}"#, "[".repeat(500), "]".repeat(500));
    let mut all = vec![
        get("/v1/rooms?limit=x"),
        get("/v1/rooms?nothing=1"),
        get("/v1/rooms?limit=1&limit=1"),
        get("/v1/rooms/%ff"),
        get("/v1/rooms/%00/members"),
        get("/v1/rooms/a/members?cursor=x"),
        get("/v1/rooms/none/messages"),
        get("/v1/rooms/a/messages?offset=-1"),
        get("/v1/connections/none"),
        get("/v1/connections?idle_s=x"),
        get("/v1/users/%0a"),
        get("/v1/nothing"),
        get(&format!("/{}", "x".repeat(3000))),
        get("/v1/publish"),
        ("PATCH", "/v1/rooms/a".to_owned(), String::new()),
        ("PUT", "/v1/rooms/a".to_owned(), r#"{"metadata":[]}"#.to_owned()),
        ("PUT", "/v1/connections/5f64a9c2-8b1d-4e3f-a0b1-c2d3e4f50617/rooms/a".to_owned(), String::new()),
        post("/v1/cleanup?idle_s=x", ""),
        post("/v1/publish", &deep),
    ];
    for field in
        ["room", "user", "tenant", "connection", "all", "except", "event", "data", "message", "other"]
    {
        for value in
            ["null", "1", "-1.5e3", "true", "{}", "[[]]", "\"\"", "\"\\u0000\"", "[1]", "{\"type\":1}"]
        {
            let one = format!(r#"{{"room":"a","data":"{BODY}","{field}":{value}}}"#);
            all.push(post("/v1/publish", &one));
            all.push(post("/v1/publish/batch", &format!("[{one}]")));
            all.push(post("/v1/broadcast", &format!(r#"{{"data":1,"{field}":{value}}}"#)));
        }
    }
    for body in
        ["", "{", "[", "nul", "1", "\"a\"", "{\"room\":\"a\",}", "{\"room\":\"\\ud800\",\"data\":1}", "[1]"]
    {
        for path in ["/v1/publish", "/v1/publish/batch", "/v1/broadcast"] {
            all.push(post(path, body));
        }
    }
    all
}

/// Messages of a client that are wrong in each way.
fn wrong_messages() -> Vec<String> {
    let mut all: Vec<String> =
        ["", "{", "[]", "1", "null", "\"a\"", "{}"].into_iter().map(str::to_owned).collect();
    for kind in ["subscribe", "unsubscribe", "publish", "broadcast", "presence", "auth", "ping", "unheard"] {
        for (field, value) in [
            ("room", json!(1)),
            ("room", json!("")),
            ("room", json!({})),
            ("room", json!("not-a-member-of")),
            ("data", json!([BODY])),
            ("id", json!({"a": 1})),
            ("limit", json!("x")),
            ("recover", json!(7)),
            ("recover", json!({"epoch": 1, "offset": "x"})),
            ("token", json!([TOKEN])),
            ("token", json!(TOKEN)),
        ] {
            all.push(json!({"type": kind, field: value}).to_string());
        }
    }
    all.push(json!({"type": 1}).to_string());
    all.push(format!(r#"{{"type":"publish","room":"a","data":{}1{}}}"#, "[".repeat(500), "]".repeat(500)));
    all
}

/// A server that says all that it can, with every kind of secret, and a backend that fails in each way.
fn server(backend: &Backend) -> Server {
    let url = format!("--hook-url={}", backend.url());
    let flags = [
        "--log-level=trace",
        url.as_str(),
        "--hook-events=connect,join,disconnect,message",
        "--hook-headers=cookie,authorization,x-room",
        "--hook-retries=1",
        "--hook-breaker-failures=0",
        r#"--room-rules=[{"pattern":"**","history_messages":5}]"#,
    ];
    let secrets = [
        ("FANWIRE_API_KEY", API_KEY),
        ("FANWIRE_JWT_SECRET", JWT_SECRET),
        ("FANWIRE_HOOK_SECRET", HOOK_SECRET),
    ];
    Server::start_with(&flags, &secrets)
}

/// A backend that does what the query of who connects says; it answers joins with garbage.
fn backend() -> Backend {
    Backend::start(|heard| match (heard.event().as_str(), heard.json()["query"].as_str()) {
        ("connect", Some("garbage")) => Act::Say(format!(r#"{{"allow":{BACKEND_SAYS}"#)),
        ("connect", Some("fails")) => Act::Status(500, BACKEND_SAYS.to_owned()),
        ("connect", Some("raw")) => Act::Raw(format!("{BACKEND_SAYS}\r\n\r\n").into_bytes()),
        ("connect", Some("away")) => Act::HangUp,
        ("connect", _) => Act::Say(r#"{"allow":true}"#.to_owned()),
        _ => Act::Say(format!(r#"{{"allow":"{BACKEND_SAYS}","messages":7}}"#)),
    })
}

#[test]
fn neither_the_log_nor_an_answer_tells_a_secret() {
    let backend = backend();
    let server = server(&backend);
    let (addr, bearer) = (server.addr(), |key: &str| format!("Bearer {key}"));
    let cookie = format!("sid={COOKIE}; token={TOKEN}");
    let mut statuses = std::collections::BTreeSet::new();
    for key in [bearer(API_KEY), bearer(WRONG_KEY), format!("Basic {API_KEY}"), API_KEY.to_owned()] {
        let headers = [
            ("Authorization", key.as_str()),
            ("Cookie", &cookie),
            ("Idempotency-Key", IDEMPOTENCY),
            ("Origin", "https://evil.example"),
            ("X-Forwarded-For", "not an address"),
        ];
        // Side by side, as the server answers wrong keys late.
        for some in wrong_requests().chunks(32) {
            let answers: Vec<_> = std::thread::scope(|scope| {
                let ask = |(method, path, body): &(&'static str, String, String)| {
                    let (method, path, body) = (*method, path.clone(), body.clone());
                    scope.spawn(move || request(addr, method, &path, &headers, body.as_bytes()))
                };
                let asked: Vec<_> = some.iter().map(ask).collect();
                asked.into_iter().map(|answer| answer.join().expect("an answer")).collect()
            });
            for ((method, path, body), answer) in some.iter().zip(answers) {
                statuses.insert(answer.status);
                check(&format!("{method} {path:.60} {body:.80}"), &told(&answer));
            }
        }
    }
    for path in
        ["/v1/rooms", "/v1/stats", "/v1/connections", "/ws/status", "/metrics", "/health", "/openapi.json"]
    {
        let answer = request(addr, "GET", path, &[("Authorization", &bearer(API_KEY))], b"");
        assert_eq!(answer.status, 200);
        // The metrics speak of Rust's allocator and threads by their names, the document of types by JSON's.
        OURS.iter().for_each(|secret| assert!(!told(&answer).contains(secret), "{path}"));
    }
    let (sid, wrong) = (format!("sid={COOKIE}"), bearer(WRONG_KEY));
    let (by_query, by_cookie) = (format!("token={TOKEN}&key={API_KEY}"), format!("token={TOKEN}"));
    for (query, cookie, more) in [
        ("garbage", &sid, ("X-Room", BODY)),
        ("fails", &sid, ("X-Room", BODY)),
        ("raw", &sid, ("X-Room", BODY)),
        ("away", &sid, ("X-Room", BODY)),
        (&by_query, &sid, ("X-Room", BODY)),
        ("", &by_cookie, ("X-Room", BODY)),
        ("", &sid, ("Authorization", &wrong)),
    ] {
        let lines = [("Cookie", cookie.as_str()), more];
        let answer = exchange(addr, &Client::handshake(&addr.to_string(), &format!("/ws?{query}"), &lines));
        assert!([401, 502, 503].contains(&answer.status), "{query}: {answer:?}");
        statuses.insert(answer.status);
        check(query, &told(&answer));
    }
    for bytes in [
        format!("GET /v1/rooms HTTP/9.9\r\nAuthorization: Bearer {API_KEY}\r\n\r\n"),
        format!("GET /v1/rooms HTTP/1.1\r\nHost: a b\r\nAuthorization: Bearer {API_KEY}\r\n\r\n"),
        format!(
            "POST /v1/publish HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\nCookie: {COOKIE}\r\n\r\n"
        ),
        format!("{API_KEY}\r\n\r\n"),
    ] {
        let answer = exchange(addr, bytes.as_bytes());
        statuses.insert(answer.status);
        check(&bytes, &told(&answer));
    }
    for status in [400, 401, 404, 405, 422, 502, 503] {
        assert!(statuses.contains(&status), "{status} is not among {statuses:?}");
    }
    eventually("the backend has heard of it", || !backend.heard_of("connect").is_empty());
    server.signal("HUP");
    eventually("the configuration is read again", || server.output().contains("configuration read again"));
    let output = server.output();
    for secret in SECRETS {
        assert!(!output.contains(secret), "{secret} is in the log:\n{output}");
    }
    for said in ["HTTP connection failed", "hook"] {
        assert!(output.contains(said), "the log says too little to mean anything: {said}\n{output}");
    }
}

#[test]
fn what_clients_are_told_is_nothing_of_the_inside() {
    let backend = backend();
    let server = server(&backend);
    for dialect in ["rooms", "channels", "topics", "tenants"] {
        let mut client = Client::speaking(server.addr(), dialect);
        let mut texts = 0;
        for message in wrong_messages() {
            client.send_text(&message);
        }
        // An answer to this comes after all others.
        client.end_sending();
        while let Some(frame) = client.read_frame() {
            let text = String::from_utf8_lossy(&frame.payload).into_owned();
            // Some dialects give back the message that was refused.
            let own: Vec<Value> = serde_json::from_str(&text).into_iter().collect();
            let said =
                own.first().and_then(|answer| answer["error"].as_str()).map_or(text.clone(), str::to_owned);
            check(&format!("{dialect}: {text:.100}"), &said);
            texts += 1;
        }
        assert!(texts > 10, "{dialect}: {texts} answers");
    }
    for secret in SECRETS {
        assert!(!server.output().contains(secret), "{secret} is in the log:\n{}", server.output());
    }
}
