use super::history::{History, Stored};
use super::shares::{Owner, Share, Shares};
use super::turnstile::Turnstile;
use crate::base::{Mutation, mutated};
use crate::config::RoomPolicy;
use crate::model::{Epoch, Position, Publication};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a tenant may have of the bound of all unless it is configured: one part in so many.
const TENANT_SHARE: usize = 4;

/// Which bound is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spent {
    /// That of the owner of a history.
    Share,
    /// That of all histories.
    Node,
}

/// What a place that a broker gives means to a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The history begins there.
    Begun,
    /// The history has come as far.
    Known,
    /// The history has not come as far.
    Behind { after: Position },
}

/// Bytes of all histories of the node against their bound, and how many rooms have one.
#[derive(Debug)]
pub(super) struct Ledger {
    bytes: AtomicUsize,
    bytes_max: AtomicUsize,
    /// What a tenant may have of them; 0: a quarter.
    tenant_bytes_max: AtomicUsize,
    pub shares: Shares,
    rooms: AtomicUsize,
    evictions: AtomicU64,
    share_evictions: AtomicU64,
    /// The latest time that anybody told, in ms of the node's clock: what is not given the time goes by this.
    now_ms: AtomicU64,
}

impl Ledger {
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes: AtomicUsize::new(0),
            bytes_max: AtomicUsize::new(bytes_max),
            tenant_bytes_max: AtomicUsize::new(0),
            shares: Shares::default(),
            rooms: AtomicUsize::new(0),
            evictions: AtomicU64::new(0),
            share_evictions: AtomicU64::new(0),
            now_ms: AtomicU64::new(0),
        }
    }

    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub fn rooms(&self) -> usize {
        self.rooms.load(Ordering::Relaxed)
    }

    pub fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }

    pub fn share_evictions(&self) -> u64 {
        self.share_evictions.load(Ordering::Relaxed)
    }

    /// A history was emptied, because of the bound of its owner or of all.
    pub fn count_eviction(&self, spent: Spent) {
        let count = match spent {
            Spent::Share => &self.share_evictions,
            Spent::Node => &self.evictions,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets the bounds on all and on what a tenant has of them; 0 for the latter is a quarter.
    pub fn set_bytes_max(&self, bytes_max: usize, tenant_bytes_max: usize) {
        self.bytes_max.store(bytes_max, Ordering::Relaxed);
        self.tenant_bytes_max.store(tenant_bytes_max, Ordering::Relaxed);
    }

    pub fn bytes_max(&self) -> usize {
        self.bytes_max.load(Ordering::Relaxed)
    }

    pub fn is_over(&self) -> bool {
        self.bytes() > self.bytes_max()
    }

    /// What an owner may have, whatever others have.
    fn share_max(&self, owner: &Owner) -> usize {
        match (owner, self.tenant_bytes_max.load(Ordering::Relaxed)) {
            (Owner::Clients | Owner::Server, _) => usize::MAX,
            (Owner::Tenant(_), 0) => self.bytes_max() / TENANT_SHARE,
            (Owner::Tenant(_), max) => max,
        }
    }

    /// Takes `bytes` unless that would pass the bound of the owner or of all.
    fn take(&self, share: &Share, bytes: usize) -> Result<(), Spent> {
        if !share.take(bytes, self.share_max(&share.owner)) {
            return Err(Spent::Share);
        }
        let bytes_max = self.bytes_max();
        let more = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= bytes_max);
        let taken = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.map(drop).map_err(|_| {
            share.give(bytes);
            Spent::Node
        })
    }

    /// Takes `bytes` whatever the bound; the caller then makes room.
    fn force(&self, share: &Share, bytes: usize) {
        share.force(bytes);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn give(&self, share: &Share, bytes: usize) {
        share.give(bytes);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    pub fn tell_ms(&self, now_ms: u64) {
        self.now_ms.fetch_max(now_ms, Ordering::Relaxed);
    }
}

/// The memory of one room: its history under a lock. A publication is numbered under the lock, encoded without it, and
/// put into the mailboxes of all shards in the order of the numbers, so that all members see one order.
#[derive(Debug)]
pub struct RoomLog {
    state: Mutex<State>,
    /// Through it go the publications to the mailboxes, by their offsets.
    turnstile: Turnstile,
    /// Whether clients are told of offsets; not where only the last value is kept.
    has_offsets: bool,
    /// When anybody last used it, in ms of the node's clock.
    used_ms: AtomicU64,
    /// Whether something is kept.
    is_filled: AtomicBool,
    /// Whether it is among those that are swept and, when the node's bound is spent, emptied.
    pub(super) is_listed: AtomicBool,
    ledger: Arc<Ledger>,
}

#[derive(Debug)]
struct State {
    history: History,
    /// Publications that had their turn: see [`LogGuard::ticket`].
    tickets: u64,
    /// Whether it is known how far the room's order has come: not if a broker keeps that and has not told.
    is_placed: bool,
    /// To whose share it is charged.
    share: Arc<Share>,
    /// Whether that is the room's own by its name, and no publisher's.
    is_named: bool,
    /// What is charged because the room is kept without members, in bytes.
    kept_bytes: usize,
    /// The directory does not have the room any more: what is published here, nobody would ever see.
    is_forgotten: bool,
}

impl RoomLog {
    /// The log that a policy asks for, if it does, of a room whose name tells a tenant, if it does.
    pub(super) fn new(
        policy: &RoomPolicy,
        epoch: Epoch,
        tenant: Option<&str>,
        ledger: &Arc<Ledger>,
    ) -> Option<Box<Self>> {
        if policy.history.is_none() && !policy.last_value {
            return None;
        }
        ledger.rooms.fetch_add(1, Ordering::Relaxed);
        let owner = tenant.map_or(Owner::Clients, |tenant| Owner::Tenant(tenant.into()));
        let state = State {
            history: History::new(policy, epoch),
            tickets: 0,
            is_placed: true,
            share: ledger.shares.of(owner),
            is_named: tenant.is_some(),
            kept_bytes: 0,
            is_forgotten: false,
        };
        Some(Box::new(Self {
            state: Mutex::new(state),
            turnstile: Turnstile::default(),
            has_offsets: policy.history.is_some(),
            used_ms: AtomicU64::new(ledger.now_ms()),
            is_filled: AtomicBool::new(false),
            is_listed: AtomicBool::new(false),
            ledger: ledger.clone(),
        }))
    }

    /// Whether clients are told of epoch and offsets.
    pub fn has_offsets(&self) -> bool {
        self.has_offsets
    }

    /// Locks the history for someone who uses it now, and drops what is too old. `None` if the directory has
    /// forgotten the room: ask it again.
    pub fn lock(&self, now_ms: u64) -> Option<LogGuard<'_>> {
        self.ledger.tell_ms(now_ms);
        let mut guard = self.hold();
        if guard.state.is_forgotten {
            return None;
        }
        self.used_ms.fetch_max(now_ms, Ordering::Relaxed);
        guard.trim(now_ms);
        Some(guard)
    }

    /// Locks the history for someone who only looks after it.
    pub(super) fn hold(&self) -> LogGuard<'_> {
        // A shard that panics ends the process, so a poisoned lock is never read on.
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = state.history.bytes();
        LogGuard { state, log: self, taken }
    }

    /// Has `post` put the publication of that ticket into the mailboxes as soon as those before it are there. Returns
    /// whether that is left for another shard. Every ticket that [`Directory::append`](super::Directory::append) draws
    /// must come here once, without the history's lock.
    pub fn post_in_order(&self, ticket: u64, post: impl FnOnce() + Send + 'static) -> bool {
        self.turnstile.enter(ticket, post)
    }

    /// It is used now.
    pub(super) fn touch(&self) {
        self.used_ms.fetch_max(self.ledger.now_ms(), Ordering::Relaxed);
    }

    pub(super) fn used_ms(&self) -> u64 {
        self.used_ms.load(Ordering::Relaxed)
    }

    /// What orders logs when the node's bound is spent, least first: those that keep nothing before those that do, or
    /// anyone could flush the node by joining rooms that nobody knows; then those used longest ago.
    pub(super) fn use_key(&self) -> u64 {
        u64::from(self.is_filled.load(Ordering::Relaxed)) << 63 | self.used_ms()
    }
}

