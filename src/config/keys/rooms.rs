//! What holds in rooms, what clients may do there, how it is written to them; and the log.

use super::{GIB, key};
use crate::config::key::Key;
use crate::config::kind::Kind;

pub(super) const ROOMS: &[Key] = &[
    key(
        "room_rules",
        Kind::Rules(|c| &mut c.room_rules),
        "History, last value, presence and overflow of rooms, by patterns of their names; the first match counts",
    ),
    key(
        "access_rules",
        Kind::Access(|c| &mut c.access.rules),
        "Who may join, publish, see who is present and get what is past, by patterns of rooms' names; the first match counts",
    )
    .reloaded(),
    key(
        "access_default",
        Kind::AccessDefault(|c| &mut c.access.default),
        "Whether clients may do everything or nothing in rooms that no access rule matches",
    )
    .reloaded(),
    key(
        "client_broadcast",
        Kind::BoolOrAuto(|c| &mut c.client_broadcast),
        "Whether clients may broadcast, those of a tenant within it. auto: in the preset rooms, and without a preset while no identity is configured",
    )
    .reloaded(),
    key("deliver_to_sender", Kind::Bool(|c| &mut c.deliver_to_sender), "Whether own messages come back"),
    key(
        "echo",
        Kind::Bool(|c| &mut c.echo),
        "Whether /echo sends every message back, to anyone and up to 16 MiB: for diagnosis, not for the public",
    )
    .reloaded(),
    key(
        "deflate",
        Kind::Bool(|c| &mut c.deflate.enabled),
        "Whether publications are compressed for clients that offer permessage-deflate",
    )
    .reloaded(),
    key(
        "deflate_min_bytes",
        Kind::Size { at: |c| &mut c.deflate.min_bytes, min: 1, max: GIB },
        "Bytes of a publication from which on it is compressed",
    )
    .reloaded(),
    key(
        "deflate_level",
        Kind::Count { at: |c| &mut c.deflate.level, min: 1, max: 9 },
        "How hard to compress: 1 is fastest, 9 smallest",
    )
    .reloaded(),
    key("log_level", Kind::Level(|c| &mut c.log_level), "Least severe level that is logged").reloaded(),
    key("log_format", Kind::Format(|c| &mut c.log_format), "Form of the log on standard error"),
];
