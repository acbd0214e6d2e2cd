//! HTTP that is wrong, doubled, endless or never comes: each has its status and its counter, and harms nobody.

use crate::common::{
    BODY, CHUNKED, KEY, PATIENCE, Response, Siege, exchange, exchange_on, head, post, says, to_the_end,
};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

const BAD: &str = "handshake_failures bad_request";
const LARGE: &str = "handshake_failures too_large";

#[test]
fn requests_that_are_none_are_answered_and_counted() {
    let mut siege = Siege::start(&[]);
    let get = |target: &str| head(&format!("GET {target} HTTP/1.1"), "");
    let health = |lines: &str| head("GET /health HTTP/1.1", lines);
    let many = |count: usize| (0..count).map(|n| format!("X-{n}: x\r\n")).collect::<String>();
    let long = format!("X: {}\r\n", "x".repeat(100_000));
    let cases: Vec<(&str, String, u16, &str, &str)> = vec![
        ("bytes that are no text", "\x16\x03\x01\x02\0\x01\0\r\n\r\n".into(), 400, BAD, ""),
        ("no version", "GET /health\r\n\r\n".into(), 400, BAD, ""),
        ("HTTP/1.2", head("GET /health HTTP/1.2", ""), 400, BAD, ""),
        ("HTTP/2.0", head("GET /health HTTP/2.0", ""), 400, BAD, ""),
        ("a folded line", health("X: a\r\n b\r\n"), 400, BAD, ""),
        ("a space before the colon", health("X : a\r\n"), 400, BAD, ""),
        ("no colon", health("X\r\n"), 400, BAD, ""),
        ("NUL in a value", health("X: a\0b\r\n"), 400, BAD, ""),
        ("CR in a value", health("X: a\rb\r\n"), 400, BAD, ""),
        ("a space in the target", get("/v1/rooms/a b"), 400, BAD, ""),
        ("65 header fields", health(&many(64)), 431, LARGE, ""),
        ("100 KB in one field", health(&long), 431, LARGE, ""),
        ("100 KB of fields", health(&many(10_000)), 431, LARGE, ""),
        ("a target of 20 KB", get(&format!("/{}", "x".repeat(20_000))), 431, LARGE, ""),
        (
            "a target of 10 KB",
            get(&format!("/{}", "x".repeat(10_000))),
            404,
            "http_errors 404",
            "no such path",
        ),
        ("no host", "GET /health HTTP/1.1\r\n\r\n".into(), 400, "http_errors 400", "one Host"),
        ("two hosts", health("Host: localhost\r\n"), 400, "http_errors 400", "one Host"),
        (
            "a host that is none",
            "GET /health HTTP/1.1\r\nHost: a b\r\n\r\n".into(),
            400,
            "http_errors 400",
            "one Host",
        ),
        (
            "an absolute target elsewhere",
            get("http://elsewhere.example/v1/rooms"),
            401,
            "http_errors 401",
            "from this machine",
        ),
        ("OPTIONS *", head("OPTIONS * HTTP/1.1", ""), 404, "http_errors 404", ""),
        ("OPTIONS of a path", head("OPTIONS /v1/publish HTTP/1.1", ""), 405, "http_errors 405", "use POST"),
        ("CONNECT", head("CONNECT localhost:80 HTTP/1.1", ""), 404, "http_errors 404", ""),
        ("TRACE", head("TRACE /health HTTP/1.1", ""), 405, "http_errors 405", "use GET, HEAD"),
        ("a method nobody knows", head("BREW /health HTTP/1.1", ""), 405, "http_errors 405", ""),
        ("a method in small letters", head("get /health HTTP/1.1", ""), 405, "http_errors 405", ""),
        ("% without digits", get("/v1/rooms/%zz"), 400, "http_errors 400", "% without two hex digits"),
        ("% at the end", get("/v1/rooms/a%4"), 400, "http_errors 400", "% without two hex digits"),
        ("%ff", get("/v1/rooms/%ff"), 400, "http_errors 400", "not UTF-8"),
        ("a surrogate in UTF-8", get("/v1/rooms/%ed%a0%80"), 400, "http_errors 400", "not UTF-8"),
        ("%00", get("/v1/rooms/a%00b"), 400, "http_errors 400", "control character"),
        (
            "a long prefix",
            get(&format!("/v1/rooms?prefix={}", "x".repeat(256))),
            400,
            "http_errors 400",
            "255",
        ),
        ("a bad limit", get("/v1/rooms?limit=-1"), 400, "http_errors 400", "a number from 1"),
        ("a limit twice", get("/v1/rooms?limit=1&limit=2"), 400, "http_errors 400", "given twice"),
        ("a step upwards", get("/../health"), 404, "http_errors 404", ""),
    ];
    for (what, bytes, status, counter, text) in &cases {
        let answer = siege.counts(what, &[(*counter, 1)], |server| exchange(server.addr(), bytes.as_bytes()));
        says(&answer, *status, text, what);
        if *status == 405 {
            assert!(answer.header("allow").is_some(), "{what}: RFC 9110 section 15.5.6");
        }
    }
    // The preface of HTTP/2 comes from who would not understand an answer.
    siege.counts("HTTP/2", &[(BAD, 1)], |server| {
        assert_eq!(to_the_end(server, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), "");
    });
    siege.counts("64 header fields", &[], |server| {
        assert_eq!(exchange(server.addr(), health(&many(63)).as_bytes()).status, 200);
    });
    siege.nothing_more_is_counted();
}

