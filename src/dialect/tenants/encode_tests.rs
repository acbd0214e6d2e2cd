use super::super::Tenants;
use super::*;
use crate::dialect::Dialect;
use crate::model::{Changed, ConnectionId, CountOf, Epoch, NamedMembers, Position, RoomName, Sender};

const UUID: &str = "5f64a9c2-8b1d-4e3f-a0b1-c2d3e4f50617";
const TIME: &str = r#""timestamp":"1970-01-01T00:00:00.007Z""#;

fn written(given: &Answer<'_>) -> String {
    let mut out = Vec::new();
    Tenants.encode_answer(given, 7, &mut out);
    String::from_utf8(out).unwrap()
}

fn published(given: &Publication<'_>) -> String {
    let mut out = Vec::new();
    Tenants.encode_publication(given, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_message_of_a_client_is_the_documents() {
    let id = ConnectionId::parse(UUID).unwrap();
    let given = Publication {
        event: "CHAT_MESSAGE",
        room: Some("tenant:a1:general"),
        data: Some("{ \"a\": 1.0 }"),
        whole: None,
        sender: Some(Sender { id, user: Some("u\"1") }),
        unix_ms: 7,
        offset: None,
    };
    let message = r#""channel":"tenant:a1:general","message":{ "a": 1.0 }"#;
    let sender = format!(r#""connectionId":"{UUID}"}}"#);
    assert_eq!(
        published(&given),
        format!(
            r#"{{"type":"channel_message","data":{{{message},"sender":{{"id":"u\"1",{sender},{TIME}}}}}"#
        )
    );
    let given = Publication { sender: Some(id.into()), offset: Some(4), ..given };
    assert_eq!(
        published(&given),
        format!(r#"{{"type":"channel_message","data":{{{message},"sender":{{{sender},{TIME}}},"offset":4}}"#)
    );
    let given = Publication { room: None, data: None, offset: None, ..given };
    assert_eq!(
        published(&given),
        format!(r#"{{"type":"channel_message","data":{{"sender":{{{sender},{TIME}}}}}"#)
    );
}

#[test]
fn a_message_of_a_backend_is_what_it_gave() {
    let whole = r#"{ "type":"user_created","data":{"user":{"id":1}} }"#;
    let given = Publication {
        event: "user_created",
        room: Some("tenant:a1:admin"),
        data: Some(r#"{"user":{"id":1}}"#),
        whole: Some(whole),
        sender: None,
        unix_ms: 7,
        offset: None,
    };
    assert_eq!(published(&given), whole);
    let numbered = Publication { offset: Some(4), ..given };
    assert_eq!(published(&numbered), r#"{ "type":"user_created","data":{"user":{"id":1}},"offset":4}"#);
    let given = Publication { whole: None, ..given };
    assert_eq!(published(&given), r#"{"type":"user_created","data":{"user":{"id":1}}}"#);
    let given = Publication { data: None, offset: Some(4), ..given };
    assert_eq!(published(&given), r#"{"type":"user_created","offset":4}"#);
}

#[test]
fn answers_are_the_documents() {
    let client_id = ConnectionId::parse(UUID).unwrap();
    let (room, id, ids) = ("tenant:a1:general", Some("5"), [client_id]);
    let position = Some(Position { epoch: Epoch::parse("00000000000000ff"), offset: 3 });
    let rooms = [RoomName::new("r").unwrap()];
    let (changed, many) = (
        Changed { named: NamedMembers::Ids(&ids), count: 1 },
        Changed { named: NamedMembers::Ids(&[]), count: 9 },
    );
    for (answer, text) in [
        (
            Answer::Connected { client_id, user: Some("u"), available: &["a".to_owned()] },
            format!(r#""connection","data":{{"connectionId":"{UUID}",{TIME}}}"#),
        ),
        (Answer::Pong { id: None }, format!(r#""pong","data":{{{TIME}}}"#)),
        (
            Answer::Subscribed { room, client_count: 2, position: None, recovered: None, id: None },
            r#""channel_joined","data":{"channel":"tenant:a1:general"}"#.to_owned(),
        ),
        (
            Answer::Subscribed { room, client_count: 2, position, recovered: Some(true), id },
            r#""channel_joined","data":{"channel":"tenant:a1:general","epoch":"00000000000000ff","offset":3,"recovered":true},"id":5"#.to_owned(),
        ),
        (
            Answer::Unsubscribed { room, id: None },
            r#""channel_left","data":{"channel":"tenant:a1:general"}"#.to_owned(),
        ),
        (
            Answer::NotificationsJoined { types: "[ \"all\" ]" },
            r#""notifications_subscribed","data":{"types":[ "all" ]}"#.to_owned(),
        ),
        (
            Answer::Published { room: Some("r"), offset: Some(3), id },
            r#""published","data":{"channel":"r","offset":3},"id":5"#.to_owned(),
        ),
        (
            Answer::Presence { room: "r", counted: CountOf::Connections, count: 4, named: NamedMembers::Ids(&ids), id: None },
            format!(r#""presence","data":{{"channel":"r","members":4,"connections":["{UUID}"]}}"#),
        ),
        (
            Answer::PresenceChange { room: "r", joined: changed, left: many, counted: CountOf::Connections, count: 4 },
            format!(
                r#""presence_change","data":{{"channel":"r","joined":["{UUID}"],"left":[],"leftCount":9,"members":4}}"#
            ),
        ),
        (Answer::Gap { room: "r", lost: 5 }, r#""gap","data":{"channel":"r","lost":5}"#.to_owned()),
        (
            Answer::Status {
                client_id,
                user: Some("u"),
                rooms: &rooms,
                active_unix_ms: 7,
                connected_unix_ms: 0,
                id: None,
            },
            format!(
                r#""status","data":{{"connectionId":"{UUID}","userId":"u","channels":["r"],"lastActivity":"1970-01-01T00:00:00.007Z","connectedAt":"1970-01-01T00:00:00.000Z"}}"#
            ),
        ),
        (
            Answer::Authenticated { user: None, id },
            r#""authenticated","data":{"userId":null},"id":5"#.to_owned(),
        ),
        (
            Answer::IdentityEnds { at_unix_s: 1 },
            r#""identity_ends","data":{"expiresAt":"1970-01-01T00:00:01.000Z"}"#.to_owned(),
        ),
        (Answer::Event { event: "notification", data: Some("{}"), id: None }, r#""notification","data":{}"#.to_owned()),
    ] {
        assert_eq!(written(&answer), format!(r#"{{"type":{text}}}"#));
    }
}

#[test]
fn errors_are_the_documents_word_for_word() {
    let error = |refusal: Option<Refusal>| {
        let original = Some(r#"{"type":"dance"}"#);
        written(&Answer::Error { refusal, text: "other words", original, id: None })
    };
    for (refusal, shown) in [
        (Some(Refusal::InvalidJson), "Invalid message format"),
        (Some(Refusal::TooDeep), "Invalid message format"),
        (Some(Refusal::UnknownType), "Unknown message type: dance"),
        (Some(Refusal::JoinDenied), "Access denied to channel"),
        (Some(Refusal::Denied), "Permission denied"),
        (Some(Refusal::TooManyRooms), "Failed to join channel"),
        (Some(Refusal::RoomFull), "Failed to join channel"),
        (Some(Refusal::ServerFull), "other words"),
        (None, "other words"),
    ] {
        assert_eq!(error(refusal), format!(r#"{{"type":"error","data":{{"error":"{shown}"}}}}"#));
    }
}
