use super::activity::Activity;
use super::histories::{Histories, KEPT_BYTES};
use super::interest::{InterestListener, Listening};
use super::presence::Presence;
use super::room_log::{Ledger, LogGuard, RoomLog};
use crate::base::{Mutation, Pattern, mutated};
use crate::config::{RoomPolicy, RoomRule};
use crate::model::{Audience, Encoding, Epoch, RoomName};
use foldhash::fast::{FixedState, RandomState};
use hashbrown::HashMap;
use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::ops::{Bound, RangeBounds};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Locks of the directory: enough that joins on many cores seldom meet, few enough to list them all cheaply.
const STRIPES: usize = 64;

/// Entries that a table may have beyond those that it needs.
pub(super) const SPARE_ENTRIES: usize = 64;

/// Bound on the bytes of all histories unless the configuration says otherwise.
const HISTORY_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Every room of the node. Touched only by the first join and the last leave of a shard, and by HTTP reads.
#[derive(Debug)]
pub struct Directory {
    stripes: Box<[Mutex<Stripe>]>,
    /// Picks the stripe. Names come from peers, so the hash inside a stripe is seeded at random; this one only
    /// spreads over 64 locks.
    spread: FixedState,
    shards: usize,
    rules: Box<[(Pattern, Arc<RoomPolicy>)]>,
    /// The policy of rooms that no rule matches.
    no_rule: Arc<RoomPolicy>,
    /// Whether any rule asks for rooms that remember.
    pub(super) remembers: bool,
    /// Makes the epochs of histories, seeded at random.
    epochs: std::hash::RandomState,
    pub(super) ledger: Arc<Ledger>,
    pub(super) histories: Histories,
    next_id: AtomicU64,
    rooms: AtomicU32,
    /// What memberships are charged, and the most that they may be, in bytes.
    membership_bytes: AtomicUsize,
    membership_bytes_max: AtomicUsize,
    listening: Listening,
    /// Places in the order of rooms that remember are given elsewhere.
    others_number: bool,
}

pub(super) type Stripe = HashMap<RoomName, Held, RandomState>;

#[derive(Debug)]
pub(super) struct Held {
    pub room: Arc<RoomShared>,
    /// Shards that hold it. Where it is none the room is kept for its history alone. Guarded by the stripe's lock.
    pub shards: u32,
}

