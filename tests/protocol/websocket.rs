//! RFC 6455 in raw frames: what a peer may send, what it may not, and the close code that says so.

use crate::common::opcode::{BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT};
use crate::common::{Client, Frame, Server, frame};
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

const PING_REQUEST: &[u8] = br#"{"type":"ping"}"#;

fn expect_pong_answer(client: &mut Client) {
    client.expect(r#"{"type":"pong","timestamp":"*ms"}"#);
}

/// Each of `inputs`, on a connection of its own, is answered with a close of this code.
fn closes(code: u16, inputs: &[(&str, Vec<u8>)]) {
    let server = Server::start(&[]);
    for (what, bytes) in inputs {
        println!("{what}");
        let mut client = server.connect();
        client.send_bytes(bytes);
        let reason = client.expect_close(code);
        assert!(!reason.is_empty(), "{what}: the reason says what to do");
    }
    // The server itself is unharmed.
    let mut client = server.connect();
    client.send_frame(FIN | TEXT, PING_REQUEST);
    expect_pong_answer(&mut client);
}

#[test]
fn fragments_make_one_message_with_control_frames_between() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.send_frame(TEXT, &PING_REQUEST[..5]);
    client.send_frame(FIN | PING, b"between");
    assert_eq!(client.read_frame(), Some(Frame { head: FIN | PONG, payload: b"between".to_vec() }));
    client.send_frame(CONTINUATION, b"");
    client.send_frame(FIN | PONG, b"nobody asked");
    client.send_frame(CONTINUATION, &PING_REQUEST[5..9]);
    client.send_frame(FIN | CONTINUATION, &PING_REQUEST[9..]);
    expect_pong_answer(&mut client);
}

#[test]
fn a_character_may_be_split_across_fragments() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let text = r#"{"type":"subscribe","room":"é😀"}"#.as_bytes();
    let (last, first) = text.split_last().unwrap();
    client.send_frame(TEXT, b"");
    for byte in first {
        client.send_frame(CONTINUATION, &[*byte]);
    }
    client.send_frame(FIN | CONTINUATION, &[*last]);
    client.expect(
        r#"{"type":"subscribed","room":"é😀","data":{"room":"é😀","client_count":1},"timestamp":"*ms"}"#,
    );
}

#[test]
fn bytes_may_drip_in_one_by_one() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let mut bytes = frame(FIN | TEXT, PING_REQUEST);
    bytes.extend(frame(FIN | PING, b"p"));
    // A 16-bit length, whose bytes come alone as well.
    let padded = format!(r#"{{"type":"ping","padding":"{}"}}"#, "x".repeat(150));
    bytes.extend(frame(FIN | TEXT, padded.as_bytes()));
    for byte in bytes {
        client.send_bytes(&[byte]);
        std::thread::sleep(Duration::from_micros(300));
    }
    expect_pong_answer(&mut client);
    assert_eq!(client.read_frame(), Some(Frame { head: FIN | PONG, payload: b"p".to_vec() }));
    expect_pong_answer(&mut client);
}

#[test]
fn many_frames_may_come_at_once() {
    let server = Server::start(&["--messages-per-s", "0"]);
    let mut client = server.connect();
    client.send_bytes(&frame(FIN | TEXT, PING_REQUEST).repeat(1000));
    for _ in 0..1000 {
        expect_pong_answer(&mut client);
    }
}

#[test]
fn frames_may_come_with_the_handshake() {
    let server = Server::start(&[]);
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    let mut bytes = Client::handshake(&server.addr().to_string(), "/ws", &[]);
    let whole = frame(FIN | TEXT, PING_REQUEST);
    bytes.extend_from_slice(&whole);
    bytes.extend_from_slice(&whole[..7]);
    stream.write_all(&bytes).unwrap();
    stream.set_read_timeout(Some(crate::common::PATIENCE)).unwrap();
    let mut heard = String::new();
    let mut read_until = |stream: &mut TcpStream, pongs: usize| {
        while heard.matches("\"pong\"").count() < pongs {
            let mut buffer = [0; 4096];
            let length = std::io::Read::read(stream, &mut buffer).unwrap();
            assert!(length > 0, "closed after {heard}");
            heard.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    };
    read_until(&mut stream, 1);
    stream.write_all(&whole[7..]).unwrap();
    read_until(&mut stream, 2);
}

#[test]
fn ping_payloads_come_back() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    for payload in [Vec::new(), b"a".to_vec(), vec![0xff; 125]] {
        client.send_frame(FIN | PING, &payload);
        assert_eq!(client.read_frame(), Some(Frame { head: FIN | PONG, payload }));
    }
}