#[test]
fn what_is_unusual_but_right_is_served() {
    let mut siege = Siege::start(&[]);
    let close = "Connection: close\r\n";
    siege.counts("chunks", &[], |server| {
        let lines = format!("Transfer-Encoding: chunked\r\n{close}");
        assert_eq!(exchange(server.addr(), post(&lines, CHUNKED).as_bytes()).status, 200);
    });
    siege.counts("100-continue", &[], |server| {
        let mut stream = TcpStream::connect(server.addr()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let lines = format!("Content-Length: 21\r\nExpect: 100-continue\r\n{close}");
        stream.write_all(post(&lines, "").as_bytes()).unwrap();
        let mut interim = [0; 25];
        stream.read_exact(&mut interim).unwrap();
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(BODY.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(Response::parse(&answer).body, "{\"delivered\":0}");
    });
    siege.counts("HEAD", &[], |server| {
        let answer = to_the_end(server, head("HEAD /health HTTP/1.1", close).as_bytes());
        let answer = Response::parse(answer.as_bytes());
        assert_eq!((answer.status, answer.body.as_str()), (200, ""));
        assert_eq!(answer.header("content-length"), Some("42"));
    });
    siege.counts("an absolute target", &[], |server| {
        let request =
            format!("GET http://localhost/v1/rooms HTTP/1.1\r\nHost: elsewhere.example\r\n{close}\r\n");
        assert_eq!(to_the_end(server, request.as_bytes()).matches("\"healthy\"").count(), 1);
    });
    siege.counts("HTTP/1.0 without a host", &[], |server| {
        assert!(to_the_end(server, b"GET /health HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 200 "));
    });
    siege.counts("requests in one go", &[(BAD, 1)], |server| {
        let two = head("GET /health HTTP/1.1", "").repeat(2);
        let answers = to_the_end(server, (two + "no request\r\n\r\n").as_bytes());
        let statuses: Vec<_> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
        assert_eq!(statuses, ["200", "200", "400"]);
    });
    siege.nothing_more_is_counted();
}

#[test]
fn upgrades_with_a_header_missing_doubled_or_wrong_are_refused() {
    let mut siege = Siege::start(&[]);
    let good = [
        ("Host", "localhost"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", KEY),
    ];
    let request = |line: &str, headers: &[(&str, &str)]| {
        let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("{line}\r\n{lines}\r\n")
    };
    let get = "GET /ws HTTP/1.1";
    // By header: the status and counter without it, with it twice, and with each of these values.
    let version = "handshake_failures version";
    type Outcome<'a> = Option<(u16, &'a str)>;
    let bad = Some((400, BAD));
    let table: [(&str, Outcome<'_>, Outcome<'_>, &[&str]); 5] = [
        ("Host", bad, bad, &["a b", "a/b", "user@a"]),
        ("Upgrade", Some((426, BAD)), None, &["h2c", "websockets", ""]),
        ("Connection", bad, None, &["close", "keep-alive", "upgraded"]),
        (
            "Sec-WebSocket-Version",
            Some((426, version)),
            Some((426, version)),
            &["8", "12", "14", "013", "13, 8", "-13", ""],
        ),
        (
            "Sec-WebSocket-Key",
            bad,
            bad,
            &[
                "",
                "c2hvcnQ=",
                "dGhlIHNhbXBsZSBub25jZQ",
                "dGhlIHNhbXBsZSBub25jZ===",
                "dGhlIHNhbXBsZSBub25jZQQ=",
            ],
        ),
    ];
    let mut refused = |what: &str, bytes: &str, (status, counter): (u16, &str)| {
        // A request that does not say Upgrade: websocket is counted as one for a version of WebSocket as well.
        let counter = if what.contains("Upgrade") && status == 426 { version } else { counter };
        let answer = siege.counts(what, &[(counter, 1)], |server| exchange(server.addr(), bytes.as_bytes()));
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        assert!(!answer.body.is_empty(), "{what}: the text says what to do");
        if status == 426 {
            assert_eq!(answer.header("sec-websocket-version"), Some("13"), "{what}");
            assert_eq!(answer.header("upgrade"), Some("websocket"), "{what}");
        }
    };
    for (name, missing, doubled, wrong) in table {
        let without: Vec<_> = good.into_iter().filter(|(n, _)| *n != name).collect();
        let value = good.iter().find(|(n, _)| *n == name).unwrap().1;
        let missing = missing.unwrap();
        // Without `Upgrade: websocket` a bad host is a bad request like any other.
        refused(&format!("no {name}"), &request(get, &without), missing);
        if let Some(doubled) = doubled {
            let twice = [&good[..], &[(name, value)]].concat();
            refused(&format!("{name} twice"), &request(get, &twice), doubled);
        }
        for value in wrong {
            let wrong = [&without[..], &[(name, value)]].concat();
            refused(&format!("{name}: {value}"), &request(get, &wrong), missing);
        }
    }
    let path = "handshake_failures path_or_method";
    refused("POST", &request("POST /ws HTTP/1.1", &good), (405, path));
    refused("OPTIONS", &request("OPTIONS /ws HTTP/1.1", &good), (405, path));
    refused("another path", &request("GET /wss HTTP/1.1", &good), (404, path));
    refused("HTTP/1.0", &request("GET /ws HTTP/1.0", &good), (505, BAD));
    let body = |name, value, body: &str| request(get, &[&good[..], &[(name, value)]].concat()) + body;
    // The body is a ping frame.
    refused("a body", &body("Content-Length", "6", "\u{9}\0\0\0\0\0"), (400, BAD));
    refused("chunks", &body("Transfer-Encoding", "chunked", "1\r\nx\r\n0\r\n\r\n"), (400, BAD));
    let elsewhere = [&good[..], &[("Origin", "http://localhost")]].concat();
    refused(
        "the Origin of the Host header",
        &request("GET http://elsewhere.example/ws HTTP/1.1", &elsewhere),
        (403, "handshake_failures origin"),
    );
    siege.nothing_more_is_counted();
}

#[test]
fn a_mass_of_sockets_that_say_nothing_ends_by_the_handshake_timeout() {
    const SOCKETS: usize = 500;
    let mut siege = Siege::start(&["--handshake-timeout=1s"]);
    let addr = siege.server().addr();
    for (what, bytes) in
        [("nothing", &b""[..]), ("half a request", b"GET /ws HTTP/1.1\r\nHost: "), ("CRLF", b"\r\n")]
    {
        siege.counts(what, &[("handshake_failures timeout", SOCKETS as u64)], |_| {
            let start = Instant::now();
            let mut sockets: Vec<_> = (0..SOCKETS).map(|_| TcpStream::connect(addr).unwrap()).collect();
            for socket in &mut sockets {
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
                socket.write_all(bytes).unwrap();
            }
            for mut socket in sockets {
                assert_eq!(
                    socket.read_to_end(&mut Vec::new()).unwrap(),
                    0,
                    "{what}: no answer to no request"
                );
            }
            assert!(start.elapsed().as_millis() >= 900, "{what}");
        });
    }
    siege.leaves_memory("500 at once", 1, |_| {
        let sockets: Vec<_> = (0..SOCKETS).map(|_| TcpStream::connect(addr).unwrap()).collect();
        for mut socket in sockets {
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            assert_eq!(socket.read_to_end(&mut Vec::new()).unwrap(), 0);
        }
    });
    siege.counts("twice 500", &[("handshake_failures timeout", 2 * SOCKETS as u64)], |_| {});
    // A connection that is kept alive after its request is no handshake that failed.
    siege.counts("kept alive", &[], |server| {
        let answer = to_the_end(server, head("GET /health HTTP/1.1", "").as_bytes());
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    });
    siege.counts("half a request, and gone", &[("handshake_failures disconnected", 1)], |_| {
        TcpStream::connect(addr).unwrap().write_all(b"GET /ws HT").unwrap();
    });
    // As the probe of a balancer does.
    siege.counts("connected, and gone", &[], |_| drop(TcpStream::connect(addr).unwrap()));
    siege.nothing_more_is_counted();
}

#[test]
fn more_http_connections_than_the_bound_cost_the_oldest_that_asks_nothing() {
    let mut siege = Siege::start(&["--shards=1", "--http-connections-max=4"]);
    siege.counts("one too many", &[], |server| {
        let ask = |mut stream: TcpStream| {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(head("GET /health HTTP/1.1", "").as_bytes()).unwrap();
            let answer = exchange_on(stream.try_clone().unwrap(), b"");
            assert_eq!(answer.status, 200);
            stream
        };
        let mut kept: Vec<_> = (0..4).map(|_| ask(TcpStream::connect(server.addr()).unwrap())).collect();
        kept.push(ask(TcpStream::connect(server.addr()).unwrap()));
        assert_eq!(kept[0].read(&mut [0; 1]).unwrap(), 0, "the oldest is ended");
        for stream in kept.split_off(1) {
            ask(stream);
        }
    });
}

#[test]
fn bad_requests_leave_the_memory_where_it_was() {
    let mut siege = Siege::start(&["--http-body-bytes-max=65536"]);
    let refused = head("GET /ws HTTP/1.1", "Upgrade: websocket\r\nConnection: Upgrade\r\n");
    let inputs = [
        "\0\r\n\r\n".to_owned(),
        head("GET /health HTTP/1.1", &"X: y\r\n".repeat(1000)),
        head(&format!("GET /{} HTTP/1.1", "x".repeat(20_000)), ""),
        head("GET /v1/rooms/%zz HTTP/1.1", "Connection: close\r\n"),
        refused,
        post("Content-Length: 65536\r\n", &"x".repeat(60_000)),
        post("Transfer-Encoding: chunked\r\n", &format!("ffff\r\n{}", "x".repeat(60_000))),
        post("Content-Length: 99999\r\n", ""),
    ];
    let mut turn = 0;
    siege.leaves_memory("every kind in turn", 2000, |server| {
        let bytes = &inputs[turn % inputs.len()];
        turn += 1;
        let mut stream = TcpStream::connect(server.addr()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // Whether the server has answered and closed already is all the same here.
        stream.write_all(bytes.as_bytes()).ok();
        stream.shutdown(std::net::Shutdown::Write).ok();
        stream.read_to_end(&mut Vec::new()).ok();
    });
}
