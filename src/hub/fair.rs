//! How a tenant's rate of messages is divided among its connections, so that one that floods takes nothing from others.
//!
//! The rate `R` (a second) with its burst `B` is one bucket for all connections of the tenant. By that alone whoever sends
//! most would keep it empty for all. So each second of the node's clock also has shares:
//!
//! - `n` connections were active in the second before, and there at its end: they sent something, whatever came of it.
//!   Three quarters of the rate are divided among them: each has a share of `3 R / 4 n` messages in this second. The last
//!   quarter is for all others together, for those that come or seldom speak: each can take the first message of its
//!   second out of it.
//! - A message within a share passes, whatever is left in the bucket, and is taken out of the bucket all the same. Any other
//!   message passes if the bucket has room: what some do not use is there for all.
//! - What is left of a share at the end of its second is lost, but for one message, so that shares of less than one
//!   message add up.
//!
//! # Bounds
//! - Fairness: a connection that was active in the second before is not refused for the sake of others as long as it
//!   sends at most `3 R / 4 n` messages in each second (rounded down), however much these send.
//! - In any time `T` shares let at most `R (T + 2) + n + 1` messages pass: the shares of a second add up to `R`, and one
//!   message for each share may be left of the time before. All that passes is taken out of the bucket, which lets none
//!   pass while it is overdrawn. So at most `R T + B + 2 R + n + 1` messages pass in all.
//!
//! Three words without a lock, two for the tenant and one for the connection: counts are of one second, by whichever
//! shard's clock is ahead.

use std::sync::atomic::{AtomicU64, Ordering};

const SECOND_NS: u64 = 1_000_000_000;

/// Bits of a second's number in a word: they come again after half a year, when nobody remembers.
const SECOND_BITS: u32 = 24;

/// Bits of a count of connections. More count as so many.
const COUNT_BITS: u32 = 20;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;

/// Bits of a credit behind the point.
const FRACTION_BITS: u32 = 16;

/// The credit of one message.
const MESSAGE: u64 = 1 << FRACTION_BITS;

/// What all connections of a tenant have together.
#[derive(Debug, Default)]
pub(super) struct Fair {
    /// The present second, and the connections that were active in the one before and that are in it.
    active: AtomicU64,
    /// The share of those that were not active in the second before.
    others: AtomicU64,
}

/// What one connection has. Touched by its own shard alone.
#[derive(Debug, Default)]
pub(super) struct Share(AtomicU64);

impl Fair {
    /// Whether a message that came at `now_ns` is within a share of `rate` messages a second. Counts the connection as
    /// active.
    pub fn has_share(&self, share: &Share, rate: u32, now_ns: u64) -> bool {
        // From 2 on: so a word of zeros is of no second that was.
        let (second, active) = self.begin((now_ns / SECOND_NS + 2) & mask(SECOND_BITS));
        let quarter = (u64::from(rate) << FRACTION_BITS) / 4;
        let (of, mut credit) = split(share.0.load(Ordering::Relaxed));
        let (is_first, was_active) = (of != second, follows(second, of));
        if is_first {
            credit = if was_active { credit.min(MESSAGE) + 3 * quarter / active.max(1) } else { 0 };
            self.count(second);
        }
        let mut within = credit >= MESSAGE;
        if within {
            credit -= MESSAGE;
        } else if is_first && !was_active {
            within = self.take_of_others(second, quarter);
        }
        share.0.store(join(second, credit), Ordering::Relaxed);
        within
    }

