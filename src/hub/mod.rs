//! Rooms, membership, interest and limits. Pure: no I/O and no clock.
//!
//! [`Hub`] is what all shards of a node share: the directory of rooms and the admission counters. [`Rooms`] is what
//! each shard has for itself. A delivery touches only the latter.

mod account;
mod accounts;
mod activity;
mod admission;
mod cluster;
mod directory;
mod encodings;
mod fair;
mod fields;
mod filters;
mod histories;
mod history;
mod interest;
mod network;
mod overflow;
mod presence;
mod registry;
mod room_log;
mod rooms;
mod shared_bytes;
mod shares;
mod turnstile;

pub use account::{Account, Party};
pub use accounts::{Accounts, Holding};
pub use activity::Activity;
pub use admission::{Admission, Refused};
pub use cluster::{
    Arrival, Arrived, Broker, Cluster, Heard, Leaving, Order, Scope, Stamp, Unreachable, room_alone,
};
pub use directory::{Directory, Interest, NoPlace, RoomShared};
pub use encodings::Encodings;
pub use fields::{FIELDS_MAX, Fields, NoFilter};
pub use filters::{DataHash, FilterId, Filters, Verdict};
pub use histories::Placed;
pub use history::{ENTRY_BYTES, History, Stored};
pub use interest::InterestListener;
pub use network::{Network, Prefixes};
pub use overflow::Loss;
pub use presence::{Notice, Presence, Roll, Take};
pub use registry::{METADATA_BYTES_MAX, REGISTERED_MAX, Registered, Registry, RegistryFull};
pub use room_log::{LogGuard, RoomLog};
pub use rooms::{Group, Membership, Moved, Place, Room, Rooms};
pub use shared_bytes::SharedBytes;

use crate::base::Seldom;
use crate::config::RoomRule;
use crate::model::{ConnectionId, ConnectionKey, Eviction, Locator, NodeId, Refusal};
use std::hash::RandomState;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

/// What the shards of one node share.
#[derive(Debug)]
pub struct Hub {
    /// Every room of the node.
    pub directory: Directory,
    /// What backends say of rooms.
    pub registry: Registry,
    /// Connection counts and their limits.
    pub admission: Admission,
    /// What users and tenants have of the node.
    pub accounts: Accounts,
    /// Which encodings its connections have.
    pub encodings: Encodings,
    /// By what its clients want to be sent less.
    pub filters: Filters,
    /// Bytes in all outboxes of the node.
    pub outboxes: SharedBytes,
    /// Bytes of all unfinished messages of the node.
    pub inputs: SharedBytes,
    /// Bytes of publications that wait for the members of wide rooms, on all shards.
    pub waiting: AtomicUsize,
    /// When each reason for which requests are refused was told in the log, by [`Refusal::index`].
    pub refused: [Seldom; Refusal::ALL.len()],
    /// When each cause for which slow consumers are evicted was told, by [`Eviction::index`].
    pub evicted: [Seldom; Eviction::COUNT],
    /// How many of the admitted connections are echoes, which no publication goes to.
    pub echoes: AtomicU32,
    /// Which node of its cluster it is.
    pub node: NodeId,
    /// What joins it to the others, if there are any.
    pub cluster: Option<Arc<Cluster>>,
    /// Key that hides locators in connection ids.
    pub connection_key: ConnectionKey,
    /// Hides which values share a key of conflation.
    key_hash: RandomState,
    draining: AtomicBool,
}

impl Hub {
    /// The shared part of a node with `shards` shards, whose rooms obey `rules`. `connection_secret` is what the node's
    /// [`ConnectionKey`] is made from: 128 random bits.
    pub fn new(shards: usize, connection_secret: u128, rules: &[RoomRule]) -> Self {
        Self {
            directory: Directory::new(shards, rules),
            registry: Registry::default(),
            admission: Admission::default(),
            accounts: Accounts::default(),
            encodings: Encodings::default(),
            filters: Filters::new(shards),
            outboxes: SharedBytes::new(shards),
            inputs: SharedBytes::new(shards),
            waiting: AtomicUsize::new(0),
            refused: Default::default(),
            evicted: Default::default(),
            echoes: AtomicU32::new(0),
            node: NodeId::ALONE,
            cluster: None,
            connection_key: ConnectionKey::new(connection_secret),
            key_hash: RandomState::new(),
            draining: AtomicBool::new(false),
        }
    }

    /// Makes the node one of a cluster, whose nodes have one secret for ids. To be called before anything else.
    pub fn join_cluster(&mut self, cluster: Arc<Cluster>, connection_secret: u128) {
        self.node = cluster.node();
        self.connection_key = ConnectionKey::new(connection_secret);
        self.directory.set_listener(cluster.clone());
        self.directory.let_others_number();
        self.cluster = Some(cluster);
    }

    /// Where the connection of an id would live if it is one of this node's; `None` for nearly all that are not.
    pub fn locate(&self, id: ConnectionId) -> Option<Locator> {
        Some(id.locator(&self.connection_key)).filter(|locator| locator.node == self.node)
    }

    /// Whether the node is going down: no new connections, not ready.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Marks the node as going down, for good.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }
}
