//! Joins and leaves of one room that are not told yet.
//!
//! They are told by one shard at a time, so that all members hear them in one order and each notice continues the one
//! before: the count that it tells is the count before, and those that joined, less those that left. A shard takes that
//! task with a change that no shard tells yet, and keeps it until an interval has passed in which there was none. The
//! next shard's notice is therefore written after the last one of the shard before has been posted.

use super::{PresenceMode, Roll};
use crate::base::{Mutation, mutated};
use crate::model::{ConnectionId, Identity, Person};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Members of each kind that one notice names; of more it tells the number.
const NAMED_MAX: usize = 100;

/// Bytes of their names, for each kind: a notice goes to all members.
const NAMED_BYTES_MAX: usize = 8 << 10;

/// Looks within the time of grace for users that have been gone for all of it: a look passes over all that are gone.
const LOOKS: u64 = 8;

/// What is not told yet, and what was.
#[derive(Debug)]
pub(super) struct Changes {
    by_user: bool,
    /// The shard that tells.
    teller: Option<usize>,
    /// Members, or users, that are present.
    present: u32,
    /// Where each user counts once: those that are present.
    users: HashMap<Key, User, RandomState>,
    came: HashMap<Key, Came, RandomState>,
    /// Those that left since the last [`Changes::take`].
    left: HashMap<Key, Option<Arc<Identity>>, RandomState>,
    /// Those that left before and have grace.
    leaving: HashMap<Key, Leaving, RandomState>,
    /// When the grace of one of them can be over.
    next_look_ms: u64,
}

/// What a notice names: a connection, or a user.
#[derive(Debug, Clone)]
enum Key {
    Connection(ConnectionId),
    /// By tenant and user.
    User(Arc<Identity>),
}

impl Key {
    fn of_user(&self) -> Option<(Option<&str>, Option<&str>)> {
        match self {
            Self::Connection(_) => None,
            Self::User(identity) => Some((identity.tenant.as_deref(), identity.user.as_deref())),
        }
    }

    fn connection(&self) -> Option<ConnectionId> {
        match self {
            Self::Connection(id) => Some(*id),
            Self::User(_) => None,
        }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.connection() == other.connection() && self.of_user() == other.of_user()
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Connection(id) => id.hash(state),
            Self::User(_) => self.of_user().hash(state),
        }
    }
}

#[derive(Debug)]
struct User {
    connections: u32,
    /// As the latest of the connections has it.
    identity: Option<Arc<Identity>>,
}

#[derive(Debug)]
struct Came {
    identity: Option<Arc<Identity>>,
    /// Whether it was there already, and is only known by another name now.
    was_here: bool,
}

#[derive(Debug)]
struct Leaving {
    identity: Option<Arc<Identity>>,
    due_ms: u64,
}

/// What is to be told.
#[derive(Debug)]
pub enum Take {
    /// Nothing has changed: the shard tells no more, until a change makes it.
    Done,
    /// What has changed is to be told later.
    Later,
    /// This.
    Notice(Notice),
}

/// A notice to all members.
#[derive(Debug)]
pub struct Notice {
    /// Some of those that joined.
    pub joined: Roll,
    /// Their number.
    pub joined_count: u32,
    /// Some of those that left.
    pub left: Roll,
    /// Their number.
    pub left_count: u32,
    /// Members, or users, that have joined and not left, as far as told.
    pub count: u32,
}

impl Changes {
    pub fn new(by_user: bool) -> Self {
        Self {
            by_user,
            teller: None,
            present: 0,
            users: HashMap::default(),
            came: HashMap::default(),
            left: HashMap::default(),
            leaving: HashMap::default(),
            next_look_ms: 0,
        }
    }

    /// Members, or users, that are present.
    pub fn present(&self) -> u32 {
        self.present
    }

    /// The users that are present.
    pub fn users(&self) -> impl Iterator<Item = Person> {
        self.users
            .iter()
            .map(|(key, user)| Person { client_id: key.connection(), identity: user.identity.clone() })
    }

    pub fn join(&mut self, shard: usize, id: ConnectionId, identity: Option<&Arc<Identity>>) -> bool {
        let key = self.key(id, identity);
        if self.by_user {
            let user = self.users.entry(key.clone()).or_insert(User { connections: 0, identity: None });
            user.connections += 1;
            user.identity = identity.cloned();
            if user.connections > 1 {
                return false;
            }
        }
        self.present += 1;
        // A member that goes and comes has done nothing.
        if !forget(&mut self.left, &key) && !forget(&mut self.leaving, &key) {
            self.came.insert(key, Came { identity: identity.cloned(), was_here: false });
        }
        self.begin(shard)
    }

