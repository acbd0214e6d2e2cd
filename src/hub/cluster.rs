//! Nodes that share their rooms: the seam to the broker that joins them, and what a node knows of the others.
//!
//! # The promises across nodes
//! A room without history: its publications go to the members on the publisher's node at once, and then to the broker.
//! Other nodes get each at most once, those of one node in the order in which that node accepted them. A node counts what
//! it publishes to each channel ([`Stamp`]), so that others see what they have already, and how many they have missed:
//! members of rooms that tell losses are told.
//!
//! A room that remembers: the broker numbers. A publication goes to the broker alone, and comes back with its
//! [`Position`] to all nodes with members, the publisher's among them: one order for all. A node that sees a number too
//! high asks for what is between ([`Broker::fill`]) before it delivers anything later; one that it has seen it drops.
//!
//! What came from another node is never handed to the broker.
//!
//! A node without a broker has no [`Cluster`], and pays one look for that.

use super::interest::InterestListener;
use crate::base::{Mutation, mutated};
use crate::model::{Audience, ConnectionId, NodeId, Position, Publication, RoomName, Selector, Sender};
use foldhash::fast::{FixedState, RandomState};
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Channels whose publications a node counts at the most; beyond them it begins anew, under a new run. Each costs some
/// 100 bytes.
const CHANNELS_MAX: usize = 65_536;

/// What joins a node to others: the node's side of a link.
///
/// All calls are made on threads of shards, or with locks held: they must not block, and not come back to the node. What
/// the broker has for the node, it posts as mail to the shard that [`Scope::shard`] names, in the order in which it came.
///
/// [`InterestListener::interest`] tells of which rooms the broker has to bring publications. For a room that remembers it
/// answers each beginning with an [`Arrival::Stands`], once everything that is numbered later will be brought.
pub trait Broker: InterestListener {
    /// Takes a publication of this node, to bring it to the others. Those of one channel are brought in the order of the
    /// calls.
    ///
    /// # Errors
    /// If the broker cannot be reached: the publication is dropped.
    fn publish(&self, leaving: &Leaving<'_>) -> Result<(), Unreachable>;

    /// The node has seen that it misses publications of a room after that position. They are to be brought, or an
    /// [`Arrival::Lost`] for those that are gone. Asked again for each publication that comes meanwhile: one answer at a
    /// time is enough.
    fn fill(&self, room: &RoomName, after: Position);
}

/// The broker cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreachable;

/// The receivers of a publication, on all nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope<'a> {
    /// The members of a room.
    Room(Cow<'a, str>),
    /// The connections of a user or a tenant.
    Audience(Audience, Cow<'a, str>),
    /// Every connection.
    All,
    /// Every connection that belongs to no tenant.
    Tenantless,
    /// What a selector states that is not plain.
    Part(Box<Selector<'a>>),
}

impl<'a> Scope<'a> {
    /// The name by which nodes say what they want to hear: a room's, or an audience's room's, see
    /// [`InterestListener`]. Empty: all nodes hear it.
    pub fn channel(&self) -> Cow<'_, str> {
        match self {
            Self::Room(name) => Cow::Borrowed(name),
            Self::Audience(audience, name) => Cow::Owned(audience.room(name)),
            Self::Part(part) => Cow::Borrowed(room_alone(part).unwrap_or_default()),
            Self::All | Self::Tenantless => Cow::Borrowed(""),
        }
    }

    /// The shard that is to be sent what comes by this channel: always the same one, so that order is kept.
    pub fn shard(channel: &str, shards: usize) -> usize {
        FixedState::default().hash_one(channel) as usize % shards
    }

    /// The same, owning its names.
    pub fn into_owned(self) -> Scope<'static> {
        match self {
            Self::Room(name) => Scope::Room(Cow::Owned(name.into_owned())),
            Self::Audience(audience, name) => Scope::Audience(audience, Cow::Owned(name.into_owned())),
            Self::All => Scope::All,
            Self::Tenantless => Scope::Tenantless,
            Self::Part(part) => Scope::Part(Box::new(part.into_owned())),
        }
    }
}

/// The room of a selector that states a room and at most exceptions: a publication to it has its place in the room's
/// order.
pub fn room_alone<'s>(to: &'s Selector<'_>) -> Option<&'s str> {
    to.room.as_deref().filter(|_| to.user.is_none() && to.tenant.is_none() && to.connection.is_none())
}

/// A publication on its way to the broker.
#[derive(Debug, Clone)]
pub struct Leaving<'a> {
    /// Its receivers.
    pub to: Scope<'a>,
    /// What it is.
    pub publication: &'a Publication<'a>,
    /// Who gives it its place.
    pub order: Order,
}

