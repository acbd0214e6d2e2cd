//! What the Autobahn Testsuite covers, in raw bytes and without it: sections 1 to 7, 9 and 10 against `/echo`. And
//! what `/echo` is not: there by default, greeted, pinged, or told what others publish.

use crate::common::opcode::{BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT};
use crate::common::{
    Client, Frame, Server, byte_conversation, bytes, conversation, exchange, frame, tests_path,
};
use std::collections::BTreeSet;
use std::time::Duration;

const MIB: usize = 1024 * 1024;

/// Most frames of a message on `/echo`: 65,536 fragments and the empty one with which some clients end them.
const FRAMES_MAX: usize = 65_537;

fn echo_server(flags: &[&str]) -> Server {
    Server::start(&[&["--echo=true"][..], flags].concat())
}

fn connect(server: &Server) -> Client {
    Client::connect_echo(server.addr())
}

#[test]
fn sections_1_to_7_as_byte_conversations() {
    let server = echo_server(&[]);
    let text = std::fs::read_to_string(tests_path("autobahn/conversations.txt")).unwrap();
    let mut sections = BTreeSet::new();
    for conversation in text.split("\n== ").skip(1) {
        let (title, script) = conversation.split_once('\n').unwrap();
        println!("{title}");
        sections.insert(title.split('.').next().unwrap().to_owned());
        byte_conversation(&mut connect(&server), script);
    }
    assert_eq!(Vec::from_iter(sections), ["1", "2", "3", "4", "5", "6", "7"]);
    // All of it has ended in good order and harmed nobody.
    assert!(server.get("/health").body.contains("healthy"));
}

#[test]
fn byte_conversations_are_read_as_they_are_written() {
    assert_eq!(bytes("81 05 'Hello'"), b"\x81\x05Hello");
    assert_eq!(bytes("81 85 ~ 'Hello'"), bytes("81 85 37 fa 21 3d 7f 9f 4d 51 58"));
    assert_eq!(bytes("00*3 '*'*2 | 8980 ~"), b"\0\0\0**\x89\x80\x37\xfa\x21\x3d");
}

/// Sends `text` whole, cut into a fragment for each byte, and dripping byte by byte; `check` looks at what comes.
fn in_three_ways(server: &Server, text: &[u8], check: impl Fn(&mut Client)) {
    let whole = frame(FIN | TEXT, text);
    let mut fragments = frame(TEXT, b"");
    for byte in text {
        fragments.extend(frame(CONTINUATION, &[*byte]));
    }
    fragments.extend(frame(FIN | CONTINUATION, b""));
    for way in [&whole, &fragments] {
        let mut client = connect(server);
        client.send_bytes(way);
        check(&mut client);
    }
    let mut client = connect(server);
    for byte in whole {
        client.send_bytes(&[byte]);
    }
    check(&mut client);
}

/// Sections 6.2 and 6.5 to 6.23.
#[test]
fn section_6_text_that_is_utf8_comes_back() {
    let server = echo_server(&[]);
    let hello = "Hello-µ@ßöäüàá-UTF-8!!";
    let others = ["κόσμε", "\u{0}", "\u{80}", "\u{800}", "\u{10000}", "\u{7f}", "\u{7ff}", "\u{ffff}"];
    let more = ["\u{10ffff}", "\u{d7ff}", "\u{e000}", "\u{fffd}", "\u{fffe}", "\u{1fffe}", "\u{feff}"];
    for text in [hello].iter().chain(&others).chain(&more) {
        println!("{text:?}");
        in_three_ways(&server, text.as_bytes(), |client| {
            let back = client.read_frame().unwrap();
            assert_eq!(back, Frame { head: FIN | TEXT, payload: text.as_bytes().to_vec() });
        });
    }
}

/// Sections 6.3 and 6.8 to 6.21.
#[test]
fn section_6_text_that_is_not_utf8_is_refused() {
    let server = echo_server(&[]);
    let wrong: [&[u8]; 22] = [
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
        b"\xf4\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xfc\x84\x80\x80\x80\x80",
        b"\xf7\xbf\xbf\xbf",
        b"\xfb\xbf\xbf\xbf\xbf",
        b"\x80",
        b"\xbf",
        b"\x80\xbf\x80\xbf\x80\xbf\x80",
        b"\xc0 \xc1 \xc2 ",
        b"\xe0 \xe1 \xe2 ",
        b"\xf0 \xf1 \xf2 ",
        b"\xfe",
        b"\xff",
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xf0\x80\x80\xaf",
        b"\xc1\xbf",
        b"\xe0\x9f\xbf",
        b"\xf0\x8f\xbf\xbf",
        b"\xed\xbf\xbf",
        // Cut short at the end of the message.
        b"Hello \xf0\x9f\x98",
    ];
    for text in wrong {
        println!("{text:02x?}");
        in_three_ways(&server, text, |client| {
            client.expect_close(1007);
        });
    }
}

