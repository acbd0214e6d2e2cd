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
    let data = r#"{"text":"Hello everyone!","userId":"user123"}"#;
    for (text, command) in [
        (
            r#"{"type":"JOIN_CHANNEL","channel":"notifications"}"#.to_owned(),
            Command::Subscribe { room: "notifications".into(), recover: None, id: None },
        ),
        (
            r#"{"type":"LEAVE_CHANNEL","channel":"notifications"}"#.to_owned(),
            Command::Unsubscribe { room: "notifications".into(), id: None },
        ),
        (
            format!(r#"{{"type":"CHAT_MESSAGE","channel":"general","data":{data}}}"#),
            Command::Publish {
                room: "general".into(),
                event: "CHAT_MESSAGE".into(),
                data: Some(data),
                id: None,
            },
        ),
        (
            format!(r#"{{"type":"JOB_DESCRIPTION","data":{data}}}"#),
            Command::Custom { event: "JOB_DESCRIPTION".into(), data: Some(data), id: None },
        ),
    ] {
        assert_eq!(read(&text), Ok(command), "{text}");
    }
}

#[test]
fn what_is_beyond_the_document_is_read_too() {
    let recover = Some(Position { epoch: Epoch::UNKNOWN, offset: 3 });
    for (text, command) in [
        (
            r#"{"type":"JOIN_CHANNEL","channel":"r","recover":{"epoch":"x","offset":3},"id":1}"#,
            Command::Subscribe { room: "r".into(), recover, id: Some("1") },
        ),
        (
            r#"{"type":"GET_PRESENCE","channel":"r","limit":5}"#,
            Command::Presence { room: "r".into(), limit: 5, id: None },
        ),
        (
            r#"{"type":"GET_PRESENCE","channel":"r","limit":null}"#,
            Command::Presence { room: "r".into(), limit: PRESENCE_LIMIT_MAX, id: None },
        ),
        (r#"{"type":"PING","id":"a"}"#, Command::Ping { id: Some("\"a\"") }),
        (r#"{"type":"GET_STATUS"}"#, Command::Status { id: None }),
        (r#"{"type":"AUTH","token":"a.b.c"}"#, Command::Authenticate { token: "a.b.c".into(), id: None }),
        // With a channel it is a name like any other.
        (
            r#"{"type":"PING","channel":"r"}"#,
            Command::Publish { room: "r".into(), event: "PING".into(), data: None, id: None },
        ),
        // A channel that is null is none.
        (r#"{"type":"X","channel":null}"#, Command::Custom { event: "X".into(), data: None, id: None }),
    ] {
        assert_eq!(read(text), Ok(command), "{text}");
    }
}

#[test]
fn nobody_publishes_what_only_the_server_says() {
    for kind in
        ["ERROR", "CHANNEL_JOINED", "CHANNEL_GAP", "error", "subscribed", "welcome", "channel_message"]
    {
        let text = format!(r#"{{"type":"{kind}","channel":"r","id":1}}"#);
        assert_eq!(refused(&text), (Refusal::UnknownType, Some("1")), "{kind}");
    }
    for kind in ["a\\u0000", &"x".repeat(256)] {
        let text = format!(r#"{{"type":"{kind}","channel":"r"}}"#);
        assert_eq!(refused(&text), (Refusal::UnknownType, None), "{kind}");
    }
    assert!(read(&format!(r#"{{"type":"{}","channel":"r"}}"#, "x".repeat(255))).is_ok());
    assert!(read(r#"{"type":"Error","channel":"r"}"#).is_ok());
}

#[test]
fn wrong_messages_are_refused() {
    let long = "x".repeat(256);
    for (text, refusal) in [
        ("", Refusal::InvalidJson),
        ("{", Refusal::InvalidJson),
        ("[]", Refusal::InvalidJson),
        ("\"JOIN_CHANNEL\"", Refusal::InvalidJson),
        ("{}", Refusal::InvalidJson),
        (r#"{"channel":"r"}"#, Refusal::InvalidJson),
        (r#"{"type":5,"channel":"r"}"#, Refusal::InvalidJson),
        (r#"{"type":"X","channel":5}"#, Refusal::InvalidJson),
        (r#"{"type":"X","channel":"\ud800"}"#, Refusal::InvalidJson),
        (r#"{"type":"JOIN_CHANNEL","channel":["r"]}"#, Refusal::InvalidJson),
        (r#"{"type":"JOIN_CHANNEL"}"#, Refusal::RoomRequired),
        (r#"{"type":"JOIN_CHANNEL","room":"r"}"#, Refusal::RoomRequired),
        (r#"{"type":"LEAVE_CHANNEL","channel":""}"#, Refusal::RoomRequired),
        (r#"{"type":"X","channel":""}"#, Refusal::RoomRequired),
        (r#"{"type":"X","channel":"a\n"}"#, Refusal::RoomInvalid),
        (r#"{"type":"AUTH"}"#, Refusal::InvalidJson),
        (r#"{"type":"AUTH","token":{}}"#, Refusal::InvalidJson),
        (r#"{"type":"GET_PRESENCE","channel":"r","limit":0}"#, Refusal::InvalidJson),
        (r#"{"type":"JOIN_CHANNEL","channel":"r","recover":1}"#, Refusal::InvalidJson),
        (&format!(r#"{{"type":"JOIN_CHANNEL","channel":"{long}"}}"#), Refusal::RoomInvalid),
        (&format!(r#"{{"type":"X","data":{}1{}}}"#, "[".repeat(32), "]".repeat(32)), Refusal::TooDeep),
    ] {
        assert_eq!(refused(text), (refusal, None), "{text}");
    }
}
