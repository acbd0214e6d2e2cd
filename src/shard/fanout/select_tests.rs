//! Selectors against a plain model: shards and mailboxes on one thread, and clients that come, go, join, leave and
//! become others at random. Who must hear a publication is what the model says at the moment when its mail arrives.

use crate::base::Pattern;
use crate::config::{HistoryLimits, RoomPolicy, RoomRule};
use crate::model::{Audience, ConnectionId, ConnectionKey, Draft, Identity, Life, Locator, NodeId, Selector};
use crate::shard::*;
use proptest::prelude::*;
use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

const NOW: Now = Now { us: 1_000_000, unix_ms: 1_700_000_000_000 };
const SHARDS: usize = 3;
const PEERS: usize = 8;

/// The last one remembers.
const ROOMS: [&str; 3] = ["a", "b", "kept"];
/// One is the start of another.
const USERS: [&str; 3] = ["u", "u1", "u12"];
const TENANTS: [&str; 3] = ["t", "t1", "u"];

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
        NOW.us
    }
}

/// A connection and what the model knows of it.
struct Peer {
    shard: usize,
    slot: u32,
    id: ConnectionId,
    user: Option<usize>,
    tenant: Option<usize>,
    rooms: [bool; ROOMS.len()],
}

struct World {
    hub: Arc<Hub>,
    shards: Vec<(Shard, Pipes)>,
    mailboxes: Arc<Mutex<Vec<VecDeque<Mail>>>>,
    peers: Vec<Option<Peer>>,
    published: u32,
}

#[derive(Debug, Clone)]
enum Step {
    Come { peer: usize, shard: usize, user: Option<usize>, tenant: Option<usize> },
    Go { peer: usize },
    Become { peer: usize, user: Option<usize>, tenant: Option<usize> },
    Room { peer: usize, room: usize },
    Publish { shard: usize, to: Wish },
}

/// A selector by indexes.
#[derive(Debug, Clone)]
struct Wish {
    room: Option<usize>,
    user: Option<usize>,
    tenant: Option<usize>,
    connection: Option<usize>,
    except: Vec<usize>,
}

fn step() -> impl Strategy<Value = Step> {
    let (peer, shard) = (0..PEERS, 0..SHARDS);
    let who = || (prop::option::of(0..USERS.len()), prop::option::of(0..TENANTS.len()));
    let wish = (
        prop::option::weighted(0.4, 0..ROOMS.len()),
        prop::option::weighted(0.4, 0..USERS.len()),
        prop::option::weighted(0.4, 0..TENANTS.len()),
        prop::option::weighted(0.1, 0..PEERS),
        prop::collection::vec(0..PEERS, 0..3),
    );
    let wish = wish.prop_map(|(room, user, tenant, connection, except)| Wish {
        room,
        user,
        tenant,
        connection,
        except,
    });
    prop_oneof![
        4 => (peer.clone(), shard.clone(), who())
            .prop_map(|(peer, shard, (user, tenant))| Step::Come { peer, shard, user, tenant }),
        1 => peer.clone().prop_map(|peer| Step::Go { peer }),
        2 => (peer.clone(), who()).prop_map(|(peer, (user, tenant))| Step::Become { peer, user, tenant }),
        6 => (peer, 0..ROOMS.len()).prop_map(|(peer, room)| Step::Room { peer, room }),
        8 => (shard, wish).prop_map(|(shard, to)| Step::Publish { shard, to }),
    ]
}

fn identity(user: Option<usize>, tenant: Option<usize>) -> Option<Arc<Identity>> {
    let name = |names: [&str; 3], index: Option<usize>| index.map(|index| names[index].into());
    let identity = Identity { user: name(USERS, user), tenant: name(TENANTS, tenant), ..Identity::default() };
    (user.is_some() || tenant.is_some()).then(|| Arc::new(identity))
}

