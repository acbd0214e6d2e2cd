//! The close codes of the server: each reason with its code and its words to the letter.

use crate::common::opcode::{BINARY, CLOSE, FIN, TEXT};
use crate::common::token::{SECRET_VARIABLE, now_unix_s, sign, token_of};
use crate::common::{Client, Server, eventually, frame, request};
use fanwire::model::CloseReason;
use serde_json::json;

/// The reasons that a test has seen, with what the client was told.
#[derive(Default)]
struct Seen(Vec<CloseReason>);

impl Seen {
    /// Reads on until the close frame, which must be that of `reason`.
    fn expect(&mut self, client: &mut Client, reason: CloseReason, code: u16, text: &str) {
        assert_eq!(client.read_until_close(code, |_| {}), text, "{}", reason.label());
        self.0.push(reason);
    }
}

/// Connections that a server has closed for a reason.
fn closes(server: &Server, reason: CloseReason) -> u64 {
    let label = format!("reason=\"{}\"", reason.label());
    let text = server.get("/metrics").body;
    let lines =
        text.lines().filter(|line| line.starts_with("fanwire_closes_total{") && line.contains(&label));
    lines.map(|line| line.rsplit(' ').next().expect("a value").parse::<u64>().expect("a count")).sum()
}

/// All of a message of so many bytes but the last.
fn begun(bytes: usize) -> Vec<u8> {
    let mut frame = frame(FIN | TEXT, &vec![b' '; bytes]);
    frame.pop();
    frame
}

fn what_frames_do(seen: &mut Seen) {
    use CloseReason::{InvalidUtf8, PeerClosed, ProtocolError, TooBig, Unsupported};
    let server = Server::start(&["--message-bytes-max=200"]);
    let cases: [(CloseReason, Vec<u8>, u16, &str); 5] = [
        (PeerClosed, frame(FIN | CLOSE, &4000_u16.to_be_bytes()), 4000, ""),
        (ProtocolError, vec![0x81, 0x01, b'a'], 1002, "frames of a client must be masked"),
        (
            Unsupported,
            frame(FIN | BINARY, b"binary"),
            1003,
            "binary messages are not supported here: send text",
        ),
        (InvalidUtf8, frame(FIN | TEXT, b"\xff"), 1007, "text is not valid UTF-8"),
        (TooBig, frame(FIN | TEXT, &[b' '; 201]), 1009, "message too big: send smaller messages"),
    ];
    for (reason, bytes, code, text) in cases {
        let mut client = server.connect();
        client.send_bytes(&bytes);
        seen.expect(&mut client, reason, code, text);
        assert_eq!(closes(&server, reason), 1, "{}", reason.label());
    }
}

fn what_the_backend_does(seen: &mut Seen) {
    let server = Server::start(&["--outbox-bytes-max=262144", "--messages-per-s=100"]);
    let mut client = server.connect();
    request(server.addr(), "DELETE", &format!("/v1/connections/{}", client.id), &[], b"");
    seen.expect(&mut client, CloseReason::Disconnected, 4440, "disconnected by the backend");

    let mut client = server.connect();
    client.send_bytes(&frame(FIN | TEXT, b"no JSON").repeat(20_000));
    seen.expect(&mut client, CloseReason::RateLimited, 4429, "rate limit exceeded: send more slowly");

    let mut slow = Client::connect_with_buffer(server.addr(), 8192, "/ws", &[]);
    slow.subscribe("flood");
    let body = json!({"room": "flood", "event": "e", "data": "x".repeat(50_000)}).to_string();
    eventually("the slow one is closed", || {
        server.post("/v1/publish", &body);
        closes(&server, CloseReason::SlowConsumer) == 1
    });
    let text = "slow consumer: read faster or subscribe to less";
    seen.expect(&mut slow, CloseReason::SlowConsumer, 4430, text);
}

fn what_the_tokens_say(seen: &mut Seen) {
    let endpoints = r#"--endpoints=[{"path":"/ws","dialect":"rooms"},{"path":"/of","dialect":"rooms","auth":"required","role":"admin","auth_failure":"close"},{"path":"/health","dialect":"topics","auth":"off","health":true}]"#;
    let server = Server::start_with(&[endpoints, "--jwt-leeway=0s"], &[SECRET_VARIABLE]);
    let of = |path: &str| Client::ungreeted(server.addr(), path, &[]);
    let forbidden = of(&format!("/of?token={}", token_of("u1", "t1")));
    for (mut client, reason, code, text) in [
        (of("/of"), CloseReason::Unauthenticated, 4401, "No authentication token provided"),
        (forbidden, CloseReason::Forbidden, 4403, "Insufficient permissions"),
        (of("/health"), CloseReason::Done, 1000, ""),
    ] {
        seen.expect(&mut client, reason, code, text);
    }
    let short = sign(&json!({"userId": "u1", "exp": now_unix_s() + 2}));
    let text = "authentication token expired: connect again with a new one";
    seen.expect(&mut of(&format!("/ws?token={short}")), CloseReason::Unauthenticated, 4401, text);
}

fn what_waiting_does(seen: &mut Seen) {
    let server = Server::start(&["--message-timeout=1s"]);
    let mut client = server.connect();
    client.send_bytes(&begun(2000));
    let text = "a message took too long: send it to its end before you pause";
    seen.expect(&mut client, CloseReason::MessageTimeout, 4408, text);

    let server = Server::start(&["--ping-interval=1s", "--pong-wait=2s"]);
    seen.expect(&mut server.connect(), CloseReason::Idle, 4408, "no sign of life: answer pings");
    let server = Server::start(&["--idle-timeout=1s"]);
    let text = "idle for too long: send a message or a ping now and then";
    seen.expect(&mut server.connect(), CloseReason::Idle, 4408, text);
}

fn what_the_node_does(seen: &mut Seen) {
    let server = Server::start(&["--inputs-bytes-max=1MiB", "--message-bytes-max=512000"]);
    let mut large = server.connect();
    large.send_bytes(&begun(500_000));
    let held = || server.metric_sum("fanwire_input_bytes");
    eventually("the large one is there", || held() >= 500_000.0);
    let mut small: Vec<Client> = (0..8).map(|_| server.connect()).collect();
    small.iter_mut().for_each(|client| client.send_bytes(&begun(100_000)));
    let text = "the server holds too many unfinished messages: send smaller ones, try again later";
    seen.expect(&mut large, CloseReason::InputsFull, 1013, text);

    let mut last = server.connect();
    server.signal("TERM");
    let text = last.read_until_close(1001, |_| {});
    let hint =
        text.strip_prefix("server shutting down: reconnect in ").and_then(|rest| rest.strip_suffix(" ms"));
    assert!(hint.is_some_and(|ms| ms.parse::<u32>().is_ok()), "{text}");
    seen.0.push(CloseReason::ShuttingDown);
}

#[test]
fn every_reason_is_told_by_its_code_and_words() {
    let mut seen = Seen::default();
    what_frames_do(&mut seen);
    what_the_backend_does(&mut seen);
    what_the_tokens_say(&mut seen);
    what_waiting_does(&mut seen);
    what_the_node_does(&mut seen);
    for &reason in CloseReason::ALL {
        // Of a connection that breaks off nothing can be told.
        let is_told = reason != CloseReason::TransportLost;
        assert_eq!(seen.0.contains(&reason), is_told, "{}", reason.label());
    }
}