    pub fn leave(&mut self, shard: usize, id: ConnectionId, identity: Option<&Arc<Identity>>) -> bool {
        let key = self.key(id, identity);
        if self.by_user
            && let Some(user) = self.users.get_mut(&key)
        {
            user.connections -= 1;
            if user.connections > 0 {
                return false;
            }
            self.users.remove(&key);
        }
        if !mutated(Mutation::CountLeavers) {
            self.present -= 1;
        }
        if mutated(Mutation::ForgetLeaveNotice) {
            return false;
        }
        // Nor has one that comes and goes.
        if self.came.remove(&key).is_none_or(|came| came.was_here) {
            self.left.insert(key, identity.cloned());
        }
        self.begin(shard)
    }

    pub fn identify(
        &mut self,
        shard: usize,
        id: ConnectionId,
        before: Option<&Arc<Identity>>,
        identity: Option<&Arc<Identity>>,
    ) -> bool {
        if self.by_user {
            let (left, joined) = (self.leave(shard, id, before), self.join(shard, id, identity));
            return left || joined;
        }
        let key = self.key(id, identity);
        let came = self.came.entry(key).or_insert(Came { identity: None, was_here: true });
        came.identity = identity.cloned();
        self.begin(shard)
    }

    fn key(&self, id: ConnectionId, identity: Option<&Arc<Identity>>) -> Key {
        match identity {
            Some(identity) if self.by_user && identity.user.is_some() => Key::User(Arc::clone(identity)),
            _ => Key::Connection(id),
        }
    }

    /// Has a shard tell what changed, if none does. Returns whether it has to from now on.
    fn begin(&mut self, shard: usize) -> bool {
        let begins = self.teller.is_none();
        self.teller.get_or_insert(shard);
        begins
    }

    /// See [`super::Presence::abandon`].
    pub fn abandon(&mut self) -> bool {
        let is_empty = self.present == 0;
        if is_empty {
            *self = Self::new(self.by_user);
        }
        is_empty
    }

    /// See [`super::Presence::take`].
    pub fn take(&mut self, mode: PresenceMode, now_ms: u64, grace_ms: u64) -> Take {
        if self.came.is_empty() && self.left.is_empty() && self.leaving.is_empty() {
            self.teller = None;
            return Take::Done;
        }
        let new = || Roll::new(mode, NAMED_MAX, NAMED_BYTES_MAX);
        let (mut joined, mut left) = (new(), new());
        let (mut joined_count, mut left_count) = (0, 0);
        for (key, came) in self.came.drain() {
            joined_count += 1;
            joined.push(Person { client_id: key.connection(), identity: came.identity });
        }
        let mut tell_left = |key: &Key, identity| {
            left_count += 1;
            left.push(Person { client_id: key.connection(), identity });
        };
        if grace_ms == 0 {
            self.left.drain().for_each(|(key, identity)| tell_left(&key, identity));
            self.leaving.drain().for_each(|(key, leaving)| tell_left(&key, leaving.identity));
        } else {
            if self.leaving.is_empty() {
                self.next_look_ms = now_ms + grace_ms;
            }
            let leaving = |identity| Leaving { identity, due_ms: now_ms + grace_ms };
            self.leaving.extend(self.left.drain().map(|(key, identity)| (key, leaving(identity))));
            if now_ms >= self.next_look_ms {
                self.next_look_ms = now_ms + grace_ms.div_ceil(LOOKS);
                let over = self.leaving.extract_if(|_, leaving| leaving.due_ms <= now_ms);
                over.for_each(|(key, leaving)| tell_left(&key, leaving.identity));
            }
        }
        self.shrink();
        if joined_count + left_count == 0 {
            return Take::Later;
        }
        let count = self.present + self.leaving.len() as u32;
        Take::Notice(Notice { joined, joined_count, left, left_count, count })
    }

    /// Gives back the place that a storm has made.
    fn shrink(&mut self) {
        self.came.shrink_to(NAMED_MAX);
        self.left.shrink_to(NAMED_MAX);
        self.leaving.shrink_to(2 * self.leaving.len() + NAMED_MAX);
    }
}

/// Takes a key out of a table. Whether it was there; an empty one costs no hash.
fn forget<V>(table: &mut HashMap<Key, V, RandomState>, key: &Key) -> bool {
    !table.is_empty() && table.remove(key).is_some()
}
