//! A shard between sockets that count the calls, and what its clients say.

use crate::base::Pattern;
use crate::config::{Config, HistoryLimits, RoomPolicy, RoomRule};
use crate::hub::Hub;
use crate::metrics::ShardMetrics;
use crate::model::{Draft, Selector};
use crate::shard::{Handlers, LABELS, Mail, Newcomer, Now, Parts, Sent, Shard, Sockets};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub const NOW: Now = Now { us: 1_000_000, unix_ms: 1_700_000_000_000 };

/// Takes everything, but for the slots that are jammed; keeps what the slots that are listened to get.
#[derive(Default)]
pub struct Wires {
    pub sends: usize,
    pub bytes: usize,
    /// Slot, the count of sends before, bytes.
    pub heard: Vec<(u32, usize, String)>,
    pub ears: Vec<u32>,
    pub jammed: Vec<u32>,
}

impl Sockets for Wires {
    fn send(&mut self, slot: u32, bytes: &[u8]) -> Sent {
        if self.jammed.contains(&slot) {
            return Sent::Taken(0);
        }
        if self.ears.contains(&slot) {
            self.heard.push((slot, self.sends, String::from_utf8_lossy(bytes).into_owned()));
        }
        self.sends += 1;
        self.bytes += bytes.len();
        Sent::Taken(bytes.len())
    }

    fn watch_writable(&mut self, _slot: u32, _on: bool) {}

    fn urge(&mut self, _slot: u32) {}

    fn finish(&mut self, _slot: u32) {}

    fn close(&mut self, _slot: u32) {}

    fn now_us(&self) -> u64 {
        NOW.us
    }
}

pub struct World {
    pub shard: Shard,
    pub wires: Wires,
    pub hub: Arc<Hub>,
    pub posted: Arc<Mutex<Vec<Mail>>>,
}

impl World {
    pub fn new(rules: &[RoomRule]) -> Self {
        let hub = Arc::new(Hub::new(1, 0, rules));
        let posted: Arc<Mutex<Vec<Mail>>> = Arc::default();
        let post = posted.clone();
        let config = Config { room_rules: rules.to_vec(), client_broadcast: Some(true), ..Config::default() };
        let shard = Shard::new(Parts {
            index: 0,
            shards: 1,
            hub: hub.clone(),
            config: Arc::new(config),
            metrics: Arc::new(ShardMetrics::new(&LABELS)),
            handlers: Handlers::default(),
            respond: Arc::new(|_, _| {}),
            post: Arc::new(move |_, mail| post.lock().unwrap().push(mail)),
            seed: [1; 32],
        });
        Self { shard, wires: Wires::default(), hub, posted }
    }

    /// A world in which rooms of four members are wide, with a step of one write for each.
    pub fn small(rules: &[RoomRule]) -> Self {
        let mut world = Self::new(rules);
        world.shard.turn.steps.members_min = 4;
        world
    }

    pub fn connect(&mut self) -> u32 {
        let newcomer = Newcomer::default();
        self.hub.admission.admit(None, 0, 0).unwrap();
        self.shard.open(NOW, newcomer).unwrap().slot
    }

    pub fn members(&mut self, room: &str, count: usize) -> Vec<u32> {
        let slots: Vec<u32> = (0..count)
            .map(|number| {
                let slot = self.connect();
                self.say(slot, &subscribe(room));
                if number % 1000 == 0 {
                    self.flush();
                }
                slot
            })
            .collect();
        self.settle();
        slots
    }

    pub fn say(&mut self, slot: u32, text: &str) {
        self.shard.receive(NOW, slot, &mut frame(text), &mut self.wires);
    }

    /// One turn's end.
    pub fn flush(&mut self) {
        self.shard.advance(NOW, &mut self.wires);
        self.shard.flush(NOW, &mut self.wires);
    }

    /// Turns until nothing is left to do.
    pub fn settle(&mut self) {
        loop {
            self.shard.resume_mail(NOW, &mut self.wires);
            self.deliver_posted();
            self.flush();
            if !self.shard.has_more() && self.posted.lock().unwrap().is_empty() {
                break;
            }
        }
    }

    pub fn deliver_posted(&mut self) {
        for mail in std::mem::take(&mut *self.posted.lock().unwrap()) {
            self.shard.mail(NOW, mail, &mut self.wires);
        }
    }

    /// A jammed slot takes again what is sent to it.
    pub fn free(&mut self, slot: u32) {
        self.wires.jammed.clear();
        self.shard.writable(NOW, slot, &mut self.wires);
        self.settle();
    }

    pub fn publish(&mut self, room: &str, data: &str) {
        let data = format!("\"{data}\"");
        self.shard.outside_publish(NOW, &Selector::room(room), &Draft::new("message", Some(&data)));
    }

    pub fn listen(&mut self, slots: &[u32]) {
        self.wires.heard.clear();
        self.wires.ears = slots.to_vec();
    }

    /// What was sent to a slot since, all in one.
    pub fn heard(&self, slot: u32) -> String {
        self.wires.heard.iter().filter(|(to, ..)| *to == slot).map(|(.., text)| text.as_str()).collect()
    }
}

/// What publications of the form `<number>` a text has.
pub fn numbers(text: &str) -> Vec<usize> {
    text.split('<').skip(1).map(|rest| rest.split('>').next().unwrap().parse().unwrap()).collect()
}

/// The rule of a room with history.
pub fn remembering(pattern: &str) -> RoomRule {
    let limits = HistoryLimits { messages_max: 100, age_max: Duration::from_secs(60), bytes_max: 1 << 20 };
    let policy = RoomPolicy { history: Some(limits), ..RoomPolicy::default() };
    RoomRule { pattern: Pattern::parse(pattern).unwrap(), policy }
}

pub fn subscribe(room: &str) -> String {
    format!(r#"{{"type":"subscribe","room":"{room}"}}"#)
}

pub fn publish(room: &str, data: &str) -> String {
    format!(r#"{{"type":"publish","room":"{room}","data":"{data}"}}"#)
}

/// A client's frame of up to 65,535 bytes, masked with zeros.
pub fn frame(payload: &str) -> Vec<u8> {
    let len = payload.len() as u16;
    let mut frame = match len {
        0..126 => vec![0x81, 0x80 | len as u8],
        _ => [&[0x81, 0x80 | 126], &len.to_be_bytes()[..]].concat(),
    };
    frame.extend([0; 4]);
    frame.extend(payload.as_bytes());
    frame
}
