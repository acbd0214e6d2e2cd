//! The audiences that a connection belongs to by who it is: all of its user, all of its tenant. What is published for
//! one of them costs by its members, wherever else there are connections.
//!
//! Memberships of audiences stand here and not with the connection's own, so that nothing that tells or counts rooms
//! meets them, and that a connection that nobody knows costs nothing.

use crate::hub::Membership;
use crate::model::{Audience, Identity};
use crate::shard::Shard;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::sync::Arc;

/// The memberships of the connections that belong to some audience.
#[derive(Debug, Default)]
pub(in crate::shard) struct Audiences {
    by_slot: HashMap<u32, [Option<Membership>; Audience::ALL.len()], RandomState>,
    /// Connections that belong to that of a tenant.
    tenants: u32,
}

impl Audiences {
    /// Whether no connection belongs to any.
    pub fn is_empty(&self) -> bool {
        self.by_slot.is_empty()
    }

    /// Whether some connection belongs to that of a tenant.
    pub fn has_tenants(&self) -> bool {
        self.tenants != 0
    }
}

impl Shard {
    /// States who a connection is from now on: when it comes, and whenever that changes. Its audiences follow at once;
    /// what was published for those that it leaves, and is with it already, stays its own.
    pub(in crate::shard) fn set_identity(&mut self, slot: u32, identity: Option<Arc<Identity>>) {
        let Some(conn) = self.conns.at_mut(slot) else { return };
        let belongs = conn.is_open() && !conn.echo;
        let before = std::mem::replace(&mut conn.identity, identity.clone());
        for audience in Audience::ALL {
            let name = identity.as_deref().and_then(|identity| name_in(identity, audience));
            let is_same = before.as_deref().and_then(|identity| name_in(identity, audience)) == name;
            if is_same
                && self.policy.audiences.by_slot.get(&slot).is_some_and(|own| own[audience.index()].is_some())
            {
                continue;
            }
            self.leave_audience(slot, audience);
            if let Some(name) = name.filter(|_| belongs) {
                self.join_audience(slot, audience, name);
            }
        }
        self.note_identity(slot);
    }

    fn join_audience(&mut self, slot: u32, audience: Audience, name: &str) {
        let Some(encoding) = self.conns.at(slot).map(|conn| conn.encoding()) else { return };
        let (room, back) = (audience.room(name), audience.index() as u32);
        // There is no limit that it could meet.
        if let Ok((membership, _)) = self.rooms.join(&self.hub.directory, &room, 0, encoding, slot, back) {
            self.policy.audiences.by_slot.entry(slot).or_default()[audience.index()] = Some(membership);
            self.policy.audiences.tenants += u32::from(audience == Audience::Tenant);
        }
    }

    fn leave_audience(&mut self, slot: u32, audience: Audience) {
        let Some(own) = self.policy.audiences.by_slot.get_mut(&slot) else { return };
        let Some(membership) = own[audience.index()].take() else { return };
        if own.iter().all(Option::is_none) {
            self.policy.audiences.by_slot.remove(&slot);
        }
        self.policy.audiences.tenants -= u32::from(audience == Audience::Tenant);
        let Some(encoding) = self.conns.at(slot).map(|conn| conn.encoding()) else { return };
        self.wide.leave(membership.room, slot);
        if let Some(moved) = self.rooms.leave(&self.hub.directory, encoding, membership)
            && let Some(other) = self.policy.audiences.by_slot.get_mut(&moved.connection)
            && let Some(entry) = &mut other[audience.index()]
        {
            entry.position = moved.position;
        }
    }

    /// Takes a connection that gets no publications any more out of its audiences.
    pub(in crate::shard) fn leave_audiences(&mut self, slot: u32) {
        // Nobody is known: the usual case costs no look.
        if !self.policy.audiences.is_empty() {
            Audience::ALL.into_iter().for_each(|audience| self.leave_audience(slot, audience));
        }
    }
}

/// What an identity is called in an audience.
pub(super) fn name_in(identity: &Identity, audience: Audience) -> Option<&str> {
    match audience {
        Audience::User => identity.user.as_deref(),
        Audience::Tenant => identity.tenant.as_deref(),
    }
}
