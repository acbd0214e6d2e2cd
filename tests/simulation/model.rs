//! The node as the documents tell it: who is where, and what each connection must hear, in which order. Dumb and
//! slow on purpose, and written apart from the server: plain lists, one thread, no shards' tricks.
//!
//! It is told of every call of a shard as it happens, so it knows the order in which things were accepted. Only
//! one thing it cannot know from outside: at which of several messages in one read a slow reader was evicted. Such
//! a connection is in *limbo* for the length of that call, and what it is then owed is not sure.

use super::bucket::Bucket;
use super::speech;
use super::tally::Tally;
use fanwire::config::Config;
use fanwire::model::{CloseReason, ConnectionId, Refusal};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

/// Refusals in a row after which a rate limit closes.
const STRIKES_MAX: u32 = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Open,
    Closing(CloseReason),
    Gone,
}

/// A frame that a connection must be sent.
#[derive(Debug)]
pub struct Due {
    pub what: What,
    /// Whether it must come, or only may.
    pub sure: bool,
}

#[derive(Debug)]
pub enum What {
    /// A publication.
    Published(Rc<str>),
    /// An answer.
    Text(Rc<str>),
    /// The answer to a join: a number between two texts, within bounds.
    Joined {
        before: String,
        after: String,
        low: u32,
        high: u32,
    },
    Pong(Vec<u8>),
    Close {
        code: u16,
    },
}

/// A connection.
#[derive(Debug)]
pub struct Peer {
    pub site: usize,
    pub ip: Option<IpAddr>,
    pub id: ConnectionId,
    pub name: String,
    pub state: State,
    /// Found closed after the call that is being told.
    pub limbo: bool,
    pub rooms: Vec<usize>,
    pub due: VecDeque<Due>,
    /// Frames and bytes ever owed, but for pings.
    pub owed_frames: u64,
    pub owed_bytes: u64,
    pub opened_us: u64,
    pub received_us: u64,
    pub message_us: u64,
    pub closing_us: u64,
    /// The peer's close frame, or something against the rules, came after ours.
    pub peer_done: bool,
    /// Frames of the backlog may be missing before the close frame.
    pub cut: bool,
    /// What was on its way at the end may be missing.
    pub tail_lost: bool,
    messages: Bucket,
    bytes: Bucket,
    strikes: u32,
}

#[derive(Debug, Default)]
pub struct Room {
    /// Members by shard.
    pub members: Vec<Vec<usize>>,
    /// Counts the times that it was empty on the whole node: frames from before never reach those of after.
    epoch: u64,
    /// Counts the times that it was empty on a shard: frames from before may or may not reach those of after.
    site_epochs: Vec<u64>,
}

impl Room {
    pub fn count(&self) -> u32 {
        self.members.iter().map(|members| members.len() as u32).sum()
    }
}

/// Whom a frame between shards is for.
#[derive(Debug, Clone, Copy)]
enum Target {
    Room { room: usize, epoch: u64, site_epoch: u64 },
    All,
}

/// A frame between shards.
#[derive(Debug, Clone)]
pub struct Frame {
    target: Target,
    text: Rc<str>,
}

impl Frame {
    pub fn len(&self) -> usize {
        self.text.len()
    }
}

/// The time of a call and the configuration in force there.
#[derive(Debug, Clone)]
pub struct Moment {
    pub now_us: u64,
    pub unix_ms: u64,
    pub config: Arc<Config>,
}

/// The node.
#[derive(Debug)]
pub struct Model {
    pub peers: Vec<Peer>,
    pub rooms: Vec<Room>,
    pub tallies: Vec<Tally>,
    /// Frames from a shard to another that the shard has not handed over yet.
    pub outgoing: Vec<Vec<Vec<Frame>>>,
}

impl Model {
    pub fn new(sites: usize) -> Self {
        let room = || Room { members: vec![Vec::new(); sites], epoch: 0, site_epochs: vec![0; sites] };
        Self {
            peers: Vec::new(),
            rooms: speech::ROOMS.iter().map(|_| room()).collect(),
            tallies: (0..sites).map(|_| Tally::default()).collect(),
            outgoing: vec![vec![Vec::new(); sites]; sites],
        }
    }

    /// Connections that are not gone.
    pub fn admitted(&self) -> impl Iterator<Item = &Peer> {
        self.peers.iter().filter(|peer| peer.state != State::Gone)
    }

