//! Limits of users and tenants: counted for all their connections together, and met by nobody else.

use crate::common::token::{SECRET_VARIABLE, now_unix_s, path_of, sign, token_of};
use crate::common::{Client, Response, Server, eventually, request};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Barrier;
use std::thread;

const ENDPOINTS: &str = r#"[
  {"path":"/ws","dialect":"rooms"},
  {"path":"/topics","dialect":"topics"},
  {"path":"/seen","dialect":"rooms","auth":"required","auth_failure":"close"}
]"#;

fn server(flags: &[&str]) -> Server {
    let endpoints = format!("--endpoints={ENDPOINTS}");
    Server::start_with(&[&[endpoints.as_str()], flags].concat(), &[SECRET_VARIABLE])
}

fn path(path: &str, tenant: &str, user: &str) -> String {
    path_of(path, user, tenant)
}

fn connect(server: &Server, tenant: &str, user: &str) -> Client {
    Client::connect_with(server.addr(), &path("/ws", tenant, user), &[])
}

/// Asks for an upgrade; the answer, whatever it is.
fn ask(server: &Server, path: &str) -> Response {
    let upgrade = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", crate::common::KEY),
    ];
    request(server.addr(), "GET", path, &upgrade, b"")
}

#[track_caller]
fn refused(server: &Server, path: &str, text: &str) {
    let answer = ask(server, path);
    assert_eq!((answer.status, answer.body.trim()), (429, text));
    assert!(answer.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().unwrap() > 0));
}

fn said(client: &mut Client, message: Value) -> Value {
    client.send_text(&message.to_string());
    client.expect_json(|answer| answer)
}

fn join(client: &mut Client, room: &str) -> Value {
    said(client, json!({"type": "subscribe", "room": room}))
}

/// How often something was refused, by a labelled metric, on all shards.
fn count(server: &Server, name: &str, label: &str) -> f64 {
    let page = server.get("/metrics").body;
    let of = |line: &&str| line.starts_with(&format!("{name}{{")) && line.contains(&format!("\"{label}\""));
    page.lines().filter(of).map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

#[test]
fn connections_of_a_user_and_of_a_tenant_are_bounded() {
    let server = server(&["--connections-per-user-max=2", "--connections-per-tenant-max=3"]);
    let first = connect(&server, "a", "u");
    let _second = connect(&server, "a", "u");
    refused(&server, &path("/ws", "a", "u"), "too many connections of this user");
    // A user of the same name elsewhere is somebody else.
    let _other = connect(&server, "b", "u");
    let third = connect(&server, "a", "v");
    refused(&server, &path("/ws", "a", "w"), "too many connections of this tenant");
    assert_eq!(count(&server, "fanwire_handshake_failures_total", "user_full"), 1.0);
    assert_eq!(count(&server, "fanwire_handshake_failures_total", "tenant_full"), 1.0);
    // Nobody known is not counted.
    let _anonymous: Vec<_> = (0..5).map(|_| server.connect()).collect();
    assert_eq!((server.metric("fanwire_users"), server.metric("fanwire_tenants")), (Some(3.0), Some(2.0)));
    drop(third);
    eventually("the place is free again", || status(&server, &path("/ws", "a", "w")) == 101);
    drop(first);
    eventually("and that of the user", || status(&server, &path("/ws", "a", "u")) == 101);
}

/// The status with which a connection is answered that goes again at once.
fn status(server: &Server, path: &str) -> u16 {
    let (_stream, status) = knock(server, path);
    status
}

/// Asks for an upgrade; the connection, and the status of the answer.
fn knock(server: &Server, path: &str) -> (TcpStream, u16) {
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    stream.write_all(&Client::handshake("localhost", path, &[])).unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).unwrap();
    let status = str::from_utf8(&first[9..]).unwrap().parse().unwrap();
    (stream, status)
}

