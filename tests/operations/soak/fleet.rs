use super::peer::{End, Heard, Peer};
use super::tally::Tally;
use crate::common::Server;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use serde_json::json;
use std::collections::{HashMap, VecDeque};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Members that come and go.
pub const MEMBERS: usize = 1000;
/// Connections that publish and stay, the first of them by the API's publications too.
pub const PUBLISHERS: usize = 10;
/// Connections that do not read for a while.
pub const STALLERS: usize = 4;
/// How many of the members are away at a time.
const AWAY: usize = 50;
/// Rooms of each kind.
pub const ROOMS: usize = 50;

const ALL: usize = PUBLISHERS + MEMBERS + STALLERS;

/// The room of the stallers.
pub const FLOOD: &str = "flood";
/// The room that the API publishes to.
pub const API: &str = "api";

/// All connections and what they have done.
pub struct Fleet {
    pub server: Server,
    pub tally: Tally,
    peers: Vec<Option<Peer>>,
    /// Where those who went left off, in rooms that remember.
    remembered: Vec<HashMap<String, Heard>>,
    /// Members that are to come back, those first who went first.
    away: VecDeque<usize>,
    /// When a staller reads again, by its place.
    awake: HashMap<usize, Instant>,
    /// Number of the last message of each room.
    numbers: HashMap<String, u64>,
    poll: Poll,
    events: Events,
    start: Instant,
    random: u64,
}

impl Fleet {
    /// Connects everybody.
    pub fn new(server: Server, seed: u64) -> Self {
        let mut fleet = Self {
            server,
            tally: Tally::default(),
            peers: (0..ALL).map(|_| None).collect(),
            remembered: vec![HashMap::new(); ALL],
            away: VecDeque::new(),
            awake: HashMap::new(),
            numbers: HashMap::new(),
            poll: Poll::new().unwrap(),
            events: Events::with_capacity(1024),
            start: Instant::now(),
            random: seed | 1,
        };
        (0..ALL).for_each(|place| fleet.open(place));
        fleet
    }

    /// A number below `bound` (xorshift64*).
    pub fn below(&mut self, bound: usize) -> usize {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound
    }

    /// The rooms of a place: members are in one of each kind, publishers in all those that they publish to.
    fn rooms_of(place: usize) -> Vec<String> {
        let pair = |room: usize| [format!("room:{room}"), format!("kept:{room}")];
        if place < PUBLISHERS {
            let mut rooms: Vec<_> = (place..ROOMS).step_by(PUBLISHERS).flat_map(pair).collect();
            rooms.extend([FLOOD, API].map(str::to_owned));
            rooms
        } else if place < PUBLISHERS + MEMBERS {
            pair(place % ROOMS).into()
        } else {
            vec![FLOOD.to_owned()]
        }
    }

    fn open(&mut self, place: usize) {
        let staller = place >= PUBLISHERS + MEMBERS;
        let mut peer = Peer::connect(self.server.addr(), staller.then_some(4096));
        self.tally.opened += 1;
        for room in Self::rooms_of(place) {
            let heard = self.remembered[place].remove(&room).unwrap_or_default();
            peer.join(&room, heard);
        }
        let fd = peer.stream().as_raw_fd();
        self.poll.registry().register(&mut SourceFd(&fd), Token(place), Interest::READABLE).unwrap();
        self.peers[place] = Some(peer);
        // What came with the answer to the handshake makes no event.
        self.read(place);
    }

    fn read(&mut self, place: usize) {
        let Some(peer) = &mut self.peers[place] else { return };
        if self.awake.get(&place).is_some_and(|until| *until > Instant::now()) {
            return;
        }
        match peer.read(&mut self.tally, self.start) {
            // Awake in time: it has read all that waited for it.
            None if self.awake.remove(&place).is_some() => peer.stalled = false,
            None => {}
            Some(End::Left) => {
                self.tally.left += 1;
                self.away.push_back(place);
                self.forget(place);
            }
            Some(end) => {
                self.tally.slow += 1;
                self.tally.slow_untold += u64::from(end == End::Cut);
                self.awake.remove(&place);
                self.forget(place);
            }
        }
    }

    /// Takes a connection out, and keeps where it left off.
    fn forget(&mut self, place: usize) -> Option<Peer> {
        let mut peer = self.peers[place].take()?;
        let fd = peer.stream().as_raw_fd();
        self.poll.registry().deregister(&mut SourceFd(&fd)).unwrap();
        let rooms = std::mem::take(&mut peer.rooms);
        self.remembered[place] = rooms.into_iter().filter(|(_, heard)| heard.position.is_some()).collect();
        Some(peer)
    }

