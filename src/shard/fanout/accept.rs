//! The one way in for publications: for each publisher this decides which way a publication goes.

use crate::base::{Mutation, mutated};
use crate::hub::{RoomShared, Scope, room_alone};
use crate::model::{Audience, Draft, Publication, Selector};
use crate::shard::fanout::mail::{Published, Target};
use crate::shard::fanout::tally::Tally;
use crate::shard::{Now, Shard};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A publication before it has gone any way.
pub(in crate::shard) struct Outgoing<'a> {
    pub to: Recipients<'a>,
    pub publication: Publication<'a>,
    pub origin: Origin,
}

/// Where a publication comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The connection in a slot of the shard that accepts it.
    Client {
        /// The slot.
        slot: u32,
    },
    /// The embedding program.
    Program,
    /// The HTTP API.
    Api,
    /// Another node, whose broker brought it.
    Node,
}

impl Origin {
    fn slot(self) -> Option<u32> {
        if let Self::Client { slot } = self { Some(slot) } else { None }
    }
}

/// The receivers of a publication.
pub(in crate::shard) enum Recipients<'a> {
    /// The members of a room. With `known` the room need not be looked for.
    Room { name: &'a str, known: Option<Arc<RoomShared>> },
    /// The connections of a user or of a tenant.
    Audience(Audience, &'a str),
    /// Every connection.
    All,
    /// Every connection that belongs to no tenant.
    Tenantless,
    /// The part of the connections that a selector states which is not plain: see [`Selector::is_plain`]. They are
    /// counted in the tally, which other shards may hold for longer than the call.
    Part { of: &'a Selector<'a>, tally: &'a Arc<Tally> },
}

impl<'a> Recipients<'a> {
    /// Those of a plain selector.
    fn plain(to: &'a Selector<'_>) -> Self {
        match (&to.user, &to.tenant, &to.room) {
            (Some(user), ..) => Self::Audience(Audience::User, user),
            (None, Some(tenant), _) => Self::Audience(Audience::Tenant, tenant),
            (None, None, Some(room)) => Self::Room { name: room, known: None },
            (None, None, None) => Self::All,
        }
    }

    /// The same for any node.
    fn scope(&self) -> Scope<'a> {
        match self {
            Self::Room { name, .. } => Scope::Room(Cow::Borrowed(*name)),
            Self::Audience(audience, name) => Scope::Audience(*audience, Cow::Borrowed(*name)),
            Self::All => Scope::All,
            Self::Tenantless => Scope::Tenantless,
            Self::Part { of, .. } => Scope::Part(Box::new(Selector::clone(of))),
        }
    }
}

impl Shard {
    /// Takes a publication in, and brings it to all that it is for. A publisher whose room, or all of whose rooms, are
    /// behind is held.
    // For each caller it is one way only, which is found when this is a part of the caller.
    #[inline(always)]
    pub(in crate::shard) fn accept(&mut self, now: Now, outgoing: Outgoing<'_>) -> Published {
        if self.hub.cluster.is_some() {
            return self.accept_in_cluster(now, outgoing);
        }
        self.accept_here(now, outgoing)
    }

    /// The one place where what was not heard from another node goes to the broker: behind the own connections, unless
    /// the broker numbers it.
    #[cold]
    fn accept_in_cluster(&mut self, now: Now, outgoing: Outgoing<'_>) -> Published {
        let Outgoing { to, publication, origin } = &outgoing;
        let Some(cluster) = self.hub.cluster.clone() else { return Published::default() };
        let is_heard = *origin == Origin::Node && !mutated(Mutation::HandOnRemote);
        if is_heard || self.is_for_one_here(to) {
            return self.accept_here(now, outgoing);
        }
        let (scope, publication) = (to.scope(), *publication);
        if self.is_numbered_by_broker(to) {
            let skips_sender = self.excepted(*origin).is_some();
            let is_refused = cluster.hand_over(scope, &publication, skips_sender).is_err();
            if mutated(Mutation::NumberHere) {
                self.accept_here(now, outgoing);
            }
            return Published { is_refused, ..Published::default() };
        }
        let published = self.accept_here(now, outgoing);
        cluster.hand_on(scope, &publication);
        published
    }

    /// Whether a publication is for one connection, which lives on this node if anywhere.
    fn is_for_one_here(&self, to: &Recipients<'_>) -> bool {
        let Recipients::Part { of, .. } = to else { return false };
        of.connection.is_some_and(|id| self.hub.locate(id).is_some())
    }

    /// Whether a publication has its place in the order of a room that remembers.
    fn is_numbered_by_broker(&self, to: &Recipients<'_>) -> bool {
        match to {
            Recipients::Room { known: Some(room), .. } => room.log.is_some(),
            Recipients::Room { name, known: None } => self.hub.directory.policy(name).remembers(),
            Recipients::Part { of, .. } => {
                room_alone(of).is_some_and(|room| self.hub.directory.policy(room).remembers())
            }
            Recipients::Audience(..) | Recipients::All | Recipients::Tenantless => false,
        }
    }

    /// The slot of the publisher, if it does not get what it publishes.
    fn excepted(&self, origin: Origin) -> Option<u32> {
        origin.slot().filter(|slot| self.conns.at(*slot).is_some_and(|conn| !conn.hears_itself))
    }

    #[inline(always)]
    fn accept_here(&mut self, now: Now, outgoing: Outgoing<'_>) -> Published {
        let Outgoing { to, publication, origin } = outgoing;
        let except = self.excepted(origin);
        match to {
            Recipients::Room { name, known } => {
                let mut room = known.or_else(|| self.hub.directory.get_or_remember(name));
                while let Some(shared) = room {
                    if let Some(published) = self.publish_to_room(now, &shared, &publication, except) {
                        self.hold_behind(origin, shared);
                        return published;
                    }
                    // It has no members and was forgotten since it was found: there is a new one, or none.
                    room = self.hub.directory.get_or_remember(name);
                }
                Published::default()
            }
            Recipients::Audience(audience, name) => {
                let room = self.hub.directory.get(&audience.room(name));
                let Some(shared) = room else { return Published::default() };
                let delivered = self.publish_to_audience(now, &shared, &publication, except);
                self.hold_behind(origin, shared);
                Published { delivered, ..Published::default() }
            }
            Recipients::All => self.accept_for_all(now, &publication, Target::All, except, origin),
            Recipients::Tenantless => {
                self.accept_for_all(now, &publication, Target::Tenantless, except, origin)
            }
            Recipients::Part { of, tally } => {
                let position = self.publish_to_part(now, of, &publication, tally);
                Published { position, ..Published::default() }
            }
        }
    }

    fn accept_for_all(
        &mut self,
        now: Now,
        publication: &Publication<'_>,
        target: Target,
        except: Option<u32>,
        origin: Origin,
    ) -> Published {
        self.publish_to_conns(now, publication, target, except);
        if let Some(slot) = origin.slot()
            && self.hub.waiting.load(Ordering::Relaxed) > self.turn.steps.waiting_bytes_max
        {
            self.hold(slot, None);
        }
        let echoes = self.hub.echoes.load(Ordering::Relaxed);
        let delivered = self.hub.admission.connections().saturating_sub(echoes);
        Published { delivered, ..Published::default() }
    }

    /// Holds a publishing connection while the room is behind.
    fn hold_behind(&mut self, origin: Origin, room: Arc<RoomShared>) {
        if let Some(slot) = origin.slot()
            && room.waiting.load(Ordering::Relaxed) > self.turn.steps.waiting_bytes_max
        {
            self.hold(slot, Some(room));
        }
    }

    /// Publishes for the API, for all that one name stands for; see [`Selector::is_plain`].
    pub fn outside_publish(&mut self, now: Now, to: &Selector<'_>, draft: &Draft<'_>) -> Published {
        let publication = draft.publication(to, now.unix_ms);
        self.accept(now, Outgoing { to: Recipients::plain(to), publication, origin: Origin::Api })
    }

    /// Publishes for the program or the API, whatever the selector. Receivers are counted in `tally`, which may be held
    /// by other shards when this returns.
    pub fn publish_selected(
        &mut self,
        now: Now,
        origin: Origin,
        to: &Selector<'_>,
        draft: &Draft<'_>,
        tally: &Arc<Tally>,
    ) -> Published {
        let publication = draft.publication(to, now.unix_ms);
        let recipients = match to.is_plain() {
            true => Recipients::plain(to),
            false => Recipients::Part { of: to, tally },
        };
        let published = self.accept(now, Outgoing { to: recipients, publication, origin });
        tally.add(published.delivered);
        published
    }
}
