/// Why the server closes a connection: the close code, the text for the peer, and the name of its counter.
///
/// Codes below 4000 are those of RFC 6455 section 7.4.1; 4400 to 4499 are ours, the HTTP status plus 4000 where
/// there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The peer closed first; its code is echoed.
    PeerClosed,
    /// The transport ended without a close frame (no close frame is sent).
    TransportLost,
    /// RFC 6455 violated by the peer.
    ProtocolError,
    /// A binary message where the dialect has none.
    Unsupported,
    /// Text that is not UTF-8.
    InvalidUtf8,
    /// A message over `message_bytes_max`, or too many fragments.
    TooBig,
    /// The node drains.
    ShuttingDown,
    /// No pong within `pong_wait`, or neither message nor ping within `idle_timeout` ([`IDLE_TEXT`]).
    Idle,
    /// Rate limits exceeded again and again.
    RateLimited,
    /// The outbox passed its bound or nothing was taken for `write_wait`.
    SlowConsumer,
    /// Disconnected by the API or the embedding program.
    Disconnected,
    /// All is said: a health check has been answered.
    Done,
    /// No token, a bad one, or one that has ended.
    Unauthenticated,
    /// It is known who the peer is, and that is not enough.
    Forbidden,
    /// The node's bound on unfinished messages was passed, and this connection's was the largest.
    InputsFull,
    /// A message was not finished within `message_timeout` of its first byte.
    MessageTimeout,
}

/// What a peer is told that is alive, but has said nothing for `idle_timeout` or the time of a cleanup.
pub const IDLE_TEXT: &str = "idle for too long: send a message or a ping now and then";

impl CloseReason {
    /// Every reason, in the order of [`CloseReason::index`].
    pub const ALL: &[Self] = &[
        Self::PeerClosed,
        Self::TransportLost,
        Self::ProtocolError,
        Self::Unsupported,
        Self::InvalidUtf8,
        Self::TooBig,
        Self::ShuttingDown,
        Self::Idle,
        Self::RateLimited,
        Self::SlowConsumer,
        Self::Disconnected,
        Self::Done,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::InputsFull,
        Self::MessageTimeout,
    ];

    /// Label values, by [`CloseReason::index`].
    pub const LABELS: &[&'static str] = &[
        "peer_closed",
        "transport_lost",
        "protocol_error",
        "unsupported",
        "invalid_utf8",
        "too_big",
        "shutting_down",
        "idle",
        "rate_limited",
        "slow_consumer",
        "disconnected",
        "done",
        "unauthenticated",
        "forbidden",
        "inputs_full",
        "message_timeout",
    ];

    /// Position in [`CloseReason::ALL`], for counters.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Close code sent to the peer.
    pub const fn code(self) -> u16 {
        match self {
            Self::PeerClosed | Self::Done => 1000,
            Self::TransportLost => 1006,
            Self::ProtocolError => 1002,
            Self::Unsupported => 1003,
            Self::InvalidUtf8 => 1007,
            Self::TooBig => 1009,
            Self::ShuttingDown => 1001,
            Self::InputsFull => 1013,
            Self::Idle | Self::MessageTimeout => 4408,
            Self::RateLimited => 4429,
            Self::SlowConsumer => 4430,
            Self::Disconnected => 4440,
            Self::Unauthenticated => 4401,
            Self::Forbidden => 4403,
        }
    }

    /// Default reason text: says what to do. At most 123 bytes (RFC 6455 section 5.5).
    pub const fn text(self) -> &'static str {
        match self {
            Self::PeerClosed | Self::TransportLost | Self::Done => "",
            Self::ProtocolError => "protocol error: send frames as RFC 6455 says",
            Self::Unsupported => "binary messages are not supported here: send text",
            Self::InvalidUtf8 => "text is not valid UTF-8",
            Self::TooBig => "message too big: send smaller messages",
            Self::ShuttingDown => "server shutting down",
            Self::Idle => "no sign of life: answer pings",
            Self::RateLimited => "rate limit exceeded: send more slowly",
            Self::SlowConsumer => "slow consumer: read faster or subscribe to less",
            Self::Disconnected => "disconnected by the backend",
            Self::Unauthenticated => "authentication token expired: connect again with a new one",
            Self::Forbidden => "forbidden: this user may not connect here",
            Self::InputsFull => {
                "the server holds too many unfinished messages: send smaller ones, try again later"
            }
            Self::MessageTimeout => "a message took too long: send it to its end before you pause",
        }
    }

    /// Label value in metrics and logs.
    pub const fn label(self) -> &'static str {
        Self::LABELS[self.index()]
    }
}

/// Why frames meant for a connection were not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// The outbox of the connection was over its bound.
    Outbox,
    /// The outboxes of the node together were over their bound.
    NodeOutboxes,
    /// The connection ended before they were written.
    Closed,
    /// The oldest of a room that drops these when an outbox is full.
    DropOldest,
    /// Replaced by a newer one of the same key.
    Conflated,
    /// The outboxes of the user together were over their bound.
    UserOutboxes,
    /// The outboxes of the tenant together were over their bound.
    TenantOutboxes,
}

impl DropReason {
    /// Every reason, in the order of [`DropReason::index`].
    pub const ALL: &[Self] = &[
        Self::Outbox,
        Self::NodeOutboxes,
        Self::Closed,
        Self::DropOldest,
        Self::Conflated,
        Self::UserOutboxes,
        Self::TenantOutboxes,
    ];

    /// Label values, by [`DropReason::index`].
    pub const LABELS: &[&'static str] = &[
        "outbox",
        "node_outboxes",
        "closed",
        "drop_oldest",
        "conflated",
        "user_outboxes",
        "tenant_outboxes",
    ];

    /// Position in [`DropReason::ALL`], for counters.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Label value in metrics and logs.
    pub const fn label(self) -> &'static str {
        Self::LABELS[self.index()]
    }
}

/// Why a slow consumer is evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eviction {
    /// What it was owed had no place: the bound that was met.
    Full(DropReason),
    /// The kernel took nothing of what waits for it in `write_wait`.
    Stalled,
}

impl Eviction {
    /// Number of causes.
    pub const COUNT: usize = DropReason::ALL.len() + 1;

    /// Position among the causes.
    pub const fn index(self) -> usize {
        match self {
            Self::Full(bound) => bound.index(),
            Self::Stalled => DropReason::ALL.len(),
        }
    }

    /// The setting whose bound was met, for the log.
    pub const fn bound(self) -> &'static str {
        match self {
            Self::Full(DropReason::NodeOutboxes) => "outboxes_bytes_max",
            Self::Full(DropReason::UserOutboxes) => "outbox_bytes_per_user_max",
            Self::Full(DropReason::TenantOutboxes) => "outbox_bytes_per_tenant_max",
            Self::Full(_) => "outbox_bytes_max or outbox_messages_max",
            Self::Stalled => "write_wait",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_fit_a_close_frame_and_stand_at_their_index() {
        for (index, reason) in CloseReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), index);
            assert!(reason.text().len() <= 123);
        }
        assert!(IDLE_TEXT.len() <= 123);
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), index);
        }
    }
}
