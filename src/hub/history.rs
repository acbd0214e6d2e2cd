use super::fields::Fields;
use super::filters::Filters;
use crate::base::{Mutation, json_field, mutated};
use crate::config::{HistoryLimits, RoomPolicy};
use crate::model::{ConnectionId, Epoch, Position, Publication, Sender};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// What one kept publication costs beside its text, in bytes: its entry with two counters of references, its place,
/// twice because the ring has up to twice the places that it needs, and what the allocator rounds up.
pub const ENTRY_BYTES: usize = 128;

const _: () = assert!(size_of::<Stored>() + 2 * 8 + 2 * 8 + 16 <= ENTRY_BYTES);

/// Places that a ring may have beyond twice what it needs, so that small ones are left alone.
const SPARE_PLACES: usize = 16;

/// The latest publications of a room, in one order, numbered from 1 on without gaps.
///
/// Kept is always the end of that order, so that whoever has seen the publication before the first that is kept has
/// missed nothing that cannot be told. All bounds hold after every call that is given the time.
#[derive(Debug)]
pub struct History {
    epoch: Epoch,
    messages_max: usize,
    /// `u64::MAX`: nothing is too old.
    age_max_ms: u64,
    bytes_max: usize,
    last_offset: u64,
    entries: VecDeque<Arc<Stored>>,
    bytes: usize,
}

/// One kept publication. Shared, so that a reader of the history takes what it needs under the room's lock and works
/// on it after that.
#[derive(Debug)]
pub struct Stored {
    /// The type name, the data or whole object, and the sender's user: one allocation for all.
    text: Box<str>,
    event_bytes: u32,
    content: Content,
    /// `u8::MAX`: it is not known.
    user_bytes: u8,
    sender: Option<ConnectionId>,
    unix_ms: u64,
    /// When it was accepted by the node's clock, which does not jump.
    at_ms: u64,
    /// What filters can name of it, once a filter has asked.
    fields: OnceLock<Box<Fields>>,
    /// Bytes of `fields` that are in the history's charge. Changes under the room's lock alone.
    fields_charge: AtomicU32,
}

/// What a publication has beside its type name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Nothing,
    Data,
    Whole,
}

const _: () = assert!(crate::model::Identity::NAME_BYTES_MAX < u8::MAX as usize);

impl Stored {
    fn new(publication: &Publication<'_>, at_ms: u64) -> Self {
        let Publication { event, data, whole, sender, unix_ms, .. } = *publication;
        let content = match (whole, data) {
            (Some(_), _) => Content::Whole,
            (None, Some(_)) => Content::Data,
            (None, None) => Content::Nothing,
        };
        let user = sender.and_then(|sender| sender.user);
        Self {
            text: [event, whole.or(data).unwrap_or(""), user.unwrap_or("")].concat().into_boxed_str(),
            event_bytes: event.len() as u32,
            content,
            user_bytes: user.map_or(u8::MAX, |user| user.len() as u8),
            sender: sender.map(|sender| sender.id),
            unix_ms,
            at_ms,
            fields: OnceLock::new(),
            fields_charge: AtomicU32::new(0),
        }
    }

    /// What keeping a publication costs, in bytes.
    pub fn charge_of(publication: &Publication<'_>) -> usize {
        let user = publication.sender.and_then(|sender| sender.user);
        let content = publication.whole.or(publication.data);
        ENTRY_BYTES + publication.event.len() + content.map_or(0, str::len) + user.map_or(0, str::len)
    }

    /// Bytes charged for it in its history when it was kept.
    pub fn text_charge(&self) -> usize {
        ENTRY_BYTES + self.text.len()
    }

    /// Bytes charged for it in its history, with the fields that filters have asked for.
    fn charge(&self) -> usize {
        self.text_charge() + self.fields_charge.load(Ordering::Relaxed) as usize
    }

    /// What filters can name of its data, and whether that has been read for this call: it is read once, by the first
    /// filter that asks, and kept. Not to be called under a lock: the data can be long. The caller then sees to it that
    /// the memory is counted, by [`Directory::count_fields`](super::Directory::count_fields).
    pub fn fields(&self, filters: &Filters) -> (&Fields, bool) {
        let mut is_new = false;
        let fields = self.fields.get_or_init(|| {
            is_new = true;
            Box::new(self.publication("", None).data.map_or_else(Fields::default, |data| filters.read(data)))
        });
        (fields, is_new)
    }

