//! What the user and the tenant of a connection have together with their other connections: rates, memberships, and
//! the share of what waits.
//!
//! Each connection of somebody known is held in the accounts of its user and its tenant from its opening to its end,
//! with all that it has: so a change of its identity, or of the configuration, moves all of it. Where no such limit is
//! configured nobody is held, and each question here ends with the look at an empty list.
//!
//! # Who gives way
//! Where the share of a user or tenant is spent, the largest backlog among its own connections on this shard gives way,
//! as for the node's bound (see `overflow`). If there is none larger than what the asking connection would have, but
//! another shard has noted one, that is told to have it give way, and until it has been heard of what is asked for is
//! taken over the share. Else the asking connection itself goes. So a share is passed by what comes during another
//! shard's turn, and nobody else's connection ever goes for its sake.

use crate::config::Limits;
use crate::hub::{Account, Holding, Party};
use crate::model::{DropReason, Eviction, Identity, Refusal};
use crate::shard::fanout::mail::{Mail, Request};
use crate::shard::{Now, Shard, Sockets};
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

/// The places of a shard's connections in accounts.
#[derive(Debug, Default)]
pub(in crate::shard) struct Holdings {
    /// By slot; empty while there are no limits.
    by_slot: Vec<Option<Arc<Holding>>>,
    /// Backlogs by size, of each account (by its address) whose share is spent, for this tick. See
    /// [`Shard::next_victim_of`].
    victims: HashMap<usize, BinaryHeap<(usize, u32)>>,
}

impl Holdings {
    /// Whether nobody is held.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.by_slot.is_empty()
    }

    /// That of a connection, if it has one.
    #[inline]
    pub fn of(&self, slot: u32) -> Option<&Arc<Holding>> {
        self.by_slot.get(slot as usize).and_then(Option::as_ref)
    }

    /// Ends the tick: backlogs will have other sizes.
    #[inline]
    pub fn forget_victims(&mut self) {
        if !self.victims.is_empty() {
            self.victims.clear();
        }
    }

    fn set(&mut self, slot: u32, holding: Option<Arc<Holding>>) {
        let index = slot as usize;
        if self.by_slot.len() <= index {
            if holding.is_none() {
                return;
            }
            self.by_slot.resize(index + 1, None);
        }
        self.by_slot[index] = holding;
    }
}

impl Shard {
    /// Takes over the place that a connection was given when it was admitted. One without, which was admitted before
    /// there were limits, is given one whatever these are.
    #[inline]
    pub(in crate::shard) fn hold_newcomer(&mut self, slot: u32, holding: Option<Arc<Holding>>) {
        if self.config.limits.has_accounts() {
            self.hold_one(slot, holding);
        }
    }

    #[inline(never)]
    fn hold_one(&mut self, slot: u32, holding: Option<Arc<Holding>>) {
        match holding {
            Some(holding) => self.policy.holdings.set(slot, Some(holding)),
            None => self.hold_anyway(slot),
        }
    }

    /// Moves a connection into the accounts of `who`, with all that it has.
    ///
    /// # Errors
    /// Which limit of its connections, memberships or waiting bytes that would pass; then it stays where it was.
    pub(super) fn hold_as(&mut self, slot: u32, who: &Identity) -> Result<(), Refusal> {
        if !self.config.limits.has_accounts()
            || self.policy.holdings.of(slot).is_some_and(|held| held.is_of(who))
        {
            return Ok(());
        }
        let Some(conn) = self.conns.at(slot) else { return Ok(()) };
        let (memberships, bytes) = (conn.memberships.len() as u32, conn.backlog_bytes());
        let limits = &self.config.limits;
        let holding = self.hub.accounts.enter(who, limits).map_err(Party::too_many)?;
        if let Some(holding) = &holding {
            holding.bring_within(limits, memberships, bytes)?;
        }
        self.leave_holding(slot, memberships, bytes);
        self.policy.holdings.set(slot, holding);
        Ok(())
    }

    /// Has a connection held as who it is, whatever the limits; and nobody where there are none.
    pub(in crate::shard) fn hold_anyway(&mut self, slot: u32) {
        let who = self.conns.at(slot).and_then(|conn| conn.identity.clone());
        let who = who.filter(|_| self.config.limits.has_accounts());
        let held = self.policy.holdings.of(slot);
        if who.as_ref().is_some_and(|who| held.is_some_and(|held| held.is_of(who))) {
            return;
        }
        let holding = who.and_then(|who| self.hub.accounts.enter_anyway(&who));
        self.move_to(slot, holding);
    }

