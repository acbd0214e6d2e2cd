use super::gcra::Rate;
use std::sync::atomic::{AtomicU64, Ordering};

/// How far the clocks of two threads that ask may be apart, in ns: each takes the time once in a turn of its loop.
const SKEW_NS: u64 = 1_000_000_000;

/// Debts that are remembered, in ns: see [`SharedGcra::overdraw_since`].
const DEBT_NS: u64 = 60_000_000_000;

/// A [`Gcra`](super::Gcra) that many threads check, without a lock: all costs go into one bucket.
///
/// Exact: what passes in any time is what one bucket of that rate lets pass, whatever the threads are and however their
/// checks meet, by the time that each of them tells.
#[derive(Debug, Default)]
pub struct SharedGcra {
    arrival_ns: AtomicU64,
}

impl SharedGcra {
    /// As [`Gcra::check_since`](super::Gcra::check_since), with one difference: a time that lies back by less than a
    /// second is that of a thread that is late, and gives nothing back. So after a jump back, or a change to a tighter
    /// rate, the wait is at most what the burst takes to refill and a second.
    #[must_use]
    pub fn check_since(&self, rate: &Rate, cost: u32, now_ns: u64, since_ns: u64) -> bool {
        self.check(rate, cost, now_ns, since_ns, SKEW_NS)
    }

    /// The same for a bucket that is [overdrawn](Self::overdraw_since) at times: nothing passes before that is made up for.
    #[must_use]
    pub fn check_overdrawn_since(&self, rate: &Rate, cost: u32, now_ns: u64, since_ns: u64) -> bool {
        self.check(rate, cost, now_ns, since_ns, DEBT_NS)
    }

    /// Takes `cost` units that pass anyway, whatever is left. Of what is overdrawn no more is remembered than comes in
    /// within a minute.
    pub fn overdraw_since(&self, rate: &Rate, cost: u32, now_ns: u64, since_ns: u64) {
        if rate.per_s == 0 {
            return;
        }
        let most_ns = now_ns.saturating_add(rate.duration_ns(rate.burst)).saturating_add(DEBT_NS);
        let cost_ns = rate.duration_ns(cost);
        let next = |arrival_ns: u64| Some(arrival_ns.max(since_ns).saturating_add(cost_ns).min(most_ns));
        let _before = self.arrival_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    fn check(&self, rate: &Rate, cost: u32, now_ns: u64, since_ns: u64, ahead_max_ns: u64) -> bool {
        if rate.per_s == 0 || cost == 0 {
            return true;
        }
        if cost > rate.burst {
            return false;
        }
        let empty_ns = now_ns.saturating_add(rate.duration_ns(rate.burst));
        let cost_ns = rate.duration_ns(cost);
        let mut passes = false;
        // One word that nothing else hangs on: no order with other memory is needed.
        let _unchanged = self.arrival_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |arrival_ns| {
            let sensible_ns = arrival_ns.min(empty_ns.saturating_add(ahead_max_ns));
            let next_ns = sensible_ns.max(since_ns).saturating_add(cost_ns);
            passes = next_ns <= empty_ns;
            if passes { Some(next_ns) } else { (sensible_ns != arrival_ns).then_some(sensible_ns) }
        });
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::super::Gcra;
    use super::*;
    use proptest::prelude::*;
    use std::thread;

    const S: u64 = 1_000_000_000;

    #[test]
    fn threads_that_meet_get_no_more_than_the_burst() {
        let rate = Rate { per_s: 1, burst: 1000 };
        let gcra = SharedGcra::default();
        let passed: usize = thread::scope(|scope| {
            let count = || (0..1000).filter(|_| gcra.check_since(&rate, 1, S, S)).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(passed, 1000);
    }

    #[test]
    fn a_thread_that_is_late_gives_nothing_back() {
        let rate = Rate { per_s: 1000, burst: 10 };
        let gcra = SharedGcra::default();
        let (late_ns, early_ns) = (5 * S, 5 * S + S / 10);
        let passed = (0..1000)
            .flat_map(|_| [late_ns, early_ns])
            .filter(|now_ns| gcra.check_since(&rate, 1, *now_ns, *now_ns))
            .count();
        // One at the first time, and the burst at the second; then there is nothing left at either.
        assert_eq!(passed, 11);
    }

    #[test]
    fn a_tighter_rate_does_not_lock() {
        let gcra = SharedGcra::default();
        assert!(gcra.check_since(&Rate { per_s: 1, burst: 1000 }, 1000, S, S));
        let rate = Rate { per_s: 10, burst: 10 };
        assert!(!gcra.check_since(&rate, 1, S, S));
        // A second for the burst, one for the clocks, and a tenth for what is asked.
        let later_ns = 2 * S + S / 10;
        assert!(!gcra.check_since(&rate, 1, later_ns - 1, later_ns - 1));
        assert!(gcra.check_since(&rate, 1, later_ns, later_ns));
    }

    #[test]
    fn what_is_overdrawn_is_made_up_for() {
        let (gcra, rate) = (SharedGcra::default(), Rate { per_s: 10, burst: 10 });
        (0..40).for_each(|_| gcra.overdraw_since(&rate, 1, 5 * S, 5 * S));
        // Thirty too many are three seconds.
        for (now_ns, passes) in
            [(5 * S, false), (8 * S, false), (8 * S + S / 10, true), (8 * S + S / 10, false)]
        {
            assert_eq!(gcra.check_overdrawn_since(&rate, 1, now_ns, now_ns), passes, "{now_ns}");
        }
        (0..100_000).for_each(|_| gcra.overdraw_since(&rate, 1, 10 * S, 10 * S));
        assert!(!gcra.check_overdrawn_since(&rate, 1, 70 * S, 70 * S));
        assert!(gcra.check_overdrawn_since(&rate, 10, 71 * S, 71 * S), "a minute is remembered");
        let none = Rate { per_s: 0, burst: 0 };
        gcra.overdraw_since(&none, 1, S, S);
        assert!(gcra.check_overdrawn_since(&none, 1, S, S));
    }

    proptest! {
        #[test]
        fn agrees_with_the_one_of_a_single_thread(
            per_s in prop_oneof![0..50u32, 1..10_000_000u32],
            burst in 0..5000u32,
            checks in prop::collection::vec((0..6000u32, 0..3_000_000_000u64, 0..3_000_000_000u64), 1..100),
        ) {
            let (shared, mut single, mut now_ns) = (SharedGcra::default(), Gcra::new(), S);
            let rate = Rate { per_s, burst };
            for (cost, pass_ns, unseen_ns) in checks {
                now_ns += pass_ns;
                let since_ns = now_ns.saturating_sub(unseen_ns);
                prop_assert_eq!(
                    shared.check_since(&rate, cost, now_ns, since_ns),
                    single.check_since(&rate, cost, now_ns, since_ns)
                );
            }
        }
    }
}
