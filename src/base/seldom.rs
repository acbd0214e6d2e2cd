use std::sync::atomic::{AtomicU64, Ordering};

/// Decides when to tell of an event that can come again and again, on any thread: at once of the first, then at most
/// once a minute, with the number of those in between. Needs no lock.
#[derive(Debug, Default)]
pub struct Seldom {
    next_ms: AtomicU64,
    untold: AtomicU64,
}

impl Seldom {
    /// Time between two tellings, in ms.
    pub const PERIOD_MS: u64 = 60_000;

    /// The event has happened, at `now_ms` of a clock that all callers share. `Some` if it is time to tell: how many
    /// events there are to tell of, with this one.
    pub fn happened(&self, now_ms: u64) -> Option<u64> {
        self.untold.fetch_add(1, Ordering::Relaxed);
        let next_ms = self.next_ms.load(Ordering::Relaxed);
        if now_ms < next_ms {
            return None;
        }
        // One of several threads tells.
        let until_ms = now_ms + Self::PERIOD_MS;
        self.next_ms.compare_exchange(next_ms, until_ms, Ordering::Relaxed, Ordering::Relaxed).ok()?;
        Some(self.untold.swap(0, Ordering::Relaxed)).filter(|count| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_the_rest_once_a_minute() {
        let seldom = Seldom::default();
        for (now_ms, told) in [
            (0, Some(1)),
            (1, None),
            (59_999, None),
            (60_000, Some(3)),
            (119_999, None),
            (200_000, Some(2)),
            (400_000, Some(1)),
        ] {
            assert_eq!(seldom.happened(now_ms), told, "at {now_ms} ms");
        }
    }

    #[test]
    fn none_is_told_twice_or_missed_by_several_threads() {
        let seldom = Seldom::default();
        let told: u64 = std::thread::scope(|scope| {
            let tell = || (0..1000).filter_map(|step| seldom.happened(step * 1000)).sum::<u64>();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(tell)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        let rest = seldom.happened(u64::MAX / 2).unwrap_or(0);
        assert_eq!(told + rest, 4001);
    }
}