fn expect_back(client: &mut Client, opcode: u8, payload: &[u8]) {
    let back = client.read_frame().expect("the connection is open");
    assert_eq!((back.head, back.payload.len()), (FIN | opcode, payload.len()));
    assert!(back.payload == payload);
}

/// Sections 9.1 and 9.2: one frame; 9.5 and 9.6: one frame in pieces.
#[test]
fn section_9_large_messages_come_back() {
    let server = echo_server(&[]);
    let mut client = connect(&server);
    for length in [64 * 1024, 256 * 1024, MIB, 16 * MIB] {
        for opcode in [TEXT, BINARY] {
            let payload = vec![b'*'; length];
            client.send_frame(FIN | opcode, &payload);
            expect_back(&mut client, opcode, &payload);
        }
    }
    let payload: Vec<u8> = (0..MIB).map(|at| at as u8).collect();
    for piece in frame(FIN | BINARY, &payload).chunks(2048) {
        client.send_bytes(piece);
    }
    expect_back(&mut client, BINARY, &payload);
}

/// `count` frames of one message, each with the bytes `each`.
fn fragments(opcode: u8, each: &[u8], count: usize) -> Vec<u8> {
    let first = frame(opcode, each);
    let middle = frame(CONTINUATION, each).repeat(count - 2);
    [first, middle, frame(FIN | CONTINUATION, each)].concat()
}

/// Sections 9.3 and 9.4.
#[test]
fn section_9_very_many_fragments_come_back() {
    let server = echo_server(&[]);
    let mut client = connect(&server);
    for opcode in [TEXT, BINARY] {
        client.send_bytes(&fragments(opcode, &[b'*'; 64], FRAMES_MAX));
        expect_back(&mut client, opcode, &vec![b'*'; 64 * FRAMES_MAX]);
    }
}

/// Sections 9.7 and 9.8.
#[test]
fn section_9_many_small_messages_come_back_in_order() {
    let server = echo_server(&[]);
    let mut client = connect(&server);
    for opcode in [TEXT, BINARY] {
        let messages: Vec<_> = (0..1000).map(|number| format!("{number:016}")).collect();
        let sent = messages.iter().flat_map(|text| frame(FIN | opcode, text.as_bytes()));
        client.send_bytes(&Vec::from_iter(sent));
        for text in messages {
            expect_back(&mut client, opcode, text.as_bytes());
        }
    }
}

/// Section 10.1: fragments that do not divide the message evenly.
#[test]
fn section_10_fragments_as_a_client_cuts_them() {
    let server = echo_server(&[]);
    let mut client = connect(&server);
    let payload = vec![b'*'; 65_536];
    let (last, pieces) = (payload.len() / 1300, payload.chunks(1300));
    for (number, piece) in pieces.enumerate() {
        let opcode = if number == 0 { TEXT } else { CONTINUATION };
        client.send_frame(if number == last { FIN | opcode } else { opcode }, piece);
    }
    expect_back(&mut client, TEXT, &payload);
}

#[test]
fn messages_over_the_bounds_are_refused() {
    let server = echo_server(&[]);
    let mut client = connect(&server);
    client.send_bytes(&fragments(TEXT, b"", FRAMES_MAX + 1));
    assert!(client.expect_close(1009).contains("fragments"));
    let mut client = connect(&server);
    let head = [&[FIN | BINARY, 0x80 | 127][..], &(16 * MIB as u64 + 1).to_be_bytes(), &[0; 4]].concat();
    client.send_bytes(&head);
    client.expect_close(1009);
}

/// The peer is in the middle of what is refused by its header, and must still learn why.
#[test]
fn what_is_too_big_may_be_sent_to_its_end() {
    let server = echo_server(&[]);
    for path in ["/echo", "/ws"] {
        let stream = std::net::TcpStream::connect(server.addr()).unwrap();
        let mut client = Client::upgrade(stream, "localhost", path, &[]);
        if path == "/ws" {
            client.expect_text();
        }
        client.send_bytes(&frame(FIN | BINARY, &vec![0x88; 20 * MIB]));
        client.expect_close(1009);
    }
}

