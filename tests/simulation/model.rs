//! The node as the documents tell it: who is where, and what each connection must hear, in which order. Dumb and
//! slow on purpose, and written apart from the server: plain lists, one thread, no shards' tricks.
//!
//! In plain worlds there is one order of all that a connection hears. Where rooms have rules, or are walked in steps,
//! each source has its own (`stream`), and rooms that remember are held against their numbered order (`ordered`).
//!
//! It is told of every call of a shard as it happens, so it knows the order in which things were accepted. Only
//! one thing it cannot know from outside: at which of several messages in one read a slow reader was evicted. Such
//! a connection is in *limbo* for the length of that call, and what it is then owed is not sure.

use super::accounts::TENANTS;
use super::bucket::Bucket;
use super::client::Client;
use super::order::{Numbered, Source};
use super::ordered::Life;
use super::peer::{Due, Peer, State, What};
use super::presence::Changes;
use super::rules;
use super::speech;
use super::stream::{Said, Stream};
use super::tally::Tally;
use super::walks::Line;
use super::wrapped::{self, WRAPPING_BYTES};
use fanwire::config::{Config, RoomPolicy};
use fanwire::hub::Hub;
use fanwire::model::{CloseReason, ConnectionId, Refusal};
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

/// Refusals in a row after which a rate limit closes.
pub const STRIKES_MAX: u32 = 32;

#[derive(Debug, Default)]
pub struct Room {
    /// Members by shard.
    pub members: Vec<Vec<usize>>,
    /// Counts the times that it was empty on the whole node: frames from before never reach those of after.
    pub epoch: u64,
    /// Counts the times that it was empty on a shard: frames from before may or may not reach those of after.
    pub site_epochs: Vec<u64>,
    /// Messages published since it was empty, if it does not remember.
    pub published: u64,
    /// That is not known: it may have been empty when it was not seen to be.
    pub unsure: bool,
}

impl Room {
    pub fn count(&self) -> u32 {
        self.members.iter().map(|members| members.len() as u32).sum()
    }

    /// Takes a member out.
    pub fn leave(&mut self, site: usize, peer: usize) {
        let before = self.members[site].len();
        self.members[site].retain(|member| *member != peer);
        if before > 0 && self.members[site].is_empty() {
            self.site_epochs[site] += 1;
            if self.count() == 0 {
                self.epoch += 1;
                (self.published, self.unsure) = (0, false);
            }
        }
    }
}

/// Whom a frame between shards is for.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    Room {
        room: usize,
        epoch: u64,
        site_epoch: u64,
    },
    All,
    /// A client's broadcast: for the connections of its tenant.
    Tenant {
        tenant: usize,
        epoch: u64,
        site_epoch: u64,
    },
    /// For the connections of no tenant.
    Tenantless,
}

/// A frame between shards.
#[derive(Debug, Clone)]
pub struct Frame {
    pub target: Target,
    pub said: Said,
    pub key: Option<String>,
    /// When it was said.
    pub serial: u64,
}

impl Frame {
    pub fn source(&self) -> usize {
        match (self.target, &self.said) {
            (Target::Room { room, .. }, Said::Change(_)) => NOTICES + room,
            (Target::Room { room, .. }, Said::Text(_)) => room,
            (Target::All | Target::Tenantless | Target::Tenant { .. }, _) => ALL,
        }
    }

    /// Bytes that it has at the least, if it is not compressed.
    pub fn len(&self) -> usize {
        if let Said::Text(text) = &self.said { text.len() } else { 0 }
    }
}

/// The source of what goes to everybody; before it those of the rooms, behind it those of their notices.
pub const ALL: usize = speech::ROOMS.len();
pub const NOTICES: usize = ALL + 1;
const SOURCES: usize = NOTICES + speech::ROOMS.len();

/// The time of a call and the configuration in force there.
#[derive(Debug, Clone)]
pub struct Moment {
    pub now_us: u64,
    pub unix_ms: u64,
    pub config: Arc<Config>,
    /// What came now may have come at any time since then.
    pub since_us: u64,
}

