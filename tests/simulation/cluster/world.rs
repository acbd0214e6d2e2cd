//! Nodes that are joined by the toy broker, their clients, and what happens to them.

use super::super::frames::{Reader, TEXT, frame};
use super::super::random::Random;
use super::broker::{Link, ToyBroker};
use super::oracle::{Ask, Hearing, Made, Oracle};
use fanwire::base::Pattern;
use fanwire::config::{Config, HistoryLimits, Overflow, RoomPolicy, RoomRule};
use fanwire::hub::{Arrival, Cluster, Hub, Scope};
use fanwire::metrics::ShardMetrics;
use fanwire::model::{ConnectionId, Draft, NodeId, Selector};
use fanwire::shard::{
    Handlers, LABELS, Mail, Message, Newcomer, Now, Origin, Parts, Sent, Shard, Sockets, Tally,
};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The rooms: a plain one, one whose rule tells losses, one that remembers.
pub const ROOMS: [&str; 3] = ["plain", "lossy", "kept"];

/// One secret for the ids of all nodes.
const SECRET: u128 = 7;

pub fn tells_losses(room: &str) -> bool {
    room == "lossy"
}

pub fn remembers(room: &str) -> bool {
    room == "kept"
}

/// The transports of one shard: they take everything.
#[derive(Default)]
struct Sink(BTreeMap<u32, Vec<u8>>);

impl Sockets for Sink {
    fn send(&mut self, slot: u32, bytes: &[u8]) -> Sent {
        self.0.entry(slot).or_default().extend(bytes);
        Sent::Taken(bytes.len())
    }

    fn watch_writable(&mut self, _: u32, _: bool) {}

    fn urge(&mut self, _: u32) {}

    fn finish(&mut self, slot: u32) {
        panic!("slot {slot} is ended");
    }

    fn close(&mut self, _: u32) {}

    fn now_us(&self) -> u64 {
        0
    }
}

type Mailboxes = Arc<Mutex<Vec<VecDeque<Mail>>>>;

struct Node {
    hub: Arc<Hub>,
    shards: Vec<(Shard, Sink)>,
    mailboxes: Mailboxes,
}

struct Client {
    node: usize,
    shard: usize,
    slot: u32,
    id: ConnectionId,
    reader: Reader,
    hearing: Hearing,
    /// Rooms that it is in, or has asked to be in.
    joined: Vec<&'static str>,
    is_gone: bool,
}

pub struct World {
    random: Random,
    broker: Arc<ToyBroker>,
    nodes: Vec<Node>,
    clients: Vec<Client>,
    oracle: Oracle,
    now: Now,
    steps: usize,
    /// Weights of what happens.
    weights: [usize; 12],
    /// What happened last, for people.
    pub trace: String,
}

fn rules() -> Vec<RoomRule> {
    let limits = HistoryLimits { messages_max: 20, age_max: Duration::from_secs(600), bytes_max: 1 << 20 };
    let kept = RoomPolicy { history: Some(limits), ..RoomPolicy::default() };
    let lossy = RoomPolicy { overflow: Overflow::DropOldest, ..RoomPolicy::default() };
    let rule = |(name, policy)| RoomRule { pattern: Pattern::parse(name).unwrap(), policy };
    [("kept", kept), ("lossy", lossy)].into_iter().map(rule).collect()
}

impl Node {
    fn new(node: usize, shards: usize, broker: &Arc<ToyBroker>, hears_itself: bool) -> Self {
        let id = NodeId::new(node as u16 + 1).unwrap();
        let link = Arc::new(Link { node, broker: broker.clone() });
        let mut hub = Hub::new(shards, SECRET, &rules());
        hub.join_cluster(Arc::new(Cluster::new(id, 1, link)), SECRET);
        let hub = Arc::new(hub);
        let mailboxes = Mailboxes::new(Mutex::new((0..shards).map(|_| VecDeque::new()).collect()));
        let mut config = Config { deliver_to_sender: hears_itself, ..Config::default() };
        (config.limits.messages_per_s, config.limits.bytes_per_s) = (0, 0);
        config.times.ping_interval = Duration::ZERO;
        let config = Arc::new(config);
        let shard = |index: usize| {
            let to = mailboxes.clone();
            let shard = Shard::new(Parts {
                index,
                shards,
                hub: hub.clone(),
                config: config.clone(),
                metrics: Arc::new(ShardMetrics::new(&LABELS)),
                handlers: Handlers::default(),
                respond: Arc::new(|_: ConnectionId, _: Message| {}),
                post: Arc::new(move |shard, mail| to.lock().unwrap()[shard].push_back(mail)),
                seed: [(node * 8 + index + 1) as u8; 32],
            });
            (shard, Sink::default())
        };
        Self { shards: (0..shards).map(shard).collect(), hub, mailboxes }
    }

