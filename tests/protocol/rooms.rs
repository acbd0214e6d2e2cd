//! The `rooms` protocol as its document tells it (tests/documents/rooms-go-module.md), as conversations.

use crate::common::{Client, SILENCE, Server, conversation, conversations};

/// What the publisher of a message with an `id` gets: its own message and the answer, in either order.
fn expect_own_and_answer(client: &mut Client, message: &str, answer: &str) {
    let (first, second) = (client.expect_text(), client.expect_text());
    let (got_answer, got_message) =
        if first.starts_with("{\"type\":\"published\"") { (first, second) } else { (second, first) };
    for (got, template) in [(got_answer, answer), (got_message, message)] {
        let difference = crate::common::Json::parse(&got).differs(&crate::common::Json::parse(template));
        assert!(difference.is_none(), "{}: {got}", difference.unwrap_or_default());
    }
}

#[test]
fn the_greeting_comes_first() {
    let server = Server::start(&[]);
    let mut socket = std::net::TcpStream::connect(server.addr()).unwrap();
    let request = Client::handshake("127.0.0.1", "/ws", &[]);
    std::io::Write::write_all(&mut socket, &request).unwrap();
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while !bytes.ends_with(b"}") {
        let length = std::io::Read::read(&mut socket, &mut buffer).unwrap();
        assert!(length > 0, "closed");
        bytes.extend_from_slice(&buffer[..length]);
    }
    let text = String::from_utf8_lossy(&bytes);
    let greeting = crate::common::Json::parse(&text[text.find("{\"type\"").unwrap()..]);
    let template = r#"{"type":"connected","data":{"client_id":"*uuid","message":"Connected to WebSocket server"},"timestamp":"*ms"}"#;
    assert_eq!(greeting.differs(&crate::common::Json::parse(template)), None);
}

#[test]
fn every_connection_has_its_own_id() {
    let server = Server::start(&[]);
    let (a, b) = (server.connect(), server.connect());
    assert_ne!(a.id, b.id);
}

#[test]
fn one_client_joins_publishes_and_leaves() {
    let server = Server::start(&[]);
    conversation(
        &mut server.connect(),
        r#"
        > {"type":"subscribe","room":"chat"}
        < {"type":"subscribed","room":"chat","data":{"room":"chat","client_count":1},"timestamp":"*ms"}
        > {"type":"publish","room":"chat","data":{"message":"Hello!"}}
        < {"type":"message","room":"chat","data":{"message":"Hello!"},"client_id":"*uuid","timestamp":"*ms"}
        > {"type":"unsubscribe","room":"chat"}
        < {"type":"unsubscribed","room":"chat","data":{"room":"chat"},"timestamp":"*ms"}
        > {"type":"publish","room":"chat","data":1}
        < {"type":"error","error":"not subscribed to this room","timestamp":"*ms"}
        > {"type":"ping"}
        < {"type":"pong","timestamp":"*ms"}
        < nothing
        "#,
    );
}

#[test]
fn members_hear_each_other_and_nobody_else_does() {
    let server = Server::start(&[]);
    let (mut a, mut b, mut c) = (server.connect(), server.connect(), server.connect());
    conversations(
        &mut [("a", &mut a), ("b", &mut b), ("c", &mut c)],
        r#"
        a> {"type":"subscribe","room":"chat"}
        a< {"type":"subscribed","room":"chat","data":{"room":"chat","client_count":1},"timestamp":"*ms"}
        b> {"type":"subscribe","room":"chat"}
        b< {"type":"subscribed","room":"chat","data":{"room":"chat","client_count":2},"timestamp":"*ms"}
        c> {"type":"subscribe","room":"other"}
        c< {"type":"subscribed","room":"other","data":{"room":"other","client_count":1},"timestamp":"*ms"}
        b> {"type":"publish","room":"chat","data":{"message":"Hello!"}}
        a< {"type":"message","room":"chat","data":{"message":"Hello!"},"client_id":"*uuid","timestamp":"*ms"}
        b< {"type":"message","room":"chat","data":{"message":"Hello!"},"client_id":"*uuid","timestamp":"*ms"}
        c< nothing
        a> {"type":"unsubscribe","room":"chat"}
        a< {"type":"unsubscribed","room":"chat","data":{"room":"chat"},"timestamp":"*ms"}
        b> {"type":"publish","room":"chat","data":2}
        b< {"type":"message","room":"chat","data":2,"client_id":"*uuid","timestamp":"*ms"}
        a< nothing
        "#,
    );
}