/// Who gives a publication its place among others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The node that accepted it and has delivered it to its own connections.
    Stamped(Stamp),
    /// The broker, which brings it back to this node too.
    ByBroker {
        /// Not to the connection that published.
        skips_sender: bool,
    },
}

/// Which publication of which node it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The node that accepted it.
    pub node: NodeId,
    /// Under which count: a larger one begins when a node starts.
    pub run: u64,
    /// Its number among those of the node, run and channel: from 1 on.
    pub number: u64,
}

/// What a broker brings.
#[derive(Debug, Clone)]
pub enum Arrival {
    /// A publication.
    Publication(Arrived),
    /// The order of a room stands here, or had come so far: later publications will be brought, or have been.
    Stands {
        /// The room.
        room: RoomName,
        /// The latest publication.
        position: Position,
    },
    /// What the node missed of a room's order is gone.
    Lost {
        /// The room.
        room: RoomName,
        /// The last that cannot be brought.
        through: Position,
    },
}

/// A publication that a broker brings.
#[derive(Debug, Clone)]
pub struct Arrived {
    /// Its receivers.
    pub to: Scope<'static>,
    /// Type name.
    pub event: String,
    /// See [`Publication::data`].
    pub data: Option<String>,
    /// See [`Publication::whole`].
    pub whole: Option<String>,
    /// The connection that published, and its user where it is known.
    pub sender: Option<(ConnectionId, Option<String>)>,
    /// When it was accepted.
    pub unix_ms: u64,
    /// Who gave it its place.
    pub order: Order,
    /// The place, if the broker gave it.
    pub position: Option<Position>,
}

impl Arrived {
    /// As it left the node that accepted it, for an order that the broker need not give.
    pub fn new(leaving: &Leaving<'_>) -> Self {
        let Publication { event, data, whole, sender, unix_ms, .. } = *leaving.publication;
        Self {
            to: leaving.to.clone().into_owned(),
            event: event.to_owned(),
            data: data.map(str::to_owned),
            whole: whole.map(str::to_owned),
            sender: sender.map(|sender| (sender.id, sender.user.map(str::to_owned))),
            unix_ms,
            order: leaving.order,
            position: None,
        }
    }

    /// It again, without its place.
    pub fn publication(&self) -> Publication<'_> {
        let room = match &self.to {
            Scope::Room(name) => Some(&**name),
            Scope::Part(part) => part.room.as_deref(),
            Scope::Audience(..) | Scope::All | Scope::Tenantless => None,
        };
        Publication {
            event: &self.event,
            room,
            data: self.data.as_deref(),
            whole: self.whole.as_deref(),
            sender: self.sender.as_ref().map(|(id, user)| Sender { id: *id, user: user.as_deref() }),
            unix_ms: self.unix_ms,
            offset: None,
        }
    }
}

impl Arrival {
    /// Memory that it stands for, in bytes.
    pub fn len_bytes(&self) -> usize {
        let len = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let behind = match self {
            Self::Publication(it) => {
                let part = if let Scope::Part(part) = &it.to { part.len_bytes() } else { 0 };
                it.event.len() + len(&it.data) + len(&it.whole) + it.to.channel().len() + part
            }
            Self::Stands { room, .. } | Self::Lost { room, .. } => room.as_str().len(),
        };
        size_of::<Self>() + behind
    }
}

/// What a node makes of a stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It is this node's: its own connections have it.
    Own,
    /// It came before.
    Again,
    /// It is new, after so many that did not come.
    New {
        /// How many.
        lost: u64,
    },
}