/// What kind of node it is.
#[derive(Debug)]
pub struct Kind {
    pub hub: Arc<Hub>,
    /// What holds for each room.
    pub policies: Vec<RoomPolicy>,
    /// Each source has an order of its own; else there is one for all.
    pub streams: bool,
    /// Connections may have several encodings.
    pub compresses: bool,
    /// Rooms may be walked in steps.
    pub wide: bool,
}

/// The node.
#[derive(Debug)]
pub struct Model {
    pub peers: Vec<Peer>,
    pub rooms: Vec<Room>,
    /// The connections of each tenant.
    pub tenants: Vec<Room>,
    pub tallies: Vec<Tally>,
    /// Frames from a shard to another that the shard has not handed over yet.
    pub outgoing: Vec<Vec<Vec<Frame>>>,
    pub kind: Kind,
    /// The lives of each room that remembers.
    pub lives: Vec<Vec<Life>>,
    /// Where each publication belongs, in worlds of streams.
    pub words: HashMap<Rc<str>, Source>,
    /// By shard, publications of rooms that remember, posted in the present call.
    pub posted: Vec<(usize, Numbered)>,
    /// By shard and source.
    pub lines: Vec<Vec<Line>>,
    pub changes: Changes,
    /// How often each connection has joined each room: for sure, and at the most.
    pub joins: HashMap<(usize, usize), (u32, u32)>,
    pub serial: u64,
}

impl Model {
    pub fn new(sites: usize, kind: Kind) -> Self {
        let room =
            || Room { members: vec![Vec::new(); sites], site_epochs: vec![0; sites], ..Room::default() };
        Self {
            peers: Vec::new(),
            rooms: speech::ROOMS.iter().map(|_| room()).collect(),
            tenants: (0..TENANTS).map(|_| room()).collect(),
            tallies: (0..sites).map(|_| Tally::default()).collect(),
            outgoing: vec![vec![Vec::new(); sites]; sites],
            kind,
            lives: speech::ROOMS.iter().map(|_| Vec::new()).collect(),
            words: HashMap::new(),
            posted: Vec::new(),
            lines: (0..sites).map(|_| (0..SOURCES).map(|_| Line::default()).collect()).collect(),
            changes: Changes::default(),
            joins: HashMap::new(),
            serial: 0,
        }
    }

    /// Connections that are not gone and hear more than themselves.
    pub fn audience(&self) -> impl Iterator<Item = &Peer> {
        self.admitted().filter(|peer| !peer.echo)
    }

    /// Connections that are not gone.
    pub fn admitted(&self) -> impl Iterator<Item = &Peer> {
        self.peers.iter().filter(|peer| peer.state != State::Gone)
    }

    pub fn open(
        &mut self,
        client: &Client,
        ip: Option<IpAddr>,
        id: ConnectionId,
        tenant: Option<usize>,
        at: &Moment,
    ) -> usize {
        let Client { site, echo, sixth, .. } = *client;
        let name = id.to_string();
        self.peers.push(Peer {
            site,
            ip,
            id,
            tenant,
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
            since: vec![self.serial; SOURCES],
            echo,
            sixth,
            hints: 0,
            answered_us: at.now_us,
            streams: (0..SOURCES).map(|_| Stream::default()).collect(),
            joined: vec![None; speech::ROOMS.len()],
            seen: speech::ROOMS.iter().map(|_| None).collect(),
            pressed: false,
            waiting: (0, 0),
        });
        let peer = self.peers.len() - 1;
        if echo {
            return peer;
        }
        if let Some(tenant) = tenant {
            self.tenants[tenant].members[site].push(peer);
        }
        self.perhaps(peer, ALL);
        if sixth {
            let text = format!("o{}", self.peers[peer].name);
            self.say(peer, text);
        }
        let text = speech::connected(&self.peers[peer].name, at.unix_ms);
        self.say(peer, text);
        peer
    }

