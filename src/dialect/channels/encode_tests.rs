use super::super::Channels;
use crate::dialect::Dialect;
use crate::model::{
    Answer, Changed, ConnectionId, CountOf, Epoch, NamedMembers, Position, Publication, Refusal, RoomName,
};

const UUID: &str = "5f64a9c2-8b1d-4e3f-a0b1-c2d3e4f50617";

/// 2024-01-15T10:30:00.000Z, as in the document.
const MS: u64 = 1_705_314_600_000;
const TIME: &str = r#","timestamp":"2024-01-15T10:30:00.000Z"}"#;

fn written(given: &Answer<'_>) -> String {
    let mut out = Vec::new();
    Channels.encode_answer(given, MS, &mut out);
    String::from_utf8(out).unwrap()
}

fn published(given: &Publication<'_>) -> String {
    let mut out = Vec::new();
    Channels.encode_publication(given, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_message_is_the_documents() {
    let uuid = ConnectionId::parse(UUID).unwrap();
    let given = Publication {
        event: "SYSTEM_ALERT",
        room: Some("notifications"),
        data: Some(r#"{ "message": "System maintenance in 10 minutes" }"#),
        whole: None,
        sender: Some(uuid.into()),
        unix_ms: MS,
        offset: None,
    };
    let data = r#""data":{ "message": "System maintenance in 10 minutes" }"#;
    assert_eq!(
        published(&given),
        format!(r#"{{"type":"SYSTEM_ALERT","channel":"notifications",{data}{TIME}"#)
    );
    let given = Publication { offset: Some(4), ..given };
    let numbered = format!(r#"{{"type":"SYSTEM_ALERT","channel":"notifications",{data},"offset":4{TIME}"#);
    assert_eq!(published(&given), numbered);
    let given = Publication { room: None, data: None, offset: None, ..given };
    assert_eq!(published(&given), format!(r#"{{"type":"SYSTEM_ALERT"{TIME}"#));
}

#[test]
fn an_object_of_a_backend_keeps_what_it_has() {
    let whole = r#"{"type":"JOB_UPDATE","channel":"job-updates","data":{"jobId":1},"timestamp":"2020"}"#;
    let given = Publication {
        event: "JOB_UPDATE",
        room: Some("elsewhere"),
        data: Some(r#"{"jobId":1}"#),
        whole: Some(whole),
        sender: None,
        unix_ms: MS,
        offset: None,
    };
    assert_eq!(published(&given), whole);
    let given = Publication { event: "message", whole: Some("{\"a\":1}"), ..given };
    assert_eq!(published(&given), format!(r#"{{"a":1,"type":"message","channel":"elsewhere"{TIME}"#));
}

#[test]
fn errors_are_the_documents() {
    let error = |refusal: Refusal, original: &str| {
        written(&Answer::Error {
            refusal: Some(refusal),
            text: refusal.text(),
            original: Some(original),
            id: None,
        })
    };
    assert_eq!(
        error(Refusal::InvalidJson, r#"{ "channel": 5 }"#),
        format!(
            r#"{{"type":"ERROR","channel":"error","data":{{"message":"Invalid message format","originalMessage":{{ "channel": 5 }}}}{TIME}"#
        )
    );
    let text = error(Refusal::InvalidJson, "not \"JSON\"");
    assert!(text.contains(r#""originalMessage":"not \"JSON\"""#), "{text}");
    let text = error(Refusal::UnknownType, r#"{"type":"JOB_DESCRIPTION"}"#);
    assert!(text.contains(r#""message":"Unknown message type: JOB_DESCRIPTION","#), "{text}");
    let own = written(&Answer::Error { refusal: None, text: "no", original: None, id: Some("7") });
    assert_eq!(own, format!(r#"{{"type":"ERROR","channel":"error","data":{{"message":"no"}},"id":7{TIME}"#));
    let text = error(Refusal::ServerFull, "");
    assert!(text.contains(r#""message":"server is at maximum capacity""#), "{text}");
}

#[test]
fn answers_have_the_shape_of_messages() {
    let client_id = ConnectionId::parse(UUID).unwrap();
    let (room, id, ids) = ("r", Some("\"q\""), [client_id]);
    let position = Some(Position { epoch: Epoch::parse("00000000000000ff"), offset: 3 });
    let changed = Changed { named: NamedMembers::Ids(&ids), count: 1 };
    let many = Changed { named: NamedMembers::Ids(&[]), count: 9 };
    let rooms = [RoomName::new("r").unwrap()];
    for (answer, text) in [
        (
            Answer::Subscribed { room, client_count: 2, position: None, recovered: None, id: None },
            r#""CHANNEL_JOINED","channel":"r","data":{"members":2}"#.to_owned(),
        ),
        (
            Answer::Subscribed { room, client_count: 2, position, recovered: Some(true), id },
            r#""CHANNEL_JOINED","channel":"r","data":{"members":2,"epoch":"00000000000000ff","offset":3,"recovered":true},"id":"q""#.to_owned(),
        ),
        (Answer::Unsubscribed { room, id }, r#""CHANNEL_LEFT","channel":"r","data":{},"id":"q""#.to_owned()),
        (
            Answer::Published { room: Some("r"), offset: Some(3), id },
            r#""PUBLISHED","channel":"r","data":{"offset":3},"id":"q""#.to_owned(),
        ),
        (
            Answer::Presence { room, counted: CountOf::Connections, count: 4, named: NamedMembers::Ids(&ids), id: None },
            format!(r#""CHANNEL_PRESENCE","channel":"r","data":{{"members":4,"connections":["{UUID}"]}}"#),
        ),
        (
            Answer::PresenceChange { room, joined: changed, left: many, counted: CountOf::Connections, count: 4 },
            format!(
                r#""CHANNEL_PRESENCE_CHANGE","channel":"r","data":{{"joined":["{UUID}"],"left":[],"leftCount":9,"members":4}}"#
            ),
        ),
        (Answer::Gap { room, lost: 5 }, r#""CHANNEL_GAP","channel":"r","data":{"lost":5}"#.to_owned()),
        (Answer::Pong { id }, r#""PONG","data":{},"id":"q""#.to_owned()),
        (
            Answer::Status {
                client_id,
                user: None,
                rooms: &rooms,
                active_unix_ms: MS,
                connected_unix_ms: 0,
                id: None,
            },
            format!(
                r#""STATUS","data":{{"connectionId":"{UUID}","userId":null,"channels":["r"],"lastActivity":"2024-01-15T10:30:00.000Z","connectedAt":"1970-01-01T00:00:00.000Z"}}"#
            ),
        ),
        (
            Answer::NotificationsJoined { types: "[\"a\"]" },
            r#""NOTIFICATIONS_SUBSCRIBED","data":{"types":["a"]}"#.to_owned(),
        ),
        (Answer::Authenticated { user: Some("u"), id }, r#""AUTHENTICATED","data":{"userId":"u"},"id":"q""#.to_owned()),
        (
            Answer::IdentityEnds { at_unix_s: 1 },
            r#""IDENTITY_ENDS","data":{"expiresAt":"1970-01-01T00:00:01.000Z"}"#.to_owned(),
        ),
        (Answer::Event { event: "E", data: Some("[1]"), id }, r#""E","data":[1],"id":"q""#.to_owned()),
    ] {
        assert_eq!(written(&answer), format!(r#"{{"type":{text}{TIME}"#));
    }
    assert_eq!(written(&Answer::Connected { client_id, user: None, available: &[] }), "");
}
