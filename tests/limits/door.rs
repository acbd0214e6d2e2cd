//! The places of connections whose request has not come: one address that takes many costs others nothing, whatever it
//! sends or does not send.

use crate::common::{
    Act, Backend, Client, PATIENCE, Response, Server, eventually, exchange, exchange_on, head, left_out,
    post, rss_kib, stream_from,
};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// More than all places of two shards.
const CROWD: usize = 2_500;

const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Whether this process may have so many connections; both ends of them are open files.
fn has_descriptors(test: &str) -> bool {
    let enough = fanwire::io::raise_open_files().unwrap() > 2 * CROWD as u64;
    if !enough {
        left_out(test, "5,000 open files");
    }
    enough
}

/// The status of the answer to `bytes`, which may be no more than its first line has come of; 0 where none comes.
fn status_on(mut stream: &TcpStream, bytes: &[u8]) -> u16 {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // It may be refused before it is read.
    stream.write_all(bytes).ok();
    let mut line = [0; 12];
    let read = stream.read_exact(&mut line);
    read.ok().and_then(|()| String::from_utf8_lossy(&line[9..]).parse().ok()).unwrap_or(0)
}

fn status_from(last: u8, addr: SocketAddr, request: &str) -> u16 {
    status_on(&stream_from(last, addr), request.as_bytes())
}

