//! Every answer that holds a text.

use super::{encoded, once};
use crate::json;
use crate::rooms::client;
use fanwire::dialect::Dialect;
use fanwire::model::{
    Answer, Changed, Command, CountOf, NamedMembers, ORIGINAL_BYTES_MAX, Refusal, RequestId, RoomName,
};

/// The mark of a request.
pub fn id_of<'a>(command: &Command<'a>) -> RequestId<'a> {
    match command {
        Command::Subscribe { id, .. }
        | Command::Unsubscribe { id, .. }
        | Command::Publish { id, .. }
        | Command::Broadcast { id, .. }
        | Command::Presence { id, .. }
        | Command::Ping { id }
        | Command::Status { id }
        | Command::Authenticate { id, .. }
        | Command::Custom { id, .. } => *id,
        Command::Notifications { .. } => None,
    }
}

/// Writes the answers with `text` wherever they have one.
pub fn check(name: &str, dialect: &dyn Dialect, text: &str, id: RequestId<'_>) {
    let client_id = client(1);
    let ids = [client_id];
    let changed = Changed { named: NamedMembers::Ids(&ids), count: 2 };
    let available = [text.to_owned()];
    let rooms: Vec<_> = RoomName::new(text).into_iter().collect();
    let (user, room) = (Some(text), text);
    let refused = &text[..text.floor_char_boundary(ORIGINAL_BYTES_MAX)];
    let original = Some(refused);
    let (active_unix_ms, connected_unix_ms) = (u64::MAX, 0);
    for answer in [
        Answer::Connected { client_id, user, available: &available },
        Answer::Status { client_id, user, rooms: &rooms, active_unix_ms, connected_unix_ms, id },
        Answer::Authenticated { user, id },
        Answer::Subscribed { room, client_count: 1, position: None, recovered: Some(false), id },
        Answer::Unsubscribed { room, id },
        Answer::Published { room: Some(room), offset: Some(1), id },
        Answer::Presence {
            room,
            counted: CountOf::Connections,
            count: 1,
            named: NamedMembers::Ids(&ids),
            id,
        },
        Answer::PresenceChange {
            room,
            joined: changed,
            left: changed,
            counted: CountOf::Connections,
            count: 1,
        },
        Answer::Gap { room, lost: 1 },
        Answer::Error { refusal: None, text, original, id },
        Answer::Error { refusal: Some(Refusal::UnknownType), text, original, id },
        Answer::Event { event: text, data: None, id },
    ] {
        let out = encoded(|out| dialect.encode_answer(&answer, 7, out));
        if out.is_empty() {
            assert!(matches!(answer, Answer::Connected { .. }));
            continue;
        }
        let pairs = json::pairs(&out).expect("an object");
        assert!(once(&pairs.get("type")).is_some_and(|kind| kind.starts_with('"')), "{out}");
        if let Some(raw) = once(&pairs.get("id")) {
            assert_eq!(Some(raw), id);
        }
        if let (Answer::Error { .. }, "channels") = (answer, name) {
            shows(once(&pairs.get("data")).expect("data"), refused);
        }
    }
}

/// That an error shows the message that was refused: as itself or as a text.
fn shows(data: &str, original: &str) {
    let pairs = json::pairs(data).expect("an object");
    let shown = once(&pairs.get("originalMessage")).expect("it is shown");
    let as_text = serde_json::from_str::<String>(shown).is_ok_and(|text| text == original);
    assert!(as_text || shown == original.trim(), "{shown} for {original}");
}
