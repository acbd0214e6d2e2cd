//! A toy broker that joins the nodes of a world: it numbers, delays, brings things twice, and its links are cut.

use super::super::random::Random;
use super::world::remembers;
use fanwire::hub::{Arrival, Arrived, Broker, InterestListener, Leaving, Order, Unreachable};
use fanwire::model::{Epoch, Position, RoomName};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

/// The broker and all links to it.
pub struct ToyBroker(Mutex<Inside>);

pub struct Inside {
    links: Vec<Wire>,
    orders: BTreeMap<String, RoomOrder>,
    /// Publications kept of each room's order.
    kept_max: usize,
    /// Percent of what is brought that is brought twice.
    doubles: usize,
    /// What nodes have handed on, by the number that it says.
    pub handed: BTreeMap<u64, Handed>,
    /// The first thing that a node did wrong.
    pub wrong: Option<String>,
}

/// A publication that a node has handed on.
#[derive(Debug, Clone, Copy)]
pub struct Handed {
    pub node: usize,
    /// Its stamp's number, if it has one.
    pub number: Option<u64>,
    /// The place that the broker gave it in the order of the room that remembers.
    pub place: Option<u64>,
}

/// One node's link.
struct Wire {
    is_up: bool,
    /// On their way to the broker.
    outbox: VecDeque<Command>,
    /// On their way to the node.
    inbox: VecDeque<Arrival>,
    /// Will come once more.
    late: Vec<Arrival>,
    /// What the broker brings, and what the node wants to hear.
    subscribed: BTreeSet<String>,
    interest: BTreeMap<String, RoomName>,
    filling: BTreeSet<String>,
}

enum Command {
    Publish(Arrived),
    Interest(RoomName, bool),
    Fill(RoomName, Position),
}

/// The order of a room that remembers.
struct RoomOrder {
    epoch: Epoch,
    last: u64,
    kept: VecDeque<Arrived>,
}

impl RoomOrder {
    fn position(&self) -> Position {
        Position { epoch: self.epoch, offset: self.last }
    }
}

/// A node's end of its link.
pub struct Link {
    pub node: usize,
    pub broker: Arc<ToyBroker>,
}

impl InterestListener for Link {
    fn interest(&self, room: &RoomName, has_members: bool) {
        let mut inside = self.broker.lock();
        let name = room.to_string();
        let before = inside.links[self.node].interest.contains_key(&name);
        if before == has_members {
            inside.wrong.get_or_insert(format!("the interest in {name:?} is told twice"));
        }
        let wire = &mut inside.links[self.node];
        match has_members {
            true => drop(wire.interest.insert(name, room.clone())),
            false => drop(wire.interest.remove(&name)),
        }
        wire.command(Command::Interest(room.clone(), has_members));
    }
}

impl Broker for Link {
    fn publish(&self, leaving: &Leaving<'_>) -> Result<(), Unreachable> {
        let mut inside = self.broker.lock();
        let said = leaving.publication.data.and_then(|data| data.parse().ok()).expect("a number is said");
        let number = match leaving.order {
            Order::Stamped(stamp) => Some(stamp.number),
            Order::ByBroker { .. } => None,
        };
        if inside.handed.insert(said, Handed { node: self.node, number, place: None }).is_some() {
            inside.wrong.get_or_insert(format!("{said} is handed to the broker twice"));
            return Ok(());
        }
        let wire = &mut inside.links[self.node];
        if !wire.is_up {
            return Err(Unreachable);
        }
        wire.command(Command::Publish(Arrived::new(leaving)));
        Ok(())
    }

    fn fill(&self, room: &RoomName, after: Position) {
        let mut inside = self.broker.lock();
        let wire = &mut inside.links[self.node];
        if wire.is_up && wire.filling.insert(room.to_string()) {
            wire.command(Command::Fill(room.clone(), after));
        }
    }
}

impl Wire {
    fn command(&mut self, command: Command) {
        if self.is_up {
            self.outbox.push_back(command);
        }
    }

    fn bring(&mut self, random: &mut Random, doubles: usize, arrival: Arrival) {
        if random.percent(doubles) {
            match random.percent(50) {
                true => self.inbox.push_back(arrival.clone()),
                false => self.late.push(arrival.clone()),
            }
        }
        self.inbox.push_back(arrival);
    }
}

impl ToyBroker {
    pub fn new(nodes: usize, kept_max: usize, doubles: usize) -> Arc<Self> {
        let wire = |_| Wire {
            is_up: true,
            outbox: VecDeque::new(),
            inbox: VecDeque::new(),
            late: Vec::new(),
            subscribed: BTreeSet::new(),
            interest: BTreeMap::new(),
            filling: BTreeSet::new(),
        };
        Arc::new(Self(Mutex::new(Inside {
            links: (0..nodes).map(wire).collect(),
            orders: BTreeMap::new(),
            kept_max,
            doubles,
            handed: BTreeMap::new(),
            wrong: None,
        })))
    }