impl Drop for RoomLog {
    fn drop(&mut self) {
        self.ledger.rooms.fetch_sub(1, Ordering::Relaxed);
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.ledger.give(&state.share, state.history.bytes() + state.kept_bytes);
    }
}

/// A locked history. Gives back to the node's bound what the history no longer holds when it is dropped.
#[derive(Debug)]
pub struct LogGuard<'a> {
    state: MutexGuard<'a, State>,
    log: &'a RoomLog,
    /// Bytes taken out of the node's bound for this history.
    taken: usize,
}

impl LogGuard<'_> {
    /// Gives a publication the next offset and keeps it, if it may be kept.
    ///
    /// # Errors
    /// Which bound is spent, even after this history has dropped all that must go for it.
    pub(super) fn try_append(&mut self, publication: &Publication<'_>, now_ms: u64) -> Result<u64, Spent> {
        let charge = Stored::charge_of(publication);
        if self.state.history.keeps(charge) {
            self.state.history.make_way(charge, now_ms);
            self.give_back();
            self.log.ledger.take(&self.state.share, charge)?;
            self.taken += charge;
        }
        self.state.tickets += 1;
        Ok(self.state.history.append(publication, now_ms))
    }

    /// Gives the next offset to a publication that is not kept.
    pub(super) fn pass(&mut self) -> u64 {
        self.state.tickets += 1;
        self.state.history.pass()
    }

    /// The turn of the latest publication at the mailboxes of this node: from 1 on without gaps. Apart from its offset,
    /// which is the number that clients are told: that one may be given by another node, and begins anew with an epoch.
    pub fn ticket(&self) -> u64 {
        self.state.tickets
    }

    /// Whether it is known how far the room's order has come.
    pub fn is_placed(&self) -> bool {
        self.state.is_placed
    }

    /// It is not known any more how far the room's order has come.
    pub(super) fn unplace(&mut self) {
        self.state.is_placed = false;
    }

    /// A broker says that the order stands at a place.
    pub(super) fn stand(&mut self, at: Position) -> Standing {
        let own = self.state.history.position();
        if own.epoch == at.epoch && (self.state.is_placed || own == at) {
            self.state.is_placed = true;
            let is_behind = own.offset < at.offset && !mutated(Mutation::SkipJump);
            return if is_behind { Standing::Behind { after: own } } else { Standing::Known };
        }
        if self.state.is_placed {
            return Standing::Behind { after: own };
        }
        self.state.is_placed = true;
        self.state.history.begin_at(at);
        Standing::Begun
    }

    /// All up to a place that a broker gives is gone. Returns how many publications that are at least, 0 if they are known
    /// here; the loss of some has its turn at the mailboxes as a publication has.
    pub fn lose(&mut self, through: Position) -> u64 {
        let own = self.state.history.position();
        let since = if own.epoch == through.epoch { own.offset } else { 0 };
        let lost = if self.state.is_placed { through.offset.saturating_sub(since) } else { 0 };
        if lost > 0 || !self.state.is_placed || own.epoch != through.epoch {
            self.state.history.begin_at(through);
            self.state.is_placed = true;
        }
        self.state.tickets += u64::from(lost > 0);
        lost
    }

    /// Has what this history will keep charged to the owner of a publication, if it keeps nothing and the room's name
    /// tells no owner.
    pub(super) fn charge_to(&mut self, owner: impl FnOnce() -> Owner) {
        if self.state.is_named || !self.state.history.is_empty() {
            return;
        }
        let owner = owner();
        if self.state.share.owner == owner {
            return;
        }
        self.give_back();
        let (ledger, kept_bytes) = (&self.log.ledger, self.state.kept_bytes);
        let share = ledger.shares.of(owner);
        ledger.force(&share, kept_bytes);
        let before = std::mem::replace(&mut self.state.share, share);
        ledger.give(&before, kept_bytes);
        // It is looked after among what its former owner has.
        self.log.is_listed.store(false, Ordering::Relaxed);
    }

    /// To whose share it is charged.
    pub(super) fn share(&self) -> &Arc<Share> {
        &self.state.share
    }

    /// Charges `bytes` for the room because it is kept without members, or gives that back.
    pub(super) fn set_kept(&mut self, bytes: usize) {
        let before = std::mem::replace(&mut self.state.kept_bytes, bytes);
        self.log.ledger.force(&self.state.share, bytes);
        self.log.ledger.give(&self.state.share, before);
    }

    /// Counts what has been read of the fields of publications, whatever the bound; the caller then makes room.
    pub(super) fn count_fields(&mut self, page: &[(u64, Arc<Stored>)]) {
        let added = self.state.history.count_fields(page);
        self.log.ledger.force(&self.state.share, added);
        self.taken += added;
        self.give_back();
    }

    /// Gives back to the node's bound what the history no longer holds.
    fn give_back(&mut self) {
        let held = self.state.history.bytes();
        self.log.ledger.give(&self.state.share, self.taken - held);
        self.taken = held;
    }

    /// Whether the directory does not have the room any more.
    pub(super) fn is_forgotten(&self) -> bool {
        self.state.is_forgotten
    }

    /// Marks the room as no longer in the directory, and empties it.
    pub(super) fn forget(&mut self) {
        self.state.is_forgotten = true;
        self.state.history.clear();
    }
}

impl Deref for LogGuard<'_> {
    type Target = History;

    fn deref(&self) -> &History {
        &self.state.history
    }
}

/// For what makes a history smaller; `LogGuard::try_append` is the only way to make it larger.
impl DerefMut for LogGuard<'_> {
    fn deref_mut(&mut self) -> &mut History {
        &mut self.state.history
    }
}

impl Drop for LogGuard<'_> {
    fn drop(&mut self) {
        self.log.is_filled.store(!self.state.history.is_empty(), Ordering::Relaxed);
        self.give_back();
    }
}
