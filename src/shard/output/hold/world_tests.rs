//! One shard with a clock that the test sets, and what its connections have been sent.

use crate::base::Pattern;
use crate::config::{Config, HistoryLimits, Overflow, PresenceMode, RoomPolicy, RoomRule};
use crate::hub::Hub;
use crate::metrics::ShardMetrics;
use crate::model::{CloseReason, Compression, DialectId, Draft, Selector};
use crate::shard::output::backlog::tests::{frame_len, payload};
use crate::shard::{
    CustomRequest, Handlers, LABELS, Mail, Newcomer, Now, Parts, Request, Route, Sent, Shard, Sockets,
};
use crate::wire::Inflater;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Default)]
pub struct Pipe {
    sent: Vec<u8>,
    pub space: usize,
    pub watched: bool,
    pub closed: bool,
}

#[derive(Default)]
pub struct Pipes(pub Vec<Pipe>);

impl Sockets for Pipes {
    fn send(&mut self, slot: u32, bytes: &[u8]) -> Sent {
        let pipe = &mut self.0[slot as usize];
        let taken = bytes.len().min(pipe.space);
        pipe.space -= taken;
        pipe.sent.extend(&bytes[..taken]);
        Sent::Taken(taken)
    }

    fn watch_writable(&mut self, slot: u32, on: bool) {
        self.0[slot as usize].watched = on;
    }

    fn urge(&mut self, _: u32) {}

    fn finish(&mut self, _: u32) {}

    fn close(&mut self, slot: u32) {
        self.0[slot as usize].closed = true;
    }

    fn now_us(&self) -> u64 {
        0
    }
}

/// What a handler was given.
pub type Handed = Arc<Mutex<Vec<(String, String)>>>;

pub struct World {
    pub shard: Shard,
    index: usize,
    pub pipes: Pipes,
    pub hub: Arc<Hub>,
    pub metrics: Arc<ShardMetrics>,
    pub ms: u64,
    pub handed: Handed,
    /// Mail of the shards of the node.
    posted: Posted,
}

/// By shard.
type Posted = Arc<Vec<Mutex<VecDeque<Mail>>>>;

/// What came of one frame.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    Text(Value),
    Control(u8),
}

/// Rooms with these words in their names have these rules.
pub fn rules() -> Vec<RoomRule> {
    let rule = |pattern: &str, policy| RoomRule { pattern: Pattern::parse(pattern).unwrap(), policy };
    let by_key = Overflow::Conflate { key: Some("k".to_owned()) };
    let history = HistoryLimits { messages_max: 100, age_max: Duration::from_secs(3600), bytes_max: 1 << 20 };
    let plain = RoomPolicy::default;
    vec![
        rule("keyed:*", RoomPolicy { overflow: by_key, ..plain() }),
        rule("lossy:*", RoomPolicy { overflow: Overflow::DropOldest, ..plain() }),
        rule("past:*", RoomPolicy { history: Some(history), ..plain() }),
        rule("last:*", RoomPolicy { last_value: true, ..plain() }),
        rule("seen:*", RoomPolicy { presence: PresenceMode::Ids, ..plain() }),
    ]
}

/// An endpoint with every act, at index 0, and one whose snapshot is the last value, at index 1.
const ENDPOINTS: &str = r#"[
    {"path": "/s/{id}", "dialect": "rooms", "snapshot": {"room": "past:{id}", "as": "history"}, "messages": {
        "pace": "pace", "filter": "filter", "again": "snapshot", "cancel": "forward", "follow": {"join": "past:{to}"}}},
    {"path": "/l/{id}", "dialect": "rooms", "snapshot": {"room": "last:{id}"}, "messages": {
        "pace": "pace", "filter": "filter", "again": "snapshot"}}
]"#;

impl World {
    pub fn new(change: impl FnOnce(&mut Config)) -> Self {
        let hub = Arc::new(Hub::new(1, 0, &rules()));
        Self::shard(0, &hub, &Arc::new(vec![Mutex::default()]), change)
    }

