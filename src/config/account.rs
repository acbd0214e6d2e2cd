/// What all connections of one user, or of one tenant, may have together on this node. 0 is no limit, each by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountLimits {
    /// WebSocket connections.
    pub connections_max: u32,
    /// Memberships: a room counts once for each of the connections that are in it, as each costs its memory.
    pub rooms_max: u32,
    /// Messages a second.
    pub messages_per_s: u32,
    /// Messages at once after a pause; 0: as many as in one second.
    pub messages_burst: u32,
    /// Bytes that may wait for them; over it the largest backlog among them gives way.
    pub outbox_bytes_max: usize,
}

impl AccountLimits {
    /// Whether anything is limited, so that there is something to count.
    #[inline]
    pub fn is_on(&self) -> bool {
        let Self { connections_max, rooms_max, messages_per_s, messages_burst: _, outbox_bytes_max } = *self;
        connections_max != 0 || rooms_max != 0 || messages_per_s != 0 || outbox_bytes_max != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_alone_limits_nothing() {
        assert!(!AccountLimits { messages_burst: 9, ..AccountLimits::default() }.is_on());
        for on in [
            AccountLimits { connections_max: 1, ..AccountLimits::default() },
            AccountLimits { rooms_max: 1, ..AccountLimits::default() },
            AccountLimits { messages_per_s: 1, ..AccountLimits::default() },
            AccountLimits { outbox_bytes_max: 1, ..AccountLimits::default() },
        ] {
            assert!(on.is_on(), "{on:?}");
        }
    }
}
