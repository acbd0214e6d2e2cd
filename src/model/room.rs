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

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
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
}
