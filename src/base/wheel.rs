/// Buckets of the wheel: at 100 ms a round takes 102 s, which is longer than the usual ping and write deadlines,
/// so that few entries are looked at more than once.
const BUCKETS: usize = 1024;

/// The list of those that expired but were not fetched yet; the buckets are lists 0 to 1023.
const EXPIRED: usize = BUCKETS;

/// The values of a link from here on name list heads instead of slots, so that the first of a list can be unlinked
/// without a search for its head.
const HEADS: u32 = u32::MAX - 1 - EXPIRED as u32;

/// In `next`, the end of a list; in `prev`, that the slot is in no list.
const NONE: u32 = u32::MAX;

/// One timer for each slot of a slab, in a hashed wheel.
///
/// Times are milliseconds on a clock of the caller that does not go back, such as since the shard started. A timer
/// never fires early and at most one granule late, if the caller comes as often as [`Wheel::next_deadline_ms`]
/// says. A slot costs 12 bytes, whether its timer is set or not. `set` and `clear` take constant time; a deadline
/// beyond the current round is looked at once in every round until its own.
#[derive(Debug)]
pub struct Wheel {
    granule_ms: u64,
    /// Every deadline up to and including this tick has been moved to the expired list.
    tick: u64,
    /// First slots of the buckets and of the expired list.
    heads: Box<[u32; BUCKETS + 1]>,
    /// One bit for each bucket: it is not empty.
    occupied: [u64; BUCKETS / 64],
    links: Vec<Link>,
    len: usize,
}

#[derive(Debug, Clone, Copy)]
struct Link {
    next: u32,
    prev: u32,
    /// The low half of the tick. The wheel's own tick, never more than 2^32 behind, tells the rest.
    deadline_tick: u32,
}

const UNLINKED: Link = Link { next: NONE, prev: NONE, deadline_tick: 0 };

impl Wheel {
    /// An empty wheel at time 0 that tells deadlines apart by `granule_ms` (0 is taken as 1).
    pub fn new(granule_ms: u32) -> Self {
        Self {
            granule_ms: u64::from(granule_ms.max(1)),
            tick: 0,
            heads: Box::new([NONE; BUCKETS + 1]),
            occupied: [0; BUCKETS / 64],
            links: Vec::new(),
            len: 0,
        }
    }

    /// Sets the timer of `slot`, in place of the one set before. Slots must be dense (memory is held up to the
    /// highest) and below 2^32 - 1026.
    ///
    /// A deadline already past fires at the next tick, not at once, so that a handler that sets its timer anew can
    /// not keep the caller in [`Wheel::pop_expired`] for ever. A deadline 2^32 granules ahead or more (13 years at
    /// 100 ms) is kept as no timer.
    pub fn set(&mut self, slot: u32, deadline_ms: u64) {
        debug_assert!(slot < HEADS, "slot out of range");
        let deadline = deadline_ms.div_ceil(self.granule_ms).max(self.tick + 1);
        if deadline - self.tick > u64::from(u32::MAX) {
            return self.clear(slot);
        }
        let index = slot as usize;
        if index >= self.links.len() {
            self.links.resize(index + 1, UNLINKED);
        }
        let deadline_tick = deadline as u32;
        let Link { prev, deadline_tick: before, .. } = self.links[index];
        // Idle deadlines are put off at every message; most of those stay in their granule. One in the expired
        // list has a tick that is past, so it is never equal.
        if prev != NONE && before == deadline_tick {
            return;
        }
        self.unlink(slot);
        self.links[index].deadline_tick = deadline_tick;
        self.link(slot, bucket_of(deadline));
    }

    /// Stops the timer of `slot`, if one is set, even one that expired but was not fetched yet.
    pub fn clear(&mut self, slot: u32) {
        if self.is_set(slot) {
            self.unlink(slot);
        }
    }

    /// Whether a timer of `slot` is set and has not been fetched.
    pub fn is_set(&self, slot: u32) -> bool {
        self.links.get(slot as usize).is_some_and(|link| link.prev != NONE)
    }

    /// Timers that are set.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether no timer is set.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Fetches one slot whose deadline has passed; its timer is then no longer set. Call until `None`. Timers may
    /// be set and cleared between the calls. Expired slots come in no particular order. A `now_ms` before an
    /// earlier one expires nothing new.
    pub fn pop_expired(&mut self, now_ms: u64) -> Option<u32> {
        self.advance(now_ms / self.granule_ms);
        let slot = self.heads[EXPIRED];
        if slot == NONE {
            return None;
        }
        self.unlink(slot);
        Some(slot)
    }