    pub fn open(&mut self, site: usize, ip: Option<IpAddr>, id: ConnectionId, at: &Moment) -> usize {
        let name = id.to_string();
        self.peers.push(Peer {
            site,
            ip,
            id,
            name,
            state: State::Open,
            limbo: false,
            rooms: Vec::new(),
            due: VecDeque::new(),
            owed_frames: 0,
            owed_bytes: 0,
            opened_us: at.now_us,
            received_us: at.now_us,
            message_us: at.now_us,
            closing_us: 0,
            peer_done: false,
            cut: false,
            tail_lost: false,
            messages: Bucket::default(),
            bytes: Bucket::default(),
            strikes: 0,
        });
        let peer = self.peers.len() - 1;
        let text = speech::connected(&self.peers[peer].name, at.unix_ms);
        self.say(peer, text);
        peer
    }

    fn owe(&mut self, peer: usize, what: What, sure: bool) {
        let Peer { site, limbo, due, owed_frames, owed_bytes, .. } = &mut self.peers[peer];
        let bytes = match &what {
            What::Published(text) | What::Text(text) => text.len(),
            What::Joined { before, after, .. } => before.len() + after.len() + 10,
            What::Pong(payload) => payload.len(),
            What::Close { .. } => 125,
        };
        let sure = sure && !*limbo;
        *owed_frames += 1;
        *owed_bytes += bytes as u64 + 10;
        self.tallies[*site].owed.add(1, sure);
        due.push_back(Due { what, sure });
    }

    pub fn say(&mut self, peer: usize, text: String) {
        self.owe(peer, What::Text(text.into()), true);
    }

    pub fn pong(&mut self, peer: usize, payload: Vec<u8>) {
        self.owe(peer, What::Pong(payload), true);
    }

    fn refuse(&mut self, peer: usize, text: &str, id: Option<&str>, at: &Moment) {
        let Peer { site, limbo, .. } = self.peers[peer];
        self.tallies[site].refusals.add(1, !limbo);
        self.say(peer, speech::error(text, id, at.unix_ms));
    }

    /// A message of an open connection. Says for what reason it is the connection's last, if it is.
    pub fn hear(&mut self, peer: usize, request: &speech::Request, at: &Moment) -> Option<CloseReason> {
        let limits = &at.config.limits;
        let Peer { site, limbo, .. } = self.peers[peer];
        let one = &mut self.peers[peer];
        one.message_us = at.now_us;
        let bytes = request.text.len() as u64;
        let within = one.messages.take(limits.messages_per_s, limits.messages_burst, 1, at.now_us)
            && one.bytes.take(limits.bytes_per_s, limits.bytes_burst, bytes, at.now_us);
        if !within {
            one.strikes += 1;
            self.tallies[site].rate_limited.add(1, !limbo);
            if self.peers[peer].strikes == STRIKES_MAX {
                return Some(CloseReason::RateLimited);
            }
            self.refuse(peer, speech::RATE_LIMITED, None, at);
            return None;
        }
        let id = request.id.as_deref();
        if let speech::Ask::Wrong(error) = request.ask {
            // A type without a handler is a message well formed.
            if error == Refusal::UnknownType.text() {
                self.peers[peer].strikes = 0;
            }
            self.refuse(peer, error, id, at);
            return None;
        }
        self.peers[peer].strikes = 0;
        match &request.ask {
            speech::Ask::Join(room) => self.join(peer, *room, id, at),
            speech::Ask::Leave(room) => {
                self.leave(peer, *room);
                self.say(peer, speech::left(*room, id, at.unix_ms));
            }
            speech::Ask::Say { room, data } => {
                if !self.peers[peer].rooms.contains(room) {
                    self.refuse(peer, speech::NOT_SUBSCRIBED, id, at);
                    return None;
                }
                let sender = Some(peer);
                self.publish(site, sender, Some(*room), "message", data.as_deref(), at);
                if id.is_some() {
                    self.say(peer, speech::published(Some(*room), id, at.unix_ms));
                }
            }
            speech::Ask::Shout { data } => {
                if !at.config.client_broadcast {
                    self.refuse(peer, speech::BROADCAST_DISABLED, id, at);
                    return None;
                }
                self.publish(site, Some(peer), None, "message", data.as_deref(), at);
                if id.is_some() {
                    self.say(peer, speech::published(None, id, at.unix_ms));
                }
            }
            speech::Ask::Ping => self.say(peer, speech::pong(id, at.unix_ms)),
            // The handler's answer comes by mail.
            speech::Ask::Echo { .. } | speech::Ask::Wrong(_) => {}
        }
        None
    }

