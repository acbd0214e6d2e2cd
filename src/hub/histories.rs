//! How long rooms are remembered, and what goes when the node's bound on all histories is spent.
//!
//! A room that remembers outlives its last member by the age that its history may have. Those rooms, and all whose
//! history holds something, are listed by when they were last used and by when something of them becomes too old.
//!
//! Locks are taken in this order: a stripe of the directory, then a room's log. The list's lock is taken alone.

use super::directory::{Directory, RoomShared};
use super::history::Stored;
use super::room_log::{LogGuard, RoomLog, Spent, Standing};
use super::shares::{Owner, Share};
use crate::base::{Mutation, mutated};
use crate::model::{Position, Publication};
use hashbrown::HashMap;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a room without members is charged for being remembered, in bytes: its entries in the directory and in the
/// list, its name, its log, a word for each shard.
pub(super) const KEPT_BYTES: usize = 1024;

/// Shortest time between two looks at the age of one room's history, in ms.
const LOOK_MS: u64 = 1000;

/// Share of the age that publications may have by which they may be too late in going. Reads do not see those.
const LATE_SHARE: u64 = 8;

/// Rooms looked at in one sweep, so that it holds up its shard for no longer than other work does.
const SWEEP_MAX: usize = 256;

/// Time from one sweep to the next, in ms.
const SWEEP_MS: u64 = 1000;

/// The same where the last one left something to do.
const SWEEP_AGAIN_MS: u64 = 10;

/// The rooms that are looked after.
#[derive(Debug, Default)]
pub(super) struct Histories(Mutex<List>);

/// Entries are put right when they come up: a room that was used since is only later than its entry says.
#[derive(Debug, Default)]
struct List {
    rooms: HashMap<u64, Entry>,
    /// By the id of the share that they are charged to, then by [`RoomLog::use_key`], then id.
    by_use: BTreeSet<(u64, u64, u64)>,
    /// By the time of the next look, then id. Not here is who has nothing that can become too old.
    by_due: BTreeSet<(u64, u64)>,
}

#[derive(Debug)]
struct Entry {
    room: Arc<RoomShared>,
    /// Id of the share.
    share: u64,
    use_key: u64,
    due_ms: Option<u64>,
}

impl Histories {
    fn lock(&self) -> MutexGuard<'_, List> {
        // A shard that panics ends the process, so a poisoned lock is never read on.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl List {
    fn add(&mut self, room: Arc<RoomShared>, share: u64, use_key: u64, due_ms: Option<u64>) {
        let id = room.id;
        // It may be listed under the share of a former owner.
        self.remove(id);
        self.by_use.insert((share, use_key, id));
        self.rooms.insert(id, Entry { room, share, use_key, due_ms: None });
        self.set_due(id, due_ms);
    }

    fn set_due(&mut self, id: u64, due_ms: Option<u64>) {
        let Some(entry) = self.rooms.get_mut(&id) else { return };
        if let Some(before_ms) = std::mem::replace(&mut entry.due_ms, due_ms) {
            self.by_due.remove(&(before_ms, id));
        }
        self.by_due.extend(due_ms.map(|due_ms| (due_ms, id)));
    }

    fn remove(&mut self, id: u64) -> Option<Arc<RoomShared>> {
        let entry = self.rooms.remove(&id)?;
        self.by_use.remove(&(entry.share, entry.use_key, id));
        if let Some(due_ms) = entry.due_ms {
            self.by_due.remove(&(due_ms, id));
        }
        Some(entry.room)
    }

    /// Takes out the room of a share that goes first when the bound is spent.
    fn pop_oldest(&mut self, share: u64) -> Option<Arc<RoomShared>> {
        loop {
            let (_, use_key, id) = *self.by_use.range((share, 0, 0)..(share + 1, 0, 0)).next()?;
            let entry = self.rooms.get_mut(&id)?;
            let now_key = entry.room.log.as_ref().map_or(0, |log| log.use_key());
            if now_key <= use_key {
                return self.remove(id);
            }
            entry.use_key = now_key;
            self.by_use.remove(&(share, use_key, id));
            self.by_use.insert((share, now_key, id));
        }
    }

