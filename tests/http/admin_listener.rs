//! The admin listener: it serves operators whatever clients do at the other door, and serves clients not at all.

use crate::common::{
    Client, PATIENCE, Server, eventually, exchange, exchange_on, free_port, head, stream_from,
};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

const ADMIN: &str = "--admin-listen=127.0.0.1:0";

fn get(path: &str) -> Vec<u8> {
    head(&format!("GET {path} HTTP/1.1"), "Connection: close\r\n").into_bytes()
}

#[test]
fn operators_have_a_door_of_their_own() {
    let server = Server::start(&[ADMIN]);
    for path in ["/health", "/ready", "/metrics", "/openapi.json", "/v1/stats", "/v1/rooms"] {
        assert_eq!(exchange(server.admin(), &get(path)).status, 200, "{path}");
        assert_eq!(exchange(server.addr(), &get(path)).status, 200, "{path}: there as well");
    }
    let mut member = server.connect();
    member.subscribe("a");
    let publish = crate::common::post("Content-Length: 21\r\n", crate::common::BODY);
    exchange(server.admin(), publish.as_bytes()).expect(200, r#"{"delivered":1}"#);
    member.expect_json(|message| assert_eq!(message["data"], 1, "{message}"));
    for path in ["/ws", "/echo", "/nothing"] {
        let upgrade = Client::handshake("localhost", path, &[]);
        assert_eq!(exchange(server.admin(), &upgrade).status, 404, "{path}: no client comes in here");
    }
    let answer = exchange(server.admin(), b"no request\r\n\r\n");
    assert_eq!(answer.status, 400);
}

#[test]
fn keys_are_asked_for_there_as_well() {
    let server = Server::start_with(&[ADMIN], &[("FANWIRE_API_KEY", "0123456789abcdef")]);
    assert_eq!(exchange(server.admin(), &get("/v1/stats")).status, 401);
    let key = "Authorization: Bearer 0123456789abcdef\r\nConnection: close\r\n";
    assert_eq!(exchange(server.admin(), head("GET /v1/stats HTTP/1.1", key).as_bytes()).status, 200);
    assert_eq!(exchange(server.admin(), &get("/health")).status, 200);
}

#[test]
fn metrics_and_the_api_can_be_for_operators_alone() {
    let server = Server::start(&[ADMIN, "--admin-only=true"]);
    for path in ["/metrics", "/openapi.json", "/v1/stats", "/v1/publish", "/ws/status"] {
        assert_eq!(exchange(server.addr(), &get(path)).status, 404, "{path}");
    }
    for path in ["/health", "/ready"] {
        assert_eq!(exchange(server.addr(), &get(path)).status, 200, "{path}");
    }
    assert_eq!(exchange(server.admin(), &get("/metrics")).status, 200);
    server.connect().subscribe("a");
}

#[test]
fn it_listens_at_several_places_and_takes_paths_with_and_without_the_prefix() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let listen = format!("--admin-listen=unix:{},127.0.0.1:0", path.display());
    let mut server = Server::start(&[&listen, "--path-prefix=/realtime"]);
    for target in ["/ready", "/realtime/ready"] {
        assert_eq!(exchange(server.admin(), &get(target)).status, 200, "{target}");
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(&get(target)).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{target}: {answer}");
    }
    assert!(server.output().contains(&format!("admin on unix:{}", path.display())));
    server.signal("TERM");
    assert!(server.wait(PATIENCE).is_some_and(|status| status.success()));
    assert!(!path.exists(), "the socket's file goes with the server");
}

#[test]
fn a_proxy_header_is_for_the_clients_door() {
    let flags = [ADMIN, "--proxy-protocol=true", "--trusted-proxies=127.0.0.1"];
    let server = Server::start(&flags);
    for path in ["/health", "/ready", "/metrics"] {
        assert_eq!(exchange(server.admin(), &get(path)).status, 200, "{path}");
    }
}

#[test]
fn silent_connections_to_it_give_way_to_the_next() {
    let server = Server::start(&[ADMIN]);
    let half = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(server.admin()).unwrap();
        stream.write_all(bytes).unwrap();
        stream
    };
    let crowd: Vec<_> = (0..200).map(|n| half(if n % 2 == 0 { b"" } else { b"GET /" })).collect();
    for path in ["/health", "/ready", "/metrics"] {
        assert_eq!(exchange(server.admin(), &get(path)).status, 200, "{path}");
    }
    drop(crowd);
}

#[test]
fn it_answers_when_the_clients_door_is_full() {
    let server = Server::start(&[ADMIN, "--shards=1", "--http-connections-max=1"]);
    let mut kept = stream_from(9, server.addr());
    // A body that has not come whole holds the only place, for as long as it may take.
    kept.write_all(crate::common::post("Content-Length: 100\r\n", "{").as_bytes()).unwrap();
    eventually("it has its place", || {
        let page = exchange(server.admin(), &get("/metrics")).body;
        page.lines().any(|line| line == r#"fanwire_places{shard="0"} 1"#)
    });
    assert_eq!(exchange(server.admin(), &get("/ready")).status, 200);
    drop(kept);
}

#[test]
fn an_address_that_it_cannot_have_is_told() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("--admin-listen={}", other.local_addr().unwrap());
    let (status, said) = Server::run(&[&taken], &[]);
    assert!(!status.success() && said.contains("cannot listen on 127.0.0.1:"), "{said}");
    let port = free_port();
    let twice = format!("--admin-listen=127.0.0.1:{port},127.0.0.1:{port}");
    let (status, said) = Server::run(&[&twice], &[]);
    assert!(!status.success() && said.contains("cannot listen on"), "{said}");
    for (flags, word) in [
        (&["--admin-only=true"][..], "it needs admin_listen"),
        (&["--admin-listen=8082"], "addresses such as 127.0.0.1:8082"),
        (&["--admin-listen=example.com:80"], "addresses such as"),
        (&["--admin-listen=unix:relative"], "addresses such as"),
    ] {
        let (status, said) = Server::run(flags, &[]);
        assert_eq!(status.code(), Some(2), "{said}");
        assert!(said.contains(word), "{flags:?}: {said}");
    }
}

#[test]
fn a_connection_is_kept_for_further_requests() {
    let server = Server::start(&[ADMIN]);
    let mut stream = TcpStream::connect(server.admin()).unwrap();
    for _ in 0..3 {
        stream.write_all(head("GET /health HTTP/1.1", "").as_bytes()).unwrap();
        assert_eq!(exchange_on(stream.try_clone().unwrap(), b"").status, 200);
    }
}
