//! Shards, mailboxes and clients on one thread: mail is late by as much as the test likes.

use super::*;
use crate::base::Pattern;
use crate::config::{Config, HistoryLimits, RoomPolicy, RoomRule};
use crate::hub::Hub;
use crate::metrics::{ShardLabels, ShardMetrics};
use crate::model::{CloseReason, ConnectionId, DialectId, DropReason, Refusal};
use crate::shard::{Mail, Message, Newcomer, Parts, Post, Sent, Shard, Sockets, To};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SHARDS: usize = 3;
const KEPT: u64 = 6;

/// What each slot of one shard was sent.
#[derive(Default)]
struct Pipes(HashMap<u32, Vec<u8>>);

impl Sockets for Pipes {
    fn send(&mut self, slot: u32, bytes: &[u8]) -> Sent {
        self.0.entry(slot).or_default().extend_from_slice(bytes);
        Sent::Taken(bytes.len())
    }

    fn watch_writable(&mut self, _: u32, _: bool) {}

    fn urge(&mut self, _: u32) {}

    fn finish(&mut self, _: u32) {}

    fn close(&mut self, slot: u32) {
        self.0.remove(&slot);
    }

    fn now_us(&self) -> u64 {
        0
    }
}

type Mailboxes = Arc<Mutex<Vec<VecDeque<Mail>>>>;

struct World {
    shards: Vec<(Shard, Pipes)>,
    mailboxes: Mailboxes,
    clients: Vec<Client>,
    /// Data by offset, as the first to see it saw it.
    order: Vec<u64>,
    published: u64,
}

/// A client and what it knows of the room `r`.
#[derive(Default)]
struct Client {
    /// Shard and slot while it is connected.
    at: Option<(usize, u32)>,
    is_member: bool,
    /// Epoch and offset of the last message.
    seen: Option<(String, u64)>,
    /// The answers to come: what was seen when it was asked, if recovery was.
    asked: VecDeque<Option<u64>>,
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
}

fn step() -> impl Strategy<Value = Step> {
    let (client, shard) = (0_usize..5, 0..SHARDS);
    prop_oneof![
        3 => (client.clone(), shard.clone()).prop_map(|(client, shard)| Step::Connect { client, shard }),
        1 => client.clone().prop_map(|client| Step::Lose { client }),
        6 => (client.clone(), any::<bool>()).prop_map(|(client, recover)| Step::Subscribe { client, recover }),
        1 => client.clone().prop_map(|client| Step::Unsubscribe { client }),
        8 => client.prop_map(|client| Step::Publish { client }),
        2 => shard.clone().prop_map(|shard| Step::ApiPublish { shard }),
        6 => (shard.clone(), 1_usize..4).prop_map(|(shard, items)| Step::Mail { shard, items }),
        2 => shard.prop_map(|shard| Step::Flush { shard }),
    ]
}

fn now() -> Now {
    Now { us: 1000, unix_ms: 1 }
}

