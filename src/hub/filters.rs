//! Filters that clients apply to what they are sent: equality of top-level fields of `data` with what they name.
//!
//! Equal filters are one, on however many shards connections have them, and what each says of some `data` is found out
//! once for the node, however many encodings the publication has and whichever shards look at it. Filters and data are
//! compared by hashes of 64 bits, keyed at random by each node, so that nobody can make two values be one: among the
//! fields of a million publications the odds that a wrong one passes are below one in 10^12.
//!
//! A publication that a history keeps has its fields read once, outside every lock, and keeps their hashes; see
//! [`Stored::fields`](super::Stored::fields).
//!
//! # The lock
//! All of it is behind one lock, which is taken when a client sets or drops a filter and when a shard first looks at a
//! pair of `data` and filter; shards remember what they were told. It is held while `data` is read and a filter is
//! evaluated, so that shards that have the same publication at the same time, as the shards of a room do, do not find
//! out the same twice. What that may cost: a shard that asks waits while another one reads some `data`, of
//! `message_bytes_max` at the most; with bad luck several do so before it, as the lock is not fair. That is right
//! because the usual wait is for the very `data` that the shard needs, which it would else read itself in the same
//! time, and all other reading is bounded by what publishers may send: each `data` is read once for the node, where it
//! would else be read by each shard. Who has no filter never waits. What else takes long is done without the lock:
//! reading filters, and finding, inflating and hashing `data`. Nothing else is locked under it.

use super::fields::{FieldHasher, Fields, NoFilter};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What filters have said that is remembered for the node, at some 50 bytes each; half of it may be forgotten at once.
const VERDICTS_MAX: usize = 16 * 1024;

/// A filter of the node. Never used again for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FilterId(u64);

/// By what the node tells `data` apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DataHash(u64);

/// What a filter says of some `data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it lets it pass.
    pub passes: bool,
    /// Whether the filter was evaluated for that, which is counted.
    pub is_new: bool,
}

/// What pairs of `data` and filter are remembered as.
type Verdicts = HashMap<(DataHash, FilterId), bool, RandomState>;

/// The filters of a node.
#[derive(Debug)]
pub struct Filters {
    hasher: FieldHasher,
    /// Number of `data` whose fields are kept.
    read_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    by_fields: HashMap<Arc<[u64]>, FilterId, RandomState>,
    entries: HashMap<FilterId, Entry, RandomState>,
    last: u64,
    verdicts: Verdicts,
    /// Those before these.
    verdicts_before: Verdicts,
    /// What was read, the latest use last.
    read: VecDeque<Read>,
}

#[derive(Debug)]
struct Entry {
    /// Hashes of the fields that it wants.
    fields: Arc<[u64]>,
    users: usize,
}

/// Some `data` by the fields that filters can name.
#[derive(Debug)]
struct Read {
    of: DataHash,
    fields: Fields,
}

impl Filters {
    /// None yet. As many `data` as there are `shards` are kept in the form in which filters are evaluated on them, as
    /// each shard may be at another one.
    pub fn new(shards: usize) -> Self {
        Self { hasher: FieldHasher::default(), read_max: shards.max(1), state: Mutex::default() }
    }

    /// One more connection has the filter that `raw` describes: a JSON object whose values are strings, numbers,
    /// booleans or null. `None` if it has no fields, so that it lets all pass.
    ///
    /// # Errors
    /// If it is no such object, or has more than [`FIELDS_MAX`](super::FIELDS_MAX) fields.
    pub fn take(&self, raw: &str) -> Result<Option<FilterId>, NoFilter> {
        let fields: Arc<[u64]> = self.hasher.wanted(raw)?.into();
        if fields.is_empty() {
            return Ok(None);
        }
        let mut state = self.lock();
        if let Some(&id) = state.by_fields.get(&fields) {
            if let Some(entry) = state.entries.get_mut(&id) {
                entry.users += 1;
            }
            return Ok(Some(id));
        }
        state.last += 1;
        let id = FilterId(state.last);
        state.by_fields.insert(fields.clone(), id);
        state.entries.insert(id, Entry { fields, users: 1 });
        Ok(Some(id))
    }

    /// One connection less has a filter.
    pub fn give(&self, id: FilterId) {
        let mut state = self.lock();
        let Some(entry) = state.entries.get_mut(&id) else { return };
        entry.users -= 1;
        if entry.users == 0
            && let Some(entry) = state.entries.remove(&id)
        {
            state.by_fields.remove(&entry.fields);
        }
        if state.entries.is_empty() {
            *state = State { last: state.last, ..State::default() };
        }
    }

    /// By what the node tells this `data` apart from all other.
    pub fn hash(&self, data: &str) -> DataHash {
        DataHash(self.hasher.text(data))
    }

    /// What a filter says of the `data` of that hash. `None` if that is not remembered, and neither is the `data`, nor
    /// is it given.
    pub fn verdict(&self, id: FilterId, of: DataHash, data: Option<&str>) -> Option<Verdict> {
        let mut state = self.lock();
        let state = &mut *state;
        let pair = (of, id);
        if let Some(&passes) = state.verdicts.get(&pair).or_else(|| state.verdicts_before.get(&pair)) {
            return Some(Verdict { passes, is_new: false });
        }
        let read = match state.read.iter().position(|read| read.of == of) {
            Some(place) => state.read.remove(place)?,
            None => {
                let data = data?;
                if state.read.len() >= self.read_max {
                    state.read.pop_front();
                }
                Read { of, fields: self.read(data) }
            }
        };
        let passes = state.entries.get(&id).is_some_and(|entry| read.fields.have(&entry.fields));
        state.read.push_back(read);
        if state.verdicts.len() >= VERDICTS_MAX / 2 {
            // Shards that come later to what others have just looked at still find it.
            std::mem::swap(&mut state.verdicts, &mut state.verdicts_before);
            state.verdicts.clear();
        }
        state.verdicts.insert(pair, passes);
        Some(Verdict { passes, is_new: true })
    }

    /// Number of different filters that connections have.
    pub fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Whether no connection has a filter.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The fields of `data` that filters can name. Takes no lock.
    pub fn read(&self, data: &str) -> Fields {
        self.hasher.read(data)
    }

    /// What a filter wants, for [`Fields::have`]. `None` if there is no such filter.
    pub fn wanted(&self, id: FilterId) -> Option<Arc<[u64]>> {
        self.lock().entries.get(&id).map(|entry| entry.fields.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is whole before anything could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "filters_tests.rs"]
mod tests;
