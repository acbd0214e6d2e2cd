//! What sections 12 and 13 of the Autobahn Testsuite cover, in raw bytes: compressed messages of every size, whole and
//! in fragments, come back compressed from `/echo`, within the window that was asked for.

use crate::common::opcode::{BINARY, CONTINUATION, FIN, TEXT};
use crate::common::{Client, Server, deflate, frame, inflate, repetitive};
use std::net::TcpStream;

const RSV1: u8 = 0x40;

/// The sizes of the suite's cases.
const SIZES: [usize; 11] = [0, 16, 64, 256, 1024, 4096, 8192, 16_384, 32_768, 65_536, 131_072];

/// The default of `deflate_min_bytes`.
const MIN_BYTES: usize = 256;

fn echo(server: &Server, offer: &str) -> Client {
    let stream = TcpStream::connect(server.addr()).unwrap();
    let headers = [("Sec-WebSocket-Extensions", offer)];
    let client = Client::upgrade(stream, &server.addr().to_string(), "/echo", &headers);
    let accepted = client.extensions.as_deref().unwrap_or_default();
    assert!(accepted.starts_with("permessage-deflate; server_no_context_takeover;"), "{offer}: {accepted}");
    client
}

/// The next message is `text`, compressed if it is long enough to be.
fn expect_back(client: &mut Client, window_bits: u8, opcode: u8, text: &str) {
    let back = client.read_frame().expect("the connection is open");
    if text.len() < MIN_BYTES {
        assert_eq!((back.head, &*back.payload), (FIN | opcode, text.as_bytes()));
    } else {
        assert_eq!(back.head, FIN | RSV1 | opcode, "{} bytes", text.len());
        assert!(back.payload.len() < text.len() * 3 / 4, "{} of {}", back.payload.len(), text.len());
        assert!(inflate(window_bits, &back.payload) == text);
    }
}

/// Sections 13.1 to 13.7 differ in what is offered.
#[test]
fn messages_of_every_size_come_back_within_every_window() {
    let server = Server::start(&["--echo=true", "--deflate=true"]);
    for (offer, window_bits) in [
        ("permessage-deflate", 15),
        ("permessage-deflate; server_no_context_takeover; client_no_context_takeover", 15),
        ("permessage-deflate; client_max_window_bits; server_max_window_bits=9", 9),
        ("permessage-deflate; client_max_window_bits; server_max_window_bits=15", 15),
        (
            "permessage-deflate; client_max_window_bits=9; server_no_context_takeover; server_max_window_bits=9",
            9,
        ),
        (
            "permessage-deflate; client_max_window_bits=15; server_no_context_takeover; server_max_window_bits=13",
            12,
        ),
        ("permessage-deflate; server_no_context_takeover; server_max_window_bits=8, permessage-deflate", 15),
    ] {
        let mut client = echo(&server, offer);
        for size in SIZES {
            let text = repetitive(size);
            for opcode in [TEXT, BINARY] {
                client.send_frame(FIN | RSV1 | opcode, &deflate(text.as_bytes()));
                expect_back(&mut client, window_bits, opcode, &text);
            }
        }
    }
    assert_eq!(server.metric_sum("fanwire_protocol_errors_total"), 0.0);
}

/// Cases 12.x.10 to 12.x.18: many messages without waiting, each in fragments.
#[test]
fn messages_in_fragments_come_back_in_order() {
    let server = Server::start(&["--echo=true", "--deflate=true"]);
    let mut client = echo(&server, "permessage-deflate; client_max_window_bits");
    let texts: Vec<String> = (0..200).map(|number| format!("{number}: {}", repetitive(1024))).collect();
    for (text, size) in texts.iter().zip([1, 16, 64, 256].into_iter().cycle()) {
        let compressed = deflate(text.as_bytes());
        let last = compressed.len().div_ceil(size) - 1;
        for (number, part) in compressed.chunks(size).enumerate() {
            let start = if number == 0 { RSV1 | TEXT } else { CONTINUATION };
            client.send_bytes(&frame(if number == last { FIN | start } else { start }, part));
        }
    }
    for text in &texts {
        expect_back(&mut client, 15, TEXT, text);
    }
}
