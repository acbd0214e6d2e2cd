use std::fmt;
use std::str::FromStr;

/// Where a page of a room's members ends and the next begins: `SHARD-ENCODING-PLACE`.
///
/// Each shard keeps a list of its members for each encoding (dialect and compression), to whose end who joins is added, and in which the last
/// one takes the place of one that leaves. Pages go through it from its end to its beginning, so each member that
/// stays is listed at least once, whoever comes and goes meanwhile; one may be listed twice where others leave, and
/// who joins meanwhile may be missing. A page costs what it lists, not what the room holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MembersCursor {
    /// The shard whose members come next.
    pub shard: u16,
    /// The first of that shard's lists to look at, by the index of its encoding.
    pub encoding: u8,
    /// The members in that list before this place are not listed yet.
    pub before: u32,
}

/// What was given is no cursor of a page of members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cursor must be that of the page before")]
pub struct NoCursor;

impl MembersCursor {
    /// The first page.
    pub const START: Self = Self::shard(0);

    /// All members of a shard, and of those after it.
    pub const fn shard(shard: u16) -> Self {
        Self { shard, encoding: 0, before: u32::MAX }
    }
}

impl fmt::Display for MembersCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.shard, self.encoding, self.before)
    }
}

impl FromStr for MembersCursor {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let mut parts = text.split('-');
        let mut part = || parts.next().filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
        let cursor = || -> Option<Self> {
            let (shard, encoding, before) = (part()?.parse(), part()?.parse(), part()?.parse());
            Some(Self { shard: shard.ok()?, encoding: encoding.ok()?, before: before.ok()? })
        }();
        cursor.filter(|_| parts.next().is_none()).ok_or(NoCursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_read_as_they_are_written() {
        for cursor in [MembersCursor::START, MembersCursor { shard: 65_535, encoding: 4, before: 17 }] {
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for wrong in [
            "",
            "-",
            "--",
            "1",
            "1-2",
            "1-2-",
            "1-2-3-",
            "1-2-3-4",
            "+1-2-3",
            "1-256-3",
            "65536-0-0",
            "a-0-0",
        ] {
            assert_eq!(wrong.parse::<MembersCursor>(), Err(NoCursor), "{wrong}");
        }
    }
}
