//! permessage-deflate (RFC 7692) in raw bytes. What other implementations make of it is in `deflate_clients`.

use crate::common::opcode::{BINARY, CONTINUATION, FIN, PING, PONG, TEXT};
use crate::common::token::{SECRET_VARIABLE, path_of};
use crate::common::{Client, Frame, Server, deflate, inflate, repetitive, request};
use flate2::{Compress, Compression, FlushCompress};

/// First byte of a compressed text message.
const COMPRESSED: u8 = FIN | RSV1 | TEXT;
const RSV1: u8 = 0x40;

const BARE: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// `{"type":"ping"}` as zlib 1.2 (by Python) compresses it.
const PING_REQUEST: [u8; 17] =
    [0xaa, 0x56, 0x2a, 0xa9, 0x2c, 0x48, 0x55, 0xb2, 0x52, 0x2a, 0xc8, 0xcc, 0x4b, 0x57, 0xaa, 0x05, 0x00];

const PONG_ANSWER: &str = r#"{"type":"pong","timestamp":"*ms"}"#;

fn start(flags: &[&str]) -> Server {
    Server::start(&[&["--deflate=true"], flags].concat())
}

fn connect(server: &Server, offer: &str) -> Client {
    Client::connect_with(server.addr(), "/ws", &[("Sec-WebSocket-Extensions", offer)])
}

