//! What held connections hear compared with what one hears that is not: all of it, or the newest of it, in order,
//! whatever the sockets take and whatever else they ask.

use super::world_tests::{Heard, World};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::HashMap;

const ROOMS: [&str; 4] = ["a", "keyed:a", "past:a", "lossy:a"];
const INTERVAL_MS: u64 = 300;
const SMALL_MS: u64 = 10;

#[derive(Debug, Clone)]
enum Step {
    Publish {
        room: usize,
        key: u64,
    },
    Pass(u64),
    Tick,
    Ask,
    /// The held connection's socket takes so many bytes from now on.
    Space(usize),
    Again(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..ROOMS.len(), 0..3_u64).prop_map(|(room, key)| Step::Publish { room, key }),
        3 => (1..400_u64).prop_map(Step::Pass),
        2 => Just(Step::Tick),
        1 => Just(Step::Ask),
        1 => prop_oneof![Just(0), 1..500_usize, Just(usize::MAX)].prop_map(Step::Space),
        1 => (0..ROOMS.len()).prop_map(Step::Again),
    ];
    prop::collection::vec(step, 1..60)
}

struct Run {
    world: World,
    held: u32,
    free: u32,
    published: u64,
    asked: u64,
}

impl Run {
    fn new(held: impl FnOnce(&mut World) -> u32) -> Self {
        let mut world = World::new(|_| {});
        let (held, free) = (held(&mut world), world.plain());
        for room in ROOMS {
            world.join(held, room);
            world.join(free, room);
        }
        Self { world, held, free, published: 0, asked: 0 }
    }

    fn step(&mut self, step: &Step) {
        let world = &mut self.world;
        match step {
            Step::Publish { room, key } => {
                self.published += 1;
                world.publish(ROOMS[*room], &json!({"k": key, "n": self.published}));
            }
            Step::Pass(ms) => world.pass(*ms),
            Step::Tick => world.tick(),
            Step::Ask => {
                self.asked += 1;
                world.say(self.held, &json!({"type": "ping", "id": self.asked}));
            }
            Step::Space(space) => world.drain(self.held, *space),
            Step::Again(room) => {
                for type_ in ["unsubscribe", "subscribe"] {
                    for slot in [self.held, self.free] {
                        world.say(slot, &json!({"type": type_, "room": ROOMS[*room]}));
                    }
                }
            }
        }
    }

    /// Lets all out that waits, and looks at what is left behind.
    fn end(&mut self) {
        self.world.tick();
        for _ in 0..3 {
            self.world.drain(self.held, usize::MAX);
            self.world.pass(1100);
        }
        assert_eq!((self.world.hub.outboxes.bytes(), self.world.metrics.backlog_bytes.get()), (0, 0));
        assert_eq!(self.world.metrics.blocked_connections.get(), 0);
    }
}

/// By room, what was said of it in its order, without when.
fn by_room(messages: Vec<Value>) -> HashMap<String, Vec<Value>> {
    let mut rooms: HashMap<String, Vec<Value>> = HashMap::new();
    for message in messages {
        if let Some(room) = message["room"].as_str() {
            // The number of members was another one at another time.
            let data = if message["type"] == "subscribed" { &Value::Null } else { &message["data"] };
            let told = json!([message["type"], data, message["offset"]]);
            rooms.entry(room.to_owned()).or_default().push(told);
        }
    }
    rooms
}

fn pongs(messages: &[Value]) -> Vec<u64> {
    let pongs = messages.iter().filter(|message| message["type"] == "pong");
    pongs.map(|pong| pong["id"].as_u64().unwrap()).collect()
}

fn flat(heard: Vec<Heard>) -> Vec<Value> {
    let arrays = heard.into_iter().map(|heard| match heard {
        Heard::Text(Value::Array(messages)) => messages,
        other => panic!("no array: {other:?}"),
    });
    arrays.flatten().collect()
}

