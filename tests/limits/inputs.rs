//! Messages that do not come whole: what one may be, how long it may take, and what all of them may hold.

use crate::common::opcode::{CLOSE, CONTINUATION, FIN, PING, PONG, TEXT};
use crate::common::{Client, PATIENCE, Response, SILENCE, Server, eventually, frame, head, rss_kib};
use std::io::{Read, Write};
use std::net::TcpStream;

/// The start of a frame: all but its last byte.
fn begun(head: u8, length: usize) -> Vec<u8> {
    let mut bytes = frame(head, &vec![b' '; length]);
    bytes.pop();
    bytes
}

fn finish(client: &mut Client) {
    // The mask's last byte falls on the payload's last one where its length is a multiple of four.
    client.send_bytes(&[b'}' ^ 0x3d]);
}

#[test]
fn a_frame_and_the_fragments_before_it_have_one_bound() {
    let server = Server::start(&["--message-bytes-max=1000"]);
    let mut client = server.connect();
    client.send_frame(TEXT, &[b' '; 600]);
    client.send_frame(FIN | CONTINUATION, &[b' '; 400]);
    client.expect_json(|answer| assert_eq!(answer["type"], "error", "it is no message, but not too long"));
    // Of this one only the header comes: no memory is given to a payload that would be too much.
    let mut other = server.connect();
    other.send_frame(TEXT, &[b' '; 600]);
    other.send_bytes(&begun(FIN | CONTINUATION, 401)[..4]);
    let text = other.expect_close(1009);
    assert_eq!(text, "message too big: send smaller messages");
}

