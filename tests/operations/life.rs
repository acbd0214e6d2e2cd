//! How the server starts, reloads and ends.

use crate::common::{Client, PATIENCE, Program, Response, Server, eventually, exchange, request};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

#[test]
fn a_drain_closes_every_connection_and_ends_in_time() {
    let mut server = Server::start(&["--drain-timeout", "5s"]);
    let mut members: Vec<_> = (0..20).map(|_| server.connect()).collect();
    members[0].subscribe("chat");
    server.signal("TERM");
    let closing: Vec<_> = members
        .into_iter()
        .map(|mut member| std::thread::spawn(move || member.read_until_close(1001, |_| {})))
        .collect();
    for member in closing {
        let reason = member.join().expect("closed as it should be");
        assert!(reason.starts_with("server shutting down"), "{reason}");
    }
    let status = server.wait(PATIENCE).expect("ends");
    assert_eq!(status.code(), Some(0), "{}", server.output());
}

#[test]
fn the_log_says_how_a_drain_ended() {
    let mut server = Server::start(&["--drain-timeout", "20s"]);
    let members: Vec<_> = (0..5).map(|_| server.connect()).collect();
    server.signal("TERM");
    for mut member in members {
        member.read_until_close(1001, |_| {});
    }
    server.wait(PATIENCE).expect("ends");
    let output = server.output();
    let line = output.lines().find(|line| line.contains("drained")).unwrap_or_else(|| panic!("{output}"));
    assert!(line.contains("closed=5 cut=0 ms="), "{line}");
}

/// A connection that a drain waits for: it does not answer its close frame.
fn holds_up(server: &Server) -> Client {
    let mut member = server.connect();
    server.signal("TERM");
    let close = member.read_frame().expect("a close frame");
    let text = String::from_utf8_lossy(&close.payload[2..]);
    assert!(text.starts_with("server shutting down: reconnect in "), "{text}");
    member
}