    fn join(&mut self, peer: usize, room: usize, id: Option<&str>, at: &Moment) {
        let limits = &at.config.limits;
        let site = self.peers[peer].site;
        if !self.peers[peer].rooms.contains(&room) {
            if self.peers[peer].rooms.len() >= limits.rooms_per_connection_max as usize {
                return self.refuse(peer, speech::TOO_MANY_ROOMS, id, at);
            }
            let full = limits.connections_per_room_max;
            if full != 0 && self.rooms[room].count() >= full {
                return self.refuse(peer, speech::ROOM_FULL, id, at);
            }
            let here = &self.rooms[room].members[site];
            if !here.is_empty() && here.iter().all(|member| self.peers[*member].limbo) {
                // They may have left before this one came.
                self.rooms[room].site_epochs[site] += 1;
            }
            self.rooms[room].members[site].push(peer);
            self.peers[peer].rooms.push(room);
        }
        let high = self.rooms[room].count();
        let others = self.rooms[room].members[site].iter().filter(|member| **member != peer);
        let low = high - others.filter(|member| self.peers[**member].limbo).count() as u32;
        let (before, after) = speech::joined(room, id, at.unix_ms);
        self.owe(peer, What::Joined { before, after, low, high }, true);
    }

    fn leave(&mut self, peer: usize, room: usize) {
        let site = self.peers[peer].site;
        self.peers[peer].rooms.retain(|joined| *joined != room);
        let room = &mut self.rooms[room];
        let before = room.members[site].len();
        room.members[site].retain(|member| *member != peer);
        if before > 0 && room.members[site].is_empty() {
            room.site_epochs[site] += 1;
            room.epoch += u64::from(room.count() == 0);
        }
    }

    /// Accepts a publication on a shard: owes it to the members there, and sends it to the shards that have more.
    pub fn publish(
        &mut self,
        site: usize,
        sender: Option<usize>,
        room: Option<usize>,
        event: &str,
        data: Option<&str>,
        at: &Moment,
    ) {
        let name = sender.map(|sender| self.peers[sender].name.as_str());
        let text: Rc<str> = speech::publication(event, room, data, name, at.unix_ms).into();
        self.tallies[site].publications += 1;
        for to in 0..self.tallies.len() {
            let target = match room {
                Some(room) if self.rooms[room].members[to].is_empty() => continue,
                Some(room) => {
                    let Room { epoch, site_epochs, .. } = &self.rooms[room];
                    Target::Room { room, epoch: *epoch, site_epoch: site_epochs[to] }
                }
                // Nobody is there to be told.
                None if self.admitted().next().is_none() => continue,
                None => Target::All,
            };
            let frame = Frame { target, text: text.clone() };
            if to == site {
                let except = if at.config.deliver_to_sender { None } else { sender };
                self.deliver(site, &frame, except);
            } else {
                self.outgoing[site][to].push(frame);
            }
        }
    }

    /// A frame has come to a shard.
    pub fn deliver(&mut self, site: usize, frame: &Frame, except: Option<usize>) {
        let (members, sure): (Vec<usize>, bool) = match frame.target {
            Target::Room { room, epoch, site_epoch } => {
                let room = &self.rooms[room];
                let members = if room.epoch == epoch { room.members[site].clone() } else { Vec::new() };
                (members, room.site_epochs[site] == site_epoch)
            }
            Target::All => {
                let open = |(_, peer): &(usize, &Peer)| peer.site == site && peer.state == State::Open;
                (self.peers.iter().enumerate().filter(open).map(|(index, _)| index).collect(), true)
            }
        };
        for member in members {
            if Some(member) != except {
                self.owe(member, What::Published(frame.text.clone()), sure);
            }
        }
    }

    /// A connection is being closed: it is in no room any more, and is told why.
    pub fn close(&mut self, peer: usize, reason: CloseReason, code: u16, at: &Moment) {
        for room in self.peers[peer].rooms.clone() {
            self.leave(peer, room);
        }
        self.tallies[self.peers[peer].site].closes[reason.index()] += 1;
        self.peers[peer].state = State::Closing(reason);
        self.peers[peer].limbo = false;
        self.peers[peer].closing_us = at.now_us;
        if reason != CloseReason::TransportLost {
            self.owe(peer, What::Close { code }, true);
        }
    }
}

/// The code that a close frame must carry, by the document.
pub fn code(reason: CloseReason) -> u16 {
    match reason {
        CloseReason::PeerClosed | CloseReason::Done => 1000,
        CloseReason::TransportLost => 1006,
        CloseReason::ProtocolError => 1002,
        CloseReason::Unsupported => 1003,
        CloseReason::InvalidUtf8 => 1007,
        CloseReason::TooBig => 1009,
        CloseReason::Policy => 1008,
        CloseReason::ShuttingDown => 1001,
        CloseReason::TryAgainLater => 1013,
        CloseReason::Idle => 4408,
        CloseReason::RateLimited => 4429,
        CloseReason::SlowConsumer => 4430,
        CloseReason::Disconnected => 4440,
    }
}
