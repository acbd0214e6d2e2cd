//! One room, all dialects: what one client publishes reaches the members of each, in its own shape.

use crate::common::{Client, Server, conversations};

const DIALECTS: [&str; 4] = ["rooms", "channels", "topics", "tenants"];

/// One client of each dialect, all members of `room`.
fn members(server: &Server, room: &str) -> [Client; 4] {
    let joins = [
        format!(r#"{{"type":"subscribe","room":"{room}"}}"#),
        format!(r#"{{"type":"JOIN_CHANNEL","channel":"{room}"}}"#),
        format!(r#"{{"type":"subscribe","channel":"{room}"}}"#),
        format!(r#"{{"type":"join_channel","data":{{"channel":"{room}"}}}}"#),
    ];
    let mut joins = joins.iter();
    DIALECTS.map(|dialect| {
        let mut client = Client::speaking(server.addr(), dialect);
        if dialect != "channels" {
            client.expect_text();
        }
        client.send_text(joins.next().unwrap());
        client.expect_text();
        client
    })
}

fn hold(members: &mut [Client; 4], script: &str) {
    let [rooms, channels, topics, tenants] = members;
    let clients = &mut [("rooms", rooms), ("channels", channels), ("topics", topics), ("tenants", tenants)];
    conversations(clients, script);
}

#[test]
fn what_a_client_of_any_dialect_publishes_reaches_all() {
    let server = Server::start(&[]);
    let mut members = members(&server, "mixed");
    hold(
        &mut members,
        r#"
        rooms> {"type":"publish","room":"mixed","data":{"n":1}}
        rooms< {"type":"message","room":"mixed","data":{"n":1},"client_id":"*uuid","timestamp":"*ms"}
        channels< {"type":"message","channel":"mixed","data":{"n":1},"timestamp":"*iso"}
        topics< {"type":"message","channel":"mixed","data":{"n":1},"timestamp":"*iso"}
        tenants< {"type":"channel_message","data":{"channel":"mixed","message":{"n":1},"sender":{"connectionId":"*uuid"},"timestamp":"*iso"}}

        channels> {"type":"CHAT_MESSAGE","channel":"mixed","data":{"n":2}}
        rooms< {"type":"CHAT_MESSAGE","room":"mixed","data":{"n":2},"client_id":"*uuid","timestamp":"*ms"}
        channels< {"type":"CHAT_MESSAGE","channel":"mixed","data":{"n":2},"timestamp":"*iso"}
        topics< {"type":"CHAT_MESSAGE","channel":"mixed","data":{"n":2},"timestamp":"*iso"}
        tenants< {"type":"channel_message","data":{"channel":"mixed","message":{"n":2},"sender":{"connectionId":"*uuid"},"timestamp":"*iso"}}

        topics> {"type":"publish","channel":"mixed","data":{"n":3}}
        rooms< {"type":"message","room":"mixed","data":{"n":3},"client_id":"*uuid","timestamp":"*ms"}
        channels< {"type":"message","channel":"mixed","data":{"n":3},"timestamp":"*iso"}
        topics< {"type":"message","channel":"mixed","data":{"n":3},"timestamp":"*iso"}
        tenants< {"type":"channel_message","data":{"channel":"mixed","message":{"n":3},"sender":{"connectionId":"*uuid"},"timestamp":"*iso"}}

        tenants> {"type":"send_message","data":{"channel":"mixed","message":{"n":4}}}
        rooms< {"type":"message","room":"mixed","data":{"n":4},"client_id":"*uuid","timestamp":"*ms"}
        channels< {"type":"message","channel":"mixed","data":{"n":4},"timestamp":"*iso"}
        topics< {"type":"message","channel":"mixed","data":{"n":4},"timestamp":"*iso"}
        tenants< nothing
        "#,
    );
}

#[test]
fn what_the_api_publishes_reaches_all() {
    let server = Server::start(&[]);
    let mut members = members(&server, "mixed");
    let body = r#"{"room":"mixed","event":"news","data":{"n":1}}"#;
    assert_eq!(server.post("/v1/publish", body).json()["delivered"], 4);
    hold(
        &mut members,
        r#"
        rooms< {"type":"news","room":"mixed","data":{"n":1},"timestamp":"*ms"}
        channels< {"type":"news","channel":"mixed","data":{"n":1},"timestamp":"*iso"}
        topics< {"type":"news","channel":"mixed","data":{"n":1},"timestamp":"*iso"}
        tenants< {"type":"news","data":{"n":1}}
        "#,
    );
}

#[test]
fn data_passes_byte_for_byte_between_all() {
    let server = Server::start(&[]);
    let mut members = members(&server, "mixed");
    let data = "{ \"a\" : [1.0E+2,\t\"\\u00e9é😀\\/\"], \"a\":null,\"big\":123456789012345678901234567890 }";
    let says = [
        format!(r#"{{"type":"publish","room":"mixed","data":{data}}}"#),
        format!(r#"{{"type":"X","channel":"mixed","data":{data}}}"#),
        format!(r#"{{"type":"publish","channel":"mixed","data":{data}}}"#),
        format!(r#"{{"type":"send_message","data":{{"channel":"mixed","message":{data}}}}}"#),
    ];
    for (from, text) in says.iter().enumerate() {
        members[from].send_text(text);
        for (to, member) in members.iter_mut().enumerate().filter(|(to, _)| (from, *to) != (3, 3)) {
            let field = if to == 3 { "\"message\":" } else { "\"data\":" };
            let text = member.expect_text();
            assert!(text.contains(&format!("{field}{data},\"")), "{from} to {to}: {text}");
        }
    }
}

#[test]
fn a_broadcast_reaches_all() {
    let server = Server::start(&[]);
    let mut members = members(&server, "mixed");
    hold(
        &mut members,
        r#"
        rooms> {"type":"broadcast","data":"all"}
        rooms< {"type":"message","data":"all","client_id":"*uuid","timestamp":"*ms"}
        channels< {"type":"message","data":"all","timestamp":"*iso"}
        topics< {"type":"message","data":"all","timestamp":"*iso"}
        tenants< {"type":"channel_message","data":{"message":"all","sender":{"connectionId":"*uuid"},"timestamp":"*iso"}}
        "#,
    );
}

#[test]
fn an_endpoint_says_whether_its_clients_hear_themselves() {
    let endpoints = r#"[
        {"path":"/ws","dialect":"tenants","auth":"off","deliver_to_sender":true},
        {"path":"/quiet","dialect":"channels","auth":"off","deliver_to_sender":false}
    ]"#;
    let server = Server::start(&["--endpoints", endpoints]);
    let mut tenants = Client::ungreeted(server.addr(), "/ws", &[]);
    tenants.expect_text();
    let mut channels = Client::ungreeted(server.addr(), "/quiet", &[]);
    conversations(
        &mut [("tenants", &mut tenants), ("channels", &mut channels)],
        r#"
        tenants> {"type":"join_channel","data":{"channel":"r"}}
        tenants< {"type":"channel_joined","data":{"channel":"r"}}
        channels> {"type":"JOIN_CHANNEL","channel":"r"}
        channels< {"type":"CHANNEL_JOINED","channel":"r","data":{"members":2},"timestamp":"*iso"}
        tenants> {"type":"send_message","data":{"channel":"r","message":1}}
        tenants< {"type":"channel_message","data":{"channel":"r","message":1,"sender":{"connectionId":"*uuid"},"timestamp":"*iso"}}
        channels< {"type":"message","channel":"r","data":1,"timestamp":"*iso"}
        channels> {"type":"X","channel":"r","data":2}
        tenants< {"type":"channel_message","data":{"channel":"r","message":2,"sender":{"connectionId":"*uuid"},"timestamp":"*iso"}}
        channels< nothing
        "#,
    );
}

#[test]
fn the_subprotocol_chooses_the_dialect() {
    let server = Server::start(&[]);
    let mut client = Client::ungreeted(
        server.addr(),
        "/ws",
        &[("Sec-WebSocket-Protocol", "graphql, fanwire.topics, fanwire.rooms")],
    );
    client.expect_json(|welcome| assert_eq!(welcome["type"], "welcome"));
    let answer = crate::common::exchange(
        server.addr(),
        &Client::handshake("localhost", "/ws", &[("Sec-WebSocket-Protocol", "fanwire.chat")]),
    );
    assert_eq!(answer.status, 400, "{}", answer.body);
    // Most clients would end a connection that chooses none of what they offer, without a word.
    for foreign in ["graphql-ws", "chat, superchat"] {
        let offer = [("Sec-WebSocket-Protocol", foreign)];
        let answer = crate::common::exchange(server.addr(), &Client::handshake("localhost", "/ws", &offer));
        assert_eq!(answer.status, 400, "{foreign}");
        assert!(answer.body.contains("fanwire.rooms"), "{}", answer.body);
    }
}

#[test]
fn a_publication_is_encoded_once_for_each_dialect() {
    let rules = r#"[{"pattern":"kept","history_messages":10}]"#;
    let server = Server::start(&["--shards=3", "--room-rules", rules]);
    for room in ["mixed", "kept"] {
        let mut all: Vec<_> = (0..8).flat_map(|_| members(&server, room)).collect();
        for to_all in [false, true] {
            let mut body = serde_json::json!({"data": "x".repeat(1000)});
            let to = if to_all { ("all", true.into()) } else { ("room", room.into()) };
            body[to.0] = to.1;
            let before = server.metric_sum("fanwire_encoded_texts_total");
            assert_eq!(server.post("/v1/publish", &body.to_string()).json()["delivered"], all.len());
            let texts: std::collections::BTreeSet<_> = all.iter_mut().map(Client::expect_text).collect();
            // Whole texts, times included, and those of channels and topics are the same.
            assert_eq!(texts.len(), 3, "{texts:#?}");
            // By no shard but that of the publication.
            let encoded = server.metric_sum("fanwire_encoded_texts_total") - before;
            assert_eq!(encoded, 4.0, "{body:.40}");
        }
        drop(all);
        crate::common::eventually("they are gone", || server.metric_sum("fanwire_connections") == 0.0);
    }
}
