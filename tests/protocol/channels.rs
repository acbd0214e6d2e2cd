//! The `channels` protocol as its document tells it (tests/documents/channels-fastify.md), as conversations.

use crate::common::{Client, Server, conversation, conversations, eventually};
use serde_json::json;

fn start() -> Server {
    Server::start(&["--preset=channels"])
}

/// Its document has no greeting.
fn connect(server: &Server) -> Client {
    Client::ungreeted(server.addr(), "/ws", &[])
}

#[test]
fn clients_join_talk_and_leave() {
    let server = start();
    let (mut a, mut b) = (connect(&server), connect(&server));
    conversations(
        &mut [("a", &mut a), ("b", &mut b)],
        r#"
        a> {"type":"JOIN_CHANNEL","channel":"general"}
        a< {"type":"CHANNEL_JOINED","channel":"general","data":{"members":1},"timestamp":"*iso"}
        b> {"type":"JOIN_CHANNEL","channel":"general"}
        b< {"type":"CHANNEL_JOINED","channel":"general","data":{"members":2},"timestamp":"*iso"}
        a> {"type":"JOIN_CHANNEL","channel":"general","id":"again"}
        a< {"type":"CHANNEL_JOINED","channel":"general","data":{"members":2},"id":"again","timestamp":"*iso"}
        a> {"type":"CHAT_MESSAGE","channel":"general","data":{"text":"Hello everyone!","userId":"user123"}}
        a< {"type":"CHAT_MESSAGE","channel":"general","data":{"text":"Hello everyone!","userId":"user123"},"timestamp":"*iso"}
        b< {"type":"CHAT_MESSAGE","channel":"general","data":{"text":"Hello everyone!","userId":"user123"},"timestamp":"*iso"}
        b> {"type":"LEAVE_CHANNEL","channel":"general"}
        b< {"type":"CHANNEL_LEFT","channel":"general","data":{},"timestamp":"*iso"}
        a> {"type":"TYPING","channel":"general"}
        a< {"type":"TYPING","channel":"general","timestamp":"*iso"}
        b> {"type":"LEAVE_CHANNEL","channel":"never"}
        b< {"type":"CHANNEL_LEFT","channel":"never","data":{},"timestamp":"*iso"}
        b< nothing
        "#,
    );
}