    /// The connection with this share has gone: it does not count in the second after this one. Otherwise a member that is
    /// closed for its flood and comes back a hundred times a second would be a hundred, and leave others a hundredth.
    pub fn leave(&self, share: &Share) {
        let (of, _) = split(share.0.load(Ordering::Relaxed));
        let _other_second = self.active.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
            let (second, [before, here]) = unpack(word);
            (second == of).then(|| pack(second, [before, here.saturating_sub(1)]))
        });
    }

    /// The present second and the number of connections that were active in the one before. `now` may be a little behind.
    fn begin(&self, now: u64) -> (u64, u64) {
        let next = |word: u64| {
            let (second, [_, here]) = unpack(word);
            if follows(now, second) {
                Some(pack(now, [here, 0]))
            } else {
                // Behind, if by less than half of all numbers.
                let ahead = now.wrapping_sub(second) & mask(SECOND_BITS);
                (ahead != 0 && ahead < 1 << (SECOND_BITS - 1)).then(|| pack(now, [0, 0]))
            }
        };
        let before = self.active.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        let word = before.map_or_else(|word| word, |word| next(word).unwrap_or(word));
        let (second, [active, _]) = unpack(word);
        (second, active)
    }

    /// Counts a connection as active in a second, which may just have ended.
    fn count(&self, of: u64) {
        let more = |count: u64| (count + 1).min(COUNT_MAX);
        let _other_second = self.active.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
            let (second, [before, here]) = unpack(word);
            if second == of {
                Some(pack(second, [before, more(here)]))
            } else {
                follows(second, of).then(|| pack(second, [more(before), here]))
            }
        });
    }

    fn take_of_others(&self, second: u64, quota: u64) -> bool {
        let mut taken = false;
        let _unchanged = self.others.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
            let (of, credit) = split(word);
            let credit = if of == second { credit } else { credit.min(MESSAGE) + quota };
            taken = credit >= MESSAGE;
            Some(join(second, if taken { credit - MESSAGE } else { credit }))
        });
        taken
    }
}

const fn mask(bits: u32) -> u64 {
    (1 << bits) - 1
}

/// Whether a second comes right after another one.
const fn follows(second: u64, before: u64) -> bool {
    (before + 1) & mask(SECOND_BITS) == second
}

/// A second and a credit in one word. A credit is at most a rate and a message: 40 bits.
const fn join(second: u64, credit: u64) -> u64 {
    second << (u64::BITS - SECOND_BITS) | credit
}

const fn split(word: u64) -> (u64, u64) {
    (word >> (u64::BITS - SECOND_BITS), word & mask(u64::BITS - SECOND_BITS))
}

/// A second and two counts in one word.
const fn pack(second: u64, [before, here]: [u64; 2]) -> u64 {
    second << (2 * COUNT_BITS) | before << COUNT_BITS | here
}

const fn unpack(word: u64) -> (u64, [u64; 2]) {
    (word >> (2 * COUNT_BITS), [word >> COUNT_BITS & COUNT_MAX, word & COUNT_MAX])
}

