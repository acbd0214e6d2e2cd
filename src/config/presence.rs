//! How a rule has the members of a room named to each other.

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Whether and how a room names its members to each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PresenceMode {
    /// No member learns of the others.
    #[default]
    Off,
    /// By the ids of their connections.
    Ids,
    /// Each connection by its id, its user, and the claims of `presence_claims`.
    Connections,
    /// Each user once, however many connections they have, with the claims of `presence_claims`; an anonymous client by
    /// the id of its connection.
    Users,
}

impl PresenceMode {
    /// The modes that have a name, and their names in a rule.
    const NAMED: [(Self, &str); 3] =
        [(Self::Ids, "ids"), (Self::Connections, "connections"), (Self::Users, "users")];

    /// Whether members learn of each other at all.
    pub fn is_on(self) -> bool {
        self != Self::Off
    }

    /// Whether they do not.
    pub fn is_off(&self) -> bool {
        !self.is_on()
    }
}

/// As [`PresenceMode::deserialize`] reads it.
impl Serialize for PresenceMode {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match Self::NAMED.iter().find(|(mode, _)| mode == self) {
            Some((Self::Ids, _)) => to.serialize_bool(true),
            Some((_, name)) => to.serialize_str(name),
            None => to.serialize_bool(false),
        }
    }
}

/// `true` and `ids` are the same.
impl<'de> Deserialize<'de> for PresenceMode {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Mode)
    }
}

struct Mode;

impl Visitor<'_> for Mode {
    type Value = PresenceMode;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("presence: true, false, ids, connections or users")
    }

    fn visit_bool<E: Error>(self, is_on: bool) -> Result<PresenceMode, E> {
        Ok(if is_on { PresenceMode::Ids } else { PresenceMode::Off })
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<PresenceMode, E> {
        let mode = PresenceMode::NAMED.iter().find(|(_, known)| *known == name);
        mode.map(|(mode, _)| *mode).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(name), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read_as_they_are_written() {
        for (mode, text) in [
            (PresenceMode::Off, "false"),
            (PresenceMode::Ids, "true"),
            (PresenceMode::Connections, "\"connections\""),
            (PresenceMode::Users, "\"users\""),
        ] {
            assert_eq!(serde_json::to_string(&mode).unwrap(), text);
            assert_eq!(serde_json::from_str::<PresenceMode>(text).unwrap(), mode);
        }
        assert_eq!(serde_json::from_str::<PresenceMode>("\"ids\"").unwrap(), PresenceMode::Ids);
        let error = serde_json::from_str::<PresenceMode>("\"all\"").unwrap_err().to_string();
        assert!(error.contains("expected presence: true, false, ids, connections or users"), "{error}");
    }
}
