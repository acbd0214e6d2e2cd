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

const GROUPS: [&[Key]; 8] = [
    server::SERVER,
    tokens::TOKENS,
    rooms::ROOMS,
    limits::LIMITS,
    times::TIMES,
    transport::TRANSPORT,
    hook::HOOK,
    IGNORED,
];

/// Every key, in the order of the help.
pub(super) fn all() -> impl Iterator<Item = &'static Key> {
    GROUPS.into_iter().flatten()
}

/// The key of that name in the file.
pub(super) fn by_name(name: &str) -> Option<&'static Key> {
    all().find(|key| key.name == name)
}

/// The key that the rooms document has at that path below `websocket:`.
pub(super) fn by_document_path(path: &str) -> Option<&'static Key> {
    all().find(|key| key.document == Some(path))
}