impl Directory {
    pub(super) fn new(shards: usize, rules: &[RoomRule]) -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            spread: FixedState::default(),
            shards,
            rules: rules.iter().map(|rule| (rule.pattern.clone(), Arc::new(rule.policy.clone()))).collect(),
            no_rule: Arc::default(),
            remembers: rules.iter().any(|rule| rule.policy.remembers()),
            epochs: Default::default(),
            ledger: Arc::new(Ledger::new(HISTORY_BYTES_MAX)),
            histories: Histories::default(),
            next_id: AtomicU64::new(1),
            rooms: AtomicU32::new(0),
            membership_bytes: AtomicUsize::new(0),
            membership_bytes_max: AtomicUsize::new(usize::MAX),
            listening: Listening::default(),
            others_number: false,
        }
    }

    /// Has `listener` told of which rooms the node has members from now on.
    pub fn set_listener(&mut self, listener: Arc<dyn InterestListener>) {
        self.listening = Listening(Some(listener));
    }

    /// Has the places in the order of rooms that remember given by a broker, through
    /// [`Directory::place`](Self::place).
    pub(super) fn let_others_number(&mut self) {
        self.others_number = true;
    }

    /// The node's first member of a room joins. What the room's order has come to meanwhile is not known yet.
    fn begin_interest(&self, room: &RoomShared) {
        if self.others_number
            && let Some(log) = &room.log
        {
            log.hold().unplace();
        }
        self.listening.tell(&room.name, true);
    }

    /// Bytes that the memberships of the node are charged.
    pub fn membership_bytes(&self) -> usize {
        self.membership_bytes.load(Ordering::Relaxed)
    }

    /// Sets the bound on them. What there is stays.
    pub fn set_membership_bytes_max(&self, bytes_max: usize) {
        self.membership_bytes_max.store(bytes_max, Ordering::Relaxed);
    }

    /// Charges `bytes` for a membership, unless that would pass the bound; whatever the bound with `anyway`.
    pub(super) fn charge_membership(&self, bytes: usize, anyway: bool) -> Result<(), NoPlace> {
        let bytes_max = if anyway { usize::MAX } else { self.membership_bytes_max.load(Ordering::Relaxed) };
        let more = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= bytes_max);
        let charged = self.membership_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        charged.map(drop).map_err(|_| NoPlace::Node)
    }

    /// Gives back what was charged for a membership.
    pub(super) fn give_membership(&self, bytes: usize) {
        self.membership_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Number of rooms with members on the node, those of audiences left out.
    pub fn len(&self) -> u32 {
        self.rooms.load(Ordering::Relaxed)
    }

    /// Whether the node has no room with members.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes hold of a room for one shard, making it if there is none. Each hold is given back by
    /// [`Directory::detach`].
    pub fn attach(&self, name: &str) -> Arc<RoomShared> {
        let mut stripe = self.stripe(name);
        if let Some(held) = stripe.get_mut(name) {
            if held.shards == 0 {
                if let Some(log) = &held.room.log {
                    log.hold().set_kept(0);
                }
                self.rooms.fetch_add(1, Ordering::Relaxed);
                if !mutated(Mutation::ForgetFirstMember) {
                    self.begin_interest(&held.room);
                }
            }
            held.shards += 1;
            return held.room.clone();
        }
        self.rooms.fetch_add(u32::from(!Audience::is_name(name)), Ordering::Relaxed);
        let room = self.insert(&mut stripe, name, 1);
        self.begin_interest(&room);
        room
    }

    /// The room of that name, made without members if there is none.
    pub(super) fn keep(&self, name: &str) -> Arc<RoomShared> {
        let mut stripe = self.stripe(name);
        if let Some(held) = stripe.get(name) {
            return held.room.clone();
        }
        let room = self.insert(&mut stripe, name, 0);
        if let Some(log) = &room.log {
            log.hold().set_kept(KEPT_BYTES);
        }
        room
    }

    fn insert(&self, stripe: &mut Stripe, name: &str, shards: u32) -> Arc<RoomShared> {
        let name: RoomName = RoomName::known(name);
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let rule = self.rule(name.as_str());
        let policy = rule.map_or(&self.no_rule, |(_, policy)| policy).clone();
        let tenant = rule.and_then(|(pattern, _)| pattern.captured(RoomRule::TENANT, name.as_str()));
        let room = Arc::new(RoomShared {
            id,
            log: RoomLog::new(&policy, Epoch::new(self.epochs.hash_one(id)), tenant, &self.ledger),
            presence: policy.presence.is_on().then(|| Box::new(Presence::new(policy.presence, self.shards))),
            policy,
            name: name.clone(),
            waiting: AtomicUsize::new(0),
            activity: Activity::default(),
            members: AtomicU32::new(0),
            interest: (0..self.shards).map(|_| AtomicU64::new(0)).collect(),
        });
        stripe.insert(name, Held { room: room.clone(), shards });
        room
    }

    /// What holds for the rooms of a name: the first rule that matches. None does for those of audiences.
    pub fn policy(&self, name: &str) -> Arc<RoomPolicy> {
        self.rule(name).map_or(&self.no_rule, |(_, policy)| policy).clone()
    }

    fn rule(&self, name: &str) -> Option<&(Pattern, Arc<RoomPolicy>)> {
        let mut rules = self.rules.iter().filter(|_| !Audience::is_name(name));
        rules.find(|(pattern, _)| pattern.matches(name))
    }

    /// Gives a hold back; the last one forgets the room, unless it has something to remember.
    pub fn detach(&self, room: &Arc<RoomShared>) {
        let mut stripe = self.stripe(room.name.as_str());
        let Some(held) = stripe.get_mut(room.name.as_str()) else { return };
        held.shards -= 1;
        if held.shards > 0 {
            return;
        }
        self.rooms.fetch_sub(u32::from(!Audience::is_name(room.name.as_str())), Ordering::Relaxed);
        self.listening.tell(&room.name, false);
        let Some(log) = &room.log else {
            stripe.remove(room.name.as_str());
            shrink(&mut stripe);
            return;
        };
        log.touch();
        let mut guard = log.hold();
        guard.set_kept(KEPT_BYTES);
        // Even an empty history is worth keeping where clients know its epoch: they may have missed nothing.
        if !log.has_offsets() && guard.is_empty() {
            self.drop_kept(&mut stripe, room, &mut guard);
            drop(guard);
            drop(stripe);
            return self.unlist(room);
        }
        drop(guard);
        drop(stripe);
        self.look_after(room);
        self.make_room();
    }

    /// Takes a room without members out of the directory and empties its history.
    pub(super) fn drop_kept(&self, stripe: &mut Stripe, room: &RoomShared, guard: &mut LogGuard<'_>) {
        guard.forget();
        if stripe.remove(room.name.as_str()).is_some() {
            guard.set_kept(0);
            shrink(stripe);
        }
    }

    /// The room of that name, if it has members or is kept for its history.
    pub fn get(&self, name: &str) -> Option<Arc<RoomShared>> {
        self.stripe(name).get(name).map(|held| held.room.clone())
    }

    /// Up to `limit` rooms with members whose names start with `prefix` and sort after `after`, in order of name; none
    /// of audiences. Costs one pass over all rooms, one stripe's lock at a time.
    pub fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<(RoomName, Arc<RoomShared>)> {
        self.first(limit, |name| {
            let text = name.as_str();
            let listed = text.starts_with(prefix)
                && after.is_none_or(|after| text > after)
                && !Audience::is_name(text);
            listed.then(|| name.clone())
        })
    }

    /// Up to `limit` users or tenants with connections, in order of name, and how many they have. As
    /// [`Directory::list`], it passes over all rooms.
    pub fn audiences(&self, audience: Audience, limit: usize) -> Vec<(String, u32)> {
        let found = self.first(limit, |name| audience.name_of(name.as_str()).map(str::to_owned));
        found.into_iter().map(|(name, room)| (name, room.members())).collect()
    }

    /// Rooms of one kind of audience in the stripe of that index: up to `limit` whose names come after `after`, in order
    /// of these, and how many rooms were passed over. `None` if there is no such stripe.
    ///
    /// A page of all audiences of a kind is found in this way by a look at a part of the rooms. Names do not change their
    /// stripe, so whoever stays is in one page and only one, whoever comes and goes meanwhile.
    pub fn audiences_in(
        &self,
        audience: Audience,
        stripe: usize,
        after: Bound<&str>,
        limit: usize,
    ) -> Option<(Vec<Arc<RoomShared>>, usize)> {
        let rooms = lock(self.stripes.get(stripe)?);
        let mut found: BTreeMap<&str, &Arc<RoomShared>> = BTreeMap::new();
        for held in rooms.values().filter(|held| held.shards != 0) {
            let Some(name) = audience.name_of(held.room.name.as_str()) else { continue };
            if !RangeBounds::<str>::contains(&(after, Bound::Unbounded), name) {
                continue;
            }
            found.insert(name, &held.room);
            if found.len() > limit {
                found.pop_last();
            }
        }
        Some((found.into_values().cloned().collect(), rooms.len()))
    }

    /// The first `limit` of what `named` makes of the names of rooms with members, in order, with the rooms. Passes over
    /// all rooms, one stripe's lock at a time.
    fn first<T: Ord>(
        &self,
        limit: usize,
        named: impl Fn(&RoomName) -> Option<T>,
    ) -> Vec<(T, Arc<RoomShared>)> {
        let mut found = BTreeMap::new();
        for stripe in &self.stripes {
            for (name, held) in lock(stripe).iter().filter(|(_, held)| held.shards != 0) {
                let Some(name) = named(name) else { continue };
                found.insert(name, held.room.clone());
                if found.len() > limit {
                    found.pop_last();
                }
            }
        }
        found.into_iter().collect()
    }

    pub(super) fn stripe(&self, name: &str) -> MutexGuard<'_, Stripe> {
        lock(&self.stripes[self.spread.hash_one(name) as usize % STRIPES])
    }
}