    /// Receives what comes within a time.
    pub fn receive(&mut self, within: Duration) {
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
            match self.poll.poll(&mut events, Some(left)) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                result => result.unwrap(),
            }
            events.iter().for_each(|event| self.read(event.token().0));
            self.events = events;
            if left.is_zero() {
                return;
            }
        }
    }

    /// One member goes, in one way or another, and another comes back.
    pub fn churn(&mut self) {
        if self.away.len() > AWAY
            && let Some(place) = self.away.pop_front()
        {
            self.open(place);
        }
        let place = PUBLISHERS + self.below(MEMBERS);
        let how = self.below(3);
        match &mut self.peers[place] {
            None => {}
            // It has not got all that it missed: nobody knows then where it left off.
            Some(peer) if peer.leaving || peer.joining > 0 => {}
            Some(peer) if how == 0 => peer.leave(),
            Some(_) => {
                // What is under way to it is lost, and recovered when it comes back.
                let peer = self.forget(place).expect("it is there");
                self.tally.lost += 1;
                self.away.push_back(place);
                if how == 1 { peer.reset() } else { drop(peer) }
            }
        }
    }

    /// Stallers stall, wake, and come back when they were closed.
    pub fn stall(&mut self) {
        for place in PUBLISHERS + MEMBERS..ALL {
            let pause = Duration::from_millis(1500 + self.below(2500) as u64);
            match &mut self.peers[place] {
                None => self.open(place),
                Some(peer) if peer.joining > 0 => {}
                Some(peer) if !peer.stalled => {
                    (peer.stalled, peer.has_stalled) = (true, true);
                    self.awake.insert(place, Instant::now() + pause);
                }
                // Asleep, or awake now with something to read that makes no event any more.
                Some(_) => self.read(place),
            }
        }
    }

    /// Publishes one message to a room, by the one connection that does so.
    pub fn publish(&mut self, room: &str, publisher: usize, len: usize) {
        let data = self.message(room, len);
        let peer = self.peers[publisher].as_mut().expect("publishers stay");
        peer.send(&format!(r#"{{"type":"publish","room":"{room}","data":{data}}}"#));
        self.tally.published += 1;
    }

    /// Publishes to a room that the publishers alone are in.
    pub fn publish_by_api(&mut self) {
        let body = format!(r#"{{"room":"{API}","data":{}}}"#, self.message(API, 100));
        let answer = self.server.post("/v1/publish", &body);
        self.tally.asked += 1;
        self.tally.published_by_api += 1;
        assert_eq!(answer.body, format!(r#"{{"delivered":{PUBLISHERS}}}"#));
    }

    fn message(&mut self, room: &str, len: usize) -> serde_json::Value {
        let number = self.numbers.entry(room.to_owned()).or_default();
        *number += 1;
        json!({"n": number, "t": self.start.elapsed().as_micros() as u64, "p": "x".repeat(len)})
    }

    /// Fills the histories, so that they do not grow any more.
    pub fn fill_histories(&mut self, messages: usize) {
        for _ in 0..messages {
            for room in 0..ROOMS {
                let len = self.below(300);
                self.publish(&format!("kept:{room}"), room % PUBLISHERS, len);
            }
            // One of each room at a time, so that nobody is too slow for it on a busy machine either.
            while !self.is_up_to_date() {
                self.receive(Duration::from_millis(1));
            }
        }
    }

    /// Publishes to a random room of each kind.
    pub fn publish_some(&mut self) {
        for kind in ["room", "kept"] {
            let (room, len) = (self.below(ROOMS), self.below(300));
            self.publish(&format!("{kind}:{room}"), room % PUBLISHERS, len);
        }
    }

    /// Whether all are connected, awake, and in their rooms.
    pub fn is_settled(&self) -> bool {
        self.peers
            .iter()
            .all(|peer| peer.as_ref().is_some_and(|peer| peer.joining == 0 && !peer.stalled && !peer.leaving))
    }

    /// Whether all have heard the last message of each of their rooms.
    pub fn is_up_to_date(&self) -> bool {
        self.peers
            .iter()
            .flatten()
            .flat_map(|peer| &peer.rooms)
            .all(|(room, heard)| heard.last.is_none() || heard.last == self.numbers.get(room).copied())
    }

    /// Brings back who is away, without sending anybody away.
    pub fn bring_back(&mut self) {
        self.away.clear();
        for place in 0..ALL {
            match &self.peers[place] {
                None => self.open(place),
                Some(peer) if peer.stalled => self.read(place),
                Some(_) => {}
            }
        }
    }

    /// All say that they go.
    pub fn leave(&mut self) {
        self.peers.iter_mut().flatten().for_each(Peer::leave);
    }

    /// Connections that are open.
    pub fn open_now(&self) -> usize {
        self.peers.iter().flatten().count()
    }

    /// Memberships of those.
    pub fn memberships(&self) -> usize {
        self.peers.iter().flatten().map(|peer| peer.rooms.len()).sum()
    }

    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}
