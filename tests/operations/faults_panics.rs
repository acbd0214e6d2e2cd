//! A shard that panics takes the process with it, loudly: half a server, silent for part of its connections, is worse
//! than none.
//!
//! The release binary has no switch that makes a shard panic. A program with the server inside has a way: the panic of
//! a handler is caught, but what that panic carries may panic again when it is dropped. So each test runs itself as
//! such a program.

use crate::common::{Client, PATIENCE, Program};
use fanwire::config::Config;
use fanwire::{CustomRequest, HandlerError, Server};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Instant;

/// Set for the process that is to fail.
const INSIDE: &str = "FAULTS_PANICS_INSIDE";

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("the bomb went off");
    }
}

fn bomb(_: CustomRequest) {
    std::panic::panic_any(Bomb)
}

fn only_the_handler(_: CustomRequest) {
    panic!("only the handler")
}

fn fail(_: CustomRequest) -> Result<(), HandlerError> {
    Err("x".parse::<u8>().expect_err("it is no number").into())
}

/// Not a test by itself: the program of the others, which runs until it fails.
#[test]
fn the_program_inside() {
    if std::env::var_os(INSIDE).is_none() {
        return;
    }
    let log = fanwire::io::LogWriter::start(std::io::stderr()).unwrap();
    let writer = log.clone();
    tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
    let config = Config { host: [127, 0, 0, 1].into(), port: 0, shards: 2, ..Config::default() };
    let server = Server::builder()
        .config(config)
        .log(log)
        .on("bomb", bomb)
        .on("panic", only_the_handler)
        .on("fail", fail)
        .on_async("fail beside", async |request| fail(request))
        .start()
        .unwrap();
    println!("\nlistening on {}", server.local_addr().unwrap());
    server.wait().unwrap();
}

/// Starts the program; where it listens.
fn start() -> (Program, SocketAddr) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "faults_panics::the_program_inside", "--nocapture"]).env(INSIDE, "1");
    let mut program = Program::start(&mut command);
    program.expect("listening on ");
    let output = program.output();
    let line = output.lines().find_map(|line| line.strip_prefix("listening on ")).unwrap();
    let addr = line.trim().parse().unwrap();
    (program, addr)
}

/// The end of the process: its status, its last words, and of all connections.
fn check_end(program: &mut Program, members: Vec<Client>, words: &[&str]) {
    let start = Instant::now();
    let status = program.finish(PATIENCE);
    let ended = start.elapsed();
    assert_eq!(status.code(), Some(70), "{}", program.output());
    for mut member in members {
        assert_eq!(member.read_frame(), None, "cut off with the process");
    }
    crate::common::eventually("the last words are there", || program.output().contains("the process ends"));
    let output = program.output();
    let line = output.lines().find(|line| line.contains("the process ends")).unwrap();
    for word in words {
        assert!(line.contains(word), "{word} is not in {line}");
    }
    println!("the process ended {ended:?} after its shard: {line}");
}

#[test]
fn a_shard_that_panics_ends_the_process_with_its_state() {
    let (mut program, addr) = start();
    let mut members: Vec<_> = (0..20).map(|_| Client::connect(addr)).collect();
    members.iter_mut().for_each(|member| member.subscribe("room"));
    // A handler's own panic, or error, costs nobody anything, and no more than a line of the log in a minute.
    for kind in ["panic", "fail", "fail beside"].repeat(3) {
        members[0].send_text(&format!(r#"{{"type":"{kind}"}}"#));
        members[0].expect_json(|answer| assert_eq!(answer["error"], "internal error"));
    }
    members[0].send_text(r#"{"type":"bomb"}"#);
    check_end(
        &mut program,
        members,
        &["ERROR", "shard=", "the bomb went off", "connections_of_node=20", "rooms_of_node=1", "uptime_ms="],
    );
    let output = program.output();
    let lines = |word: &str| output.lines().filter(|line| line.contains(word)).count();
    assert_eq!(lines("a custom handler panicked event=\"panic\" count=1"), 1);
    for event in ["fail", "fail beside"] {
        let line = format!("a handler of the program failed event=\"{event}\" cause=invalid digit");
        assert_eq!(lines(&line), 1, "{event}");
    }
    assert_eq!(lines("a custom handler panicked") + lines("a handler of the program failed"), 3);
}

#[test]
fn a_task_that_panics_while_it_changes_its_shard_ends_the_process_too() {
    let (mut program, addr) = start();
    let member = Client::connect(addr);
    // The first message comes with a handshake that is not plain, so the task that serves HTTP handles it.
    let mut newcomer = TcpStream::connect(addr).unwrap();
    let mut bytes = Client::handshake(&addr.to_string(), "/ws", &[("Content-Length", "0")]);
    bytes.extend(crate::common::frame(0x81, br#"{"type":"bomb"}"#));
    newcomer.write_all(&bytes).unwrap();
    check_end(&mut program, vec![member], &["ERROR", "a task panicked while it changed the shard"]);
}