#[test]
fn an_empty_channel_is_deleted() {
    let server = start();
    let (mut a, mut b) = (connect(&server), connect(&server));
    let join = |client: &mut Client, channel| {
        client.send_text(&format!(r#"{{"type":"JOIN_CHANNEL","channel":"{channel}"}}"#));
        client.expect_json(|answer| assert_eq!(answer["type"], "CHANNEL_JOINED"));
    };
    join(&mut a, "left");
    join(&mut b, "left");
    join(&mut b, "abandoned");
    let stats = || server.get("/ws/status").json()["stats"].clone();
    assert_eq!(stats()["channelBreakdown"], json!({"left": 2, "abandoned": 1}));
    for client in [&mut a, &mut b] {
        client.send_text(r#"{"type":"LEAVE_CHANNEL","channel":"left"}"#);
        client.expect_json(|answer| assert_eq!(answer["type"], "CHANNEL_LEFT"));
    }
    eventually("a channel that all have left is deleted", || {
        stats() == json!({"totalClients": 2, "totalChannels": 1, "channelBreakdown": {"abandoned": 1}})
    });
    drop(b);
    eventually("the channel of a client that is gone is deleted", || {
        stats() == json!({"totalClients": 1, "totalChannels": 0, "channelBreakdown": {}})
    });
    assert_eq!(server.get("/health").json()["rooms"], 0);
    assert_eq!(server.get("/v1/rooms/abandoned").status, 404);
}

#[test]
fn errors_show_the_original_message() {
    let server = start();
    conversation(
        &mut connect(&server),
        r#"
        > not JSON
        < {"type":"ERROR","channel":"error","data":{"message":"Invalid message format","originalMessage":"not JSON"},"timestamp":"*iso"}
        > {"channel":"general"}
        < {"type":"ERROR","channel":"error","data":{"message":"Invalid message format","originalMessage":{"channel":"general"}},"timestamp":"*iso"}
        > [1,"a"]
        < {"type":"ERROR","channel":"error","data":{"message":"Invalid message format","originalMessage":[1,"a"]},"timestamp":"*iso"}
        > {"type":5,"id":7}
        < {"type":"ERROR","channel":"error","data":{"message":"Invalid message format","originalMessage":{"type":5,"id":7}},"id":7,"timestamp":"*iso"}
        > {"type":"JOIN_CHANNEL"}
        < {"type":"ERROR","channel":"error","data":{"message":"Channel is required","originalMessage":{"type":"JOIN_CHANNEL"}},"timestamp":"*iso"}
        > {"type":"subscribe","room":"general"}
        < {"type":"ERROR","channel":"error","data":{"message":"Unknown message type: subscribe","originalMessage":{"type":"subscribe","room":"general"}},"timestamp":"*iso"}
        > {"type":"join_channel","data":{"channel":"general"}}
        < {"type":"ERROR","channel":"error","data":{"message":"Unknown message type: join_channel","originalMessage":{"type":"join_channel","data":{"channel":"general"}}},"timestamp":"*iso"}
        > {"type":"JOB_DESCRIPTION","data":{"title":"Software Engineer"}}
        < {"type":"ERROR","channel":"error","data":{"message":"Unknown message type: JOB_DESCRIPTION","originalMessage":{"type":"JOB_DESCRIPTION","data":{"title":"Software Engineer"}}},"timestamp":"*iso"}
        > {"type":"CHAT_MESSAGE","channel":"general","data":1}
        < {"type":"ERROR","channel":"error","data":{"message":"Not a member of this channel","originalMessage":{"type":"CHAT_MESSAGE","channel":"general","data":1}},"timestamp":"*iso"}
        "#,
    );
}

#[test]
fn an_original_message_is_bounded() {
    let server = start();
    let mut client = connect(&server);
    let text = format!("{{\"type\":\"é{}\"", "é".repeat(5000));
    client.send_text(&text);
    client.expect_json(|error| {
        let shown = error["data"]["originalMessage"].as_str().unwrap();
        assert!(shown.len() > 1000 && shown.len() <= 1024 && text.starts_with(shown), "{shown}");
    });
    // It nests too deep to be shown as what it is.
    let deep = format!("{{\"type\":\"x\",\"data\":{}{}}}", "[".repeat(100), "]".repeat(100));
    client.send_text(&deep);
    client.expect_json(|error| {
        assert_eq!(error["data"]["message"], "Invalid message format: nested too deep");
        assert_eq!(error["data"]["originalMessage"], deep.as_str());
    });
}

#[test]
fn nobody_says_what_only_the_server_says() {
    let server = start();
    let mut client = connect(&server);
    conversation(
        &mut client,
        r#"
        > {"type":"JOIN_CHANNEL","channel":"general"}
        < {"type":"CHANNEL_JOINED","channel":"general","data":{"members":1},"timestamp":"*iso"}
        "#,
    );
    for kind in
        ["ERROR", "CHANNEL_JOINED", "CHANNEL_LEFT", "error", "subscribed", "welcome", "channel_message"]
    {
        client.send_text(&format!(r#"{{"type":"{kind}","channel":"general","data":{{}}}}"#));
        client.expect_json(|error| {
            assert_eq!(error["type"], "ERROR");
            assert_eq!(error["data"]["message"], format!("Unknown message type: {kind}"));
        });
    }
    conversation(&mut client, "< nothing");
}

#[test]
fn what_is_beyond_the_document_works() {
    let rules = r#"[{"pattern":"kept:*","history_messages":10,"presence":true}]"#;
    let quiet = r#"[{"path":"/ws","dialect":"channels","deliver_to_sender":false}]"#;
    let server = Server::start(&["--preset=channels", "--room-rules", rules, "--endpoints", quiet]);
    conversation(
        &mut connect(&server),
        r#"
        > {"type":"PING","id":1}
        < {"type":"PONG","data":{},"id":1,"timestamp":"*iso"}
        > {"type":"JOIN_CHANNEL","channel":"kept:a"}
        < {"type":"CHANNEL_JOINED","channel":"kept:a","data":{"members":1,"epoch":"*","offset":0},"timestamp":"*iso"}
        < {"type":"CHANNEL_PRESENCE_CHANGE","channel":"kept:a","data":{"joined":["*uuid"],"left":[],"members":1},"timestamp":"*iso"}
        > {"type":"NEWS","channel":"kept:a","data":1,"id":"n"}
        < {"type":"PUBLISHED","channel":"kept:a","data":{"offset":1},"id":"n","timestamp":"*iso"}
        > {"type":"GET_PRESENCE","channel":"kept:a","limit":5}
        < {"type":"CHANNEL_PRESENCE","channel":"kept:a","data":{"members":1,"connections":["*uuid"]},"timestamp":"*iso"}
        > {"type":"GET_STATUS"}
        < {"type":"STATUS","data":{"connectionId":"*uuid","userId":null,"channels":["kept:a"],"lastActivity":"*iso","connectedAt":"*iso"},"timestamp":"*iso"}
        "#,
    );
}

#[test]
fn what_was_missed_is_recovered() {
    let server = Server::start(&[
        "--preset=channels",
        "--room-rules",
        r#"[{"pattern":"kept","history_messages":10}]"#,
    ]);
    let mut a = connect(&server);
    a.send_text(r#"{"type":"JOIN_CHANNEL","channel":"kept"}"#);
    let epoch = a.expect_json(|joined| joined["data"]["epoch"].as_str().unwrap().to_owned());
    for data in 1..=3 {
        a.send_text(&format!(r#"{{"type":"NEWS","channel":"kept","data":{data}}}"#));
        a.expect_json(|news| assert_eq!(news["offset"], data));
    }
    conversation(
        &mut connect(&server),
        &format!(
            r#"
            > {{"type":"JOIN_CHANNEL","channel":"kept","recover":{{"epoch":"{epoch}","offset":1}}}}
            < {{"type":"CHANNEL_JOINED","channel":"kept","data":{{"members":2,"epoch":"{epoch}","offset":3,"recovered":true}},"timestamp":"*iso"}}
            < {{"type":"NEWS","channel":"kept","data":2,"offset":2,"timestamp":"*iso"}}
            < {{"type":"NEWS","channel":"kept","data":3,"offset":3,"timestamp":"*iso"}}
            "#
        ),
    );
}

#[test]
fn binary_messages_end_the_connection() {
    let server = start();
    let mut client = connect(&server);
    client.send_frame(0x82, b"JOIN_CHANNEL");
    client.expect_close(1003);
}
