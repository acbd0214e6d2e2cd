//! What is logged of connections: the events of the topics document, at warn what is refused and which slow consumers
//! are evicted. Never what a message holds.
//!
//! The preset `topics` uses the words, fields and levels of its document; all others log these events at debug.

use crate::base::{Mutation, mutated};
use crate::config::Preset;
use crate::dialect::{DecodeLimits, dialect};
use crate::model::{Command, ConnectionId, Eviction, Identity, Refusal};
use crate::shard::policy::access::Denial;
use crate::shard::{Now, Shard};
use crate::wire::ProtocolError;
use std::net::SocketAddr;

/// Bytes of a type that a client made up which are logged.
const TYPE_BYTES_MAX: usize = 64;

impl Shard {
    /// A connection has come in: who it is, and how many connections the node has with it.
    pub(super) fn log_opened(&self, id: ConnectionId, peer: Option<SocketAddr>, identity: Option<&Identity>) {
        let peer = peer.map(tracing::field::display);
        let user = identity.and_then(|identity| identity.user.as_deref());
        let tenant = identity.and_then(|identity| identity.tenant.as_deref());
        let connections = self.hub.admission.connections();
        if self.logs_as_topics() {
            tracing::info!(
                connectionId = %id,
                userId = user,
                tenantId = tenant,
                totalConnections = connections,
                peer,
                "WebSocket connection established"
            );
        } else {
            tracing::debug!(connection = %id, peer, user, tenant, connections, "connected");
        }
    }

    /// A peer has broken the protocol, and the connection ends for it.
    pub(in crate::shard) fn log_protocol_error(&self, id: ConnectionId, error: ProtocolError) {
        if self.logs_as_topics() {
            tracing::error!(connectionId = %id, %error, "WebSocket connection error");
        } else {
            tracing::debug!(connection = %id, %error, "protocol error");
        }
    }

    /// Whether the log has the words of the topics document.
    fn logs_as_topics(&self) -> bool {
        self.config.preset == Preset::Topics
    }

    /// A message has come: its type and the room that it is about. Not inlined, as hardly anybody logs messages.
    #[cold]
    #[inline(never)]
    pub(in crate::shard) fn log_command(&self, slot: u32, command: &Command<'_>) {
        let Some(conn) = self.conns.at(slot).filter(|_| !mutated(Mutation::ForgetReceived)) else { return };
        let (kind, room) = kind_and_room(command);
        let kind = &kind[..kind.floor_char_boundary(TYPE_BYTES_MAX)];
        if self.logs_as_topics() {
            let id = conn.id;
            tracing::debug!(connectionId = %id, messageType = kind, channel = room, "WebSocket message received");
        } else {
            tracing::debug!(connection = %conn.id, r#type = kind, room, "message received");
        }
    }

    /// Counts a request that is refused, and tells of it.
    pub(in crate::shard) fn note_refusal(&self, now: Now, slot: u32, text: Option<&str>, denial: &Denial) {
        self.metrics.refusals.inc(denial.refusal.index());
        self.log_refusal(now, slot, text, denial);
    }

    /// Tells at most once a minute for each reason that requests are refused: how many, why, and of the last one what
    /// it was about (`text` is the message) and where it came from.
    pub(in crate::shard) fn log_refusal(&self, now: Now, slot: u32, text: Option<&str>, denial: &Denial) {
        let Some(count) = self.hub.refused[denial.refusal.index()].happened(now.ms()) else { return };
        let Some(conn) = self.conns.at(slot) else { return };
        let limits = DecodeLimits { json_depth_max: self.config.limits.json_depth_max };
        let command = text.and_then(|text| dialect(conn.dialect).decode(text, &limits).ok());
        let (kind, room) = command.as_ref().map(kind_and_room).unzip();
        let kind = kind.map(|kind| &kind[..kind.floor_char_boundary(TYPE_BYTES_MAX)]);
        let identity = conn.identity.as_deref();
        tracing::warn!(
            reason = Refusal::LABELS[denial.refusal.index()],
            cause = denial.words().1,
            count,
            connection = %conn.id,
            peer = conn.socket_addr().map(tracing::field::display),
            user = identity.and_then(|identity| identity.user.as_deref()),
            tenant = identity.and_then(|identity| identity.tenant.as_deref()),
            r#type = kind,
            room = room.flatten(),
            "requests refused"
        );
    }

    /// Tells at most once a minute for each bound that slow consumers are evicted: how many, and of the last one how
    /// much waited for it.
    pub(super) fn log_eviction(&self, now: Now, slot: u32, cause: Eviction, backlog_bytes: usize) {
        let Some(count) = self.hub.evicted[cause.index()].happened(now.ms()) else { return };
        let Some(conn) = self.conns.at(slot) else { return };
        let identity = conn.identity.as_deref();
        tracing::warn!(
            bound = cause.bound(),
            backlog_bytes,
            count,
            connection = %conn.id,
            peer = conn.socket_addr().map(tracing::field::display),
            user = identity.and_then(|identity| identity.user.as_deref()),
            tenant = identity.and_then(|identity| identity.tenant.as_deref()),
            "slow consumers evicted"
        );
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
