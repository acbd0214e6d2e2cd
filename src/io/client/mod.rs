//! Requests of the server's own: to the backend, and to the server of the keys of tokens.

pub(super) mod hook;
pub(super) mod http_client;
pub(super) mod keys;
pub(super) mod outage;