impl World {
    fn new(members_min: usize) -> Self {
        let history =
            Some(HistoryLimits { messages_max: 4, bytes_max: 1 << 20, age_max: Duration::from_secs(60) });
        let rule = RoomRule {
            pattern: Pattern::parse("kept").unwrap(),
            policy: RoomPolicy { history, ..RoomPolicy::default() },
        };
        let hub = Arc::new(Hub::new(SHARDS, 7, &[rule]));
        let mailboxes: Arc<Mutex<Vec<VecDeque<Mail>>>> =
            Arc::new(Mutex::new((0..SHARDS).map(|_| VecDeque::new()).collect()));
        let shards = (0..SHARDS).map(|index| {
            let mailboxes = mailboxes.clone();
            let post: Post = Arc::new(move |shard, mail| mailboxes.lock().unwrap()[shard].push_back(mail));
            let mut shard = Shard::new(Parts {
                index,
                shards: SHARDS,
                hub: hub.clone(),
                config: Arc::new(Config::default()),
                metrics: Arc::new(ShardMetrics::new(&LABELS)),
                handlers: Handlers::default(),
                respond: Arc::new(|_, _| {}),
                post,
                seed: [index as u8 + 1; 32],
            });
            shard.turn.steps.members_min = members_min;
            (shard, Pipes::default())
        });
        let shards = shards.collect();
        Self { hub, shards, mailboxes, peers: (0..PEERS).map(|_| None).collect(), published: 0 }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Come { peer, shard, user, tenant } => {
                self.go(peer);
                self.hub.admission.admit(None, 0, 0).unwrap();
                let newcomer = Newcomer { identity: identity(user, tenant), ..Newcomer::default() };
                let slot = self.shards[shard].0.open(NOW, newcomer).unwrap().slot;
                let id = self.shards[shard].0.inspect(slot).unwrap().id;
                self.peers[peer] = Some(Peer { shard, slot, id, user, tenant, rooms: [false; ROOMS.len()] });
            }
            Step::Go { peer } => self.go(peer),
            Step::Become { peer, user, tenant } => {
                let Some(peer) = &mut self.peers[peer] else { return };
                (peer.user, peer.tenant) = (user, tenant);
                self.shards[peer.shard].0.set_identity(peer.slot, identity(user, tenant));
            }
            Step::Room { peer, room } => {
                let Some(peer) = &mut self.peers[peer] else { return };
                let is_member = &mut peer.rooms[room];
                *is_member = !*is_member;
                let kind = if *is_member { "subscribe" } else { "unsubscribe" };
                let text = format!(r#"{{"type":"{kind}","room":"{}"}}"#, ROOMS[room]);
                let mut frame = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
                frame.extend_from_slice(text.as_bytes());
                let (shard, pipes) = &mut self.shards[peer.shard];
                shard.receive(NOW, peer.slot, &mut frame, pipes);
                self.settle();
            }
            Step::Publish { shard, to } => self.publish(shard, &to),
        }
    }

    fn go(&mut self, peer: usize) {
        if let Some(peer) = self.peers[peer].take() {
            let (shard, pipes) = &mut self.shards[peer.shard];
            shard.lost(peer.slot, pipes);
        }
    }

    fn publish(&mut self, shard: usize, wish: &Wish) {
        self.published += 1;
        let data = self.published.to_string();
        // Who has gone is excepted or wished for as well, by an id that is nobody's.
        let id_of = |peer: &usize| match &self.peers[*peer] {
            Some(peer) => peer.id,
            None => {
                let locator = Locator { node: NodeId::ALONE, shard: *peer as u16, slot: 0 };
                ConnectionId::new(locator, [*peer as u8; 16], &ConnectionKey::new(7))
            }
        };
        let to = Selector {
            room: wish.room.map(|room| ROOMS[room].into()),
            user: wish.user.map(|user| USERS[user].into()),
            tenant: wish.tenant.map(|tenant| TENANTS[tenant].into()),
            connection: wish.connection.as_ref().map(id_of),
            except: wish.except.iter().map(id_of).collect(),
        };
        let counted = Arc::new(Mutex::new(None));
        let told = counted.clone();
        let tally = Arc::new(Tally::new(Box::new(move |count| *told.lock().unwrap() = Some(count))));
        let draft = Draft::new("note", Some(&data));
        let position = self.shards[shard].0.publish_selected(NOW, Origin::Api, &to, &draft, &tally).position;
        drop(tally);
        self.settle();
        let alone = wish.user.is_none() && wish.tenant.is_none() && wish.connection.is_none();
        assert_eq!(
            position.is_some(),
            alone && wish.room == Some(2),
            "an offset where all members may see it"
        );
        let mut expected = 0;
        for (index, peer) in self.peers.iter().enumerate() {
            let Some(peer) = peer else { continue };
            let is = |wanted: Option<usize>, own: Option<usize>| wanted.is_none() || wanted == own;
            let wanted = wish.room.is_none_or(|room| peer.rooms[room])
                && is(wish.user, peer.user)
                && is(wish.tenant, peer.tenant)
                && is(wish.connection, Some(index))
                && !wish.except.contains(&index);
            expected += u32::from(wanted);
            let sent =
                self.shards[peer.shard].1.0.get(&peer.slot).map(|bytes| String::from_utf8_lossy(bytes));
            let copies = sent.iter().map(|sent| sent.matches(&format!("\"data\":{data},")).count());
            assert_eq!(copies.sum::<usize>(), usize::from(wanted), "peer {index}, {to:?}");
        }
        assert_eq!(*counted.lock().unwrap(), Some(expected), "{to:?}");
    }

