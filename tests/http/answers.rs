//! Answers reach their clients: those that come before the whole request, those to half-closed connections, and those
//! that many connections ask for at once.

use crate::common::{
    BODY, PATIENCE, Program, Response, Server, exchange, find_program, head, left_out, post, request,
    to_the_end,
};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;

/// A body that is eight times as long as any may be.
const LONG: usize = 8 << 20;

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends all of it, and only then reads.
fn sent_whole(addr: SocketAddr, bytes: &[u8]) -> Response {
    let mut stream = connect(addr);
    stream.write_all(bytes).expect("the server takes all of it");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("no reset");
    Response::parse(&answer)
}

fn long_chunks() -> String {
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 16, "x".repeat(1 << 16));
    chunk.repeat(LONG >> 16) + "0\r\n\r\n"
}

#[test]
fn an_answer_before_the_whole_body_arrives() {
    let server = Server::start_with(&[], &[("FANWIRE_API_KEY", "correct-horse")]);
    let length = format!("Content-Length: {LONG}\r\n");
    let key = "Authorization: Bearer correct-horse\r\n";
    let long = "x".repeat(LONG);
    for (what, status, bytes) in [
        ("too long", 413, post(&format!("{key}{length}"), &long)),
        ("too long, in chunks", 413, post(&format!("{key}Transfer-Encoding: chunked\r\n"), &long_chunks())),
        ("without a key", 401, post(&length, &long)),
        ("without a key, in chunks", 401, post("Transfer-Encoding: chunked\r\n", &long_chunks())),
        ("of a coding", 415, post(&format!("{key}{length}Content-Encoding: gzip\r\n"), &long)),
        ("to no path", 404, head("POST /nothing HTTP/1.1", &length) + &long),
        ("by a wrong method", 405, head("POST /health HTTP/1.1", &length) + &long),
        ("not HTTP", 400, format!("nonsense\r\n\r\n{long}")),
    ] {
        for _ in 0..3 {
            let answer = sent_whole(server.addr(), bytes.as_bytes());
            assert_eq!(answer.status, status, "{what}: {}", answer.body);
            assert_eq!(answer.header("connection"), Some("close"), "{what}");
        }
    }
}

#[test]
fn a_short_body_that_nobody_reads_leaves_the_connection_open() {
    let server = Server::start(&[]);
    let mut stream = connect(server.addr());
    let refused = head("POST /nothing HTTP/1.1", "Content-Length: 5\r\n") + "12345";
    let chunked =
        head("POST /nothing HTTP/1.1", "Transfer-Encoding: chunked\r\n") + "5\r\n12345\r\n0\r\n\r\n";
    let last = head("GET /health HTTP/1.1", "Connection: close\r\n");
    stream.write_all((refused + &chunked + &last).as_bytes()).unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 3, "{answers}");
    assert!(answers.ends_with("\"rooms\":0}"), "{answers}");
}