    /// The shards of one node, each with a world for its connections.
    pub fn shards(shards: usize) -> Vec<Self> {
        let hub = Arc::new(Hub::new(shards, 0, &rules()));
        let posted: Posted = Arc::new((0..shards).map(|_| Mutex::default()).collect());
        (0..shards).map(|index| Self::shard(index, &hub, &posted, |_| {})).collect()
    }

    fn shard(index: usize, hub: &Arc<Hub>, posted: &Posted, change: impl FnOnce(&mut Config)) -> Self {
        let rules = rules();
        let mut config =
            Config { room_rules: rules.clone(), client_broadcast: Some(true), ..Config::default() };
        config.endpoints = crate::config::parse_endpoints(ENDPOINTS).unwrap();
        config.times.ping_interval = Duration::ZERO;
        config.times.pong_wait = Duration::ZERO;
        change(&mut config);
        let metrics = Arc::new(ShardMetrics::new(&LABELS));
        let (post, handed) = (posted.clone(), Handed::default());
        let handlers = Handlers::default();
        let to = handed.clone();
        handlers.set(
            "cancel",
            Arc::new(move |request: CustomRequest| {
                to.lock().unwrap().push((request.event().to_owned(), request.data().to_owned()));
            }),
        );
        let shard = Shard::new(Parts {
            index,
            shards: posted.len(),
            hub: hub.clone(),
            config: Arc::new(config),
            metrics: metrics.clone(),
            handlers,
            respond: Arc::new(|_, _| {}),
            post: Arc::new(move |shard, mail| post[shard].lock().unwrap().push_back(mail)),
            seed: [1; 32],
        });
        let (hub, posted) = (hub.clone(), posted.clone());
        Self { shard, index, pipes: Pipes::default(), hub, metrics, ms: 1000, handed, posted }
    }

    pub fn now(&self) -> Now {
        Now { us: self.ms * 1000, unix_ms: 1_700_000_000_000 + self.ms }
    }

    /// A connection that takes all that it is sent, and has been greeted.
    pub fn connect(&mut self, newcomer: Newcomer) -> u32 {
        self.hub.admission.admit(None, 0, 0).unwrap();
        let slot = self.shard.open(self.now(), newcomer).unwrap().slot;
        self.pipes.0.resize_with(self.pipes.0.len().max(slot as usize + 1), Pipe::default);
        self.pipes.0[slot as usize] = Pipe { space: usize::MAX, ..Pipe::default() };
        self.tick();
        slot
    }

    pub fn plain(&mut self) -> u32 {
        self.quiet(Newcomer::default())
    }

    pub fn batched(&mut self, ms: u64) -> u32 {
        self.quiet(Newcomer { batch: Duration::from_millis(ms), ..Newcomer::default() })
    }

    /// By the endpoint of that index, with `x` for the path's parameter.
    pub fn routed(&mut self, endpoint: usize) -> u32 {
        self.quiet(Self::by(endpoint))
    }

    pub fn by(endpoint: usize) -> Newcomer {
        let parameters = vec![("id".to_owned(), "x".to_owned())];
        Newcomer { route: Some(Route { endpoint, parameters }), ..Newcomer::default() }
    }

    pub fn deflated(newcomer: Newcomer) -> Newcomer {
        Newcomer {
            compression: Compression::Window15,
            dialect: crate::dialect::named("topics").unwrap(),
            ..newcomer
        }
    }

    fn quiet(&mut self, newcomer: Newcomer) -> u32 {
        let slot = self.connect(newcomer);
        self.pipes.0[slot as usize].sent.clear();
        slot
    }

    pub fn say(&mut self, slot: u32, message: &Value) {
        self.say_text(slot, &message.to_string());
    }

    pub fn say_text(&mut self, slot: u32, text: &str) {
        self.frame(slot, 0x81, text.as_bytes());
    }

    pub fn frame(&mut self, slot: u32, first: u8, payload: &[u8]) {
        let mut frame = vec![first, 0xFE];
        frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        if payload.len() < 126 {
            frame = vec![first, 0x80 | payload.len() as u8];
        }
        frame.extend([0; 4]);
        frame.extend(payload);
        self.shard.receive(self.now(), slot, &mut frame, &mut self.pipes);
    }

