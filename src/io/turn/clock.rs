//! The node's clock.

use crate::shard::Now;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The time all shards of a node agree on.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// When it was started.
    pub(in crate::io) epoch: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { epoch: Instant::now() }
    }

    /// The moment `us` microseconds after the start.
    pub fn instant(&self, us: u64) -> Instant {
        self.epoch + Duration::from_micros(us)
    }

    /// The time.
    pub fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { us: self.epoch.elapsed().as_micros() as u64, unix_ms: unix.as_millis() as u64 }
    }
}