    /// Takes over that there are limits now, or none any more, after all connections were held anew.
    pub(in crate::shard) fn trim_holdings(&mut self) {
        if !self.config.limits.has_accounts() {
            self.policy.holdings = Holdings::default();
        }
    }

    /// Gives a connection's place back, at its end: it has nothing any more.
    #[inline]
    pub(in crate::shard) fn release_holding(&mut self, slot: u32) {
        if !self.policy.holdings.is_empty() {
            self.policy.holdings.set(slot, None);
        }
    }

    fn move_to(&mut self, slot: u32, holding: Option<Arc<Holding>>) {
        let Some(conn) = self.conns.at(slot) else { return };
        let (memberships, bytes) = (conn.memberships.len() as u32, conn.backlog_bytes());
        self.leave_holding(slot, memberships, bytes);
        if let Some(new) = &holding {
            new.bring(memberships, bytes);
        }
        self.policy.holdings.set(slot, holding);
    }

    /// Gives back what a connection has in the accounts that it is in.
    fn leave_holding(&self, slot: u32, memberships: u32, bytes: usize) {
        if let Some(old) = self.policy.holdings.of(slot) {
            old.left(memberships);
            old.each().for_each(|account| account.give(bytes));
        }
    }

    /// Whether user and tenant of a connection may send one message more.
    pub(in crate::shard) fn within_shared_rates(&self, now: Now, slot: u32) -> Result<(), Refusal> {
        let Some(holding) = self.policy.holdings.of(slot) else { return Ok(()) };
        let since_ns = self.timers.unseen_since_us(now) * 1000;
        holding.may_send(&self.config.limits, now.us * 1000, since_ns).map_err(Party::too_fast)
    }

    /// Counts one membership more for user and tenant of a connection.
    #[inline]
    pub(in crate::shard) fn join_accounts(&self, slot: u32) -> Result<(), Refusal> {
        if self.policy.holdings.is_empty() { Ok(()) } else { self.join_accounts_of(slot) }
    }

    #[inline(never)]
    fn join_accounts_of(&self, slot: u32) -> Result<(), Refusal> {
        let Some(holding) = self.policy.holdings.of(slot) else { return Ok(()) };
        holding.join(&self.config.limits).map_err(Party::too_many_rooms)
    }

    /// Gives memberships of a connection back.
    #[inline]
    pub(in crate::shard) fn leave_accounts(&self, slot: u32, memberships: usize) {
        if let Some(holding) = self.policy.holdings.of(slot) {
            holding.left(memberships as u32);
        }
    }

    /// Takes `bytes` out of the shares of a connection's user and tenant, at the cost of larger backlogs than the
    /// `would_be` bytes that the connection would have.
    ///
    /// # Errors
    /// Whose share is spent; then nothing is taken.
    #[inline]
    pub(in crate::shard) fn take_shares(
        &mut self,
        slot: u32,
        bytes: usize,
        would_be: usize,
    ) -> Result<(), DropReason> {
        match self.policy.holdings.of(slot).cloned() {
            None => Ok(()),
            Some(holding) => self.take_shares_of(&holding, bytes, would_be),
        }
    }

    #[inline(never)]
    fn take_shares_of(&mut self, holding: &Holding, bytes: usize, would_be: usize) -> Result<(), DropReason> {
        let config = self.config.clone();
        for (taken, (party, account, limits)) in holding.accounts(&config.limits).enumerate() {
            let bytes_max = limits.outbox_bytes_max;
            while !account.take(bytes, bytes_max) {
                if let Some(victim) = self.next_victim_of(account, would_be) {
                    if self.shed(victim) {
                        self.put_back_victim(account, victim);
                    } else {
                        self.doom(victim, party.share_spent());
                    }
                } else if let Some(shard) = account.claim_largest(self.mailer.here(), would_be) {
                    let account = account.clone();
                    let request =
                        Request::EvictLargestOf { account: account.clone(), party, larger_than: would_be };
                    self.mailer.post(shard, Mail::Request(request));
                    account.force(bytes);
                    break;
                } else if account.gives_way() {
                    account.force(bytes);
                    break;
                } else {
                    holding.each().take(taken).for_each(|account| account.give(bytes));
                    return Err(party.share_spent());
                }
            }
            if bytes_max != 0 {
                account.note_backlog(self.mailer.here(), would_be);
            }
        }
        Ok(())
    }

