use super::*;
use crate::base::Pattern;
use crate::config::{HistoryLimits, RoomPolicy, RoomRule};
use crate::hub::{Directory, Hub, Placed, Rooms};
use crate::model::{Compression, DialectId, Draft, Encoding, Epoch};
use std::time::Duration;

/// Keeps what it is given.
#[derive(Default)]
struct Kept {
    stamps: Mutex<Vec<(String, Order)>>,
    is_down: bool,
}

impl InterestListener for Kept {
    fn interest(&self, _: &RoomName, _: bool) {}
}

impl Broker for Kept {
    fn publish(&self, leaving: &Leaving<'_>) -> Result<(), Unreachable> {
        if self.is_down {
            return Err(Unreachable);
        }
        self.stamps.lock().unwrap().push((leaving.to.channel().into_owned(), leaving.order));
        Ok(())
    }

    fn fill(&self, _: &RoomName, _: Position) {}
}

fn node(number: u16) -> NodeId {
    NodeId::new(number).unwrap()
}

fn stamp(of: u16, run: u64, number: u64) -> Stamp {
    Stamp { node: node(of), run, number }
}

fn cluster() -> Cluster {
    Cluster::new(node(1), 10, Arc::new(Kept::default()))
}

#[test]
fn a_node_knows_its_own_echo_and_what_came_before() {
    let cluster = cluster();
    let hear = |of, run, number| cluster.hear("r", stamp(of, run, number));
    assert_eq!(hear(1, 10, 1), Heard::Own);
    assert_eq!(hear(2, 5, 7), Heard::New { lost: 0 }, "what was said before it listened is not missed");
    assert_eq!(hear(2, 5, 7), Heard::Again);
    assert_eq!(hear(2, 5, 8), Heard::New { lost: 0 });
    assert_eq!(hear(2, 5, 12), Heard::New { lost: 3 });
    assert_eq!(hear(2, 5, 10), Heard::Again, "too late: it has been told as lost");
    assert_eq!(cluster.hear("s", stamp(2, 5, 9)), Heard::New { lost: 0 }, "each channel has its own count");
    assert_eq!(hear(3, 5, 1), Heard::New { lost: 0 }, "so has each node");
}

#[test]
fn a_node_that_starts_again_counts_from_one() {
    let cluster = cluster();
    let hear = |run, number| cluster.hear("r", stamp(2, run, number));
    assert_eq!(hear(5, 90), Heard::New { lost: 0 });
    assert_eq!(hear(6, 1), Heard::New { lost: 0 });
    assert_eq!(hear(5, 91), Heard::Again, "of the start before");
    assert_eq!(hear(7, 3), Heard::New { lost: 2 });
}

#[test]
fn what_was_heard_of_a_room_is_forgotten_with_the_last_member() {
    let cluster = cluster();
    assert_eq!(cluster.hear("r", stamp(2, 5, 7)), Heard::New { lost: 0 });
    cluster.interest(&RoomName::known("r"), false);
    assert_eq!(cluster.hear("r", stamp(2, 5, 20)), Heard::New { lost: 0 });
    cluster.interest(&RoomName::known("r"), false);
    assert!(cluster.heard.lock().unwrap().is_empty());
}

#[test]
fn publications_are_counted_by_channel_and_when_the_broker_is_away() {
    let kept = Arc::new(Kept::default());
    let cluster = Cluster::new(node(1), 10, kept.clone());
    let draft = Draft::new("message", None);
    let all = Selector::all();
    let publication = draft.publication(&all, 1);
    for scope in [Scope::Room("r".into()), Scope::All, Scope::Room("r".into()), Scope::Tenantless] {
        cluster.hand_on(scope, &publication);
    }
    let expected = [("r", 1), ("", 1), ("r", 2), ("", 2)];
    let expected =
        expected.map(|(channel, number)| (channel.to_owned(), Order::Stamped(stamp(1, 10, number))));
    assert_eq!(*kept.stamps.lock().unwrap(), expected);

    let away = Cluster::new(node(1), 10, Arc::new(Kept { is_down: true, ..Kept::default() }));
    away.hand_on(Scope::All, &publication);
    assert_eq!(away.stamps.lock().unwrap().next(""), (10, 2), "the others see that one is missing");
    assert_eq!(away.hand_over(Scope::All, &publication, false), Err(Unreachable));
}

#[test]
fn the_count_of_channels_is_bounded() {
    let mut stamps = Stamps { run: 10, numbers: HashMap::default() };
    for number in 0..CHANNELS_MAX {
        assert_eq!(stamps.next(&number.to_string()), (10, 1));
    }
    assert_eq!(stamps.next("7"), (10, 2));
    assert_eq!(stamps.next("one more"), (11, 1));
    assert_eq!(stamps.next("7"), (11, 1), "under a larger run, which others take for a start");
    assert!(stamps.numbers.len() < CHANNELS_MAX);
}