    /// Whether its fields have been read.
    pub fn is_read(&self) -> bool {
        self.fields.get().is_some()
    }

    /// Bytes of type name and data: fewer than any frame of it has.
    pub fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// It again, as it was.
    pub fn publication<'a>(&'a self, room: &'a str, offset: Option<u64>) -> Publication<'a> {
        let (event, rest) = self.text.split_at(self.event_bytes as usize);
        let user_bytes = (self.user_bytes != u8::MAX).then_some(usize::from(self.user_bytes));
        let (content, user) = rest.split_at(rest.len() - user_bytes.unwrap_or(0));
        let (data, whole) = match self.content {
            Content::Nothing => (None, None),
            Content::Data => (Some(content), None),
            Content::Whole => (json_field(content, "data"), Some(content)),
        };
        Publication {
            event,
            room: Some(room),
            data,
            whole,
            sender: self.sender.map(|id| Sender { id, user: user_bytes.map(|_| user) }),
            unix_ms: self.unix_ms,
            offset,
        }
    }
}

impl History {
    /// An empty history with the bounds of a policy: those of `history`, or else one publication for `last_value`.
    pub fn new(policy: &RoomPolicy, epoch: Epoch) -> Self {
        let (messages_max, age_max_ms, bytes_max) = match policy.history {
            Some(HistoryLimits { messages_max, age_max, bytes_max }) => {
                (messages_max as usize, millis(age_max), bytes_max)
            }
            None => (1, policy.last_value_age_max.map_or(u64::MAX, millis), usize::MAX),
        };
        Self {
            epoch,
            messages_max,
            age_max_ms,
            bytes_max,
            last_offset: 0,
            entries: VecDeque::new(),
            bytes: 0,
        }
    }

