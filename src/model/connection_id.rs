use siphasher::sip::SipHasher24;
use std::fmt;
use std::hash::{Hash, Hasher};
use uuid::Uuid;

/// A connection's public name: a UUID that also tells, to the nodes of its cluster alone, on which node and shard and in
/// which slot the connection lives, so that no table of all connections is needed to find one.
///
/// 74 of its bits come from a cryptographic generator and 48 are the locator under a keyed hash of these, so that ids
/// pass as RFC 9562 version 4.
///
/// # What an id hides, and what it does not
/// Without the key an id tells nothing but itself: neither node, shard nor slot, not whether two connections share any of
/// these, not when the connection came, and no other id. Nobody can guess one.
///
/// It is a name and no secret. Other members of its rooms are shown it with what it publishes, in notices of presence and
/// in lists, and so is whoever may list connections or read the logs. So nothing may be granted for knowing an id: those
/// that act on one (publish to it, disconnect it) have shown an API key, a token, or are the program. Nor does the keyed
/// hash prove that a node made the id: a forged or stale one points at a slot whose own id differs, which is checked.
/// All nodes of a cluster have one key, and read each other's locators.
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
    /// The node.
    pub node: NodeId,
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

/// One node of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u16);

impl NodeId {
    /// Nodes that an id can tell apart.
    pub const COUNT_MAX: u16 = 1 << NODE_BITS;

    /// A node that is no cluster's.
    pub const ALONE: Self = Self(0);

    /// The node of a number below [`NodeId::COUNT_MAX`].
    pub fn new(number: u16) -> Option<Self> {
        (number < Self::COUNT_MAX).then_some(Self(number))
    }

    /// Its number.
    pub const fn number(self) -> u16 {
        self.0
    }
}

/// The secret of a cluster, or of a node alone, that hides locators. Whoever knows it can read where connections live, but
/// not guess ids.
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

/// The locator is the first six bytes of an id, which hold no version or variant bits: node, shard, slot.
const LOCATOR_BYTES: usize = 6;
const NODE_BITS: u32 = 14;
const SHARD_BITS: u32 = 10;
const SLOT_BITS: u32 = 24;

const _: () = assert!((NODE_BITS + SHARD_BITS + SLOT_BITS) as usize == 8 * LOCATOR_BYTES);

impl ConnectionId {
    /// Names the connection at `locator`, from 16 bytes of a cryptographic generator, of which the first six are not
    /// used, and the node's key.
    pub fn new(locator: Locator, random: [u8; 16], key: &ConnectionKey) -> Self {
        debug_assert!(usize::from(locator.shard) < Locator::SHARDS_MAX && locator.slot < Locator::SLOTS_MAX);
        let mut bytes = uuid::Builder::from_random_bytes(random).into_uuid().into_bytes();
        let node_and_shard = u64::from(locator.node.0) << SHARD_BITS | u64::from(locator.shard);
        let plain = node_and_shard << SLOT_BITS | u64::from(locator.slot);
        let hidden = plain ^ key.mask(&bytes[LOCATOR_BYTES..]);
        bytes[..LOCATOR_BYTES].copy_from_slice(&hidden.to_be_bytes()[2..]);
        Self(Uuid::from_bytes(bytes))
    }

    /// Where the connection of this id lives if the id was made with this key; anywhere if not.
    pub fn locator(&self, key: &ConnectionKey) -> Locator {
        let (locator, rest) = self.0.as_bytes().split_at(LOCATOR_BYTES);
        let mut hidden = [0; 8];
        hidden[2..].copy_from_slice(locator);
        let plain = u64::from_be_bytes(hidden) ^ key.mask(rest);
        Locator {
            node: NodeId((plain >> (SHARD_BITS + SLOT_BITS)) as u16),
            shard: (plain >> SLOT_BITS) as u16 & (Locator::SHARDS_MAX - 1) as u16,
            slot: plain as u32 & (Locator::SLOTS_MAX - 1),
        }
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
        let last = Locator {
            node: NodeId::new(NodeId::COUNT_MAX - 1).unwrap(),
            shard: (Locator::SHARDS_MAX - 1) as u16,
            slot: Locator::SLOTS_MAX - 1,
        };
        let [first, alone] =
            [(0, 0), (3, 77)].map(|(shard, slot)| Locator { node: NodeId::ALONE, shard, slot });
        for locator in [first, alone, Locator { shard: 0, slot: 0, ..last }, last] {
            let id = ConnectionId::new(locator, [0xA7; 16], &key);
            assert_eq!(id.locator(&key), locator);
            let text = id.to_string();
            assert_eq!(ConnectionId::parse(&text), Some(id));
            assert_eq!(&text[14..15], "4", "RFC 9562 version nibble");
        }
        assert_eq!(ConnectionId::parse("{00000000-0000-0000-0000-000000000000}"), None);
        assert_eq!(NodeId::new(NodeId::COUNT_MAX), None);
    }

    #[test]
    fn ids_of_other_keys_point_anywhere() {
        let key = ConnectionKey::new(42);
        let foreign = (0..4096_u16).map(|number| {
            let mut random = [0; 16];
            random[14..].copy_from_slice(&number.to_le_bytes());
            let locator = Locator { node: NodeId::ALONE, shard: 0, slot: 0 };
            ConnectionId::new(locator, random, &ConnectionKey::new(43))
        });
        let found = foreign.filter(|id| id.locator(&key).node == NodeId::ALONE).count();
        assert!(found <= 2, "{found} of 4,096, where one in 16,384 is due");
    }

    #[test]
    fn an_id_does_not_show_its_node() {
        // Of ids that differ in the node alone no bit of the locator is the same more often than by chance.
        let key = ConnectionKey::new(42);
        let id = |node, number: u16| {
            let mut random = [0; 16];
            random[14..].copy_from_slice(&number.to_le_bytes());
            let node = NodeId::new(node).unwrap();
            *ConnectionId::new(Locator { node, shard: 1, slot: 1 }, random, &key).0.as_bytes()
        };
        for bit in 0..8 * LOCATOR_BYTES {
            let same = |number: &u16| {
                let [one, other] = [id(1, *number), id(2, number + 4096)];
                (one[bit / 8] ^ other[bit / 8]) >> (bit % 8) & 1 == 0
            };
            let count = (0..4096).filter(same).count();
            assert!((1850..2250).contains(&count), "bit {bit} is the same in {count} of 4,096");
        }
    }

    #[test]
    fn the_key_is_not_told() {
        assert_eq!(format!("{:?}", ConnectionKey::new(42)), "ConnectionKey(..)");
    }
}
