use super::*;
use crate::model::{Epoch, PRESENCE_LIMIT_MAX, Position, RequestId};

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
        (
            r#"{"type":"subscribe","channel":"system:notifications"}"#,
            Command::Subscribe { room: "system:notifications".into(), recover: None, id: None },
        ),
        (
            r#"{"type":"unsubscribe","channel":"test:channel"}"#,
            Command::Unsubscribe { room: "test:channel".into(), id: None },
        ),
        (r#"{"type": "ping"}"#, Command::Ping { id: None }),
        (r#"{"type":"get_status"}"#, Command::Status { id: None }),
        (
            r#"{"type":"subscribe_template","templateId":"template-uuid"}"#,
            Command::Custom { event: "subscribe_template".into(), data: None, id: None },
        ),
        (
            r#"{"type":"cancel_report"}"#,
            Command::Custom { event: "cancel_report".into(), data: None, id: None },
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
            r#"{"type":"subscribe","channel":"r","recover":{"epoch":"x","offset":3},"id":1}"#,
            Command::Subscribe { room: "r".into(), recover, id: Some("1") },
        ),
        (
            r#"{"type":"publish","channel":"r","data": [ 1.0 ],"event":"error"}"#,
            Command::Publish { room: "r".into(), event: "message".into(), data: Some("[ 1.0 ]"), id: None },
        ),
        (
            r#"{"type":"presence","channel":"r"}"#,
            Command::Presence { room: "r".into(), limit: PRESENCE_LIMIT_MAX, id: None },
        ),
        (
            r#"{"type":"auth","token":"a.b.c","id":"q"}"#,
            Command::Authenticate { token: "a.b.c".into(), id: Some("\"q\"") },
        ),
        (r#"{"t\u0079pe":"p\u0069ng"}"#, Command::Ping { id: None }),
    ] {
        assert_eq!(read(text), Ok(command), "{text}");
    }
}

#[test]
fn wrong_messages_are_refused() {
    for (text, refusal) in [
        ("", Refusal::InvalidJson),
        ("nonsense", Refusal::InvalidJson),
        ("[{\"type\":\"ping\"}]", Refusal::InvalidJson),
        ("null", Refusal::InvalidJson),
        ("{}", Refusal::InvalidJson),
        (r#"{"type":null}"#, Refusal::InvalidJson),
        (r#"{"type":true}"#, Refusal::InvalidJson),
        (r#"{"type":"ping","type":"ping"}"#, Refusal::InvalidJson),
        (r#"{"type":"subscribe","channel":{}}"#, Refusal::InvalidJson),
        (r#"{"type":"subscribe"}"#, Refusal::RoomRequired),
        (r#"{"type":"subscribe","room":"r"}"#, Refusal::RoomRequired),
        (r#"{"type":"subscribe","data":{"channel":"r"}}"#, Refusal::RoomRequired),
        (r#"{"type":"publish","channel":null}"#, Refusal::RoomRequired),
        (r#"{"type":"unsubscribe","channel":"\u0085"}"#, Refusal::RoomInvalid),
        (r#"{"type":"auth"}"#, Refusal::InvalidJson),
        (r#"{"type":"presence","channel":"r","limit":"1"}"#, Refusal::InvalidJson),
        (r#"{"type":"subscribe","channel":"r","recover":[]}"#, Refusal::InvalidJson),
        (&"[".repeat(100_000), Refusal::TooDeep),
    ] {
        assert_eq!(refused(text), (refusal, None), "{text:.50}");
    }
    assert_eq!(refused(r#"{"id":"q","type":"subscribe"}"#), (Refusal::RoomRequired, Some("\"q\"")));
    assert_eq!(refused(r#"{"id":"q","type":"a","type":"a"}"#), (Refusal::InvalidJson, Some("\"q\"")));
    assert_eq!(refused(r#"{"id":"q","type":"a","id":"q"}"#), (Refusal::InvalidJson, None));
    assert_eq!(refused(r#"{"id":[],"type":"ping"}"#), (Refusal::InvalidJson, None));
}