    /// Takes out some room.
    fn pop_any(&mut self) -> Option<Arc<RoomShared>> {
        let (.., id) = *self.by_use.first()?;
        self.remove(id)
    }

    /// Up to `limit` rooms whose look is due.
    fn due(&self, now_ms: u64, limit: usize) -> Vec<Arc<RoomShared>> {
        let due = self.by_due.iter().take_while(|(due_ms, _)| *due_ms <= now_ms).take(limit);
        due.filter_map(|(_, id)| self.rooms.get(id)).map(|entry| entry.room.clone()).collect()
    }
}

/// What became of a publication whose place a broker has given.
#[derive(Debug)]
pub enum Placed<'l> {
    /// It is the next one. The order stands still for as long as the guard is held.
    Next(LogGuard<'l>),
    /// It was placed before.
    Again,
    /// Others between `after` and it are missing: it is not kept.
    Missing {
        /// The place of the last that is not missing.
        after: Position,
    },
    /// The directory has forgotten the room.
    Forgotten,
}

impl Directory {
    /// Whether a rule asks for rooms that remember.
    pub fn remembers(&self) -> bool {
        self.remembers
    }

    /// Bytes that all histories hold, against the bound.
    pub fn history_bytes(&self) -> usize {
        self.ledger.bytes()
    }

    /// Rooms with a history, those without members included.
    pub fn history_rooms(&self) -> usize {
        self.ledger.rooms()
    }

    /// Histories emptied or forgotten because the bound was spent.
    pub fn history_evictions(&self) -> u64 {
        self.ledger.evictions()
    }

    /// Histories emptied or forgotten because the share of their tenant was spent.
    pub fn history_share_evictions(&self) -> u64 {
        self.ledger.share_evictions()
    }

    /// Sets the bounds on the bytes of all histories, and on those that are charged to one tenant; 0 for the latter is
    /// a quarter of the former.
    pub fn set_history_bytes_max(&self, bytes_max: usize, tenant_bytes_max: usize) {
        self.ledger.set_bytes_max(bytes_max, tenant_bytes_max);
        self.make_room();
    }

    /// The room of that name, made if need be, to publish something to it that it will remember. `None` if there is no
    /// such room and one of that name would remember nothing.
    pub fn get_or_remember(&self, name: &str) -> Option<Arc<RoomShared>> {
        if let Some(room) = self.get(name) {
            return Some(room);
        }
        if !self.remembers || !self.policy(name).remembers() {
            return None;
        }
        let room = self.keep(name);
        self.make_room();
        Some(room)
    }

    /// Gives a publication to a room that remembers the next offset of its order, and keeps it, at the cost of others
    /// if a bound is spent (see `shares`), those used longest ago first; without keeping it if it is too large for
    /// that. `tenant` tells that of the publisher; it is asked only if the room may be charged to it. The order stands
    /// still for as long as the guard is held. `None` if the directory has forgotten the room: ask it again. Not to be
    /// called with a log locked.
    pub fn append<'l, 't>(
        &self,
        log: &'l RoomLog,
        publication: &Publication<'_>,
        tenant: impl Fn() -> Option<&'t str>,
        now_ms: u64,
    ) -> Option<(LogGuard<'l>, u64)> {
        loop {
            let mut guard = log.lock(now_ms)?;
            guard.charge_to(|| match (publication.sender, tenant()) {
                (Some(_), Some(tenant)) => Owner::Tenant(tenant.into()),
                (Some(_), None) => Owner::Clients,
                (None, _) => Owner::Server,
            });
            let spent = match guard.try_append(publication, now_ms) {
                Ok(offset) => return Some((guard, offset)),
                Err(spent) => spent,
            };
            let share = guard.share().clone();
            drop(guard);
            if !self.evict_for(&share, spent) {
                let mut guard = log.lock(now_ms)?;
                let offset = guard.pass();
                return Some((guard, offset));
            }
        }
    }