    /// Ends a shard's turn. Whether it has mailed something.
    fn end_turn(&mut self, index: usize, now: Now) -> bool {
        let (shard, sink) = &mut self.shards[index];
        shard.resume_mail(now, sink);
        shard.advance(now, sink);
        shard.flush(now, sink);
        let mut has_mailed = false;
        for to in 0..self.shards.len() {
            if let Some(batch) = self.shards[index].0.take_outgoing(to) {
                self.mailboxes.lock().unwrap()[to].push_back(Mail::Frames(batch));
                has_mailed = true;
            }
        }
        has_mailed
    }

    /// A shard takes an item of mail, if it has some.
    fn take_mail(&mut self, index: usize, now: Now) -> bool {
        let mail = self.mailboxes.lock().unwrap()[index].pop_front();
        let (shard, sink) = &mut self.shards[index];
        mail.map(|mail| shard.mail(now, mail, sink)).is_some()
    }
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let (nodes, kept_max) = (random.between(2, 3), random.pick(&[2, 6, 1000]));
        let broker = ToyBroker::new(nodes, kept_max, random.pick(&[0, 10, 40]));
        let shards = random.between(1, 2);
        let hears_itself = random.percent(75);
        let nodes: Vec<_> = (0..nodes).map(|node| Node::new(node, shards, &broker, hears_itself)).collect();
        let weights = [
            random.between(2, 20),
            random.below(8),
            random.between(10, 50),
            random.between(2, 12),
            random.below(4),
            random.below(4),
            random.between(5, 60),
            random.between(5, 60),
            random.between(5, 60),
            random.between(2, 30),
            random.below(3),
            random.between(1, 5),
        ];
        let mut world = Self {
            steps: random.pick(&[60, 200, 500]),
            random,
            broker,
            nodes,
            clients: Vec::new(),
            oracle: Oracle::default(),
            now: Now { us: 1000, unix_ms: 1 },
            weights,
            trace: String::new(),
        };
        for _ in 0..world.random.between(3, 9) {
            world.connect(hears_itself);
        }
        world
    }

    fn note(&mut self, text: &str, numbers: &[usize]) {
        let _ = writeln!(self.trace, "  {text} {numbers:?}");
    }

    fn connect(&mut self, hears_itself: bool) {
        let node = self.random.below(self.nodes.len());
        let shard = self.random.below(self.nodes[node].shards.len());
        self.nodes[node].hub.admission.admit(None, 0, 0).unwrap();
        let newcomer = Newcomer { hears_itself, ..Newcomer::default() };
        let (of, now) = (&mut self.nodes[node].shards[shard].0, self.now);
        let slot = of.open(now, newcomer).unwrap().slot;
        let (id, client) = (of.inspect(slot).unwrap().id, self.clients.len());
        let hearing = Hearing { client, node, hears_itself, ..Hearing::default() };
        let reader = Reader::default();
        let joined = Vec::new();
        self.clients.push(Client { node, shard, slot, id, reader, hearing, joined, is_gone: false });
        self.note("client, node, shard:", &[client, node, shard]);
    }

    /// A client comes back on another node, with what it has seen.
    fn come_back(&mut self) {
        let index = self.random.below(self.clients.len());
        let Client { node, shard, slot, .. } = self.clients[index];
        if self.clients[index].is_gone || !self.clients[index].hearing.asked.is_empty() {
            return;
        }
        let hears_itself = self.nodes[node].shards[shard].0.config().deliver_to_sender;
        let (of, sink) = &mut self.nodes[node].shards[shard];
        of.lost(slot, sink);
        sink.0.remove(&slot);
        self.clients[index].is_gone = true;
        self.note("leaves:", &[index]);
        self.connect(hears_itself);
        let seen = std::mem::take(&mut self.clients[index].hearing.seen);
        self.clients.last_mut().expect("it has connected").hearing.seen = seen;
    }

    fn say(&mut self, client: usize, text: &str) {
        let Client { node, shard, slot, .. } = self.clients[client];
        let mut bytes = frame(&mut self.random, true, TEXT, text.as_bytes());
        let now = self.now;
        let (shard, sink) = &mut self.nodes[node].shards[shard];
        shard.receive(now, slot, &mut bytes, sink);
    }

    fn join(&mut self, client: usize, room: &'static str) {
        let it = &mut self.clients[client];
        it.joined.push(room);
        let seen = it.hearing.seen.get(room).filter(|_| remembers(room)).cloned();
        let recover = seen
            .as_ref()
            .map(|(epoch, offset)| format!(r#","recover":{{"epoch":"{epoch}","offset":{offset}}}"#));
        it.hearing.asked.push_back(Ask::Join { room, seen });
        let text = format!(r#"{{"type":"subscribe","room":"{room}"{}}}"#, recover.unwrap_or_default());
        self.say(client, &text);
    }

    fn leave(&mut self, client: usize, room: &'static str) {
        let it = &mut self.clients[client];
        it.joined.retain(|joined| *joined != room);
        it.hearing.asked.push_back(Ask::Leave { room });
        self.say(client, &format!(r#"{{"type":"unsubscribe","room":"{room}"}}"#));
    }

    fn made(&mut self, made: Made) -> usize {
        self.oracle.made.push(made);
        self.oracle.made.len() - 1
    }

    /// The API publishes on a shard.
    fn api_publishes(&mut self, node: usize, room: Option<&'static str>) -> usize {
        let shard = self.random.below(self.nodes[node].shards.len());
        let publisher = 1000 + node * 8 + shard;
        let said = self.made(Made { node, publisher, room, only: None });
        let (to, now) = (room.map_or(Selector::all(), Selector::room), self.now);
        let (shard, _) = &mut self.nodes[node].shards[shard];
        let published = shard.outside_publish(now, &to, &Draft::new("message", Some(&said.to_string())));
        let keeps_order = room.is_none_or(|room| !remembers(room) || self.broker.is_up(node));
        assert_eq!(published.is_refused, !keeps_order, "{said} in {room:?}");
        self.note("the API publishes number, node:", &[said, node]);
        said
    }

    /// The program publishes to one client, wherever it is.
    fn tell_one(&mut self) {
        let (node, client) = (self.random.below(self.nodes.len()), self.random.below(self.clients.len()));
        if self.clients[client].is_gone {
            return;
        }
        let said = self.made(Made { node, publisher: 2000, room: None, only: Some(client) });
        let (to, now) = (Selector::connection(self.clients[client].id), self.now);
        let (shard, _) = &mut self.nodes[node].shards[0];
        let (data, tally) = (said.to_string(), Arc::new(Tally::new(Box::new(|_| {}))));
        shard.publish_selected(now, Origin::Program, &to, &Draft::new("message", Some(&data)), &tally);
    }

    fn client_publishes(&mut self) {
        let client = self.random.below(self.clients.len());
        let Client { node, is_gone, ref joined, .. } = self.clients[client];
        if is_gone || joined.is_empty() {
            return;
        }
        let room = joined[self.random.below(joined.len())];
        // Such a one is refused while the link is down, which the simulation asks of the API alone.
        if remembers(room) && !self.broker.is_up(node) {
            return;
        }
        let said = self.made(Made { node, publisher: client, room: Some(room), only: None });
        self.note("client publishes number:", &[client, said]);
        self.say(client, &format!(r#"{{"type":"publish","room":"{room}","data":{said}}}"#));
    }

    fn deliver(&mut self, node: usize) -> bool {
        let Some(arrival) = self.broker.bring(node) else { return false };
        let channel = match &arrival {
            Arrival::Publication(arrived) => {
                let said = arrived.data.as_ref().and_then(|data| data.parse().ok()).expect("a number");
                self.oracle.brought.insert((node, said));
                arrived.to.channel().into_owned()
            }
            Arrival::Stands { room, .. } | Arrival::Lost { room, .. } => room.to_string(),
        };
        let now = self.now;
        let node = &mut self.nodes[node];
        let index = Scope::shard(&channel, node.shards.len());
        let (shard, sink) = &mut node.shards[index];
        shard.mail(now, Mail::Remote(Box::new(arrival)), sink);
        true
    }

    fn step(&mut self) {
        self.now.us += 1000;
        let node = self.random.below(self.nodes.len());
        let client = self.random.below(self.clients.len());
        let room = self.random.pick(&ROOMS);
        let is_there = !self.clients[client].is_gone;
        let is_joined = self.clients[client].joined.contains(&room);
        let Self { random, weights, .. } = self;
        match random.weighted(weights) {
            0 if is_there && !is_joined => self.join(client, room),
            1 if is_there && is_joined => self.leave(client, room),
            2 => self.client_publishes(),
            3 => _ = self.api_publishes(node, Some(room)),
            4 => _ = self.api_publishes(node, None),
            5 => self.tell_one(),
            6 => _ = self.broker.work(node, &mut self.random),
            7 => _ = self.deliver(node),
            8 => {
                let shard = self.random.below(self.nodes[node].shards.len());
                self.nodes[node].take_mail(shard, self.now);
            }
            9 => {
                let shard = self.random.below(self.nodes[node].shards.len());
                self.nodes[node].end_turn(shard, self.now);
                self.read();
            }
            10 => match self.broker.is_up(node) {
                true => {
                    self.note("the link is cut of node:", &[node]);
                    self.broker.cut(node);
                }
                false => {
                    self.note("the link is joined again of node:", &[node]);
                    self.broker.heal(node);
                }
            },
            11 => match self.random.percent(50) {
                true => self.broker.bring_late(node, &mut self.random),
                false => self.come_back(),
            },
            _ => {}
        }
        self.check();
    }

    /// Clients read all that has come.
    fn read(&mut self) {
        let handed = self.broker.lock().handed.clone();
        for client in self.clients.iter_mut().filter(|client| !client.is_gone) {
            let (_, sink) = &mut self.nodes[client.node].shards[client.shard];
            client.reader.push(sink.0.remove(&client.slot).unwrap_or_default().into_iter());
            while let Some(frame) = client.reader.next().unwrap() {
                assert_eq!(frame.opcode, TEXT);
                let message = serde_json::from_slice(&frame.payload).unwrap();
                client.hearing.hear(&message, &mut self.oracle, &handed);
            }
        }
    }

    /// What holds at any time: a node hands on what was published there, once.
    fn check(&self) {
        let inside = self.broker.lock();
        if let Some(wrong) = &inside.wrong {
            panic!("{wrong}");
        }
        if let Some((said, handed)) = inside.handed.last_key_value() {
            let made = &self.oracle.made[*said as usize];
            assert_eq!(handed.node, made.node, "{said} is handed on by a node that heard of it");
        }
    }

    /// All that is on its way arrives.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            self.now.us += 1000;
            let mut is_quiet = true;
            for node in 0..self.nodes.len() {
                while self.broker.work(node, &mut self.random) || self.deliver(node) {
                    is_quiet = false;
                }
                for shard in 0..self.nodes[node].shards.len() {
                    while self.nodes[node].take_mail(shard, self.now) {
                        is_quiet = false;
                    }
                    is_quiet &= !self.nodes[node].end_turn(shard, self.now);
                }
            }
            self.read();
            self.check();
            if is_quiet {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    pub fn run(&mut self) {
        for _ in 0..self.steps {
            self.step();
        }
        (0..self.nodes.len()).for_each(|node| self.broker.heal(node));
        self.settle();
        // With all links up everybody hears everything.
        for _ in 0..2 {
            let mut said = Vec::new();
            for room in ROOMS {
                said.extend((0..self.nodes.len()).map(|node| self.api_publishes(node, Some(room))));
            }
            said.extend((0..self.nodes.len()).map(|node| self.api_publishes(node, None)));
            self.settle();
            said.into_iter().for_each(|said| self.check_heard(said));
        }
        for client in self.clients.iter().filter(|client| !client.is_gone) {
            assert!(client.hearing.asked.is_empty());
            for (room, membership) in &client.hearing.rooms {
                let lost = self.nodes[client.node].hub.cluster.as_ref().unwrap().lost();
                assert!(membership.missing <= lost, "a node has counted {lost} lost, a member misses more");
                if remembers(room) {
                    let last = self.broker.last(room);
                    let handed = &self.broker.lock().handed;
                    let is_all = client.hearing.may_be_next(membership, last + 1, &self.oracle, handed);
                    assert!(is_all && membership.next.is_some(), "client {}", client.hearing.client);
                }
            }
        }
    }

    fn check_heard(&self, said: usize) {
        let room = self.oracle.made[said].room;
        for client in self.clients.iter().filter(|client| !client.is_gone) {
            let hearing = &client.hearing;
            let membership = match room {
                Some(room) => hearing.rooms.get(room),
                None => Some(&hearing.at_large),
            };
            let is_heard = membership.is_none_or(|it| it.heard.contains(&(said as u64)));
            assert!(is_heard, "client {} does not hear {said} of {room:?}", hearing.client);
        }
    }
}
