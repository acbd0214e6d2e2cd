use crate::model::RoomName;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most rooms that backends may register: some megabytes with their names and what is said of them.
pub const REGISTERED_MAX: usize = 10_000;

/// Bytes of what is said of one room.
pub const METADATA_BYTES_MAX: usize = 4096;

/// Rooms that a backend has registered, with what it says of them, whether they have members or not. Kept in memory,
/// for as long as the node runs.
#[derive(Debug, Default)]
pub struct Registry(Mutex<BTreeMap<RoomName, Registered>>);

/// What is said of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// One valid JSON object.
    pub metadata: Box<str>,
    /// When the room was registered first, Unix time in milliseconds.
    pub created_unix_ms: u64,
}

/// There are [`REGISTERED_MAX`] rooms already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there are {REGISTERED_MAX} registered rooms already")]
pub struct RegistryFull;

impl Registry {
    /// Registers a room, or says something else of one that is. `true` if it is new.
    ///
    /// # Errors
    /// If there are too many.
    pub fn put(&self, name: &RoomName, metadata: &str, unix_ms: u64) -> Result<bool, RegistryFull> {
        let mut rooms = self.lock();
        if let Some(known) = rooms.get_mut(name) {
            known.metadata = metadata.into();
            return Ok(false);
        }
        if rooms.len() >= REGISTERED_MAX {
            return Err(RegistryFull);
        }
        rooms.insert(name.clone(), Registered { metadata: metadata.into(), created_unix_ms: unix_ms });
        Ok(true)
    }

    /// What is said of a room.
    pub fn get(&self, name: &str) -> Option<Registered> {
        self.lock().get(name).cloned()
    }

    /// Forgets a room. Whether it was registered.
    pub fn remove(&self, name: &str) -> bool {
        self.lock().remove(name).is_some()
    }

    /// Up to `limit` names that start with `prefix` and sort after `after`, in order, with the Unix times in milliseconds
    /// at which they were registered.
    pub fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<(RoomName, u64)> {
        let from = after.filter(|after| *after >= prefix).map_or(Bound::Included(prefix), Bound::Excluded);
        let rooms = self.lock();
        let rooms = rooms.range::<str, _>((from, Bound::Unbounded));
        let listed = rooms.take_while(|(name, _)| name.as_str().starts_with(prefix)).take(limit);
        listed.map(|(name, known)| (name.clone(), known.created_unix_ms)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RoomName, Registered>> {
        // A shard that panics ends the process, so a poisoned lock is never read on.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> RoomName {
        RoomName::new(text).unwrap()
    }

    #[test]
    fn rooms_are_registered_once_and_listed_in_order() {
        let registry = Registry::default();
        for text in ["b:2", "a:1", "b:1", "b:3", "c"] {
            assert_eq!(registry.put(&name(text), "{}", 7), Ok(true));
        }
        assert_eq!(registry.put(&name("a:1"), r#"{"x":1}"#, 9), Ok(false));
        let known = registry.get("a:1").unwrap();
        assert_eq!((&*known.metadata, known.created_unix_ms), (r#"{"x":1}"#, 7));
        let list = |prefix, after, limit| {
            let rooms = registry.list(prefix, after, limit);
            rooms.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(list("b:", None, 2), ["b:1", "b:2"]);
        assert_eq!(list("b:", Some("b:2"), 2), ["b:3"]);
        assert_eq!(list("b:", Some("a"), 1), ["b:1"]);
        assert_eq!(list("", Some("b:3"), 9), ["c"]);
        assert_eq!(registry.list("c", None, 1), [(name("c"), 7)]);
        assert!(registry.remove("c") && !registry.remove("c"));
        assert_eq!(registry.get("c"), None);
    }

    #[test]
    fn there_is_an_end() {
        let registry = Registry::default();
        for number in 0..REGISTERED_MAX {
            assert_eq!(registry.put(&name(&number.to_string()), "{}", 0), Ok(true));
        }
        assert_eq!(registry.put(&name("one more"), "{}", 0), Err(RegistryFull));
        assert_eq!(registry.put(&name("7"), "{}", 0), Ok(false), "a known one may change");
    }
}
