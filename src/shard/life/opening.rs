//! How a connection comes to its shard, and how it goes.

use crate::base::{Key, Mutation, mutated};
use crate::config::HookEvent;
use crate::hub::{Holding, Membership};
use crate::model::{
    CloseReason, Compression, ConnectionId, DialectId, DropReason, Encoding, Identity, Locator, RoomName,
};
use crate::shard::conn::{Authenticates, Conn, State};
use crate::shard::life::terms::{Route, Terms};
use crate::shard::{Now, Reading, Shard, Sockets, TurnedAway};
use rand::RngExt;
use smallvec::SmallVec;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A connection that has been admitted and upgraded.
#[derive(Debug, Clone)]
pub struct Newcomer {
    /// The client's address as the proxy rules find it.
    pub peer: Option<SocketAddr>,
    /// What it speaks; of no meaning for an echo.
    pub dialect: DialectId,
    /// What was negotiated of permessage-deflate.
    pub compression: Compression,
    /// Who it is, as far as is known.
    pub identity: Option<Arc<Identity>>,
    /// What its client calls itself (`User-Agent`); only its first bytes are kept.
    pub agent: Option<Box<str>>,
    /// Whether what it publishes comes back to it.
    pub hears_itself: bool,
    /// Whether it may look at the node and act on it.
    pub admin: bool,
    /// Rooms that it is put into, after its greeting.
    pub rooms: Vec<RoomName>,
    /// Whether it is to hear its own messages and nothing else.
    pub echo: bool,
    /// By which endpoint it came, where that has messages of its own.
    pub route: Option<Route>,
    /// Time over which what it is sent is put together; zero: each message is a frame.
    pub batch: Duration,
    /// Whether it is only to hear that the server is there.
    pub health: bool,
    /// Whether it may say who it is once it is connected.
    pub may_authenticate: bool,
    /// Whether it must have a user and a tenant if it does.
    pub of_tenants: bool,
    /// Its place among the connections of its user and tenant.
    pub holding: Option<Arc<Holding>>,
    /// Why it is only told that it may not come in; see [`Shard::turn_away`].
    pub turned_away: Option<TurnedAway>,
}

impl Default for Newcomer {
    /// An anonymous connection of the native protocol.
    fn default() -> Self {
        Self {
            peer: None,
            dialect: DialectId::NATIVE,
            compression: Compression::None,
            identity: None,
            agent: None,
            hears_itself: true,
            admin: false,
            rooms: Vec::new(),
            echo: false,
            route: None,
            batch: Duration::ZERO,
            health: false,
            may_authenticate: false,
            of_tenants: false,
            holding: None,
            turned_away: None,
        }
    }
}

impl Shard {
    /// Takes a connection over, and greets it. `None` if the shard has no slot left.
    pub fn open(&mut self, now: Now, newcomer: Newcomer) -> Option<Key> {
        let Newcomer { peer, dialect, compression, identity, agent, hears_itself, rooms, .. } = newcomer;
        let Newcomer { admin, echo, may_authenticate, of_tenants, holding, turned_away, .. } = newcomer;
        let Newcomer { route, batch, health, .. } = newcomer;
        let slot = self.conns.next_key()?.slot;
        let random: u128 = self.newcomers.random.random();
        let locator = Locator { node: self.hub.node, shard: self.mailer.here() as u16, slot };
        let id = ConnectionId::new(locator, random.to_le_bytes(), &self.hub.connection_key);
        let conn = Conn {
            id,
            peer: peer.map(|peer| (peer.ip(), peer.port())),
            dialect,
            compression,
            identity: None,
            agent: self.newcomers.agents.take(agent.as_deref()),
            opened_ds: now.ds(),
            echo,
            hears_itself,
            authenticates: match (may_authenticate, of_tenants) {
                (false, _) => Authenticates::Never,
                (true, false) => Authenticates::AsAnybody,
                (true, true) => Authenticates::AsUserOfTenant,
            },
            warned: false,
            admin,
            state: State::Open,
            strikes: 0,
            forwarded: 0,
            reading: Reading::On,
            received_ds: now.ds(),
            message_ds: now.ds(),
            pinged_ds: now.ds(),
            memberships: SmallVec::new(),
            messages: Default::default(),
            bytes: Default::default(),
            input: None,
            assembler: None,
            backlog: None,
            terms: Terms::new(route, batch),
        };
        let (encoding, holds) = (conn.encoding(), conn.holds());
        let key = self.conns.insert(conn).ok()?;
        self.owed.open(slot);
        if holds {
            self.owed.block(slot);
        }
        self.metrics.connections.set(self.conns.len() as u64);
        if echo {
            self.hub.echoes.fetch_add(1, Ordering::Relaxed);
        } else {
            self.hub.encodings.add(encoding);
        }
        self.log_opened(id, peer, identity.as_deref());
        if turned_away.is_none() && identity.is_some() {
            self.set_identity(slot, identity);
        }
        if turned_away.is_none() {
            self.hold_newcomer(slot, holding);
        }
        if health && turned_away.is_none() {
            self.tell_health(now, slot);
        } else if turned_away.is_none() {
            if !echo {
                self.begin_talk(now, slot);
            }
            self.welcome_in(now, slot, &rooms);
        }
        self.arm(now, slot);
        if let Some(drain) = &mut self.endings.drain {
            drain.add(slot);
        }
        Some(key)
    }

