//! Shards, mailboxes and clients on one thread: mail is late by as much as the test likes.

use super::*;
use crate::base::Pattern;
use crate::config::{Config, HistoryLimits, RoomPolicy, RoomRule};
use crate::hub::Hub;
use crate::metrics::ShardMetrics;
use crate::model::{ConnectionId, Draft, Selector};
use crate::shard::{LABELS, Mail, Message, Newcomer, Parts, Post, Sent, Shard, Sockets};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SHARDS: usize = 3;
const CLIENTS: usize = 5;
const KEPT: u32 = 6;
const AGE: Duration = Duration::from_secs(2);

/// Room for all that a test publishes.
const AMPLE_BYTES: usize = 1 << 20;

/// What each slot of one shard was sent.
#[derive(Default)]
struct Pipes {
    sent: HashMap<u32, Vec<u8>>,
    /// Those that take nothing.
    stalled: HashSet<u32>,
}

impl Sockets for Pipes {
    fn send(&mut self, slot: u32, bytes: &[u8]) -> Sent {
        if self.stalled.contains(&slot) {
            return Sent::Taken(0);
        }
        self.sent.entry(slot).or_default().extend_from_slice(bytes);
        Sent::Taken(bytes.len())
    }

    fn watch_writable(&mut self, _: u32, _: bool) {}

    fn urge(&mut self, _: u32) {}

    fn finish(&mut self, _: u32) {}

    fn close(&mut self, slot: u32) {
        self.sent.remove(&slot);
        self.stalled.remove(&slot);
    }

    fn now_us(&self) -> u64 {
        0
    }
}

type Mailboxes = Arc<Mutex<Vec<VecDeque<Mail>>>>;

struct World {
    hub: Arc<Hub>,
    shards: Vec<(Shard, Pipes)>,
    mailboxes: Mailboxes,
    clients: Vec<Client>,
    now: Now,
    last_value: bool,
    /// Data by epoch and offset, as the first to see it saw it.
    order: HashMap<(String, u64), u64>,
    published: u64,
}

/// A client and what it knows of the room `r`.
#[derive(Default)]
struct Client {
    /// Shard and slot while it is connected.
    at: Option<(usize, u32)>,
    /// Whether the shard has it as a member.
    joined: bool,
    /// The same by what the client has read.
    is_member: bool,
    /// Epoch and offset of the last message that it has read.
    seen: Option<(String, u64)>,
    /// The answers to come.
    asked: VecDeque<Expected>,
}

/// What the answer to a `subscribe` must say.
struct Expected {
    /// Where recovery was asked: whether it must succeed.
    recovered: Option<bool>,
    epoch: String,
    /// The offset it must tell; none: where the client is.
    offset: Option<u64>,
    /// The offset after which messages follow; none: where the client is.
    goes_on_after: Option<u64>,
}

