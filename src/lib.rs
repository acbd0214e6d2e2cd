//! Fanwire: a sharded WebSocket edge server.
pub mod api;
pub mod auth;
pub mod base;
pub mod config;
pub mod dialect;
mod handle;
pub mod hub;
pub mod io;
pub mod metrics;
pub mod model;
mod node;
pub mod shard;
pub mod wire;

pub use handle::{Handle, HandleError};
pub use node::{Builder, Server};
pub use io::{Answer, Ended};
