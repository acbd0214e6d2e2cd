use super::hook::HookMetrics;
use super::shard::{ShardLabels, ShardMetrics};
use std::sync::{Arc, OnceLock};

/// The metrics of every shard of the node.
#[derive(Debug, Clone)]
pub struct NodeMetrics {
    /// By shard index.
    pub shards: Vec<Arc<ShardMetrics>>,
    /// Of the backend hook, where there is one.
    pub hook: Option<Arc<HookMetrics>>,
    /// Of what the embedding program decides or handles beside the shards, once there is such code.
    pub program: OnceLock<Arc<HookMetrics>>,
}

/// What a scrape tells beside the shards' own numbers, because only the caller knows it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Scrape {
    /// Rooms with a member on the node, each counted once (a room may live on several shards).
    pub rooms: u64,
    /// Bytes that memberships are charged.
    pub membership_bytes: u64,
    /// Bytes of the histories of all rooms.
    pub history_bytes: u64,
    /// Rooms with a history, those without members included.
    pub history_rooms: u64,
    /// Histories emptied because the node's bound was spent.
    pub history_evictions: u64,
    /// Histories emptied because the share of their tenant was spent.
    pub history_share_evictions: u64,
    /// Users with a connection, where users or tenants have limits.
    pub users: u64,
    /// Tenants with a connection, likewise.
    pub tenants: u64,
    /// Lines of the log that could not be written.
    pub log_lines_lost: u64,
    /// Answers kept for `Idempotency-Key` that went before their time.
    pub idempotency_evictions: u64,
    /// Fetches of the keys of tokens.
    pub jwks_fetches: u64,
    /// Those of them that failed.
    pub jwks_fetch_failures: u64,
    /// Messages sent to clients per second, by [`RateWindow`](super::RateWindow) over [`NodeMetrics::deliveries`].
    pub messages_per_second: f64,
    /// How long the node has run, in seconds.
    pub uptime_seconds: f64,
}

impl NodeMetrics {
    /// Metrics at zero for `shards` shards.
    pub fn new(shards: usize, labels: &ShardLabels) -> Self {
        let shards = (0..shards).map(|_| Arc::new(ShardMetrics::new(labels))).collect();
        Self { shards, hook: None, program: OnceLock::new() }
    }

    /// Open connections of the node.
    pub fn connections(&self) -> u64 {
        self.sum(|shard| shard.connections.get())
    }

    /// Frames handed to connections since the start.
    pub fn deliveries(&self) -> u64 {
        self.sum(|shard| shard.deliveries.get())
    }

    /// The document's count of errors, see [`ShardMetrics::errors`].
    pub fn errors(&self) -> u64 {
        self.sum(ShardMetrics::errors)
    }

    fn sum(&self, of: impl Fn(&ShardMetrics) -> u64) -> u64 {
        self.shards.iter().map(|shard| of(shard)).sum()
    }
}