#[derive(Debug, Clone)]
enum Step {
    Connect { client: usize, shard: usize },
    Lose { client: usize },
    Subscribe { client: usize, recover: bool },
    Unsubscribe { client: usize },
    Publish { client: usize },
    ApiPublish { shard: usize },
    Mail { shard: usize, items: usize },
    Flush { shard: usize },
    Stall { client: usize },
    Resume { client: usize },
    Wait { ms: u64 },
    Bound { bytes: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let (client, shard) = (0..CLIENTS, 0..SHARDS);
    prop_oneof![
        6 => (client.clone(), shard.clone()).prop_map(|(client, shard)| Step::Connect { client, shard }),
        2 => client.clone().prop_map(|client| Step::Lose { client }),
        12 => (client.clone(), any::<bool>()).prop_map(|(client, recover)| Step::Subscribe { client, recover }),
        2 => client.clone().prop_map(|client| Step::Unsubscribe { client }),
        16 => client.clone().prop_map(|client| Step::Publish { client }),
        4 => shard.clone().prop_map(|shard| Step::ApiPublish { shard }),
        12 => (shard.clone(), 1_usize..4).prop_map(|(shard, items)| Step::Mail { shard, items }),
        4 => shard.prop_map(|shard| Step::Flush { shard }),
        2 => client.clone().prop_map(|client| Step::Stall { client }),
        3 => client.prop_map(|client| Step::Resume { client }),
        2 => (0_u64..900).prop_map(|ms| Step::Wait { ms }),
        1 => prop_oneof![Just(0), Just(AMPLE_BYTES)].prop_map(|bytes| Step::Bound { bytes }),
    ]
}

/// A client's frame, masked with zeros.
fn frame(text: &str) -> Vec<u8> {
    assert!(text.len() < 126, "a short length is enough here");
    let mut bytes = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

impl World {
    fn new(last_value: bool) -> Self {
        let limits = HistoryLimits { messages_max: KEPT, age_max: AGE, bytes_max: AMPLE_BYTES };
        let rule = RoomRule {
            pattern: Pattern::parse("r").unwrap(),
            policy: RoomPolicy { history: Some(limits), last_value, ..RoomPolicy::default() },
        };
        let hub = Arc::new(Hub::new(SHARDS, 7, &[rule]));
        let mailboxes = Mailboxes::new(Mutex::new((0..SHARDS).map(|_| VecDeque::new()).collect()));
        let shard = |index| {
            let to = mailboxes.clone();
            let post: Post = Arc::new(move |shard, mail| to.lock().unwrap()[shard].push_back(mail));
            let parts = Parts {
                index,
                shards: SHARDS,
                hub: hub.clone(),
                config: Arc::new(Config::default()),
                metrics: Arc::new(ShardMetrics::new(&LABELS)),
                handlers: Default::default(),
                respond: Arc::new(|_: ConnectionId, _: Message| {}),
                post,
                seed: [index as u8 + 1; 32],
            };
            (Shard::new(parts), Pipes::default())
        };
        Self {
            shards: (0..SHARDS).map(shard).collect(),
            hub,
            mailboxes,
            clients: (0..CLIENTS).map(|_| Client::default()).collect(),
            now: Now { us: 1000, unix_ms: 1 },
            last_value,
            order: HashMap::new(),
            published: 0,
        }
    }

    /// Epoch, latest offset and number of publications kept, if the room is there.
    fn history(&self) -> Option<(String, u64, u64)> {
        let room = self.hub.directory.get("r")?;
        let history = room.log.as_ref()?.lock(self.now.ms())?;
        let Position { epoch, offset } = history.position();
        Some((epoch.to_string(), offset, history.len() as u64))
    }

    fn say(&mut self, client: usize, text: &str) {
        let Some((shard, slot)) = self.clients[client].at else { return };
        let now = self.now;
        let (shard, pipes) = &mut self.shards[shard];
        shard.receive(now, slot, &mut frame(text), pipes);
    }

    fn step(&mut self, step: &Step) {
        let now = self.now;
        match *step {
            Step::Connect { client, shard } if self.clients[client].at.is_none() => {
                self.hub.admission.admit(None, 0, 0).unwrap();
                let key = self.shards[shard].0.open(now, Newcomer::default()).unwrap();
                self.clients[client].at = Some((shard, key.slot));
            }
            Step::Lose { client } => {
                if let Some((index, slot)) = self.clients[client].at {
                    // What was on its way is read, and nothing after it.
                    self.flush(index);
                    let (shard, pipes) = &mut self.shards[index];
                    shard.lost(slot, pipes);
                    let seen = self.clients[client].seen.take();
                    self.clients[client] = Client { seen, ..Client::default() };
                }
            }
            Step::Subscribe { client, recover } => self.subscribe(client, recover),
            Step::Unsubscribe { client } => {
                self.say(client, r#"{"type":"unsubscribe","room":"r"}"#);
                self.clients[client].joined = false;
            }
            Step::Publish { client } if self.clients[client].joined => {
                self.published += 1;
                self.say(client, &format!(r#"{{"type":"publish","room":"r","data":{}}}"#, self.published));
            }
            Step::ApiPublish { shard } => {
                self.published += 1;
                let data = self.published.to_string();
                let (epoch, last, _) = self.history().unwrap_or_default();
                let to = Selector::room("r");
                let published =
                    self.shards[shard].0.outside_publish(now, &to, &Draft::new("message", Some(&data)));
                let position = published.position.expect("the room has a history");
                let expected = if position.epoch.to_string() == epoch { last + 1 } else { 1 };
                assert_eq!(position.offset, expected);
            }
            Step::Mail { shard: index, items } => {
                for _ in 0..items {
                    let Some(mail) = self.mailboxes.lock().unwrap()[index].pop_front() else { break };
                    let (shard, pipes) = &mut self.shards[index];
                    shard.mail(now, mail, pipes);
                }
            }
            Step::Flush { shard } => self.flush(shard),
            Step::Stall { client } => {
                if let Some((shard, slot)) = self.clients[client].at {
                    self.shards[shard].1.stalled.insert(slot);
                }
            }
            Step::Resume { client } => {
                if let Some((index, slot)) = self.clients[client].at {
                    let (shard, pipes) = &mut self.shards[index];
                    if pipes.stalled.remove(&slot) {
                        shard.writable(now, slot, pipes);
                    }
                }
            }
            Step::Wait { ms } => {
                self.now.us += ms * 1000;
                self.hub.directory.sweep(self.now.ms());
            }
            Step::Bound { bytes } => self.hub.directory.set_history_bytes_max(bytes, 0),
            _ => {}
        }
    }

    fn subscribe(&mut self, client: usize, recover: bool) {
        let it = &self.clients[client];
        if it.at.is_none() {
            return;
        }
        let (was_member, seen) = (it.joined, it.seen.clone().filter(|_| recover));
        let text = match &seen {
            Some((epoch, offset)) => format!(
                r#"{{"type":"subscribe","room":"r","recover":{{"epoch":"{epoch}","offset":{offset}}}}}"#
            ),
            None => r#"{"type":"subscribe","room":"r"}"#.to_owned(),
        };
        self.say(client, &text);
        let (epoch, last, kept) = self.history().expect("it has a member");
        let recovered =
            seen.as_ref().map(|(its, offset)| *its == epoch && *offset <= last && last - offset <= kept);
        let goes_on_after = match &seen {
            Some((_, offset)) if recovered == Some(true) => Some(*offset),
            _ if was_member => None,
            None if self.last_value && kept > 0 => Some(last - 1),
            _ => Some(last),
        };
        let offset = goes_on_after.map(|_| last);
        let it = &mut self.clients[client];
        it.asked.push_back(Expected { recovered, epoch, offset, goes_on_after });
        it.joined = true;
    }

    fn flush(&mut self, index: usize) {
        let (shard, pipes) = &mut self.shards[index];
        shard.flush(self.now, pipes);
        for client in 0..CLIENTS {
            let Some((_, slot)) = self.clients[client].at.filter(|(at, _)| *at == index) else { continue };
            let bytes = self.shards[index].1.sent.remove(&slot).unwrap_or_default();
            for text in texts(&bytes) {
                self.read(client, &serde_json::from_str(text).unwrap());
            }
        }
    }

    /// The oracle: what a client may be told next.
    fn read(&mut self, client: usize, message: &Value) {
        let it = &mut self.clients[client];
        match message["type"].as_str().unwrap() {
            "subscribed" => {
                let data = &message["data"];
                let expected = it.asked.pop_front().expect("it asked");
                assert_eq!(data.get("recovered").and_then(Value::as_bool), expected.recovered, "{message}");
                assert_eq!(data["epoch"], expected.epoch.as_str(), "{message}");
                let here = it.seen.as_ref().map(|(_, offset)| *offset);
                assert_eq!(data["offset"].as_u64(), expected.offset.or(here), "{message}");
                it.seen = expected.goes_on_after.or(here).map(|offset| (expected.epoch, offset));
                it.is_member = true;
            }
            "unsubscribed" => it.is_member = false,
            "message" => {
                let (offset, data) = (message["offset"].as_u64().unwrap(), message["data"].as_u64().unwrap());
                let (epoch, seen) = it.seen.as_mut().expect("an answer comes before");
                assert!(it.is_member);
                assert_eq!(offset, *seen + 1, "no gap, nothing twice: {message}");
                *seen = offset;
                let known = self.order.entry((epoch.clone(), offset)).or_insert(data);
                assert_eq!(*known, data, "one order for all: {message}");
            }
            "connected" => {}
            _ => panic!("{message}"),
        }
    }

    /// All mail arrives, and all is read.
    fn settle(&mut self) {
        (0..CLIENTS).for_each(|client| self.step(&Step::Resume { client }));
        for shard in 0..SHARDS {
            self.step(&Step::Mail { shard, items: usize::MAX });
            self.flush(shard);
        }
    }
}

/// The texts in a row of frames of a server.
fn texts(mut bytes: &[u8]) -> Vec<&str> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        assert_eq!(bytes[0], 0x81);
        let (len, start) = match bytes[1] {
            126 => (usize::from(u16::from_be_bytes([bytes[2], bytes[3]])), 4),
            len => (usize::from(len), 2),
        };
        found.push(std::str::from_utf8(&bytes[start..start + len]).unwrap());
        bytes = &bytes[start + len..];
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_member_sees_one_order_without_gaps(
        last_value in any::<bool>(),
        steps in prop::collection::vec(step(), 0..250),
    ) {
        let mut world = World::new(last_value);
        for step in &steps {
            world.step(step);
        }
        world.settle();
        for client in 0..CLIENTS {
            let it = &world.clients[client];
            prop_assert!(it.asked.is_empty() && it.joined == it.is_member);
            if it.joined {
                let (epoch, last, _) = world.history().unwrap();
                prop_assert_eq!(it.seen.as_ref(), Some(&(epoch, last)));
            }
            world.step(&Step::Lose { client });
        }
        // Nothing is left of a room that nobody uses any more.
        world.hub.directory.set_history_bytes_max(AMPLE_BYTES, 0);
        for _ in 0..4 {
            world.step(&Step::Wait { ms: AGE.as_millis() as u64 });
        }
        prop_assert!(world.hub.directory.get("r").is_none() && world.hub.directory.is_empty());
        prop_assert_eq!((world.hub.directory.history_bytes(), world.hub.directory.history_rooms()), (0, 0));
    }
}
