//! What is told of users.

use crate::model::NoCursor;
use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// Users in one page where the request does not say.
pub const USERS_LIMIT_DEFAULT: u32 = 100;

/// Most users in one page.
pub const USERS_LIMIT_MAX: u32 = 1000;

/// One user with a connection. Users of one name in two tenants are two users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UserEntry {
    /// The user.
    pub user: String,
    /// Its tenant, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Its connections on this node.
    pub connections: u64,
}

/// Answer of `/v1/users`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UserList {
    /// The users, in no order; fewer than were asked for, or none, where others were passed over.
    pub users: Vec<UserEntry>,
    /// To be given for the next page; `null` on the last one.
    pub cursor: Option<String>,
}

/// Where a page of users ends and the next begins: `PART`, `PART/USER` or `PART/USER/TENANT`, with `~0` for a `~` and
/// `~1` for a `/` in names (RFC 6901 section 3).
///
/// Users are spread over parts by their names, and stand in each part in the order of their names, those of one name in
/// the order of their tenants. So a user that stays is in one page and only one, whoever comes and goes meanwhile; one
/// that comes meanwhile may be missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsersCursor {
    /// The part that comes next. One that does not exist is the end.
    pub part: u16,
    /// Users of this name and those before it are listed; of this name all, unless `tenant` says which.
    pub user: Option<String>,
    /// Of that name, the user of this tenant and those before it are listed; empty: the one without a tenant.
    pub tenant: Option<String>,
}

impl UsersCursor {
    /// Longest cursor in characters. Those of pages have a number and two names of 128 bytes, each byte escaped at the most.
    pub const CHARS_MAX: usize = 600;

    /// What so many characters have in UTF-8, in bytes.
    pub const BYTES_MAX: usize = 4 * Self::CHARS_MAX;

    /// All users of a part, and of those after it.
    pub const fn part(part: u16) -> Self {
        Self { part, user: None, tenant: None }
    }

    /// Whether the user of that name and tenant stands before it.
    pub fn is_behind(&self, user: &str, tenant: Option<&str>) -> bool {
        self.user.as_deref() == Some(user)
            && self.tenant.as_deref().is_none_or(|listed| tenant.unwrap_or_default() <= listed)
    }
}

impl fmt::Display for UsersCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.part)?;
        let names = self.user.iter().chain(self.tenant.iter().filter(|_| self.user.is_some()));
        names.map(|name| name.replace('~', "~0").replace('/', "~1")).try_for_each(|name| write!(f, "/{name}"))
    }
}

impl FromStr for UsersCursor {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        if text.chars().count() > Self::CHARS_MAX {
            return Err(NoCursor);
        }
        let mut parts = text.split('/');
        let part = parts.next().filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
        let part = part.filter(|part| part.len() < 5 || !part.starts_with('0'));
        let part = part.and_then(|part| part.parse().ok()).ok_or(NoCursor)?;
        let mut name = || parts.next().map(unescaped).transpose();
        let (user, tenant) = (name()?, name()?);
        if user.as_ref().is_some_and(String::is_empty) || parts.next().is_some() {
            return Err(NoCursor);
        }
        Ok(Self { part, user, tenant })
    }
}

/// The name of a cursor, which may be longer than those of users: it is a place among them all the same.
fn unescaped(name: &str) -> Result<String, NoCursor> {
    let is_escape = |rest: &str| rest.starts_with(['0', '1']);
    if name.chars().any(char::is_control) || !name.split('~').skip(1).all(is_escape) {
        return Err(NoCursor);
    }
    Ok(name.replace("~1", "/").replace("~0", "~"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Identity;

    fn cursor(part: u16, user: Option<&str>, tenant: Option<&str>) -> UsersCursor {
        UsersCursor { part, user: user.map(str::to_owned), tenant: tenant.map(str::to_owned) }
    }

    #[test]
    fn cursors_are_read_as_they_are_written() {
        let longest = "~".repeat(Identity::NAME_BYTES_MAX);
        for (written, text) in [
            (UsersCursor::default(), Some("0")),
            (UsersCursor::part(65_535), Some("65535")),
            (cursor(7, Some("ann"), None), Some("7/ann")),
            (cursor(7, Some("ann"), Some("")), Some("7/ann/")),
            (cursor(7, Some("a/~1"), Some("é~/")), Some("7/a~1~01/é~0~1")),
            (cursor(65_535, Some(&longest), Some(&longest)), None),
        ] {
            let told = written.to_string();
            assert!(text.is_none_or(|text| told == text) && told.len() <= UsersCursor::BYTES_MAX, "{told}");
            assert_eq!(told.parse(), Ok(written));
        }
    }

    #[test]
    fn what_is_made_up_is_no_cursor() {
        let long = format!("1/{}", "a".repeat(UsersCursor::CHARS_MAX - 1));
        for wrong in [
            "",
            "/",
            "a",
            "+1",
            "-1",
            " 1",
            "65536",
            "1/",
            "1//",
            "1//t",
            "1/ann/t/",
            "1/ann/t/x",
            "1/a\0b",
            "1/ann/\u{1}",
            "1/a~",
            "1/a~2",
            "1/~~0",
            "/ann",
            "00001",
            &long,
            "1-0-9",
        ] {
            assert_eq!(wrong.parse::<UsersCursor>(), Err(NoCursor), "{wrong:?}");
        }
    }

    #[test]
    fn a_cursor_tells_who_is_listed() {
        let within = cursor(0, Some("ann"), Some("b"));
        for (tenant, behind) in [(None, true), (Some("a"), true), (Some("b"), true), (Some("c"), false)] {
            assert_eq!(within.is_behind("ann", tenant), behind, "{tenant:?}");
            assert!(
                !within.is_behind("bob", tenant) && cursor(0, Some("ann"), None).is_behind("ann", tenant)
            );
        }
        assert!(cursor(0, Some("ann"), Some("")).is_behind("ann", None));
        assert!(!cursor(0, Some("ann"), Some("")).is_behind("ann", Some("a")));
    }
}
