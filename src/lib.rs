//! Fanwire: a sharded WebSocket edge server.
pub mod api;
pub mod auth;
pub mod base;
pub mod config;
pub mod dialect;
pub mod metrics;
pub mod model;
pub mod wire;
