//! A dialect that is none of the table's, with a state: it is spoken beside the others, over real sockets.

use crate::common::opcode::{BINARY, CLOSE, FIN, TEXT};
use crate::common::{Client, Frame, PATIENCE, eventually};
use crate::inside::stop;
use crate::sixth;
use fanwire::config::{Auth, Config, Endpoint, Limits};
use fanwire::{CustomRequest, Server};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn config(change: impl FnOnce(&mut Config)) -> Config {
    sixth::register();
    let mut config = Config { host: [127, 0, 0, 1].into(), port: 0, shards: 2, ..Config::default() };
    config.endpoints = vec![
        Endpoint { auth: Auth::Off, ..Endpoint::new("/sixth", "sixth") },
        Endpoint { auth: Auth::Off, ..Endpoint::new("/ws", "rooms") },
    ];
    change(&mut config);
    config
}

fn start(change: impl FnOnce(&mut Config)) -> Server {
    Server::builder().config(config(change)).start().unwrap()
}

/// A client of the dialect, after its first words and its greeting.
struct Speaker(Client);

impl Speaker {
    fn connect(server: &Server) -> Self {
        let mut speaker = Self(Client::ungreeted(server.local_addr().unwrap(), "/sixth", &[]));
        let first = speaker.text();
        let greeting = speaker.text();
        assert!(greeting.starts_with("={\"type\":\"connected\""), "{greeting}");
        assert!(greeting.contains(&first[1..]) && first.starts_with('o'), "{first} before {greeting}");
        speaker
    }

    fn says(&mut self, text: &str) {
        self.0.send_frame(FIN | TEXT, text.as_bytes());
    }

    fn sends(&mut self, bytes: &[u8]) {
        self.0.send_frame(FIN | BINARY, bytes);
    }

    fn frame(&mut self) -> Frame {
        self.0.read_frame().expect("a frame")
    }

    fn text(&mut self) -> String {
        let Frame { head, payload } = self.frame();
        assert_eq!(head, FIN | TEXT, "{payload:?}");
        String::from_utf8(payload).unwrap()
    }

    fn hears(&mut self, beginning: &str) {
        let text = self.text();
        assert!(text.starts_with(beginning), "{text} instead of {beginning}");
    }

    fn hears_bytes(&mut self, bytes: &[u8]) {
        assert_eq!(self.frame(), Frame { head: FIN | BINARY, payload: bytes.to_vec() });
    }

    /// The last words, and then a close frame.
    fn is_closed(&mut self, reason: &str, code: u16, text: &str) {
        self.hears(&format!("x{reason}"));
        let Frame { head, payload } = self.frame();
        assert_eq!((head, &payload[..2]), (FIN | CLOSE, &code.to_be_bytes()[..]));
        assert!(String::from_utf8_lossy(&payload[2..]).contains(text), "{payload:?}");
    }
}

