use super::Hub;
use crate::base::{json_field, json_text};
use crate::config::{Overflow, RoomPolicy};
use std::hash::BuildHasher;
use std::num::NonZeroU64;

/// Whether one publication may be lost to a member that does not keep up, by its room's [`Overflow`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Never: a member without place for it is closed.
    Never,
    /// Never, and it is no publication to the room but a notice to the members, or for some of them alone, or for a user
    /// or a tenant: what a member has asked for as to publications (a pace, a filter) does not hold for it.
    Notice,
    /// When there is no place, and it is the oldest.
    Oldest,
    /// As `Oldest`, and as soon as there is a newer one of this key.
    ///
    /// The key is a hash of 64 bits of the field's value. Two values that share a hash conflate each other, which
    /// the member is told of as of any loss. Among 10,000 values that wait for one member the odds of that are one in
    /// 10^11, and nobody can improve them, as the hash is keyed at random by each node.
    ByKey(NonZeroU64),
}

impl Loss {
    /// Whether a member may lose it.
    #[inline]
    pub const fn may_be(self) -> bool {
        matches!(self, Self::Oldest | Self::ByKey(_))
    }

    /// The key by which a newer publication of the same room makes it worthless to one who wants the newest alone.
    pub fn key(self) -> NonZeroU64 {
        if let Self::ByKey(key) = self { key } else { THE_ONE_KEY }
    }
}

/// The key of all publications of a room that conflates without a field.
const THE_ONE_KEY: NonZeroU64 = NonZeroU64::MIN;

impl Hub {
    /// What may become of a publication of `data` to a room with that policy. One that lacks the room's key field is
    /// like no other, and so is never conflated.
    #[inline]
    pub fn loss(&self, policy: &RoomPolicy, data: Option<&str>) -> Loss {
        match &policy.overflow {
            Overflow::Disconnect => Loss::Never,
            Overflow::DropOldest => Loss::Oldest,
            Overflow::Conflate { key: None } => Loss::ByKey(THE_ONE_KEY),
            Overflow::Conflate { key: Some(name) } => {
                let value = data.and_then(|data| json_field(data, name));
                value.map_or(Loss::Oldest, |value| Loss::ByKey(self.key_of(value)))
            }
        }
    }

    /// Strings are the same by what they stand for, all else as it is written.
    fn key_of(&self, value: &str) -> NonZeroU64 {
        let text = json_text(value);
        let hash = self.key_hash.hash_one((text.is_some(), text.as_deref().unwrap_or(value)));
        NonZeroU64::new(hash).unwrap_or(NonZeroU64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_values_of_the_field() {
        let hub = Hub::new(1, 0, &[]);
        let overflow = Overflow::Conflate { key: Some("k".to_owned()) };
        let policy = RoomPolicy { overflow, ..RoomPolicy::default() };
        let loss = |data: &str| hub.loss(&policy, Some(data));
        assert_eq!(loss(r#"{"k":"a","v":1}"#), loss(r#"{"v":2, "k": "\u0061"}"#));
        let different = [r#"{"k":"1"}"#, r#"{"k":1}"#, r#"{"k":"a"}"#, r#"{"k":null}"#, r#"{"k":[1]}"#];
        for (at, one) in different.into_iter().enumerate() {
            assert!(matches!(loss(one), Loss::ByKey(_)));
            assert!(different[..at].iter().all(|other| loss(other) != loss(one)), "{one}");
        }
        assert_eq!((loss("[]"), hub.loss(&policy, None)), (Loss::Oldest, Loss::Oldest));
    }

    #[test]
    fn other_policies_look_at_no_data() {
        let hub = Hub::new(1, 0, &[]);
        let loss = |overflow| hub.loss(&RoomPolicy { overflow, ..RoomPolicy::default() }, Some("1"));
        assert_eq!(loss(Overflow::Disconnect), Loss::Never);
        assert_eq!(loss(Overflow::DropOldest), Loss::Oldest);
        assert_eq!(loss(Overflow::Conflate { key: None }), Loss::ByKey(THE_ONE_KEY));
    }
}
