//! Clients that others wrote, unmodified: the document's own code, and public libraries and tools.

use crate::common::{
    Program, Server, build_go, client_python, find_program, left_out, npm_package, tests_path,
};
use std::process::Command;
use std::time::Duration;

/// The port that the document's code has.
const DOCUMENT_PORT: &str = ":8081";

/// The first code block after `heading` in the rooms document, with the server's port put in place.
fn code_block(heading: &str, server: &Server) -> String {
    let document = std::fs::read_to_string(tests_path("documents/rooms-go-module.md")).unwrap();
    let (_, section) =
        document.split_once(&format!("\n{heading}\n")).expect("the heading is in the document");
    let (_, block) = section.split_once("```").expect("a code block");
    let (_, block) = block.split_once('\n').expect("a line with the language");
    let (code, _) = block.split_once("\n```").expect("an end of the block");
    assert!(code.contains(DOCUMENT_PORT), "{code}");
    code.replace(DOCUMENT_PORT, &format!(":{}", server.addr().port()))
}

#[test]
fn the_documents_javascript_client_runs() {
    let Some(node) = find_program("node") else { return left_out("clients::javascript", "node") };
    if npm_package("ws").is_none() {
        return left_out("clients::javascript", "the npm package ws");
    }
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("client.mjs");
    std::fs::write(&script, code_block("### JavaScript/Browser", &server)).unwrap();
    let mut command = Command::new(node);
    command.arg("--import").arg(tests_path("clients/websocket-global.mjs")).arg(&script);
    let mut client = Program::start(&mut command);
    client.expect("Connected: ");
    client.expect("Subscribed to: notifications");
    let answer = server.post("/v1/publish", r#"{"room":"notifications","data":{"title":"Hello!"}}"#);
    assert_eq!(answer.json()["delivered"], 1, "{}", answer.body);
    client.expect("Message from notifications : { title: 'Hello!' }");
}

#[test]
fn the_documents_go_client_runs() {
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("main.go");
    std::fs::write(&source, code_block("### Go Client", &server)).unwrap();
    let binary = match build_go(&source, folder.path()) {
        Ok(binary) => binary,
        Err(missing) => return left_out("clients::go", missing),
    };
    let mut client = Program::start(&mut Command::new(binary));
    client.expect("Connected: map[client_id:");
    client.expect("Received: {Type:subscribed Room:updates Data:map[client_count:1 room:updates]");
    let answer = server.post("/v1/publish", r#"{"room":"updates","data":"news"}"#);
    assert_eq!(answer.json()["delivered"], 1, "{}", answer.body);
    client.expect("Received: {Type:message Room:updates Data:news Error: Timestamp:");
    drop(server);
    client.expect("Read error:");
}

#[test]
fn the_quick_start_works_with_wscat() {
    let Some(node) = find_program("node") else { return left_out("clients::wscat", "node") };
    let Some(wscat) = npm_package("wscat/bin/wscat") else {
        return left_out("clients::wscat", "the npm package wscat");
    };
    let server = Server::start(&[]);
    let url = format!("ws://localhost:{}/ws", server.addr().port());
    let start = |headers: &[&str]| {
        let mut client = Program::start(Command::new(&node).arg(&wscat).args(["-c", &url]).args(headers));
        client.expect("\"type\":\"connected\"");
        client.say(r#"{"type":"subscribe","room":"chat"}"#);
        client.expect("\"type\":\"subscribed\"");
        client
    };
    let mut first = start(&[]);
    let mut second = start(&["-H", "Authorization: Bearer token"]);
    second.say(r#"{"type":"publish","room":"chat","data":{"message":"Hello!"}}"#);
    first.expect(r#"{"type":"message","room":"chat","data":{"message":"Hello!"},"client_id":"#);
    second.expect(r#"{"type":"message","room":"chat","data":{"message":"Hello!"},"client_id":"#);
}

#[test]
fn pythons_websockets_gets_along() {
    python("rooms");
}

#[test]
fn pythons_websockets_speaks_every_dialect() {
    python("dialects");
}

/// Runs a program of tests/clients to its end.
fn python(name: &str) {
    let Some(python) = client_python() else {
        return left_out(&format!("clients::python_{name}"), "websockets for Python");
    };
    let server = Server::start(&[]);
    let mut command = Command::new(python);
    command.arg(tests_path(&format!("clients/{name}.py"))).arg(format!("ws://{}/ws", server.addr()));
    let mut client = Program::start(&mut command);
    assert!(client.finish(Duration::from_secs(60)).success(), "{}", client.output());
}

#[test]
fn the_documents_health_check_works_with_curl() {
    let Some(curl) = find_program("curl") else { return left_out("clients::curl", "curl") };
    let server = Server::start(&[]);
    let url = format!("http://localhost:{}/health", server.addr().port());
    // Its proxy settings are for the world outside.
    let output = Command::new(curl).args(["--silent", "--noproxy", "*", &url]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), r#"{"status":"healthy","clients":0,"rooms":0}"#);
}