/// Gives back the memory of a table that was four times as large.
fn shrink(stripe: &mut Stripe) {
    if stripe.capacity() > SPARE_ENTRIES && stripe.len() * 4 < stripe.capacity() {
        stripe.shrink_to(stripe.len() * 2);
    }
}

/// A shard that panics ends the process, so a poisoned lock is never read on.
fn lock(stripe: &Mutex<Stripe>) -> MutexGuard<'_, Stripe> {
    stripe.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The part of a room that all shards see.
#[derive(Debug)]
pub struct RoomShared {
    /// Never given twice by this node, so that mail for a room that is gone cannot reach its successor.
    pub id: u64,
    /// The room's name.
    pub name: RoomName,
    /// What holds for it.
    pub policy: Arc<RoomPolicy>,
    /// What it remembers, where its policy asks for that.
    pub log: Option<Box<RoomLog>>,
    /// Bytes of its publications that wait, on all shards together, because it has so many members that each is
    /// written over several ticks.
    pub waiting: AtomicUsize,
    /// Who is in it, if its policy has that told. Boxed, as most rooms have none.
    pub presence: Option<Box<Presence>>,
    /// What is counted of it for those who run the server.
    pub activity: Activity,
    members: AtomicU32,
    interest: Box<[AtomicU64]>,
}