#[test]
fn a_node_that_drains_says_so_to_those_who_come() {
    let server = Server::start(&["--drain-timeout", "60s", "--shards", "1", "--close-wait", "60s"]);
    let _member = holds_up(&server);
    let upgrade = Client::handshake(&server.addr().to_string(), "/ws", &[]);
    let refused = exchange(server.addr(), &upgrade);
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")), "{}", refused.body);
    server.get("/ready").expect(503, r#"{"ready":false,"reason":"draining"}"#);
    let health = request(server.addr(), "GET", "/health", &[], b"");
    assert_eq!((health.status, health.header("connection")), (200, Some("close")));
    server.post("/v1/publish", r#"{"room":"a","data":1}"#).expect(200, r#"{"delivered":0}"#);
}

#[test]
fn a_request_that_has_begun_is_answered_in_a_drain() {
    let mut server = Server::start(&["--drain-timeout", "60s"]);
    let body = r#"{"room":"a","data":1}"#;
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!(
        "POST /v1/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{}",
        body.len(),
        &body[..10]
    );
    stream.write_all(request.as_bytes()).unwrap();
    // Idle connections do not hold it up.
    let mut idle = TcpStream::connect(server.addr()).unwrap();
    idle.set_read_timeout(Some(PATIENCE)).unwrap();
    idle.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert!(idle.read(&mut [0; 1000]).unwrap() > 0);
    server.signal("TERM");
    assert_eq!(idle.read(&mut [0; 1000]).unwrap(), 0, "the idle connection is closed");
    eventually("no more are accepted", || TcpStream::connect(server.addr()).is_err());
    assert_eq!(server.wait(Duration::ZERO), None, "it waits for the rest of the request");
    stream.write_all(&body.as_bytes()[10..]).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = Response::parse(&answer);
    answer.expect(200, r#"{"delivered":0}"#);
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(server.wait(PATIENCE).expect("ends").code(), Some(0), "{}", server.output());
}

#[test]
fn a_drain_ends_when_its_time_is_over() {
    let mut server = Server::start(&["--drain-timeout", "1s", "--close-wait", "60s"]);
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    stream.write_all(b"POST /v1/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n").unwrap();
    let _member = holds_up(&server);
    assert_eq!(server.wait(PATIENCE).expect("ends").code(), Some(0));
    assert!(server.output().contains("closed=0 cut=1 ms="), "{}", server.output());
}

#[test]
fn before_it_drains_the_node_can_be_taken_out_of_balance() {
    let mut server = Server::start(&["--drain-delay", "60s"]);
    let mut member = server.connect();
    member.subscribe("a");
    server.signal("TERM");
    eventually("it is not ready", || server.get("/ready").status == 503);
    // All else goes on.
    let _newcomer = server.connect();
    assert_eq!(server.post("/v1/publish", r#"{"room":"a","data":1}"#).json()["delivered"], 1);
    member.expect(r#"{"type":"message","room":"a","data":1,"timestamp":"*ms"}"#);
    assert_eq!(server.wait(Duration::ZERO), None);
    server.signal("TERM");
    server.wait(PATIENCE).expect("a second signal ends it at once");
}

#[test]
fn the_drain_begins_after_the_delay() {
    let mut server = Server::start(&["--drain-delay", "100ms"]);
    let mut member = server.connect();
    server.signal("TERM");
    member.read_until_close(1001, |_| {});
    assert_eq!(server.wait(PATIENCE).expect("ends").code(), Some(0));
}

#[test]
fn an_idle_server_ends_at_once() {
    let mut server = Server::start(&["--drain-timeout", "30s"]);
    server.signal("TERM");
    let status = server.wait(PATIENCE).expect("there is nothing to wait for");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn an_interrupt_drains_as_well() {
    let mut server = Server::start(&["--drain-timeout", "5s"]);
    server.signal("INT");
    assert_eq!(server.wait(PATIENCE).expect("ends").code(), Some(0));
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut server = Server::start(&["--drain-timeout", "60s"]);
    // Members that neither read nor close keep a drain waiting.
    let _members: Vec<_> = (0..50).map(|_| server.connect()).collect();
    server.signal("TERM");
    assert_eq!(server.wait(Duration::from_millis(500)), None, "still draining");
    server.signal("TERM");
    server.wait(PATIENCE).expect("long before the drain is over");
}

#[test]
fn a_hangup_reads_the_file_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fanwire.yaml");
    std::fs::write(&path, "connections_max: 1\n").unwrap();
    let server = Server::start(&["--config", path.to_str().unwrap()]);
    let _first = server.connect();
    let refused =
        || exchange(server.addr(), &Client::handshake(&server.addr().to_string(), "/ws", &[])).status == 503;
    assert!(refused());

    // A file with a mistake changes nothing.
    std::fs::write(&path, "connections_max: many\n").unwrap();
    server.signal("HUP");
    eventually("the mistake is named", || server.output().contains("connections_max"));
    assert!(refused());

    std::fs::write(&path, "connections_max: 1000000\n").unwrap();
    server.signal("HUP");
    let start = Instant::now();
    while server.get("/health").body.contains("\"clients\":1,") && start.elapsed() < PATIENCE {
        // An accepted upgrade has no end, so look for it by a connection that is closed again.
        let mut stream = std::net::TcpStream::connect(server.addr()).unwrap();
        let request = Client::handshake(&server.addr().to_string(), "/ws", &[]);
        std::io::Write::write_all(&mut stream, &request).unwrap();
        let mut head = [0; 12];
        std::io::Read::read_exact(&mut stream, &mut head).unwrap();
        if &head == b"HTTP/1.1 101" {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("the new limit does not hold: {}", server.output());
}

#[test]
fn a_wrong_setting_stops_the_start_and_is_named() {
    let flag = Server::run(&["--ping-interval", "soon"], &[]);
    // Without the harness's own port, which would hide the wrong one.
    let variable = Server::run_bare(&[], &[("WEBSOCKET_PORT", "99999999")]);
    let file = Server::run(&["--config", "/nowhere/fanwire.yaml"], &[]);
    for ((status, output), word) in [(flag, "soon"), (variable, "99999999"), (file, "/nowhere/fanwire.yaml")]
    {
        assert!(!status.success(), "{output}");
        assert!(output.contains(word), "{word} is not in {output}");
    }
}

#[test]
fn a_server_that_is_not_enabled_serves_nothing() {
    let (status, said) = Server::run(&[], &[("WEBSOCKET_ENABLED", "false")]);
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("enabled"), "{said}");
    assert!(!said.contains("listening on"), "{said}");
}

#[test]
fn an_unknown_key_of_the_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fanwire.yaml");
    std::fs::write(&path, "conections_max: 1\n").unwrap();
    let (status, output) = Server::run(&["--config", path.to_str().unwrap()], &[]);
    assert!(!status.success());
    assert!(output.contains("conections_max"), "{output}");
}

#[test]
fn two_servers_cannot_have_one_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fanwire.sock");
    let path = path.to_str().unwrap();
    let mut first = Server::start(&["--unix-socket", path]);
    let (status, output) = Server::run(&["--unix-socket", path], &[]);
    assert!(!status.success());
    assert!(output.contains(path), "{output}");
    // One that is gone leaves the path to the next.
    first.signal("KILL");
    first.wait(PATIENCE).expect("killed");
    Server::start(&["--unix-socket", path]);
}

#[test]
fn two_servers_cannot_have_one_port() {
    let first = Server::start(&[]);
    let port = first.addr().port().to_string();
    for host in ["127.0.0.1", "0.0.0.0", "::"] {
        let (status, output) = Server::run(&["--host", host, "--port", &port], &[]);
        assert_eq!(status.code(), Some(1), "{host}: {output}");
        for part in ["cannot listen on", &port, "another server has this port", "--reuse-port"] {
            assert!(output.contains(part), "{host}: {part} is not in {output}");
        }
    }
    assert_eq!(first.get("/health").status, 200);
}

#[test]
fn servers_share_a_port_where_both_say_so() {
    let first = Server::start(&["--reuse-port=true"]);
    let port = first.addr().port().to_string();
    let second = Server::start(&["--reuse-port=true", "--port", &port]);
    assert_eq!(first.addr(), second.addr());
}

#[test]
fn a_server_starts_again_at_once_on_its_port() {
    let mut server = Server::start(&[]);
    let addr = server.addr();
    for _ in 0..3 {
        // The server closes first, so that its connections are in TIME_WAIT.
        let mut client = server.connect();
        server.signal("TERM");
        client.read_until_close(1001, |_| {});
        server.wait(PATIENCE).expect("ends");
        server = Server::start(&["--port", &addr.port().to_string()]);
        assert_eq!(server.addr(), addr);
    }
}

#[test]
fn without_tcp_a_server_listens_on_its_unix_socket_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fanwire.sock");
    let socket = path.to_str().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanwire"));
    let server =
        Program::start(command.args(["--tcp=false", "--port=1", "--shards=1", "--unix-socket", socket]));
    eventually("it says where it listens", || server.output().contains("try:"));
    let said = server.output();
    assert!(
        said.contains(&format!("listening on unix:{socket}\n")) && !said.contains("http://localhost:"),
        "{said}"
    );
    assert!(
        said.contains(", 1 shard\n") && said.contains(&format!("curl --unix-socket {socket} ")),
        "{said}"
    );
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.") && answer.contains("healthy"), "{answer}");

    let (status, output) = Server::run(&["--tcp=false"], &[]);
    assert_eq!(status.code(), Some(2));
    assert!(output.contains("there must be a unix_socket"), "{output}");
}

#[test]
fn what_stands_in_the_place_of_the_unix_socket_survives_start_and_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    std::fs::write(&path, "precious").unwrap();
    let (status, output) = Server::run(&["--unix-socket", path.to_str().unwrap()], &[]);
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains("it is a file, which is not replaced"), "{output}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");

    std::fs::remove_file(&path).unwrap();
    let mut server = Server::start(&["--unix-socket", path.to_str().unwrap()]);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "precious").unwrap();
    server.signal("TERM");
    server.wait(PATIENCE).expect("ends");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn the_unix_socket_has_mode_and_group_whatever_the_umask() {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fanwire.sock");
    let socket = path.to_str().unwrap();
    for (umask, flags, mode) in [
        ("umask 000", &[][..], 0o660),
        ("umask 077", &[], 0o660),
        ("umask 022", &["--unix-socket-mode=0600"], 0o600),
        ("umask 077", &["--unix-socket-mode=666"], 0o666),
    ] {
        let mut server = Server::start_after(umask, &[&["--unix-socket", socket], flags].concat());
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        assert_eq!(metadata.mode() & 0o777, mode, "{umask} {flags:?}");
        server.signal("TERM");
        server.wait(PATIENCE).expect("ends");
        assert!(!path.exists());
    }
    let (status, output) = Server::run(&["--unix-socket", socket, "--unix-socket-group=no-such-group"], &[]);
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains("there is no group \"no-such-group\""), "{output}");
}
