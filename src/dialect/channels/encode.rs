use super::super::channelled::Manner;

/// The document's names and, beyond it, others of the same kind. It has no greeting.
pub(super) const MANNER: Manner = Manner {
    connected: None,
    subscribed: "CHANNEL_JOINED",
    unsubscribed: "CHANNEL_LEFT",
    published: "PUBLISHED",
    presence: "CHANNEL_PRESENCE",
    presence_change: "CHANNEL_PRESENCE_CHANGE",
    gap: "CHANNEL_GAP",
    pong: "PONG",
    status: "STATUS",
    notifications_joined: "NOTIFICATIONS_SUBSCRIBED",
    authenticated: "AUTHENTICATED",
    identity_ends: "IDENTITY_ENDS",
    error: "ERROR",
    error_channel: Some("error"),
    counts_who_joins: true,
    has_empty_data: true,
};

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