#[test]
fn a_message_that_takes_too_long_ends_its_connection() {
    let server = Server::start(&["--shards=1", "--message-timeout=1s"]);
    let (mut slow, mut fragments, mut quick, mut quiet) =
        (server.connect(), server.connect(), server.connect(), server.connect());
    slow.send_bytes(&begun(FIN | TEXT, 2000));
    fragments.send_frame(TEXT, b"{");
    // One that begins a message as soon as the last has ended, and so always has one under way.
    let message = br#"{"type":"ping"}"#;
    quick.send_frame(TEXT, &message[..3]);
    let mut answers = 0;
    let closed = || server.metric(r#"fanwire_closes_total{shard="0",reason="message_timeout"}"#);
    eventually("the two that do not go on are closed", || {
        // What is no part of the message does not help.
        fragments.try_send_bytes(&frame(FIN | PING, b""));
        quick.send_frame(FIN | CONTINUATION, &message[3..]);
        quick.send_frame(TEXT, &message[..3]);
        quick.expect_json(|answer| assert_eq!(answer["type"], "pong"));
        answers += 1;
        closed() == Some(2.0)
    });
    assert!(answers > 0);
    let text = "a message took too long: send it to its end before you pause";
    assert_eq!(slow.expect_close(4408), text);
    let last = loop {
        let frame = fragments.read_frame().expect("a close frame comes");
        if frame.head != FIN | PONG {
            break frame;
        }
    };
    assert_eq!((last.head, &last.payload[..2]), (FIN | CLOSE, &4408_u16.to_be_bytes()[..]));
    quiet.subscribe("quiet");
}

#[test]
fn the_largest_unfinished_message_of_the_node_goes_first() {
    // Two shards: connections lie on both, and a bound of the node is of no shard.
    let server = Server::start(&["--shards=2", "--inputs-bytes-max=1MiB", "--message-bytes-max=512000"]);
    let mut large = server.connect();
    large.send_bytes(&begun(FIN | TEXT, 500_000));
    let held = || server.metric_sum("fanwire_input_bytes");
    eventually("the large one is there", || held() >= 500_000.0);
    let mut small: Vec<Client> = (0..8).map(|_| server.connect()).collect();
    for client in &mut small {
        let before = held();
        client.send_bytes(&begun(FIN | TEXT, 100_000));
        eventually("it has come", || held() >= before + 100_000.0 || held() < 0.8 * before);
    }
    let text = large.expect_close(1013);
    assert_eq!(text, "the server holds too many unfinished messages: send smaller ones, try again later");
    for client in &mut small {
        finish(client);
        client.expect_json(|answer| assert_eq!(answer["type"], "error", "it is whole, though no message"));
    }
    drop(small);
    eventually("all is given back", || held() == 0.0);
    let closed = server.metric_sum("fanwire_closes_total");
    assert!(closed >= 1.0, "{closed}");
}

#[test]
fn memberships_of_all_are_bounded() {
    let server = Server::start(&["--shards=2", "--memberships-bytes-max=1MiB"]);
    let mut greedy = server.connect();
    let padding = "x".repeat(200);
    let (mut joined, mut refused) = (0, 0);
    while refused < 3 {
        greedy.send_text(&format!(r#"{{"type":"subscribe","room":"{joined}-{padding}"}}"#));
        let is_refused = greedy.expect_json(|answer| match answer["type"].as_str() {
            Some("subscribed") => false,
            _ => {
                assert_eq!(answer["error"], "the server holds too many rooms: try again later");
                true
            }
        });
        joined += usize::from(!is_refused);
        refused += usize::from(is_refused);
    }
    let held = server.metric_sum("fanwire_membership_bytes");
    assert!((900_000.0..=1_048_576.0).contains(&held) && joined > 500, "{held} bytes of {joined} rooms");
    let mut other = server.connect();
    other.send_text(&format!(r#"{{"type":"subscribe","room":"{}"}}"#, "x".repeat(255)));
    other.expect(
        r#"{"type":"error","error":"the server holds too many rooms: try again later","timestamp":"*ms"}"#,
    );
    let refusals = server.metric(r#"fanwire_refusals_total{shard="0",reason="memberships_full"}"#).unwrap()
        + server.metric(r#"fanwire_refusals_total{shard="1",reason="memberships_full"}"#).unwrap();
    assert_eq!(refusals, 4.0);
    drop(greedy);
    eventually("its rooms are gone", || server.metric_sum("fanwire_membership_bytes") == 0.0);
    other.subscribe("another room");
}

#[test]
fn what_strangers_held_is_bounded_and_given_back_to_the_system() {
    const BOUND_KIB: u64 = 32 * 1024;
    const NAMES: usize = 40_000;
    let server = Server::start(&[
        "--shards=2",
        &format!("--inputs-bytes-max={BOUND_KIB}KiB"),
        "--connections-per-ip-max=0",
        "--rooms-per-connection-max=2000",
        "--log-level=warn",
    ]);
    let warm = server.connect();
    let before = rss_kib(&server);
    // Unfinished messages of more than three times the bound: fragments, and a frame that does not end.
    let mut strangers: Vec<Client> = (0..200).map(|_| server.connect()).collect();
    for stranger in &mut strangers {
        let fragment = frame(TEXT, &vec![b' '; 250_000]);
        stranger.try_send_bytes(&fragment);
        stranger.try_send_bytes(&begun(FIN | CONTINUATION, 250_000));
    }
    let closed = || server.metric_sum("fanwire_closes_total");
    eventually("the largest have gone", || closed() >= 100.0);
    let held = rss_kib(&server) - before;
    // What the allocator rounds up, an eighth that is asked for elsewhere, one read of each shard, and connections.
    let allowed = BOUND_KIB * 5 / 4 * 9 / 8 + 2 * 1024 + 10 * 1024;
    assert!(held <= allowed, "{held} KiB for unfinished messages, {allowed} KiB allowed");
    // And names of rooms.
    let mut members: Vec<Client> = (0..40).map(|_| server.connect()).collect();
    for (number, member) in members.iter_mut().enumerate() {
        for room in 0..NAMES / 40 {
            let name = format!("{number}-{room}-{}", "x".repeat(230));
            member.send_text(&format!(r#"{{"type":"subscribe","room":"{name}"}}"#));
        }
        member.send_text(r#"{"type":"ping"}"#);
        while !member.expect_text().contains("pong") {}
    }
    let most = rss_kib(&server) - before;
    let charged = server.metric_sum("fanwire_membership_bytes") as u64 / 1024;
    assert!((1024..=charged).contains(&(most - held)), "{} KiB for names, {charged} charged", most - held);
    drop((strangers, members));
    let mut left = most;
    eventually("a quarter is left at the most", || {
        left = rss_kib(&server).saturating_sub(before);
        left <= most / 4
    });
    println!(
        "{held} KiB with unfinished messages, {most} KiB with names of rooms (charged {charged}), {left} KiB at the end"
    );
    drop(warm);
}

#[test]
fn bodies_of_requests_count_as_well() {
    const LENGTH: usize = 500_000;
    let server = Server::start(&["--shards=2", "--inputs-bytes-max=1MiB"]);
    let body = format!(r#"{{"room":"a","data":"{}"}}"#, "x".repeat(LENGTH - 22));
    assert_eq!(body.len(), LENGTH);
    let begin = || {
        let mut stream = TcpStream::connect(server.addr()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head =
            head("POST /v1/publish HTTP/1.1", &format!("Content-Length: {LENGTH}\r\nConnection: close\r\n"));
        stream.write_all(head.as_bytes()).unwrap();
        // All but the last byte; what is refused may be cut off before.
        stream.write_all(&body.as_bytes()[..LENGTH - 1]).ok();
        stream
    };
    let answer = |stream: &mut TcpStream| {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok();
        Response::parse(&answer)
    };
    // Two fit, so that of four two at least are refused, whichever.
    let mut begun: Vec<TcpStream> = (0..4).map(|_| begin()).collect();
    let mut refused = 0;
    eventually("two are refused", || {
        begun.retain_mut(|stream| {
            stream.set_read_timeout(Some(SILENCE / 10)).unwrap();
            let mut first = [0; 12];
            let waits = stream.read_exact(&mut first).is_err();
            assert!(waits || first.ends_with(b"503"), "{}", String::from_utf8_lossy(&first));
            refused += usize::from(!waits);
            waits
        });
        refused >= 2
    });
    for stream in &mut begun {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&body.as_bytes()[LENGTH - 1..]).ok();
        let answer = answer(stream);
        assert!(matches!(answer.status, 200 | 503), "{answer:?}");
    }
    drop(begun);
    let whole = server.post("/v1/publish", &body);
    assert_eq!(whole.status, 200, "all is given back: {}", whole.body);
}

#[test]
fn a_message_larger_than_all_may_hold_is_a_contradiction() {
    let flags = ["--message-bytes-max=2MiB", "--inputs-bytes-max=1MiB"];
    let (status, output) = Server::run(&flags, &[]);
    assert!(!status.success() && output.contains("at most inputs_bytes_max"), "{output}");
}