#[test]
fn a_message_names_its_sender() {
    let server = Server::start(&[]);
    let (mut a, mut b) = (server.connect(), server.connect());
    a.subscribe("chat");
    b.subscribe("chat");
    a.send_text(r#"{"type":"publish","room":"chat","data":1}"#);
    for member in [&mut b, &mut a] {
        let sender = member.expect_json(|message| message["client_id"].as_str().unwrap().to_owned());
        assert_ne!(sender, "");
        assert_eq!(sender.len(), 36);
    }
    assert_ne!(a.id, b.id);
    b.send_text(r#"{"type":"publish","room":"chat","data":2}"#);
    let id = b.id.clone();
    a.expect_json(|message| assert_eq!(message["client_id"], id.as_str()));
}

#[test]
fn a_broadcast_reaches_every_connection_and_has_no_room() {
    let server = Server::start(&[]);
    let mut members: Vec<_> = (0..8).map(|_| server.connect()).collect();
    members[3].subscribe("chat");
    members[0].send_text(r#"{"type":"broadcast","data":{"any":"payload"}}"#);
    for member in &mut members {
        member.expect(r#"{"type":"message","data":{"any":"payload"},"client_id":"*uuid","timestamp":"*ms"}"#);
        member.expect_nothing(SILENCE / 10);
    }
}

#[test]
fn joining_twice_counts_once() {
    let server = Server::start(&[]);
    conversation(
        &mut server.connect(),
        r#"
        > {"type":"subscribe","room":"chat"}
        < {"type":"subscribed","room":"chat","data":{"room":"chat","client_count":1},"timestamp":"*ms"}
        > {"type":"subscribe","room":"chat"}
        < {"type":"subscribed","room":"chat","data":{"room":"chat","client_count":1},"timestamp":"*ms"}
        > {"type":"publish","room":"chat","data":1}
        < {"type":"message","room":"chat","data":1,"client_id":"*uuid","timestamp":"*ms"}
        < nothing
        > {"type":"unsubscribe","room":"chat"}
        < {"type":"unsubscribed","room":"chat","data":{"room":"chat"},"timestamp":"*ms"}
        > {"type":"publish","room":"chat","data":1}
        < {"type":"error","error":"not subscribed to this room","timestamp":"*ms"}
        "#,
    );
}

#[test]
fn leaving_a_room_one_is_not_in_is_answered() {
    let server = Server::start(&[]);
    conversation(
        &mut server.connect(),
        r#"
        > {"type":"unsubscribe","room":"never"}
        < {"type":"unsubscribed","room":"never","data":{"room":"never"},"timestamp":"*ms"}
        "#,
    );
}

#[test]
fn an_id_comes_back_with_the_answer() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    conversation(
        &mut client,
        r#"
        > {"type":"subscribe","room":"chat","id":"a-1"}
        < {"type":"subscribed","room":"chat","data":{"room":"chat","client_count":1},"id":"a-1","timestamp":"*ms"}
        > {"type":"ping","id":7}
        < {"type":"pong","id":7,"timestamp":"*ms"}
        > {"id":8,"type":"publish","room":"other","data":1}
        < {"type":"error","error":"not subscribed to this room","id":8,"timestamp":"*ms"}
        > {"type":"dance","id":"\u00e9"}
        < {"type":"error","error":"unknown message type","id":"é","timestamp":"*ms"}
        "#,
    );
    client.send_text(r#"{"type":"publish","room":"chat","data":1,"id":"p-1"}"#);
    expect_own_and_answer(
        &mut client,
        r#"{"type":"message","room":"chat","data":1,"client_id":"*uuid","timestamp":"*ms"}"#,
        r#"{"type":"published","room":"chat","id":"p-1","timestamp":"*ms"}"#,
    );
    client.send_text(r#"{"type":"broadcast","data":2,"id":9}"#);
    expect_own_and_answer(
        &mut client,
        r#"{"type":"message","data":2,"client_id":"*uuid","timestamp":"*ms"}"#,
        r#"{"type":"published","id":9,"timestamp":"*ms"}"#,
    );
    conversation(
        &mut client,
        r#"
        > {"type":"unsubscribe","room":"chat","id":-1.5}
        < {"type":"unsubscribed","room":"chat","data":{"room":"chat"},"id":-1.5,"timestamp":"*ms"}
        "#,
    );
}

#[test]
fn what_is_no_request_is_an_error_and_the_connection_lives() {
    let server = Server::start(&[]);
    conversation(
        &mut server.connect(),
        r#"
        > {"type":"dance"}
        < {"type":"error","error":"unknown message type","timestamp":"*ms"}
        > {}
        < {"type":"error","error":"unknown message type","timestamp":"*ms"}
        > {"type":"subscribe",
        < {"type":"error","error":"invalid JSON format","timestamp":"*ms"}
        > hello
        < {"type":"error","error":"invalid JSON format","timestamp":"*ms"}
        > []
        < {"type":"error","error":"invalid JSON format","timestamp":"*ms"}
        > {"type":1}
        < {"type":"error","error":"invalid JSON format","timestamp":"*ms"}
        > {"type":"subscribe"}
        < {"type":"error","error":"room name is required","timestamp":"*ms"}
        > {"type":"subscribe","room":""}
        < {"type":"error","error":"room name is required","timestamp":"*ms"}
        > {"type":"unsubscribe","room":""}
        < {"type":"error","error":"room name is required","timestamp":"*ms"}
        > {"type":"publish","data":1}
        < {"type":"error","error":"room name is required","timestamp":"*ms"}
        > {"type":"subscribe","room":"a\u0000b"}
        < {"type":"error","error":"room name is invalid: at most 255 bytes and no control characters","timestamp":"*ms"}
        > {"type":"ping"}
        < {"type":"pong","timestamp":"*ms"}
        "#,
    );
    assert!(server.metric_sum("websocket_errors_total") >= 11.0);
}

#[test]
fn a_room_name_has_at_most_255_bytes() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.subscribe(&"é".repeat(127));
    client.send_text(&format!(r#"{{"type":"subscribe","room":"{}"}}"#, "é".repeat(128)));
    client.expect(
        r#"{"type":"error","error":"room name is invalid: at most 255 bytes and no control characters","timestamp":"*ms"}"#,
    );
}

#[test]
fn a_hundred_thousand_levels_are_too_deep() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let levels = 100_000;
    let (open, close) = ("[".repeat(levels), "]".repeat(levels));
    for text in
        [format!(r#"{{"type":"broadcast","data":{open}{close}}}"#), open.clone(), "{\"a\":".repeat(levels)]
    {
        client.send_text(&text);
        client.expect(r#"{"type":"error","error":"JSON is nested too deep","timestamp":"*ms"}"#);
    }
}

#[test]
fn data_passes_byte_for_byte() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.subscribe("chat");
    // Numbers that no double holds, order and repetition of keys, escapes and spaces are the clients' business.
    for data in [
        r#"{"z":1,"a":2,"z":3}"#,
        "123456789012345678901234567890.10",
        r#""\u00e9\/é😀""#,
        "[1, 2,\t3]",
        "null",
        "1E400",
    ] {
        client.send_text(&format!(r#"{{"type":"publish","room":"chat","data":{data}}}"#));
        let text = client.expect_text();
        let start = format!(r#"{{"type":"message","room":"chat","data":{data},"client_id":""#);
        assert!(text.starts_with(&start), "{text}");
    }
    client.send_text(r#"{"type":"publish","room":"chat"}"#);
    client.expect(r#"{"type":"message","room":"chat","client_id":"*uuid","timestamp":"*ms"}"#);
}

#[test]
fn messages_of_one_publisher_keep_their_order_on_every_shard() {
    let server = Server::start(&["--messages-per-s", "0"]);
    let mut publisher = server.connect();
    publisher.subscribe("chat");
    let mut members: Vec<_> = (0..6).map(|_| server.connect()).collect();
    for member in &mut members {
        member.subscribe("chat");
    }
    for number in 0..500 {
        publisher.send_text(&format!(r#"{{"type":"publish","room":"chat","data":{number}}}"#));
    }
    for member in members.iter_mut().chain([&mut publisher]) {
        for number in 0..500 {
            member.expect_json(|message| assert_eq!(message["data"], number));
        }
    }
}

#[test]
fn who_goes_away_leaves_its_rooms() {
    let server = Server::start(&[]);
    let mut a = server.connect();
    a.subscribe("chat");
    let mut b = server.connect();
    b.subscribe("chat");
    drop(b);
    crate::common::eventually("the member is gone", || {
        server.get("/health").body == r#"{"status":"healthy","clients":1,"rooms":1}"#
    });
    conversation(
        &mut a,
        r#"
        > {"type":"subscribe","room":"chat"}
        < {"type":"subscribed","room":"chat","data":{"room":"chat","client_count":1},"timestamp":"*ms"}
        "#,
    );
}
