//! The way into a shard: accepts connections, reads their first bytes, and opens those that ask plainly for WebSocket
//! and may have it, without a task of their own. Everybody else goes to hyper ([`super::http`]) with the bytes read.
//!
//! All of it is part of the shard's turns and bounded in each, by number and by time, so that a storm of connections
//! does not hold up those that are there.

use super::listening::Listening;
use super::parcel::{Content, send};
use super::reply::HTTP_FULL;
use super::shared::NodeShared;
use super::socket_table::SocketTable;
use super::upgrade::{self, Admitted, Applicant, Asked, For};
use crate::base::{Key, Slab};
use crate::config::Config;
use crate::metrics::{HandshakeFailure, ShardMetrics};
use crate::shard::{Now, Shard};
use crate::wire::{self, ProxyParsed};
use hyper::{Method, Version};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use socket2::Socket;
use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
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

/// Connections that have said nothing yet, at the most; `http_connections_max` is below it.
const ARRIVALS_MAX: u32 = 1 << 20;

/// Deadlines are looked at that often, in microseconds.
const LOOK_US: u64 = 100_000;

/// Longest PROXY header taken here, in bytes: what is read of one for hyper, too.
const PROXY_BYTES_MAX: usize = 600;

/// What is in the low half of the door's tokens: no connection's slot.
const MARK: usize = u32::MAX as usize;

/// Tokens of the listeners. The highest of all is the mailbox's.
const TCP_TOKEN: Token = Token((u32::MAX as usize - 1) << 32 | MARK);
const UNIX_TOKEN: Token = Token((u32::MAX as usize - 2) << 32 | MARK);

/// A connection that has said nothing yet.
struct Arrival {
    socket: Socket,
    /// `None`: of the Unix socket.
    peer: Option<SocketAddr>,
    deadline_us: u64,
}

/// A connection for hyper.
pub(super) struct Handed {
    pub socket: Socket,
    /// `None`: of the Unix socket.
    pub peer: Option<SocketAddr>,
    /// What was read of it.
    pub read: Vec<u8>,
    /// When its first request has to be there, in microseconds of the node's clock.
    pub deadline_us: u64,
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
    arrivals: Slab<Arrival>,
    /// Slots of arrivals that may have something to read.
    knocking: VecDeque<u32>,
    /// Sockets accepted by another shard.
    accepted: VecDeque<Socket>,
    handed: Vec<Handed>,
    /// When the deadlines of the arrivals are looked at next, in microseconds of the node's clock.
    look_us: u64,
    /// Connections that hyper serves.
    open: Rc<Cell<u32>>,
    registry: Registry,
    node: Arc<NodeShared>,
    metrics: Arc<ShardMetrics>,
    index: usize,
}

impl Door {
    /// A door without listeners, for the shard number `index`.
    pub fn new(registry: Registry, node: Arc<NodeShared>, metrics: Arc<ShardMetrics>, index: usize) -> Self {
        Self {
            tcp: None,
            unix: None,
            next_shard: index,
            arrivals: Slab::new(ARRIVALS_MAX),
            knocking: VecDeque::new(),
            accepted: VecDeque::new(),
            handed: Vec::new(),
            look_us: u64::MAX,
            open: Rc::default(),
            registry,
            node,
            metrics,
            index,
        }
    }

