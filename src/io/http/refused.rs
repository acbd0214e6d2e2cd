//! Connections that are refused, as operators see them: browsers show their users nothing but a failed connection, so
//! the log has a line for each reason, the first at once and then one a minute.

use crate::auth::token::TokenError;
use crate::base::Seldom;
use crate::io::NodeShared;
use crate::metrics::{HANDSHAKE_FAILURES, HandshakeFailure};
use std::fmt::Display;
use std::net::SocketAddr;

/// Bytes of a path or an origin in the log.
const SHOWN_BYTES_MAX: usize = 128;

/// When each reason for which handshakes fail was told last.
pub type FailuresTold = [Seldom; HANDSHAKE_FAILURES.len()];

/// What is known of the connection.
#[derive(Default)]
pub(in crate::io) struct About<'a> {
    /// The client's address, as far as proxies tell it.
    pub peer: Option<SocketAddr>,
    /// The path that it asked for.
    pub path: Option<&'a str>,
    /// The page that it comes from.
    pub origin: Option<&'a str>,
    /// What went wrong, where the reason alone does not say it.
    pub cause: Option<&'a dyn Display>,
}

impl About<'_> {
    /// Of a connection of which no more is known.
    pub fn of(peer: Option<SocketAddr>) -> Self {
        Self { peer, ..Self::default() }
    }

    fn tell(&self, what: &'static str, reason: &'static str, count: u64) {
        let shown = |text: &str| text[..text.floor_char_boundary(SHOWN_BYTES_MAX)].to_owned();
        tracing::warn!(
            reason,
            count,
            peer = self.peer.map(tracing::field::display),
            path = self.path.map(shown),
            origin = self.origin.map(shown),
            cause = self.cause.map(tracing::field::display),
            "{what}"
        );
    }
}

impl NodeShared {
    /// Counts a handshake that failed on a shard, and tells of it where the server refused it: clients that go away or
    /// say nothing are the noise of every open port.
    pub(in crate::io) fn note_failure<'a>(
        &self,
        shard: usize,
        failure: HandshakeFailure,
        about: impl FnOnce() -> About<'a>,
    ) {
        self.metrics.shards[shard].handshake_failures.inc(failure.index());
        let is_noise = matches!(
            failure,
            HandshakeFailure::Disconnected | HandshakeFailure::Timeout | HandshakeFailure::Unread
        );
        if is_noise {
            return;
        }
        if let Some(count) = self.failures_told[failure.index()].happened(self.now_ms()) {
            about().tell("connections refused", HANDSHAKE_FAILURES[failure.index()], count);
        }
    }

    /// Counts a token that a shard did not accept, and tells of it. Never with a part of the token.
    pub(super) fn note_token_failure(&self, shard: usize, error: TokenError, about: About<'_>) {
        self.metrics.shards[shard].token_failures.inc(error.index());
        tracing::debug!(reason = error.label(), "token refused");
        if let Some(count) = self.tokens.refused(error, self.now_ms()) {
            about.tell("tokens refused", error.label(), count);
        }
    }

    fn now_ms(&self) -> u64 {
        self.clock.now().us / 1000
    }
}