#[test]
fn an_unmasked_frame_is_a_protocol_error() {
    closes(1002, &[("text", vec![0x81, 2, b'h', b'i']), ("ping", vec![0x89, 0])]);
}

#[test]
fn reserved_bits_are_a_protocol_error() {
    let heads = [0x40, 0x20, 0x10].map(|bit| ("reserved bit", frame(FIN | TEXT | bit, PING_REQUEST)));
    closes(1002, &heads);
}

#[test]
fn reserved_opcodes_are_a_protocol_error() {
    let opcodes = [3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF];
    closes(1002, &opcodes.map(|opcode| ("reserved opcode", frame(FIN | opcode, b"x"))));
}

#[test]
fn control_frames_are_short_and_whole() {
    closes(
        1002,
        &[
            ("a ping of 126 bytes", frame(FIN | PING, &[0; 126])),
            ("a pong of 126 bytes", frame(FIN | PONG, &[0; 126])),
            ("a close of 126 bytes", frame(FIN | CLOSE, &[0x03; 126])),
            ("a fragmented ping", frame(PING, b"x")),
            ("a fragmented close", frame(CLOSE, &1000_u16.to_be_bytes())),
        ],
    );
}

#[test]
fn fragments_come_in_order() {
    let two_starts = [frame(TEXT, b"a"), frame(FIN | TEXT, b"b")].concat();
    let binary_inside = [frame(TEXT, b"a"), frame(FIN | BINARY, b"b")].concat();
    closes(
        1002,
        &[
            ("a continuation of nothing", frame(FIN | CONTINUATION, b"x")),
            ("an unfinished continuation of nothing", frame(CONTINUATION, b"x")),
            ("a message inside a message", two_starts),
            ("a binary message inside a message", binary_inside),
        ],
    );
}

#[test]
fn lengths_are_written_as_short_as_they_can() {
    let mask = [1, 2, 3, 4];
    let mut long_16 = vec![FIN | TEXT, 0x80 | 126, 0, 125];
    let mut long_64 = vec![FIN | TEXT, 0x80 | 127];
    long_64.extend_from_slice(&0xffff_u64.to_be_bytes());
    long_16.extend_from_slice(&mask);
    long_64.extend_from_slice(&mask);
    closes(1002, &[("16 bits for 125", long_16), ("64 bits for 65535", long_64)]);
}

#[test]
fn too_big_is_told_by_the_header_alone() {
    let server = Server::start(&["--message-bytes-max", "1000"]);
    let head_16 = vec![FIN | TEXT, 0x80 | 126, 0x03, 0xe9, 1, 2, 3, 4];
    let head_64 = [&[FIN | TEXT, 0x80 | 127][..], &(1_u64 << 40).to_be_bytes(), &[1, 2, 3, 4]].concat();
    for bytes in [head_16, head_64] {
        let mut client = server.connect();
        client.send_bytes(&bytes);
        client.expect_close(1009);
    }
}

