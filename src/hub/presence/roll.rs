use crate::config::PresenceMode;
use crate::model::{ConnectionId, NamedMembers, Person};

/// Some members of a room, as many as a message may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roll {
    list: List,
    /// How many may still be named.
    left: usize,
    /// Bytes that they may still take.
    left_bytes: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum List {
    Ids(Vec<ConnectionId>),
    People(Vec<Person>),
}

impl Roll {
    /// None yet, of at most `limit` members and about `bytes_max` bytes of JSON.
    pub(super) fn new(mode: PresenceMode, limit: usize, bytes_max: usize) -> Self {
        let list = match mode {
            PresenceMode::Off | PresenceMode::Ids => List::Ids(Vec::new()),
            PresenceMode::Connections | PresenceMode::Users => List::People(Vec::new()),
        };
        Self { list, left: limit, left_bytes: bytes_max }
    }

    /// Names one more. `None`: it has no place, nor has any other.
    pub(super) fn push(&mut self, person: Person) -> Option<()> {
        self.left = self.left.checked_sub(1)?;
        match &mut self.list {
            List::Ids(ids) => ids.extend(person.client_id),
            List::People(people) => {
                let Some(left_bytes) = self.left_bytes.checked_sub(person.weight()) else {
                    self.left = 0;
                    return None;
                };
                self.left_bytes = left_bytes;
                people.push(person);
            }
        }
        Some(())
    }

    /// Names as many of these as have a place, in a room that names ids alone. `None`: no other has one.
    pub(super) fn push_ids(&mut self, more: &[ConnectionId]) -> Option<()> {
        if let List::Ids(ids) = &mut self.list {
            let count = self.left.min(more.len());
            ids.extend_from_slice(&more[..count]);
            self.left -= count;
        }
        (self.left > 0).then_some(())
    }

    /// The members that are named.
    pub fn named(&self) -> NamedMembers<'_> {
        match &self.list {
            List::Ids(ids) => NamedMembers::Ids(ids),
            List::People(people) => NamedMembers::People(people),
        }
    }
}
