use std::fmt;
use uuid::Uuid;

/// A connection's public name: a UUID that also tells, to this node alone, on which shard and in which slot the
/// connection lives, so that no table of all connections is needed to find one.
///
/// The locator is hidden by a keyed hash of the random part, so that ids look random (RFC 9562 version 4) and
/// tell a peer nothing. A forged or stale id points at a slot whose own id differs, which is checked.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionId(Uuid);

/// Where a connection lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Locator {
    /// Shard index.
    pub shard: u16,
    /// Slot in the shard's slab.
    pub slot: u32,
}

/// 48 bits of the id carry the locator: 16 of shard, 32 of slot. They are its first six bytes, which hold no
/// version or variant bits.
const LOCATOR_BYTES: usize = 6;

impl ConnectionId {
    /// Names the connection at `locator`, from 16 random bytes and the node's key.
    pub fn new(locator: Locator, random: [u8; 16], key: u64) -> Self {
        let mut bytes = uuid::Builder::from_random_bytes(random).into_uuid().into_bytes();
        let hidden = (u64::from(locator.shard) << 32 | u64::from(locator.slot)) ^ mask(&bytes, key);
        bytes[..LOCATOR_BYTES].copy_from_slice(&hidden.to_be_bytes()[2..]);
        Self(Uuid::from_bytes(bytes))
    }

    /// Where the connection of this id would live if it is one of this node's.
    pub fn locator(&self, key: u64) -> Locator {
        let bytes = self.0.as_bytes();
        let mut hidden = [0; 8];
        hidden[2..].copy_from_slice(&bytes[..LOCATOR_BYTES]);
        let plain = u64::from_be_bytes(hidden) ^ mask(bytes, key);
        Locator { shard: (plain >> 32) as u16, slot: plain as u32 }
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

/// 48 bits derived from the random tail of the id and the key.
fn mask(bytes: &[u8; 16], key: u64) -> u64 {
    let mut tail = [0; 8];
    tail.copy_from_slice(&bytes[8..]);
    let mixed = (u64::from_le_bytes(tail) ^ key).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 16
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
        for (shard, slot) in [(0, 0), (3, 77), (u16::MAX, u32::MAX)] {
            let locator = Locator { shard, slot };
            let id = ConnectionId::new(locator, [0xA7; 16], 42);
            assert_eq!(id.locator(42), locator);
            let text = id.to_string();
            assert_eq!(ConnectionId::parse(&text), Some(id));
            assert_eq!(&text[14..15], "4", "RFC 9562 version nibble");
        }
        assert_eq!(ConnectionId::parse("{00000000-0000-0000-0000-000000000000}"), None);
    }
}