/// A client's frame, masked with zeros.
fn frame(text: &str) -> Vec<u8> {
    assert!(text.len() < 126, "a short length is enough here");
    let mut bytes = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

impl World {
    fn new() -> Self {
        let limits =
            HistoryLimits { messages_max: KEPT as u32, age_max: Duration::from_secs(60), bytes_max: 1 << 20 };
        let rule = RoomRule {
            pattern: Pattern::parse("r").unwrap(),
            policy: RoomPolicy { history: Some(limits), ..RoomPolicy::default() },
        };
        let hub = Arc::new(Hub::new(SHARDS, 7, &[rule]));
        let mailboxes = Mailboxes::new(Mutex::new((0..SHARDS).map(|_| VecDeque::new()).collect()));
        let labels = ShardLabels {
            close_reasons: &CloseReason::LABELS,
            drop_reasons: &DropReason::LABELS,
            refusals: &Refusal::LABELS,
        };
        let shard = |index| {
            let to = mailboxes.clone();
            let post: Post = Arc::new(move |shard, mail| to.lock().unwrap()[shard].push_back(mail));
            let parts = Parts {
                index,
                shards: SHARDS,
                hub: hub.clone(),
                config: Arc::new(Config::default()),
                metrics: Arc::new(ShardMetrics::new(&labels)),
                handlers: Default::default(),
                respond: Arc::new(|_: ConnectionId, _: Message| {}),
                post,
                seed: index as u64 + 1,
            };
            (Shard::new(parts), Pipes::default())
        };
        let clients = (0..5).map(|_| Client::default()).collect();
        Self { shards: (0..SHARDS).map(shard).collect(), mailboxes, clients, order: Vec::new(), published: 0 }
    }

    fn say(&mut self, client: usize, text: &str) {
        let Some((shard, slot)) = self.clients[client].at else { return };
        let (shard, pipes) = &mut self.shards[shard];
        shard.receive(now(), slot, &mut frame(text), pipes);
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Connect { client, shard } if self.clients[client].at.is_none() => {
                self.shards[shard].0.hub.admission.admit(None, 0, 0).unwrap();
                let newcomer = Newcomer { peer: None, dialect: DialectId(0), echo: false };
                let key = self.shards[shard].0.open(now(), newcomer).unwrap();
                self.clients[client].at = Some((shard, key.slot));
            }
            Step::Lose { client } => {
                if let Some((index, slot)) = self.clients[client].at {
                    // What was on its way is read, and nothing after it.
                    self.flush(index);
                    let (shard, pipes) = &mut self.shards[index];
                    shard.lost(slot, pipes);
                    let it = &mut self.clients[client];
                    (it.at, it.is_member) = (None, false);
                    it.asked.clear();
                }
            }
            Step::Subscribe { client, recover } if self.clients[client].at.is_some() => {
                let it = &mut self.clients[client];
                let seen = it.seen.clone().filter(|_| recover);
                it.asked.push_back(seen.as_ref().map(|(_, offset)| *offset));
                let text = match seen {
                    Some((epoch, offset)) => format!(
                        r#"{{"type":"subscribe","room":"r","recover":{{"epoch":"{epoch}","offset":{offset}}}}}"#
                    ),
                    None => r#"{"type":"subscribe","room":"r"}"#.to_owned(),
                };
                self.say(client, &text);
                // What the answer must be judged by: the order as it is now.
                if let Some((shard, _)) = self.clients[client].at {
                    self.flush(shard);
                }
            }
            Step::Unsubscribe { client } => {
                self.say(client, r#"{"type":"unsubscribe","room":"r"}"#);
                if let Some((shard, _)) = self.clients[client].at {
                    self.flush(shard);
                }
            }
            Step::Publish { client } if self.clients[client].is_member => {
                self.published += 1;
                self.say(client, &format!(r#"{{"type":"publish","room":"r","data":{}}}"#, self.published));
            }
            Step::ApiPublish { shard } => {
                self.published += 1;
                let data = self.published.to_string();
                let to = To::Room("r".to_owned());
                let published = self.shards[shard].0.outside_publish(now(), &to, "message", Some(&data));
                assert_eq!(published.position.unwrap().offset, self.published);
            }
            Step::Mail { shard: index, items } => {
                for _ in 0..items {
                    let Some(mail) = self.mailboxes.lock().unwrap()[index].pop_front() else { break };
                    let (shard, pipes) = &mut self.shards[index];
                    shard.mail(now(), mail, pipes);
                }
            }
            Step::Flush { shard } => self.flush(shard),
            _ => {}
        }
    }

    fn flush(&mut self, index: usize) {
        let (shard, pipes) = &mut self.shards[index];
        shard.flush(now(), pipes);
        for client in 0..self.clients.len() {
            let Some((_, slot)) = self.clients[client].at.filter(|(at, _)| *at == index) else { continue };
            let bytes = self.shards[index].1.0.remove(&slot).unwrap_or_default();
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
                let (epoch, offset) = (data["epoch"].as_str().unwrap(), data["offset"].as_u64().unwrap());
                let asked = it.asked.pop_front().expect("it asked");
                assert_eq!(data.get("recovered").is_some(), asked.is_some());
                let told = asked.is_some_and(|seen| self.published - seen <= KEPT);
                assert_eq!(data["recovered"].as_bool().unwrap_or(false), told, "{message}");
                let seen = match asked {
                    Some(seen) if told => seen,
                    // A member goes on where it was, unless it asked for something else.
                    _ => offset,
                };
                if it.is_member && !told {
                    assert_eq!(it.seen.as_ref().map_or(seen, |(_, before)| *before), seen, "{message}");
                } else {
                    assert_eq!(offset, self.published, "{message}");
                }
                it.seen = Some((epoch.to_owned(), seen));
                it.is_member = true;
            }
            "unsubscribed" => it.is_member = false,
            "message" => {
                let (offset, data) = (message["offset"].as_u64().unwrap(), message["data"].as_u64().unwrap());
                let (_, seen) = it.seen.as_mut().expect("an answer comes before");
                assert!(it.is_member);
                assert_eq!(offset, *seen + 1, "no gap, nothing twice: {message}");
                *seen = offset;
                if self.order.len() < offset as usize {
                    self.order.resize(offset as usize, 0);
                }
                let known = &mut self.order[offset as usize - 1];
                assert!(*known == 0 || *known == data, "one order for all: {message}");
                *known = data;
            }
            "connected" => {}
            _ => panic!("{message}"),
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
    fn every_member_sees_one_order_without_gaps(steps in prop::collection::vec(step(), 0..200)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        for shard in 0..SHARDS {
            world.step(&Step::Mail { shard, items: usize::MAX });
            world.flush(shard);
        }
        for client in world.clients.iter().filter(|client| client.is_member) {
            prop_assert_eq!(client.seen.as_ref().unwrap().1, world.published);
        }
    }
}