    /// When to come back; `None` when no timer is set. It is never too late, but it is early when the next bucket
    /// holds only deadlines of later rounds; then nothing expires and this tells the next time.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        if self.heads[EXPIRED] != NONE {
            return Some(self.tick.saturating_mul(self.granule_ms));
        }
        let tick = self.next_occupied(self.tick + 1)?;
        Some(tick.saturating_mul(self.granule_ms))
    }

    /// Moves everything with a deadline up to `target` to the expired list. At most one look at each bucket, however
    /// far the time has jumped.
    fn advance(&mut self, target: u64) {
        // Clamped so that looking a round ahead cannot overflow; no clock gets there.
        let target = target.min(u64::MAX - 2 * BUCKETS as u64);
        if target <= self.tick {
            return;
        }
        let ahead = target - self.tick;
        let last = self.tick + ahead.min(BUCKETS as u64);
        let mut from = self.tick + 1;
        while from <= last
            && let Some(tick) = self.next_occupied(from)
            && tick <= last
        {
            let mut slot = self.heads[bucket_of(tick)];
            while slot != NONE {
                let Link { next, deadline_tick, .. } = self.links[slot as usize];
                // Ticks wrap, so what is compared is the distance from the tick reached before.
                if u64::from(deadline_tick.wrapping_sub(self.tick as u32)) <= ahead {
                    self.unlink(slot);
                    self.link(slot, EXPIRED);
                }
                slot = next;
            }
            from = tick + 1;
        }
        self.tick = target;
    }

    /// The first tick from `from` on, within one round, whose bucket is not empty.
    fn next_occupied(&self, from: u64) -> Option<u64> {
        let first = bucket_of(from);
        let words = self.occupied.len();
        // The first word is looked at twice: from `from` on at the beginning, and, its high bits then known to be
        // clear, for its low bits at the end of the round.
        (0..=words).find_map(|step| {
            let index = (first / 64 + step) % words;
            let mask = if step == 0 { u64::MAX << (first % 64) } else { u64::MAX };
            let word = self.occupied[index] & mask;
            (word != 0).then(|| {
                let bucket = index * 64 + word.trailing_zeros() as usize;
                from + ((bucket + BUCKETS - first) % BUCKETS) as u64
            })
        })
    }

    fn link(&mut self, slot: u32, list: usize) {
        let next = self.heads[list];
        if next != NONE {
            self.links[next as usize].prev = slot;
        }
        self.heads[list] = slot;
        if list < BUCKETS {
            self.occupied[list / 64] |= 1 << (list % 64);
        }
        let link = &mut self.links[slot as usize];
        (link.next, link.prev) = (next, HEADS + list as u32);
        self.len += 1;
    }

    /// Takes `slot` out of the list it is in, if any.
    fn unlink(&mut self, slot: u32) {
        let Link { next, prev, .. } = self.links[slot as usize];
        if prev == NONE {
            return;
        }
        if prev < HEADS {
            self.links[prev as usize].next = next;
        } else {
            let list = (prev - HEADS) as usize;
            self.heads[list] = next;
            if next == NONE && list < BUCKETS {
                self.occupied[list / 64] &= !(1 << (list % 64));
            }
        }
        if next != NONE {
            self.links[next as usize].prev = prev;
        }
        self.links[slot as usize] = UNLINKED;
        self.len -= 1;
    }
}

