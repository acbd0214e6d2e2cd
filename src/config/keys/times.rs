//! Intervals and deadlines.

use super::{DAY, SECOND, key};
use crate::config::key::Key;
use crate::config::kind::Kind;
use std::time::Duration;

pub(super) const TIMES: &[Key] = &[
    key(
        "ping_interval",
        Kind::TimeOrOff { at: |c| &mut c.times.ping_interval, min: SECOND, max: DAY },
        "Time between pings; 0: none",
    )
    .document("ping_interval")
    .reloaded(),
    key(
        "pong_wait",
        Kind::TimeOrOff { at: |c| &mut c.times.pong_wait, min: SECOND, max: DAY },
        "Time without a sign of life after which a connection is closed; longer than ping_interval; 0: never",
    )
    .document("pong_wait")
    .reloaded(),
    key(
        "write_wait",
        Kind::Time { at: |c| &mut c.times.write_wait, min: SECOND, max: DAY },
        "Time in which a connection, HTTP as well, must take some of what waits for it",
    )
    .document("write_wait")
    .reloaded(),
    key(
        "idle_timeout",
        Kind::TimeOrOff { at: |c| &mut c.times.idle_timeout, min: SECOND, max: DAY },
        "Time without a message after which a connection is closed; 0: never",
    )
    .variable("WEBSOCKET_CONNECTION_TIMEOUT")
    .reloaded(),
    key(
        "message_timeout",
        Kind::TimeOrOff { at: |c| &mut c.times.message_timeout, min: SECOND, max: DAY },
        "Time from a message's first byte to its last, after which its connection is closed; 0: no limit",
    )
    .reloaded(),
    key(
        "cleanup_interval",
        Kind::TimeOrOff { at: |c| &mut c.times.cleanup_interval, min: SECOND, max: DAY },
        "Time between the sweeps that close idle connections, idle_timeout at most; 0: each is closed when it is due",
    )
    .variable("WEBSOCKET_CLEANUP_INTERVAL")
    .reloaded(),
    key(
        "handshake_timeout",
        Kind::Time { at: |c| &mut c.times.handshake_timeout, min: SECOND, max: Duration::from_secs(600) },
        "Time until a new connection has sent its request",
    )
    .document("timeout"),
    key(
        "close_wait",
        Kind::Time { at: |c| &mut c.times.close_wait, min: SECOND, max: Duration::from_secs(600) },
        "Time for a peer to answer a close",
    ),
    key(
        "drain_delay",
        Kind::Time { at: |c| &mut c.times.drain_delay, min: Duration::ZERO, max: DAY },
        "Time from SIGTERM until connections are closed: /ready says no and all else goes on, so that balancers turn away",
    )
    .reloaded(),
    key(
        "drain_timeout",
        Kind::Time { at: |c| &mut c.times.drain_timeout, min: Duration::ZERO, max: DAY },
        "Time over which a shutdown closes all connections",
    )
    .reloaded(),
    key(
        "presence_interval",
        Kind::Time { at: |c| &mut c.times.presence_interval, min: Duration::from_millis(10), max: Duration::from_secs(3600) },
        "Time over which joins and leaves of a room with presence are told together",
    )
    .reloaded(),
    key(
        "presence_grace",
        Kind::Time { at: |c| &mut c.times.presence_grace, min: Duration::ZERO, max: Duration::from_secs(3600) },
        "Time that a user must be gone from a room with presence of users before members are told: a page that is loaded again takes less",
    )
    .reloaded(),
    key(
        "ready_timeout",
        Kind::Time { at: |c| &mut c.times.ready_timeout, min: Duration::from_millis(10), max: Duration::from_secs(60) },
        "Time in which a canary must come through every shard for /ready",
    ),
];
