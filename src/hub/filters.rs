//! Filters that clients apply to what they are sent: equality of top-level fields of `data` with what they name.
//!
//! Equal filters are one, on however many shards connections have them, and what each says of some `data` is found out
//! once for the node, however many encodings the publication has and whichever shards look at it. Filters and data are
//! compared by hashes of 64 bits, keyed at random by each node, so that nobody can make two values be one: among the
//! fields of a million publications the odds that a wrong one passes are below one in 10^12.
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

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, RandomState as KeyedState};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Fields of one filter.
pub const FIELDS_MAX: usize = 16;

/// What filters have said that is remembered for the node, at some 50 bytes each; half of it may be forgotten at once.
const VERDICTS_MAX: usize = 16 * 1024;

/// Fields for which a place that is used again keeps its memory.
const FIELDS_KEPT: usize = 1024;

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

/// Why something is no filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoFilter;

/// Hashes of a field's name and value.
type Field = (u64, u64);

/// What pairs of `data` and filter are remembered as.
type Verdicts = HashMap<(DataHash, FilterId), bool, RandomState>;

/// The filters of a node.
#[derive(Debug)]
pub struct Filters {
    keyed: KeyedState,
    /// Number of `data` whose fields are kept.
    read_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    by_fields: HashMap<Box<[Field]>, FilterId, RandomState>,
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
    fields: Box<[Field]>,
    users: usize,
}

/// Some `data` by the fields that filters can name.
#[derive(Debug)]
struct Read {
    of: DataHash,
    fields: HashMap<u64, u64, RandomState>,
}

impl Filters {
    /// None yet. As many `data` as there are `shards` are kept in the form in which filters are evaluated on them, as
    /// each shard may be at another one.
    pub fn new(shards: usize) -> Self {
        Self { keyed: KeyedState::new(), read_max: shards.max(1), state: Mutex::default() }
    }

    /// One more connection has the filter that `raw` describes: a JSON object whose values are strings, numbers,
    /// booleans or null. `None` if it has no fields, so that it lets all pass.
    ///
    /// # Errors
    /// If it is no such object, or has more than [`FIELDS_MAX`] fields.
    pub fn take(&self, raw: &str) -> Result<Option<FilterId>, NoFilter> {
        let Ok(Value::Object(wanted)) = serde_json::from_str(raw) else { return Err(NoFilter) };
        if wanted.len() > FIELDS_MAX || wanted.values().any(|value| value.is_array() || value.is_object()) {
            return Err(NoFilter);
        }
        if wanted.is_empty() {
            return Ok(None);
        }
        let hashed = wanted.iter().map(|(name, value)| (self.keyed.hash_one(name), self.value_hash(value)));
        let mut fields: Vec<Field> = hashed.collect();
        fields.sort_unstable();
        let fields = fields.into_boxed_slice();
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
        DataHash(self.keyed.hash_one(data))
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
                let least_used = if state.read.len() < self.read_max { None } else { state.read.pop_front() };
                let mut fields = least_used.map(|read| read.fields).unwrap_or_default();
                self.read(data, &mut fields);
                Read { of, fields }
            }
        };
        let has = |(name, value): &Field| read.fields.get(name) == Some(value);
        let passes = state.entries.get(&id).is_some_and(|entry| entry.fields.iter().all(has));
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

    /// Reads the fields of `data` that filters can name. Of several of one name the last counts, as in JavaScript.
    fn read(&self, data: &str, fields: &mut HashMap<u64, u64, RandomState>) {
        fields.clear();
        fields.shrink_to(FIELDS_KEPT);
        let Ok(found) = serde_json::from_str::<BTreeMap<String, &RawValue>>(data) else { return };
        for (name, raw) in found {
            let raw = raw.get();
            if !raw.starts_with(['{', '['])
                && let Ok(value) = serde_json::from_str::<Value>(raw)
            {
                fields.insert(self.keyed.hash_one(&name), self.value_hash(&value));
            }
        }
    }

    /// Equal for equal values: numbers are compared as numbers, however they are written.
    fn value_hash(&self, value: &Value) -> u64 {
        match value {
            Value::String(text) => self.keyed.hash_one((1, text)),
            Value::Bool(value) => self.keyed.hash_one((2, value)),
            Value::Number(number) => {
                let whole = number.as_i128().or_else(|| whole(number.as_f64()?));
                let other = number.as_f64().map(f64::to_bits).filter(|_| whole.is_none());
                self.keyed.hash_one((3, whole, other))
            }
            _ => self.keyed.hash_one(4),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is whole before anything could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A number without a fraction, as far as doubles tell whole numbers apart.
fn whole(number: f64) -> Option<i128> {
    let fits = number.fract() == 0.0 && number.abs() <= 2f64.powi(64);
    fits.then_some(number as i128)
}

#[cfg(test)]
#[path = "filters_tests.rs"]
mod tests;