#[test]
fn a_client_that_never_stops_sending_is_left() {
    let server = Server::start(&[]);
    let mut stream = connect(server.addr());
    stream.write_all(post("Content-Length: 99999999999\r\n", "").as_bytes()).unwrap();
    let chunk = vec![b'x'; 1 << 20];
    let error = (0..4096).find_map(|_| stream.write_all(&chunk).err()).expect("not for ever");
    assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn a_half_closed_connection_is_answered() {
    let server = Server::start(&["--shards", "1"]);
    let mut member = server.connect();
    member.subscribe("a");
    let publish = post(&format!("Content-Length: {}\r\n", BODY.len()), BODY);
    for n in 0..20 {
        for path in ["/health", "/ready", "/metrics", "/v1/connections", "/v1/rooms/a/members"] {
            let answer = half_closed(&server, &head(&format!("GET {path} HTTP/1.1"), ""));
            assert_eq!(answer.status, 200, "{n}: {path}");
        }
        assert_eq!(half_closed(&server, &publish).json()["delivered"], 1, "{n}");
        member.expect(r#"{"type":"message","room":"a","data":1,"timestamp":"*ms"}"#);
    }
}

fn half_closed(server: &Server, bytes: &str) -> Response {
    let mut stream = connect(server.addr());
    stream.write_all(bytes.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    Response::parse(&answer)
}

/// What a program prints of the statuses of ten publishes that are too long.
fn statuses(mut command: Command) -> String {
    let mut program = Program::start(&mut command);
    let status = program.finish(6 * PATIENCE);
    assert!(status.success(), "{}", program.output());
    program.output().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn python_and_node_learn_that_a_body_is_too_long() {
    let server = Server::start(&[]);
    let addr = server.addr();
    let expected = ["413"; 10].join(" ");
    let python = format!(
        "import http.client\nfor n in range(10):\n c = http.client.HTTPConnection('{addr}')\n \
         c.request('POST', '/v1/publish', b'x' * {LONG})\n print(c.getresponse().status)"
    );
    let mut command = Command::new(find_program("python3").expect("tests/run needs it"));
    command.args(["-c", &python]);
    assert_eq!(statuses(command), expected, "Python");
    let Some(node) = find_program("node") else { return left_out("answers::node", "node") };
    let script = format!(
        "(async () => {{ for (let n = 0; n < 10; n++) {{\n const answer = await fetch('http://{addr}/v1/publish', \
         {{ method: 'POST', body: 'x'.repeat({LONG}) }});\n console.log(answer.status); }} }})()"
    );
    let mut command = Command::new(node);
    command.args(["-e", &script]);
    assert_eq!(statuses(command), expected, "node");
}

#[test]
fn two_transfer_encodings_are_refused() {
    let server = Server::start(&[]);
    let lines = "Transfer-Encoding: chunked\r\n".repeat(2);
    let answer =
        exchange(server.addr(), post(&lines, "15\r\n{\"room\":\"a\",\"data\":1}\r\n0\r\n\r\n").as_bytes());
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert!(answer.body.contains("two Transfer-Encoding"), "{}", answer.body);
}

#[test]
fn pipelined_requests_are_all_answered_in_order() {
    let server = Server::start(&["--shards", "1"]);
    let paths = ["/health", "/metrics", "/openapi.json", "/nothing"];
    let wanted: Vec<_> = (0..100).map(|n| paths[n % paths.len()]).collect();
    let mut bytes: String = wanted.iter().map(|path| head(&format!("GET {path} HTTP/1.1"), "")).collect();
    bytes += &head("GET /health HTTP/1.1", "Connection: close\r\n");
    let answers = to_the_end(&server, bytes.as_bytes());
    let kinds: Vec<_> = answers.split("HTTP/1.1 ").skip(1).map(kind).collect();
    let expected: Vec<_> = wanted.into_iter().chain(["/health"]).collect();
    assert_eq!(kinds, expected);
}

/// Which path an answer is for.
fn kind(answer: &str) -> &'static str {
    match answer {
        answer if answer.starts_with("404") => "/nothing",
        answer if answer.contains("\"openapi\"") => "/openapi.json",
        answer if answer.contains("text/plain; version") => "/metrics",
        _ => "/health",
    }
}

#[test]
fn the_rest_of_a_refused_request_is_no_request() {
    let server = Server::start(&["--shards", "1"]);
    let mut member = server.connect();
    member.subscribe("a");
    let inner = post(&format!("Content-Length: {}\r\n", BODY.len()), BODY);
    let outer = head("POST /nothing HTTP/1.1", &format!("Content-Length: {}\r\n", LONG)) + &inner;
    let mut stream = connect(server.addr());
    stream.write_all(outer.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    assert_eq!(answers.matches("HTTP/1.1").count(), 1, "{answers}");
    assert_eq!(request(server.addr(), "GET", "/v1/rooms/a", &[], b"").status, 200);
    member.send_text(r#"{"type":"publish","room":"a","data":"mine"}"#);
    member.expect(r#"{"type":"message","room":"a","data":"mine","client_id":"*uuid","timestamp":"*ms"}"#);
}