    /// Keeps a publication at the place in a room's order that a broker has given it. `tenant` as in [`Directory::append`].
    /// The places of one room must come here one after the other.
    pub fn place<'l, 't>(
        &self,
        log: &'l RoomLog,
        publication: &Publication<'_>,
        tenant: impl Fn() -> Option<&'t str>,
        position: Position,
        now_ms: u64,
    ) -> Placed<'l> {
        let before = Position { offset: position.offset.saturating_sub(1), ..position };
        {
            let Some(mut guard) = log.lock(now_ms) else { return Placed::Forgotten };
            if guard.is_placed() && guard.position().epoch == position.epoch {
                let last = guard.position().offset;
                if position.offset <= last {
                    return Placed::Again;
                }
                if mutated(Mutation::SkipJump) && before.offset > last {
                    guard.begin_at(before);
                }
            }
            if let Standing::Behind { after } = guard.stand(before) {
                return Placed::Missing { after };
            }
        }
        match self.append(log, publication, tenant, now_ms) {
            Some((guard, offset)) => {
                debug_assert_eq!(offset, position.offset, "one shard places a room's publications");
                Placed::Next(guard)
            }
            None => Placed::Forgotten,
        }
    }

    /// A broker says that a room's order has come to a place. Returns after which one publications are missing here, if
    /// some are.
    pub fn stands(&self, log: &RoomLog, position: Position, now_ms: u64) -> Option<Position> {
        match log.lock(now_ms)?.stand(position) {
            Standing::Behind { after } => Some(after),
            Standing::Begun | Standing::Known => None,
        }
    }

    /// Has the fields that were read of publications of a room count in what its history is charged, at the cost of the
    /// rooms used longest ago if the bound is spent. Not to be called with a log locked.
    pub fn count_fields(&self, log: &RoomLog, page: &[(u64, Arc<Stored>)]) {
        log.hold().count_fields(page);
        self.make_room();
    }

    /// Sees to it that a room which remembers something is looked after. Not to be called with a log locked.
    pub fn look_after(&self, room: &Arc<RoomShared>) {
        let Some(log) = &room.log else { return };
        if log.is_listed.load(Ordering::Relaxed) || log.is_listed.swap(true, Ordering::Relaxed) {
            return;
        }
        let (use_key, due_ms) = (log.use_key(), self.next_look_ms(log, self.ledger.now_ms()));
        let share = log.hold().share().id;
        self.histories.lock().add(room.clone(), share, use_key, due_ms);
        // Whoever forgot it meanwhile may have found nothing to take off the list.
        if log.hold().is_forgotten() {
            self.unlist(room);
        }
    }

    /// Drops what has become too old, and forgets rooms without members that nobody has used for as long. Returns when
    /// to come again, in ms of the node's clock.
    pub fn sweep(&self, now_ms: u64) -> u64 {
        self.ledger.tell_ms(now_ms);
        let due = self.histories.lock().due(now_ms, SWEEP_MAX);
        let all = due.len() < SWEEP_MAX;
        for room in due {
            let Some(log) = &room.log else { continue };
            let gone = {
                let mut stripe = self.stripe(room.name.as_str());
                let mut guard = log.hold();
                guard.trim(now_ms);
                let over = guard.age_max_ms().is_some_and(|age_ms| now_ms >= log.used_ms() + age_ms);
                let held = stripe.get(room.name.as_str()).filter(|held| held.room.id == room.id);
                let is_alone = held.is_some_and(|held| held.shards == 0);
                let is_gone = held.is_none();
                if is_alone && over {
                    self.drop_kept(&mut stripe, &room, &mut guard);
                }
                is_gone || (is_alone && over)
            };
            let due_ms = self.next_look_ms(log, now_ms);
            let mut list = self.histories.lock();
            if gone {
                list.remove(room.id);
            } else {
                list.set_due(room.id, due_ms);
            }
        }
        now_ms + if all { SWEEP_MS } else { SWEEP_AGAIN_MS }
    }

    /// A room is no longer in the directory.
    pub(super) fn unlist(&self, room: &RoomShared) {
        self.histories.lock().remove(room.id);
    }

    /// Forgets the rooms used longest ago until the bound holds.
    pub(super) fn make_room(&self) {
        while self.ledger.is_over() && self.evict_largest() {}
    }

    /// Makes place for a history of an owner that found a bound spent; `false` if nobody has anything to give.
    fn evict_for(&self, share: &Share, spent: Spent) -> bool {
        let is_over = || share.bytes() > self.ledger.shares.fair_part(self.ledger.bytes_max());
        match spent {
            Spent::Share => self.evict_oldest_of(share, spent),
            Spent::Node => (is_over() && self.evict_oldest_of(share, spent)) || self.evict_largest(),
        }
    }

    /// Empties a history of the owner that has most; `false` if none is listed.
    fn evict_largest(&self) -> bool {
        let largest = self.ledger.shares.largest();
        if largest.is_some_and(|share| self.evict_oldest_of(&share, Spent::Node)) {
            return true;
        }
        // What the largest has is being changed by others.
        let any = self.histories.lock().pop_any();
        any.is_some_and(|room| {
            self.evict(&room, Spent::Node);
            true
        })
    }

    /// Empties the history of an owner that was used longest ago; `false` if there is none.
    fn evict_oldest_of(&self, share: &Share, spent: Spent) -> bool {
        let Some(oldest) = self.histories.lock().pop_oldest(share.id) else { return false };
        self.evict(&oldest, spent);
        true
    }

    /// Empties the history of a room that has just been taken off the list; forgets the room if it has no members.
    fn evict(&self, room: &RoomShared, spent: Spent) {
        let Some(log) = &room.log else { return };
        self.ledger.count_eviction(spent);
        let mut stripe = self.stripe(room.name.as_str());
        let mut guard = log.hold();
        // Before it is emptied: whoever publishes to it after that, under the same lock, lists it anew.
        log.is_listed.store(false, Ordering::Relaxed);
        if stripe.get(room.name.as_str()).is_some_and(|held| held.shards == 0 && held.room.id == room.id) {
            self.drop_kept(&mut stripe, room, &mut guard);
        } else {
            guard.clear();
        }
    }

    /// Empties what a room remembers. One without members is gone with that, so that its name begins a new order; the
    /// order of one with members goes on. Not to be called with a log locked.
    pub fn empty(&self, name: &str) {
        let mut stripe = self.stripe(name);
        let Some(held) = stripe.get(name) else { return };
        let (room, is_alone) = (held.room.clone(), held.shards == 0);
        let Some(log) = &room.log else { return };
        let mut guard = log.hold();
        if !is_alone {
            return guard.clear();
        }
        self.drop_kept(&mut stripe, &room, &mut guard);
        drop(guard);
        drop(stripe);
        self.unlist(&room);
    }

    /// When the room is to be looked at next: not at each publication's very end, so that a busy room costs no more
    /// than a quiet one.
    fn next_look_ms(&self, log: &RoomLog, now_ms: u64) -> Option<u64> {
        let guard = log.hold();
        let age_ms = guard.age_max_ms()?;
        let due_ms = guard.due_ms().unwrap_or(now_ms.saturating_add(age_ms));
        Some(due_ms.max(now_ms.saturating_add(LOOK_MS.max(age_ms / LATE_SHARE))))
    }
}

#[cfg(test)]
#[path = "histories_tests.rs"]
mod tests;
