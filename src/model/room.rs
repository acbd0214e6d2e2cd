use std::fmt;
use std::sync::Arc;

/// The name of a room: 1 to 255 bytes of UTF-8 without control characters.
///
/// Cheap to clone; every holder on the node shares one allocation per shard.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomName(Arc<str>);

/// Why a string is no room name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RoomNameError {
    /// The name is empty.
    #[error("room name is required")]
    Empty,
    /// The name is longer than [`RoomName::BYTES_MAX`].
    #[error("room name is longer than 255 bytes")]
    TooLong,
    /// The name contains a control character (Unicode category Cc, which includes NUL).
    #[error("room name contains a control character")]
    ControlCharacter,
}

impl RoomName {
    /// Longest name in bytes: a name fits one length byte in every binary protocol we may add.
    pub const BYTES_MAX: usize = 255;

    /// Checks a name without allocating.
    pub fn check(name: &str) -> Result<(), RoomNameError> {
        if name.is_empty() {
            return Err(RoomNameError::Empty);
        }
        if name.len() > Self::BYTES_MAX {
            return Err(RoomNameError::TooLong);
        }
        if name.chars().any(char::is_control) {
            return Err(RoomNameError::ControlCharacter);
        }
        Ok(())
    }

    /// Makes a name, or says why it is none.
    pub fn new(name: &str) -> Result<Self, RoomNameError> {
        Self::check(name).map(|()| Self(Arc::from(name)))
    }

    /// The name of a room that is one, or of the room of an audience.
    pub(crate) fn known(name: &str) -> Self {
        debug_assert!(Audience::is_name(name) || Self::check(name).is_ok(), "{name:?}");
        Self(Arc::from(name))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Connections that are reached together without being asked to join: those of a user or of a tenant.
///
/// Each is a room of its own, which no client can name because its name begins with a control character. It
/// obeys no rule, counts for no limit, and is in no list or count of rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Audience {
    /// Those of a user, of whichever tenant.
    User = 1,
    /// Those of a tenant.
    Tenant = 2,
}

impl Audience {
    /// Both.
    pub const ALL: [Self; 2] = [Self::User, Self::Tenant];

    /// Its place in [`Audience::ALL`].
    pub const fn index(self) -> usize {
        self as usize - 1
    }

    /// The name of the room of the audience of `name`; that is valid by [`super::Identity::is_name`].
    pub fn room(self, name: &str) -> String {
        let mut room = String::with_capacity(1 + name.len());
        room.push(char::from(self as u8));
        room.push_str(name);
        room
    }

    /// Whose room this is, if it is one of this kind.
    pub fn name_of(self, room: &str) -> Option<&str> {
        room.strip_prefix(char::from(self as u8))
    }

    /// Whether this is the name of an audience's room.
    pub fn is_name(room: &str) -> bool {
        room.starts_with(['\u{1}', '\u{2}'])
    }
}

impl std::borrow::Borrow<str> for RoomName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded() {
        assert_eq!(RoomName::check(""), Err(RoomNameError::Empty));
        assert_eq!(RoomName::check(&"é".repeat(127)), Ok(()));
        assert_eq!(RoomName::check(&"é".repeat(128)), Err(RoomNameError::TooLong));
        assert_eq!(RoomName::check("a\0b"), Err(RoomNameError::ControlCharacter));
        assert_eq!(RoomName::check("a\u{85}b"), Err(RoomNameError::ControlCharacter));
        assert_eq!(RoomName::new("chat").unwrap().as_str(), "chat");
    }

    #[test]
    fn no_client_can_name_an_audience() {
        for audience in Audience::ALL {
            let room = audience.room("a");
            assert!(Audience::is_name(&room));
            assert_eq!(RoomName::check(&room), Err(RoomNameError::ControlCharacter));
            assert!(RoomName::known(&room).as_str().ends_with('a'));
        }
        assert_ne!(Audience::User.room("a"), Audience::Tenant.room("a"));
        assert!(!Audience::is_name("user:a") && !Audience::is_name(""));
    }
}
