use siphasher::sip::SipHasher24;
use std::fmt;
use std::hash::{Hash, Hasher};
use uuid::Uuid;

/// A connection's public name: a UUID that also tells, to this node alone, on which shard and in which slot the
/// connection lives, so that no table of all connections is needed to find one.
///
/// 74 of its bits come from a cryptographic generator and 48 are the locator under a keyed hash of these, so that ids
/// pass as RFC 9562 version 4: without the key none of them tells another one, nor where a connection lives. A forged
/// or stale id points at a slot whose own id differs, which is checked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ConnectionId(Uuid);

/// One number to hash, where the bytes would be hashed as a list of any length.
impl Hash for ConnectionId {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.0.as_u128());
    }
}

/// Where a connection lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Locator {
    /// Shard index, below [`Locator::SHARDS_MAX`].
    pub shard: u16,
    /// Slot in the shard's slab, below [`Locator::SLOTS_MAX`].
    pub slot: u32,
}

impl Locator {
    /// Shards that an id can tell apart.
    pub const SHARDS_MAX: usize = 1 << SHARD_BITS;

    /// Slots of one shard that an id can tell apart.
    pub const SLOTS_MAX: u32 = 1 << SLOT_BITS;
}

/// A node's secret that hides locators. Whoever knows it can read where connections live, but not guess ids.
#[derive(Clone, Copy)]
pub struct ConnectionKey(SipHasher24);

impl ConnectionKey {
    /// The key of 128 random bits.
    pub fn new(secret: u128) -> Self {
        Self(SipHasher24::new_with_key(&secret.to_le_bytes()))
    }

    /// 48 bits that follow from an id's other bits and the key.
    fn mask(&self, rest: &[u8]) -> u64 {
        self.0.hash(rest) >> 16
    }
}

impl fmt::Debug for ConnectionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConnectionKey(..)")
    }
}

/// The locator is the first six bytes of an id, which hold no version or variant bits. Its highest 14 bits are zero:
/// they are left for the number of a node among several.
const LOCATOR_BYTES: usize = 6;
const SHARD_BITS: u32 = 10;
const SLOT_BITS: u32 = 24;

impl ConnectionId {
    /// Names the connection at `locator`, from 16 bytes of a cryptographic generator, of which the first six are not
    /// used, and the node's key.
    pub fn new(locator: Locator, random: [u8; 16], key: &ConnectionKey) -> Self {
        debug_assert!(usize::from(locator.shard) < Locator::SHARDS_MAX && locator.slot < Locator::SLOTS_MAX);
        let mut bytes = uuid::Builder::from_random_bytes(random).into_uuid().into_bytes();
        let plain = u64::from(locator.shard) << SLOT_BITS | u64::from(locator.slot);
        let hidden = plain ^ key.mask(&bytes[LOCATOR_BYTES..]);
        bytes[..LOCATOR_BYTES].copy_from_slice(&hidden.to_be_bytes()[2..]);
        Self(Uuid::from_bytes(bytes))
    }

    /// Where the connection of this id would live if it is one of this node's; `None` for nearly all that are not.
    pub fn locator(&self, key: &ConnectionKey) -> Option<Locator> {
        let (locator, rest) = self.0.as_bytes().split_at(LOCATOR_BYTES);
        let mut hidden = [0; 8];
        hidden[2..].copy_from_slice(locator);
        let plain = u64::from_be_bytes(hidden) ^ key.mask(rest);
        let shard = plain >> SLOT_BITS;
        (shard < Locator::SHARDS_MAX as u64)
            .then_some(Locator { shard: shard as u16, slot: plain as u32 & (Locator::SLOTS_MAX - 1) })
    }

    /// Reads an id in its usual text form.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 36).then(|| Uuid::try_parse(text).ok().map(Self)).flatten()
    }

    /// Writes the 36 characters of the text form without allocating.
    pub fn encode<'b>(&self, buffer: &'b mut [u8; 36]) -> &'b str {
        self.0.hyphenated().encode_lower(buffer)
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_finds_its_way_back() {
        let key = ConnectionKey::new(42);
        let last = Locator { shard: (Locator::SHARDS_MAX - 1) as u16, slot: Locator::SLOTS_MAX - 1 };
        for locator in [Locator { shard: 0, slot: 0 }, Locator { shard: 3, slot: 77 }, last] {
            let id = ConnectionId::new(locator, [0xA7; 16], &key);
            assert_eq!(id.locator(&key), Some(locator));
            let text = id.to_string();
            assert_eq!(ConnectionId::parse(&text), Some(id));
            assert_eq!(&text[14..15], "4", "RFC 9562 version nibble");
        }
        assert_eq!(ConnectionId::parse("{00000000-0000-0000-0000-000000000000}"), None);
    }

    #[test]
    fn ids_of_other_keys_point_nowhere() {
        let key = ConnectionKey::new(42);
        let foreign = (0..4096_u16).map(|number| {
            let mut random = [0; 16];
            random[14..].copy_from_slice(&number.to_le_bytes());
            ConnectionId::new(Locator { shard: 0, slot: 0 }, random, &ConnectionKey::new(43))
        });
        let found = foreign.filter(|id| id.locator(&key).is_some()).count();
        assert!(found <= 2, "{found} of 4,096, where one in 16,384 is due");
    }

    #[test]
    fn the_key_is_not_told() {
        assert_eq!(format!("{:?}", ConnectionKey::new(42)), "ConnectionKey(..)");
    }
}