    /// Counts the connections that hyper serves; whoever serves one keeps it right.
    pub fn open(&self) -> Rc<Cell<u32>> {
        self.open.clone()
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
    pub fn accepted(&mut self, socket: Socket) {
        self.accepted.push_back(socket);
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
        let look = (self.look_us != u64::MAX).then_some(self.look_us);
        pauses.into_iter().flatten().chain(look).min()
    }

    /// Lets in who is at the door, for `time` at the most, but not less than [`TIME_MIN`]. Returns whether somebody is
    /// left.
    pub fn serve(&mut self, now: Now, time: Duration, mut inside: Inside<'_>) -> bool {
        if now.us >= self.look_us {
            self.look(now);
        }
        let began = Instant::now();
        let time = time.max(TIME_MIN);
        for _ in 0..STEPS_MAX {
            if self.handed.len() >= HANDED_MAX {
                return true;
            }
            if !self.step(now, &mut inside) {
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
            if let Some(key) = self.arrivals.key(slot) {
                self.knock(now, key, inside);
            }
        } else if let Some(socket) = self.accepted.pop_front() {
            self.arrive(now, socket, None, inside);
        } else if let Some((stream, peer)) =
            self.tcp.as_mut().and_then(|tcp| tcp.accept(now.us, self.index, &self.metrics))
        {
            self.arrive(now, Socket::from(std::os::fd::OwnedFd::from(stream)), Some(peer), inside);
        } else if let Some((stream, _)) =
            self.unix.as_mut().and_then(|unix| unix.accept(now.us, self.index, &self.metrics))
        {
            let socket = Socket::from(std::os::fd::OwnedFd::from(stream));
            self.next_shard = (self.next_shard + 1) % self.node.mailboxes.len();
            if self.next_shard == self.index {
                self.arrive(now, socket, None, inside);
            } else {
                let content = Content::Accepted(socket);
                send(&self.node.mailboxes, self.node.clock, self.next_shard, content);
            }
        } else {
            return false;
        }
        true
    }

    fn failed(&self, failure: HandshakeFailure) {
        self.metrics.handshake_failures.inc(failure.index());
    }

    /// A new connection. What it asks is often there already.
    fn arrive(&mut self, now: Now, socket: Socket, peer: Option<SocketAddr>, inside: &mut Inside<'_>) {
        let config = inside.shard.config().clone();
        let open = self.arrivals.len() + self.handed.len() + self.open.get() as usize;
        if open >= config.http.connections_max as usize {
            self.failed(HandshakeFailure::HttpFull);
            // So little fits the buffer of any new socket; a peer that has gone needs no answer.
            let _ = socket.send_with_flags(HTTP_FULL, libc::MSG_NOSIGNAL);
            return;
        }
        let deadline_us = now.us + config.times.handshake_timeout.as_micros() as u64;
        let arrival = Arrival { socket, peer, deadline_us };
        match read_first(&arrival.socket, inside.scratch) {
            Some(len) => self.asks(now, arrival, &config, len, false, inside),
            None => self.wait(arrival),
        }
    }

    /// Lets a connection wait until it says something, which costs no more than its socket.
    fn wait(&mut self, arrival: Arrival) {
        let deadline_us = arrival.deadline_us;
        let fd = arrival.socket.as_raw_fd();
        let Ok(key) = self.arrivals.insert(arrival) else { return };
        let token = Token((key.slot as usize) << 32 | MARK);
        if let Err(error) = self.registry.register(&mut SourceFd(&fd), token, Interest::READABLE) {
            tracing::error!(%error, "cannot watch a new socket");
            self.arrivals.remove(key);
            return;
        }
        self.look_us = self.look_us.min(deadline_us.next_multiple_of(LOOK_US));
    }

    /// An arrival may have said something.
    fn knock(&mut self, now: Now, key: Key, inside: &mut Inside<'_>) {
        let Some(arrival) = self.arrivals.get(key) else { return };
        let Some(len) = read_first(&arrival.socket, inside.scratch) else { return };
        let Some(arrival) = self.arrivals.remove(key) else { return };
        let config = inside.shard.config().clone();
        self.asks(now, arrival, &config, len, true, inside);
    }

    /// A connection has said the first `len` bytes of the scratch buffer, or is at its end without any.
    fn asks(
        &mut self,
        now: Now,
        arrival: Arrival,
        config: &Config,
        len: usize,
        watched: bool,
        inside: &mut Inside<'_>,
    ) {
        if let Some((admitted, used)) = self.may_upgrade(config, arrival.peer, &inside.scratch[..len]) {
            return self.open_one(now, arrival.socket, admitted, watched, used..len, inside);
        }
        let Arrival { socket, peer, deadline_us } = arrival;
        if watched {
            // Fails never, since it is watched.
            let _ = self.registry.deregister(&mut SourceFd(&socket.as_raw_fd()));
        }
        self.handed.push(Handed { socket, peer, read: inside.scratch[..len].to_vec(), deadline_us });
    }

    /// Whether these bytes begin with a whole and plain request that is granted, and how many of them it is. Anything
    /// else is for hyper, refusals too.
    fn may_upgrade(
        &self,
        config: &Config,
        mut peer: Option<SocketAddr>,
        bytes: &[u8],
    ) -> Option<(Admitted, usize)> {
        let mut start = 0;
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
        let applicant = Applicant { asked: &asked, host, peer, entrance: &entrance };
        let admitted = upgrade::decide(&self.node, config, &applicant).ok()?;
        // Who is let in to be told why not is hyper's as well.
        if admitted.newcomer.turned_away.is_some() {
            self.node.hub.admission.release(admitted.newcomer.peer.map(|peer| peer.ip()));
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
            return self.failed(HandshakeFailure::Disconnected);
        };
        if let Err(error) = sockets.insert(key, socket, watched) {
            tracing::error!(%error, "cannot watch a new socket");
            return shard.lost(key.slot, *sockets);
        }
        sockets.greet(key.slot, answer);
        if !rest.is_empty() {
            shard.receive(now, key.slot, &mut scratch[rest], *sockets);
        }
    }

    /// Ends the arrivals that have said nothing in time.
    fn look(&mut self, now: Now) {
        let mut next_us = u64::MAX;
        let mut late = Vec::new();
        for (key, arrival) in self.arrivals.iter() {
            if arrival.deadline_us <= now.us {
                late.push(key);
            } else {
                next_us = next_us.min(arrival.deadline_us.next_multiple_of(LOOK_US));
            }
        }
        self.look_us = next_us;
        for key in late {
            self.failed(HandshakeFailure::Timeout);
            self.arrivals.remove(key);
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
