//! Bytes that no honest client sends: each has its close code and its counter, the server is as large after it as
//! before, and a healthy member goes on receiving.

use crate::common::opcode::{BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT};
use crate::common::{Client, Frame, Server, Siege, eventually, frame, rss_kib};
use std::io::Write;
use std::time::{Duration, Instant};

const PING_REQUEST: &[u8] = br#"{"type":"ping"}"#;
const FRAGMENTS_MAX: usize = 8;
const FLAGS: &[&str] = &["--message-bytes-max=1000", "--fragments-max=8"];

/// A frame's header alone: 64 bits of length.
fn announced(head: u8, length: u64) -> Vec<u8> {
    [&[head, 0xff][..], &length.to_be_bytes(), &[1, 2, 3, 4]].concat()
}

fn fragments(count: usize, each: &[u8]) -> Vec<u8> {
    let mut bytes = frame(TEXT, each);
    bytes.extend(frame(CONTINUATION, each).repeat(count - 1));
    bytes
}

/// What breaks the protocol: what it is, the bytes, the close code, the reason, and the label of the close.
fn broken() -> Vec<(&'static str, Vec<u8>, u16, &'static str, &'static str)> {
    let unmasked = "frames of a client must be masked";
    let reserved = "reserved bits are set";
    let long = "control frames carry at most 125 bytes";
    let whole = "control frames must not be fragmented";
    let inside = "a new message within a fragmented one";
    let close = "the close frame's payload is invalid";
    let big = "message too big: send smaller messages";
    let many = "too many fragments: send fewer, larger ones";
    let utf8 = "text is not valid UTF-8";
    let protocol = "protocol_error";
    let masked_126 = frame(FIN | PING, &[0; 126]);
    vec![
        ("unmasked text", vec![FIN | TEXT, 2, b'{', b'}'], 1002, unmasked, protocol),
        ("unmasked close", vec![FIN | CLOSE, 2, 3, 0xe8], 1002, unmasked, protocol),
        ("one byte with RSV1", vec![0xc1], 1002, reserved, protocol),
        ("RSV3 on a ping", frame(FIN | 0x10 | PING, b""), 1002, reserved, protocol),
        ("opcode 3", frame(FIN | 3, b""), 1002, "unknown opcode", protocol),
        ("opcode 15", frame(FIN | 15, b""), 1002, "unknown opcode", protocol),
        ("a ping of 126 bytes", masked_126, 1002, long, protocol),
        ("a close that announces 2^63", announced(FIN | CLOSE, 1 << 63), 1002, long, protocol),
        ("a ping that goes on", frame(PING, b"x"), 1002, whole, protocol),
        (
            "a continuation of nothing",
            frame(CONTINUATION, b"x"),
            1002,
            "a continuation without a message to continue",
            protocol,
        ),
        ("text in text", [frame(TEXT, b"a"), frame(FIN | TEXT, b"b")].concat(), 1002, inside, protocol),
        (
            "length in too many bytes",
            announced(FIN | TEXT, 5),
            1002,
            "the length is not encoded in the fewest bytes",
            protocol,
        ),
        ("a close of one byte", frame(FIN | CLOSE, b"\x03"), 1002, close, protocol),
        ("a close with 1005", frame(FIN | CLOSE, b"\x03\xed"), 1002, close, protocol),
        ("a close with 65535", frame(FIN | CLOSE, b"\xff\xffreason"), 1002, close, protocol),
        ("a close with a bad reason", frame(FIN | CLOSE, b"\x03\xe8\xc3\x28"), 1007, utf8, "invalid_utf8"),
        ("text with half a character", frame(FIN | TEXT, b"{\"\xe2\x82\"}"), 1007, utf8, "invalid_utf8"),
        ("bad text in an unfinished message", frame(TEXT, b"\xf5"), 1007, utf8, "invalid_utf8"),
        ("1001 bytes", frame(FIN | TEXT, &[b' '; 1001]), 1009, big, "too_big"),
        ("2 MiB announced", announced(FIN | TEXT, 1 << 21), 1009, big, "too_big"),
        ("2^64-1 bytes announced", announced(FIN | BINARY, u64::MAX), 1009, big, "too_big"),
        ("fragments of 1008 bytes", fragments(8, &[b' '; 126]), 1009, big, "too_big"),
        ("endless fragments", fragments(FRAGMENTS_MAX + 1, b" "), 1009, many, "too_big"),
        ("endless empty fragments", fragments(FRAGMENTS_MAX + 1, b""), 1009, many, "too_big"),
    ]
}

