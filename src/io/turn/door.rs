//! The way into a shard: accepts connections, reads their first bytes, and opens those that ask plainly for WebSocket
//! and may have it, without a task of their own. Everybody else goes to hyper ([`crate::io::http`]) with the bytes read.
//!
//! All of it is part of the shard's turns and bounded in each, by number and by time, so that a storm of connections
//! does not hold up those that are there.

mod scarcity;

use super::descriptors::Left;
use super::listening::Listening;
use super::parcel::{Accepted, Content, send};
use super::places::{Evicted, NoPlace, Places, Stage, Terms};
use super::seat::{self, Holder, Seat, SharedPlaces, Silent};
use super::socket_table::SocketTable;
use crate::base::Key;
use crate::config::Config;
use crate::io::client::outage::Outage;
use crate::io::http::refused::About;
use crate::io::http::reply;
use crate::io::http::upgrade::{self, Admitted, Applicant, Asked, For};
use crate::io::shared::NodeShared;
use crate::metrics::{HandshakeFailure, ShardMetrics};
use crate::shard::{Now, Shard};
use crate::wire::{self, ProxyParsed};
use hyper::{Method, Version};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use socket2::Socket;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Connections accepted, and first bytes read, in one turn.
const STEPS_MAX: u32 = 64;

/// Connections handed to hyper in one turn, each of which costs some three times what one costs that is opened here.
const HANDED_MAX: usize = 16;

/// Time that a turn always has for those who come.
const TIME_MIN: Duration = Duration::from_millis(1);

/// Longest PROXY header taken here, in bytes; hyper gets connections with longer ones.
const PROXY_BYTES_MAX: usize = 600;

/// What is in the low half of the door's tokens: no connection's slot.
const MARK: usize = u32::MAX as usize;

/// Tokens of the listeners. The highest of all is the mailbox's.
const TCP_TOKEN: Token = Token((u32::MAX as usize - 1) << 32 | MARK);
const UNIX_TOKEN: Token = Token((u32::MAX as usize - 2) << 32 | MARK);

/// A connection from its acceptance until it is opened or handed on.
struct Arrival {
    socket: Socket,
    /// `None`: of the Unix socket.
    peer: Option<SocketAddr>,
    /// Its place, if it has had to wait.
    place: Option<Key>,
    /// Whether [`crate::hub::Admission::arrive`] has counted it.
    counted: bool,
    /// Whether the poll watches its socket.
    watched: bool,
}

impl Arrival {
    fn new(socket: Socket, peer: Option<SocketAddr>) -> Self {
        Self { socket, peer, place: None, counted: false, watched: false }
    }

    /// The address for which it counts as arrived.
    fn arrived(&self) -> Option<IpAddr> {
        self.peer.filter(|_| self.counted).map(|peer| peer.ip())
    }
}

/// A connection for hyper.
pub(in crate::io) struct Handed {
    pub socket: Socket,
    /// `None`: of the Unix socket.
    pub peer: Option<SocketAddr>,
    /// What was read of it.
    pub read: Vec<u8>,
    /// When its first request has to be there, in microseconds of the node's clock.
    pub deadline_us: u64,
    pub seat: Seat,
}

/// What the door changes beside itself.
pub(super) struct Inside<'d> {
    pub shard: &'d mut Shard,
    pub sockets: &'d mut SocketTable,
    pub scratch: &'d mut [u8],
}

/// The door of one shard.
pub(super) struct Door {
    tcp: Option<Listening<mio::net::TcpListener>>,
    unix: Option<Listening<mio::net::UnixListener>>,
    /// The shard that gets the next connection of the Unix socket.
    next_shard: usize,
    /// The connections that are no WebSocket, or not yet: those that wait here, and those that hyper serves.
    places: SharedPlaces,
    /// Slots of places whose connections may have something to read.
    knocking: VecDeque<u32>,
    /// Sockets accepted by another shard.
    accepted: VecDeque<Accepted>,
    handed: Vec<Handed>,
    /// Connections come that only descriptors kept for requests are left for.
    scarcity: Outage,
    registry: Registry,
    node: Arc<NodeShared>,
    metrics: Arc<ShardMetrics>,
    index: usize,
}

