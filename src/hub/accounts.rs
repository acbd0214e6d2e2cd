use super::account::{Account, AccountName, Party};
use super::fair::Share;
use crate::config::{AccountLimits, Limits};
use crate::model::{Identity, Refusal};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Locks, so that shards rarely meet at one. They are held for one look-up, with nothing else under them.
const STRIPES: usize = 64;

/// The users and tenants of the node's connections. Only those with a connection are here, so they are bounded by the
/// connections; nobody is, where no limit of a user or tenant is configured.
#[derive(Debug, Default)]
pub struct Accounts(Arc<Stripes>);

#[derive(Debug)]
pub(super) struct Stripes {
    hasher: RandomState,
    stripes: [Mutex<HashTable<Arc<Account>>>; STRIPES],
    users: AtomicU32,
    tenants: AtomicU32,
}

/// A connection's place in the accounts of its user and of its tenant, given back when it is dropped. What it has
/// taken beside (memberships, bytes) is to be given back before.
///
/// The connection's shard holds it, so that nothing has to be looked up afterwards.
#[derive(Debug)]
pub struct Holding {
    user: Option<Arc<Account>>,
    tenant: Option<Arc<Account>>,
    /// Of the tenant's rate of messages.
    share: Share,
}

impl Accounts {
    /// Counts a connection of somebody, unless one of the limits is reached. `None` for one without name.
    ///
    /// # Errors
    /// Whose limit it is.
    pub fn enter(&self, who: &Identity, limits: &Limits) -> Result<Option<Arc<Holding>>, Party> {
        self.hold(who, limits.per_user.connections_max, limits.per_tenant.connections_max)
    }

    /// Counts a connection that is there whatever the limits.
    pub fn enter_anyway(&self, who: &Identity) -> Option<Arc<Holding>> {
        self.hold(who, 0, 0).ok().flatten()
    }

    /// Users and tenants with a connection.
    pub fn counts(&self) -> (u32, u32) {
        (self.0.users.load(Ordering::Relaxed), self.0.tenants.load(Ordering::Relaxed))
    }

    fn hold(&self, who: &Identity, user_max: u32, tenant_max: u32) -> Result<Option<Arc<Holding>>, Party> {
        let (tenant, user) = (who.tenant.as_deref(), who.user.as_deref());
        let mut holding = Holding { user: None, tenant: None, share: Share::default() };
        // The user first: who is refused for the tenant's sake took no place from another user meanwhile.
        if user.is_some() {
            let account = self.0.enter(AccountName { tenant, user }, user_max).ok_or(Party::User)?;
            holding.user = Some(account);
        }
        if tenant.is_some() {
            let account =
                self.0.enter(AccountName { tenant, user: None }, tenant_max).ok_or(Party::Tenant)?;
            holding.tenant = Some(account);
        }
        let is_somebody = holding.user.is_some() || holding.tenant.is_some();
        Ok(is_somebody.then(|| Arc::new(holding)))
    }
}

impl Default for Stripes {
    fn default() -> Self {
        Self {
            hasher: RandomState::default(),
            stripes: std::array::from_fn(|_| Mutex::default()),
            users: AtomicU32::new(0),
            tenants: AtomicU32::new(0),
        }
    }
}