/// One shard's interest in a room: where the room is in that shard, and in which encodings its members there are sent
/// publications.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interest {
    /// Slot of the room in the shard's own table.
    pub local: u32,
    /// One bit per encoding, see [`Encoding::bit`].
    pub encodings: u32,
}

impl Interest {
    /// Whether members with that encoding are there.
    pub fn has(self, encoding: Encoding) -> bool {
        self.encodings & encoding.bit() != 0
    }
}

/// Why nobody can become a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPlace {
    /// The room has as many members as its limit allows.
    Room,
    /// The memberships of the node hold as much memory as they may.
    Node,
}

impl RoomShared {
    /// Members on this node.
    pub fn members(&self) -> u32 {
        self.members.load(Ordering::Relaxed)
    }

    /// Counts one more member unless `limit` (0 = none) is reached; returns the new number. Exact under
    /// concurrent joins of all shards.
    pub fn join(&self, limit: u32) -> Result<u32, NoPlace> {
        self.members
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| {
                (limit == 0 || n < limit).then_some(n + 1)
            })
            .map(|before| before + 1)
            .map_err(|_| NoPlace::Room)
    }

    /// Counts one member less.
    pub fn leave(&self) {
        self.members.fetch_sub(1, Ordering::Relaxed);
    }

    /// What `shard` wants to hear of this room; `None` if nothing.
    pub fn interest(&self, shard: usize) -> Option<Interest> {
        // Acquire pairs with the Release in `set_interest`: whoever was told of a join sees the interest.
        let word = self.interest[shard].load(Ordering::Acquire);
        let encodings = (word >> 32) as u32;
        (encodings != 0).then_some(Interest { local: word as u32, encodings })
    }

    /// Mask of the encodings that its members on the node have.
    pub fn encodings(&self) -> u32 {
        let interests = (0..self.interest.len()).filter_map(|shard| self.interest(shard));
        interests.fold(0, |mask, interest| mask | interest.encodings)
    }

    /// States what `shard` wants to hear; called by that shard alone, before it confirms the join.
    pub fn set_interest(&self, shard: usize, interest: Interest) {
        let word = u64::from(interest.encodings) << 32 | u64::from(interest.local);
        self.interest[shard].store(word, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PresenceMode;
    use crate::model::{Compression, DialectId};
    use std::collections::BTreeSet;

    #[test]
    fn a_room_without_rules_is_small() {
        // Each connected user has a room of its own; see tuning.md.
        let counted = size_of::<RoomShared>() + 2 * size_of::<usize>();
        assert!(counted <= 128, "{counted} bytes are over the allocator's class of 128");
    }

    #[test]
    fn a_room_lives_as_long_as_a_shard_holds_it() {
        let directory = Directory::new(2, &[]);
        let first = directory.attach("chat");
        let second = directory.attach("chat");
        assert_eq!((first.id, directory.len()), (second.id, 1));
        directory.detach(&first);
        assert!(directory.get("chat").is_some());
        directory.detach(&second);
        assert!(directory.get("chat").is_none() && directory.is_empty());
        assert_ne!(directory.attach("chat").id, first.id, "ids are not reused");
    }

    #[test]
    fn the_limit_holds_under_concurrent_joins() {
        let room = Directory::new(1, &[]).attach("r");
        let joined: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| (0..1000).filter(|_| room.join(1000).is_ok()).count()))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!((joined, room.members()), (1000, 1000));
    }

    #[test]
    fn rooms_are_listed_in_pages() {
        let directory = Directory::new(1, &[]);
        let held: Vec<_> = ["b:2", "a:1", "b:1", "b:3"].map(|name| directory.attach(name)).into();
        assert_eq!(held.len(), 4);
        let names = |prefix, after, limit| {
            let page = directory.list(prefix, after, limit);
            page.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names("b:", None, 2), ["b:1", "b:2"]);
        assert_eq!(names("b:", Some("b:2"), 2), ["b:3"]);
    }

    #[test]
    fn audiences_are_found_stripe_by_stripe() {
        let directory = Directory::new(1, &[]);
        let attach = |name: String| directory.attach(&name);
        let users: BTreeSet<String> = (0..500).map(|number| format!("u{number}")).collect();
        let held: Vec<_> = users.iter().map(|user| attach(Audience::User.room(user))).collect();
        attach(Audience::Tenant.room("u1"));
        attach("u2".to_owned());
        let page = |stripe, after: Bound<&str>, limit| {
            let (rooms, passed) = directory.audiences_in(Audience::User, stripe, after, limit)?;
            let names = rooms.iter().filter_map(|room| Audience::User.name_of(room.name.as_str()));
            Some((names.map(str::to_owned).collect::<Vec<_>>(), passed))
        };
        let (mut found, mut passed) = (BTreeSet::new(), 0);
        for stripe in 0..STRIPES {
            let (all, rooms) = page(stripe, Bound::Unbounded, usize::MAX).unwrap();
            assert!(all.is_sorted());
            passed += rooms;
            for (index, name) in all.iter().enumerate() {
                assert!(found.insert(name.clone()), "{name} is in one stripe");
                let rest = |after| page(stripe, after, usize::MAX).unwrap().0;
                assert_eq!(rest(Bound::Excluded(name.as_str())), all[index + 1..]);
                assert_eq!(rest(Bound::Included(name.as_str())), all[index..]);
                assert_eq!(page(stripe, Bound::Included(name.as_str()), 1).unwrap().0, [name.as_str()]);
            }
        }
        assert_eq!((found, passed), (users, 502));
        assert_eq!(page(STRIPES, Bound::Unbounded, 1), None);
        assert_eq!(held.len(), 500);
    }

    #[test]
    fn rooms_of_audiences_are_nowhere_told() {
        let rule = RoomRule {
            pattern: Pattern::parse("**").unwrap(),
            policy: RoomPolicy { presence: PresenceMode::Ids, last_value: true, ..RoomPolicy::default() },
        };
        let directory = Directory::new(1, &[rule]);
        let name = Audience::User.room("u");
        let room = directory.attach(&name);
        assert!(room.presence.is_none() && room.log.is_none() && directory.is_empty());
        assert!(directory.list("", None, 9).is_empty() && directory.list(&name, None, 9).is_empty());
        assert!(directory.get_or_remember(&Audience::Tenant.room("t")).is_none());
        directory.detach(&room);
        assert!(directory.is_empty() && directory.get(&name).is_none());
    }

    #[test]
    fn interest_is_per_shard() {
        let room = Directory::new(2, &[]).attach("r");
        let [plain, last] =
            [(0, Compression::None), (7, Compression::Window15)].map(|(d, c)| Encoding::new(DialectId(d), c));
        room.set_interest(1, Interest { local: u32::MAX, encodings: last.bit() });
        assert_eq!(room.interest(0), None);
        let interest = room.interest(1).unwrap();
        assert!(interest.local == u32::MAX && interest.has(last) && !interest.has(plain));
    }

    #[test]
    fn the_first_rule_that_matches_holds() {
        let rule = |pattern: &str, presence| RoomRule {
            pattern: Pattern::parse(pattern).unwrap(),
            policy: RoomPolicy { presence, ..RoomPolicy::default() },
        };
        let directory =
            Directory::new(1, &[rule("chat:*", PresenceMode::Ids), rule("**", PresenceMode::Off)]);
        assert!(directory.attach("chat:a").policy.presence.is_on());
        assert!(directory.attach("chat").policy.presence.is_off());
    }
}
