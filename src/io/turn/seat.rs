//! Who holds the places of a shard, and the seat that a task has for the connection that it serves.

use super::places::{Caller, Evicted, Places, Stage};
use crate::config::Config;
use crate::hub::Admission;
use crate::io::http::refused::About;
use crate::io::shared::NodeShared;
use crate::metrics::HandshakeFailure;
use crate::wire;
use hyper::HeaderMap;
use socket2::Socket;
use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use tokio::task::AbortHandle;

/// The holder of a place.
pub(in crate::io) enum Holder {
    /// A connection that waits at the door for its first bytes.
    Silent(Silent),
    /// One on its way to its task.
    Handed,
    /// One that this task serves.
    Task(AbortHandle),
}

/// A connection that has said nothing yet.
pub(in crate::io) struct Silent {
    pub socket: Socket,
    /// `None`: of the Unix socket.
    pub peer: Option<SocketAddr>,
    /// Whether [`Admission::arrive`] has counted it.
    pub counted: bool,
}

/// The places of a shard.
pub(in crate::io) type SharedPlaces = Rc<RefCell<Places<Holder>>>;

/// Whether the configuration names this peer a trusted proxy.
pub(in crate::io) fn is_trusted(config: &Config, peer: SocketAddr) -> bool {
    let ip = peer.ip().to_canonical();
    config.trusted_proxies.iter().any(|network| network.contains(&ip))
}

/// Whose share a connection of this peer is part of (`None`: a Unix socket).
pub(super) fn caller_of(config: &Config, admission: &Admission, peer: Option<SocketAddr>) -> Caller {
    match peer {
        Some(peer) if !is_trusted(config, peer) => Caller {
            network: Some(admission.network(peer.ip())),
            near: peer.ip().to_canonical().is_loopback(),
        },
        _ => Caller::EXEMPT,
    }
}

/// Ends a connection that has given way, and counts it.
pub(super) fn end_evicted(node: &NodeShared, shard: usize, evicted: Evicted<Holder>) {
    node.metrics.shards[shard].evictions.inc(evicted.stage.index());
    if evicted.stage <= Stage::Head {
        node.note_failure(shard, HandshakeFailure::Evicted, || {
            let peer = if let Holder::Silent(silent) = &evicted.holder { silent.peer } else { None };
            About::of(peer)
        });
    }
    end(node, evicted.holder);
}

/// Ends a connection that has lost its place.
pub(in crate::io) fn end(node: &NodeShared, holder: Holder) {
    match holder {
        Holder::Silent(Silent { peer: Some(peer), counted: true, .. }) => {
            node.hub.admission.depart(peer.ip());
        }
        // Its task finds that it has no place.
        Holder::Silent(_) | Holder::Handed => {}
        Holder::Task(task) => task.abort(),
    }
}

/// The place of a connection that a task serves. It is given back when this is dropped.
pub(in crate::io) struct Seat {
    places: SharedPlaces,
    key: crate::base::Key,
    node: Arc<NodeShared>,
    shard: usize,
    /// The address for which it counts as arrived.
    counted: Cell<Option<IpAddr>>,
    /// Whether its file descriptor is one of those that are kept for requests.
    is_scarce: bool,
    /// The caller between requests: a trusted proxy speaks for another client in each.
    home: Cell<Caller>,
}

impl Seat {
    /// The seat of the place `key`, which was taken by `caller`.
    pub fn new(
        places: SharedPlaces,
        key: crate::base::Key,
        node: Arc<NodeShared>,
        shard: usize,
        counted: Option<IpAddr>,
        caller: Caller,
        is_scarce: bool,
    ) -> Self {
        let (counted, home) = (Cell::new(counted), Cell::new(caller));
        Self { places, key, node, shard, counted, is_scarce, home }
    }

    /// Whether its file descriptor is kept for requests, so that it becomes no WebSocket.
    pub fn is_scarce(&self) -> bool {
        self.is_scarce
    }

    /// Lets this task be ended when the place goes to another connection; at once if that has happened.
    pub fn held_by(places: &SharedPlaces, key: crate::base::Key, task: AbortHandle) {
        match places.borrow_mut().holder_mut(key) {
            Some(holder) => *holder = Holder::Task(task),
            None => task.abort(),
        }
    }

    /// The places that it is one of, and which.
    pub fn place(&self) -> (SharedPlaces, crate::base::Key) {
        (self.places.clone(), self.key)
    }

    /// The PROXY header has named this peer.
    pub fn speaks_for(&self, config: &Config, peer: Option<SocketAddr>) {
        let caller = caller_of(config, &self.node.hub.admission, peer);
        self.home.set(caller);
        self.move_to(caller);
    }

    /// The head of a request has come.
    pub fn asks(&self, config: &Config, peer: Option<SocketAddr>, headers: &HeaderMap, has_body: bool) {
        if let Some(peer) = peer.filter(|peer| is_trusted(config, *peer)) {
            let ip = wire::client_ip(headers, peer.ip(), &config.trusted_proxies);
            self.move_to(caller_of(config, &self.node.hub.admission, Some(SocketAddr::new(ip, 0))));
        }
        self.is_at(if has_body { Stage::Body } else { Stage::Busy });
    }

    /// The body of its request has come, and it is carried out.
    pub fn has_asked(&self) {
        self.is_at(Stage::Busy);
    }

    /// The answer is there. The connection counts for its address no more: it is no WebSocket.
    pub fn is_answered(&self) {
        self.depart();
        self.move_to(self.home.get());
        self.is_at(Stage::Answered);
    }

    /// The address for which it counts as arrived.
    pub fn counted(&self) -> Option<IpAddr> {
        self.counted.get()
    }

    /// It counts as a connection of the node from now on, which another gives back.
    pub fn is_admitted(&self) {
        self.counted.set(None);
    }

    fn depart(&self) {
        if let Some(ip) = self.counted.take() {
            self.node.hub.admission.depart(ip);
        }
    }

    fn is_at(&self, stage: Stage) {
        self.places.borrow_mut().set_stage(self.node.clock.now().us, self.key, stage);
    }

    fn move_to(&self, caller: Caller) {
        let evicted = self.places.borrow_mut().move_to(self.key, caller.network);
        if let Some(evicted) = evicted {
            end_evicted(&self.node, self.shard, evicted);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.depart();
        self.places.borrow_mut().give(self.key);
    }
}