impl Stripes {
    /// Counts a connection of an account unless there are `max` (0: no limit).
    fn enter(self: &Arc<Self>, name: AccountName<'_>, max: u32) -> Option<Arc<Account>> {
        let hash = self.hasher.hash_one(name);
        let mut stripe = self.stripe(hash).lock().unwrap_or_else(PoisonError::into_inner);
        let account = match stripe.entry(hash, |known| known.name() == name, |known| known.hash) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(free) => {
                self.counter(name).fetch_add(1, Ordering::Relaxed);
                free.insert(Arc::new(Account::new(name, hash, self.clone()))).get().clone()
            }
        };
        let count = account.connections();
        // One that is new has none, so what is refused is not new.
        if max != 0 && count >= max {
            return None;
        }
        account.connections.store(count + 1, Ordering::Relaxed);
        Some(account)
    }

    /// Counts a connection less, and forgets the account with its last one.
    fn leave(&self, account: &Arc<Account>) {
        let mut stripe = self.stripe(account.hash).lock().unwrap_or_else(PoisonError::into_inner);
        let count = account.connections() - 1;
        account.connections.store(count, Ordering::Relaxed);
        if count == 0
            && let Ok(entry) = stripe.find_entry(account.hash, |known| Arc::ptr_eq(known, account))
        {
            entry.remove();
            self.counter(account.name()).fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn stripe(&self, hash: u64) -> &Mutex<HashTable<Arc<Account>>> {
        // The table takes the lowest and the highest bits.
        &self.stripes[(hash >> 32) as usize % STRIPES]
    }

    fn counter(&self, name: AccountName<'_>) -> &AtomicU32 {
        if name.user.is_some() { &self.users } else { &self.tenants }
    }
}

impl Holding {
    /// Its accounts, each with whose they are and what is allowed to that.
    pub fn accounts<'h>(
        &'h self,
        limits: &'h Limits,
    ) -> impl Iterator<Item = (Party, &'h Arc<Account>, &'h AccountLimits)> {
        let user = self.user.as_ref().map(|account| (Party::User, account, &limits.per_user));
        let tenant = self.tenant.as_ref().map(|account| (Party::Tenant, account, &limits.per_tenant));
        user.into_iter().chain(tenant)
    }

    /// Its accounts.
    pub fn each(&self) -> impl Iterator<Item = &Arc<Account>> {
        self.user.iter().chain(&self.tenant)
    }

    /// Whether it is in the accounts of `who`.
    pub fn is_of(&self, who: &Identity) -> bool {
        let (tenant, user) = (who.tenant.as_deref(), who.user.as_deref());
        let of_user = self.user.as_ref().map(|account| account.name());
        let of_tenant = self.tenant.as_ref().map(|account| account.name());
        of_user == user.map(|_| AccountName { tenant, user })
            && of_tenant == tenant.map(|_| AccountName { tenant, user: None })
    }

    /// Counts one membership more, unless a limit is reached.
    ///
    /// # Errors
    /// Whose limit it is; then nothing is counted.
    pub fn join(&self, limits: &Limits) -> Result<(), Party> {
        if self.user.as_ref().is_some_and(|user| !user.join(limits.per_user.rooms_max)) {
            return Err(Party::User);
        }
        if self.tenant.as_ref().is_some_and(|tenant| !tenant.join(limits.per_tenant.rooms_max)) {
            self.user.iter().for_each(|user| user.left(1));
            return Err(Party::Tenant);
        }
        Ok(())
    }

    /// Gives memberships back.
    pub fn left(&self, count: u32) {
        self.each().for_each(|account| account.left(count));
    }

    /// Counts what a connection brings along: all of it, or nothing where that would pass a limit.
    ///
    /// # Errors
    /// Which limit it is.
    pub fn bring_within(&self, limits: &Limits, memberships: u32, bytes: usize) -> Result<(), Refusal> {
        for (done, (party, account, own)) in self.accounts(limits).enumerate() {
            let has_rooms = account.join_all(memberships, own.rooms_max);
            if has_rooms && account.take(bytes, own.outbox_bytes_max) {
                continue;
            }
            account.left(if has_rooms { memberships } else { 0 });
            for account in self.each().take(done) {
                account.left(memberships);
                account.give(bytes);
            }
            return Err(if has_rooms { party.outbox_full() } else { party.too_many_rooms() });
        }
        Ok(())
    }

    /// Counts what a connection brings along, whatever the limits.
    pub fn bring(&self, memberships: u32, bytes: usize) {
        for account in self.each() {
            account.joined(memberships);
            account.force(bytes);
        }
    }

    /// Whether one message more may pass that came at `now_ns`, or unseen since `since_ns`. A tenant's rate refuses only
    /// what is beyond the connection's share of it; see `hub::fair`. What it refuses has been charged to the user.
    ///
    /// # Errors
    /// Whose rate it is.
    #[inline]
    pub fn may_send(&self, limits: &Limits, now_ns: u64, since_ns: u64) -> Result<(), Party> {
        for (party, account, limits) in self.accounts(limits) {
            let passes = match party {
                _ if limits.messages_per_s == 0 => true,
                Party::User => account.may_send(limits, now_ns, since_ns),
                Party::Tenant => account.may_send_of(&self.share, limits, now_ns, since_ns),
            };
            if !passes {
                return Err(party);
            }
        }
        Ok(())
    }

    /// Takes bytes of both shares, unless one of them is spent.
    pub fn take(&self, limits: &Limits, bytes: usize) -> bool {
        let taken = |(_, account, limits): (Party, &Arc<Account>, &AccountLimits)| {
            account.take(bytes, limits.outbox_bytes_max)
        };
        let count = self.accounts(limits).take_while(|one| taken(*one)).count();
        let all = count == self.each().count();
        if !all {
            self.each().take(count).for_each(|account| account.give(bytes));
        }
        all
    }

    /// Whether `bytes` more are within both shares when `given` have been given back.
    pub fn has_place(&self, limits: &Limits, bytes: usize, given: usize) -> bool {
        self.accounts(limits).all(|(_, account, limits)| {
            let held = account.outbox_bytes().saturating_sub(given);
            limits.outbox_bytes_max == 0 || held + bytes <= limits.outbox_bytes_max
        })
    }

    /// Bytes that are left of its shares.
    pub fn space(&self, limits: &Limits) -> usize {
        let limited = self.accounts(limits).filter(|(_, _, limits)| limits.outbox_bytes_max != 0);
        let left = limited
            .map(|(_, account, limits)| limits.outbox_bytes_max.saturating_sub(account.outbox_bytes()));
        left.min().unwrap_or(usize::MAX)
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        if let Some(tenant) = &self.tenant {
            tenant.give_back(&self.share);
        }
        for account in self.user.iter().chain(&self.tenant) {
            account.home.leave(account);
        }
    }
}

#[cfg(test)]
#[path = "accounts_tests.rs"]
mod tests;
