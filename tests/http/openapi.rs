//! `/openapi.json`: served to all, valid, and true of the server by a fuzzer that we did not write. The document is held
//! against the routes beside them, in `src/api`.

use crate::common::token::{SECRET_VARIABLE, sign};
use crate::common::{Client, Program, Server, frame, left_out, opcode, request, tests_path};
use serde_json::json;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const KEY: &str = "the-key-of-the-fuzzer";

/// Operations that the document has at the least. Those that the fuzzer cannot read are none of its total.
const OPERATIONS_MIN: usize = 32;

/// How long the fuzzer may take, on a busy machine.
const FUZZER_PATIENCE: Duration = Duration::from_secs(1200);

/// A program that pip installed from tests/openapi/requirements.txt.
fn installed(program: &str) -> Option<PathBuf> {
    let folder = tests_path(".tools/schemathesis");
    folder.join(".installed").exists().then(|| folder.join("bin").join(program))
}

/// Keeps a connection, at first a member of a room, that comes again whenever it is closed, until the server has gone.
/// It does not join again: a room that the fuzzer has removed is to stay away.
fn keep_member(addr: SocketAddr, path: String, room: &str) {
    let mut subscribe =
        frame(opcode::TEXT, json!({"type": "subscribe", "room": room}).to_string().as_bytes());
    std::thread::spawn(move || {
        while let Ok(mut stream) = TcpStream::connect(addr) {
            let handshake = Client::handshake(&addr.to_string(), &path, &[]);
            let said = stream.write_all(&handshake).and_then(|()| stream.write_all(&subscribe));
            subscribe.clear();
            let mut buffer = [0; 4096];
            while said.is_ok() && stream.read(&mut buffer).is_ok_and(|length| length > 0) {}
        }
    });
}

#[test]
fn the_document_is_served_to_all() {
    let server = Server::start_with(&["--path-prefix=/live"], &[("FANWIRE_API_KEY", KEY)]);
    let answer = server.get("/live/openapi.json");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    assert_eq!(answer.json()["openapi"], "3.1.0");
    assert_eq!(answer.json()["servers"], json!([{"url": "/live"}]));
    assert_eq!(server.get("/openapi.json").status, 404);
    let head = request(server.addr(), "HEAD", "/live/openapi.json", &[], b"");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(head.header("content-length"), Some(answer.body.len().to_string().as_str()));
    let refused = request(server.addr(), "POST", "/live/openapi.json", &[], b"{}");
    assert_eq!((refused.status, refused.header("allow")), (405, Some("GET, HEAD")));
}

#[test]
fn a_validator_accepts_the_document() {
    let Some(validator) = installed("openapi-spec-validator") else {
        return left_out("openapi::validator", "openapi-spec-validator for Python");
    };
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("openapi.json");
    std::fs::write(&file, server.get("/openapi.json").body).unwrap();
    let mut validator = Program::start(Command::new(validator).arg(&file));
    assert!(validator.finish(Duration::from_secs(60)).success(), "{}", validator.output());
    // It sees what is wrong.
    std::fs::write(&file, server.get("/openapi.json").body.replace("\"responses\"", "\"answers\"")).unwrap();
    let mut validator = Program::start(Command::new(installed("openapi-spec-validator").unwrap()).arg(&file));
    assert!(!validator.finish(Duration::from_secs(60)).success());
}

/// Runs the fuzzer against a server with members, rooms, histories and a key; what it said, if it found something.
fn fuzz(arguments: &[&str]) -> Result<(), String> {
    let fuzzer = installed("schemathesis").ok_or("not installed")?;
    let rules = r#"--room-rules=[{"pattern":"**","history_messages":10}]"#;
    let environment = [("FANWIRE_API_KEY", KEY), SECRET_VARIABLE];
    let server = Server::start_with(&[rules], &environment);
    let claims = json!({"userId": "u1", "tenantId": "t1", "roles": ["r1"], "exp": 4_000_000_000_u64});
    keep_member(server.addr(), format!("/ws?token={}", sign(&claims)), "chat");
    keep_member(server.addr(), "/ws".to_owned(), "chat");
    keep_member(server.addr(), "/ws".to_owned(), "news");
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(fuzzer);
    command.current_dir(folder.path()).arg("--config-file").arg(tests_path("openapi/schemathesis.toml"));
    command.arg("run").arg(format!("http://{}/openapi.json", server.addr()));
    command.arg("-H").arg(format!("Authorization: Bearer {KEY}")).args(arguments);
    // The same requests each time. With several workers the fuzzer's own code fails now and then.
    command.args(["--seed=1", "--workers=1", "--no-color", "--generation-database=none", "--warnings=off"]);
    command.args(["--continue-on-failure", "--no-shrink"]);
    // Proxy settings are for the world outside.
    command.env("NO_PROXY", "*").env("no_proxy", "*");
    let mut program = Program::start(&mut command);
    let status = program.finish(FUZZER_PATIENCE);
    let said = program.output();
    assert_eq!(server.get("/health").status, 200);
    if !status.success() {
        return Err(said);
    }
    // It has not passed by having nothing to do.
    let number = |before: &str| -> Option<usize> {
        let rest = said.split_once(before)?.1;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    let tested = number("Tested: ").unwrap_or(0);
    assert!(tested >= OPERATIONS_MIN && number("Selected: ") == Some(tested), "{said}");
    assert!(said.contains("generated"), "{said}");
    Ok(())
}

#[test]
fn a_fuzzer_accepts_the_server() {
    if installed("schemathesis").is_none() {
        return left_out("openapi::schemathesis", "Schemathesis for Python");
    }
    // Wrong keys are answered late, so these are few.
    for arguments in [
        ["--checks=all", "--exclude-checks=ignored_auth", "--max-examples=150"],
        ["--checks=ignored_auth", "--phases=fuzzing", "--max-examples=1"],
    ] {
        let found = fuzz(&arguments);
        assert!(found.is_ok(), "{}", found.unwrap_err());
    }
}

#[test]
fn the_fuzzer_sees_a_server_that_is_not_as_it_says() {
    if installed("schemathesis").is_none() {
        return left_out("openapi::schemathesis_sees", "Schemathesis for Python");
    }
    // The fuzzer's own expectation is made wrong in place of the server.
    let checks = ["--checks=all", "--exclude-checks=ignored_auth"];
    let found = fuzz(&[&checks[..], &["--max-examples=5", "--max-response-time=0.000001"]].concat());
    assert!(found.is_err_and(|said| said.contains("Response time limit exceeded")), "it is asleep");
}
