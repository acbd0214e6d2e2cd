use std::mem;

/// Entries of one chunk. A power of two, so that a slot splits into chunk and index by shift and mask.
const CHUNK_LEN: usize = 1024;

/// No slot: the end of a free list. It is also never handed out as a slot.
const NONE: u32 = u32::MAX;

// A token carries slot and generation whole, so a readiness token needs 64 bits.
const _: () = assert!(usize::BITS >= 64);
const _: () = assert!(CHUNK_LEN.is_power_of_two());

/// Names one entry of a [`Slab`] for as long as that entry lives.
///
/// The generation changes whenever a slot is vacated, so that a key kept too long finds nothing rather than the
/// slot's next tenant. It wraps: a key would have to outlive 2^32 tenants of its chunk's busiest slot to lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// Index of the entry; never `u32::MAX`.
    pub slot: u32,
    /// Which tenant of the slot is meant.
    pub generation: u32,
}

impl Key {
    /// Packs the key into a readiness token. Because no slot is `u32::MAX`, tokens whose low half is all ones,
    /// such as `usize::MAX`, are free for other uses.
    pub const fn to_token(self) -> usize {
        ((self.generation as usize) << 32) | self.slot as usize
    }

    /// Undoes [`Key::to_token`].
    pub const fn from_token(token: usize) -> Self {
        Self { slot: token as u32, generation: (token >> 32) as u32 }
    }
}

/// Entries in numbered slots, reached by [`Key`] in constant time.
///
/// Memory comes in chunks of 1024 entries, so growth copies nothing and costs at most one chunk more than is
/// used. Each entry costs at most 8 bytes beyond the value (for values aligned to 8 bytes or less). The lowest
/// chunk with room is filled first and, within it, the slot vacated last; this lets the highest chunks run empty,
/// and those are given back, except that one empty chunk stays so that a count that swings around a chunk's edge
/// does not allocate each time.
#[derive(Debug)]
pub struct Slab<T> {
    chunks: Vec<Chunk<T>>,
    /// One bit for each chunk: it has room.
    roomy: Vec<u64>,
    /// The generation that a chunk's untouched slots begin with. It outlives the chunk (4 bytes each), or else the
    /// slots of a chunk given back and taken again would repeat their keys.
    first_generations: Vec<u32>,
    len: usize,
    capacity_max: u32,
}

#[derive(Debug)]
struct Chunk<T> {
    /// Filled lazily and never beyond its first capacity, so that pages not needed yet are not touched.
    entries: Vec<Entry<T>>,
    /// Index in `entries` of the entry vacated last, or `NONE`.
    free: u32,
    live: u32,
}

#[derive(Debug)]
enum Entry<T> {
    /// `generation` is that of the next tenant.
    Vacant {
        generation: u32,
        next: u32,
    },
    Live {
        generation: u32,
        value: T,
    },
}

impl<T> Slab<T> {
    /// An empty slab that will hold at most `capacity_max` entries (and never more than `u32::MAX`). Allocates
    /// nothing yet.
    pub const fn new(capacity_max: u32) -> Self {
        Self { chunks: Vec::new(), roomy: Vec::new(), first_generations: Vec::new(), len: 0, capacity_max }
    }

    /// Stores a value; hands it back when `capacity_max` entries live already.
    pub fn insert(&mut self, value: T) -> Result<Key, T> {
        let Some(key) = self.next_key() else { return Err(value) };
        let (at, index) = split(key.slot);
        if at == self.chunks.len() {
            self.grow();
        }
        let room = self.room_of(at);
        let chunk = &mut self.chunks[at];
        let entry = Entry::Live { generation: key.generation, value };
        if let Some(vacant) = chunk.entries.get_mut(index) {
            if let Entry::Vacant { next, .. } = *vacant {
                chunk.free = next;
            }
            *vacant = entry;
        } else {
            chunk.entries.push(entry);
        }
        chunk.live += 1;
        self.len += 1;
        if chunk.live as usize == room {
            self.roomy[at / 64] &= !(1 << (at % 64));
        }
        Ok(key)
    }

    /// The key that the next [`Slab::insert`] will give, so that an entry can know its own name; `None` when full.
    pub fn next_key(&self) -> Option<Key> {
        let roomy = self.roomy.iter().enumerate().find(|(_, word)| **word != 0);
        let at = roomy.map_or(self.chunks.len(), |(index, word)| index * 64 + word.trailing_zeros() as usize);
        let Some(chunk) = self.chunks.get(at) else {
            let generation = self.first_generations.get(at).copied().unwrap_or(0);
            return (self.room_of(at) > 0).then(|| Key { slot: join(at, 0), generation });
        };
        Some(match chunk.entries.get(chunk.free as usize) {
            Some(entry) => Key { slot: join(at, chunk.free as usize), generation: entry.generation() },
            None => Key { slot: join(at, chunk.entries.len()), generation: self.first_generations[at] },
        })
    }

