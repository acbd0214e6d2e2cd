use super::super::channelled::Manner;

/// The document's names and, beyond it, others of the same kind.
pub(super) const MANNER: Manner = Manner {
    connected: Some("welcome"),
    subscribed: "subscribed",
    unsubscribed: "unsubscribed",
    published: "published",
    presence: "presence",
    presence_change: "presence_change",
    gap: "gap",
    pong: "pong",
    status: "status",
    notifications_joined: "notifications_subscribed",
    authenticated: "authenticated",
    identity_ends: "identity_ends",
    error: "error",
    error_channel: None,
    counts_who_joins: false,
    has_empty_data: false,
};

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
