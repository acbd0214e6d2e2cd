//! The `topics` protocol as its document tells it (tests/documents/topics-aegisx-service.md), as conversations.

use crate::common::{Client, Server, conversation, conversations};

const WELCOME: &str = r#"{"type":"welcome","data":{"connectionId":"*uuid","userId":null,"serverTime":"*iso","availableChannels":["reports:progress","reports:data-updates","system:notifications","user:alerts"]}}"#;

fn connect(server: &Server) -> Client {
    let mut client = Client::ungreeted(server.addr(), "/ws", &[]);
    client.expect(WELCOME);
    client
}

#[test]
fn a_client_is_welcomed_subscribes_and_asks() {
    let server = Server::start(&["--preset=topics"]);
    conversation(
        &mut connect(&server),
        r#"
        > {"type":"subscribe","channel":"system:notifications"}
        < {"type":"subscribed","channel":"system:notifications","timestamp":"*iso"}
        > {"type":"ping"}
        < {"type":"pong","timestamp":"*iso"}
        > {"type":"get_status"}
        < {"type":"status","data":{"connectionId":"*uuid","userId":null,"channels":["system:notifications"],"lastActivity":"*iso","connectedAt":"*iso"},"timestamp":"*iso"}
        > {"type":"unsubscribe","channel":"system:notifications"}
        < {"type":"unsubscribed","channel":"system:notifications","timestamp":"*iso"}
        > {"type":"get_status","id":"s"}
        < {"type":"status","data":{"connectionId":"*uuid","userId":null,"channels":[],"lastActivity":"*iso","connectedAt":"*iso"},"id":"s","timestamp":"*iso"}
        < nothing
        "#,
    );
}

#[test]
fn errors_have_a_message() {
    let server = Server::start(&["--preset=topics"]);
    conversation(
        &mut connect(&server),
        r#"
        > nonsense
        < {"type":"error","message":"Invalid message format","timestamp":"*iso"}
        > {"channel":"a"}
        < {"type":"error","message":"Invalid message format","timestamp":"*iso"}
        > {"type":"subscribe","channel":7,"id":"x"}
        < {"type":"error","message":"Invalid message format","id":"x","timestamp":"*iso"}
        > {"type":"subscribe"}
        < {"type":"error","message":"Channel is required","timestamp":"*iso"}
        > {"type":"subscribe","room":"a"}
        < {"type":"error","message":"Channel is required","timestamp":"*iso"}
        > {"type":"JOIN_CHANNEL","channel":"a"}
        < {"type":"error","message":"Unknown message type: JOIN_CHANNEL","timestamp":"*iso"}
        > {"type":"join_channel","data":{"channel":"a"}}
        < {"type":"error","message":"Unknown message type: join_channel","timestamp":"*iso"}
        > {"type":"subscribe","channel":"a\u0000"}
        < {"type":"error","message":"Invalid channel: at most 255 bytes and no control characters","timestamp":"*iso"}
        "#,
    );
}

#[test]
fn publications_have_the_channel_and_the_time() {
    let server = Server::start(&["--preset=topics"]);
    let (mut a, mut b) = (connect(&server), connect(&server));
    conversations(
        &mut [("a", &mut a), ("b", &mut b)],
        r#"
        a> {"type":"subscribe","channel":"patients:vitals:room-101"}
        a< {"type":"subscribed","channel":"patients:vitals:room-101","timestamp":"*iso"}
        a> {"type":"publish","channel":"patients:vitals:room-101","data":{"pulse":72}}
        a< {"type":"message","channel":"patients:vitals:room-101","data":{"pulse":72},"timestamp":"*iso"}
        b> {"type":"publish","channel":"patients:vitals:room-101","data":{"pulse":73},"id":1}
        b< {"type":"published","channel":"patients:vitals:room-101","id":1,"timestamp":"*iso"}
        a< {"type":"message","channel":"patients:vitals:room-101","data":{"pulse":73},"timestamp":"*iso"}
        b< nothing
        "#,
    );
    let body = r#"{"room":"patients:vitals:room-101","event":"vital_signs_update","data":[ 1 ]}"#;
    assert_eq!(server.post("/v1/publish", body).json()["delivered"], 1);
    a.expect(
        r#"{"type":"vital_signs_update","channel":"patients:vitals:room-101","data":[1],"timestamp":"*iso"}"#,
    );
}

#[test]
fn what_is_beyond_the_document_works() {
    let rules = r#"[{"pattern":"kept:*","history_messages":10,"presence":true}]"#;
    let quiet = r#"[{"path":"/ws","dialect":"topics","deliver_to_sender":false}]"#;
    let server = Server::start(&["--preset=topics", "--room-rules", rules, "--endpoints", quiet]);
    let mut client = connect(&server);
    conversation(
        &mut client,
        r#"
        > {"type":"subscribe","channel":"kept:a","id":1}
        < {"type":"subscribed","channel":"kept:a","data":{"epoch":"*","offset":0},"id":1,"timestamp":"*iso"}
        < {"type":"presence_change","channel":"kept:a","data":{"joined":["*uuid"],"left":[],"members":1},"timestamp":"*iso"}
        > {"type":"presence","channel":"kept:a"}
        < {"type":"presence","channel":"kept:a","data":{"members":1,"connections":["*uuid"]},"timestamp":"*iso"}
        > {"type":"publish","channel":"kept:a","data":1,"id":2}
        < {"type":"published","channel":"kept:a","data":{"offset":1},"id":2,"timestamp":"*iso"}
        > {"type":"subscribe","channel":"kept:b","recover":{"epoch":"never","offset":3}}
        < {"type":"subscribed","channel":"kept:b","data":{"epoch":"*","offset":0,"recovered":false},"timestamp":"*iso"}
        "#,
    );
}

#[test]
fn messages_of_a_mebibyte_are_taken_and_longer_ones_are_not() {
    let server = Server::start(&["--preset=topics"]);
    let mut client = connect(&server);
    client.send_text(r#"{"type":"subscribe","channel":"big"}"#);
    client.expect(r#"{"type":"subscribed","channel":"big","timestamp":"*iso"}"#);
    let message = |bytes: usize| {
        let frame = r#"{"type":"publish","channel":"big","data":""}"#;
        frame.replace("\"\"}", &format!("\"{}\"}}", "x".repeat(bytes - frame.len())))
    };
    client.send_text(&message(1_048_576));
    client.expect_json(|message| assert!(message["data"].as_str().unwrap().len() > 1_048_000));
    client.send_text(&message(1_048_577));
    client.expect_close(1009);
}
