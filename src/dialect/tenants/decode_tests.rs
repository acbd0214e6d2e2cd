use super::*;
use crate::model::{Epoch, PRESENCE_LIMIT_MAX, Position};

const LIMITS: DecodeLimits = DecodeLimits { json_depth_max: 32 };

fn read(text: &str) -> Result<Command<'_>, Rejected<'_>> {
    decode(text, &LIMITS)
}

fn refused(text: &str) -> (Refusal, RequestId<'_>) {
    let rejected = read(text).expect_err(text);
    (rejected.refusal, rejected.id)
}

#[test]
fn the_documents_messages_are_commands() {
    for (text, command) in [
        (r#"{"type":"ping"}"#, Command::Ping { id: None }),
        (
            r#"{"type":"join_channel","data":{"channel":"tenant:a1:general"}}"#,
            Command::Subscribe { room: "tenant:a1:general".into(), recover: None, id: None },
        ),
        (
            r#"{"type":"leave_channel","data":{"channel":"tenant:a1:general"}}"#,
            Command::Unsubscribe { room: "tenant:a1:general".into(), id: None },
        ),
        (
            r#"{"type":"send_message","data":{"channel":"public:a","message": {"a": 1.0} }}"#,
            Command::Publish {
                room: "public:a".into(),
                event: "message".into(),
                data: Some(r#"{"a": 1.0}"#),
                id: None,
            },
        ),
        (
            r#"{"type":"subscribe_notifications","data":{"types":["all", "a\u0062"]}}"#,
            Command::Notifications { types: vec!["all".into(), "ab".into()], raw: r#"["all", "a\u0062"]"# },
        ),
    ] {
        assert_eq!(read(text), Ok(command), "{text}");
    }
}

#[test]
fn what_is_beyond_the_document_is_read_too() {
    let recover = Some(Position { epoch: Epoch::UNKNOWN, offset: 3 });
    for (text, command) in [
        (
            r#"{"type":"join_channel","data":{"channel":"r","recover":{"epoch":"x","offset":3}},"id":1}"#,
            Command::Subscribe { room: "r".into(), recover, id: Some("1") },
        ),
        (
            r#"{"type":"send_message","data":{"channel":"r"},"id":2}"#,
            Command::Publish { room: "r".into(), event: "message".into(), data: None, id: Some("2") },
        ),
        (
            r#"{"type":"get_presence","data":{"channel":"r","limit":7}}"#,
            Command::Presence { room: "r".into(), limit: 7, id: None },
        ),
        (
            r#"{"type":"get_presence","data":{"channel":"r"}}"#,
            Command::Presence { room: "r".into(), limit: PRESENCE_LIMIT_MAX, id: None },
        ),
        (r#"{"type":"get_status","data":5}"#, Command::Status { id: None }),
        (
            r#"{"type":"auth","data":{"token":"a.b.c"}}"#,
            Command::Authenticate { token: "a.b.c".into(), id: None },
        ),
        // The fields of other dialects are fields like any others.
        (r#"{"type":"ping","channel":5,"room":[],"recover":1}"#, Command::Ping { id: None }),
        (
            r#"{"type":"dance","data":{"a":1}}"#,
            Command::Custom { event: "dance".into(), data: Some(r#"{"a":1}"#), id: None },
        ),
    ] {
        assert_eq!(read(text), Ok(command), "{text}");
    }
}

#[test]
fn wrong_messages_are_refused() {
    let types = |count: usize| {
        let types = vec!["\"t\""; count].join(",");
        format!(r#"{{"type":"subscribe_notifications","data":{{"types":[{types}]}}}}"#)
    };
    assert!(read(&types(NOTIFICATION_TYPES_MAX)).is_ok());
    for (text, refusal) in [
        ("", Refusal::InvalidJson),
        ("5", Refusal::InvalidJson),
        ("{}", Refusal::UnknownType),
        (r#"{"type":5}"#, Refusal::UnknownType),
        (r#"{"type":{}}"#, Refusal::UnknownType),
        (r#"{"type":"join_channel"}"#, Refusal::InvalidJson),
        (r#"{"type":"join_channel","channel":"r"}"#, Refusal::InvalidJson),
        (r#"{"type":"join_channel","data":null}"#, Refusal::InvalidJson),
        (r#"{"type":"join_channel","data":"r"}"#, Refusal::InvalidJson),
        (r#"{"type":"join_channel","data":["r"]}"#, Refusal::InvalidJson),
        (r#"{"type":"join_channel","data":{}}"#, Refusal::RoomRequired),
        (r#"{"type":"join_channel","data":{"channel":""}}"#, Refusal::RoomRequired),
        (r#"{"type":"join_channel","data":{"channel":5}}"#, Refusal::InvalidJson),
        (r#"{"type":"join_channel","data":{"channel":"a","channel":"b"}}"#, Refusal::InvalidJson),
        (r#"{"type":"join_channel","data":{"channel":"a","recover":"b"}}"#, Refusal::InvalidJson),
        (r#"{"type":"leave_channel","data":{"channel":"a\t"}}"#, Refusal::RoomInvalid),
        (r#"{"type":"send_message","data":{"message":1}}"#, Refusal::RoomRequired),
        (r#"{"type":"get_presence","data":{"channel":"r","limit":1.5}}"#, Refusal::InvalidJson),
        (r#"{"type":"auth","data":{}}"#, Refusal::InvalidJson),
        (r#"{"type":"subscribe_notifications","data":{}}"#, Refusal::InvalidJson),
        (r#"{"type":"subscribe_notifications","data":{"types":"all"}}"#, Refusal::InvalidJson),
        (r#"{"type":"subscribe_notifications","data":{"types":[1]}}"#, Refusal::InvalidJson),
        (&types(NOTIFICATION_TYPES_MAX + 1), Refusal::InvalidJson),
        (&format!(r#"{{"type":"x","data":{}}}"#, "[".repeat(40)), Refusal::TooDeep),
    ] {
        assert_eq!(refused(text), (refusal, None), "{text:.80}");
    }
    assert_eq!(refused(r#"{"id":"q","type":"join_channel"}"#), (Refusal::InvalidJson, Some("\"q\"")));
    // An `id` in `data` is none of ours.
    assert_eq!(refused(r#"{"type":"join_channel","data":{"id":"q"}}"#), (Refusal::RoomRequired, None));
}