    pub fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap()
    }

    /// Carries out the next command of a node, if there is one.
    pub fn work(&self, node: usize, random: &mut Random) -> bool {
        let mut inside = self.lock();
        let Some(command) = inside.links[node].outbox.pop_front() else { return false };
        match command {
            Command::Publish(arrived) => inside.publish(arrived, random),
            Command::Interest(room, true) => inside.subscribe(node, &room),
            Command::Interest(room, false) => {
                inside.links[node].subscribed.remove(room.as_str());
            }
            Command::Fill(room, after) => inside.fill(node, &room, after),
        }
        true
    }

    /// The next thing for a node, if there is one.
    pub fn bring(&self, node: usize) -> Option<Arrival> {
        self.lock().links[node].inbox.pop_front()
    }

    /// Something comes to a node once more, long after.
    pub fn bring_late(&self, node: usize, random: &mut Random) {
        let mut inside = self.lock();
        let wire = &mut inside.links[node];
        if wire.is_up && !wire.late.is_empty() {
            let at = random.below(wire.late.len());
            let arrival = wire.late.swap_remove(at);
            wire.inbox.push_back(arrival);
        }
    }

    /// Cuts a link: all that is on its way is lost.
    pub fn cut(&self, node: usize) {
        let mut inside = self.lock();
        let wire = &mut inside.links[node];
        wire.is_up = false;
        (wire.outbox, wire.inbox) = Default::default();
        wire.subscribed.clear();
        wire.filling.clear();
    }

    /// Joins a link again.
    pub fn heal(&self, node: usize) {
        let mut inside = self.lock();
        let wire = &mut inside.links[node];
        if !wire.is_up {
            wire.is_up = true;
            let rooms = wire.interest.values().cloned();
            wire.outbox = rooms.map(|room| Command::Interest(room, true)).collect();
        }
    }

    pub fn is_up(&self, node: usize) -> bool {
        self.lock().links[node].is_up
    }

    /// Where the order of a room stands.
    pub fn last(&self, room: &str) -> u64 {
        self.lock().orders.get(room).map_or(0, |order| order.last)
    }
}

impl Inside {
    fn order(&mut self, room: &str) -> &mut RoomOrder {
        let epoch = Epoch::new(room.bytes().map(u64::from).sum());
        let begin = || RoomOrder { epoch, last: 0, kept: VecDeque::new() };
        self.orders.entry(room.to_owned()).or_insert_with(begin)
    }

    fn publish(&mut self, mut arrived: Arrived, random: &mut Random) {
        let channel = arrived.to.channel().into_owned();
        if matches!(arrived.order, Order::ByBroker { .. }) {
            let kept_max = self.kept_max;
            let order = self.order(&channel);
            order.last += 1;
            let place = order.last;
            arrived.position = Some(order.position());
            order.kept.push_back(arrived.clone());
            while order.kept.len() > kept_max {
                order.kept.pop_front();
            }
            let said = arrived.data.as_ref().and_then(|data| data.parse().ok()).expect("a number");
            self.handed.get_mut(&said).expect("a node has handed it on").place = Some(place);
        }
        let doubles = self.doubles;
        for wire in &mut self.links {
            if wire.is_up && (channel.is_empty() || wire.subscribed.contains(&channel)) {
                wire.bring(random, doubles, Arrival::Publication(arrived.clone()));
            }
        }
    }

    fn subscribe(&mut self, node: usize, room: &RoomName) {
        let position = remembers(room.as_str()).then(|| self.order(room.as_str()).position());
        let wire = &mut self.links[node];
        wire.subscribed.insert(room.to_string());
        wire.inbox.extend(position.map(|position| Arrival::Stands { room: room.clone(), position }));
    }

    fn fill(&mut self, node: usize, room: &RoomName, after: Position) {
        let order = self.order(room.as_str());
        let first = order.last - order.kept.len() as u64 + 1;
        let through = Position { offset: first - 1, ..order.position() };
        let gone = (after.offset + 1 < first).then(|| Arrival::Lost { room: room.clone(), through });
        let is_missing = |kept: &&Arrived| kept.position.is_some_and(|it| it.offset > after.offset);
        let missing = order.kept.iter().filter(is_missing).cloned().map(Arrival::Publication);
        let answer: Vec<_> = gone.into_iter().chain(missing).collect();
        let wire = &mut self.links[node];
        wire.filling.remove(room.as_str());
        wire.inbox.extend(answer);
    }
}