    pub fn join(&mut self, slot: u32, room: &str) {
        let key = if self.shard.dialect_of(slot) == DialectId::NATIVE { "room" } else { "channel" };
        self.say(slot, &json!({"type": "subscribe", key: room}));
        self.tick();
        self.pipes.0[slot as usize].sent.clear();
    }

    pub fn publish(&mut self, room: &str, data: &Value) {
        let data = data.to_string();
        self.shard.outside_publish(self.now(), &Selector::room(room), &Draft::new("message", Some(&data)));
    }

    pub fn request(&mut self, request: Request) {
        self.shard.mail(self.now(), Mail::Request(request), &mut self.pipes);
    }

    /// Ends the tick, with the mail that the shard has sent itself or was sent by others.
    pub fn tick(&mut self) {
        loop {
            let now = self.now();
            while let Some(mail) = self.next_mail() {
                self.shard.mail(now, mail, &mut self.pipes);
            }
            self.shard.advance(now, &mut self.pipes);
            self.shard.flush(now, &mut self.pipes);
            for (shard, posted) in self.posted.iter().enumerate() {
                let batch = self.shard.take_outgoing(shard);
                posted.lock().unwrap().extend(batch.map(Mail::Frames));
            }
            if !self.shard.has_more() && self.posted[self.index].lock().unwrap().is_empty() {
                break;
            }
        }
    }

    fn next_mail(&self) -> Option<Mail> {
        self.posted[self.index].lock().unwrap().pop_front()
    }

    /// Lets time pass, as fast as the shard's deadlines allow.
    pub fn pass(&mut self, ms: u64) {
        self.tick();
        let end = self.ms + ms;
        loop {
            let due = self.shard.deadline_ms().map_or(end, |due| due.max(self.ms));
            self.ms = due.min(end);
            self.tick();
            if self.ms == end {
                // What is due now has had its turn.
                break;
            }
            if due <= self.ms {
                self.ms = (self.ms + 1).min(end);
            }
        }
    }

    /// Lets a transport that was full take so many bytes.
    pub fn drain(&mut self, slot: u32, space: usize) {
        self.pipes.0[slot as usize].space = space;
        if self.pipes.0[slot as usize].watched {
            self.shard.writable(self.now(), slot, &mut self.pipes);
        }
    }

    /// What came since the last call.
    pub fn heard(&mut self, slot: u32) -> Vec<Heard> {
        let bytes = std::mem::take(&mut self.pipes.0[slot as usize].sent);
        let (mut heard, mut at) = (Vec::new(), 0);
        let mut inflater = Inflater::default();
        while at < bytes.len() {
            let frame = &bytes[at..at + frame_len(&bytes[at..])];
            at += frame.len();
            heard.push(match frame[0] {
                0x81 => Heard::Text(serde_json::from_slice(payload(frame)).unwrap()),
                0xC1 => {
                    Heard::Text(serde_json::from_str(inflater.inflate_own(payload(frame)).unwrap()).unwrap())
                }
                other => Heard::Control(other),
            });
        }
        heard
    }

    pub fn texts(&mut self, slot: u32) -> Vec<Value> {
        let text = |heard| if let Heard::Text(value) = heard { Some(value) } else { None };
        self.heard(slot).into_iter().filter_map(text).collect()
    }

    /// The `data` of the messages that came, without those of other types.
    pub fn data(&mut self, slot: u32) -> Vec<Value> {
        let texts = self.texts(slot).into_iter().filter(|text| text["type"] == "message");
        texts.map(|mut text| text["data"].take()).collect()
    }

    /// The messages of arrays, and how many came in each.
    pub fn arrays(&mut self, slot: u32) -> (Vec<Value>, Vec<usize>) {
        let arrays: Vec<Vec<Value>> =
            self.texts(slot).into_iter().map(|text| serde_json::from_value(text).unwrap()).collect();
        let lens = arrays.iter().map(Vec::len).collect();
        (arrays.into_iter().flatten().collect(), lens)
    }

    pub fn closing(&self, slot: u32) -> Option<CloseReason> {
        self.shard.inspect(slot).and_then(|seen| seen.closing)
    }
}

impl Shard {
    fn dialect_of(&self, slot: u32) -> DialectId {
        self.conns.at(slot).unwrap().dialect
    }
}