    /// The place of the latest publication.
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch, offset: self.last_offset }
    }

    /// Publications kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes charged for what is kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// When the next publication becomes too old, in ms of the node's clock; `None` if none will.
    pub fn due_ms(&self) -> Option<u64> {
        let age_max_ms = self.age_max_ms()?;
        self.entries.front().map(|stored| stored.at_ms.saturating_add(age_max_ms))
    }

    /// How long a publication is kept at most, in ms; `None`: for ever.
    pub fn age_max_ms(&self) -> Option<u64> {
        (self.age_max_ms != u64::MAX).then_some(self.age_max_ms)
    }

    /// Gives a publication the next offset and keeps it. One that alone is over the bound of bytes is not kept, and
    /// nor is what was before it, because what is kept has no gaps.
    pub fn append(&mut self, publication: &Publication<'_>, now_ms: u64) -> u64 {
        let charge = Stored::charge_of(publication);
        if !self.keeps(charge) {
            return self.pass();
        }
        self.make_way(charge, now_ms);
        // Shards look at the clock once per turn, so the times of two that publish may come in the wrong order.
        let at_ms = self.entries.back().map_or(now_ms, |last| last.at_ms.max(now_ms));
        self.entries.push_back(Arc::new(Stored::new(publication, at_ms)));
        self.bytes += charge;
        self.last_offset += 1;
        self.fit();
        self.last_offset
    }

    /// Goes on behind a place that somebody else has given, without what was kept before it.
    pub fn begin_at(&mut self, position: Position) {
        self.clear();
        (self.epoch, self.last_offset) = (position.epoch, position.offset);
    }

    /// Whether a publication of that charge can be kept at all.
    pub fn keeps(&self, charge: usize) -> bool {
        charge <= self.bytes_max
    }

    /// Drops what must go before a publication of that charge is kept.
    pub fn make_way(&mut self, charge: usize, now_ms: u64) {
        self.trim(now_ms);
        while self.entries.len() >= self.messages_max || self.bytes + charge > self.bytes_max {
            if !self.drop_front() {
                break;
            }
        }
    }

    /// Gives the next offset to a publication that is not kept.
    pub fn pass(&mut self) -> u64 {
        self.clear();
        self.last_offset += 1;
        self.last_offset
    }

    /// Drops what is too old.
    pub fn trim(&mut self, now_ms: u64) {
        while self.due_ms().is_some_and(|due_ms| due_ms <= now_ms) {
            self.drop_front();
        }
        self.fit();
    }

    /// Gives back places of the ring, so that [`ENTRY_BYTES`] holds. Rare: the ring is left half as large again as it
    /// needs to be, so that many publications come or go before it is copied next.
    fn fit(&mut self) {
        let len = self.entries.len();
        if self.entries.capacity() > 2 * len + SPARE_PLACES {
            self.entries.shrink_to(len + len / 2);
        }
    }

    /// Drops all that is kept; offsets go on.
    pub fn clear(&mut self) {
        self.entries = VecDeque::new();
        self.bytes = 0;
    }

    /// All publications after a position, in order with their offsets; `None` if they cannot all be told: it is not
    /// of this history, lies in the future, or too much has been dropped since.
    pub fn since(&self, seen: Position) -> Option<impl ExactSizeIterator<Item = (u64, &Arc<Stored>)>> {
        if seen.epoch != self.epoch {
            return None;
        }
        let missed = usize::try_from(self.last_offset.checked_sub(seen.offset)?).ok()?;
        let spare = usize::from(mutated(Mutation::RecoverTooMuch));
        let start = (self.entries.len() + spare).checked_sub(missed)?.saturating_sub(spare);
        Some(self.from(start))
    }

    /// The latest publication that is kept, with its offset.
    pub fn last(&self) -> Option<(u64, &Arc<Stored>)> {
        self.entries.back().map(|stored| (self.last_offset, stored))
    }

    /// A page: the first `limit` of what is kept after an offset, or without one the last `limit`; fewer where their
    /// charge would pass `bytes_max`, but at least one if there is one.
    pub fn page(
        &self,
        after: Option<u64>,
        limit: usize,
        bytes_max: usize,
    ) -> impl Iterator<Item = (u64, &Arc<Stored>)> {
        let mut bytes = 0;
        let mut fits = |stored: &&Arc<Stored>| {
            let first = bytes == 0;
            // Whether a filter has asked about it changes nothing of what is told.
            bytes += stored.text_charge();
            first || bytes <= bytes_max
        };
        let len = self.entries.len();
        let (start, count) = match after {
            Some(after) => {
                let unseen = self.last_offset.saturating_sub(after);
                let start = len.saturating_sub(usize::try_from(unseen).unwrap_or(usize::MAX));
                (start, self.entries.range(start..).take(limit).take_while(&mut fits).count())
            }
            None => {
                let count = self.entries.iter().rev().take(limit).take_while(&mut fits).count();
                (len - count, count)
            }
        };
        self.from(start).take(count)
    }

    /// What is kept from an index on, with offsets.
    fn from(&self, start: usize) -> impl ExactSizeIterator<Item = (u64, &Arc<Stored>)> {
        let first_offset = self.first_offset();
        let entries = self.entries.range(start..).enumerate();
        entries.map(move |(index, stored)| (first_offset + (start + index) as u64, stored))
    }

    /// Offset of the first publication that is kept, or of the next one.
    fn first_offset(&self) -> u64 {
        self.last_offset - self.entries.len() as u64 + 1
    }

    /// Adds to the charge what has been read of the fields of publications that are still kept, and drops what must go
    /// for it. Returns the bytes added.
    pub fn count_fields(&mut self, page: &[(u64, Arc<Stored>)]) -> usize {
        let mut added = 0;
        for (offset, stored) in page {
            let kept =
                offset.checked_sub(self.first_offset()).and_then(|index| self.entries.get(index as usize));
            if let Some(fields) = stored.fields.get()
                && kept.is_some_and(|kept| Arc::ptr_eq(kept, stored))
                && stored.fields_charge.load(Ordering::Relaxed) == 0
            {
                stored.fields_charge.store(fields.charge() as u32, Ordering::Relaxed);
                added += fields.charge();
            }
        }
        self.bytes += added;
        while self.bytes > self.bytes_max && self.drop_front() {}
        added
    }

    fn drop_front(&mut self) -> bool {
        let Some(front) = self.entries.pop_front() else { return false };
        self.bytes -= front.charge();
        true
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
