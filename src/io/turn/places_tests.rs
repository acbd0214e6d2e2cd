use super::*;
use crate::hub::Prefixes;
use proptest::prelude::*;
use std::net::IpAddr;

const SECOND: u64 = 1_000_000;
const TERMS: Terms = Terms { max: 64, patience_us: 30 * SECOND };

fn network(n: u8) -> Network {
    Prefixes::default().network(IpAddr::from([192, 0, 2, n]))
}

fn far(n: u8) -> Caller {
    Caller { network: Some(network(n)), near: false }
}

/// Places that are taken by numbered connections, one each microsecond.
struct Room {
    places: Places<u32>,
    now_us: u64,
    number: u32,
}

impl Room {
    fn new() -> Self {
        Self { places: Places::new(TERMS), now_us: 0, number: 0 }
    }

    /// A connection comes: its place, and the number of the one that gave way.
    fn come(&mut self, caller: Caller, stage: Stage) -> Result<(Key, Option<u32>), NoPlace> {
        (self.now_us, self.number) = (self.now_us + 1, self.number + 1);
        let taken = self.places.take(self.now_us, caller, stage, self.number);
        taken.map(|(key, evicted)| (key, evicted.map(|evicted| evicted.holder))).map_err(|(why, _)| why)
    }

    fn silent(&mut self, caller: Caller) -> Result<Option<u32>, NoPlace> {
        self.come(caller, Stage::Silent).map(|(_, evicted)| evicted)
    }
}

#[test]
fn the_silent_connections_of_one_address_cost_no_other_address_a_place() {
    let mut room = Room::new();
    let evicted: Vec<_> = (0..100).map(|_| room.silent(far(1)).unwrap()).collect();
    assert!(evicted[..32].iter().all(Option::is_none), "half of the places are for everybody");
    assert_eq!(evicted[32..], (1..=68).map(Some).collect::<Vec<_>>(), "then its own oldest give way");
    for n in 2..5 {
        assert!((0..8).all(|_| room.silent(far(n)) == Ok(None)), "{n}: a share is free for each other");
    }
    assert_eq!(room.silent(far(2)), Ok(Some(101)), "beyond its share its own oldest goes");
    assert!((5..9).all(|n| room.silent(far(n)) == Ok(None)), "the last that are not kept");
    assert_eq!(room.places.len(), 60);
    assert_eq!(room.silent(far(9)), Ok(Some(69)), "all are taken: of the address with most, the oldest");
    assert_eq!(room.silent(far(10)), Ok(Some(70)));
}

#[test]
fn a_request_that_has_come_further_gives_way_later_and_one_under_way_never() {
    let mut room = Room::new();
    let stages = [Stage::Busy, Stage::Body, Stage::Answered, Stage::Head, Stage::Silent];
    for stage in stages.into_iter().cycle().take(32) {
        room.come(far(1), stage).unwrap();
    }
    let gone: Vec<_> = (0..).map_while(|_| room.come(far(1), Stage::Busy).ok()).map(|(_, one)| one).collect();
    let by_stage = |first: u32| (first..=32).step_by(5).map(Some);
    let expected = by_stage(5).chain(by_stage(4)).chain(by_stage(3)).chain(by_stage(2));
    assert_eq!(gone, expected.collect::<Vec<_>>());
    assert_eq!(room.come(far(1), Stage::Silent).unwrap_err(), NoPlace::Share);
    assert_eq!(room.silent(far(2)), Ok(None), "another address has its share");
}

#[test]
fn without_one_that_can_give_way_the_newcomer_is_refused_and_places_are_kept_for_this_machine() {
    let mut room = Room::new();
    for n in 0..60 {
        room.come(far(n), Stage::Busy).unwrap();
    }
    assert_eq!(room.silent(far(61)), Err(NoPlace::Full));
    let near = Caller { near: true, ..far(62) };
    for caller in [near, Caller::EXEMPT, Caller::EXEMPT, near] {
        assert_eq!(room.silent(caller), Ok(None));
    }
    assert_eq!(room.silent(Caller::EXEMPT), Ok(Some(62)), "of those with an address, the most first");
    assert_eq!(room.silent(far(61)), Ok(Some(65)));
}

#[test]
fn what_has_no_share_gives_way_last() {
    let mut room = Room::new();
    let keys: Vec<_> = (0..64).map(|_| room.come(Caller::EXEMPT, Stage::Silent).unwrap().0).collect();
    assert_eq!(room.silent(far(1)), Ok(Some(1)), "a proxy may have all, and its own oldest goes then");
    assert_eq!(room.silent(far(2)), Ok(Some(65)));
    assert_eq!(room.places.give(keys[0]), None, "it has given way");
    assert_eq!(room.places.give(keys[1]), Some(2));
}

#[test]
fn a_proxy_says_whom_it_speaks_for() {
    let mut room = Room::new();
    let (mut keys, mut gone) = (Vec::new(), Vec::new());
    for _ in 0..40 {
        keys.push(room.come(Caller::EXEMPT, Stage::Head).unwrap().0);
    }
    for key in &keys {
        gone.extend(room.places.move_to(*key, Some(network(1))).map(|evicted| evicted.holder));
    }
    // While half or more are taken, each that is more than a share costs the client its oldest.
    assert_eq!(gone, (1..=9).collect::<Vec<_>>());
    assert_eq!(room.places.move_to(keys[39], Some(network(1))), None, "it is already");
    assert_eq!(room.places.move_to(keys[0], Some(network(1))), None, "it is not there any more");
    assert_eq!(room.places.count(Some(network(1))), 31);
    assert_eq!(room.places.count(None), 0);
}