#[test]
fn a_message_may_have_the_bound_and_no_byte_more() {
    let server = Server::start(&["--message-bytes-max", "1000"]);
    let padding = 1000 - r#"{"type":"ping","p":""}"#.len();
    let largest = format!(r#"{{"type":"ping","p":"{}"}}"#, "x".repeat(padding));
    assert_eq!(largest.len(), 1000);
    let mut client = server.connect();
    client.send_text(&largest);
    expect_pong_answer(&mut client);
    // In fragments the sum counts.
    client.send_frame(TEXT, &largest.as_bytes()[..600]);
    client.send_frame(FIN | CONTINUATION, &largest.as_bytes()[600..]);
    expect_pong_answer(&mut client);
    client.send_frame(TEXT, &[b' '; 600]);
    client.send_frame(FIN | CONTINUATION, &[b' '; 401]);
    client.expect_close(1009);
}

#[test]
fn half_a_megabyte_is_the_default_bound() {
    let server = Server::start(&[]);
    let padding = 512_000 - r#"{"type":"ping","p":""}"#.len();
    let mut client = server.connect();
    client.send_text(&format!(r#"{{"type":"ping","p":"{}"}}"#, "x".repeat(padding)));
    expect_pong_answer(&mut client);
    let mut client = server.connect();
    let head = [&[FIN | TEXT, 0x80 | 127][..], &512_001_u64.to_be_bytes(), &[1, 2, 3, 4]].concat();
    client.send_bytes(&head);
    client.expect_close(1009);
}

#[test]
fn text_is_utf8() {
    let split = [frame(TEXT, b"\xc3"), frame(FIN | CONTINUATION, b"x")].concat();
    closes(
        1007,
        &[
            ("a byte that starts nothing", frame(FIN | TEXT, b"\"\xff\"")),
            ("an overlong form", frame(FIN | TEXT, b"\"\xc0\xaf\"")),
            ("a surrogate", frame(FIN | TEXT, b"\"\xed\xa0\x80\"")),
            ("beyond U+10FFFF", frame(FIN | TEXT, b"\"\xf4\x90\x80\x80\"")),
            ("cut short", frame(FIN | TEXT, b"\"\xe2\x82")),
            ("wrong across fragments", split),
            ("in the reason of a close", frame(FIN | CLOSE, b"\x03\xe8\xff")),
        ],
    );
}

#[test]
fn binary_has_no_meaning_here() {
    closes(1003, &[("binary", frame(FIN | BINARY, PING_REQUEST))]);
}

#[test]
fn a_close_is_echoed_with_its_code() {
    let server = Server::start(&[]);
    for code in [1000, 1001, 1011, 3000, 4321, 4999] {
        let mut client = server.connect();
        client.send_frame(FIN | CLOSE, &[&u16::to_be_bytes(code)[..], b"bye"].concat());
        client.expect_close(code);
    }
    let mut client = server.connect();
    client.send_frame(FIN | CLOSE, b"");
    let echo = client.read_frame().expect("a close is answered");
    assert_eq!(echo.head, FIN | CLOSE);
    assert!(echo.payload.is_empty() || echo.payload[..2] == 1000_u16.to_be_bytes(), "{echo:?}");
    assert_eq!(client.read_frame(), None);
}

#[test]
fn close_codes_that_may_not_be_sent_are_protocol_errors() {
    let close = |code: u16| ("close", frame(FIN | CLOSE, &code.to_be_bytes()));
    let codes = [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535];
    let mut inputs: Vec<_> = codes.map(close).into();
    inputs.push(("half a code", frame(FIN | CLOSE, b"\x03")));
    closes(1002, &inputs);
}

#[test]
fn what_comes_after_a_close_is_not_read() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let bytes = [frame(FIN | CLOSE, &1000_u16.to_be_bytes()), frame(FIN | TEXT, PING_REQUEST)].concat();
    client.send_bytes(&bytes);
    client.expect_close(1000);
}

#[test]
fn an_unmodified_client_library_gets_along() {
    let server = Server::start(&[]);
    let (mut socket, response) = tungstenite::connect(format!("ws://{}/ws", server.addr())).unwrap();
    assert_eq!(response.status(), 101);
    assert!(socket.read().unwrap().to_text().unwrap().starts_with("{\"type\":\"connected\""));
    socket.send(r#"{"type":"subscribe","room":"chat"}"#.into()).unwrap();
    assert!(socket.read().unwrap().to_text().unwrap().starts_with("{\"type\":\"subscribed\""));
    socket.close(None).unwrap();
    let ended = loop {
        if let Err(error) = socket.read() {
            break error;
        }
    };
    assert!(matches!(ended, tungstenite::Error::ConnectionClosed), "{ended}");
}
