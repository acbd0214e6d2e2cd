//! Lists of mappings, such as rules and endpoints: in the file, where a mistake has its line and column, or as text in
//! YAML or JSON elsewhere.

use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_saphyr::{Error, Location, Options, Spanned};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

/// Most characters of a wrong value that an error shows.
const SHOWN_CHARS_MAX: usize = 40;

/// An item of a list as it is written.
pub(super) trait Item: DeserializeOwned {
    /// What it says.
    type Checked;

    /// What it is called in errors.
    const NAME: &'static str;

    /// Most of them.
    const MAX: usize;

    /// Checks it by itself.
    fn check(self) -> Result<Self::Checked, ItemError>;

    /// Checks it beside those before it.
    fn fits(_before: &[Self::Checked], _item: &Self::Checked) -> Result<(), ItemError> {
        Ok(())
    }
}

/// What is wrong with an item: in which of its fields, and why.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ItemError {
    field: &'static str,
    what: String,
}

impl ItemError {
    pub fn new(field: &'static str, what: impl Into<String>) -> Self {
        Self { field, what: what.into() }
    }
}

impl fmt::Display for ItemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.what)
    }
}

/// What is wrong with a list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ListError {
    /// Line and column in the file, from 1; none where the list is not in a file.
    pub place: Option<(u64, u64)>,
    what: String,
}

impl fmt::Display for ListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// Reads a list that is the whole of a text; an empty text is an empty list.
///
/// # Errors
/// What is wrong, with the number of the item.
pub(super) fn parse<I: Item>(text: &str) -> Result<Vec<I::Checked>, String> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let items: Vec<I> = serde_saphyr::from_str_with_options(text, options()).map_err(|e| e.to_string())?;
    check(items).map_err(|(index, error)| numbered::<I>(index, &error))
}

/// Reads the list that a key at the top of a file has.
///
/// # Errors
/// What is wrong, with the place in the file and the number of the item.
pub(super) fn parse_key<I: Item>(file: &str, key: &str) -> Result<Vec<I::Checked>, ListError> {
    let items: Vec<I> = pick(file, key).map_err(|error| {
        let place = error.location().filter(|place| *place != Location::UNKNOWN);
        ListError { place: place.map(|place| (place.line(), place.column())), what: error.to_string() }
    })?;
    check(items).map_err(|(index, error)| {
        let (place, value) = locate(file, key, index, error.field).unzip();
        let shown = value.flatten().map_or_else(String::new, |value| format!(" ({value} is given)"));
        ListError { place, what: numbered::<I>(index, &error) + &shown }
    })
}

/// The first item that is wrong ends it, with its index.
fn check<I: Item>(items: Vec<I>) -> Result<Vec<I::Checked>, (usize, ItemError)> {
    if items.len() > I::MAX {
        return Err((I::MAX, ItemError::new("number", format!("there are more than {} of these", I::MAX))));
    }
    let mut checked = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let item = item.check().map_err(|error| (index, error))?;
        I::fits(&checked, &item).map_err(|error| (index, error))?;
        checked.push(item);
    }
    Ok(checked)
}

fn numbered<I: Item>(index: usize, error: &ItemError) -> String {
    format!("{} {}: {error}", I::NAME, index + 1)
}

/// Line and column of a field of an item, or else of the item; and the field's value if that is short.
fn locate(file: &str, key: &str, index: usize, field: &str) -> Option<((u64, u64), Option<String>)> {
    let items: Vec<Spanned<BTreeMap<String, Spanned<IgnoredAny>>>> = pick(file, key).ok()?;
    let item = items.get(index)?;
    let of_field = item.value.get(field);
    let place = of_field.map_or(item.referenced, |value| value.referenced);
    let value = of_field.and_then(|value| source_of(file, value.defined)).filter(|value| {
        value.chars().count() <= SHOWN_CHARS_MAX
            && !value.contains(['\n', '\r'])
            && !value.is_empty()
            && !value.starts_with(['[', '{'])
    });
    Some(((place.line(), place.column()), value.map(|value| value.escape_debug().to_string())))
}

/// The text of a scalar as it stands in the source, with its quotes.
pub(super) fn source_of(source: &str, place: Location) -> Option<&str> {
    let (start, len) = (place.span().byte_offset()?, place.span().byte_len()?);
    let (start, len) = (usize::try_from(start).ok()?, usize::try_from(len).ok()?);
    source.get(start..start.checked_add(len)?).map(str::trim_end)
}

/// Errors tell the place and show nothing of the text around it, where a secret may stand.
fn options() -> Options {
    serde_saphyr::options! { with_snippet: false }
}

/// Reads the value of one key of a mapping, with all other values left aside.
fn pick<T: DeserializeOwned>(file: &str, key: &str) -> Result<T, Error> {
    serde_saphyr::with_deserializer_from_str_with_options(file, options(), |deserializer| {
        Pick { key, value: PhantomData }.deserialize(deserializer)
    })
}

struct Pick<'k, T> {
    key: &'k str,
    value: PhantomData<T>,
}

impl<'de, T: DeserializeOwned> DeserializeSeed<'de> for Pick<'_, T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: DeserializeOwned> Visitor<'de> for Pick<'_, T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping of keys to values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<String>()? {
            if name == self.key {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        found.ok_or_else(|| de::Error::custom("the key is missing"))
    }
}
