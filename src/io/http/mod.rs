//! The HTTP server: routes are carried out, upgrades are decided, answers are written.

pub(super) mod admin_listener;
pub(super) mod browser;
pub(super) mod connections;
pub(super) mod cors;
pub(super) mod counted;
mod docs;
pub(super) mod endpoint;
pub(super) mod identity;
pub(super) mod key_check;
pub(super) mod linger;
pub(super) mod pages;
pub(super) mod proxy;
pub(super) mod publish;
pub(super) mod refused;
pub(super) mod reply;
pub(super) mod server;
pub(super) mod stalled;
pub(super) mod stream;
pub(super) mod subprotocol;
pub(super) mod turns;
pub(super) mod upgrade;
