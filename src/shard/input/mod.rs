//! What comes to a shard: bytes and messages of clients, and requests of the program, the API and the node.

pub(super) mod about;
pub(super) mod commands;
pub(super) mod dues;
pub(super) mod echo;
pub(super) mod endpoint;
pub(super) mod handlers;
pub(super) mod hook;
pub(super) mod inputs;
pub(super) mod look;
pub(super) mod receive;
pub(super) mod requests;
pub(super) mod talk;
pub(super) mod tracking;
