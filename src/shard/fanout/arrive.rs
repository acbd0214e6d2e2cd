//! The one way in for what a broker brings from other nodes; see [`crate::hub::Cluster`] for the promises.

use crate::config::Overflow;
use crate::dialect::dialect;
use crate::hub::{
    Arrival, Arrived, Cluster, Heard, Loss, Order, Placed, RoomShared, Scope, Stamp, room_alone,
};
use crate::model::{Answer, ConnectionId, Position, Publication};
use crate::shard::fanout::accept::{Origin, Outgoing, Recipients};
use crate::shard::fanout::ordered::{InOrder, Sequenced};
use crate::shard::fanout::select::Filter;
use crate::shard::fanout::tally::Tally;
use crate::shard::{Now, Shard};
use std::sync::Arc;

impl Shard {
    /// Takes over what a broker brings.
    #[cold]
    pub(in crate::shard) fn arrive(&mut self, now: Now, arrival: Arrival) {
        let Some(cluster) = self.hub.cluster.clone() else { return };
        match arrival {
            Arrival::Publication(arrived) => match (arrived.order, arrived.position) {
                (Order::Stamped(stamp), _) => self.arrive_stamped(now, &cluster, stamp, &arrived),
                (Order::ByBroker { skips_sender }, Some(position)) => {
                    self.arrive_numbered(now, &cluster, &arrived, position, skips_sender);
                }
                // The broker was to number it, and did not.
                (Order::ByBroker { .. }, None) => {}
            },
            Arrival::Stands { room, position } => {
                let Some(shared) = self.with_members(room.as_str()) else { return };
                let Some(log) = &shared.log else { return };
                if let Some(after) = self.hub.directory.stands(log, position, now.ms()) {
                    cluster.fill(&room, after);
                }
            }
            Arrival::Lost { room, through } => {
                if let Some(shared) = self.with_members(room.as_str()) {
                    self.lose_in_order(now, &cluster, &shared, through);
                }
            }
        }
    }

    /// The room of this name, if it has members on this node. A room can be kept without members: what a broker brings
    /// after all members have left does not change it.
    fn with_members(&self, room: &str) -> Option<Arc<RoomShared>> {
        self.hub.directory.get(room).filter(|room| room.members() > 0)
    }

    /// A publication that other nodes deliver as it comes.
    fn arrive_stamped(&mut self, now: Now, cluster: &Cluster, stamp: Stamp, arrived: &Arrived) {
        let channel = arrived.to.channel();
        let room = if channel.is_empty() { None } else { self.with_members(&channel) };
        if !channel.is_empty() && room.is_none() {
            return;
        }
        let Heard::New { lost } = cluster.hear(&channel, stamp) else { return };
        if lost > 0 {
            cluster.count_lost(lost);
            if let Some(room) = room.as_ref().filter(|room| tells_losses(room)) {
                let answer = Answer::Gap { room: room.name.as_str(), lost };
                self.announce(now, room, &answer);
            }
        }
        if room.as_ref().is_some_and(|room| room.log.is_some()) {
            // The rules of the other node have a room without history here: its order cannot be kept.
            return cluster.count_lost(1);
        }
        let tally = Arc::new(Tally::new(Box::new(|_| {})));
        let to = match &arrived.to {
            Scope::Room(name) => Recipients::Room { name, known: room },
            Scope::Audience(audience, name) => Recipients::Audience(*audience, name),
            Scope::All => Recipients::All,
            Scope::Tenantless => Recipients::Tenantless,
            Scope::Part(of) => Recipients::Part { of, tally: &tally },
        };
        self.accept(now, Outgoing { to, publication: arrived.publication(), origin: Origin::Node });
    }

    /// A publication that has its place in the order of a room that remembers.
    fn arrive_numbered(
        &mut self,
        now: Now,
        cluster: &Cluster,
        arrived: &Arrived,
        position: Position,
        skips_sender: bool,
    ) {
        let publication = arrived.publication();
        let Some(room) = publication.room.and_then(|room| self.with_members(room)) else { return };
        let Some(log) = &room.log else { return cluster.count_lost(1) };
        let loss = self.hub.loss(&room.policy, publication.data);
        let history = match self.hub.directory.place(log, &publication, || None, position, now.ms()) {
            Placed::Next(history) => history,
            Placed::Missing { after } => return cluster.fill(&room.name, after),
            Placed::Again | Placed::Forgotten => return,
        };
        let sequenced = Sequenced::latest(self.mailer.shards(), &room, log, &history);
        drop(history);
        let publication =
            Publication { offset: sequenced.position().map(|position| position.offset), ..publication };
        let by_encoding = self.build(now, &publication, sequenced.encodings());
        let except = self.excepted_here(arrived, skips_sender);
        let part = (!except.is_empty()).then(|| (Arc::new(Filter::except(except)), None));
        let what = InOrder { by_encoding, loss, part, except: None };
        self.deliver_sequenced(now, &room, log, sequenced, what);
    }

    /// The connections of this node that a publication is not for.
    fn excepted_here(&self, arrived: &Arrived, skips_sender: bool) -> Vec<ConnectionId> {
        let sender = arrived.sender.as_ref().map(|(id, _)| *id).filter(|_| skips_sender);
        let stated = match &arrived.to {
            Scope::Part(part) if room_alone(part).is_some() => part.except.as_slice(),
            _ => &[],
        };
        let all = stated.iter().copied().chain(sender);
        all.filter(|id| self.hub.locate(*id).is_some()).collect()
    }

    /// Publications of a room that remembers are gone: its members are told in their place.
    fn lose_in_order(&mut self, now: Now, cluster: &Cluster, room: &Arc<RoomShared>, through: Position) {
        let Some(log) = &room.log else { return };
        let Some(mut history) = log.lock(now.ms()) else { return };
        let lost = history.lose(through);
        if lost == 0 {
            return;
        }
        let sequenced = Sequenced::latest(self.mailer.shards(), room, log, &history);
        drop(history);
        cluster.count_lost(lost);
        let answer = Answer::Gap { room: room.name.as_str(), lost };
        let write = |id, out: &mut Vec<u8>| dialect(id).encode_answer(&answer, now.unix_ms, out);
        let by_encoding = self.build_text(now, sequenced.encodings(), write);
        let what = InOrder { by_encoding, loss: Loss::Notice, part: None, except: None };
        self.deliver_sequenced(now, room, log, sequenced, what);
    }
}

/// Whether members of a room are told what they lose.
fn tells_losses(room: &RoomShared) -> bool {
    !matches!(room.policy.overflow, Overflow::Disconnect)
}