    /// The transport of a connection ended or broke.
    pub fn lost(&mut self, slot: u32, sockets: &mut impl Sockets) {
        self.remove(slot, sockets);
    }

    /// Forgets a connection and closes its transport.
    pub(in crate::shard) fn remove(&mut self, slot: u32, sockets: &mut impl Sockets) {
        let Some(key) = self.conns.key(slot) else { return };
        self.leave_all(slot);
        let unsent = self.owed.list(slot).map_or(0, |list| self.palette.frames(list));
        let (dropped, bytes) = self.discard_backlog(slot);
        self.metrics.drops.add(DropReason::Closed.index(), u64::from(dropped + unsent));
        self.give_budget(slot, bytes);
        self.release_holding(slot);
        self.release_input(slot);
        self.timers.forget(slot);
        self.owed.clear(slot);
        sockets.close(slot);
        let Some(conn) = self.conns.remove(key) else { return };
        self.newcomers.agents.give(conn.agent);
        self.filters.give(conn.terms.as_ref().and_then(|terms| terms.filter));
        if !mutated(Mutation::KeepAdmission) {
            self.hub.admission.release(conn.ip());
        }
        if conn.echo {
            self.hub.echoes.fetch_sub(1, Ordering::Relaxed);
        } else {
            self.hub.encodings.remove(conn.encoding());
        }
        self.metrics.connections.set(self.conns.len() as u64);
        let reason = match conn.state {
            State::Open => {
                self.metrics.closes.add(CloseReason::TransportLost.index(), 1);
                CloseReason::TransportLost
            }
            State::Closing { reason, .. } => {
                self.endings.closed();
                reason
            }
        };
        if self.program.handlers.hear(HookEvent::Disconnect) && !conn.echo {
            self.tell_end(conn.subject(), reason);
        }
        let peer = conn.socket_addr().map(tracing::field::display);
        tracing::debug!(connection = %conn.id, peer, reason = reason.label(), "disconnected");
    }

    /// Takes a connection out of all its rooms and audiences.
    pub(super) fn leave_all(&mut self, slot: u32) {
        let Some(conn) = self.conns.at_mut(slot) else { return };
        let encoding = conn.encoding();
        self.wide.forget(slot);
        let memberships = std::mem::take(&mut conn.memberships);
        self.leave_accounts(slot, memberships.len());
        for membership in memberships {
            if self.program.handlers.hear(HookEvent::Leave)
                && !mutated(Mutation::ForgetLeaves)
                && let Some(room) = self.rooms.get(membership.room)
            {
                self.tell_leave(slot, room.shared.name.as_str());
            }
            self.leave_room(encoding, membership);
        }
        self.leave_audiences(slot);
    }

    pub(in crate::shard) fn leave_room(&mut self, encoding: Encoding, membership: Membership) {
        self.note_leave(encoding, membership);
        if let Some(moved) = self.rooms.leave(&self.hub.directory, encoding, membership)
            && let Some(other) = self.conns.at_mut(moved.connection)
            && let Some(entry) = other.memberships.get_mut(moved.back as usize)
            && !mutated(Mutation::ForgetMovedMember)
        {
            entry.position = moved.position;
        }
        self.metrics.members.sub(1);
        self.metrics.rooms.set(self.rooms.len() as u64);
    }
}
