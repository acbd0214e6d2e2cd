//! The places of a shard's connections that are no WebSocket, or not yet: how many there are, who may take one, and
//! which connection gives way when they are all taken. Pure: no sockets and no clock.
//!
//! A newcomer is not refused while another connection can give way. The connection that gives way is one of the address
//! with the most places; of those, one that has said nothing, then one whose request is not whole, then one that was
//! answered, then one whose body is not whole; of those, the oldest. A request that is being carried out never gives
//! way. So the silent connections of one address make place for those of all others, and first of all for each other.

use crate::base::{Key, Slab};
use crate::hub::Network;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// While half of the places are taken, an address has this part of them at the most.
const SHARE_PART: u32 = 8;

/// The share of an address is not below so many places, even of few.
const SHARE_MIN: u32 = 8;

/// This part of the places is kept for peers on this machine and for trusted proxies, and so for their probes.
const KEPT_PART: u32 = 16;

/// Time that a connection has for its request when all places are taken.
const PATIENCE_MIN: Duration = Duration::from_secs(2);

/// Connections that [`Places::late`] names at once.
const LATE_MAX: usize = 256;

/// Addresses for which the table of them keeps memory in any case.
const TABLE_MIN: usize = 64;

/// No caller's address, but that of all whose address has no share: Unix sockets and trusted proxies.
const EXEMPT: Option<Network> = None;

/// What a connection does, in the order in which they give way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::io) enum Stage {
    /// It has sent nothing.
    Silent,
    /// A part of its first request's head, or of its PROXY header.
    Head,
    /// It was answered: it reads the answer, or is kept for a further request.
    Answered,
    /// The head of a request, and perhaps a part of its body.
    Body,
    /// Its request is carried out. It does not give way.
    Busy,
}

impl Stage {
    const ALL: [Self; 5] = [Self::Silent, Self::Head, Self::Answered, Self::Body, Self::Busy];

    /// Position in [`crate::metrics::EVICTED_STAGES`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::io) struct Caller {
    /// The address whose share it is part of; `None`: of none, as it is a Unix socket or a trusted proxy.
    pub network: Option<Network>,
    /// Whether the places that are kept are for it as well.
    pub near: bool,
}

impl Caller {
    /// A Unix socket, or a trusted proxy that has not said whom it speaks for.
    pub const EXEMPT: Self = Self { network: EXEMPT, near: true };
}

/// Why a newcomer gets no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::io) enum NoPlace {
    /// All are taken, by requests that are being carried out.
    Full,
    /// The same of the share of its address.
    Share,
}

/// A connection that gives way, and what it did.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::io) struct Evicted<H> {
    pub holder: H,
    pub stage: Stage,
}

/// A place that was taken, and the connection that gave way for it.
pub(in crate::io) type Taken<H> = (Key, Option<Evicted<H>>);

/// How long a connection has, and how many there may be.
#[derive(Debug, Clone, Copy)]
pub(in crate::io) struct Terms {
    /// Places, those that are kept included.
    pub max: u32,
    /// Time for a request while there is room, in microseconds.
    pub patience_us: u64,
}

impl Terms {
    fn share(self) -> u32 {
        (self.max / SHARE_PART).max(SHARE_MIN).min(self.max)
    }

    /// Places taken from which on the shares hold.
    fn crowded(self) -> u32 {
        self.max / 2
    }

    fn patience_min_us(self) -> u64 {
        (PATIENCE_MIN.as_micros() as u64).min(self.patience_us)
    }
}

struct Place<H> {
    holder: H,
    /// Slot of its address in `callers`.
    caller: u32,
    stage: Stage,
    /// Since when it is at this stage, in microseconds: of the first two, since it was accepted.
    since_us: u64,
}

struct Holders {
    network: Option<Network>,
    count: u32,
    /// The order of the first of its connections to give way.
    first: Option<u64>,
}