#[test]
fn what_breaks_the_protocol_is_told_its_code_whatever_follows_it() {
    let mut siege = Siege::start(FLAGS);
    // More than one read takes, and neither frames nor text.
    let rest = vec![0xee; 1 << 20];
    for (what, bytes, code, reason, label) in broken() {
        // A close frame is the last that is read, however wrong it is.
        let rests = if what.contains("close") { &[0][..] } else { &[0, rest.len()] };
        for rest in rests.iter().map(|length| &rest[..*length]) {
            let closes = format!("closes {label}");
            siege.counts(what, &[(&closes, 1), ("protocol_errors", 1)], |server| {
                let mut client = server.connect();
                client.send_bytes(&bytes);
                client.send_bytes(rest);
                assert_eq!(client.expect_close(code), reason, "{what}");
            });
        }
    }
    siege.all_gone();
    siege.nothing_more_is_counted();
}

#[test]
fn a_broken_frame_with_the_handshake_is_answered_after_the_greeting() {
    let mut siege = Siege::start(FLAGS);
    // How much has come when the first of it is looked at is different from time to time.
    siege.counts("all at once", &[("closes protocol_error", 20), ("protocol_errors", 20)], |server| {
        for _ in 0..20 {
            let mut stream = std::net::TcpStream::connect(server.addr()).unwrap();
            let mut bytes = Client::handshake(&server.addr().to_string(), "/ws", &[]);
            bytes.extend([FIN | TEXT, 0]);
            bytes.extend(vec![0xee; 1 << 19]);
            stream.write_all(&bytes).unwrap();
            let mut client = Client::upgraded(stream);
            assert_eq!(client.expect_close(1002), "frames of a client must be masked");
        }
    });
}

#[test]
fn who_broke_the_protocol_is_awaited_no_longer_than_close_wait() {
    let mut siege = Siege::start(&["--close-wait=1s"]);
    let client = siege.counts("breaks", &[("closes protocol_error", 1), ("protocol_errors", 1)], |server| {
        let mut client = server.connect();
        client.send_bytes(&[0xff]);
        client
    });
    // The client neither reads nor ends.
    siege.all_gone();
    drop(client);
    siege.nothing_more_is_counted();
}

#[test]
fn what_is_cut_off_is_a_lost_connection() {
    let mut siege = Siege::start(&[]);
    let mut half = frame(FIN | TEXT, PING_REQUEST);
    half.truncate(half.len() - 1);
    let inputs = [
        ("nothing", vec![]),
        ("one byte", vec![FIN | TEXT]),
        ("half a length", vec![FIN | TEXT, 0xfe, 1]),
        ("half a mask", vec![FIN | TEXT, 0x85, 1, 2]),
        ("all but a byte", half),
        ("half a close", frame(FIN | CLOSE, &1000_u16.to_be_bytes())[..7].to_vec()),
        ("half a message", frame(TEXT, b"{")),
        ("half a fragment", [frame(TEXT, b"{"), vec![CONTINUATION, 0x85, 1]].concat()),
        ("half of half a megabyte", [announced(FIN | TEXT, 500_000), vec![0; 250_000]].concat()),
    ];
    for (what, bytes) in inputs {
        siege.counts(what, &[("closes transport_lost", 1)], |server| {
            let mut client = server.connect();
            client.send_bytes(&bytes);
            client.end_sending();
            assert_eq!(client.read_frame(), None, "{what}: the server ends as well");
        });
        siege.counts(what, &[("closes transport_lost", 1)], |server| {
            let mut client = server.connect();
            client.send_bytes(&bytes);
            client.reset();
        });
    }
    siege.nothing_more_is_counted();
}

