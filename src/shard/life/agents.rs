//! What clients call themselves (`User-Agent`). There are few different names among very many connections, so each is
//! held once.

use foldhash::fast::RandomState;
use hashbrown::HashMap;

/// Bytes of a name that are kept: browsers have some 150.
const BYTES_MAX: usize = 256;

/// Different names held at once. Clients choose them, so the table must not grow with their fancy: those that come
/// when it is full have no name.
const NAMES_MAX: u16 = 4096;

/// A name in the table of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::shard) struct AgentId(u16);

impl AgentId {
    const NONE: Self = Self(u16::MAX);
}

/// The names that connections of a shard have.
#[derive(Debug, Default)]
pub(in crate::shard) struct Agents {
    by_name: HashMap<Box<str>, u16, RandomState>,
    /// Name and connections that have it.
    entries: Vec<(Box<str>, u32)>,
    free: Vec<u16>,
}

impl Agents {
    /// Counts one more connection with a name.
    pub fn take(&mut self, name: Option<&str>) -> AgentId {
        let Some(name) = name.map(|name| &name[..name.floor_char_boundary(BYTES_MAX)]) else {
            return AgentId::NONE;
        };
        if let Some(&id) = self.by_name.get(name) {
            self.entries[usize::from(id)].1 += 1;
            return AgentId(id);
        }
        let id = match self.free.pop() {
            Some(id) => id,
            None if self.entries.len() < usize::from(NAMES_MAX) => {
                self.entries.push((Box::default(), 0));
                (self.entries.len() - 1) as u16
            }
            None => return AgentId::NONE,
        };
        self.entries[usize::from(id)] = (name.into(), 1);
        self.by_name.insert(name.into(), id);
        AgentId(id)
    }

    /// Counts one less.
    pub fn give(&mut self, id: AgentId) {
        let Some((name, count)) = self.entries.get_mut(usize::from(id.0)) else { return };
        *count -= 1;
        if *count == 0 {
            self.by_name.remove(name);
            *name = Box::default();
            self.free.push(id.0);
        }
    }

    /// The name, where there is one.
    pub fn name(&self, id: AgentId) -> Option<&str> {
        self.entries.get(usize::from(id.0)).map(|(name, _)| &**name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_held_once_and_as_long_as_somebody_has_it() {
        let mut agents = Agents::default();
        let [a, b, again] = ["a", "b", "a"].map(|name| agents.take(Some(name)));
        assert_eq!(a, again);
        assert_eq!([a, b].map(|id| agents.name(id)), [Some("a"), Some("b")]);
        agents.give(a);
        assert_eq!(agents.name(a), Some("a"));
        agents.give(again);
        assert_eq!(agents.take(Some("c")), a, "the place is used again");
        assert_eq!(agents.name(a), Some("c"));
        let none = agents.take(None);
        assert_eq!(agents.name(none), None);
        agents.give(none);
    }

    #[test]
    fn fancy_names_cost_a_bounded_amount() {
        let mut agents = Agents::default();
        let long = "\u{e9}".repeat(200);
        let id = agents.take(Some(&long));
        assert_eq!(agents.name(id).map(str::len), Some(BYTES_MAX));
        let ids: Vec<_> = (1..=NAMES_MAX).map(|number| agents.take(Some(&number.to_string()))).collect();
        assert_eq!(agents.entries.len(), usize::from(NAMES_MAX));
        assert_eq!(ids.last(), Some(&AgentId::NONE));
        assert_eq!(agents.take(Some("1")), ids[0]);
    }
}