/// Fragments that were on their way when the server closed are no further offence.
#[test]
fn what_crosses_a_close_does_not_break_it() {
    let server = echo_server(&[]);
    let mut client = server.connect();
    client.send_frame(FIN | BINARY, b"not accepted on /ws");
    client.send_frame(TEXT, b"a");
    client.send_frame(CONTINUATION, b"b");
    client.send_frame(FIN | CONTINUATION, b"c");
    let close = client.read_frame().unwrap();
    assert_eq!((close.head, &close.payload[..2]), (FIN | CLOSE, &1003_u16.to_be_bytes()[..]));
    client.expect_nothing(crate::common::SILENCE);
    client.send_frame(FIN | CLOSE, &1003_u16.to_be_bytes());
    assert_eq!(client.read_frame(), None);
}

/// The status line's code of an upgrade of `/echo`.
fn upgrade_status(server: &Server, path: &str) -> u16 {
    exchange(server.addr(), &Client::handshake("localhost", path, &[])).status
}

#[test]
fn the_endpoint_is_not_there_unless_it_is_wanted() {
    let server = Server::start(&[]);
    assert_eq!(upgrade_status(&server, "/echo"), 404);
    server.get("/echo").expect(404, r#"{"error":{"code":"not_found","message":"no such path"}}"#);
    let server = Server::start_with(&["--path-prefix=/inside"], &[("FANWIRE_ECHO", "1")]);
    assert_eq!(upgrade_status(&server, "/echo"), 404);
    let stream = std::net::TcpStream::connect(server.addr()).unwrap();
    let mut client = Client::upgrade(stream, "localhost", "/inside/echo", &[]);
    client.send_text("prefixed");
    assert_eq!(client.expect_text(), "prefixed");
    // A request that asks for no upgrade, and a subprotocol that is not spoken here.
    assert_eq!(server.get("/inside/echo").status, 426);
    let stream = std::net::TcpStream::connect(server.addr()).unwrap();
    let asked = [("Sec-WebSocket-Protocol", "fanwire.unknown, chat")];
    Client::upgrade(stream, "localhost", "/inside/echo", &asked).expect_nothing(crate::common::SILENCE);
}

#[test]
fn an_echo_connection_hears_itself_and_nothing_else() {
    let server = echo_server(&["--ping-interval=1s", "--pong-wait=2s"]);
    let mut echo = connect(&server);
    let mut member = server.connect();
    // What would be a command elsewhere is bytes here.
    echo.send_text(r#"{"type":"subscribe","room":"chat"}"#);
    assert_eq!(echo.expect_text(), r#"{"type":"subscribe","room":"chat"}"#);
    conversation(
        &mut member,
        r#"
        > {"type":"subscribe","room":"chat"}
        < {"type":"subscribed","room":"chat","data":{"room":"chat","client_count":1},"timestamp":"*ms"}
        > {"type":"broadcast","data":1}
        < {"type":"message","data":1,"client_id":"*uuid","timestamp":"*ms"}
        "#,
    );
    let answer = server.post("/v1/broadcast", r#"{"data":2}"#);
    assert_eq!(answer.json()["delivered"], 1, "{}", answer.body);
    // Longer than both: no ping comes, and none is missed. Whoever reads nothing else is closed by now.
    echo.expect_nothing(Duration::from_millis(3500));
    echo.send_frame(FIN | PING, b"alive");
    assert_eq!(echo.read_frame(), Some(Frame { head: FIN | PONG, payload: b"alive".to_vec() }));
    member.read_until_close(4408, |_| {});
}

#[test]
fn an_echo_connection_that_reads_nothing_is_cut_off() {
    let server = echo_server(&[]);
    let mut client = connect(&server);
    let message = frame(FIN | BINARY, &vec![0; 8 * MIB]);
    // The kernel holds some, the outbox one largest message and a bit: not five of them.
    for _ in 0..5 {
        if !client.try_send_bytes(&message) {
            break;
        }
    }
    let closed = loop {
        match client.read_frame() {
            Some(frame) if frame.head == FIN | CLOSE => break frame,
            Some(frame) => assert_eq!(frame.payload.len(), 8 * MIB),
            None => panic!("no close came"),
        }
    };
    assert_eq!(closed.payload[..2], 4430_u16.to_be_bytes());
}