#[test]
fn the_time_for_a_request_shrinks_as_the_places_fill() {
    let ends = |others: u8, own: u32| {
        let mut room = Room::new();
        for n in 0..others {
            room.come(far(100 + n), Stage::Busy).unwrap();
        }
        for _ in 0..own {
            room.come(far(1), Stage::Silent).unwrap();
        }
        let steps = (0..400).map(|tenth| tenth * SECOND / 10);
        let mut ends = steps.filter(|us| !room.places.late(room.now_us + us).is_empty());
        ends.next().unwrap() / (SECOND / 10)
    };
    assert_eq!(ends(0, 1), 300);
    assert_eq!(ends(0, 8), 300, "a share");
    assert_eq!(ends(0, 20), 160, "half way from the share to half of all");
    assert_eq!(ends(0, 32), 20);
    assert_eq!(ends(31, 1), 300, "others up to half of all are nothing to it");
    assert_eq!(ends(47, 1), 160);
    assert_eq!(ends(59, 1), 55, "only those that are kept are free");
}

#[test]
fn only_a_request_that_is_awaited_is_late() {
    let mut room = Room::new();
    let keys: Vec<_> = [Stage::Silent, Stage::Head, Stage::Answered, Stage::Body, Stage::Busy]
        .map(|stage| room.come(far(1), stage).unwrap().0)
        .into();
    assert_eq!(room.places.look_us(), Some(30 * SECOND + LOOK_US));
    assert_eq!(room.places.late(29 * SECOND), []);
    assert_eq!(room.places.look_us(), Some(30 * SECOND + LOOK_US));
    assert_eq!(room.places.late(40 * SECOND), keys[..2]);
    room.places.set_stage(40 * SECOND, keys[0], Stage::Head);
    assert_eq!(room.places.late(40 * SECOND), [keys[0], keys[1]], "one byte begins no new time");
    for key in keys {
        room.places.give(key).unwrap();
    }
    assert_eq!(room.places.late(99 * SECOND), []);
    assert_eq!(room.places.look_us(), None);
}

/// The rules again, as a search through all.
#[derive(Default)]
struct Model(Vec<(u32, Option<Network>, Stage, u64)>);

impl Model {
    fn count(&self, network: Option<Network>) -> usize {
        self.0.iter().filter(|(_, of, ..)| *of == network).count()
    }

    fn is_over(&self, network: Option<Network>) -> bool {
        network.is_some() && self.0.len() >= 32 && self.count(network) >= 8
    }

    /// The one that gives way: of `network`, or of all.
    fn first(&self, network: Option<Option<Network>>) -> Option<usize> {
        let can = |(_, of, stage, _): &(u32, Option<Network>, Stage, u64)| {
            *stage != Stage::Busy && network.is_none_or(|network| network == *of)
        };
        let candidates = self.0.iter().enumerate().filter(|(_, one)| can(one));
        let rank = |(_, (_, of, stage, since)): &(usize, &(u32, Option<Network>, Stage, u64))| {
            let count = of.map_or(0, |_| self.count(*of));
            (std::cmp::Reverse(count), *stage, *since)
        };
        candidates.min_by_key(rank).map(|(index, _)| index)
    }
}

proptest! {
    #[test]
    fn the_one_that_a_search_finds_gives_way(steps in prop::collection::vec((0_u8..10, 0_u8..12, 0_usize..5, 0_usize..99), 1..400)) {
        let (mut room, mut model, mut keys) = (Room::new(), Model::default(), HashMap::new());
        for (what, who, stage, which) in steps {
            let stage = Stage::ALL[stage];
            let caller = match who {
                0 => Caller::EXEMPT,
                1 => Caller { near: true, ..far(1) },
                // The first has most.
                n => far(if n < 6 { 2 } else { n }),
            };
            let at = (!model.0.is_empty()).then(|| which % model.0.len());
            match (what, at) {
                (0, Some(at)) => {
                    let (number, ..) = model.0.remove(at);
                    prop_assert_eq!(room.places.give(keys[&number]), Some(number));
                }
                (1, Some(at)) => {
                    room.now_us += 1;
                    let (number, _, old, since) = &mut model.0[at];
                    room.places.set_stage(room.now_us, keys[number], stage);
                    if *old != stage && stage > Stage::Head {
                        *since = room.now_us;
                    }
                    *old = stage;
                }
                (2, Some(at)) => {
                    let (number, old, ..) = model.0[at];
                    let over = old != caller.network && model.is_over(caller.network);
                    model.0[at].1 = caller.network;
                    let gone = room.places.move_to(keys[&number], caller.network).map(|evicted| evicted.holder);
                    let first = model.first(Some(caller.network)).filter(|first| over && model.0[*first].0 != number);
                    prop_assert_eq!(gone, first.map(|first| model.0.remove(first).0));
                }
                _ => {
                    let open = if caller.near { 64 } else { 60 };
                    let over = model.is_over(caller.network);
                    let full = model.0.len() >= open;
                    let first = if over { model.first(Some(caller.network)) } else { model.first(None) };
                    let first = first.filter(|_| over || full);
                    let came = room.come(caller, stage);
                    prop_assert_eq!(came.is_ok(), first.is_some() || !over && !full);
                    if let Ok((key, gone)) = came {
                        prop_assert_eq!(gone, first.map(|first| model.0.remove(first).0));
                        model.0.push((room.number, caller.network, stage, room.now_us));
                        keys.insert(room.number, key);
                    }
                }
            }
            prop_assert_eq!(room.places.len(), model.0.len());
            prop_assert!(room.places.len() <= 64);
        }
        for (number, ..) in model.0 {
            prop_assert_eq!(room.places.give(keys[&number]), Some(number));
        }
        prop_assert!(room.places.waiting.is_empty() && room.places.crowd.is_empty());
        prop_assert!(room.places.by_network.is_empty());
    }
}