/// The places of one shard, each with a holder of type `H`.
pub(in crate::io) struct Places<H> {
    terms: Terms,
    places: Slab<Place<H>>,
    callers: Slab<Holders>,
    by_network: HashMap<Option<Network>, Key>,
    /// Connections that can give way: slot of the address, order by stage and age, slot of the place.
    waiting: BTreeSet<(u32, u64, u32)>,
    /// Addresses with such connections: count, the first one's order turned round, slot of the address. The last of
    /// the set gives way first. Addresses without a share are not in it.
    crowd: BTreeSet<(u32, u64, u32)>,
    /// When [`Places::late`] has something to tell, if nothing changes; `u64::MAX`: never.
    look_us: u64,
}

/// Stage and age as one number: the lower gives way first.
const fn order(stage: Stage, since_us: u64) -> u64 {
    ((stage as u64) << AGE_BITS) | (since_us & AGE_MASK)
}

const AGE_BITS: u32 = 60;
const AGE_MASK: u64 = (1 << AGE_BITS) - 1;

/// Times between looks are this long at the least, in microseconds.
const LOOK_US: u64 = 100_000;

impl<H> Places<H> {
    pub fn new(terms: Terms) -> Self {
        Self {
            terms,
            places: Slab::new(terms.max),
            callers: Slab::new(u32::MAX),
            by_network: HashMap::new(),
            waiting: BTreeSet::new(),
            crowd: BTreeSet::new(),
            look_us: u64::MAX,
        }
    }

    /// Places taken.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// The place in this slot now.
    pub fn key(&self, slot: u32) -> Option<Key> {
        self.places.key(slot)
    }

    /// The holder of this place, to change.
    pub fn holder_mut(&mut self, key: Key) -> Option<&mut H> {
        self.places.get_mut(key).map(|place| &mut place.holder)
    }

    /// Gives a newcomer a place. It may cost another connection its place, which the caller has to end.
    ///
    /// # Errors
    /// If there is none; the newcomer is given back.
    pub fn take(
        &mut self,
        now_us: u64,
        caller: Caller,
        stage: Stage,
        holder: H,
    ) -> Result<Taken<H>, (NoPlace, H)> {
        let taken = self.places.len() as u32;
        let max = self.terms.max;
        let own = self.by_network.get(&caller.network).copied();
        let over = self.is_over(caller.network);
        let open = if caller.near { max } else { max - max / KEPT_PART };
        let gives_way = if over {
            own.and_then(|own| self.first_of(own.slot))
        } else if taken >= open {
            self.first_of_all()
        } else {
            None
        };
        if gives_way.is_none() && (over || taken >= open) {
            return Err((if over { NoPlace::Share } else { NoPlace::Full }, holder));
        }
        let evicted = gives_way.and_then(|slot| self.evict(slot));
        let Some(at) = self.caller(caller.network) else { return Err((NoPlace::Full, holder)) };
        let place = Place { holder, caller: at, stage, since_us: now_us };
        let key = match self.places.insert(place) {
            Ok(key) => key,
            Err(place) => {
                self.leave(at);
                return Err((NoPlace::Full, place.holder));
            }
        };
        self.line_up(key.slot);
        Ok((key, evicted))
    }

    /// Gives a place back: its holder, unless it has given way.
    pub fn give(&mut self, key: Key) -> Option<H> {
        self.places.get(key)?;
        self.step_out(key.slot);
        let place = self.places.remove(key)?;
        self.leave(place.caller);
        Some(place.holder)
    }

    /// What a connection does now. The first two stages are counted from its acceptance on, the others from now on.
    pub fn set_stage(&mut self, now_us: u64, key: Key, stage: Stage) {
        if self.places.get(key).is_none_or(|place| place.stage == stage) {
            return;
        }
        self.step_out(key.slot);
        if let Some(place) = self.places.get_mut(key) {
            place.stage = stage;
            if stage > Stage::Head {
                place.since_us = now_us;
            }
        }
        self.line_up(key.slot);
    }