impl Door {
    /// A door without listeners, for the shard number `index`.
    pub fn new(
        config: &Config,
        registry: Registry,
        node: Arc<NodeShared>,
        metrics: Arc<ShardMetrics>,
        index: usize,
    ) -> Self {
        let patience_us = config.times.handshake_timeout.as_micros() as u64;
        let places = Places::new(Terms { max: config.http.connections_max, patience_us });
        Self {
            tcp: None,
            unix: None,
            next_shard: index,
            places: Rc::new(RefCell::new(places)),
            knocking: VecDeque::new(),
            accepted: VecDeque::new(),
            handed: Vec::new(),
            scarcity: Outage::default(),
            registry,
            node,
            metrics,
            index,
        }
    }

    /// Begins to accept.
    ///
    /// # Errors
    /// If the poll does not take a listener.
    pub fn listen(
        &mut self,
        tcp: Option<std::net::TcpListener>,
        unix: Option<std::os::unix::net::UnixListener>,
    ) -> std::io::Result<()> {
        if let Some(tcp) = tcp {
            let mut tcp = mio::net::TcpListener::from_std(tcp);
            self.registry.register(&mut tcp, TCP_TOKEN, Interest::READABLE)?;
            self.tcp = Some(Listening::new(tcp));
        }
        if let Some(unix) = unix {
            let mut unix = mio::net::UnixListener::from_std(unix);
            self.registry.register(&mut unix, UNIX_TOKEN, Interest::READABLE)?;
            self.unix = Some(Listening::new(unix));
        }
        Ok(())
    }

    /// Ends to accept. Who is at the door is still served.
    pub fn close(&mut self) {
        (self.tcp, self.unix) = (None, None);
    }

    /// Whether nobody is at the door, but for those that have said nothing.
    pub fn is_quiet(&self) -> bool {
        self.handed.is_empty()
            && self.knocking.is_empty()
            && self.accepted.is_empty()
            && !self.tcp.as_ref().is_some_and(Listening::has_more)
            && !self.unix.as_ref().is_some_and(Listening::has_more)
    }

    /// Takes a readiness event in, if it is one of the door's.
    pub fn event(&mut self, token: Token) -> bool {
        if token.0 & MARK != MARK {
            return false;
        }
        match token {
            TCP_TOKEN => self.tcp.iter_mut().for_each(Listening::ready),
            UNIX_TOKEN => self.unix.iter_mut().for_each(Listening::ready),
            // Of one that is not there any more it may be another's: then a read finds nothing.
            Token(token) => self.knocking.push_back((token >> 32) as u32),
        }
        true
    }

    /// A socket that another shard has accepted.
    pub fn accepted(&mut self, accepted: Accepted) {
        self.accepted.push_back(accepted);
    }

    /// Those who are for hyper.
    pub fn take_handed(&mut self) -> Vec<Handed> {
        std::mem::take(&mut self.handed)
    }

    /// Whether there is somebody for hyper.
    pub fn has_handed(&self) -> bool {
        !self.handed.is_empty()
    }

    /// When the door has something to do if nothing happens, in microseconds of the node's clock.
    pub fn deadline_us(&self) -> Option<u64> {
        let pauses = [
            self.tcp.as_ref().and_then(Listening::paused_until_us),
            self.unix.as_ref().and_then(Listening::paused_until_us),
        ];
        pauses.into_iter().flatten().chain(self.places.borrow().look_us()).min()
    }

    /// Lets in who is at the door, for `time` at the most, but not less than [`TIME_MIN`]. Returns whether somebody is
    /// left.
    pub fn serve(&mut self, now: Now, time: Duration, mut inside: Inside<'_>) -> bool {
        self.look(now);
        let more = self.take_steps(now, time, &mut inside);
        self.metrics.places.set(self.places.borrow().len() as u64);
        more
    }

    fn take_steps(&mut self, now: Now, time: Duration, inside: &mut Inside<'_>) -> bool {
        let began = Instant::now();
        let time = time.max(TIME_MIN);
        for _ in 0..STEPS_MAX {
            if self.handed.len() >= HANDED_MAX {
                return true;
            }
            if !self.step(now, inside) {
                return false;
            }
            if began.elapsed() > time {
                return true;
            }
        }
        true
    }

