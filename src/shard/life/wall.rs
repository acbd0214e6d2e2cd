//! Times of the shard's clock as times of day.

use crate::shard::Now;
use std::cell::Cell;

/// By how much the clocks may have gone apart before the times that are told follow the wall clock, in ms: more than by
/// what two readings differ because each is rounded, and no more than what the times are told to.
const APART_MS: u64 = 100;

/// When the shard's clock began, by the wall clock. It is kept, so that when a connection came is told as the same time
/// however often somebody asks.
#[derive(Debug, Default)]
pub(in crate::shard) struct Wall {
    began_unix_ms: Cell<u64>,
}

impl Wall {
    /// A time of the shard's clock in tenths of a second, as Unix time in ms.
    pub fn unix_ms(&self, now: Now, ds: u32) -> u64 {
        let began_unix_ms = now.unix_ms.saturating_sub(now.ms());
        if began_unix_ms.abs_diff(self.began_unix_ms.get()) > APART_MS {
            self.began_unix_ms.set(began_unix_ms);
        }
        self.began_unix_ms.get() + u64::from(ds) * 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_alike_whenever_it_is_asked_for() {
        let wall = Wall::default();
        let told = |us, unix_ms| wall.unix_ms(Now { us, unix_ms }, 7);
        let first = told(723_456, 1_700_000_000_123);
        assert_eq!(first, 1_700_000_000_100);
        // The same moments later on both clocks, and one where they were read with something in between.
        for after_us in (0..2_000_000).step_by(33_333) {
            assert_eq!(told(723_456 + after_us, 1_700_000_000_123 + after_us / 1000), first);
        }
        assert_eq!(told(3_000_000, 1_700_000_002_399 + 1), first);
    }

    #[test]
    fn a_wall_clock_that_is_put_right_is_followed() {
        let wall = Wall::default();
        let told = |unix_ms| wall.unix_ms(Now { us: 1_000_000, unix_ms }, 5);
        assert_eq!(told(1_700_000_001_000), 1_700_000_000_500);
        assert_eq!(told(1_700_003_601_000), 1_700_003_600_500);
        assert_eq!(told(1_600_000_001_000), 1_600_000_000_500);
        assert_eq!(told(0), 500);
    }
}