#[test]
fn a_publication_of_several_frames_reaches_every_dialect() {
    let server = start(|_| {});
    let mut sixth = Speaker::connect(&server);
    let mut rooms = Client::connect(server.local_addr().unwrap());
    rooms.subscribe("r");
    sixth.says(r#"={"type":"subscribe","room":"r"}"#);
    sixth.hears(r#"={"type":"subscribed","room":"r""#);
    sixth.says(r#"+2;{"type":"publish","room":"r","id":1}"#);
    sixth.sends(br#"{"in":"#);
    sixth.sends(b"[1]}");
    sixth.hears(r#"+{"type":"message","room":"r","data":{"_placeholder":0},"#);
    sixth.hears_bytes(br#"{"in":[1]}"#);
    sixth.hears(r#"={"type":"published","room":"r","id":1"#);
    rooms.expect_json(|message| assert_eq!(message["data"]["in"][0], 1));
    rooms.send_text(r#"{"type":"publish","room":"r","data":[2]}"#);
    sixth.hears(r#"+{"type":"message","room":"r","data":{"_placeholder":0},"#);
    sixth.hears_bytes(b"[2]");
    stop(server);
}

#[test]
fn one_message_in_two_is_answered_and_one_message_may_ask_for_several_things() {
    let server = start(|_| {});
    let mut sixth = Speaker::connect(&server);
    for _ in 0..2 {
        sixth.says("?");
        sixth.says(r#"={"type":"ping","id":1}"#);
        sixth.hears(r#"={"type":"pong","id":1"#);
        sixth.says("?");
        sixth.hears("!");
    }
    sixth.says("&{\"type\":\"ping\",\"id\":1}\n{\"type\":\"ping\",\"id\":2}\n{\"type\":1}\n{\"type\":\"ping\",\"id\":3}");
    sixth.hears(r#"={"type":"pong","id":1"#);
    sixth.hears(r#"={"type":"pong","id":2"#);
    sixth.hears(r#"={"type":"error""#);
    sixth.hears(r#"={"type":"pong","id":3"#);
    stop(server);
}

#[test]
fn each_request_of_a_message_counts_for_the_rate() {
    let limits = Limits { messages_per_s: 1, messages_burst: 3, ..Limits::default() };
    let server = start(|config| config.limits = limits);
    let mut sixth = Speaker::connect(&server);
    sixth.says("&{\"type\":\"ping\"}\n{\"type\":\"ping\"}\n{\"type\":\"ping\"}\n{\"type\":\"ping\"}\n{\"type\":\"ping\"}");
    for _ in 0..3 {
        sixth.hears(r#"={"type":"pong""#);
    }
    sixth.hears(r#"={"type":"error","error":"rate limit exceeded""#);
    // What stood behind the refused request went with it: no step of it is left for the next message.
    sixth.says(r#"={"type":"ping"}"#);
    sixth.hears("={");
    sixth.sends(b"x");
    sixth.is_closed("unsupported", 1003, "");
    stop(server);
}

#[test]
fn others_have_their_turn_in_the_middle_of_a_message_of_many_requests() {
    const PINGS: usize = 1000;
    let (enter, entered) = channel();
    let (leave, left) = channel();
    let (gate, order) = (Mutex::new((enter, left)), Arc::new(Mutex::new(Vec::new())));
    let note = |name: &'static str| {
        let order = order.clone();
        move |_: CustomRequest| {
            order.lock().unwrap().push(name);
            Ok(())
        }
    };
    let config = config(|config| {
        config.shards = 1;
        (config.limits.messages_per_s, config.limits.bytes_per_s) = (0, 0);
    });
    let server = Server::builder()
        .config(config)
        .on("gate", move |_| {
            let (enter, left) = &*gate.lock().unwrap();
            enter.send(()).unwrap();
            left.recv_timeout(PATIENCE).unwrap();
            Ok(())
        })
        .on("other", note("other"))
        .on("last", note("last"))
        .start()
        .unwrap();
    let mut sixth = Speaker::connect(&server);
    let mut other = Client::connect(server.local_addr().unwrap());
    let pings = "\n{\"type\":\"ping\"}".repeat(PINGS);
    sixth.says(&format!("&{{\"type\":\"gate\"}}{pings}\n{{\"type\":\"last\"}}"));
    // The other client speaks while the shard is at the first request of the message.
    entered.recv_timeout(PATIENCE).unwrap();
    other.send_text(r#"{"type":"other"}"#);
    leave.send(()).unwrap();
    (0..PINGS).for_each(|_| sixth.hears(r#"={"type":"pong""#));
    eventually("the last request is handled", || order.lock().unwrap().len() == 2);
    assert_eq!(*order.lock().unwrap(), ["other", "last"]);
    stop(server);
}

#[test]
fn attachments_that_do_not_fit_close_the_connection() {
    let server = start(|config| config.limits.message_bytes_max = 200);
    let closed = |says: &dyn Fn(&mut Speaker), reason: &str, code: u16, text: &str| {
        let mut sixth = Speaker::connect(&server);
        says(&mut sixth);
        sixth.is_closed(reason, code, text);
    };
    closed(&|it| it.sends(b"x"), "unsupported", 1003, "no text announced");
    closed(&|it| it.says("+65;{}"), "too_big", 1009, "more than 64");
    closed(
        &|it| {
            it.says("+2;{}");
            it.sends(&[b'1'; 150]);
            it.sends(&[b'1'; 50]);
        },
        "too_big",
        1009,
        "too long",
    );
    closed(
        &|it| {
            it.says("+1;{}");
            it.says("?");
        },
        "protocol_error",
        1002,
        "must come before",
    );
    stop(server);
}

#[test]
fn attachments_that_never_come_close_the_connection() {
    let server = start(|config| config.times.message_timeout = Duration::from_secs(1));
    let mut sixth = Speaker::connect(&server);
    sixth.says("+2;{}");
    // It is the message that has a time, not each part.
    sixth.sends(b"1");
    sixth.is_closed("message_timeout", 4408, "");
    stop(server);
}

#[test]
fn binary_messages_close_a_connection_whose_dialect_has_none() {
    let server = start(|_| {});
    let mut rooms = Client::connect(server.local_addr().unwrap());
    rooms.send_frame(FIN | BINARY, b"x");
    rooms.expect_close(1003);
    stop(server);
}

#[test]
fn a_heartbeat_that_is_not_answered_closes_the_connection() {
    let server = start(|config| {
        config.times.ping_interval = Duration::from_secs(1);
        config.times.pong_wait = Duration::from_secs(3);
    });
    let mut sixth = Speaker::connect(&server);
    for _ in 0..2 {
        sixth.hears_bytes(sixth::BEAT);
        sixth.sends(sixth::BEAT_ANSWER);
    }
    sixth.hears_bytes(sixth::BEAT);
    // Any other message is no answer to it.
    sixth.says(r#"={"type":"ping"}"#);
    sixth.hears(r#"={"type":"pong""#);
    sixth.is_closed("idle", 4408, "");
    assert!(PATIENCE > Duration::from_secs(3));
    stop(server);
}