/// A node's part in a cluster.
pub struct Cluster {
    node: NodeId,
    broker: Arc<dyn Broker>,
    stamps: Mutex<Stamps>,
    /// By channel, what was last heard of each other node.
    heard: Mutex<HashMap<String, SmallVec<[Stamp; 2]>, RandomState>>,
    lost: AtomicU64,
}

/// How many publications this node has handed on, by channel.
struct Stamps {
    run: u64,
    numbers: HashMap<String, u64, RandomState>,
}

impl Cluster {
    /// The part of a node. `run` grows with each start of a node of that number: the time of the start, in Unix
    /// milliseconds.
    pub fn new(node: NodeId, run: u64, broker: Arc<dyn Broker>) -> Self {
        let stamps = Mutex::new(Stamps { run, numbers: HashMap::default() });
        Self { node, broker, stamps, heard: Mutex::default(), lost: AtomicU64::new(0) }
    }

    /// Which node it is.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Publications of others that did not come, as far as the node knows.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Counts publications of others that did not come.
    pub fn count_lost(&self, lost: u64) {
        self.lost.fetch_add(lost, Ordering::Relaxed);
    }

    /// Hands a publication on that this node has delivered to its own connections. One that the broker does not take is
    /// counted all the same, so that the others see by the next one that it is missing.
    pub fn hand_on(&self, to: Scope<'_>, publication: &Publication<'_>) {
        // Held until the broker has it: the numbers of a channel reach the broker in their order.
        let mut stamps = lock(&self.stamps);
        let (run, number) = stamps.next(&to.channel());
        let order = Order::Stamped(Stamp { node: self.node, run, number });
        // One that cannot be reached counts what it does not take; here there is nothing more to do.
        let _ = self.broker.publish(&Leaving { to, publication, order });
    }

    /// Hands a publication to the broker to be numbered.
    ///
    /// # Errors
    /// If the broker cannot be reached.
    pub fn hand_over(
        &self,
        to: Scope<'_>,
        publication: &Publication<'_>,
        skips_sender: bool,
    ) -> Result<(), Unreachable> {
        self.broker.publish(&Leaving { to, publication, order: Order::ByBroker { skips_sender } })
    }

    /// Asks for what is missing of a room's order.
    pub fn fill(&self, room: &RoomName, after: Position) {
        self.broker.fill(room, after);
    }

    /// A publication of that stamp has come by a channel.
    pub fn hear(&self, channel: &str, stamp: Stamp) -> Heard {
        if stamp.node == self.node && !mutated(Mutation::HearOwnEcho) {
            return Heard::Own;
        }
        let mut heard = lock(&self.heard);
        let nodes = heard.entry_ref(channel).or_default();
        let Some(last) = nodes.iter_mut().find(|last| last.node == stamp.node) else {
            // What came before the node listened is not missed.
            nodes.push(stamp);
            return Heard::New { lost: 0 };
        };
        if (stamp.run, stamp.number) <= (last.run, last.number) {
            return if mutated(Mutation::HearTwice) { Heard::New { lost: 0 } } else { Heard::Again };
        }
        let before = std::mem::replace(last, stamp);
        let since = if before.run == stamp.run { before.number } else { 0 };
        let lost = stamp.number - since - 1;
        Heard::New { lost: if mutated(Mutation::HideRemoteLoss) { 0 } else { lost } }
    }
}

impl InterestListener for Cluster {
    fn interest(&self, room: &RoomName, has_members: bool) {
        if !has_members {
            lock(&self.heard).remove(room.as_str());
        }
        self.broker.interest(room, has_members);
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Stamps {
    /// The run and the next number of a channel.
    fn next(&mut self, channel: &str) -> (u64, u64) {
        if self.numbers.len() >= CHANNELS_MAX && !self.numbers.contains_key(channel) {
            self.numbers.clear();
            self.run += 1;
        }
        let number = self.numbers.entry_ref(channel).or_default();
        *number += 1;
        (self.run, *number)
    }
}

/// A shard that panics ends the process, so a poisoned lock is never read on.
fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;