proptest! {
    #[test]
    fn a_batch_holds_all_that_comes_without_one(steps in steps(), batch in 1..=1000_u64) {
        let mut run = Run::new(|world| world.batched(batch));
        // A socket that is full is another matter: then rooms may lose what waits.
        for step in steps.iter().filter(|step| !matches!(step, Step::Space(_))) {
            run.step(step);
        }
        run.end();
        let heard = run.world.heard(run.held);
        prop_assert!(heard.iter().all(|it| matches!(it, Heard::Text(text) if !text.as_array().unwrap().is_empty())));
        let (held, free) = (flat(heard), run.world.texts(run.free));
        prop_assert_eq!(pongs(&held), (1..=run.asked).collect::<Vec<_>>());
        prop_assert_eq!(by_room(held), by_room(free));
    }

    #[test]
    fn nothing_firm_is_lost_from_a_batch_whatever_the_socket_takes(steps in steps(), batch in 1..=1000_u64) {
        let mut run = Run::new(|world| world.batched(batch));
        steps.iter().for_each(|step| run.step(step));
        run.end();
        let held = flat(run.world.heard(run.held));
        prop_assert_eq!(pongs(&held), (1..=run.asked).collect::<Vec<_>>());
        let (held, mut free) = (by_room(held), by_room(run.world.texts(run.free)));
        for room in ["a", "past:a", "lossy:a"] {
            let free = free.remove(room);
            prop_assert_eq!(held.get(room), free.as_ref());
        }
    }

    #[test]
    fn a_pace_gives_the_newest_value_in_order(steps in steps()) {
        let mut run = Run::new(|world| world.routed(0));
        run.world.say(run.held, &json!({"type": "pace", "interval": INTERVAL_MS}));
        // When each message came, and how many had been published then.
        let mut heard: Vec<(u64, Value)> = Vec::new();
        let mut full = false;
        let mut again = false;
        for step in &steps {
            full |= matches!(step, Step::Space(_));
            again |= matches!(step, Step::Again(_));
            // In small steps, to see when what comes.
            let small = if let Step::Pass(ms) = step { vec![Step::Pass(SMALL_MS); (ms / SMALL_MS) as usize] } else { vec![step.clone()] };
            for step in &small {
                run.step(step);
                let at = run.world.ms;
                if !full {
                    heard.extend(run.world.texts(run.held).into_iter().map(|text| (at, text)));
                }
            }
        }
        run.end();
        let at = run.world.ms;
        heard.extend(run.world.texts(run.held).into_iter().map(|text| (at, text)));
        let texts: Vec<Value> = heard.iter().map(|(_, text)| text.clone()).collect();
        prop_assert_eq!(pongs(&texts), (1..=run.asked).collect::<Vec<_>>());
        prop_assert!(texts.iter().all(|text| text["type"] != "gap"));
        let (held, free) = (by_room(texts), by_room(run.world.texts(run.free)));
        for room in ROOMS {
            let (held, free) = (held.get(room).cloned().unwrap_or_default(), free.get(room).cloned().unwrap_or_default());
            // In order, and nothing but what the other one has heard.
            let mut rest = free.iter();
            prop_assert!(held.iter().all(|told| rest.any(|it| it == told)), "{}: {:?} of {:?}", room, held, free);
            // The last value of each key is there.
            let last = |told: &[Value]| {
                let messages = told.iter().filter(|it| it[0] == "message");
                let keyed = messages.map(|it| {
                    (if room == "keyed:a" { it[1]["k"].clone() } else { Value::Null }.to_string(), it[1]["n"].clone())
                });
                keyed.collect::<HashMap<_, _>>()
            };
            prop_assert_eq!(last(&held), last(&free));
            let answers = |told: &[Value]| told.iter().filter(|it| it[0] != "message").count();
            prop_assert_eq!(answers(&held), answers(&free));
        }
        if !full && !again {
            // No two values of one room and key within an interval.
            let mut seen: HashMap<String, u64> = HashMap::new();
            for (at, text) in heard.iter().filter(|(_, text)| text["type"] == "message") {
                let key = if text["room"] == "keyed:a" { text["data"]["k"].to_string() } else { String::new() };
                if let Some(before) = seen.insert(format!("{}{key}", text["room"]), *at) {
                    prop_assert!(at + SMALL_MS >= before + INTERVAL_MS, "{} after {}", at, before);
                }
            }
        }
    }
}