const fn bucket_of(tick: u64) -> usize {
    tick as usize % BUCKETS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn expired(wheel: &mut Wheel, now_ms: u64) -> BTreeSet<u32> {
        std::iter::from_fn(|| wheel.pop_expired(now_ms)).collect()
    }

    #[test]
    fn a_slot_costs_twelve_bytes() {
        assert_eq!(size_of::<Link>(), 12);
    }

    #[test]
    fn never_early_and_at_most_a_granule_late() {
        let mut wheel = Wheel::new(100);
        wheel.set(7, 250);
        assert_eq!(wheel.next_deadline_ms(), Some(300));
        assert_eq!(wheel.pop_expired(299), None);
        assert_eq!(wheel.pop_expired(300), Some(7));
        assert_eq!((wheel.pop_expired(300), wheel.next_deadline_ms(), wheel.len()), (None, None, 0));
    }

    #[test]
    fn a_handler_that_sets_a_past_deadline_waits_for_the_next_tick() {
        let mut wheel = Wheel::new(100);
        wheel.set(1, 100);
        assert_eq!(wheel.pop_expired(5000), Some(1));
        wheel.set(1, 0);
        assert_eq!(wheel.pop_expired(5000), None);
        assert_eq!(wheel.next_deadline_ms(), Some(5100));
        assert_eq!(wheel.pop_expired(5100), Some(1));
    }

    #[test]
    fn an_expired_timer_can_still_be_cleared_or_put_off() {
        let mut wheel = Wheel::new(10);
        (0..4).for_each(|slot| wheel.set(slot, 10));
        let first = wheel.pop_expired(10).unwrap();
        let rest: Vec<u32> = (0..4).filter(|slot| *slot != first).collect();
        assert_eq!(wheel.next_deadline_ms(), Some(10));
        wheel.clear(rest[1]);
        wheel.set(rest[0], 50);
        assert_eq!(expired(&mut wheel, 10), BTreeSet::from([rest[2]]));
        assert_eq!(expired(&mut wheel, 50), BTreeSet::from([rest[0]]));
    }

    #[test]
    fn a_later_round_waits_in_its_bucket() {
        let mut wheel = Wheel::new(1);
        let far = 5 + 3 * BUCKETS as u64;
        wheel.set(0, far);
        wheel.set(1, 5);
        assert_eq!(expired(&mut wheel, 5), BTreeSet::from([1]));
        let mut looks = 0;
        while wheel.is_set(0) {
            let now_ms = wheel.next_deadline_ms().unwrap();
            if let Some(slot) = wheel.pop_expired(now_ms) {
                assert_eq!((slot, now_ms), (0, far));
            }
            looks += 1;
        }
        assert_eq!(looks, 3);
    }

    #[test]
    fn ticks_pass_the_end_of_32_bits() {
        let mut wheel = Wheel::new(1);
        let now_ms = u64::from(u32::MAX) - 5;
        assert_eq!(wheel.pop_expired(now_ms), None);
        wheel.set(0, now_ms + 3);
        wheel.set(1, now_ms + 20);
        wheel.set(2, now_ms + u64::from(u32::MAX));
        wheel.set(3, now_ms + u64::from(u32::MAX) + 1);
        wheel.set(4, u64::MAX);
        assert!(!wheel.is_set(3) && !wheel.is_set(4), "too far to keep");
        assert_eq!(expired(&mut wheel, now_ms + 19), BTreeSet::from([0]));
        assert_eq!(expired(&mut wheel, now_ms + 20), BTreeSet::from([1]));
        assert_eq!(expired(&mut wheel, now_ms + u64::from(u32::MAX) - 1), BTreeSet::new());
        assert_eq!(expired(&mut wheel, u64::MAX), BTreeSet::from([2]));
    }

    #[test]
    fn time_that_goes_back_expires_nothing() {
        let mut wheel = Wheel::new(10);
        assert_eq!(wheel.pop_expired(1000), None);
        wheel.set(0, 1010);
        assert_eq!(wheel.pop_expired(5), None);
        assert_eq!(wheel.pop_expired(1010), Some(0));
    }

    #[derive(Debug, Clone)]
    enum Step {
        /// Slot, and milliseconds from 5000 before now.
        Set(u32, u64),
        Clear(u32),
        Pass(u64),
        /// Jump to the time the wheel asked for.
        Follow,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (0..64u32, prop_oneof![0..12_000u64, 0..400_000u64]).prop_map(|(slot, ms)| Step::Set(slot, ms)),
            2 => (0..64u32).prop_map(Step::Clear),
            2 => prop_oneof![0..300u64, 0..300_000u64].prop_map(Step::Pass),
            4 => Just(Step::Follow),
        ]
    }

    proptest! {
        #[test]
        fn agrees_with_a_map(granule_ms in 1..200u32, steps in prop::collection::vec(step(), 1..200)) {
            let mut wheel = Wheel::new(granule_ms);
            let granule = u64::from(granule_ms);
            // Slot to the tick at which it must fire.
            let mut model: BTreeMap<u32, u64> = BTreeMap::new();
            let mut now_ms = 0u64;
            for step in steps {
                match step {
                    Step::Set(slot, ms) => {
                        let deadline_ms = (now_ms + ms).saturating_sub(5000);
                        wheel.set(slot, deadline_ms);
                        model.insert(slot, deadline_ms.div_ceil(granule).max(now_ms / granule + 1));
                    }
                    Step::Clear(slot) => {
                        wheel.clear(slot);
                        model.remove(&slot);
                    }
                    Step::Pass(ms) => now_ms += ms,
                    Step::Follow => now_ms = now_ms.max(wheel.next_deadline_ms().unwrap_or(0)),
                }
                let due: BTreeSet<u32> =
                    model.iter().filter(|(_, tick)| **tick <= now_ms / granule).map(|(slot, _)| *slot).collect();
                prop_assert_eq!(expired(&mut wheel, now_ms), due.clone());
                model.retain(|slot, _| !due.contains(slot));
                prop_assert_eq!(wheel.len(), model.len());
                prop_assert!((0..64).all(|slot| wheel.is_set(slot) == model.contains_key(&slot)));
                let earliest = model.values().min().map(|tick| tick * granule);
                let told = wheel.next_deadline_ms();
                prop_assert_eq!(told.is_some(), earliest.is_some());
                prop_assert!(told <= earliest && told.is_none_or(|told| told > now_ms));
                // Within one round it is exact.
                if let Some(earliest) = earliest && earliest / granule <= now_ms / granule + BUCKETS as u64 {
                    let round_ms = BUCKETS as u64 * granule;
                    let single_round = model.values().all(|tick| tick * granule <= now_ms + round_ms);
                    prop_assert!(!single_round || told == Some(earliest));
                }
            }
        }
    }
}
