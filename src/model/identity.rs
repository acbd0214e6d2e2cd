use smallvec::SmallVec;

/// Who a connection is, as its token (or the backend) says. A connection without one is anonymous.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user: at most [`Identity::NAME_BYTES_MAX`] bytes, as all names here; never empty.
    pub user: Option<Box<str>>,
    /// The tenant (an organization is one); never empty.
    pub tenant: Option<Box<str>>,
    /// What the user may be; at most [`Identity::ROLES_MAX`].
    pub roles: SmallVec<[Box<str>; 1]>,
    /// When it ends, Unix time in seconds; `None` where it never does.
    pub expires_unix_s: Option<u64>,
    /// When that was said, Unix time in seconds; 0 where it never ends.
    pub since_unix_s: u64,
}

impl Identity {
    /// Bytes of a user, a tenant or a role: each becomes part of room names, which have as many.
    pub const NAME_BYTES_MAX: usize = 128;

    /// Roles of one identity: more are a mistake in the token, and each costs memory for each connection.
    pub const ROLES_MAX: usize = 32;

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
    fn names_are_short_and_printable() {
        let longest = "é".repeat(Identity::NAME_BYTES_MAX / 2);
        assert!(Identity::is_name(&longest) && Identity::is_name("a b"));
        for name in ["", "a\0", "\n", &format!("{longest}x")] {
            assert!(!Identity::is_name(name), "{name:?}");
        }
    }
}
