//! The `tenants` protocol as its document tells it (tests/documents/tenants-aegisx-platform.md), as conversations, where
//! nobody is asked for a token.

use crate::common::{Client, Server, conversation, conversations};

const OPEN: &str = r#"[{"path":"/ws","dialect":"tenants","auth":"off"}]"#;

fn start() -> Server {
    Server::start(&["--endpoints", OPEN])
}

fn connect(server: &Server) -> Client {
    let mut client = Client::ungreeted(server.addr(), "/ws", &[]);
    client.expect(r#"{"type":"connection","data":{"connectionId":"*uuid","timestamp":"*iso"}}"#);
    client
}

#[test]
fn members_hear_each_other_and_not_themselves() {
    let server = start();
    let (mut a, mut b) = (connect(&server), connect(&server));
    conversations(
        &mut [("a", &mut a), ("b", &mut b)],
        r#"
        a> {"type":"join_channel","data":{"channel":"public:general"}}
        a< {"type":"channel_joined","data":{"channel":"public:general"}}
        b> {"type":"join_channel","data":{"channel":"public:general"}}
        b< {"type":"channel_joined","data":{"channel":"public:general"}}
        a> {"type":"send_message","data":{"channel":"public:general","message":{"text":"Hi"}}}
        b< {"type":"channel_message","data":{"channel":"public:general","message":{"text":"Hi"},"sender":{"connectionId":"*uuid"},"timestamp":"*iso"}}
        a< nothing
        a> {"type":"ping"}
        a< {"type":"pong","data":{"timestamp":"*iso"}}
        b> {"type":"leave_channel","data":{"channel":"public:general"}}
        b< {"type":"channel_left","data":{"channel":"public:general"}}
        a> {"type":"send_message","data":{"channel":"public:general","message":2}}
        b< nothing
        b> {"type":"send_message","data":{"channel":"public:general","message":3},"id":9}
        b< {"type":"published","data":{"channel":"public:general"},"id":9}
        a< {"type":"channel_message","data":{"channel":"public:general","message":3,"sender":{"connectionId":"*uuid"},"timestamp":"*iso"}}
        "#,
    );
}

#[test]
fn errors_are_word_for_word() {
    let server = start();
    conversation(
        &mut connect(&server),
        r#"
        > nonsense
        < {"type":"error","data":{"error":"Invalid message format"}}
        > {"type":"dance"}
        < {"type":"error","data":{"error":"Unknown message type: dance"}}
        > {"data":{}}
        < {"type":"error","data":{"error":"Unknown message type: undefined"}}
        > {"type":42}
        < {"type":"error","data":{"error":"Unknown message type: 42"}}
        > {"type":"join_channel"}
        < {"type":"error","data":{"error":"Invalid message format"}}
        > {"type":"join_channel","channel":"public:a","id":"x"}
        < {"type":"error","data":{"error":"Invalid message format"},"id":"x"}
        > {"type":"join_channel","data":{"channel":["public:a"]}}
        < {"type":"error","data":{"error":"Invalid message format"}}
        > {"type":"subscribe","room":"public:a"}
        < {"type":"error","data":{"error":"Unknown message type: subscribe"}}
        > {"type":"JOIN_CHANNEL","channel":"public:a"}
        < {"type":"error","data":{"error":"Unknown message type: JOIN_CHANNEL"}}
        > {"type":"subscribe_notifications","data":{"types":["all"]}}
        < {"type":"error","data":{"error":"Authentication required"}}
        "#,
    );
}

#[test]
fn a_full_channel_is_told_in_the_documents_words() {
    let server = Server::start(&["--endpoints", OPEN, "--connections-per-room-max=1"]);
    let (mut a, mut b) = (connect(&server), connect(&server));
    conversations(
        &mut [("a", &mut a), ("b", &mut b)],
        r#"
        a> {"type":"join_channel","data":{"channel":"public:a"}}
        a< {"type":"channel_joined","data":{"channel":"public:a"}}
        b> {"type":"join_channel","data":{"channel":"public:a"}}
        b< {"type":"error","data":{"error":"Failed to join channel"}}
        "#,
    );
}

#[test]
fn what_is_beyond_the_document_works() {
    let rules = r#"[{"pattern":"public:kept","history_messages":10,"presence":true}]"#;
    let server = Server::start(&["--endpoints", OPEN, "--room-rules", rules]);
    let (mut a, mut b) = (connect(&server), connect(&server));
    conversations(
        &mut [("a", &mut a), ("b", &mut b)],
        r#"
        a> {"type":"join_channel","data":{"channel":"public:kept"},"id":1}
        a< {"type":"channel_joined","data":{"channel":"public:kept","epoch":"*","offset":0},"id":1}
        a< {"type":"presence_change","data":{"channel":"public:kept","joined":["*uuid"],"left":[],"members":1}}
        a> {"type":"get_presence","data":{"channel":"public:kept"}}
        a< {"type":"presence","data":{"channel":"public:kept","members":1,"connections":["*uuid"]}}
        b> {"type":"send_message","data":{"channel":"public:kept","message":1},"id":2}
        b< {"type":"published","data":{"channel":"public:kept","offset":1},"id":2}
        a< {"type":"channel_message","data":{"channel":"public:kept","message":1,"sender":{"connectionId":"*uuid"},"timestamp":"*iso"},"offset":1}
        a> {"type":"get_status"}
        a< {"type":"status","data":{"connectionId":"*uuid","userId":null,"channels":["public:kept"],"lastActivity":"*iso","connectedAt":"*iso"}}
        "#,
    );
}
