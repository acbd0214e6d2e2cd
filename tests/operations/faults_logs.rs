//! A log that cannot be written, because the disk is full or nobody empties the pipe, neither ends the server nor holds
//! it up.

use crate::common::{Client, PATIENCE, Server, eventually};
use std::fs::File;
use std::io::Read;
use std::net::TcpStream;

const FULL: &str = "/dev/full";

/// Clients of which some are enough to fill a pipe and what waits for it.
const CAME_MAX: u32 = 30_000;

/// Lets clients come and go until `done`; each is logged twice at the level of debug. A member is served meanwhile.
fn come_and_go(server: &Server, done: impl Fn(u32) -> bool) {
    let mut member = server.connect();
    member.subscribe("room");
    let mut came = 0;
    while !done(came) {
        assert!(came < CAME_MAX, "{came} came and went");
        for _ in 0..100 {
            drop(server.connect());
            came += 1;
        }
        member.send_text(r#"{"type":"publish","room":"room","data":1}"#);
        member.expect_text();
    }
}

fn lost(server: &Server) -> f64 {
    server.metric("fanwire_log_lines_lost_total").expect("it is counted")
}

#[test]
fn a_full_disk_costs_log_lines_and_nothing_else() {
    if !std::path::Path::new(FULL).exists() {
        return crate::common::left_out("a_full_disk_costs_log_lines_and_nothing_else", FULL);
    }
    for format in ["text", "json"] {
        let format = format!("--log-format={format}");
        let flags = ["--log-level=debug", format.as_str()];
        let mut server = Server::start_unread_after(&format!("exec >{FULL} 2>{FULL}"), &flags);
        come_and_go(&server, |came| came >= 300);
        // The thread that writes may be behind the clients.
        eventually("all lines are counted as lost", || lost(&server) >= 600.0);
        println!("{} lines lost to a full disk", lost(&server));
        server.signal("TERM");
        assert_eq!(server.wait(PATIENCE).expect("it ends").code(), Some(0));
    }
}

#[test]
fn a_wrong_setting_is_told_by_the_status_when_it_cannot_be_said() {
    if !std::path::Path::new(FULL).exists() {
        return crate::common::left_out("a_wrong_setting_is_told_by_the_status_when_it_cannot_be_said", FULL);
    }
    let setup = format!("exec >{FULL} 2>{FULL}");
    let codes = [["--ping-interval=soon"], ["--no-such-flag"], ["--config=/nowhere.yaml"]]
        .map(|flags| Server::run_after(&setup, &flags).0.code());
    assert_eq!(codes, [Some(2); 3]);
}

#[test]
fn a_pipe_that_nobody_reads_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let path = path.to_str().unwrap();
    // The server holds the reading end as well, so the pipe is full and never broken.
    let setup = format!("mkfifo '{path}' && exec 2<>'{path}'");
    let mut server = Server::start_unread_after(&setup, &["--log-level=debug", "--log-format=json"]);
    // 64 KiB are the pipe's, 1 MiB waits, and what comes then is lost.
    come_and_go(&server, |_| lost(&server) > 1000.0);
    println!("{} lines lost to a stuck pipe", lost(&server));

    // Somebody reads at last: what waited is there, in whole lines, and nothing is lost any more.
    let mut log = File::open(path).unwrap();
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        let mut buffer = [0; 65536];
        while !text.contains("draining; a second signal") {
            let length = log.read(&mut buffer).unwrap();
            assert!(length > 0, "the end comes after the last words");
            text.push_str(std::str::from_utf8(&buffer[..length]).expect("lines of ASCII"));
        }
        text
    });
    eventually("what waits is written", || {
        let before = lost(&server);
        drop(server.connect());
        lost(&server) == before
    });
    server.signal("TERM");
    assert_eq!(server.wait(PATIENCE).expect("it ends").code(), Some(0));
    let text = reading.join().unwrap();
    let whole = |line: &str| serde_json::from_str::<serde_json::Value>(line).is_ok();
    assert!(text.lines().all(whole));
    println!("{} lines were kept", text.lines().count());
    assert!(text.lines().count() > 2000);
}

#[test]
fn a_stuck_pipe_does_not_keep_the_server_from_ending() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let path = path.to_str().unwrap();
    let setup = format!("mkfifo '{path}' && exec 2<>'{path}' && head -c 65536 /dev/zero >&2");
    let mut server = Server::start_after(&setup, &["--log-level=debug"]);
    let mut member = Client::on(TcpStream::connect(server.addr()).unwrap(), "localhost", "/ws", &[]);
    member.subscribe("room");
    drop(member);
    server.signal("TERM");
    assert_eq!(server.wait(PATIENCE).expect("it ends").code(), Some(0));
}
