//! The table of keys, in groups: the one place that tells each key's name, type, range and meaning.

mod hook;
mod limits;
mod rooms;
mod server;
mod times;
mod tokens;
mod transport;

use super::key::Key;
use super::kind::Kind;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
const KIB: usize = 1024;
const GIB: usize = 1024 * 1024 * 1024;

/// A key that no document names and only a restart changes.
const fn key(name: &'static str, kind: Kind, help: &'static str) -> Key {
    Key { name, kind, document: None, variable: None, reload: false, help }
}

impl Key {
    const fn document(mut self, path: &'static str) -> Self {
        self.document = Some(path);
        self
    }

    const fn variable(mut self, name: &'static str) -> Self {
        self.variable = Some(name);
        self
    }

    const fn reloaded(mut self) -> Self {
        self.reload = true;
        self
    }
}

/// Accepted and without effect, for the sake of the rooms document.
const IGNORED: &[Key] = &[
    key(
        "read_buffer_size",
        Kind::Ignored { default: "1024" },
        "Accepted and without effect: no connection has a read buffer of its own",
    )
    .document("read_buffer_size"),
    key(
        "write_buffer_size",
        Kind::Ignored { default: "1024" },
        "Accepted and without effect: no connection has a write buffer of its own",
    )
    .document("write_buffer_size"),
];

/// The groups with their headings in the help.
const GROUPS: [(&str, &[Key]); 8] = [
    ("Server", server::SERVER),
    ("Tokens", tokens::TOKENS),
    ("Rooms and log", rooms::ROOMS),
    ("Limits", limits::LIMITS),
    ("Times", times::TIMES),
    ("HTTP and sockets", transport::TRANSPORT),
    ("Backend hook", hook::HOOK),
    ("Without effect", IGNORED),
];

/// The groups of keys with their headings, in the order of the help.
pub(super) fn groups() -> impl Iterator<Item = (&'static str, &'static [Key])> {
    GROUPS.into_iter()
}

/// Every key, in the order of the help.
pub(super) fn all() -> impl Iterator<Item = &'static Key> {
    GROUPS.into_iter().flat_map(|(_, keys)| keys)
}

/// The key of that name in the file.
pub(super) fn by_name(name: &str) -> Option<&'static Key> {
    all().find(|key| key.name == name)
}

/// The key that the rooms document has at that path below `websocket:`.
pub(super) fn by_document_path(path: &str) -> Option<&'static Key> {
    all().find(|key| key.document == Some(path))
}