#[test]
fn a_message_may_have_the_bound_of_fragments_with_control_frames_between() {
    let mut siege = Siege::start(FLAGS);
    siege.counts("8 fragments", &[("closes transport_lost", 1)], |server| {
        let mut client = server.connect();
        let (first, last) = PING_REQUEST.split_at(FRAGMENTS_MAX - 1);
        for (number, byte) in first.iter().enumerate() {
            client.send_frame(if number == 0 { TEXT } else { CONTINUATION }, &[*byte]);
            client.send_frame(FIN | PING, &[*byte; 125]);
            client.send_frame(FIN | PONG, b"unasked");
            assert_eq!(client.read_frame(), Some(Frame { head: FIN | PONG, payload: vec![*byte; 125] }));
        }
        client.send_frame(FIN | CONTINUATION, last);
        client.expect(r#"{"type":"pong","timestamp":"*ms"}"#);
    });
    // A close between fragments is an orderly end.
    siege.counts("a close in a message", &[("closes peer_closed", 1)], |server| {
        let mut client = server.connect();
        client.send_frame(TEXT, b"{");
        client.send_frame(FIN | CLOSE, &4000_u16.to_be_bytes());
        client.expect_close(4000);
    });
}

#[test]
fn a_flood_of_pings_is_answered_one_by_one() {
    let mut siege = Siege::start(&[]);
    siege.counts("10,000 pings", &[("closes transport_lost", 1)], |server| {
        let mut client = server.connect();
        for thousand in 0..10_u32 {
            let pings = (0..1000).flat_map(|n| frame(FIN | PING, &(thousand * 1000 + n).to_be_bytes()));
            client.send_bytes(&pings.collect::<Vec<_>>());
            for number in thousand * 1000..(thousand + 1) * 1000 {
                let payload = number.to_be_bytes().to_vec();
                assert_eq!(client.read_frame(), Some(Frame { head: FIN | PONG, payload }));
            }
        }
    });
}

#[test]
fn who_sends_without_reading_is_closed_within_its_bound() {
    let flags = ["--outbox-bytes-max=262144", "--tcp-send-buffer=65536"];
    let subscribe = br#"{"type":"subscribe","room":"r"}"#;
    for (what, bytes) in [
        ("pings", frame(FIN | PING, &[b'p'; 125])),
        ("requests", frame(FIN | TEXT, PING_REQUEST)),
        ("the same room again and again", frame(FIN | TEXT, subscribe)),
        ("no JSON", frame(FIN | TEXT, b"no")),
    ] {
        let mut siege = Siege::start(&flags);
        let before = rss_kib(siege.server());
        // Refusals are as many as the server read before it had enough: not a number to expect.
        let refused = |server: &Server| server.metric_sum("fanwire_refusals_total") as u64;
        println!("{what}");
        let mut client = Client::connect_with_buffer(siege.server().addr(), 8192, "/ws", &[]);
        let batch = bytes.repeat(1000);
        let slow = r#"fanwire_closes_total{shard="#;
        let closed = |server: &Server| {
            (0..2).any(|shard| {
                server.metric(&format!("{slow}\"{shard}\",reason=\"slow_consumer\"}}")) == Some(1.0)
            })
        };
        let start = Instant::now();
        while !closed(siege.server()) {
            client.send_bytes(&batch);
            assert!(start.elapsed() < crate::common::PATIENCE, "{what}: not closed");
        }
        let grown = rss_kib(siege.server()).saturating_sub(before);
        assert!(grown < 4 * 1024, "{what}: {grown} KiB for a bound of 256 KiB");
        siege.member_hears();
        // It reads at last, and finds the answers that the kernel had, and why it was closed.
        let close = loop {
            let frame = client.read_frame().expect("a close frame comes before the end");
            if frame.head == FIN | CLOSE {
                break frame;
            }
        };
        assert_eq!(close.payload, b"\x11\x4eslow consumer: read faster or subscribe to less", "{what}");
        drop(client);
        siege.all_gone();
        assert_eq!(refused(siege.server()) > 0, what == "no JSON");
        assert_eq!(siege.server().metric_sum("fanwire_protocol_errors_total"), 0.0, "{what}");
        assert_eq!(siege.server().metric_sum("fanwire_backlog_bytes"), 0.0, "{what}");
    }
}

#[test]
fn a_frame_may_drip_in_for_longer_than_pong_wait() {
    let mut siege = Siege::start(&["--ping-interval=1s", "--pong-wait=2s"]);
    let bytes = frame(FIN | TEXT, PING_REQUEST);
    let mut client = siege.server().connect();
    // The pace of the dripping is what is tested. It answers no ping: a pong would stand within its frame.
    for byte in bytes {
        client.send_bytes(&[byte]);
        siege.member_hears();
        std::thread::sleep(Duration::from_millis(150));
    }
    client.expect(r#"{"type":"pong","timestamp":"*ms"}"#);
    // Once it drips no more, it is closed.
    client.send_bytes(&[FIN | TEXT]);
    let closed = std::thread::spawn(move || client.read_until_close(4408, |_| {}));
    assert_eq!(siege.hears_while(closed), "no sign of life: answer pings");
    siege.counts("drips no more", &[("closes idle", 1)], |_| {});
}

#[test]
fn a_frame_that_drips_for_ever_is_no_message() {
    let server = Server::start(&["--idle-timeout=1s"]);
    let mut client = server.connect();
    client.send_bytes(&announced(FIN | TEXT, 100_000));
    let mut stream = client.stream().try_clone().unwrap();
    let drip = std::thread::spawn(move || {
        let start = Instant::now();
        while stream.write_all(b"x").is_ok() && start.elapsed() < crate::common::PATIENCE {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    client.read_until_close(4408, |_| {});
    drop(client);
    drip.join().unwrap();
    eventually("it is gone", || server.metric("websocket_clients_total") == Some(0.0));
}

#[test]
fn who_is_closed_in_the_middle_of_a_frame_may_end_it() {
    let mut siege = Siege::start(&["--idle-timeout=1s", "--close-wait=60s"]);
    let half_frame = announced(FIN | TEXT, 100_000);
    let half_message = frame(TEXT, b"{");
    // The rest of a frame looks like frames that are none.
    let rest_of_frame = vec![0xff; 100_000];
    let rest_of_message = frame(FIN | CONTINUATION, b"}");
    for (what, start, rest) in
        [("a frame", half_frame, rest_of_frame), ("a message", half_message, rest_of_message)]
    {
        // The member is alive all the while, so that it is not idle.
        let mut client = siege.server().connect();
        client.send_bytes(&start);
        let closed = std::thread::spawn(move || {
            let frame = client.read_frame().expect("a close frame comes before the end");
            assert_eq!((frame.head, &frame.payload[..2]), (FIN | CLOSE, &4408_u16.to_be_bytes()[..]));
            client
        });
        let mut client = siege.hears_while(closed);
        siege.counts(what, &[("closes idle", 1)], |_| {
            client.send_bytes(&rest);
            client.send_frame(FIN | CLOSE, &4408_u16.to_be_bytes());
            // Its close frame is found, long before close_wait is over.
            assert_eq!(client.read_frame(), None);
        });
    }
}

#[test]
fn bad_frames_leave_the_memory_where_it_was() {
    let mut siege = Siege::start(&["--message-bytes-max=262144", "--fragments-max=8"]);
    let mut inputs: Vec<_> = broken().into_iter().map(|(what, bytes, ..)| (what, bytes)).collect();
    inputs.push(("half a message", fragments(4, &[b' '; 50_000])));
    inputs.push(("half a frame", [announced(FIN | TEXT, 200_000), vec![0; 100_000]].concat()));
    let mut turn = 0;
    siege.leaves_memory("every kind in turn", 2000, |server| {
        let (_, bytes) = &inputs[turn % inputs.len()];
        turn += 1;
        let mut client = server.connect();
        client.send_bytes(bytes);
        client.end_sending();
        // To the end, so that there is one at a time.
        while client.read_frame().is_some() {}
    });
}