    pub fn owe(&mut self, peer: usize, what: What, sure: bool) {
        let bytes = match &what {
            What::Published(text) | What::Text(text) => text.len(),
            What::Joined { before, after, .. } => before.len() + after.len() + 80,
            What::Left { text, .. } => text.len(),
            What::Present { names, .. } => 400 + 40 * names.len(),
            What::Pong(payload) | What::Echoed { payload, .. } => payload.len(),
            What::Close { .. } => 125,
        };
        let sure = sure && !self.peers[peer].limbo;
        self.count(peer, bytes, sure);
        self.peers[peer].due.push_back(Due { what, sure });
    }

    /// Counts a frame that is owed.
    pub fn count(&mut self, peer: usize, bytes: usize, sure: bool) {
        let Peer { site, owed_frames, owed_bytes, sixth, .. } = &mut self.peers[peer];
        let wrapping = if *sixth { WRAPPING_BYTES } else { 0 };
        *owed_frames += 1;
        *owed_bytes += (bytes + wrapping) as u64 + 10;
        self.tallies[*site].owed.add(1, sure);
    }

    pub fn say(&mut self, peer: usize, text: String) {
        self.owe(peer, What::Text(text.into()), true);
    }

    pub fn pong(&mut self, peer: usize, payload: Vec<u8>) {
        self.owe(peer, What::Pong(payload), true);
    }

    pub fn refuse(&mut self, peer: usize, text: &str, id: Option<&str>, at: &Moment) {
        let Peer { site, limbo, .. } = self.peers[peer];
        self.tallies[site].refusals.add(1, !limbo);
        self.say(peer, speech::error(text, id, at.unix_ms));
    }

    /// A message of an open connection. Says for what reason it is the connection's last, if it is.
    pub fn hear(&mut self, peer: usize, request: &speech::Request, at: &Moment) -> Option<CloseReason> {
        let site = self.peers[peer].site;
        self.peers[peer].message_us = at.now_us;
        if let Some(end) = self.over_rate(peer, request.text.len() as u64, at) {
            return end;
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
            speech::Ask::Join { room, recover } => self.join(peer, *room, recover.as_ref(), id, at),
            speech::Ask::Leave(room) => {
                let left = self.leave(peer, *room);
                let text = speech::left(*room, id, at.unix_ms);
                self.owe(peer, What::Left { text, room: *room, left }, true);
            }
            speech::Ask::Who(room) => self.tell_presence(peer, *room, id, at),
            speech::Ask::Say { room, data } => {
                if !self.peers[peer].rooms.contains(room) {
                    self.refuse(peer, speech::NOT_SUBSCRIBED, id, at);
                    return None;
                }
                let sender = Some(peer);
                let offset = self.publish(site, sender, Some(*room), "message", data.as_deref(), at);
                if id.is_some() {
                    self.say(peer, speech::published(Some(*room), offset, id, at.unix_ms));
                }
            }
            speech::Ask::Shout { data } => {
                if !at.config.lets_clients_broadcast() {
                    self.refuse(peer, speech::BROADCAST_DISABLED, id, at);
                    return None;
                }
                self.publish(site, Some(peer), None, "message", data.as_deref(), at);
                if id.is_some() {
                    self.say(peer, speech::published(None, None, id, at.unix_ms));
                }
            }
            speech::Ask::Ping => self.say(peer, speech::pong(id, at.unix_ms)),
            // The handler's answer comes by mail.
            speech::Ask::Echo { .. } | speech::Ask::Wrong(_) => {}
        }
        None
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
    ) -> Option<u64> {
        self.tallies[site].publications += 1;
        let policy = room.map(|room| &self.kind.policies[room]);
        let key = policy.and_then(|policy| rules::key(policy, data));
        if let Some(room) = room
            && self.kind.policies[room].remembers()
        {
            return self.publish_ordered(site, sender, room, event, data, key, at);
        }
        if let Some(room) = room.filter(|room| self.rooms[*room].count() > 0) {
            self.rooms[room].published += 1;
        }
        let name = sender.map(|sender| self.peers[sender].name.as_str());
        let text: Rc<str> = speech::publication(event, room, data, name, None, at.unix_ms).into();
        let source = room.unwrap_or(ALL);
        if self.kind.streams {
            self.words.insert(text.clone(), Source::Stream(source));
        }
        let said = Said::Text(text);
        self.serial += 1;
        for to in 0..self.tallies.len() {
            let target = match room {
                Some(room) if self.rooms[room].members[to].is_empty() => continue,
                Some(room) => {
                    let Room { epoch, site_epochs, .. } = &self.rooms[room];
                    Target::Room { room, epoch: *epoch, site_epoch: site_epochs[to] }
                }
                // Nobody is there to be told.
                None if self.audience().next().is_none() => continue,
                None => match sender.map(|sender| self.peers[sender].tenant) {
                    None => Target::All,
                    Some(None) => Target::Tenantless,
                    Some(Some(tenant)) if self.tenants[tenant].members[to].is_empty() => continue,
                    Some(Some(tenant)) => {
                        let Room { epoch, site_epochs, .. } = &self.tenants[tenant];
                        Target::Tenant { tenant, epoch: *epoch, site_epoch: site_epochs[to] }
                    }
                },
            };
            let frame = Frame { target, said: said.clone(), key: key.clone(), serial: self.serial };
            let except = if at.config.deliver_to_sender { None } else { sender };
            self.bring(site, to, frame, except);
        }
        None
    }