#[test]
fn as_many_as_may_come_in_of_those_who_come_at_once() {
    let server = server(&["--connections-per-user-max=5", "--shards=3"]);
    let path = path("/ws", "a", "u");
    let (start, end) = (Barrier::new(24), Barrier::new(24));
    let admitted: usize = thread::scope(|scope| {
        let one = || {
            start.wait();
            let (_stream, status) = knock(&server, &path);
            // All stay until the last one has its answer.
            end.wait();
            usize::from(status == 101)
        };
        let threads: Vec<_> = (0..24).map(|_| scope.spawn(one)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(admitted, 5);
    eventually("they are gone", || server.metric("fanwire_users") == Some(0.0));
    assert_eq!(server.metric("fanwire_tenants"), Some(0.0));
}

#[test]
fn an_endpoint_may_tell_by_closing() {
    let server = server(&["--connections-per-user-max=1"]);
    let _first = connect(&server, "a", "u");
    let mut second = Client::ungreeted(server.addr(), &path("/seen", "a", "u"), &[]);
    second.send_text(r#"{"type":"subscribe","room":"secrets"}"#);
    assert_eq!(second.expect_close(4429), "too many connections of this user");
    assert_eq!(count(&server, "fanwire_handshake_failures_total", "user_full"), 1.0);
    assert_eq!(server.metric_sum("fanwire_members"), 0.0);
    // Who was told that had no place to give back.
    refused(&server, &path("/ws", "a", "u"), "too many connections of this user");
}

#[test]
fn who_says_later_who_it_is_is_counted_from_then_on() {
    let server = server(&["--connections-per-user-max=1", "--rooms-per-user-max=2"]);
    let mut first = Client::ungreeted(server.addr(), &path("/topics", "a", "u"), &[]);
    first.expect_json(|greeting| assert_eq!(greeting["data"]["userId"], "u"));
    let mut second = Client::ungreeted(server.addr(), "/topics", &[]);
    second.expect_json(|greeting| assert_eq!(greeting["data"]["userId"], Value::Null));
    for room in ["one", "two", "three"] {
        let joined = said(&mut second, json!({"type": "subscribe", "channel": room}));
        assert_eq!(joined["type"], "subscribed", "{joined}");
    }
    let bearer = token_of("u", "a");
    let answer = said(&mut second, json!({"type": "auth", "token": bearer}));
    assert_eq!(answer["message"], "too many connections of this user", "{answer}");
    assert!(!answer.to_string().contains(&bearer), "a token is echoed");
    assert_eq!(said(&mut second, json!({"type": "get_status"}))["data"]["userId"], Value::Null);
    // To renew one's own identity takes no other place.
    let answer = said(
        &mut first,
        json!({"type": "auth", "token": sign(&json!({"userId": "u", "tenantId": "a", "exp": now_unix_s() + 660}))}),
    );
    assert_eq!(answer["type"], "authenticated", "{answer}");
    drop(first);
    eventually("the place is free", || server.metric("fanwire_users") == Some(0.0));
    // Nor does it come in with more rooms than its user may have.
    let answer = said(&mut second, json!({"type": "auth", "token": bearer}));
    assert_eq!(answer["message"], "too many rooms for one user", "{answer}");
    assert!(!answer.to_string().contains(&bearer), "a token is echoed");
    assert_eq!((server.metric("fanwire_users"), server.metric("fanwire_tenants")), (Some(0.0), Some(0.0)));
    assert_eq!(said(&mut second, json!({"type": "get_status"}))["data"]["userId"], Value::Null);
    said(&mut second, json!({"type": "unsubscribe", "channel": "three"}));
    let answer = said(&mut second, json!({"type": "auth", "token": bearer}));
    assert_eq!(answer["type"], "authenticated", "{answer}");
    refused(&server, &path("/ws", "a", "u"), "too many connections of this user");
    // What it brought along counts: it is in two rooms already.
    let denied = |client: &mut Client| said(client, json!({"type": "subscribe", "channel": "four"}));
    assert_eq!(denied(&mut second)["message"], "Too many channels for one user");
    said(&mut second, json!({"type": "unsubscribe", "channel": "one"}));
    assert_eq!(denied(&mut second)["type"], "subscribed");
}

/// One that joins as nobody and then says who it is, as often as it likes, takes nothing from its tenant.
#[test]
fn no_one_brings_more_along_than_a_tenant_may_have() {
    let server = server(&["--rooms-per-tenant-max=20", "--connections-per-user-max=3"]);
    let mut hoarders: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for hoarder in &mut hoarders {
        (0..50).for_each(|room| hoarder.subscribe(&format!("r{room}")));
        let answer = said(hoarder, json!({"type": "auth", "token": token_of("u", "t")}));
        assert_eq!(answer["error"], "too many rooms for one tenant", "{answer}");
    }
    let mut other = connect(&server, "t", "v");
    (0..20).for_each(|room| other.subscribe(&format!("r{room}")));
    assert_eq!(join(&mut other, "r20")["error"], "too many rooms for one tenant");
    assert_eq!(count(&server, "fanwire_refusals_total", "too_many_rooms_of_tenant"), 4.0);
}

#[test]
fn memberships_are_counted_for_all_connections_of_a_user_and_tenant() {
    let server = server(&["--rooms-per-user-max=3", "--rooms-per-tenant-max=4"]);
    let (mut a, mut b) = (connect(&server, "t", "u"), connect(&server, "t", "u"));
    // The same room in two connections is two memberships; to join again is none.
    for (client, room) in [(&mut a, "one"), (&mut b, "one")] {
        client.subscribe(room);
        client.subscribe(room);
    }
    a.subscribe("two");
    assert_eq!(join(&mut b, "two")["error"], "too many rooms for one user");
    let mut other = connect(&server, "t", "v");
    other.subscribe("one");
    assert_eq!(join(&mut other, "two")["error"], "too many rooms for one tenant");
    connect(&server, "t1", "v").subscribe("one");
    assert_eq!(count(&server, "fanwire_refusals_total", "too_many_rooms_of_user"), 1.0);
    assert_eq!(count(&server, "fanwire_refusals_total", "too_many_rooms_of_tenant"), 1.0);
    // One that leaves, and one that goes, gives places back.
    said(&mut a, json!({"type": "unsubscribe", "room": "two"}));
    b.subscribe("two");
    drop(b);
    eventually("it is gone", || server.get("/health").body.contains("\"clients\":2"));
    a.subscribe("three");
    assert_eq!(join(&mut other, "two")["type"], "subscribed");
}

#[test]
fn a_message_rate_is_shared_and_anothers_is_not() {
    let server =
        server(&["--messages-per-s-user=1", "--messages-burst-user=40", "--messages-per-s-tenant=1000"]);
    let mut noisy = [connect(&server, "t", "u"), connect(&server, "t", "u")];
    let mut quiet = connect(&server, "t", "v");
    let ping = json!({"type": "ping"});
    // The burst is for both together, and nearly all of it can be had.
    let mut answers = Vec::new();
    for round in 0..60 {
        answers.push(said(&mut noisy[round % 2], ping.clone()));
    }
    let passed = answers.iter().filter(|answer| answer["type"] == "pong").count();
    assert!((40..=55).contains(&passed), "{passed} of 60 passed");
    let refused = answers.iter().find(|answer| answer["type"] == "error").unwrap();
    assert_eq!(refused["error"], "rate limit of this user exceeded");
    assert_eq!(said(&mut quiet, ping.clone())["type"], "pong");
    assert_eq!(said(&mut connect(&server, "t1", "u"), ping.clone())["type"], "pong");
    // Who goes on is closed.
    for _ in 0..200 {
        noisy[0].send_text(&ping.to_string());
    }
    assert_eq!(noisy[0].read_until_close(4429, |_| {}), "rate limit exceeded: send more slowly");
    assert!(count(&server, "fanwire_refusals_total", "user_rate_limited") >= 5.0);
    assert_eq!(count(&server, "fanwire_refusals_total", "tenant_rate_limited"), 0.0);
    assert_eq!(said(&mut quiet, ping)["type"], "pong");
}

#[test]
fn a_noisy_tenant_does_not_take_anothers_rate() {
    let server = server(&["--messages-per-s-tenant=20", "--messages-burst-tenant=20"]);
    let (mut noisy, mut quiet) = (connect(&server, "noisy", "u"), connect(&server, "quiet", "u"));
    let ping = json!({"type": "ping"});
    let mut refused = 0;
    for _ in 0..200 {
        let answer = said(&mut noisy, ping.clone());
        refused += usize::from(answer["error"] == "rate limit of this tenant exceeded");
        if refused == 20 {
            break;
        }
    }
    assert_eq!(refused, 20, "the noisy one meets its rate");
    for _ in 0..10 {
        assert_eq!(said(&mut quiet, ping.clone())["type"], "pong");
    }
}

/// A member that floods is refused, and in the end closed; another one of the tenant never is.
#[test]
fn a_member_that_floods_closes_no_other() {
    let server = server(&["--messages-per-s-tenant=50", "--shards=2"]);
    let mut flood = connect(&server, "t", "noisy");
    let mut quiet = connect(&server, "t", "quiet");
    let ping = json!({"type": "ping"});
    let flooding = std::sync::atomic::AtomicBool::new(true);
    thread::scope(|scope| {
        scope.spawn(|| {
            // Again and again a new one, as each is closed after 32 refusals in a row.
            while flooding.load(std::sync::atomic::Ordering::Relaxed) {
                (0..500).for_each(|_| flood.send_text(&ping.to_string()));
                flood.read_until_close(4429, |_| {});
                flood = connect(&server, "t", "noisy");
            }
        });
        let mut passed = 0;
        for _ in 0..30 {
            passed += usize::from(said(&mut quiet, ping.clone())["type"] == "pong");
            thread::sleep(std::time::Duration::from_millis(100));
        }
        flooding.store(false, std::sync::atomic::Ordering::Relaxed);
        // But for its first second, in which it has one message, and that after each pause of this machine.
        assert!(passed >= 15, "{passed} of 30 passed");
    });
    assert_eq!(said(&mut quiet, ping)["type"], "pong");
    assert!(count(&server, "fanwire_refusals_total", "tenant_rate_limited") > 0.0);
}

#[test]
fn limits_that_are_switched_on_count_those_who_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fanwire.yaml");
    std::fs::write(&file, "listen_backlog: 99\n").unwrap();
    let server = server(&["--config", file.to_str().unwrap()]);
    let mut first = connect(&server, "t", "u");
    first.subscribe("one");
    let _second = connect(&server, "t", "u");
    assert_eq!(server.metric("fanwire_users"), Some(0.0), "where nothing is limited nothing is counted");
    std::fs::write(&file, "connections_per_user_max: 2\nrooms_per_tenant_max: 2\n").unwrap();
    server.signal("HUP");
    eventually("both are counted", || server.metric("fanwire_users") == Some(1.0));
    eventually("by both shards", || status(&server, &path("/ws", "t", "u")) == 429);
    first.subscribe("two");
    assert_eq!(join(&mut first, "three")["error"], "too many rooms for one tenant");
    std::fs::write(&file, "listen_backlog: 99\n").unwrap();
    server.signal("HUP");
    eventually("nobody is counted any more", || server.metric("fanwire_tenants") == Some(0.0));
    assert_eq!(join(&mut first, "three")["type"], "subscribed");
    let _third = connect(&server, "t", "u");
}

#[test]
fn values_that_make_no_sense_are_refused() {
    for (flags, part) in [
        (&["--connections-per-user-max=-1"][..], "0 to 10000000"),
        (&["--rooms-per-tenant-max=10000001"], "0 to 10000000"),
        (&["--messages-per-s-user=many"], "0 to 10000000"),
        (&["--outbox-bytes-per-user-max=4KiB"], "at least outbox_bytes_max"),
        (&["--outbox-bytes-per-tenant-max=1GiB"], "at most outboxes_bytes_max"),
        (&["--connection-per-user-max=1"], "--connections-per-user-max"),
    ] {
        let (status, told) = Server::run_bare(&[&["check-config"], flags].concat(), &[]);
        assert_eq!(status.code(), Some(2), "{flags:?}: {told}");
        assert!(told.contains(part), "{flags:?}: {told}");
    }
    let fine = ["check-config", "--outbox-bytes-per-tenant-max=8MiB", "--outbox-bytes-per-user-max=1MiB"];
    let (status, told) = Server::run_bare(&fine, &[]);
    assert!(status.success(), "{told}");
}
