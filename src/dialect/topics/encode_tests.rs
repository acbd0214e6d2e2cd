use super::super::Topics;
use crate::dialect::Dialect;
use crate::model::{
    Answer, Changed, ConnectionId, CountOf, Epoch, NamedMembers, Position, Publication, Refusal, RoomName,
};

const UUID: &str = "5f64a9c2-8b1d-4e3f-a0b1-c2d3e4f50617";

/// 2024-01-07T10:30:00.000Z, as in the document.
const MS: u64 = 1_704_623_400_000;
const TIME: &str = r#","timestamp":"2024-01-07T10:30:00.000Z"}"#;

fn written(given: &Answer<'_>) -> String {
    let mut out = Vec::new();
    Topics.encode_answer(given, MS, &mut out);
    String::from_utf8(out).unwrap()
}

fn published(given: &Publication<'_>) -> String {
    let mut out = Vec::new();
    Topics.encode_publication(given, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_message_is_the_documents() {
    let whole =
        r#"{"type":"maintenance_notice","message":"System maintenance in 30 minutes","level":"info"}"#;
    let given = Publication {
        event: "maintenance_notice",
        room: Some("reports:system"),
        data: None,
        whole: Some(whole),
        sender: None,
        unix_ms: MS,
        offset: None,
    };
    let open = whole.strip_suffix('}').unwrap();
    assert_eq!(published(&given), format!(r#"{open},"channel":"reports:system"{TIME}"#));
    let given =
        Publication { event: "report_status", whole: None, data: Some(r#"{"progress":75}"#), ..given };
    let expected = r#"{"type":"report_status","channel":"reports:system","data":{"progress":75}"#;
    assert_eq!(published(&given), format!("{expected}{TIME}"));
    let given = Publication { offset: Some(9), ..given };
    assert_eq!(published(&given), format!("{expected},\"offset\":9{TIME}"));
}

#[test]
fn answers_are_the_documents() {
    let client_id = ConnectionId::parse(UUID).unwrap();
    let available = ["reports:progress", "user:alerts"].map(str::to_owned);
    for (user, told) in [(Some("user-uuid"), "\"user-uuid\""), (None, "null")] {
        assert_eq!(
            written(&Answer::Connected { client_id, user, available: &available }),
            format!(
                r#"{{"type":"welcome","data":{{"connectionId":"{UUID}","userId":{told},"serverTime":"2024-01-07T10:30:00.000Z","availableChannels":["reports:progress","user:alerts"]}}}}"#
            )
        );
    }
    let (room, id, ids) = ("test:channel", Some("\"q\""), [client_id]);
    let position = Some(Position { epoch: Epoch::parse("00000000000000ff"), offset: 3 });
    let changed = Changed { named: NamedMembers::Ids(&ids), count: 1 };
    let many = Changed { named: NamedMembers::Ids(&[]), count: 9 };
    let rooms = [RoomName::new("r").unwrap()];
    for (answer, text) in [
        (
            Answer::Subscribed { room, client_count: 2, position: None, recovered: None, id: None },
            r#""subscribed","channel":"test:channel""#.to_owned(),
        ),
        (
            Answer::Subscribed { room, client_count: 2, position, recovered: Some(false), id },
            r#""subscribed","channel":"test:channel","data":{"epoch":"00000000000000ff","offset":3,"recovered":false},"id":"q""#.to_owned(),
        ),
        (Answer::Unsubscribed { room, id: None }, r#""unsubscribed","channel":"test:channel""#.to_owned()),
        (Answer::Pong { id: None }, r#""pong""#.to_owned()),
        (Answer::Pong { id }, r#""pong","id":"q""#.to_owned()),
        (
            Answer::Status {
                client_id,
                user: Some("u"),
                rooms: &rooms,
                active_unix_ms: MS,
                connected_unix_ms: 0,
                id: None,
            },
            format!(
                r#""status","data":{{"connectionId":"{UUID}","userId":"u","channels":["r"],"lastActivity":"2024-01-07T10:30:00.000Z","connectedAt":"1970-01-01T00:00:00.000Z"}}"#
            ),
        ),
        (Answer::Published { room: Some("r"), offset: None, id }, r#""published","channel":"r","id":"q""#.to_owned()),
        (
            Answer::Presence { room: "r", counted: CountOf::Connections, count: 4, named: NamedMembers::Ids(&ids), id: None },
            format!(r#""presence","channel":"r","data":{{"members":4,"connections":["{UUID}"]}}"#),
        ),
        (
            Answer::PresenceChange { room: "r", joined: many, left: changed, counted: CountOf::Connections, count: 4 },
            format!(
                r#""presence_change","channel":"r","data":{{"joined":[],"left":["{UUID}"],"joinedCount":9,"members":4}}"#
            ),
        ),
        (Answer::Gap { room: "r", lost: 5 }, r#""gap","channel":"r","data":{"lost":5}"#.to_owned()),
        (
            Answer::NotificationsJoined { types: "[\"a\"]" },
            r#""notifications_subscribed","data":{"types":["a"]}"#.to_owned(),
        ),
        (Answer::Authenticated { user: None, id }, r#""authenticated","data":{"userId":null},"id":"q""#.to_owned()),
        (
            Answer::IdentityEnds { at_unix_s: 1 },
            r#""identity_ends","data":{"expiresAt":"1970-01-01T00:00:01.000Z"}"#.to_owned(),
        ),
        (Answer::Event { event: "E", data: None, id: None }, r#""E""#.to_owned()),
    ] {
        assert_eq!(written(&answer), format!(r#"{{"type":{text}{TIME}"#));
    }
}

#[test]
fn errors_are_the_documents() {
    let error = |refusal: Option<Refusal>, text: &str| {
        written(&Answer::Error { refusal, text, original: Some(r#"{"type":"dance"}"#), id: None })
    };
    for (refusal, text, shown) in [
        (None, "Authentication required for user channels", "Authentication required for user channels"),
        (Some(Refusal::InvalidJson), "", "Invalid message format"),
        (Some(Refusal::UnknownType), "", "Unknown message type: dance"),
        (Some(Refusal::RoomRequired), "", "Channel is required"),
        (Some(Refusal::ServerFull), Refusal::ServerFull.text(), "server is at maximum capacity"),
    ] {
        assert_eq!(error(refusal, text), format!(r#"{{"type":"error","message":"{shown}"{TIME}"#));
    }
}
