//! What the node counts, and the text in which it tells.
//!
//! Each shard owns one [`ShardMetrics`] and is the only one that writes it, so that counting is a plain load and
//! store; any thread may read. The labels of reasons come from the caller: this module knows no other.

mod cell;
mod encode;
mod histogram;
mod hook;
mod latencies;
mod node;
mod rate;
mod shard;
mod text;

pub use cell::{Counter, Gauge, LabelledCounters};
pub use encode::OPEN_METRICS;
pub use histogram::{BUCKET_BOUNDS_NS, Histogram};
pub use hook::{HookMetrics, HookOutcome};
pub use latencies::{Latencies, Percentiles, Recent};
pub use node::{NodeMetrics, Scrape};
pub use rate::{RATE_WINDOW_MS, RateWindow};
pub use shard::{
    EVICTED_STAGES, HANDSHAKE_FAILURES, HandshakeFailure, ShardLabels, ShardMetrics, http_error_index,
};
pub use text::{TEXT, as_text};
