use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Decides when to tell of events that can come again and again: at once of the first of a kind, then at most once in a
/// period, with their number. The caller bounds the kinds.
#[derive(Debug)]
pub struct Seldom<K> {
    period: Duration,
    kinds: HashMap<K, Untold>,
}

#[derive(Debug)]
struct Untold {
    since: Instant,
    count: u64,
}

impl<K: Eq + Hash> Seldom<K> {
    /// Nothing has happened.
    pub fn new(period: Duration) -> Self {
        Self { period, kinds: HashMap::new() }
    }

    /// An event has happened. `Some` if it is time to tell of its kind: how many events there are to tell of, with this
    /// one.
    pub fn happened(&mut self, kind: K, now: Instant) -> Option<u64> {
        let Some(untold) = self.kinds.get_mut(&kind) else {
            self.kinds.insert(kind, Untold { since: now, count: 0 });
            return Some(1);
        };
        untold.count += 1;
        if now.saturating_duration_since(untold.since) < self.period {
            return None;
        }
        untold.since = now;
        Some(std::mem::take(&mut untold.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_the_rest_once_in_a_period() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut seldom = Seldom::new(Duration::from_secs(60));
        assert_eq!(seldom.happened("a", at(0)), Some(1));
        assert_eq!(seldom.happened("a", at(1)), None);
        assert_eq!(seldom.happened("b", at(2)), Some(1), "another kind");
        assert_eq!(seldom.happened("a", at(59)), None);
        assert_eq!(seldom.happened("a", at(60)), Some(3));
        assert_eq!(seldom.happened("a", at(119)), None);
        assert_eq!(seldom.happened("a", at(200)), Some(2));
        assert_eq!(seldom.happened("a", at(300)), Some(1));
    }
}
