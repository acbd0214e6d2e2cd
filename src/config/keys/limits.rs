//! Bounds of numbers, rates and bytes.

use super::{GIB, KIB, key};
use crate::config::key::Key;
use crate::config::kind::Kind;

pub(super) const LIMITS: &[Key] = &[
    key(
        "connections_max",
        Kind::Count { at: |c| &mut c.limits.connections_max, min: 0, max: 10_000_000 },
        "Connections of the node; 0: no limit",
    )
    .document("limits.max_connections")
    .reloaded(),
    key(
        "connections_per_room_max",
        Kind::Count { at: |c| &mut c.limits.connections_per_room_max, min: 0, max: 10_000_000 },
        "Members of one room; 0: no limit",
    )
    .document("limits.max_connections_per_room")
    .reloaded(),
    key(
        "connections_per_ip_max",
        Kind::Count { at: |c| &mut c.limits.connections_per_ip_max, min: 0, max: 10_000_000 },
        "Connections from one address, those included whose request has not come yet; 0: no limit",
    )
    .reloaded(),
    key(
        "client_ipv4_prefix_length",
        Kind::Count { at: |c| &mut c.limits.client_ipv4_prefix_length, min: 8, max: 32 },
        "Leading bits that make IPv4 addresses one address",
    ),
    key(
        "client_ipv6_prefix_length",
        Kind::Count { at: |c| &mut c.limits.client_ipv6_prefix_length, min: 16, max: 128 },
        "Leading bits that make IPv6 addresses one address: a customer has a /64 at least",
    ),
    key(
        "connections_per_user_max",
        Kind::Count { at: |c| &mut c.limits.per_user.connections_max, min: 0, max: 10_000_000 },
        "Connections of one user of a tenant; 0: no limit",
    )
    .reloaded(),
    key(
        "connections_per_tenant_max",
        Kind::Count { at: |c| &mut c.limits.per_tenant.connections_max, min: 0, max: 10_000_000 },
        "Connections of one tenant; 0: no limit",
    )
    .reloaded(),
    key(
        "rooms_per_connection_max",
        Kind::Count { at: |c| &mut c.limits.rooms_per_connection_max, min: 1, max: 1_000_000 },
        "Rooms one connection is in: each costs memory until it leaves",
    )
    .reloaded(),
    key(
        "rooms_per_user_max",
        Kind::Count { at: |c| &mut c.limits.per_user.rooms_max, min: 0, max: 10_000_000 },
        "Memberships of all connections of one user, a room counted for each; 0: no limit",
    )
    .reloaded(),
    key(
        "rooms_per_tenant_max",
        Kind::Count { at: |c| &mut c.limits.per_tenant.rooms_max, min: 0, max: 10_000_000 },
        "Memberships of all connections of one tenant, a room counted for each; 0: no limit",
    )
    .reloaded(),
    key(
        "message_bytes_max",
        Kind::Size { at: |c| &mut c.limits.message_bytes_max, min: 128, max: 64 * 1024 * KIB },
        "One message of a client, its fragments together",
    )
    .document("max_message_size")
    .variable("WEBSOCKET_MAX_PAYLOAD")
    .reloaded(),
    key(
        "fragments_max",
        Kind::Count { at: |c| &mut c.limits.fragments_max, min: 1, max: 1_000_000 },
        "Fragments of one message: even empty ones cost work",
    )
    .reloaded(),
    key(
        "json_depth_max",
        Kind::Count { at: |c| &mut c.limits.json_depth_max, min: 2, max: 10_000 },
        "Depth of nesting of a message: deep JSON breaks receivers",
    )
    .reloaded(),
    key(
        "messages_per_s",
        Kind::Count { at: |c| &mut c.limits.messages_per_s, min: 0, max: 10_000_000 },
        "Messages a second of one connection; 0: no limit",
    )
    .reloaded(),
    key(
        "messages_burst",
        Kind::Count { at: |c| &mut c.limits.messages_burst, min: 0, max: 10_000_000 },
        "Messages at once after a pause; 0: as many as in one second",
    )
    .reloaded(),
    key(
        "messages_per_s_user",
        Kind::Count { at: |c| &mut c.limits.per_user.messages_per_s, min: 0, max: 10_000_000 },
        "Messages a second of all connections of one user; 0: no limit",
    )
    .reloaded(),
    key(
        "messages_burst_user",
        Kind::Count { at: |c| &mut c.limits.per_user.messages_burst, min: 0, max: 10_000_000 },
        "Messages at once of these after a pause; 0: as many as in one second",
    )
    .reloaded(),
    key(
        "messages_per_s_tenant",
        Kind::Count { at: |c| &mut c.limits.per_tenant.messages_per_s, min: 0, max: 10_000_000 },
        "Messages a second of all connections of one tenant; 0: no limit",
    )
    .reloaded(),
    key(
        "messages_burst_tenant",
        Kind::Count { at: |c| &mut c.limits.per_tenant.messages_burst, min: 0, max: 10_000_000 },
        "Messages at once of these after a pause; 0: as many as in one second",
    )
    .reloaded(),
    key(
        "bytes_per_s",
        Kind::Size32 { at: |c| &mut c.limits.bytes_per_s, min: 1, max: u32::MAX },
        "Bytes a second of one connection; 0: no limit",
    )
    .reloaded(),
    key(
        "bytes_burst",
        Kind::Size32 { at: |c| &mut c.limits.bytes_burst, min: 1, max: u32::MAX },
        "Bytes at once after a pause; 0: as many as in one second",
    )
    .reloaded(),
    key(
        "replay_bytes_per_s",
        Kind::Size32 { at: |c| &mut c.limits.replay_bytes_per_s, min: 1, max: u32::MAX },
        "Bytes of histories a second gone through for one connection's recoveries and snapshots; 0: no limit",
    )
    .reloaded(),
    key(
        "replay_bytes_burst",
        Kind::Size32 { at: |c| &mut c.limits.replay_bytes_burst, min: 1, max: u32::MAX },
        "Bytes of these at once after a pause; 0: as many as in one second",
    )
    .reloaded(),
    key(
        "auths_per_s",
        Kind::Count { at: |c| &mut c.limits.auths_per_s, min: 0, max: 1_000_000 },
        "Attempts a second of one connection to authenticate by message, those that fail too; 0: no limit",
    )
    .reloaded(),
    key(
        "auths_burst",
        Kind::Count { at: |c| &mut c.limits.auths_burst, min: 0, max: 1_000_000 },
        "Attempts at once after a pause; 0: as many as in one second",
    )
    .reloaded(),
    key(
        "outbox_bytes_max",
        Kind::Size { at: |c| &mut c.limits.outbox_bytes_max, min: 4 * KIB, max: GIB },
        "Bytes that may wait for one connection",
    )
    .reloaded(),
    key(
        "outbox_messages_max",
        Kind::Count { at: |c| &mut c.limits.outbox_messages_max, min: 1, max: 1_000_000 },
        "Messages that may wait for one connection",
    )
    .reloaded(),
    key(
        "outbox_bytes_per_user_max",
        Kind::Size { at: |c| &mut c.limits.per_user.outbox_bytes_max, min: 0, max: 1024 * GIB },
        "Bytes that may wait for all connections of one user; over it the largest backlog of these is evicted; 0: no limit",
    )
    .reloaded(),
    key(
        "outbox_bytes_per_tenant_max",
        Kind::Size { at: |c| &mut c.limits.per_tenant.outbox_bytes_max, min: 0, max: 1024 * GIB },
        "Bytes that may wait for all connections of one tenant; over it the largest backlog of these is evicted; 0: no limit",
    )
    .reloaded(),
    key(
        "outboxes_bytes_max",
        Kind::Size { at: |c| &mut c.limits.outboxes_bytes_max, min: 1024 * KIB, max: 1024 * GIB },
        "Bytes that may wait for all connections; over it the largest backlog is evicted",
    )
    .reloaded(),
    key(
        "inputs_bytes_max",
        Kind::Size { at: |c| &mut c.limits.inputs_bytes_max, min: 1024 * KIB, max: 1024 * GIB },
        "Bytes of all messages that have not come whole; over it the connection with the largest is closed",
    )
    .reloaded(),
    key(
        "memberships_bytes_max",
        Kind::Size { at: |c| &mut c.limits.memberships_bytes_max, min: 1024 * KIB, max: 1024 * GIB },
        "Bytes of memberships and the rooms that they make, some 800 and twice the name for each room; over it nobody joins",
    )
    .reloaded(),
    key(
        "mailbox_bytes_max",
        Kind::Size { at: |c| &mut c.limits.mailbox_bytes_max, min: 1024 * KIB, max: 64 * GIB },
        "Bytes on their way to one shard over which the others stop to read",
    )
    .reloaded(),
    key(
        "history_bytes_max",
        Kind::Size { at: |c| &mut c.limits.history_bytes_max, min: 64 * KIB, max: 1024 * GIB },
        "Bytes of the histories of all rooms; over it the rooms used longest ago are forgotten, of the tenant with most",
    )
    .reloaded(),
    key(
        "history_bytes_per_tenant_max",
        Kind::Size { at: |c| &mut c.limits.history_bytes_per_tenant_max, min: 0, max: 1024 * GIB },
        "Bytes of the histories of one tenant; over it its own rooms used longest ago are forgotten; 0: a quarter of all",
    )
    .reloaded(),
];