    /// Has the largest backlog of an account on this shard give way to one of `larger_than` bytes of another shard, if
    /// that is still needed.
    pub(in crate::shard) fn evict_largest_of(
        &mut self,
        now: Now,
        account: &Arc<Account>,
        party: Party,
        larger_than: usize,
        sockets: &mut impl Sockets,
    ) {
        let limits = &self.config.limits;
        let bytes_max =
            if party == Party::User { &limits.per_user } else { &limits.per_tenant }.outbox_bytes_max;
        if bytes_max != 0
            && account.outbox_bytes() > bytes_max
            && let Some((backlog_bytes, slot)) =
                self.blocked_of(account).filter(|(bytes, _)| *bytes > larger_than).max()
            && !self.shed(slot)
        {
            self.cut_backlog(slot, party.share_spent());
            self.evict(now, slot, Eviction::Full(party.share_spent()), backlog_bytes, sockets);
        }
        // The note that led here is spent. Backlogs that stay make no new one until they grow, and meanwhile the share
        // may be spent again: by a smaller one, which would have to go in their place.
        if let Some((bytes, _)) = self.blocked_of(account).max().filter(|_| bytes_max != 0) {
            account.note_backlog(self.mailer.here(), bytes);
        }
        account.gave_way();
    }

    /// The connection of an account with the largest backlog, if that is larger than so much. One look at all blocked
    /// connections serves for the whole tick, as what they gain meanwhile is the same few frames for all.
    fn next_victim_of(&mut self, account: &Arc<Account>, larger_than: usize) -> Option<u32> {
        let at = Arc::as_ptr(account) as usize;
        let mut heap = match self.policy.holdings.victims.remove(&at) {
            Some(heap) => heap,
            None => self.blocked_of(account).collect(),
        };
        let mut found = None;
        while let Some(&(bytes, slot)) = heap.peek()
            && bytes > larger_than
        {
            heap.pop();
            if self.evictable_bytes(slot) >= bytes && self.is_in(slot, account) {
                found = Some(slot);
                break;
            }
        }
        self.policy.holdings.victims.insert(at, heap);
        found
    }

    fn put_back_victim(&mut self, account: &Arc<Account>, slot: u32) {
        let entry = (self.evictable_bytes(slot), slot);
        if let Some(heap) = self.policy.holdings.victims.get_mut(&(Arc::as_ptr(account) as usize)) {
            heap.push(entry);
        }
    }

    /// Backlogs of an account here, with what their end would free.
    fn blocked_of(&self, account: &Arc<Account>) -> impl Iterator<Item = (usize, u32)> {
        let here = self.blocked.iter().filter(|slot| self.is_in(*slot, account));
        here.map(|slot| (self.evictable_bytes(slot), slot))
    }

    fn is_in(&self, slot: u32, account: &Arc<Account>) -> bool {
        self.policy.holdings.of(slot).is_some_and(|held| held.each().any(|own| Arc::ptr_eq(own, account)))
    }

    /// As [`Shard::take_shares`], at nobody's cost: whether there was place.
    pub(in crate::shard) fn try_shares(&self, slot: u32, bytes: usize) -> bool {
        self.policy.holdings.of(slot).is_none_or(|holding| holding.take(&self.config.limits, bytes))
    }

    /// Takes `bytes` out of the shares whatever their bounds.
    #[inline]
    pub(in crate::shard) fn force_shares(&self, slot: u32, bytes: usize) {
        if let Some(holding) = self.policy.holdings.of(slot) {
            holding.each().for_each(|account| account.force(bytes));
        }
    }

    /// Gives `bytes` back to the shares.
    #[inline]
    pub(in crate::shard) fn give_shares(&self, slot: u32, bytes: usize) {
        if let Some(holding) = self.policy.holdings.of(slot) {
            holding.each().for_each(|account| account.give(bytes));
        }
    }

    /// Bytes that are left of a connection's shares.
    pub(in crate::shard) fn share_space(&self, slot: u32, limits: &Limits) -> usize {
        self.policy.holdings.of(slot).map_or(usize::MAX, |holding| holding.space(limits))
    }
}
