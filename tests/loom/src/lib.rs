//! The mailbox under loom: see `Cargo.toml` for why this is a package of its own.

#[path = "../../../src/io/turn/mailbox.rs"]
pub mod mailbox;
#[path = "../../../src/io/turn/sync.rs"]
mod sync;

#[cfg(test)]
mod model;