    /// The connection turns out to be another caller's. If that has more than its share by this, another of its
    /// connections gives way.
    pub fn move_to(&mut self, key: Key, network: Option<Network>) -> Option<Evicted<H>> {
        let old = self.places.get(key)?.caller;
        if self.callers.at(old).is_some_and(|holders| holders.network == network) {
            return None;
        }
        let over = self.is_over(network);
        let at = self.caller(network)?;
        self.step_out(key.slot);
        self.places.get_mut(key)?.caller = at;
        self.leave(old);
        self.line_up(key.slot);
        let first = self.first_of(at).filter(|slot| over && *slot != key.slot);
        first.and_then(|slot| self.evict(slot))
    }

    /// Whether an address may have no further place.
    fn is_over(&self, network: Option<Network>) -> bool {
        let taken = self.places.len() as u32;
        network.is_some() && taken >= self.terms.crowded() && self.count(network) >= self.terms.share()
    }

    /// Places of an address.
    fn count(&self, network: Option<Network>) -> u32 {
        let holders = self.by_network.get(&network).and_then(|key| self.callers.get(*key));
        holders.map_or(0, |holders| holders.count)
    }

    /// When [`Places::late`] has something to tell, in microseconds.
    pub fn look_us(&self) -> Option<u64> {
        (self.look_us != u64::MAX).then_some(self.look_us)
    }

    /// Some connections whose time is over, and perhaps more at once.
    pub fn late(&mut self, now_us: u64) -> Vec<Key> {
        let mut late = Vec::new();
        self.look_us = u64::MAX;
        let mut from = (0, 0, 0);
        while let Some(&(caller, order, slot)) = self.waiting.range(from..).next() {
            let stage = Stage::ALL[(order >> AGE_BITS) as usize];
            let deadline_us = self.patience_us(caller, stage).map(|patience| (order & AGE_MASK) + patience);
            match deadline_us {
                Some(deadline_us) if deadline_us <= now_us => {
                    if late.len() == LATE_MAX {
                        self.look_us = now_us;
                        break;
                    }
                    late.extend(self.places.key(slot));
                    from = (caller, order, slot + 1);
                }
                // The others of the stage have come later.
                Some(deadline_us) => {
                    self.look_us = self.look_us.min(deadline_us.next_multiple_of(LOOK_US));
                    from = (caller, self::order(stage, AGE_MASK), u32::MAX);
                }
                None => from = (caller, self::order(stage, AGE_MASK), u32::MAX),
            }
        }
        late
    }

    /// How long a caller's connection may be at a stage, in microseconds; `None`: bounded elsewhere.
    ///
    /// The time shrinks from the configured one to two seconds while the places fill from a half to the whole, for an
    /// address also while it takes more than its share. Without that, a connection that was answered has its time by
    /// hyper, which knows when its answer was read.
    fn patience_us(&self, caller: u32, stage: Stage) -> Option<u64> {
        let (terms, taken) = (self.terms, self.places.len() as u32);
        let holders = self.callers.at(caller)?;
        let part = |n: u32, from: u32, to: u32| {
            let (above, width) = (u64::from(n.saturating_sub(from)), u64::from(to.saturating_sub(from)));
            (above.min(width) << 16).checked_div(width).unwrap_or(0)
        };
        let of_all = part(taken, terms.crowded(), terms.max);
        let of_own = part(holders.count, terms.share(), terms.crowded());
        let pressure = if holders.network.is_some() { of_all.max(of_own) } else { 0 };
        let patience_us =
            terms.patience_us - (((terms.patience_us - terms.patience_min_us()) * pressure) >> 16);
        match stage {
            Stage::Silent | Stage::Head => Some(patience_us),
            Stage::Answered => (pressure > 0).then_some(patience_us),
            Stage::Body | Stage::Busy => None,
        }
    }

    /// The slot of an address, which has a place more by this; `None` if there are too many.
    fn caller(&mut self, network: Option<Network>) -> Option<u32> {
        let key = match self.by_network.get(&network) {
            Some(key) => *key,
            None => {
                let holders = Holders { network, count: 0, first: None };
                let key = self.callers.insert(holders).ok()?;
                self.by_network.insert(network, key);
                key
            }
        };
        self.recount(key.slot, |holders| holders.count += 1);
        Some(key.slot)
    }

