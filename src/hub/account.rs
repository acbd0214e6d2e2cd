//! What the connections of one user, or of one tenant, have together.

use super::accounts::Stripes;
use super::fair::{Fair, Share};
use crate::base::{Rate, SharedGcra};
use crate::config::AccountLimits;
use crate::model::{DropReason, Refusal};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Bits of [`Account::largest`] that name the shard.
const SHARD_BITS: u32 = 16;

/// Whose limit it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    /// That of one user of a tenant.
    User,
    /// That of one tenant.
    Tenant,
}

impl Party {
    /// How its limit of connections refuses.
    pub const fn too_many(self) -> Refusal {
        match self {
            Self::User => Refusal::UserFull,
            Self::Tenant => Refusal::TenantFull,
        }
    }

    /// How its limit of memberships refuses.
    pub const fn too_many_rooms(self) -> Refusal {
        match self {
            Self::User => Refusal::TooManyRoomsOfUser,
            Self::Tenant => Refusal::TooManyRoomsOfTenant,
        }
    }

    /// How its rate refuses.
    pub const fn too_fast(self) -> Refusal {
        match self {
            Self::User => Refusal::UserRateLimited,
            Self::Tenant => Refusal::TenantRateLimited,
        }
    }

    /// How its share of what waits refuses.
    pub const fn outbox_full(self) -> Refusal {
        match self {
            Self::User => Refusal::UserOutboxFull,
            Self::Tenant => Refusal::TenantOutboxFull,
        }
    }

    /// Why frames are lost when its share of what waits is spent.
    pub const fn share_spent(self) -> DropReason {
        match self {
            Self::User => DropReason::UserOutboxes,
            Self::Tenant => DropReason::TenantOutboxes,
        }
    }
}

/// The name of an account: a tenant, or a user of one (or of none). So the same user of two tenants is two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct AccountName<'a> {
    pub tenant: Option<&'a str>,
    /// `None`: the tenant itself.
    pub user: Option<&'a str>,
}

/// The counts of one user or one tenant, on all shards together. It lives as long as there is a connection of it.
///
/// All are exact: what is taken is checked and counted in one step.
#[derive(Debug)]
pub struct Account {
    tenant: Option<Box<str>>,
    user: Option<Box<str>>,
    pub(super) hash: u64,
    /// Written under the lock of its stripe alone.
    pub(super) connections: AtomicU32,
    memberships: AtomicU32,
    messages: SharedGcra,
    /// Of a tenant: how its rate is divided.
    fair: Option<Box<Fair>>,
    outbox_bytes: AtomicUsize,
    /// The largest backlog that was seen and not claimed since, and its shard: a hint.
    largest: AtomicU64,
    /// Requests under way that the largest backlog give way.
    giving_way: AtomicU32,
    pub(super) home: Arc<Stripes>,
}

impl Account {
    pub(super) fn new(name: AccountName<'_>, hash: u64, home: Arc<Stripes>) -> Self {
        Self {
            tenant: name.tenant.map(Box::from),
            user: name.user.map(Box::from),
            hash,
            connections: AtomicU32::new(0),
            memberships: AtomicU32::new(0),
            messages: SharedGcra::default(),
            fair: name.user.is_none().then(Box::default),
            outbox_bytes: AtomicUsize::new(0),
            largest: AtomicU64::new(0),
            giving_way: AtomicU32::new(0),
            home,
        }
    }

