use smallvec::SmallVec;
use std::num::NonZeroU64;

/// Who a connection is, as its token (or the backend) says. A connection without one is anonymous.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user: at most [`Identity::NAME_BYTES_MAX`] bytes, as all names here; never empty.
    pub user: Option<Box<str>>,
    /// The tenant (an organization is one); never empty.
    pub tenant: Option<Box<str>>,
    /// What the user may be; at most [`Identity::ROLES_MAX`].
    pub roles: SmallVec<[Box<str>; 1]>,
    /// What others may know of the user where a room's presence names users: a JSON object of at most
    /// [`Identity::INFO_BYTES_MAX`] bytes.
    pub info: Option<Box<str>>,
    /// When it ends, Unix time in seconds; `None` where it never does.
    pub expires_unix_s: Option<u64>,
    /// When that was said, Unix time in seconds; 0 where it never ends.
    pub since_unix_s: u64,
    /// What is remembered of the token that said so; `None` where none did.
    pub token: Option<TokenMark>,
}

/// What is remembered of a token: enough to see, when the configuration changes, that it would not be accepted any more,
/// and nothing that could be used as one. Eight bytes, as each connection that is known has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenMark(NonZeroU64);

impl TokenMark {
    /// Marks a token that was signed by the key of this mark, is of the issuer of this one, and ends by itself or not.
    pub fn new(key: u32, issuer: u32, ends: bool) -> Self {
        let word = u64::from(key) << 32 | u64::from(issuer & !1) | u64::from(ends);
        // A key's mark is zero once in four thousand million.
        Self(NonZeroU64::new(word).unwrap_or(NonZeroU64::MIN))
    }

    /// Whether the token was signed by a key of this mark.
    pub const fn is_by(self, key: u32) -> bool {
        (self.0.get() >> 32) as u32 == key
    }

    /// Whether its issuer has this mark.
    pub const fn is_of(self, issuer: u32) -> bool {
        self.0.get() as u32 & !1 == issuer & !1
    }

    /// Whether it said when it ends.
    pub const fn ends(self) -> bool {
        self.0.get() & 1 == 1
    }
}

impl Identity {
    /// Bytes of a user, a tenant or a role: each becomes part of room names, which have as many.
    pub const NAME_BYTES_MAX: usize = 128;

    /// Roles of one identity: more are a mistake in the token, and each costs memory for each connection.
    pub const ROLES_MAX: usize = 32;

    /// Bytes of `info`: a notice names up to 100 users.
    pub const INFO_BYTES_MAX: usize = 512;

    /// What `{user}` or `{tenant}` stands for in the template of a room's name. A user of a tenant stands for itself only
    /// beside its tenant: without, users of the same name in other tenants would share the room.
    pub fn fills(&self, template: &str, name: &str) -> Option<&str> {
        match name {
            "user" if self.tenant.is_none() || template.contains("{tenant}") => self.user.as_deref(),
            "tenant" => self.tenant.as_deref(),
            _ => None,
        }
    }

    /// Whether it has a role, in exactly this spelling.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|own| &**own == role)
    }

    /// Whether `name` can be one of a user, a tenant or a role: not empty, not too long, no control characters.
    pub fn is_name(name: &str) -> bool {
        !name.is_empty() && name.len() <= Self::NAME_BYTES_MAX && !name.chars().any(char::is_control)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_compared_as_it_is_written() {
        let identity = Identity { roles: ["admin".into()].into_iter().collect(), ..Identity::default() };
        assert!(identity.has_role("admin"));
        assert!(!identity.has_role("Admin") && !identity.has_role("adm") && !identity.has_role(""));
    }

    #[test]
    fn a_user_of_a_tenant_fills_no_room_without_it() {
        let user = Identity { user: Some("u".into()), ..Identity::default() };
        let of_tenant = Identity { tenant: Some("t".into()), ..user.clone() };
        for (template, alone, within) in
            [("user:{user}:reports", Some("u"), None), ("tenant:{tenant}:user:{user}", Some("u"), Some("u"))]
        {
            assert_eq!((user.fills(template, "user"), of_tenant.fills(template, "user")), (alone, within));
        }
        assert_eq!(
            (user.fills("{tenant}", "tenant"), of_tenant.fills("{tenant}", "tenant")),
            (None, Some("t"))
        );
        assert_eq!(of_tenant.fills("{id}", "id"), None);
    }

    #[test]
    fn a_mark_tells_what_it_was_made_of_and_costs_eight_bytes() {
        for (key, issuer) in [(0, 0), (1, 1), (u32::MAX, u32::MAX), (7, 0)] {
            let marks = [false, true].map(|ends| TokenMark::new(key, issuer, ends));
            assert!(marks.iter().all(|mark| mark.is_by(key) && mark.is_of(issuer)));
            assert!(marks.iter().all(|mark| !mark.is_by(key ^ 1) && !mark.is_of(issuer ^ 2)));
            // Where all is zero the mark is of one that ends.
            assert!(marks[1].ends() && (!marks[0].ends() || key == 0));
        }
        assert_eq!(size_of::<Option<TokenMark>>(), 8);
        // In an `Arc` it is in the allocator's class of 128 bytes; see tuning.md.
        assert_eq!(size_of::<Identity>() + 2 * size_of::<usize>(), 120);
    }

    #[test]
    fn names_are_short_and_printable() {
        let longest = "é".repeat(Identity::NAME_BYTES_MAX / 2);
        assert!(Identity::is_name(&longest) && Identity::is_name("a b"));
        for name in ["", "a\0", "\n", &format!("{longest}x")] {
            assert!(!Identity::is_name(name), "{name:?}");
        }
    }
}
