//! Top-level fields of JSON objects as hashes, for filters: what a filter wants, and what some `data` has.

use crate::base::{json_fields, json_text};
use foldhash::fast::RandomState as Spread;
use hashbrown::HashMap;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;
use siphasher::sip::SipHasher13;
use std::borrow::Cow;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

/// Fields of one filter.
pub const FIELDS_MAX: usize = 16;

/// Fields of one publication that are read: beyond them, filters see none. Far more than anybody filters for, and few
/// enough that one publication, which is read at once, does not hold a shard for long.
pub const FIELDS_READ_MAX: usize = 32 * 1024;

/// Bytes that a set of fields costs beside its hashes: two allocations.
const SET_BYTES: usize = 48;

/// A field: the hash of its name, and the hash of its name and value together.
#[derive(Debug, Clone, Copy)]
struct Field {
    name: u64,
    pair: u64,
}

/// The top-level fields of some `data` whose values are strings, numbers, booleans or null.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    /// Hashes of name and value together, rising.
    pairs: Box<[u64]>,
}

impl Fields {
    /// Whether all that a filter wants is among them.
    pub fn have(&self, wanted: &[u64]) -> bool {
        wanted.iter().all(|pair| self.pairs.binary_search(pair).is_ok())
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Bytes of memory that they cost.
    pub fn charge(&self) -> usize {
        SET_BYTES + size_of_val(&*self.pairs)
    }
}

/// Why a text is no filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoFilter;

/// Bytes of data for each place that is kept for a field while they are read: what short fields take. Fewer places cost
/// moving what was found, more cost memory for a moment.
const FIELD_BYTES: usize = 16;

/// By what a node hashes fields: keyed at random, so that no peer can make two values be one. Names, texts and other
/// values have keys of their own, so that nothing that is hashed says of which kind it is.
#[derive(Debug, Clone)]
pub(super) struct FieldHasher {
    names: SipHasher13,
    texts: SipHasher13,
    others: SipHasher13,
}

impl Default for FieldHasher {
    fn default() -> Self {
        let random = RandomState::new();
        let keyed =
            |first: u64| SipHasher13::new_with_keys(random.hash_one(first), random.hash_one(first + 1));
        Self { names: keyed(0), texts: keyed(2), others: keyed(4) }
    }
}

impl FieldHasher {
    /// The hash of a whole text.
    pub fn text(&self, text: &str) -> u64 {
        self.texts.hash(text.as_bytes())
    }

    /// What a filter wants: hashes as in [`Fields`], rising. Reads no further than to the first field that a filter
    /// cannot have, and builds no tree of what it reads.
    ///
    /// # Errors
    /// If `raw` is no object, has a nested value, or more than [`FIELDS_MAX`] fields.
    pub fn wanted(&self, raw: &str) -> Result<Box<[u64]>, NoFilter> {
        let (mut found, mut written) = (Vec::<Field>::new(), 0);
        each_field(raw, |name, value| {
            written += 1;
            let field = self.field(name, value).filter(|_| written <= FIELDS_MAX).ok_or(NoFilter)?;
            // Of several of one name the last counts.
            found.retain(|earlier| earlier.name != field.name);
            found.push(field);
            Ok(())
        })?;
        Ok(pairs_of(found))
    }

    /// The fields of `data`, which must be valid JSON; none if it is no object. Of several of one name the last counts,
    /// as in JavaScript. Costs one pass over the text and a sort of its fields, of which the first [`FIELDS_READ_MAX`] are
    /// read.
    pub fn read(&self, data: &str) -> Fields {
        let (places, mut read) = (data.len() / FIELD_BYTES, 0);
        let mut found: HashMap<u64, u64, Spread> =
            HashMap::with_capacity_and_hasher(places, Spread::default());
        json_fields(data, |name, value| {
            read += 1;
            if read > FIELDS_READ_MAX {
                return false;
            }
            // A name with an escape that stands for no character is none that a filter can have.
            let Some(name) = json_text(name) else { return true };
            match self.field(&name, value) {
                Some(Field { name, pair }) => drop(found.insert(name, pair)),
                // It takes the place of an earlier one of its name.
                None => drop(found.remove(&self.name(&name))),
            }
            true
        });
        let mut pairs: Vec<u64> = found.into_values().collect();
        pairs.sort_unstable();
        Fields { pairs: pairs.into_boxed_slice() }
    }