    /// A frame has come to a shard.
    pub fn deliver(&mut self, site: usize, frame: &Frame, except: Option<usize>) {
        let (members, sure): (Vec<usize>, bool) = match frame.target {
            Target::Room { room: at, epoch, site_epoch } => {
                let room = &self.rooms[at];
                // A room that remembers lives on without members.
                let lives = room.epoch == epoch || self.kind.policies[at].remembers();
                let members = if lives { room.members[site].clone() } else { Vec::new() };
                (members, room.site_epochs[site] == site_epoch)
            }
            Target::Tenant { tenant, epoch, site_epoch } => {
                let tenant = &self.tenants[tenant];
                let lives = tenant.epoch == epoch;
                let members = if lives { tenant.members[site].clone() } else { Vec::new() };
                (members, tenant.site_epochs[site] == site_epoch)
            }
            Target::All | Target::Tenantless => {
                let all = matches!(frame.target, Target::All);
                let is_in = |peer: &Peer| peer.site == site && !peer.echo && (all || peer.tenant.is_none());
                let open = |(_, peer): &(usize, &Peer)| peer.state == State::Open && is_in(peer);
                (self.peers.iter().enumerate().filter(open).map(|(index, _)| index).collect(), true)
            }
        };
        if self.kind.streams {
            return self.deliver_streams(site, frame, &members, except, sure);
        }
        let Said::Text(text) = &frame.said else { return };
        for member in members {
            if Some(member) != except {
                let sure = sure && self.was_there(member, frame);
                self.owe(member, What::Published(text.clone()), sure);
            }
        }
    }

    /// A connection is being closed: it is in no room any more, and is told why.
    pub fn close(&mut self, peer: usize, reason: CloseReason, code: u16, at: &Moment) {
        for room in self.peers[peer].rooms.clone() {
            // Kept, for what it must have heard of the room until now.
            let left = self.leave(peer, room);
            self.peers[peer].joined[room] = left.flatten();
        }
        let Peer { site, tenant, echo, .. } = self.peers[peer];
        if let Some(tenant) = tenant.filter(|_| !echo) {
            self.tenants[tenant].leave(site, peer);
        }
        self.doubt(peer, ALL);
        self.tallies[self.peers[peer].site].closes[reason.index()] += 1;
        self.peers[peer].state = State::Closing(reason);
        self.peers[peer].limbo = false;
        self.peers[peer].closing_us = at.now_us;
        if let Some(text) = wrapped::farewell(reason).filter(|_| self.peers[peer].sixth) {
            self.say(peer, text);
        }
        if reason != CloseReason::TransportLost {
            self.owe(peer, What::Close { code }, true);
        }
    }
}
