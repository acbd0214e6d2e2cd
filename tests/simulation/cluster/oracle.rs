//! What a client of a cluster may hear, and must have heard.

use super::broker::Handed;
use super::world::{remembers, tells_losses};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A publication as it was made; what it says is its number.
#[derive(Debug, Clone)]
pub struct Made {
    pub node: usize,
    /// Whoever keeps an order among its publications: a client, or a shard for the API.
    pub publisher: usize,
    /// The room; `None`: to all, or to one.
    pub room: Option<&'static str>,
    /// The one client that it is for.
    pub only: Option<usize>,
}

/// What is known of the whole cluster.
#[derive(Default)]
pub struct Oracle {
    pub made: Vec<Made>,
    /// What the broker has brought to each node. A member that joins while such a publication is on its way within the
    /// node may hear what came before it, and not it.
    pub brought: BTreeSet<(usize, u64)>,
    /// What has each place in the order of a room that remembers.
    order: BTreeMap<(&'static str, u64), u64>,
}

/// What a client has asked.
#[derive(Debug)]
pub enum Ask {
    Join { room: &'static str, seen: Option<(String, u64)> },
    Leave { room: &'static str },
}

/// What a member has heard since it joined.
#[derive(Debug, Default)]
pub struct Membership {
    pub heard: BTreeSet<u64>,
    /// The latest of each publisher.
    latest: BTreeMap<usize, u64>,
    /// The latest stamp of each other node, and how many are missing between those heard.
    stamps: BTreeMap<usize, u64>,
    pub missing: u64,
    /// How many losses were told.
    told: u64,
    epoch: Option<String>,
    /// The place of the next publication in the room's order, once it is known.
    pub next: Option<u64>,
    /// The last place that it has heard, or was told that it knows.
    passed: u64,
}

/// What one client has heard.
#[derive(Debug, Default)]
pub struct Hearing {
    pub client: usize,
    pub node: usize,
    pub hears_itself: bool,
    pub asked: std::collections::VecDeque<Ask>,
    pub rooms: BTreeMap<&'static str, Membership>,
    /// What is not to a room.
    pub at_large: Membership,
    /// Epoch and offset of what was last heard of each room.
    pub seen: BTreeMap<&'static str, (String, u64)>,
}

impl Hearing {
    /// The client is told something.
    pub fn hear(&mut self, message: &Value, oracle: &mut Oracle, handed: &BTreeMap<u64, Handed>) {
        match message["type"].as_str().expect("a type") {
            "subscribed" => self.joined(&message["data"]),
            "unsubscribed" => {
                let Some(Ask::Leave { room }) = self.asked.pop_front() else { panic!("{message}") };
                assert!(self.rooms.remove(room).is_some());
            }
            "message" => self.heard(message, oracle, handed),
            "gap" => {
                let (room, lost) = (message["room"].as_str(), message["data"]["lost"].as_u64());
                let (room, lost) = (room.expect("a room"), lost.expect("a number"));
                assert!(lost > 0 && (tells_losses(room) || remembers(room)), "{message}");
                let of = self.rooms.iter_mut().find(|(name, _)| **name == room);
                let (name, membership) = of.expect("it is a member");
                membership.told += lost;
                if let Some(next) = &mut membership.next {
                    *next += lost;
                    self.seen.get_mut(name).into_iter().for_each(|(_, offset)| *offset += lost);
                }
            }
            "error" => panic!("client {} is refused something: {message}", self.client),
            "connected" => {}
            other => panic!("{other} is not expected"),
        }
    }

    /// Whether `place` may be the next one of a room's order that a member hears: behind those that it has heard, those
    /// that it was told are lost, and those of its own publications that it does not hear.
    pub fn may_be_next(
        &self,
        membership: &Membership,
        place: u64,
        oracle: &Oracle,
        handed: &BTreeMap<u64, Handed>,
    ) -> bool {
        may_be_next(self.client, self.hears_itself, membership, place, &oracle.made, handed)
    }

    fn joined(&mut self, data: &Value) {
        let Some(Ask::Join { room, seen }) = self.asked.pop_front() else {
            panic!("nothing was asked: {data}")
        };
        let position =
            data["offset"].as_u64().map(|offset| (data["epoch"].as_str().unwrap().to_owned(), offset));
        assert!(position.is_none() || remembers(room));
        let recovered = data.get("recovered").and_then(Value::as_bool);
        assert_eq!(recovered.is_some(), seen.is_some(), "{data}");
        let from = match (recovered, seen) {
            (Some(true), Some((epoch, offset))) => {
                let (its, last) = position.as_ref().expect("what is recovered has a place");
                assert!(*its == epoch && *last >= offset, "{data} after {offset}");
                Some((epoch, offset))
            }
            _ => position,
        };
        let next = from.as_ref().map(|(_, offset)| offset + 1);
        match &from {
            Some(from) => drop(self.seen.insert(room, from.clone())),
            None => drop(self.seen.remove(room)),
        }
        let passed = from.as_ref().map_or(0, |(_, offset)| *offset);
        let epoch = from.map(|(epoch, _)| epoch);
        let before = self.rooms.insert(room, Membership { next, passed, epoch, ..Membership::default() });
        assert!(before.is_none(), "{room} was joined before");
    }

    fn heard(&mut self, message: &Value, oracle: &mut Oracle, handed: &BTreeMap<u64, Handed>) {
        let said = message["data"].as_u64().expect("a number");
        let made = oracle.made.get(said as usize).expect("somebody has said it");
        assert_eq!(message.get("room").and_then(Value::as_str), made.room, "{message}");
        assert!(made.only.is_none_or(|only| only == self.client), "{said} is not for client {}", self.client);
        let membership = match made.room {
            Some(room) => {
                self.rooms.get_mut(room).unwrap_or_else(|| panic!("{said} of {room}, which it left"))
            }
            None => &mut self.at_large,
        };
        assert!(membership.heard.insert(said), "client {} hears {said} twice", self.client);
        if made.only.is_none() {
            let before = membership.latest.insert(made.publisher, said);
            assert!(before < Some(said), "{said} of one publisher after {before:?}");
        }
        let Some(room) = made.room else { return };
        if remembers(room) {
            let offset = message["offset"].as_u64().unwrap_or_else(|| panic!("{message} has no place"));
            let known = *oracle.order.entry((room, offset)).or_insert(said);
            assert_eq!(known, said, "two publications of {room} have the place {offset}");
            let is_next =
                may_be_next(self.client, self.hears_itself, membership, offset, &oracle.made, handed);
            let next = membership.next;
            assert!(is_next, "client {} hears {said} of {room} at {offset}, not {next:?}", self.client);
            (membership.next, membership.passed) = (Some(offset + 1), offset);
            if let Some(epoch) = &membership.epoch {
                self.seen.insert(room, (epoch.clone(), offset));
            }
        } else if made.node != self.node {
            let number = handed[&said].number.expect("a stamp");
            if let Some(before) = membership.stamps.insert(made.node, number) {
                let is_missing = |(said, it): &(&u64, &Handed)| {
                    let is_between = it.number.is_some_and(|between| before < between && between < number);
                    let is_same = it.node == made.node && oracle.made[**said as usize].room == made.room;
                    is_between && is_same && !oracle.brought.contains(&(self.node, **said))
                };
                assert!(before < number);
                membership.missing += handed.iter().filter(is_missing).count() as u64;
            }
            let Membership { missing, told, .. } = membership;
            assert!(
                !tells_losses(room) || missing <= told,
                "{missing} of {room} are missing and {told} told"
            );
        }
    }
}

/// See [`Hearing::may_be_next`].
fn may_be_next(
    client: usize,
    hears_itself: bool,
    membership: &Membership,
    place: u64,
    made: &[Made],
    handed: &BTreeMap<u64, Handed>,
) -> bool {
    let Some(next) = membership.next else { return true };
    let is_own = |(said, handed): &(&u64, &Handed)| {
        let is_between = handed.place.is_some_and(|own| own > membership.passed && own < place);
        is_between && made[**said as usize].publisher == client
    };
    // Some of them may be among those told as lost.
    let own = if hears_itself { 0 } else { handed.iter().filter(is_own).count() as u64 };
    (next..=next + own).contains(&place)
}