    /// Does one thing, if there is one to do. Those who were let wait go before those who come.
    fn step(&mut self, now: Now, inside: &mut Inside<'_>) -> bool {
        if let Some(slot) = self.knocking.pop_front() {
            let key = self.places.borrow().key(slot);
            if let Some(key) = key {
                self.knock(now, key, inside);
            }
        } else if let Some(Accepted { socket, peer }) = self.accepted.pop_front() {
            self.arrive(now, Arrival::new(socket, peer), inside);
        } else if let Some((stream, peer)) =
            self.tcp.as_mut().and_then(|tcp| tcp.accept(now.us, self.index, &self.metrics))
        {
            let arrival = Arrival::new(Socket::from(std::os::fd::OwnedFd::from(stream)), Some(peer));
            if let Some(arrival) = self.pass_on(arrival) {
                self.arrive(now, arrival, inside);
            }
        } else if let Some((stream, _)) =
            self.unix.as_mut().and_then(|unix| unix.accept(now.us, self.index, &self.metrics))
        {
            let socket = Socket::from(std::os::fd::OwnedFd::from(stream));
            self.next_shard = (self.next_shard + 1) % self.node.mailboxes.len();
            if self.next_shard == self.index {
                self.arrive(now, Arrival::new(socket, None), inside);
            } else {
                self.send(self.next_shard, Accepted { socket, peer: None });
            }
        } else {
            return false;
        }
        true
    }

    fn send(&self, shard: usize, accepted: Accepted) {
        send(&self.node.mailboxes, self.node.clock, shard, Content::Accepted(accepted));
    }

    fn failed(&self, failure: HandshakeFailure, socket: Option<&Socket>) {
        self.node.note_failure(self.index, failure, || {
            let peer = socket.and_then(|socket| socket.peer_addr().ok()?.as_socket());
            About::of(peer)
        });
    }

    /// A new connection. What it asks is often there already; then it needs no place here.
    fn arrive(&mut self, now: Now, mut arrival: Arrival, inside: &mut Inside<'_>) {
        let config = inside.shard.config().clone();
        if !self.has_descriptors(&mut arrival) {
            return self.refuse(&arrival.socket, HandshakeFailure::Descriptors, reply::NO_DESCRIPTORS);
        }
        match read_first(&arrival.socket, inside.scratch) {
            Some(len) => self.asks(now, arrival, &config, len, inside),
            None => self.wait(now, arrival, &config),
        }
    }

    /// Lets a connection wait until it says something, which costs no more than its socket and a place.
    fn wait(&mut self, now: Now, Arrival { socket, peer, .. }: Arrival, config: &Config) {
        let fd = socket.as_raw_fd();
        let Some(counted) = self.count(&socket, peer, config) else { return };
        let silent = Silent { socket, peer, counted };
        let key = match self.take_place(now, Stage::Silent, peer, Holder::Silent(silent), config) {
            Ok(key) => key,
            Err((why, holder)) => {
                if let Holder::Silent(Silent { socket, .. }) = &holder {
                    self.refuse_place(socket, why);
                }
                return seat::end(&self.node, holder);
            }
        };
        let token = Token((key.slot as usize) << 32 | MARK);
        if let Err(error) = self.registry.register(&mut SourceFd(&fd), token, Interest::READABLE) {
            tracing::error!(%error, "cannot watch a new socket");
            self.lose(key);
        }
    }

    /// Counts a connection as arrived, if its address counts. `None`: the address has too many, and it was told so.
    fn count(&self, socket: &Socket, peer: Option<SocketAddr>, config: &Config) -> Option<bool> {
        let Some(peer) = peer.filter(|peer| !seat::is_trusted(config, *peer)) else { return Some(false) };
        if !self.node.hub.admission.arrive(peer.ip(), config.limits.connections_per_ip_max) {
            self.refuse(socket, HandshakeFailure::IpFull, reply::ADDRESS_FULL);
            return None;
        }
        Some(true)
    }