#[test]
fn what_has_its_place_in_a_room_goes_by_the_room() {
    let part = |selector: Selector<'static>| Scope::Part(Box::new(selector)).channel().into_owned();
    let id = ConnectionId::parse("6f9619ff-8b86-4011-b42d-00cf4fc964ff").unwrap();
    assert_eq!(part(Selector::room("r").except([id])), "r");
    assert_eq!(part(Selector { user: Some("u".into()), ..Selector::room("r") }), "");
    assert_eq!(part(Selector::connection(id)), "");
    assert_eq!(Scope::Audience(Audience::User, "u".into()).channel(), Audience::User.room("u"));
    let shards: Vec<usize> = (0..100).map(|room| Scope::shard(&format!("room {room}"), 4)).collect();
    assert!((0..4).all(|shard| shards.contains(&shard)) && shards.iter().all(|shard| *shard < 4));
}

/// A room that remembers, with a member, whose order a broker keeps.
struct Numbered {
    hub: Hub,
    rooms: Rooms,
}

impl Numbered {
    fn new() -> Self {
        let limits = HistoryLimits { messages_max: 10, age_max: Duration::from_secs(60), bytes_max: 1 << 20 };
        let policy = RoomPolicy { history: Some(limits), ..RoomPolicy::default() };
        let mut hub = Hub::new(1, 7, &[RoomRule { pattern: Pattern::parse("r").unwrap(), policy }]);
        hub.join_cluster(Arc::new(cluster()), 7);
        let mut it = Self { hub, rooms: Rooms::new(0) };
        it.join();
        it
    }

    fn join(&mut self) -> crate::hub::Membership {
        let encoding = Encoding::new(DialectId::NATIVE, Compression::None);
        self.rooms.join(&self.hub.directory, "r", 0, encoding, 1, 0).unwrap().0
    }

    fn directory(&self) -> &Directory {
        &self.hub.directory
    }

    /// What becomes of a publication: its ticket, or what is missing before it.
    fn place(&self, epoch: u64, offset: u64) -> Result<Option<u64>, Position> {
        let room = self.directory().get("r").unwrap();
        let log = room.log.as_ref().unwrap();
        let draft = Draft::new("message", Some("1"));
        let to = Selector::room("r");
        let publication = draft.publication(&to, 1);
        match self.directory().place(log, &publication, || None, at(epoch, offset), 1) {
            Placed::Next(history) => {
                assert_eq!(history.position(), at(epoch, offset));
                Ok(Some(history.ticket()))
            }
            Placed::Again => Ok(None),
            Placed::Missing { after } => Err(after),
            Placed::Forgotten => panic!("the room has a member"),
        }
    }

    fn stands(&self, epoch: u64, offset: u64) -> Option<Position> {
        let room = self.directory().get("r").unwrap();
        self.directory().stands(room.log.as_ref().unwrap(), at(epoch, offset), 1)
    }

    fn lose(&self, epoch: u64, through: u64) -> (u64, u64) {
        let room = self.directory().get("r").unwrap();
        let mut history = room.log.as_ref().unwrap().lock(1).unwrap();
        (history.lose(at(epoch, through)), history.ticket())
    }
}

fn at(epoch: u64, offset: u64) -> Position {
    Position { epoch: Epoch::new(epoch), offset }
}

#[test]
fn numbers_of_a_broker_are_taken_one_after_the_other() {
    let room = Numbered::new();
    assert_eq!(room.place(1, 58), Ok(Some(1)), "the order begins anywhere");
    assert_eq!(room.place(1, 58), Ok(None));
    assert_eq!(room.place(1, 60), Err(at(1, 58)));
    assert_eq!(room.place(1, 59), Ok(Some(2)));
    assert_eq!(room.place(1, 60), Ok(Some(3)), "what was refused comes again");
    assert_eq!(room.place(1, 3), Ok(None));
}

#[test]
fn where_the_order_stands_is_told_apart_from_publications() {
    let mut room = Numbered::new();
    assert_eq!(room.stands(1, 57), None, "it begins there");
    assert_eq!(room.place(1, 59), Err(at(1, 57)));
    assert_eq!(room.stands(1, 59), Some(at(1, 57)));
    assert_eq!(room.place(1, 58), Ok(Some(1)));
    assert_eq!((room.stands(1, 58), room.stands(1, 40)), (None, None));
    // Nobody hears for a while.
    let encoding = Encoding::new(DialectId::NATIVE, Compression::None);
    let membership = crate::hub::Membership { room: 0, position: 0 };
    room.rooms.leave(&room.hub.directory, encoding, membership);
    room.join();
    assert_eq!(room.stands(1, 90), None, "what was published without members is not missed");
    assert_eq!(room.place(1, 91), Ok(Some(2)));
}

#[test]
fn what_is_gone_is_counted_and_the_order_goes_on() {
    let room = Numbered::new();
    assert_eq!(room.lose(1, 10), (0, 0), "before it began nothing was missed");
    assert_eq!(room.place(1, 11), Ok(Some(1)));
    assert_eq!(room.lose(1, 11), (0, 1));
    assert_eq!(room.lose(1, 15), (4, 2), "the notice has a turn of its own");
    assert_eq!(room.place(1, 16), Ok(Some(3)));
}

#[test]
fn another_epoch_is_not_entered_unasked() {
    let room = Numbered::new();
    assert_eq!(room.place(1, 5), Ok(Some(1)));
    assert_eq!(room.place(2, 1), Err(at(1, 5)), "the broker is asked what became of the former one");
    assert_eq!(room.lose(2, 3), (3, 2), "of the new epoch at least these are missed");
    assert_eq!(room.place(2, 4), Ok(Some(3)));
}