    /// Has everything arrive.
    fn settle(&mut self) {
        loop {
            let mut quiet = true;
            for index in 0..SHARDS {
                let (shard, pipes) = &mut self.shards[index];
                for to in 0..SHARDS {
                    if let Some(batch) = shard.take_outgoing(to) {
                        quiet = false;
                        self.mailboxes.lock().unwrap()[to].push_back(Mail::Frames(batch));
                    }
                }
                shard.resume_mail(NOW, pipes);
                let mail = std::mem::take(&mut self.mailboxes.lock().unwrap()[index]);
                quiet &= mail.is_empty();
                mail.into_iter().for_each(|mail| shard.mail(NOW, mail, pipes));
                shard.flush(NOW, pipes);
                quiet &= !shard.has_more();
            }
            if quiet {
                return;
            }
        }
    }

    fn end(mut self) {
        (0..PEERS).for_each(|peer| self.go(peer));
        for (shard, _) in &self.shards {
            assert!(shard.rooms.is_empty() && shard.policy.audiences.is_empty(), "something is left");
        }
        for audience in Audience::ALL {
            for name in USERS.iter().chain(&TENANTS) {
                assert!(self.hub.directory.get(&audience.room(name)).is_none(), "{audience:?} {name}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// With a small `members_min` publications are walked in steps.
    #[test]
    fn those_and_only_those_are_reached(
        members_min in prop_oneof![Just(1), Just(3), Just(usize::MAX)],
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut world = World::new(members_min);
        steps.into_iter().for_each(|step| world.take(step));
        world.end();
    }
}

fn come(world: &mut World, peer: usize, user: usize, tenant: usize) {
    world.take(Step::Come { peer, shard: peer % SHARDS, user: Some(user), tenant: Some(tenant) });
}

#[test]
fn an_identity_that_is_refreshed_keeps_its_place() {
    let mut world = World::new(usize::MAX);
    come(&mut world, 0, 1, 1);
    let Peer { shard, slot, .. } = *world.peers[0].as_ref().unwrap();
    let room = world.hub.directory.get(&Audience::User.room("u1")).unwrap();
    let later = Identity { life: Some(Life::new(0, 9)), ..(*identity(Some(1), Some(1)).unwrap()).clone() };
    world.shards[shard].0.set_identity(slot, Some(Arc::new(later)));
    assert_eq!(world.hub.directory.get(&Audience::User.room("u1")).unwrap().id, room.id);
    world.shards[shard].0.set_identity(slot, None);
    assert!(world.hub.directory.get(&Audience::User.room("u1")).is_none());
    world.end();
}

#[test]
fn audiences_count_for_nothing() {
    let mut world = World::new(usize::MAX);
    come(&mut world, 0, 1, 1);
    let Peer { shard, slot, .. } = *world.peers[0].as_ref().unwrap();
    let own = &world.shards[shard].0;
    assert_eq!((own.rooms.len(), own.inspect(slot).unwrap().rooms), (0, 0));
    assert_eq!((own.metrics.rooms.get(), own.metrics.members.get()), (0, 0));
    assert_eq!((world.hub.directory.len(), world.hub.directory.list("", None, 9).len()), (0, 0));
    world.end();
}

#[test]
fn a_connection_that_is_closing_belongs_to_nobody() {
    let mut world = World::new(usize::MAX);
    come(&mut world, 0, 1, 1);
    let Peer { shard, slot, id, .. } = *world.peers[0].as_ref().unwrap();
    let (at, pipes) = &mut world.shards[shard];
    at.mail(NOW, Mail::Request(Request::Disconnect { to: id, reason: None, reply: Box::new(|_| {}) }), pipes);
    assert!(at.inspect(slot).is_some_and(|conn| conn.closing.is_some()));
    at.set_identity(slot, identity(Some(2), Some(2)));
    assert!(at.policy.audiences.is_empty());
    world.end();
}
