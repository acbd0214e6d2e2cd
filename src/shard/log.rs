//! What is logged of connections at the level debug: the events of the topics document, and never what a message holds.

use super::Shard;
use crate::base::{Mutation, mutated};
use crate::model::{Command, ConnectionId, Identity};
use std::net::SocketAddr;

/// Bytes of a type that a client made up which are logged.
const TYPE_BYTES_MAX: usize = 64;

impl Shard {
    /// A connection has come in: who it is, and how many connections the node has with it.
    pub(super) fn log_opened(&self, id: ConnectionId, peer: Option<SocketAddr>, identity: Option<&Identity>) {
        tracing::debug!(
            connection = %id,
            peer = peer.map(tracing::field::display),
            user = identity.and_then(|identity| identity.user.as_deref()),
            tenant = identity.and_then(|identity| identity.tenant.as_deref()),
            connections = self.hub.admission.connections(),
            "connected"
        );
    }

    /// A message has come: its type and the room that it is about. Not inlined, as hardly anybody logs messages.
    #[cold]
    #[inline(never)]
    pub(super) fn log_command(&self, slot: u32, command: &Command<'_>) {
        let Some(conn) = self.conns.at(slot).filter(|_| !mutated(Mutation::ForgetReceived)) else { return };
        let (kind, room) = kind_and_room(command);
        let kind = &kind[..kind.floor_char_boundary(TYPE_BYTES_MAX)];
        tracing::debug!(connection = %conn.id, r#type = kind, room, "message received");
    }
}

/// What is asked for in one word, which for publications is the type that the client gave, and for which room.
fn kind_and_room<'a>(command: &'a Command<'_>) -> (&'a str, Option<&'a str>) {
    match command {
        Command::Subscribe { room, .. } => ("subscribe", Some(room)),
        Command::Unsubscribe { room, .. } => ("unsubscribe", Some(room)),
        Command::Publish { room, event, .. } => (event, Some(room)),
        Command::Broadcast { event, .. } | Command::Custom { event, .. } => (event, None),
        Command::Presence { room, .. } => ("presence", Some(room)),
        Command::Ping { .. } => ("ping", None),
        Command::Status { .. } => ("status", None),
        Command::Notifications { .. } => ("notifications", None),
        Command::Authenticate { .. } => ("auth", None),
    }
}