/// The value of a family's samples together, asked for by another address than the crowd's.
fn metric_sum(addr: SocketAddr, name: &str) -> f64 {
    let close = head("GET /metrics HTTP/1.1", "Connection: close\r\n");
    let page = exchange_on(stream_from(9, addr), close.as_bytes()).body;
    let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    page.lines().filter(of_name).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Connections of 127.0.0.1 that have sent `bytes`. Some of them the server may have ended already.
fn crowd(addr: SocketAddr, count: usize, bytes: &[u8]) -> Vec<TcpStream> {
    let one = |_| {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.write_all(bytes).ok();
        stream
    };
    (0..count).map(one).collect()
}

#[test]
fn whatever_one_address_holds_others_come_in() {
    if !has_descriptors("door::whatever_one_address_holds_others_come_in") {
        return;
    }
    let half_a_body = post("Content-Length: 1000\r\n", "{\"room\":");
    let kinds = [
        ("nothing", String::new()),
        ("one byte", "G".to_owned()),
        ("half a head", "GET /ws HTTP/1.1\r\nHost: ".to_owned()),
        ("kept alive", head("GET /health HTTP/1.1", "")),
        ("half a body", half_a_body),
    ];
    for (what, bytes) in kinds {
        println!("{what}");
        let server = Server::start(&[]);
        let addr = server.addr();
        let mut member = Client::on(stream_from(9, addr), "localhost", "/ws", &[]);
        member.subscribe("healthy");
        // Slow, and there before the crowd.
        let mut slow = stream_from(9, addr);
        let request = head("GET /ws HTTP/1.1", UPGRADE);
        slow.write_all(&request.as_bytes()[..40]).unwrap();
        let first = crowd(addr, CROWD / 2, bytes.as_bytes());
        assert_eq!(status_from(9, addr, &head("GET /health HTTP/1.1", "")), 200, "{what}");
        let second = crowd(addr, CROWD / 2, bytes.as_bytes());
        for _ in 0..20 {
            assert_eq!(status_from(9, addr, &request), 101, "{what}");
            assert_eq!(status_from(9, addr, &head("GET /health HTTP/1.1", "")), 200, "{what}");
        }
        assert_eq!(status_from(9, addr, &head("GET /ready HTTP/1.1", "")), 200, "{what}");
        assert_eq!(status_from(9, addr, &post("Content-Length: 21\r\n", crate::common::BODY)), 200, "{what}");
        slow.write_all(&request.as_bytes()[40..]).unwrap();
        assert_eq!(status_on(&slow, b""), 101, "{what}: a slow one keeps its place");
        member.send_text(r#"{"type":"publish","room":"healthy","data":1}"#);
        member.expect_json(|message| assert_eq!(message["data"], 1, "{message}"));
        // Half of the places of two shards, and the few of the other address.
        let places = metric_sum(addr, "fanwire_places");
        assert!(places <= 1024.0 + 64.0, "{what}: {places} places");
        assert!(metric_sum(addr, "fanwire_evictions_total") > 0.0, "{what}");
        drop((first, second));
    }
}

#[test]
fn the_oldest_silent_connection_of_an_address_gives_way_to_its_next() {
    // Places: 16. A share is 8 of them, and so is half of all.
    let server = Server::start(&["--shards=1", "--http-connections-max=16"]);
    let addr = server.addr();
    let ended = |stream: &mut TcpStream| {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.read(&mut [0; 1]).is_ok_and(|len| len == 0)
    };
    let is_open = |stream: &TcpStream| {
        stream.set_nonblocking(true).unwrap();
        let read = (&*stream).read(&mut [0; 1]);
        read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    };
    let mut silent = crowd(addr, 8, b"");
    eventually("all have a place", || metric_sum(addr, "fanwire_places") >= 8.0);
    let mut further = crowd(addr, 3, b"");
    for stream in &mut silent[..3] {
        assert!(ended(stream), "the oldest are ended");
    }
    assert!(silent[3..].iter().all(is_open), "the others are not");
    let request = head("GET /ws HTTP/1.1", UPGRADE);
    let newest = further.pop().unwrap();
    assert_eq!(status_on(&newest, request.as_bytes()), 101, "the newcomer has its place");
    let labels = r#"{shard="0",stage="silent"}"#;
    assert_eq!(server.metric(&format!("fanwire_evictions_total{labels}")), Some(3.0));
    let labels = r#"{shard="0",reason="evicted"}"#;
    assert_eq!(server.metric(&format!("fanwire_handshake_failures_total{labels}")), Some(3.0));
}

#[test]
fn an_address_counts_its_connections_from_their_acceptance_on() {
    let server = Server::start(&["--connections-per-ip-max=10"]);
    let addr = server.addr();
    // Eight more may ask, so that an address with all its connections gets answers.
    let mut silent = crowd(addr, 30, b"");
    silent.iter().for_each(|stream| stream.set_nonblocking(true).unwrap());
    let is_told = |stream: &TcpStream| stream.peek(&mut [0; 1]).is_ok();
    eventually("twelve are refused", || silent.iter().filter(|stream| is_told(stream)).count() == 12);
    let mut refused: Vec<_> = silent.extract_if(.., |stream| is_told(stream)).collect();
    for stream in &mut refused {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = Response::parse(&answer);
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")));
        assert!(answer.body.contains("too many connections from this address"), "{answer:?}");
    }
    let request = head("GET /ws HTTP/1.1", UPGRADE);
    assert_eq!(status_from(9, addr, &request), 101, "another address is not concerned");
    let mut silent = silent.into_iter();
    // Nine silent ones are left, and nine of ten are allowed beside the next.
    silent.by_ref().take(9).for_each(drop);
    let mut last = None;
    eventually("their places are free again", || {
        let stream = TcpStream::connect(addr).unwrap();
        let granted = status_on(&stream, request.as_bytes()) == 101;
        last = granted.then_some(stream);
        granted
    });
    let refusal = exchange(addr, request.as_bytes());
    assert_eq!(refusal.status, 503, "nine silent connections and one WebSocket are ten");
    assert!(refusal.body.contains("too many connections from this address"), "{refusal:?}");
    assert_eq!(status_from(1, addr, &head("GET /health HTTP/1.1", "")), 200, "which is told");
    assert!(metric_sum(addr, "fanwire_handshake_failures_total") >= 2.0);
    drop((silent, last));
}

#[test]
fn requests_that_are_answered_do_not_count_for_their_address() {
    let server = Server::start(&["--connections-per-ip-max=1"]);
    let mut kept = crowd(server.addr(), 9, head("GET /health HTTP/1.1", "").as_bytes());
    for stream in &mut kept {
        stream.read_exact(&mut [0; 12]).unwrap();
    }
    let _only = server.connect();
    assert_eq!(exchange(server.addr(), head("GET /ws HTTP/1.1", UPGRADE).as_bytes()).status, 503);
}

#[test]
fn all_addresses_of_an_ipv6_network_share_a_limit() {
    let flags = ["--proxy-protocol=true", "--trusted-proxies=127.0.0.1", "--connections-per-ip-max=3"];
    for (bits, same, other) in
        [("64", "2001:db8:1:2:ffff::", "2001:db8:1:3::"), ("48", "2001:db8:1:ffff::", "2001:db8:2::")]
    {
        let length = format!("--client-ipv6-prefix-length={bits}");
        let server = Server::start(&[&flags[..], &[&length]].concat());
        let from = |network: &str, last: u8| {
            let mut stream = TcpStream::connect(server.addr()).unwrap();
            write!(stream, "PROXY TCP6 {network}{last} ::1 5000 80\r\n{}", head("GET /ws HTTP/1.1", UPGRADE))
                .unwrap();
            let status = status_on(&stream, b"");
            (status, stream)
        };
        let connected: Vec<_> = (1..=3).map(|last| from(same, last)).collect();
        assert!(connected.iter().all(|(status, _)| *status == 101), "{bits}");
        assert_eq!(from(same, 4).0, 503, "{bits}: of the same network");
        assert_eq!(from(other, 1).0, 101, "{bits}: of another one");
    }
}

#[test]
fn a_newcomer_is_refused_when_all_places_have_requests_under_way() {
    let backend = Backend::start(|_| Act::Silence);
    let url = format!("--hook-url={}", backend.url());
    let flags = ["--shards=1", "--http-connections-max=1", "--hook-events=connect", &url];
    let server = Server::start_with(&flags, &[("FANWIRE_HOOK_SECRET", "the-secret-of-the-tests")]);
    let mut busy = TcpStream::connect(server.addr()).unwrap();
    busy.write_all(head("GET /ws HTTP/1.1", UPGRADE).as_bytes()).unwrap();
    eventually("the backend is asked", || !backend.heard().is_empty());
    for last in [1, 9] {
        let refusal = exchange_on(stream_from(last, server.addr()), b"");
        assert_eq!((refusal.status, refusal.header("retry-after")), (503, Some("5")), "{last}");
    }
    drop(busy);
    eventually("the place is free again", || {
        exchange_on(stream_from(9, server.addr()), head("GET /ready HTTP/1.1", "").as_bytes()).status == 200
    });
    for reason in ["address_share", "http_full"] {
        let sample = format!(r#"fanwire_handshake_failures_total{{shard="0",reason="{reason}"}}"#);
        assert!(server.metric(&sample) >= Some(1.0), "{reason}");
    }
}

#[test]
fn a_place_costs_little() {
    if !has_descriptors("door::a_place_costs_little") {
        return;
    }
    let whole = head("GET /health HTTP/1.1", "");
    let large = format!("GET /health HTTP/1.1\r\nHost: localhost\r\nX: {}", "x".repeat(15_000));
    // The bounds are some times what was measured, so that only another order of size is seen.
    let kinds = [
        ("nothing", "", 2_000, 1_024),
        ("one byte", "G", 2_000, 48_000),
        ("a request", &whole, 2_000, 48_000),
        ("half a head", &large, 500, 96_000),
    ];
    for (what, bytes, count, bytes_max) in kinds {
        let flags = ["--shards=1", "--http-connections-max=8000", "--handshake-timeout=300s"];
        let server = Server::start(&flags);
        let before = rss_kib(&server);
        let mut crowd = crowd(server.addr(), count, bytes.as_bytes());
        if bytes == whole {
            // Only then the server has time for anything else.
            for stream in &mut crowd {
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.read_exact(&mut [0; 12]).expect("an answer");
            }
        }
        eventually("all have a place", || metric_sum(server.addr(), "fanwire_places") >= count as f64);
        let each = (rss_kib(&server).saturating_sub(before) * 1024) as usize / count;
        println!("{what}: {each} bytes for each of {count}");
        assert!(each <= bytes_max, "{what}: {each} bytes");
        drop(crowd);
    }
}