    /// Gives a connection a place, which may cost another one its own.
    fn take_place(
        &self,
        now: Now,
        stage: Stage,
        peer: Option<SocketAddr>,
        holder: Holder,
        config: &Config,
    ) -> Result<Key, (NoPlace, Holder)> {
        let caller = seat::caller_of(config, &self.node.hub.admission, peer);
        let (key, evicted) = self.places.borrow_mut().take(now.us, caller, stage, holder)?;
        if let Some(evicted) = evicted {
            self.end_evicted(evicted);
        }
        Ok(key)
    }

    fn end_evicted(&self, evicted: Evicted<Holder>) {
        seat::end_evicted(&self.node, self.index, evicted);
    }

    fn refuse_place(&self, socket: &Socket, why: NoPlace) {
        match why {
            NoPlace::Full => self.refuse(socket, HandshakeFailure::HttpFull, reply::HTTP_FULL),
            NoPlace::Share => self.refuse(socket, HandshakeFailure::AddressShare, reply::ADDRESS_FULL),
        }
    }

    /// Counts a refusal and tells it. So little fits the buffer of any new socket; a peer that has gone needs no
    /// answer.
    fn refuse(&self, socket: &Socket, failure: HandshakeFailure, answer: &[u8]) {
        self.failed(failure, Some(socket));
        let _ = socket.send_with_flags(answer, libc::MSG_NOSIGNAL);
    }

    /// Takes a connection its place and ends it.
    fn lose(&self, key: Key) {
        let holder = self.places.borrow_mut().give(key);
        if let Some(holder) = holder {
            seat::end(&self.node, holder);
        }
    }

    /// A connection that waits may have said something.
    fn knock(&mut self, now: Now, key: Key, inside: &mut Inside<'_>) {
        let mut places = self.places.borrow_mut();
        let Some(holder) = places.holder_mut(key) else { return };
        let Holder::Silent(Silent { socket, .. }) = holder else { return };
        let Some(len) = read_first(socket, inside.scratch) else { return };
        let Holder::Silent(silent) = std::mem::replace(holder, Holder::Handed) else { return };
        drop(places);
        let Silent { socket, peer, counted } = silent;
        let config = inside.shard.config().clone();
        self.asks(
            now,
            Arrival { socket, peer, place: Some(key), counted, watched: true },
            &config,
            len,
            inside,
        );
    }

    /// A connection has said the first `len` bytes of the scratch buffer, or is at its end without any.
    fn asks(&mut self, now: Now, mut arrival: Arrival, config: &Config, len: usize, inside: &mut Inside<'_>) {
        let mut is_scarce = self.node.descriptors.left(&arrival.socket) != Left::Plenty;
        if is_scarce {
            self.take_lower(&mut arrival);
            is_scarce = self.node.descriptors.left(&arrival.socket) != Left::Plenty;
        }
        let may_open = len > 0 && !is_scarce;
        let opens = may_open.then(|| self.may_upgrade(config, &arrival, &inside.scratch[..len])).flatten();
        if let Some((admitted, used)) = opens {
            if let Some(key) = arrival.place {
                self.places.borrow_mut().give(key);
            }
            return self.open_one(now, arrival.socket, admitted, arrival.watched, used..len, inside);
        }
        if len > 0 {
            return self.hand(now, arrival, config, inside.scratch[..len].to_vec());
        }
        if let Some(key) = arrival.place {
            self.places.borrow_mut().give(key);
        }
        if let Some(ip) = arrival.arrived() {
            self.node.hub.admission.depart(ip);
        }
    }

