//! What the rules for access say to the acts of clients, and the memberships that they end.
//!
//! The rules are asked at each act, with the identity that the connection has then. Where the rules or an identity
//! change, memberships that could not be begun any more are ended: those of one connection at once, those of all
//! connections in steps, so that a change of the rules stalls nobody. Until its step has come a member still hears the
//! room, but can do nothing there. The same steps hold identities against a new configuration: a token that it would
//! refuse ends its connection.

use crate::auth::token::TokenDesk;
use crate::auth::{self, Access, Found};
use crate::base::{Mutation, mutated};
use crate::config::{Action, Config};
use crate::dialect::dialect;
use crate::model::{Answer, Identity, Refusal, RoomName};
use crate::shard::policy::Policy;
use crate::shard::{Now, Shard, Sockets};
use std::sync::Arc;

/// Connections and memberships that one turn looks at after a change: about a millisecond.
const REVIEWED_MAX: usize = 4096;

/// Why a client's request is refused.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::shard) struct Denial {
    pub refusal: Refusal,
    /// What a rule has to say about it, in place of the dialect's words.
    pub text: Option<Box<str>>,
}

impl From<Refusal> for Denial {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, text: None }
    }
}

impl Denial {
    fn new(refused: auth::Refused<'_>, action: Action) -> Self {
        let refusal = if action == Action::Subscribe { Refusal::JoinDenied } else { Refusal::Denied };
        Self { refusal, text: refused.text.map(Box::from) }
    }

    /// What the client is told: why, unless a rule says it, and the text.
    pub fn words(&self) -> (Option<Refusal>, &str) {
        match &self.text {
            Some(text) => (None, text),
            None => (Some(self.refusal), self.refusal.text()),
        }
    }
}

/// The rules, and how far memberships have been compared with them.
pub(in crate::shard) struct Gate {
    /// By what tokens are checked.
    pub tokens: Arc<TokenDesk>,
    access: Access,
    /// Counts the changes of the rules, from 1 on: what a room's note says of older rules does not hold.
    generation: u32,
    /// The next slot to look at after a change; `None`: all connections are as the configuration has them.
    review: Option<u32>,
    /// Whether the rules have changed, so that memberships are looked at as well.
    rules_changed: bool,
}

impl Gate {
    pub fn new(config: &Config) -> Self {
        Self {
            tokens: Arc::default(),
            access: Access::new(&config.access),
            generation: 1,
            review: None,
            rules_changed: false,
        }
    }

    /// Whether connections wait to be looked at.
    pub fn has_review(&self) -> bool {
        self.review.is_some()
    }
}

impl Shard {
    /// Whether the rules let a connection do something in a room, whether there is such a room or not.
    #[inline]
    pub(in crate::shard) fn allowed(&self, slot: u32, room: &str, action: Action) -> Result<(), Denial> {
        let conn = self.conns.at(slot).ok_or(Refusal::Internal)?;
        let checked = self.policy.gate.access.check(conn.identity.as_deref(), room, action);
        checked.map_err(|refused| Denial::new(refused, action))
    }

    /// Whether a connection may publish to a room that it is no member of: where its dialect has that, and only if it
    /// might join as well. So nobody is heard where it is kept out, whatever the dialect.
    pub(in crate::shard) fn outsider_allowed(&self, slot: u32, room: &str) -> Result<(), Denial> {
        let conn = self.conns.at(slot).ok_or(Refusal::Internal)?;
        let (access, identity) = (&self.policy.gate.access, conn.identity.as_deref());
        let found = access.find(room);
        let check = |action| access.check_found(found, identity, room, action);
        // A client that may not publish is told that alone.
        check(Action::Publish).map_err(|refused| Denial::new(refused, Action::Publish))?;
        if !dialect(conn.dialect).publishes_unjoined() && !mutated(Mutation::PublishUnjoined) {
            return Err(Refusal::NotSubscribed.into());
        }
        check(Action::Subscribe).map_err(|refused| Denial::new(refused, Action::Publish))
    }