    pub(super) fn name(&self) -> AccountName<'_> {
        AccountName { tenant: self.tenant.as_deref(), user: self.user.as_deref() }
    }

    /// Connections that are counted.
    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Memberships that are counted.
    pub fn memberships(&self) -> u32 {
        self.memberships.load(Ordering::Relaxed)
    }

    /// Bytes that wait for its connections.
    pub fn outbox_bytes(&self) -> usize {
        self.outbox_bytes.load(Ordering::Relaxed)
    }

    /// Counts one membership more, unless there are `max` already (0: no limit).
    pub(super) fn join(&self, max: u32) -> bool {
        let more = |count: u32| (max == 0 || count < max).then_some(count.saturating_add(1));
        self.memberships.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Counts `count` memberships more, unless that would pass `max` (0: no limit).
    pub(super) fn join_all(&self, count: u32, max: u32) -> bool {
        let more = |held: u32| held.checked_add(count).filter(|sum| max == 0 || *sum <= max);
        self.memberships.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Counts memberships that there are whatever the limit.
    pub(super) fn joined(&self, count: u32) {
        self.memberships.fetch_add(count, Ordering::Relaxed);
    }

    /// Gives memberships back.
    pub(super) fn left(&self, count: u32) {
        self.memberships.fetch_sub(count, Ordering::Relaxed);
    }

    /// Whether one message more may pass; see [`SharedGcra::check_since`] for the times.
    pub(super) fn may_send(&self, limits: &AccountLimits, now_ns: u64, since_ns: u64) -> bool {
        self.messages.check_since(&rate(limits), 1, now_ns, since_ns)
    }

    /// A connection of a tenant has gone, with its share of the tenant's rate.
    pub(super) fn give_back(&self, share: &Share) {
        if let Some(fair) = &self.fair {
            fair.leave(share);
        }
    }

    /// The same of a tenant, one of whose connections has this share; see [`super::fair`].
    pub(super) fn may_send_of(
        &self,
        share: &Share,
        limits: &AccountLimits,
        now_ns: u64,
        since_ns: u64,
    ) -> bool {
        let rate = rate(limits);
        if self.fair.as_ref().is_some_and(|fair| fair.has_share(share, rate.per_s, now_ns)) {
            self.messages.overdraw_since(&rate, 1, now_ns, since_ns);
            return true;
        }
        self.messages.check_overdrawn_since(&rate, 1, now_ns, since_ns)
    }

    /// Takes `bytes` unless that would pass `max` (0: no limit).
    pub fn take(&self, bytes: usize, max: usize) -> bool {
        let more = |held: usize| held.checked_add(bytes).filter(|sum| max == 0 || *sum <= max);
        self.outbox_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Takes `bytes` whatever the limit: what has begun, and close frames.
    pub fn force(&self, bytes: usize) {
        self.outbox_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Gives `bytes` back.
    pub fn give(&self, bytes: usize) {
        self.outbox_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Notes that a backlog of that many bytes is on `shard`.
    pub fn note_backlog(&self, shard: usize, bytes: usize) {
        self.largest.fetch_max((bytes as u64) << SHARD_BITS | shard as u64, Ordering::Relaxed);
    }

    /// The shard other than `own` with the largest backlog that was noted, if that is larger than `larger_than` bytes.
    /// Each note is had once: whoever gets it asks that shard to have the backlog give way, which says when it
    /// [has](Account::gave_way). One of `own` is forgotten, for `own` knows better.
    pub fn claim_largest(&self, own: usize, larger_than: usize) -> Option<usize> {
        let noted = self.largest.load(Ordering::Relaxed);
        let (bytes, shard) = (noted >> SHARD_BITS, (noted & ((1 << SHARD_BITS) - 1)) as usize);
        if shard != own && bytes <= larger_than as u64 {
            return None;
        }
        // Before the note is gone, so that whoever finds none sees that somebody has it.
        self.giving_way.fetch_add(1, Ordering::SeqCst);
        let claimed = self.largest.compare_exchange(noted, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if claimed && shard != own {
            return Some(shard);
        }
        self.gave_way();
        None
    }

    /// Whether a backlog has been asked to give way and has not been heard of since.
    pub fn gives_way(&self) -> bool {
        self.giving_way.load(Ordering::SeqCst) > 0
    }

    /// What was claimed has given way, or need not.
    pub fn gave_way(&self) {
        self.giving_way.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The rate of messages of limits; a burst of 0 stands for one second's worth.
fn rate(limits: &AccountLimits) -> Rate {
    let burst = if limits.messages_burst == 0 { limits.messages_per_s } else { limits.messages_burst };
    Rate { per_s: limits.messages_per_s, burst }
}