fn publish(server: &Server, room: &str, text: &str) {
    let answer = server.post("/v1/publish", &serde_json::json!({"room": room, "data": text}).to_string());
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// The `data` of a publication.
fn data(text: &str) -> String {
    let message: serde_json::Value = serde_json::from_str(text).unwrap();
    assert_eq!(message["type"], "message");
    message["data"].as_str().unwrap().to_owned()
}

#[test]
fn it_is_off_unless_it_is_asked_for() {
    let server = Server::start(&[]);
    let mut client = connect(&server, "permessage-deflate");
    assert_eq!(client.extensions, None);
    client.subscribe("r");
    publish(&server, "r", &repetitive(2000));
    assert_eq!(data(&client.expect_text()), repetitive(2000));
    client.send_frame(COMPRESSED, &PING_REQUEST);
    assert_eq!(client.expect_close(1002), "reserved bits are set");
    assert_eq!(server.metric_sum("fanwire_deflated_bytes_before_total"), 0.0);
}

#[test]
fn it_is_on_by_the_environment_and_for_those_who_offer_it() {
    let server = Server::start_with(&[], &[("FANWIRE_DEFLATE", "1")]);
    for (offer, answer) in [
        ("permessage-deflate", Some(BARE.to_owned())),
        ("permessage-deflate; server_max_window_bits=15", Some(format!("{BARE}; server_max_window_bits=15"))),
        ("permessage-deflate; server_max_window_bits=14", Some(format!("{BARE}; server_max_window_bits=12"))),
        ("permessage-deflate; server_max_window_bits=11", Some(format!("{BARE}; server_max_window_bits=9"))),
        ("permessage-deflate; server_max_window_bits=8", None),
        ("permessage-deflate; what=1, permessage-deflate; client_max_window_bits", Some(BARE.to_owned())),
        ("x-webkit-deflate-frame", None),
    ] {
        assert_eq!(connect(&server, offer).extensions, answer, "{offer}");
    }
    let offers = [
        ("Sec-WebSocket-Extensions", "permessage-deflate; what"),
        ("Sec-WebSocket-Extensions", "permessage-deflate"),
    ];
    assert_eq!(Client::connect_with(server.addr(), "/ws", &offers).extensions.as_deref(), Some(BARE));
    let mut silent = server.connect();
    assert_eq!(silent.extensions, None);
    silent.send_frame(COMPRESSED, &PING_REQUEST);
    silent.expect_close(1002);
}

#[test]
fn the_tenants_preset_compresses_what_members_say_to_each_other() {
    let server = Server::start_with(
        &["--preset=tenants"],
        &[("FANWIRE_DEFLATE", "1"), ("FANWIRE_TENANTS", "t1"), SECRET_VARIABLE],
    );
    let offer = [("Sec-WebSocket-Extensions", "permessage-deflate")];
    let mut members = ["u1", "u2"].map(|user| {
        let mut client = Client::ungreeted(server.addr(), &path_of("/ws", user, "t1"), &offer);
        assert_eq!(client.extensions.as_deref(), Some(BARE));
        client.expect_json(|greeting| assert_eq!(greeting["type"], "connection"));
        client.send_text(r#"{"type":"join_channel","data":{"channel":"tenant:t1:chat"}}"#);
        client.expect_json(|answer| assert_eq!(answer["type"], "channel_joined"));
        client
    });
    let text = repetitive(5000);
    let message = serde_json::json!({"channel": "tenant:t1:chat", "message": text});
    let message = serde_json::json!({"type": "send_message", "data": message}).to_string();
    members[0].send_frame(COMPRESSED, &deflate(message.as_bytes()));
    let frame = members[1].read_frame().expect("it stays");
    assert_eq!(frame.head, COMPRESSED);
    assert!(frame.payload.len() < text.len() / 2, "{} bytes", frame.payload.len());
    let heard: serde_json::Value = serde_json::from_str(&inflate(15, &frame.payload)).unwrap();
    assert_eq!((&heard["type"], &heard["data"]["message"]), (&"channel_message".into(), &text.into()));
    let [before, after] =
        ["before", "after"].map(|when| server.metric_sum(&format!("fanwire_deflated_bytes_{when}_total")));
    assert!(after > 0.0 && after < before / 2.0, "{before} bytes became {after}");
}

#[test]
fn a_malformed_offer_fails_the_handshake() {
    let server = start(&[]);
    let headers = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", crate::common::KEY),
        ("Sec-WebSocket-Extensions", "permessage-deflate; server_max_window_bits="),
    ];
    let response = request(server.addr(), "GET", "/ws", &headers, b"");
    assert_eq!((response.status, &*response.body), (400, "Sec-WebSocket-Extensions is malformed\n"));
}

#[test]
fn broken_browsers_are_left_out() {
    let server = start(&[]);
    let safari = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                  Version/17.4 Safari/605.1.15";
    let headers = [("Sec-WebSocket-Extensions", "permessage-deflate"), ("User-Agent", safari)];
    let mut client = Client::connect_with(server.addr(), "/ws", &headers);
    assert_eq!(client.extensions, None);
    client.subscribe("r");
    publish(&server, "r", &repetitive(2000));
    assert_eq!(data(&client.expect_text()), repetitive(2000));
}

/// Clients of every window, several each so that both shards have some, get each publication in their own form, and
/// it is compressed once per form and not once per client.
#[test]
fn a_publication_is_compressed_once_for_all_of_one_window() {
    let server = start(&[]);
    let mut members: Vec<(u8, Client)> = Vec::new();
    for (window_bits, offer) in [
        (15, "permessage-deflate; client_max_window_bits"),
        (12, "permessage-deflate; server_max_window_bits=12"),
        (9, "permessage-deflate; server_max_window_bits=9; client_max_window_bits=9"),
        (0, "nothing-we-know"),
    ] {
        for _ in 0..6 {
            let mut client = connect(&server, offer);
            client.subscribe("r");
            members.push((window_bits, client));
        }
    }
    let mut before = 0.0;
    let mut after = 0.0;
    for (to_all, len, frames) in [
        // What every window holds has one form, what none does has three.
        (false, 300, 1),
        (false, 2_000, 2),
        (false, 50_000, 3),
        (true, 2_000, 2),
        (false, 300_000, 3),
    ] {
        let sent = repetitive(len);
        if to_all {
            let body = serde_json::json!({ "data": sent }).to_string();
            assert_eq!(server.post("/v1/broadcast", &body).json()["delivered"], members.len());
        } else {
            publish(&server, "r", &sent);
        }
        let mut forms: Vec<Vec<u8>> = Vec::new();
        let mut text_len = 0;
        for (window_bits, client) in &mut members {
            let frame = client.read_frame().unwrap();
            let text = if *window_bits == 0 {
                assert_eq!(frame.head, FIN | TEXT);
                String::from_utf8(frame.payload.clone()).unwrap()
            } else {
                assert_eq!(frame.head, COMPRESSED);
                assert!(frame.payload.len() < sent.len() * 3 / 5, "{}", frame.payload.len());
                if !forms.contains(&frame.payload) {
                    forms.push(frame.payload.clone());
                }
                inflate(*window_bits, &frame.payload)
            };
            assert_eq!(data(&text), sent);
            text_len = text.len();
        }
        assert_eq!(forms.len(), frames, "{len}");
        before += (text_len * frames) as f64;
        after += forms.iter().map(Vec::len).sum::<usize>() as f64;
        assert_eq!(server.metric_sum("fanwire_deflated_bytes_before_total"), before);
        assert_eq!(server.metric_sum("fanwire_deflated_bytes_after_total"), after);
    }
    // Several in one write, from one of the clients.
    let texts = [repetitive(700), repetitive(40), repetitive(5_000)];
    for text in &texts {
        let request = serde_json::json!({"type": "publish", "room": "r", "data": text}).to_string();
        members[0].1.send_text(&request);
    }
    for (window_bits, client) in &mut members {
        for (text, compressed) in texts.iter().zip([true, false, true]) {
            let frame = client.read_frame().unwrap();
            assert_eq!(frame.head == COMPRESSED, compressed && *window_bits != 0);
            let got = if frame.head == COMPRESSED {
                inflate(*window_bits, &frame.payload)
            } else {
                String::from_utf8(frame.payload).unwrap()
            };
            assert_eq!(data(&got), *text);
        }
    }
    // Whoever leaves gets nothing more, whoever stays does.
    for (_, client) in &mut members {
        client.send_text(r#"{"type":"unsubscribe","room":"r"}"#);
        client.expect(r#"{"type":"unsubscribed","room":"r","data":{"room":"r"},"timestamp":"*ms"}"#);
    }
    let answer = server.post("/v1/publish", r#"{"room":"r","data":1}"#);
    assert_eq!(answer.json()["delivered"], 0);
}

#[test]
fn short_messages_answers_and_what_gets_no_shorter_are_not_compressed() {
    let server = start(&["--deflate-min-bytes", "200", "--deflate-level", "9"]);
    let mut client = connect(&server, "permessage-deflate");
    client.subscribe("r");
    let frame_of = |text: &str, client: &mut Client| {
        publish(&server, "r", text);
        client.read_frame().unwrap()
    };
    let envelope = frame_of("", &mut client).payload.len();
    let below = "x".repeat(199 - envelope);
    assert_eq!(frame_of(&below, &mut client).head, FIN | TEXT);
    let exactly = below + "x";
    let frame = frame_of(&exactly, &mut client);
    assert_eq!((frame.head, data(&inflate(15, &frame.payload))), (COMPRESSED, exactly));
    // Every character once.
    let dense: String = (0x4e00..0x4e00 + 200).filter_map(char::from_u32).collect();
    let noise: String =
        dense.chars().map(|c| char::from_u32((c as u32 * 7919) % 0x5000 + 0x3400).unwrap()).collect();
    let frame = frame_of(&noise, &mut client);
    assert!(frame.head == FIN | TEXT || frame.payload.len() < noise.len());
    // Answers are one connection's own, so nobody would share the work; this one has 600 bytes, twice the room's name.
    client.subscribe(&"r".repeat(250));
}

#[test]
fn compressed_messages_are_inflated_whole_or_in_fragments() {
    let server = start(&[]);
    let mut client = connect(&server, "permessage-deflate");
    for _ in 0..3 {
        client.send_frame(COMPRESSED, &PING_REQUEST);
        client.expect(PONG_ANSWER);
    }
    // Only the first frame is marked; a fragment may be empty, and a ping may stand between.
    client.send_frame(RSV1 | TEXT, &PING_REQUEST[..1]);
    client.send_frame(FIN | PING, b"between");
    assert_eq!(client.read_frame(), Some(Frame { head: FIN | PONG, payload: b"between".to_vec() }));
    client.send_frame(CONTINUATION, b"");
    client.send_frame(CONTINUATION, &PING_REQUEST[1..9]);
    client.send_frame(FIN | CONTINUATION, &PING_REQUEST[9..]);
    client.expect(PONG_ANSWER);
    // Byte by byte.
    let (last, first) = PING_REQUEST.split_last().unwrap();
    client.send_frame(RSV1 | TEXT, b"");
    first.iter().for_each(|byte| client.send_frame(CONTINUATION, &[*byte]));
    client.send_frame(FIN | CONTINUATION, &[*last]);
    client.expect(PONG_ANSWER);
    // An uncompressed one between, and a large one.
    client.send_text(r#"{"type":"ping"}"#);
    client.expect(PONG_ANSWER);
    let large = serde_json::json!({"type": "ping", "padding": repetitive(300_000)}).to_string();
    client.send_frame(COMPRESSED, &deflate(large.as_bytes()));
    client.expect(PONG_ANSWER);
    let messages = 5 * "{\"type\":\"ping\"}".len() + large.len();
    assert_eq!(server.metric_sum("fanwire_inflated_bytes_after_total"), messages as f64);
    let bytes = 5 * PING_REQUEST.len() + deflate(large.as_bytes()).len();
    assert_eq!(server.metric_sum("fanwire_inflated_bytes_before_total"), bytes as f64);
    assert_eq!(server.metric_sum("fanwire_protocol_errors_total"), 0.0);
}

/// Each of these, on a connection of its own, ends it with this code; the server lives on.
#[test]
fn what_is_wrong_with_a_compressed_message_is_told() {
    let server = start(&["--message-bytes-max", "100000"]);
    let zeros = deflate(&vec![b'0'; 1 << 20]);
    assert!(zeros.len() < 1_100);
    let large = deflate(repetitive(100_001).as_bytes());
    type Case<'a> = (&'a str, u16, Vec<(u8, &'a [u8])>);
    let cases: [Case<'_>; 15] = [
        ("RSV1 on a continuation", 1002, vec![(RSV1 | TEXT, b"\xaa"), (FIN | RSV1 | CONTINUATION, b"V")]),
        ("RSV1 on the continuation alone", 1002, vec![(TEXT, b"{"), (FIN | RSV1 | CONTINUATION, b"}")]),
        ("RSV1 on a ping", 1002, vec![(FIN | RSV1 | PING, b"")]),
        ("RSV1 on a pong", 1002, vec![(FIN | RSV1 | PONG, b"")]),
        ("RSV1 on a close", 1002, vec![(FIN | RSV1 | 0x8, b"\x03\xe8")]),
        ("RSV2", 1002, vec![(FIN | 0x20 | TEXT, b"{}")]),
        ("RSV1 and RSV3", 1002, vec![(COMPRESSED | 0x10, &PING_REQUEST)]),
        (
            "a second message within the first",
            1002,
            vec![(RSV1 | TEXT, b"\xaa"), (COMPRESSED, &PING_REQUEST)],
        ),
        ("no DEFLATE", 1002, vec![(COMPRESSED, b"{\"type\":\"ping\"}")]),
        ("cut short", 1002, vec![(COMPRESSED, &PING_REQUEST[..9])]),
        ("cut short in fragments", 1002, vec![(RSV1 | TEXT, &PING_REQUEST[..4]), (FIN, &PING_REQUEST[4..9])]),
        ("with the tail", 1002, vec![(COMPRESSED, b"\xf2H\xcd\xc9\xc9\x07\x00\x06")]),
        ("a reference to the message before", 1002, vec![(COMPRESSED, b"\xf2\x00\x11\x00\x00")]),
        ("a bomb", 1009, vec![(COMPRESSED, &zeros)]),
        ("over the bound on messages", 1009, vec![(COMPRESSED, &large)]),
    ];
    let count = cases.len();
    for (what, code, frames) in cases {
        println!("{what}");
        let mut client = connect(&server, "permessage-deflate");
        for (head, bytes) in frames {
            client.send_frame(head, bytes);
        }
        assert!(!client.expect_close(code).is_empty(), "{what}: the reason says what is wrong");
    }
    let mut client = connect(&server, "permessage-deflate");
    client.send_frame(COMPRESSED, &deflate(b"\"\xff\xff\""));
    client.expect_close(1007);
    let mut client = connect(&server, "permessage-deflate");
    client.send_frame(FIN | RSV1 | BINARY, &deflate(b"{}"));
    client.expect_close(1003);
    assert_eq!(server.metric_sum("fanwire_protocol_errors_total"), (count + 1) as f64);
    // An empty message and one that is no JSON are errors of the protocol above.
    let mut client = connect(&server, "permessage-deflate");
    for message in [&b""[..], b"\0", &deflate(b"nonsense")] {
        client.send_frame(COMPRESSED, message);
        client.expect(r#"{"type":"error","error":"invalid JSON format","timestamp":"*ms"}"#);
    }
    client.send_frame(COMPRESSED, &PING_REQUEST);
    client.expect(PONG_ANSWER);
    // However well it is compressed, what is within the bound on messages is taken.
    let regular = format!(r#"{{"type":"ping","data":"{}"}}"#, "x".repeat(99_000));
    let compressed = deflate(regular.as_bytes());
    assert!(compressed.len() * 500 < regular.len());
    client.send_frame(COMPRESSED, &compressed);
    client.expect(PONG_ANSWER);
    // Counted, each as what it was.
    let closes = |reason: &str| {
        (0..2)
            .filter_map(|n| {
                server.metric(&format!("fanwire_closes_total{{shard=\"{n}\",reason=\"{reason}\"}}"))
            })
            .sum()
    };
    crate::common::eventually("the closes", || {
        let counts: [f64; 4] = ["protocol_error", "too_big", "invalid_utf8", "unsupported"].map(closes);
        counts == [13.0, 2.0, 1.0, 1.0]
    });
}

/// RFC 7692 section 7.2.3.4: a block may be marked as the last. What follows it within the message is read on, and a
/// message that ends with it needs no tail.
#[test]
fn a_block_that_says_to_be_the_last_is_none() {
    let server = start(&[]);
    let mut client = connect(&server, "permessage-deflate");
    let text = br#"{"type":"ping"}"#;
    let mut finished = Vec::with_capacity(100);
    Compress::new(Compression::best(), false)
        .compress_vec(text, &mut finished, FlushCompress::Finish)
        .unwrap();
    let stored = |last: u8, part: &[u8]| {
        let len = part.len() as u16;
        [&[last][..], &len.to_le_bytes(), &(!len).to_le_bytes(), part].concat()
    };
    for message in [
        finished.clone(),
        [&finished[..], &[0]].concat(),
        stored(1, text),
        [stored(1, &text[..5]), stored(0, &text[5..]), vec![0]].concat(),
        [stored(1, &text[..5]), stored(1, &text[5..])].concat(),
    ] {
        client.send_frame(COMPRESSED, &message);
        client.expect(PONG_ANSWER);
    }
    assert_eq!(server.metric_sum("fanwire_protocol_errors_total"), 0.0);
}

#[test]
fn a_bomb_in_fragments_is_bounded_too() {
    let server = start(&["--message-bytes-max", "128"]);
    let mut client = connect(&server, "permessage-deflate");
    client.send_frame(RSV1 | TEXT, &[0xaa; 100]);
    client.send_frame(CONTINUATION, &[0xaa; 29]);
    client.expect_close(1009);
}

#[test]
fn a_reload_is_for_the_connections_that_come_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fanwire.yaml");
    std::fs::write(&file, "deflate: false\n").unwrap();
    let server = Server::start(&["--config", file.to_str().unwrap()]);
    let mut before = connect(&server, "permessage-deflate");
    assert_eq!(before.extensions, None);
    std::fs::write(&file, "deflate: true\ndeflate_min_bytes: 100\ndeflate_level: 1\n").unwrap();
    server.signal("HUP");
    crate::common::eventually("the reload", || connect(&server, "permessage-deflate").extensions.is_some());
    let mut after = connect(&server, "permessage-deflate");
    for client in [&mut before, &mut after] {
        client.subscribe("r");
    }
    publish(&server, "r", &repetitive(1000));
    assert_eq!(before.read_frame().unwrap().head, FIN | TEXT);
    assert_eq!(after.read_frame().unwrap().head, COMPRESSED);
    std::fs::write(&file, "deflate: false\n").unwrap();
    server.signal("HUP");
    crate::common::eventually("the reload", || connect(&server, "permessage-deflate").extensions.is_none());
    // Who has it keeps it.
    publish(&server, "r", &repetitive(1000));
    assert_eq!(after.read_frame().unwrap().head, COMPRESSED);
    after.send_frame(COMPRESSED, &PING_REQUEST);
    after.expect(PONG_ANSWER);
}