    /// Hands a connection to hyper, with what was read of it.
    fn hand(&mut self, now: Now, arrival: Arrival, config: &Config, read: Vec<u8>) {
        let Arrival { socket, peer, place, mut counted, watched } = arrival;
        if watched {
            // Fails never, since it is watched.
            let _ = self.registry.deregister(&mut SourceFd(&socket.as_raw_fd()));
        }
        let key = if let Some(key) = place {
            self.places.borrow_mut().set_stage(now.us, key, Stage::Head);
            key
        } else {
            let Some(counts) = self.count(&socket, peer, config) else { return };
            counted = counts;
            match self.take_place(now, Stage::Head, peer, Holder::Handed, config) {
                Ok(key) => key,
                Err((why, _)) => {
                    self.refuse_place(&socket, why);
                    return seat::end(&self.node, Holder::Silent(Silent { socket, peer, counted }));
                }
            }
        };
        let caller = seat::caller_of(config, &self.node.hub.admission, peer);
        let counted = peer.filter(|_| counted).map(|peer| peer.ip());
        let is_scarce = self.node.descriptors.left(&socket) != Left::Plenty;
        let (places, node) = (self.places.clone(), self.node.clone());
        let seat = Seat::new(places, key, node, self.index, counted, caller, is_scarce);
        let deadline_us = now.us + config.times.handshake_timeout.as_micros() as u64;
        self.handed.push(Handed { socket, peer, read, deadline_us, seat });
    }

    /// Whether these bytes begin with a whole and plain request that is granted, and how many of them it is. Anything
    /// else is for hyper, refusals too.
    fn may_upgrade(&self, config: &Config, arrival: &Arrival, bytes: &[u8]) -> Option<(Admitted, usize)> {
        let (mut start, mut peer) = (0, arrival.peer);
        if upgrade::has_proxy_header(config, peer) {
            let Ok(ProxyParsed::Done { len, source }) = wire::parse_proxy_header(bytes) else { return None };
            if len > PROXY_BYTES_MAX {
                return None;
            }
            (start, peer) = (len, source.or(peer));
        }
        let head = wire::parse_plain(&bytes[start..], config.http.headers_max as usize)?;
        let asked = Asked {
            method: &Method::GET,
            version: Version::HTTP_11,
            target: &head.target,
            headers: &head.headers,
        };
        let (For::Entrance(entrance), host) = upgrade::route(config, &asked).ok()? else { return None };
        if upgrade::asks_backend(&self.node, &entrance) {
            return None;
        }
        let arrived = arrival.arrived();
        let applicant = Applicant { asked: &asked, host, peer, arrived, entrance: &entrance };
        let admitted = upgrade::decide(&self.node, config, &applicant).ok()?;
        // Who is let in to be told why not is hyper's as well.
        if admitted.newcomer.turned_away.is_some() {
            admitted.give_back(&self.node, arrived);
            return None;
        }
        Some((admitted, start + head.len))
    }

    /// Opens a connection; what stands in the scratch buffer at `rest` are its first frames.
    fn open_one(
        &mut self,
        now: Now,
        socket: Socket,
        admitted: Admitted,
        watched: bool,
        rest: std::ops::Range<usize>,
        inside: &mut Inside<'_>,
    ) {
        let Inside { shard, sockets, scratch } = inside;
        let answer = admitted.bytes();
        let ip = admitted.newcomer.peer.map(|peer| peer.ip());
        let Some(key) = shard.open(now, admitted.newcomer) else {
            self.node.hub.admission.release(ip);
            return self.failed(HandshakeFailure::Disconnected, None);
        };
        if let Err(error) = sockets.insert(key, socket, watched) {
            tracing::error!(%error, "cannot watch a new socket");
            return shard.lost(key.slot, *sockets);
        }
        sockets.greet(key.slot, answer);
        if !rest.is_empty() {
            shard.receive(now, key.slot, &mut scratch[rest], *sockets);
            shard.read_on(key.slot);
        }
    }

    /// Ends the connections whose requests have not come in time.
    fn look(&self, now: Now) {
        if self.places.borrow().look_us().is_none_or(|look_us| now.us < look_us) {
            return;
        }
        let late = self.places.borrow_mut().late(now.us);
        for key in late {
            self.failed(HandshakeFailure::Timeout, None);
            self.lose(key);
        }
    }
}

/// Reads the first bytes of a connection, if there are any: how many, which are 0 at its end.
fn read_first(mut socket: &Socket, scratch: &mut [u8]) -> Option<usize> {
    let scratch = &mut scratch[..wire::PLAIN_HEAD_BYTES_MAX];
    loop {
        match socket.read(scratch) {
            Ok(len) => return Some(len),
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => {}
                ErrorKind::WouldBlock => return None,
                // It will say nothing more.
                _ => return Some(0),
            },
        }
    }
}
