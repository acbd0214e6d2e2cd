//! What each tenant has of the bytes of all histories, and whose histories go when these are spent.
//!
//! A history is charged to one owner: the tenant that its room's name tells, where the rule has a capture; else the
//! tenant of the client whose publication was the first in it; else the clients without a tenant together, or what the
//! backend and the program publish. A tenant has at most `history_bytes_per_tenant_max`. When the bound of all is spent
//! an owner that has more than its fair part (the bound divided by the owners) pays with its own histories; for one that
//! has less the owner that has most does. So nobody who publishes more takes anything from those who have less.

use hashbrown::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Share of what the second largest owner has by which the largest is emptied below it before owners are compared
/// again: one in so many. Comparing looks at all owners.
const SLACK_SHARE: usize = 16;

/// Who a history is charged to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    /// A tenant.
    Tenant(Box<str>),
    /// Clients without a tenant, together; and rooms that keep nothing.
    Clients,
    /// The backend and the program around the server.
    Server,
}

/// What the histories of one owner hold.
#[derive(Debug)]
pub(super) struct Share {
    pub id: u64,
    pub owner: Owner,
    bytes: AtomicUsize,
}

impl Share {
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Takes `bytes` unless that would pass `max`.
    pub fn take(&self, bytes: usize, max: usize) -> bool {
        let more = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= max);
        self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    pub fn force(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn give(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The shares of all owners with a history. Its lock is taken last.
#[derive(Debug, Default)]
pub(super) struct Shares(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    shares: HashMap<Owner, Arc<Share>>,
    next_id: u64,
    /// The owner that was found to have most, and down to how many bytes it pays.
    paying: Option<(Arc<Share>, usize)>,
}

impl Shares {
    fn lock(&self) -> MutexGuard<'_, Table> {
        // A shard that panics ends the process, so a poisoned lock is never read on.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The share of an owner, made if need be.
    pub fn of(&self, owner: Owner) -> Arc<Share> {
        let table = &mut *self.lock();
        if let Some(share) = table.shares.get(&owner) {
            return share.clone();
        }
        table.forget_idle();
        table.next_id += 1;
        let share = Arc::new(Share { id: table.next_id, owner: owner.clone(), bytes: AtomicUsize::new(0) });
        table.shares.insert(owner, share.clone());
        share
    }

    /// What each owner may have when `bytes_max` are divided among those that have something.
    pub fn fair_part(&self, bytes_max: usize) -> usize {
        bytes_max / self.lock().shares.len().max(1)
    }

    /// The owner that has most.
    pub fn largest(&self) -> Option<Arc<Share>> {
        let table = &mut *self.lock();
        if let Some((share, least)) = &table.paying
            && share.bytes() > *least
        {
            return Some(share.clone());
        }
        table.forget_idle();
        let (mut first, mut second) = (None::<Arc<Share>>, 0);
        let mut most = 0;
        for share in table.shares.values() {
            let bytes = share.bytes();
            if bytes > most {
                second = most;
                (first, most) = (Some(share.clone()), bytes);
            } else {
                second = second.max(bytes);
            }
        }
        table.paying = first.clone().map(|share| (share, second - second / SLACK_SHARE));
        first
    }
}

/// Shares from which on those without a history are looked for when one is made.
const IDLE_MIN: usize = 64;

impl Table {
    /// Forgets owners without a history, from time to time: each look at all of them doubles the number at which the
    /// next one is due.
    fn forget_idle(&mut self) {
        if self.shares.len() >= IDLE_MIN && self.shares.len() == self.shares.capacity() {
            self.paying = None;
            self.shares.retain(|_, share| Arc::strong_count(share) > 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(number: usize) -> Owner {
        Owner::Tenant(number.to_string().into())
    }

    #[test]
    fn the_largest_owner_pays_down_to_the_second() {
        let shares = Shares::default();
        assert!(shares.largest().is_none());
        let [small, large] = [tenant(0), tenant(1)].map(|owner| shares.of(owner));
        assert!(small.take(160, 200) && !small.take(41, 200));
        large.force(1000);
        assert_eq!(shares.fair_part(1000), 500);
        let name = || shares.largest().map(|share| share.owner.clone());
        assert_eq!(name(), Some(tenant(1)));
        large.give(849);
        assert_eq!(name(), Some(tenant(1)), "a little below the second is as good as level");
        large.give(1);
        assert_eq!(name(), Some(tenant(0)));
        assert!(Arc::ptr_eq(&small, &shares.of(tenant(0))));
    }

    #[test]
    fn owners_without_a_history_are_forgotten() {
        let shares = Shares::default();
        let kept = shares.of(tenant(7));
        for number in 0..10_000 {
            shares.of(tenant(number));
        }
        assert!(shares.lock().shares.len() < 8 * IDLE_MIN, "{}", shares.lock().shares.len());
        assert!(Arc::ptr_eq(&kept, &shares.of(tenant(7))));
    }
}