    /// The entry of this key, unless it was removed.
    pub fn get(&self, key: Key) -> Option<&T> {
        match self.entry(key.slot)? {
            Entry::Live { generation, value } if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// The entry of this key, to change, unless it was removed.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.entry_mut(key.slot)? {
            Entry::Live { generation, value } if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// The entry in this slot now, whichever its generation: for those who cannot hold a stale slot.
    pub fn at(&self, slot: u32) -> Option<&T> {
        match self.entry(slot)? {
            Entry::Live { value, .. } => Some(value),
            Entry::Vacant { .. } => None,
        }
    }

    /// The entry in this slot now, to change.
    pub fn at_mut(&mut self, slot: u32) -> Option<&mut T> {
        match self.entry_mut(slot)? {
            Entry::Live { value, .. } => Some(value),
            Entry::Vacant { .. } => None,
        }
    }

    /// The key of the entry in this slot now.
    pub fn key(&self, slot: u32) -> Option<Key> {
        match self.entry(slot)? {
            Entry::Live { generation, .. } => Some(Key { slot, generation: *generation }),
            Entry::Vacant { .. } => None,
        }
    }

    /// Takes an entry out and vacates its slot.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        let (at, index) = split(key.slot);
        let chunk = self.chunks.get_mut(at)?;
        let vacant = Entry::Vacant { generation: key.generation.wrapping_add(1), next: chunk.free };
        let Entry::Live { value, .. } = mem::replace(chunk.entries.get_mut(index)?, vacant) else {
            return None;
        };
        chunk.free = index as u32;
        chunk.live -= 1;
        self.len -= 1;
        self.roomy[at / 64] |= 1 << (at % 64);
        if self.chunks[at].live == 0 {
            self.release();
        }
        Some(value)
    }

    /// Entries that live.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether no entry lives.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Entries that may live at once.
    pub const fn capacity_max(&self) -> u32 {
        self.capacity_max
    }

    /// Entries that memory is held for now.
    pub fn capacity(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.entries.capacity()).sum()
    }

    /// All entries in the order of their slots. Costs a step for each slot, vacant ones too.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.chunks.iter().enumerate().flat_map(|(at, chunk)| {
            chunk.entries.iter().enumerate().filter_map(move |(index, entry)| match entry {
                Entry::Live { generation, value } => {
                    Some((Key { slot: join(at, index), generation: *generation }, value))
                }
                Entry::Vacant { .. } => None,
            })
        })
    }

    fn entry(&self, slot: u32) -> Option<&Entry<T>> {
        let (at, index) = split(slot);
        self.chunks.get(at)?.entries.get(index)
    }

    fn entry_mut(&mut self, slot: u32) -> Option<&mut Entry<T>> {
        let (at, index) = split(slot);
        self.chunks.get_mut(at)?.entries.get_mut(index)
    }

    /// Entries that chunk `at` may hold: fewer than a whole chunk only at the bound.
    fn room_of(&self, at: usize) -> usize {
        (self.capacity_max as usize).saturating_sub(at * CHUNK_LEN).min(CHUNK_LEN)
    }

    fn grow(&mut self) {
        let at = self.chunks.len();
        self.chunks.push(Chunk { entries: Vec::with_capacity(self.room_of(at)), free: NONE, live: 0 });
        self.roomy.resize(at / 64 + 1, 0);
        self.roomy[at / 64] |= 1 << (at % 64);
        if self.first_generations.len() == at {
            self.first_generations.push(0);
        }
    }

    /// Gives back empty chunks at the end, all but one.
    fn release(&mut self) {
        while let [.., before, last] = self.chunks.as_slice()
            && before.live == 0
            && last.live == 0
        {
            let at = self.chunks.len() - 1;
            // The slots will begin where the busiest of them has come to, counted as distance from the chunk's
            // beginning because generations wrap.
            let first = self.first_generations[at];
            let used = last.entries.iter().map(|entry| entry.generation().wrapping_sub(first)).max();
            self.first_generations[at] = first.wrapping_add(used.unwrap_or(0));
            self.roomy[at / 64] &= !(1 << (at % 64));
            self.chunks.pop();
        }
    }
}

impl<T> Entry<T> {
    const fn generation(&self) -> u32 {
        match self {
            Self::Vacant { generation, .. } | Self::Live { generation, .. } => *generation,
        }
    }
}

const fn split(slot: u32) -> (usize, usize) {
    (slot as usize / CHUNK_LEN, slot as usize % CHUNK_LEN)
}

/// The slot of an index in a chunk. Below `capacity_max`, so it fits.
const fn join(at: usize, index: usize) -> u32 {
    (at * CHUNK_LEN + index) as u32
}

#[cfg(test)]
mod tests;
