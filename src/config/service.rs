//! What an endpoint does beyond its dialect: what it sends to who connects, and what messages of its own it has.

use super::list::ItemError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Messages of one endpoint.
const MESSAGES_MAX: usize = 32;

/// Bytes of a message's type.
const TYPE_BYTES_MAX: usize = 64;

/// What an endpoint sends to a connection that has come, and again to one that asks for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// The room, with `{parameter}` of the path, `{user}` and `{tenant}`.
    pub room: String,
    /// What of it.
    #[serde(rename = "as", default)]
    pub what: Past,
    /// Type of the message that a history is sent as.
    #[serde(rename = "type", default = "initial_data")]
    pub kind: String,
}

fn initial_data() -> String {
    "initial_data".to_owned()
}

/// What of a room's past is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Past {
    /// Its last publication, as its members got it; nothing if there is none.
    #[default]
    Last,
    /// One message with an array of the `data` of what its history holds, the newest first.
    History,
}

/// What a message of a client does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Sends the snapshot again. Where there is none the backend gets the message, or the client is told so.
    Snapshot,
    /// Sets the time between two values of a room: `interval` in ms.
    Pace,
    /// Sets which publications are sent: those whose `data` has the fields of `filter`.
    Filter,
    /// Goes to the backend or the handler of the embedding program, with the path's parameters.
    Forward,
    /// Joins a room, with `{field}` of the message beside what a snapshot's room may have.
    Join(String),
}

/// Messages by their type.
pub type Messages = BTreeMap<String, Act>;

/// The names in braces of a template.
///
/// # Errors
/// If a brace is not closed.
pub(super) fn names_in(template: &str) -> Result<Vec<&str>, String> {
    let mut names = Vec::new();
    let mut rest = template;
    while let Some((_, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or("a brace is not closed")?;
        names.push(name);
        rest = after;
    }
    Ok(names)
}

/// Checks what an endpoint does, given what is a known name in the rooms that it joins by itself.
///
/// # Errors
/// What is wrong.
pub(super) fn check(
    snapshot: Option<&Snapshot>,
    messages: &Messages,
    is_known: impl Fn(&str) -> bool,
) -> Result<(), ItemError> {
    if let Some(Snapshot { room, kind, .. }) = snapshot {
        for name in names_in(room).map_err(|what| ItemError::new("snapshot", what))? {
            if !is_known(name) {
                let what = format!("{{{name}}} in {room} is no parameter of the path");
                return Err(ItemError::new("snapshot", what));
            }
        }
        check_type("snapshot", kind)?;
    }
    if messages.len() > MESSAGES_MAX {
        return Err(ItemError::new("messages", format!("there are more than {MESSAGES_MAX} of these")));
    }
    for (kind, act) in messages {
        check_type("messages", kind)?;
        if let Act::Join(room) = act {
            names_in(room).map_err(|what| ItemError::new("messages", format!("{kind}: {what}")))?;
            if room.is_empty() {
                return Err(ItemError::new("messages", format!("{kind}: join must name a room")));
            }
        }
    }
    Ok(())
}

fn check_type(field: &'static str, kind: &str) -> Result<(), ItemError> {
    let fine = (1..=TYPE_BYTES_MAX).contains(&kind.len()) && !kind.chars().any(char::is_control);
    let what = || ItemError::new(field, format!("a message's type has 1 to {TYPE_BYTES_MAX} bytes"));
    if fine { Ok(()) } else { Err(what()) }
}
