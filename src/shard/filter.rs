//! Filters that clients apply to what they are sent: equality of top-level fields of `data` with what they name.
//!
//! Equal filters are one, however many connections have them, and what each says of some `data` is found out once,
//! however many encodings the publication has and however many steps a wide room takes. Filters and data are compared
//! by hashes of 64 bits, keyed at random by each shard, so that nobody can make two values be one: among the fields
//! of a million publications the odds that a wrong one passes are below one in 10^12.

use crate::dialect::dialect;
use crate::metrics::ShardMetrics;
use crate::model::DialectId;
use crate::wire::Inflater;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState as KeyedState};

/// Fields of one filter.
pub const FIELDS_MAX: usize = 16;

/// What filters have said that is remembered: more than a wide room's walk needs, at some 32 bytes each.
const VERDICTS_MAX: usize = 16 * 1024;

/// Bit of a text frame that says that it is compressed (RFC 7692 section 6).
const COMPRESSED: u8 = 0x40;

/// A filter of a shard. Never used again for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FilterId(u64);

/// Hashes of a field's name and value.
type Field = (u64, u64);

/// The filters of a shard.
#[derive(Default)]
pub(super) struct Filters {
    by_fields: HashMap<Box<[Field]>, FilterId, RandomState>,
    entries: HashMap<FilterId, Entry, RandomState>,
    last: u64,
    verdicts: HashMap<(u64, FilterId), bool, RandomState>,
    /// The `data` whose fields these are, by its hash.
    fields_of: Option<u64>,
    fields: HashMap<u64, u64, RandomState>,
    /// Of the frame that is being looked at, the hash of its `data`, if it has any; `None` before the first look.
    frame: Option<Option<u64>>,
    inflater: Inflater,
    keyed: KeyedState,
}

struct Entry {
    fields: Box<[Field]>,
    users: u32,
}

/// Why something is no filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoFilter;

impl Filters {
    /// One more connection has the filter that `raw` describes: a JSON object whose values are strings, numbers,
    /// booleans or null. `None` if it has no fields, so that it lets all pass.
    ///
    /// # Errors
    /// If it is no such object, or has more than [`FIELDS_MAX`] fields.
    pub fn take(&mut self, raw: &str) -> Result<Option<FilterId>, NoFilter> {
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
        if let Some(&id) = self.by_fields.get(&fields) {
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.users += 1;
            }
            return Ok(Some(id));
        }
        self.last += 1;
        let id = FilterId(self.last);
        self.by_fields.insert(fields.clone(), id);
        self.entries.insert(id, Entry { fields, users: 1 });
        Ok(Some(id))
    }

    /// One connection less has a filter.
    pub fn give(&mut self, id: Option<FilterId>) {
        let Some(id) = id else { return };
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.users -= 1;
            if entry.users == 0
                && let Some(entry) = self.entries.remove(&id)
            {
                self.by_fields.remove(&entry.fields);
            }
        }
    }

    /// Another frame is looked at from now on.
    pub fn next_frame(&mut self) {
        self.frame = None;
    }

    /// Whether a filter lets the publication of the present frame pass.
    pub fn lets_frame_pass(
        &mut self,
        id: FilterId,
        of: DialectId,
        frame: &[u8],
        metrics: &ShardMetrics,
    ) -> bool {
        if let Some(data) = self.frame
            && let Some(verdict) = data.map_or(Some(false), |data| self.verdicts.get(&(data, id)).copied())
        {
            return verdict;
        }
        let payload = super::backlog::payload(frame);
        // Out of here for as long as the text lies in its buffer.
        let mut inflater = std::mem::take(&mut self.inflater);
        let text = if frame[0] & COMPRESSED == 0 {
            std::str::from_utf8(payload).ok()
        } else {
            inflater.inflate_own(payload)
        };
        let data = text.and_then(|text| dialect(of).data_in(text));
        let passes = self.lets_pass(id, data, metrics);
        self.frame = Some(data.map(|data| self.keyed.hash_one(data)));
        self.inflater = inflater;
        passes
    }

    /// Whether a filter lets `data` pass.
    pub fn lets_pass(&mut self, id: FilterId, data: Option<&str>, metrics: &ShardMetrics) -> bool {
        let Some(data) = data else { return false };
        let hash = self.keyed.hash_one(data);
        if let Some(verdict) = self.verdicts.get(&(hash, id)) {
            return *verdict;
        }
        if self.fields_of != Some(hash) {
            self.read(data);
            self.fields_of = Some(hash);
        }
        metrics.filter_evaluations.add(1);
        let fields = &self.fields;
        let passes = self
            .entries
            .get(&id)
            .is_some_and(|entry| entry.fields.iter().all(|(name, value)| fields.get(name) == Some(value)));
        if self.verdicts.len() >= VERDICTS_MAX {
            self.verdicts.clear();
        }
        self.verdicts.insert((hash, id), passes);
        passes
    }

    /// Reads the fields of `data` that filters can name. Of several of one name the last counts, as in JavaScript.
    fn read(&mut self, data: &str) {
        self.fields.clear();
        self.fields.shrink_to(1024);
        let Ok(found) = serde_json::from_str::<BTreeMap<String, &RawValue>>(data) else { return };
        for (name, raw) in found {
            let raw = raw.get();
            if !raw.starts_with(['{', '['])
                && let Ok(value) = serde_json::from_str::<Value>(raw)
            {
                self.fields.insert(self.keyed.hash_one(&name), self.value_hash(&value));
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
}

/// A number without a fraction, as far as doubles tell whole numbers apart.
fn whole(number: f64) -> Option<i128> {
    let fits = number.fract() == 0.0 && number.abs() <= 2f64.powi(64);
    fits.then_some(number as i128)
}

#[cfg(test)]
impl Filters {
    /// Number of different filters that connections have.
    pub fn len(&self) -> usize {
        assert_eq!(self.entries.len(), self.by_fields.len());
        self.entries.len()
    }
}