    /// The same for what a member does in its room, where the rules that speak of it are found once for all members.
    pub(in crate::shard) fn member_allowed(
        &mut self,
        slot: u32,
        local: u32,
        action: Action,
    ) -> Result<(), Denial> {
        let Self { conns, rooms, policy: Policy { gate, .. }, .. } = self;
        let conn = conns.at(slot).ok_or(Refusal::Internal)?;
        let room = rooms.get_mut(local).ok_or(Refusal::Internal)?;
        let name = room.shared.name.as_str();
        let (generation, found) = ((room.note >> 32) as u32, Found(room.note as u32));
        let found = if generation == gate.generation { found } else { gate.access.find(name) };
        room.note = u64::from(gate.generation) << 32 | u64::from(found.0);
        let checked = gate.access.check_found(found, conn.identity.as_deref(), name, action);
        checked.map_err(|refused| Denial::new(refused, action))
    }

    /// Says to a connection who it is from now on. Memberships that it could not begin as such end.
    pub(in crate::shard) fn identify(&mut self, now: Now, slot: u32, identity: Option<Arc<Identity>>) {
        self.set_identity(slot, identity);
        let Some(conn) = self.conns.at_mut(slot) else { return };
        conn.warned = false;
        self.hold_anyway(slot);
        self.review_connection(now, slot);
        // It may end at another time than the one before.
        self.arm(now, slot);
    }

    /// Takes the rules of a new configuration over, if they are others, and begins to look at all connections: also if the
    /// configuration is the same, as the files that it names may have other keys.
    pub(in crate::shard) fn change_access(&mut self, old: &Config) {
        self.policy.gate.review = Some(0);
        if old.access != self.config.access {
            let generation = self.policy.gate.generation + 1;
            let access = Access::new(&self.config.access);
            let tokens = self.policy.gate.tokens.clone();
            self.policy.gate = Gate { tokens, access, generation, review: Some(0), rules_changed: true };
        }
    }

    /// The next step through all connections after a change.
    pub(in crate::shard) fn review_step(&mut self, now: Now, sockets: &mut impl Sockets) {
        let Some(mut slot) = self.policy.gate.review else { return };
        let policy = self.policy.gate.tokens.policy();
        let mut reviewed = 0;
        while reviewed < REVIEWED_MAX {
            if slot as usize >= self.owed.slots() {
                (self.policy.gate.review, self.policy.gate.rules_changed) = (None, false);
                return;
            }
            self.review_identity(now, slot, &policy, sockets);
            reviewed += 1;
            if self.policy.gate.rules_changed {
                reviewed += self.review_connection(now, slot);
            }
            slot += 1;
        }
        self.policy.gate.review = Some(slot);
    }

    /// Ends the memberships of a connection that the rules do not allow. Returns how many it had.
    fn review_connection(&mut self, now: Now, slot: u32) -> usize {
        let Some(conn) = self.conns.at(slot) else { return 0 };
        let identity = conn.identity.as_deref();
        let lost = |name: &&RoomName| {
            self.policy.gate.access.check(identity, name.as_str(), Action::Subscribe).is_err()
        };
        let rooms = conn.memberships.iter().filter_map(|membership| self.rooms.get(membership.room));
        let lost: Vec<RoomName> = rooms.map(|room| &room.shared.name).filter(lost).cloned().collect();
        let memberships = conn.memberships.len();
        for room in lost {
            self.expel(now, slot, room.as_str());
        }
        memberships
    }

    /// Ends a membership against the client's will, and says so: as if it had left, and why.
    fn expel(&mut self, now: Now, slot: u32, room: &str) {
        self.leave_and_tell(now, slot, room, None);
        if let Err(denial) = self.allowed(slot, room, Action::Subscribe) {
            let (refusal, text) = denial.words();
            self.answer(now, slot, &Answer::Error { refusal, text, original: None, id: None });
        }
    }
}
