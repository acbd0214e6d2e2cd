//! How the server starts, reloads and ends.

use crate::common::{Client, PATIENCE, Server, exchange};
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
    crate::common::eventually("the mistake is named", || server.output().contains("connections_max"));
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
