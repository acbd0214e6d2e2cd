//! The backend's say in a running server: who connects, joins and publishes, what is told to it, and that nobody is
//! harmed by a backend that is slow or away.

use crate::common::{
    Act, Backend, Client, Heard, PATIENCE, Program, SILENCE, Server, eventually, exchange, find_program,
    free_port, left_out, tests_path,
};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Condvar, Mutex};

const SECRET: &str = "the-secret-of-the-tests";

const YES: &str = r#"{"allow":true}"#;

/// A server with this backend, asked about `events`.
fn server(backend: &Backend, events: &str, flags: &[&str]) -> Server {
    let url = format!("--hook-url={}", backend.url());
    let events = format!("--hook-events={events}");
    let flags = [&[url.as_str(), &events], flags].concat();
    Server::start_with(&flags, &[("FANWIRE_HOOK_SECRET", SECRET)])
}

fn yes() -> Act {
    Act::Say(YES.to_owned())
}

fn no(reason: &str) -> Act {
    Act::Say(format!(r#"{{"allow":false,"reason":"{reason}"}}"#))
}

/// The room of a question.
fn room(heard: &Heard) -> String {
    heard.json()["room"].as_str().unwrap_or_default().to_owned()
}

/// Holds whoever passes until it is opened.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn pass(&self) {
        let open = self.open.lock().unwrap();
        let (_open, waited) = self.opened.wait_timeout_while(open, PATIENCE, |open| !*open).unwrap();
        assert!(!waited.timed_out(), "the gate is not opened");
    }

    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

/// The answer to a handshake that is not accepted.
fn upgrade(server: &Server, path: &str, headers: &[(&str, &str)]) -> crate::common::Response {
    exchange(server.addr(), &Client::handshake(&server.addr().to_string(), path, headers))
}

#[test]
fn who_connects_is_asked_about_and_may_be_named() {
    let backend = Backend::start(|heard| match heard.event().as_str() {
        "connect" => Act::Say(r#"{"allow":true,"userId":"ann","tenantId":"t1","roles":["dev"]}"#.to_owned()),
        _ => yes(),
    });
    let endpoints = r#"--endpoints=[{"path":"/ws","dialect":"rooms","rooms":["tenant:{tenant}:user:{user}","user:{user}"]}]"#;
    let flags = [endpoints, "--hook-headers=cookie,origin"];
    let server = server(&backend, "connect,join", &flags);
    let headers = [("Cookie", "sid=7"), ("X-Other", "no")];
    let mut client = Client::connect_with(server.addr(), "/ws?a=b", &headers);
    client.subscribe("chat");
    let connect = backend.wait_for("connect").json();
    assert_eq!((&connect["path"], &connect["query"]), (&"/ws".into(), &"a=b".into()));
    assert_eq!(connect["headers"], serde_json::json!({ "cookie": "sid=7" }));
    assert_eq!((&connect["ip"], &connect["dialect"]), (&"127.0.0.1".into(), &"rooms".into()));
    let join = backend.wait_for("join").json();
    assert_eq!((&join["userId"], &join["tenantId"]), (&"ann".into(), &"t1".into()));
    assert_eq!((&join["roles"], &join["room"]), (&serde_json::json!(["dev"]), &"chat".into()));
    assert_eq!(join["connectionId"].as_str().map(str::len), Some(36));
    let answer = server.post("/v1/publish", r#"{"room":"tenant:t1:user:ann","data":1}"#);
    assert_eq!(answer.json()["delivered"], 1, "the endpoint's room of that user: {}", answer.body);
    assert_eq!(backend.heard_of("join").len(), 1, "the server's own rooms are not asked about");
}

#[test]
fn who_may_not_connect_is_told_why() {
    let backend = Backend::start(|heard| match heard.json()["query"].as_str() {
        Some("who=guest") => no("guests are not welcome\\u0007"),
        Some("who=broken") => Act::Status(500, String::new()),
        Some("who=nobody") => Act::Status(401, r#"{"reason":"log in first"}"#.to_owned()),
        Some("who=elsewhere") => Act::Status(404, "<html></html>".to_owned()),
        _ => yes(),
    });
    let server = server(&backend, "connect", &[]);
    let refused = upgrade(&server, "/ws?who=guest", &[]);
    assert_eq!((refused.status, refused.body.as_str()), (403, "guests are not welcome\n"));
    let broken = upgrade(&server, "/ws?who=broken", &[]);
    assert_eq!((broken.status, broken.body.as_str()), (502, "the backend answered with an error\n"));
    for (who, reason) in [("nobody", "log in first"), ("elsewhere", "refused by the backend")] {
        let refused = upgrade(&server, &format!("/ws?who={who}"), &[]);
        assert_eq!((refused.status, refused.body), (403, format!("{reason}\n")), "{who}");
    }
    let _welcome = Client::connect_with(server.addr(), "/ws?who=ann", &[]);
    assert_eq!(server.metric_sum("fanwire_handshake_failures_total"), 4.0);
    // Refused for other reasons: nobody asks the backend.
    let before = backend.heard().len();
    upgrade(&server, "/ws", &[("Origin", "https://elsewhere.example")]);
    upgrade(&server, "/nowhere", &[]);
    assert_eq!(backend.heard().len(), before);
    backend.die();
    let failed = upgrade(&server, "/ws", &[]);
    let unknown = (503, "the backend cannot be asked: try again later\n");
    assert_eq!((failed.status, failed.body.as_str()), unknown);
    assert!(failed.header("retry-after").is_some());
}

#[test]
fn failures_are_a_yes_where_that_is_configured() {
    let backend = Backend::start(|_| Act::HangUp);
    let server = server(&backend, "connect,join,publish", &["--hook-on-failure=allow"]);
    let mut client = server.connect();
    client.subscribe("chat");
    client.send_text(r#"{"type":"publish","room":"chat","data":1}"#);
    client.expect_json(|message| assert_eq!(message["data"], 1));
    assert_eq!(backend.heard().len(), 3);
}

#[test]
fn joins_and_publications_are_asked_about_and_refused_with_a_reason() {
    let backend = Backend::start(|heard| match (heard.event().as_str(), room(heard).as_str()) {
        ("join", "staff") => no("staff only"),
        ("publish", "quiet") => no("read only"),
        ("publish", "") => no("no broadcasts"),
        _ => yes(),
    });
    let server = server(&backend, "join,publish", &[]);
    let (mut a, mut b) = (server.connect(), server.connect());
    a.send_text(r#"{"type":"subscribe","room":"staff","id":7}"#);
    a.expect_json(|error| {
        assert_eq!((&error["type"], &error["error"]), (&"error".into(), &"staff only".into()));
        assert_eq!(error["id"], 7);
    });
    a.send_text(r#"{"type":"publish","room":"staff","data":1}"#);
    a.expect_json(|error| assert_eq!(error["error"], "not subscribed to this room"));
    for client in [&mut a, &mut b] {
        client.subscribe("quiet");
        client.subscribe("chat");
    }
    a.send_text(r#"{"type":"publish","room":"quiet","data":2}"#);
    a.expect_json(|error| assert_eq!(error["error"], "read only"));
    a.send_text(r#"{"type":"broadcast","data":3}"#);
    a.expect_json(|error| assert_eq!(error["error"], "no broadcasts"));
    a.send_text(r#"{"type":"publish","room":"chat","data":{"n": 4}}"#);
    // What was refused has not come before.
    assert!(b.expect_text().contains(r#""data":{"n": 4}"#));
    a.expect_json(|message| assert_eq!(message["data"]["n"], 4));
    a.subscribe("chat");
    assert_eq!(
        backend.heard_of("join").len(),
        5,
        "who is in already is not asked about, nor who is in no room"
    );
    let asked: Vec<_> =
        backend.heard_of("publish").iter().map(|heard| heard.json()["data"].clone()).collect();
    assert_eq!(asked, [2.into(), 3.into(), serde_json::json!({ "n": 4 })]);
    let refused = |label: &str| {
        let lines = server.get("/metrics").body;
        let of_label = lines.lines().filter(|line| line.contains(label));
        of_label.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum::<f64>()
    };
    assert_eq!(refused(r#"reason="backend""#), 3.0);
    assert_eq!(refused(r#"fanwire_hook_total{event="publish",outcome="refused"}"#), 2.0);
    assert_eq!(refused(r#"fanwire_hook_total{event="join",outcome="ok"}"#), 4.0);
    assert_eq!(server.metric(r#"fanwire_hook_breaker_state{of="decisions"}"#), Some(0.0));
}

#[test]
fn a_slow_decision_keeps_the_order_of_its_connection_and_holds_nobody_else() {
    let gate: &'static Gate = Box::leak(Box::default());
    let backend = Backend::start(|heard| {
        if room(heard) == "slow" {
            gate.pass();
        }
        yes()
    });
    let server = server(&backend, "join,publish", &["--shards=1", "--hook-timeout=9s"]);
    let (mut slow, mut quick) = (server.connect(), server.connect());
    // All in one write: the rest is in the server's hands while it waits.
    let texts = [
        r#"{"type":"subscribe","room":"slow"}"#.to_owned(),
        r#"{"type":"publish","room":"slow","data":1,"id":"a"}"#.to_owned(),
        r#"{"type":"ping","id":"b"}"#.to_owned(),
        r#"{"type":"unsubscribe","room":"slow","id":"c"}"#.to_owned(),
    ];
    let frames: Vec<u8> = texts.iter().flat_map(|text| crate::common::frame(0x81, text.as_bytes())).collect();
    slow.send_bytes(&frames);
    backend.wait_for("join");
    quick.subscribe("chat");
    quick.send_text(r#"{"type":"ping"}"#);
    quick.expect_json(|pong| assert_eq!(pong["type"], "pong"));
    slow.expect_nothing(SILENCE);
    gate.open();
    let kinds = ["subscribed", "message", "published", "pong", "unsubscribed"];
    for kind in kinds {
        slow.expect_json(|message| assert_eq!(message["type"], kind));
    }
}

#[test]
fn a_verdict_about_a_connection_that_has_gone_does_nothing_to_the_next_one() {
    let gate: &'static Gate = Box::leak(Box::default());
    let backend = Backend::start(|heard| {
        if room(heard) == "slow" {
            gate.pass();
        }
        yes()
    });
    let server = server(&backend, "join,disconnect", &["--shards=1", "--hook-timeout=9s"]);
    let mut gone = server.connect();
    gone.send_text(r#"{"type":"subscribe","room":"slow"}"#);
    backend.wait_for("join");
    gone.reset();
    let mut next = server.connect();
    gate.open();
    backend.wait_for("disconnect");
    eventually("it is gone", || server.metric("websocket_clients_total") == Some(1.0));
    next.expect_nothing(SILENCE);
    assert_eq!(server.metric("websocket_rooms_total"), Some(0.0), "nobody is in the room");
    next.subscribe("slow");
}

#[test]
fn the_end_of_a_connection_is_told_with_its_reason() {
    let backend = Backend::friendly();
    let mut server = server(&backend, "disconnect", &["--drain-timeout=1s"]);
    let mut leaves = server.connect();
    let _stays = server.connect();
    leaves.send_frame(0x88, &1000_u16.to_be_bytes());
    leaves.expect_close(1000);
    let told = backend.wait_for("disconnect").json();
    assert_eq!(told["reason"], "peer_closed");
    assert_eq!(told["connectionId"].as_str().map(str::len), Some(36));
    server.signal("TERM");
    assert!(server.wait(PATIENCE).is_some_and(|status| status.success()), "{}", server.output());
    let told = backend.heard_of("disconnect");
    assert_eq!(told.len(), 2, "the shutdown waits for what is to be told");
    assert_eq!(told[1].json()["reason"], "shutting_down");
    assert_ne!(told[0].json()["connectionId"], told[1].json()["connectionId"]);
}

#[test]
fn a_message_that_only_the_backend_knows_goes_there_and_its_answers_come_back() {
    let backend = Backend::start(|heard| match heard.json()["type"].as_str() {
        Some("cancel_report") => {
            let twice = r#"{"messages":[{"type":"cancelled","data":{"id": 7}},{"type":"bye"}]}"#;
            Act::Say(twice.to_owned())
        }
        Some("forbidden") => Act::Say(r#"{"error":"you may not"}"#.to_owned()),
        Some("unwanted") => Act::Status(400, String::new()),
        _ => Act::Status(204, String::new()),
    });
    let server = server(&backend, "message", &[]);
    let mut client = server.connect();
    client.subscribe("reports:7");
    client.send_text(r#"{"type":"cancel_report","data":{"why": "late"},"id":1}"#);
    client.expect_json(|message| {
        assert_eq!((&message["type"], &message["id"]), (&"cancelled".into(), &1.into()));
        assert_eq!(message["data"], serde_json::json!({ "id": 7 }));
    });
    client.expect_json(|message| assert_eq!(message["type"], "bye"));
    let heard = backend.wait_for("message").json();
    assert_eq!(heard["data"], serde_json::json!({ "why": "late" }));
    assert_eq!(heard["rooms"], serde_json::json!(["reports:7"]));
    client.send_text(r#"{"type":"forbidden","id":2}"#);
    client
        .expect_json(|error| assert_eq!((&error["error"], &error["id"]), (&"you may not".into(), &2.into())));
    client.send_text(r#"{"type":"unwanted","id":3}"#);
    client.expect_json(|error| assert_eq!(error["error"], "the backend answered with an error"));
    client.send_text(r#"{"type":"noted","id":4}"#);
    client.expect_nothing(SILENCE);
}

#[test]
fn one_client_does_not_fill_the_queue_with_its_messages() {
    let (sender, receiver) = channel::<()>();
    let gate = Mutex::new(receiver);
    let backend = Backend::start(move |heard| {
        if heard.event() == "message" {
            // Until the sender is dropped.
            gate.lock().unwrap().recv().ok();
        }
        yes()
    });
    let server = server(&backend, "join,message", &["--hook-timeout=9s"]);
    let (mut noisy, mut other) = (server.connect(), server.connect());
    for n in 0..20 {
        noisy.send_text(&format!(r#"{{"type":"report","id":{n}}}"#));
    }
    for n in 16..20 {
        noisy.expect_json(|error| {
            assert_eq!((&error["error"], &error["id"]), (&"rate limit exceeded".into(), &n.into()));
        });
    }
    other.subscribe("chat");
    drop::<Sender<()>>(sender);
    noisy.send_text(r#"{"type":"ping"}"#);
    noisy.expect_json(|pong| assert_eq!(pong["type"], "pong"));
    backend
        .wait("all sixteen", |heard| heard.iter().filter(|heard| heard.event() == "message").count() == 16);
}

#[test]
fn a_dead_backend_makes_nobody_wait() {
    let backend = Backend::friendly();
    let flags = ["--hook-breaker-failures=2", "--hook-breaker-pause=1h"];
    let server = server(&backend, "join", &flags);
    let mut client = server.connect();
    client.subscribe("chat");
    backend.die();
    for n in 0..100 {
        client.send_text(&format!(r#"{{"type":"subscribe","room":"{n}"}}"#));
        client
            .expect_json(|error| assert_eq!(error["error"], "the backend cannot be asked: try again later"));
    }
    assert_eq!(server.metric(r#"fanwire_hook_breaker_state{of="decisions"}"#), Some(2.0));
    assert_eq!(server.metric(r#"fanwire_hook_total{event="join",outcome="breaker_open"}"#), Some(98.0));
    eventually("it is logged", || server.output().contains("the backend fails"));
    let said = server.output();
    let lines: Vec<_> = said.lines().filter(|line| line.contains("did not do what it was asked")).collect();
    assert_eq!(lines.len(), 1, "one line for one cause: {said}");
    let line = lines[0];
    assert!(line.contains("WARN") && line.contains("Connection refused") && line.contains("join"), "{line}");
}

const CANNOT_BE_ASKED: &str = "the backend cannot be asked: try again later";
const ERROR: &str = "the backend answered with an error";

/// Expects a refusal in these words.
fn expect_error(client: &mut Client, text: &str) {
    client
        .expect_json(|error| assert_eq!((&error["type"], &error["error"]), (&"error".into(), &text.into())));
}

fn subscribe_to(client: &mut Client, room: &str) {
    client.send_text(&format!(r#"{{"type":"subscribe","room":"{room}"}}"#));
}

#[test]
fn a_client_whose_messages_fail_harms_nobody() {
    // A handler that throws for what it does not expect, and a body parser that takes 100 kB.
    let backend = Backend::start(|heard| match heard.event().as_str() {
        "message" => Act::Status(500, String::new()),
        _ if heard.body.len() > 100_000 => Act::Status(413, String::new()),
        "publish" if heard.json()["data"] == "loud" => Act::Status(400, String::new()),
        _ => yes(),
    });
    let server = server(&backend, "connect,join,publish,message", &["--hook-retries=0"]);
    let mut rude = server.connect();
    rude.subscribe("chat");
    let long = format!(r#"{{"type":"publish","room":"chat","data":"{}"}}"#, "x".repeat(110_000));
    for n in 0..10 {
        for text in [r#"{"type":"do_it"}"#, &long, r#"{"type":"publish","room":"chat","data":"loud"}"#] {
            rude.send_text(text);
            expect_error(&mut rude, ERROR);
        }
        let mut other = server.connect();
        other.subscribe(&n.to_string());
    }
    for of in ["decisions", "notices"] {
        let state = server.metric(&format!(r#"fanwire_hook_breaker_state{{of="{of}"}}"#));
        assert_eq!(state, Some(0.0), "{of}");
    }
}

#[test]
fn a_client_that_makes_the_backend_silent_does_not_open_the_breaker_and_several_do() {
    let backend = Backend::start(|heard| if room(heard) == "slow" { Act::HangUp } else { yes() });
    let flags = ["--hook-breaker-failures=3", "--hook-breaker-pause=1h"];
    let server = server(&backend, "join", &flags);
    let mut slow: Vec<_> = (0..3).map(|_| server.connect()).collect();
    let mut other = server.connect();
    for _ in 0..10 {
        subscribe_to(&mut slow[0], "slow");
        expect_error(&mut slow[0], CANNOT_BE_ASKED);
    }
    other.subscribe("chat");
    for slow in &mut slow {
        subscribe_to(slow, "slow");
        expect_error(slow, CANNOT_BE_ASKED);
    }
    subscribe_to(&mut other, "more");
    expect_error(&mut other, CANNOT_BE_ASKED);
    assert_eq!(server.metric(r#"fanwire_hook_breaker_opened_total{of="decisions"}"#), Some(1.0));
    assert_eq!(server.metric(r#"fanwire_hook_total{event="join",outcome="breaker_open"}"#), Some(1.0));
}

#[test]
fn no_client_opens_a_room_by_what_the_backend_cannot_answer() {
    let backend = Backend::start(|heard| match room(heard).as_str() {
        "staff" => no("staff only"),
        odd if odd.starts_with("bad") => Act::Status(400, String::new()),
        odd if odd.starts_with("much") => Act::Status(429, String::new()),
        _ => yes(),
    });
    let flags = ["--hook-on-failure=allow", "--hook-breaker-failures=3", "--hook-breaker-pause=1h"];
    let server = server(&backend, "join,message", &flags);
    let mut rude = server.connect();
    for n in 0..6 {
        subscribe_to(&mut rude, &format!("bad{n}"));
        expect_error(&mut rude, ERROR);
    }
    subscribe_to(&mut rude, "staff");
    expect_error(&mut rude, "staff only");
    // Even if several connections open the breaker, by a limit on their rate.
    for _ in 0..3 {
        let mut one = server.connect();
        subscribe_to(&mut one, "much");
        expect_error(&mut one, CANNOT_BE_ASKED);
    }
    subscribe_to(&mut rude, "staff");
    expect_error(&mut rude, CANNOT_BE_ASKED);
}

#[test]
fn a_server_that_ends_while_it_asks_does_end() {
    let backend = Backend::start(|_| Act::Silence);
    let flags = ["--hook-timeout=1s", "--drain-timeout=2s"];
    let mut server = server(&backend, "join,disconnect", &flags);
    let mut client = server.connect();
    client.send_text(r#"{"type":"subscribe","room":"chat"}"#);
    backend.wait_for("join");
    server.signal("TERM");
    assert!(server.wait(PATIENCE).is_some_and(|status| status.success()), "{}", server.output());
}

#[test]
fn the_secret_is_in_no_log_and_needed() {
    let backend = Backend::start(|heard| match heard.event().as_str() {
        "join" => Act::Status(500, String::new()),
        _ => yes(),
    });
    let server = server(&backend, "connect,join", &["--log-level=trace"]);
    let mut client = Client::connect_with(server.addr(), "/ws?token=abcdefgh", &[]);
    client.send_text(r#"{"type":"subscribe","room":"chat"}"#);
    client.expect_json(|error| assert_eq!(error["type"], "error"));
    eventually("it is logged", || server.output().contains("a request to the backend failed"));
    let said = server.output();
    assert!(said.contains("connected"), "{said}");
    assert!(!said.contains(SECRET) && !said.contains("abcdefgh"), "{said}");

    let url = format!("--hook-url={}", backend.url());
    let (status, said) = Server::run(&[&url], &[]);
    assert!(!status.success() && said.contains("hook_secret"), "{said}");
    let (status, said) = Server::run(&["--hook-url=ftp://u:pass@host/"], &[]);
    assert!(!status.success() && said.contains("hook_url") && !said.contains("pass@"), "{said}");
}

#[test]
fn without_a_hook_there_is_no_trace_of_one() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.send_text(r#"{"type":"cancel_report"}"#);
    client.expect_json(|error| assert_eq!(error["error"], "unknown message type"));
    assert!(!server.get("/metrics").body.contains("fanwire_hook"));
}

/// The backend of the guide on a port, with `more` done to its server before it starts.
fn backend_of_the_guide(port: u16, more: &str) -> String {
    let chapter = std::fs::read_to_string(tests_path("../src/guide/hook.md")).unwrap();
    let examples = chapter.split("```python\n").skip(1).filter_map(|rest| rest.split("```").next());
    let example = examples.into_iter().find(|text| text.contains("Fanwire-Signature")).expect("an example");
    let (before, _) = example.split_once("http.server.HTTPServer(").expect("its last line");
    assert!(example.contains("9000"));
    let server = "server = http.server.HTTPServer((\"127.0.0.1\", PORT), Backend)";
    let server = server.replace("PORT", &port.to_string());
    format!("{before}{server}\n{more}\nserver.serve_forever()\n")
}

fn start_python(script: &str, port: u16, secret: &str) -> Program {
    let mut command = Command::new("python3");
    let program = Program::start(command.args(["-c", script]).env("FANWIRE_HOOK_SECRET", secret));
    eventually("the backend listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    program
}

fn assert_staff_only(server: &Server) {
    let mut client = server.connect();
    client.subscribe("chat");
    client.send_text(r#"{"type":"subscribe","room":"staff"}"#);
    client.expect_json(|error| assert_eq!(error["error"], "staff only", "{}", server.output()));
}

#[test]
fn the_backend_of_the_guide_works() {
    if find_program("python3").is_none() {
        return left_out("the backend of the guide", "python3");
    }
    let port = free_port();
    let url = format!("--hook-url=http://127.0.0.1:{port}/");
    let _backend = start_python(&backend_of_the_guide(port, ""), port, SECRET);
    let flags = [url.as_str(), "--hook-events=connect,join"];
    assert_staff_only(&Server::start_with(&flags, &[("FANWIRE_HOOK_SECRET", SECRET)]));
    // It believes nobody who has another secret.
    let stranger = Server::start_with(&flags, &[("FANWIRE_HOOK_SECRET", "another-secret")]);
    let refused = upgrade(&stranger, "/ws", &[]);
    assert_eq!((refused.status, refused.body.as_str()), (403, "the signature is wrong\n"));
}

/// A key and a certificate for 127.0.0.1.
fn certificate(folder: &Path) -> bool {
    let request = [
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=backend",
        "-addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE",
        "-keyout key.pem -out certificate.pem",
    ];
    let arguments = request.join(" ");
    let made = Command::new("openssl").current_dir(folder).args(arguments.split(' ')).output();
    made.is_ok_and(|made| made.status.success())
}

#[test]
fn over_https_the_certificate_counts() {
    let folder = tempfile::tempdir().expect("a folder");
    if find_program("python3").is_none() || !certificate(folder.path()) {
        return left_out("a backend over https", "python3 and openssl 1.1.1 or later");
    }
    let port = free_port();
    let path = |name: &str| folder.path().join(name).to_str().expect("a path in UTF-8").to_owned();
    let tls = [
        "import ssl".to_owned(),
        "context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)".to_owned(),
        format!("context.load_cert_chain({:?}, {:?})", path("certificate.pem"), path("key.pem")),
        "server.socket = context.wrap_socket(server.socket, server_side=True)".to_owned(),
    ];
    let _backend = start_python(&backend_of_the_guide(port, &tls.join("\n")), port, SECRET);
    let url = format!("--hook-url=https://127.0.0.1:{port}/");
    let flags = [url.as_str(), "--hook-events=connect,join"];
    let certificates = path("certificate.pem");
    let trusting = [("FANWIRE_HOOK_SECRET", SECRET), ("SSL_CERT_FILE", &certificates)];
    assert_staff_only(&Server::start_with(&flags, &trusting));

    // Another name, by which the certificate is not known.
    let other = url.replace("127.0.0.1", "localhost");
    let server = Server::start_with(&[&other, "--hook-events=connect"], &trusting);
    assert_eq!(upgrade(&server, "/ws", &[]).status, 503);
    // Nobody vouches for it.
    let strangers = tempfile::tempdir().expect("a folder");
    assert!(certificate(strangers.path()));
    let strange = strangers.path().join("certificate.pem");
    let wary = [("FANWIRE_HOOK_SECRET", SECRET), ("SSL_CERT_FILE", strange.to_str().expect("UTF-8"))];
    let server = Server::start_with(&flags, &wary);
    assert_eq!(upgrade(&server, "/ws", &[]).status, 503);
}