// A second and two counts fill a word, and a credit of the highest rate (10 million, see the keys) has place.
const _: () = assert!(SECOND_BITS + 2 * COUNT_BITS == u64::BITS);
const _: () = assert!((10_000_001 << FRACTION_BITS) < mask(u64::BITS - SECOND_BITS));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Rate, SharedGcra};
    use proptest::prelude::*;

    /// A tenant's bucket and shares, as an account has them.
    #[derive(Default)]
    struct Tenant {
        bucket: SharedGcra,
        fair: Fair,
        shares: Vec<Share>,
    }

    impl Tenant {
        fn new(connections: usize) -> Self {
            Self { shares: (0..connections).map(|_| Share::default()).collect(), ..Self::default() }
        }

        fn sends(&self, connection: usize, rate: &Rate, now_ns: u64) -> bool {
            if self.fair.has_share(&self.shares[connection], rate.per_s, now_ns) {
                self.bucket.overdraw_since(rate, 1, now_ns, now_ns);
                return true;
            }
            self.bucket.check_overdrawn_since(rate, 1, now_ns, now_ns)
        }
    }

    #[test]
    fn who_sends_a_little_is_heard_beside_who_floods() {
        let (tenant, rate) = (Tenant::new(2), Rate { per_s: 50, burst: 50 });
        let (mut passed, mut refused) = (0, 0);
        for ms in 0..20_000_u64 {
            let now_ns = ms * 1_000_000;
            // Five messages a millisecond; and ten a second.
            passed += (0..5).filter(|_| tenant.sends(0, &rate, now_ns)).count();
            if ms % 100 == 50 && !tenant.sends(1, &rate, now_ns) {
                refused += 1;
                assert!(ms < 1000, "refused at {ms} ms");
            }
        }
        assert!(refused <= 9, "one was the first of its second");
        // All of the rate is used: what one leaves the other takes.
        assert!((50 * 20 - 200..50 * 20 + 150).contains(&passed), "{passed}");
    }

    #[test]
    fn a_connection_that_comes_back_after_each_close_counts_once() {
        let (mut tenant, rate) = (Tenant::new(2), Rate { per_s: 50, burst: 50 });
        for ms in 0..20_000_u64 {
            let now_ns = ms * 1_000_000;
            // One floods, is closed and comes back, a thousand times a second.
            let _flood = (0..40).filter(|_| tenant.sends(0, &rate, now_ns)).count();
            tenant.fair.leave(&std::mem::take(&mut tenant.shares[0]));
            if ms % 100 == 50 {
                assert!(tenant.sends(1, &rate, now_ns) || ms < 1000, "refused at {ms} ms");
            }
        }
    }

    #[test]
    fn who_speaks_seldom_is_heard_beside_who_floods() {
        let (tenant, rate) = (Tenant::new(40), Rate { per_s: 50, burst: 50 });
        for ms in 0..20_000_u64 {
            let now_ns = ms * 1_000_000;
            let _flood = (0..5).filter(|_| tenant.sends(0, &rate, now_ns)).count();
            // Ten others in each second, none of them in two in a row.
            if ms % 100 == 50 {
                let other = 1 + (ms / 100 % 39) as usize;
                assert!(tenant.sends(other, &rate, now_ns), "{other} at {ms} ms");
            }
        }
    }

    #[test]
    fn shares_of_less_than_a_message_add_up() {
        let (tenant, rate) = (Tenant::new(100), Rate { per_s: 10, burst: 10 });
        let mut passed = vec![0; 100];
        // Each tries ten times a second; one is always the last to try.
        for step in 0..10 * 120 {
            for (connection, passed) in passed.iter_mut().enumerate() {
                *passed += u32::from(tenant.sends(connection, &rate, step * SECOND_NS / 10));
            }
        }
        assert!(passed.iter().all(|passed| *passed >= 8), "{passed:?}");
        assert!(passed.iter().sum::<u32>() <= 10 * 120 + 10 + 20 + 101, "{passed:?}");
    }

    #[test]
    fn a_clock_behind_takes_part_in_the_second_of_the_others() {
        let (fair, [a, b]) = (Fair::default(), [Share::default(), Share::default()]);
        assert!(fair.has_share(&a, 10, 5 * SECOND_NS));
        assert!(fair.has_share(&b, 10, 5 * SECOND_NS - 1), "of the same second");
        // Both were active: half of three quarters of ten for each.
        for share in [&a, &b] {
            let passed = (0..10).filter(|_| fair.has_share(share, 10, 6 * SECOND_NS)).count();
            assert_eq!(passed, 3);
        }
    }

    proptest! {
        #[test]
        fn no_tenant_gets_more_than_its_bound_and_nobody_less_than_a_share(
            per_s in 1..60u32,
            burst in 1..60u32,
            sends in prop::collection::vec((0..8usize, prop_oneof![3 => 0..5_000_000u64, 1 => 0..900_000_000u64]), 1..2000),
        ) {
            let (tenant, rate) = (Tenant::new(8), Rate { per_s, burst });
            let (mut now_ns, mut passed) = (0, Vec::new());
            // By second, which connections sent, and how many messages of each were refused and how many came.
            let mut seconds: Vec<[(u32, u32); 8]> = vec![[(0, 0); 8]];
            for (connection, pass_ns) in sends {
                now_ns += pass_ns;
                seconds.resize((now_ns / SECOND_NS) as usize + 1, [(0, 0); 8]);
                let passes = tenant.sends(connection, &rate, now_ns);
                let (refused, came) = &mut seconds.last_mut().expect("one at least")[connection];
                *came += 1;
                if passes { passed.push(now_ns) } else { *refused += 1 }
            }
            for (from, start) in passed.iter().enumerate() {
                for (to, end) in passed.iter().enumerate().skip(from) {
                    let s = (end - start) as f64 / SECOND_NS as f64;
                    let bound = f64::from(per_s) * (s + 2.0) + f64::from(burst) + 9.0;
                    prop_assert!((to - from + 1) as f64 <= bound, "{} in {s} s", to - from + 1);
                }
            }
            for pair in seconds.windows(2) {
                let active = pair[0].iter().filter(|(_, came)| *came > 0).count() as u32;
                for (before, (refused, came)) in pair[0].iter().zip(pair[1]) {
                    if before.1 > 0 && came <= 3 * per_s / (4 * active) {
                        prop_assert_eq!(refused, 0);
                    }
                }
            }
        }
    }
}
