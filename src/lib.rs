//! Fanwire: a sharded WebSocket edge server.
pub mod base;
pub mod config;
pub mod io;
pub mod model;
pub mod wire;