    /// An address has a place less.
    fn leave(&mut self, caller: u32) {
        self.recount(caller, |holders| holders.count -= 1);
        let Some(key) = self.callers.key(caller) else { return };
        if self.callers.get(key).is_some_and(|holders| holders.count == 0)
            && let Some(holders) = self.callers.remove(key)
        {
            self.by_network.remove(&holders.network);
            if self.by_network.capacity() > TABLE_MIN
                && self.by_network.len() < self.by_network.capacity() / 4
            {
                self.by_network.shrink_to(2 * self.by_network.len());
            }
        }
    }

    /// A place's connection can give way from now on, if its stage lets it.
    fn line_up(&mut self, slot: u32) {
        let Some(place) = self.places.at(slot) else { return };
        let (caller, stage, order) = (place.caller, place.stage, order(place.stage, place.since_us));
        let since_us = place.since_us;
        if stage == Stage::Busy {
            return;
        }
        self.waiting.insert((caller, order, slot));
        self.refresh(caller);
        if let Some(patience_us) = self.patience_us(caller, stage) {
            let taken = self.places.len() as u32;
            let crowded = patience_us < self.terms.patience_us || taken > self.terms.crowded();
            // Those who came before have less time than they had.
            let due_us = if crowded { since_us + LOOK_US } else { since_us + patience_us };
            self.look_us = self.look_us.min(due_us.next_multiple_of(LOOK_US));
        }
    }

    /// It cannot.
    fn step_out(&mut self, slot: u32) {
        let Some(place) = self.places.at(slot) else { return };
        let (caller, order) = (place.caller, order(place.stage, place.since_us));
        if self.waiting.remove(&(caller, order, slot)) {
            self.refresh(caller);
        }
    }

    /// The first of an address's connections to give way may be another one.
    fn refresh(&mut self, caller: u32) {
        let first = self.waiting.range((caller, 0, 0)..).next().filter(|(of, ..)| *of == caller);
        let first = first.map(|(_, order, _)| *order);
        self.recount(caller, |holders| holders.first = first);
    }

    /// Changes what is known of an address, and its place in the crowd with it.
    fn recount(&mut self, caller: u32, change: impl FnOnce(&mut Holders)) {
        let Some(holders) = self.callers.at_mut(caller) else { return };
        let entry = |holders: &Holders| {
            let first = holders.first.filter(|_| holders.network.is_some());
            first.map(|first| (holders.count, !first, caller))
        };
        let before = entry(holders);
        change(holders);
        let after = entry(holders);
        if before != after {
            before.map(|before| self.crowd.remove(&before));
            self.crowd.extend(after);
        }
    }

    /// The connection of an address that gives way first.
    fn first_of(&self, caller: u32) -> Option<u32> {
        let first = self.waiting.range((caller, 0, 0)..).next();
        first.filter(|(of, ..)| *of == caller).map(|(_, _, slot)| *slot)
    }

    /// The connection of the shard that gives way first.
    fn first_of_all(&self) -> Option<u32> {
        let exempt = || self.by_network.get(&EXEMPT).map(|key| key.slot);
        let caller = self.crowd.last().map(|(_, _, caller)| *caller).or_else(exempt)?;
        self.first_of(caller)
    }

    /// Takes the connection that gives way first its place, if no request of it is under way.
    pub fn evict_idle(&mut self) -> Option<Evicted<H>> {
        let slot = self.first_idle()?;
        self.evict(slot)
    }

    /// Whether [`Places::evict_idle`] would find one.
    pub fn has_idle(&self) -> bool {
        self.first_idle().is_some()
    }

    fn first_idle(&self) -> Option<u32> {
        let slot = self.first_of_all()?;
        self.places.at(slot).filter(|place| place.stage <= Stage::Answered).map(|_| slot)
    }

    /// Takes the connection in this slot its place.
    fn evict(&mut self, slot: u32) -> Option<Evicted<H>> {
        let stage = self.places.at(slot)?.stage;
        let holder = self.give(self.places.key(slot)?)?;
        Some(Evicted { holder, stage })
    }
}

#[cfg(test)]
#[path = "places_tests.rs"]
mod tests;
