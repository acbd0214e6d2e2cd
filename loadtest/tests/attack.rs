//! `attack` against a server of a few lines.

use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output};
use std::thread;

use tungstenite::Message;

/// A server that answers each ping of the protocol `rooms`, and nothing else.
fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || {
                let mut socket = tungstenite::accept(stream.unwrap()).unwrap();
                socket.send(Message::text(r#"{"type":"connected"}"#)).unwrap();
                while let Ok(message) = socket.read() {
                    let is_ping = matches!(&message, Message::Text(text) if text.contains("\"ping\""));
                    if is_ping && socket.send(Message::text(r#"{"type":"pong"}"#)).is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

fn attack(address: SocketAddr, options: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(["attack", &format!("ws://{address}/ws"), "--duration", "1", "--clients", "2"])
        .args(options)
        .output()
        .unwrap()
}

#[test]
fn round_trips_are_measured_without_and_with_the_attack() {
    let address = server();
    let output =
        attack(address, &["--kind", "unknown", "--json", "--ratio-max", "1e9", "--p99-max-ms", "60000"]);
    assert!(output.status.success(), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["kind"], &report["good"]), (&"unknown".into(), &true.into()));
    assert!(report["sent"].as_u64() > Some(0), "{report}");
    for part in ["without", "with"] {
        assert!(report[part]["round_trips"].as_u64() > Some(0), "{report}");
        assert!(report[part]["p99_ms"].as_f64() > Some(0.0), "{report}");
        assert_eq!(report[part]["failures"], 0, "{report}");
    }
}

#[test]
fn what_the_others_feel_too_much_fails() {
    let output = attack(server(), &["--kind", "pings", "--p99-max-ms", "0"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().any(|line| line.starts_with("with ")), "{text}");
    // Nothing to attack, and no such attack.
    assert_eq!(attack("127.0.0.1:1".parse().unwrap(), &["--kind", "filters"]).status.code(), Some(2));
    assert_eq!(attack("127.0.0.1:1".parse().unwrap(), &["--kind", "what"]).status.code(), Some(2));
}