    fn name(&self, name: &str) -> u64 {
        self.names.hash(name.as_bytes())
    }

    /// `None` if the value is nested, or cannot be read.
    fn field(&self, name: &str, raw: &str) -> Option<Field> {
        let value = self.value(raw)?;
        let name = self.name(name);
        // Odd, so that different names of one value, and different values of one name, make different pairs.
        Some(Field { name, pair: name.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(value) })
    }

    /// Equal for equal values: numbers are compared as numbers, however they are written.
    fn value(&self, raw: &str) -> Option<u64> {
        match raw.as_bytes().first()? {
            b'{' | b'[' => None,
            b'"' => Some(self.text(&json_text(raw)?)),
            // One byte each, numbers have eight and more.
            first @ (b't' | b'f' | b'n') => Some(self.others.hash(&[*first])),
            _ => {
                // Most are short and whole: no need for a parser.
                if raw.len() < 19 && raw.bytes().all(|byte| byte.is_ascii_digit()) {
                    let digit = |sum: i64, byte: u8| sum * 10 + i64::from(byte - b'0');
                    return Some(self.short(raw.bytes().fold(0, digit)));
                }
                let number: serde_json::Number = serde_json::from_str(raw).ok()?;
                match number.as_i128().or_else(|| whole(number.as_f64()?)) {
                    Some(whole) => Some(self.whole(whole)),
                    None => number.as_f64().map(|number| self.others.hash(&with_mark(number.to_bits()))),
                }
            }
        }
    }

    fn whole(&self, number: i128) -> u64 {
        match i64::try_from(number) {
            Ok(short) => self.short(short),
            Err(_) => self.others.hash(&number.to_ne_bytes()),
        }
    }

    fn short(&self, number: i64) -> u64 {
        self.others.hash(&number.to_ne_bytes())
    }
}

/// Nine bytes, as no whole number has.
fn with_mark(bits: u64) -> [u8; 9] {
    let mut marked = [b'f'; 9];
    marked[1..].copy_from_slice(&bits.to_ne_bytes());
    marked
}

/// A number without a fraction, as far as doubles tell whole numbers apart.
fn whole(number: f64) -> Option<i128> {
    let fits = number.fract() == 0.0 && number.abs() <= 2f64.powi(64);
    fits.then_some(number as i128)
}

/// The hashes of name and value of fields that have different names.
fn pairs_of(found: Vec<Field>) -> Box<[u64]> {
    let mut pairs: Vec<u64> = found.into_iter().map(|field| field.pair).collect();
    pairs.sort_unstable();
    pairs.into_boxed_slice()
}

/// Calls `each` with the name and the raw value of every top-level field of the object `raw`, in order, until that
/// refuses one.
fn each_field(raw: &str, each: impl FnMut(&str, &str) -> Result<(), NoFilter>) -> Result<(), NoFilter> {
    let mut json = serde_json::Deserializer::from_str(raw);
    json.deserialize_map(Each(each)).map_err(|_| NoFilter)?;
    json.end().map_err(|_| NoFilter)
}

struct Each<F>(F);

impl<'de, F: FnMut(&str, &str) -> Result<(), NoFilter>> Visitor<'de> for Each<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(Name(name)) = map.next_key()? {
            let value: &RawValue = map.next_value()?;
            (self.0)(&name, value.get()).map_err(|NoFilter| A::Error::custom("no filter"))?;
        }
        Ok(())
    }
}

/// The name of a field, borrowed where no escape is in it.
struct Name<'de>(Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
