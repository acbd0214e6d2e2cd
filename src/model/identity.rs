use smallvec::SmallVec;
use std::num::NonZeroU64;
use std::ops::Deref;

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
    pub info: Option<Info>,
    /// For how long; `None` where it never ends.
    pub life: Option<Life>,
    /// What is remembered of the token that said so; `None` where none did.
    pub token: Option<TokenMark>,
}

/// See [`Identity::info`]. Behind one thin pointer, as most identities have none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info(Box<Box<str>>);

impl From<Box<str>> for Info {
    fn from(text: Box<str>) -> Self {
        Self(Box::new(text))
    }
}

impl From<&str> for Info {
    fn from(text: &str) -> Self {
        Box::<str>::from(text).into()
    }
}

impl Deref for Info {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// When an identity ends, and how long that was after it was said. Eight bytes, as each connection that is known has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life(NonZeroU64);

/// Bits of a [`Life`] that hold its length; the others hold its end.
const LENGTH_BITS: u32 = 24;

impl Life {
    /// The latest end that is kept, Unix time in seconds: in the year 36812.
    pub const END_MAX_UNIX_S: u64 = u64::MAX >> LENGTH_BITS;

    /// The greatest length that is kept, in seconds: 194 days, more than twice the longest `jwt_expiry_warning`.
    pub const LENGTH_MAX_S: u64 = (1 << LENGTH_BITS) - 1;

    /// From `since_unix_s` to `ends_unix_s`, Unix times in seconds; a later end, or a greater length, is kept as the most
    /// that there is, an end of 0 as 1.
    pub fn new(since_unix_s: u64, ends_unix_s: u64) -> Self {
        let length_s = ends_unix_s.saturating_sub(since_unix_s).min(Self::LENGTH_MAX_S);
        let ends_unix_s = ends_unix_s.clamp(1, Self::END_MAX_UNIX_S);
        Self(NonZeroU64::new(ends_unix_s << LENGTH_BITS | length_s).unwrap_or(NonZeroU64::MAX))
    }

    /// Its end, Unix time in seconds.
    pub const fn ends_unix_s(self) -> u64 {
        self.0.get() >> LENGTH_BITS
    }

    /// How long it was when it was said, in seconds.
    pub const fn length_s(self) -> u64 {
        self.0.get() & Self::LENGTH_MAX_S
    }
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

    /// When it ends, Unix time in seconds; `None` where it never does.
    pub fn ends_unix_s(&self) -> Option<u64> {
        self.life.map(Life::ends_unix_s)
    }

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
    }

    #[test]
    fn a_life_tells_its_end_and_its_length_and_costs_eight_bytes() {
        let (end_max, length_max) = (Life::END_MAX_UNIX_S, Life::LENGTH_MAX_S);
        for (since, ends, kept, length) in [
            (100, 160, 160, 60),
            (0, 1, 1, 1),
            (0, 0, 1, 0),
            (9, 7, 7, 0),
            (end_max - 9, end_max, end_max, 9),
            (1_800_000_000, 1_800_000_000 + length_max, 1_800_000_000 + length_max, length_max),
            (1_800_000_000, 1_800_000_001 + length_max, 1_800_000_001 + length_max, length_max),
            (0, u64::MAX, end_max, length_max),
            (u64::MAX, u64::MAX, end_max, 0),
        ] {
            let life = Life::new(since, ends);
            assert_eq!((life.ends_unix_s(), life.length_s()), (kept, length), "{since} to {ends}");
        }
        assert_eq!(size_of::<Option<Life>>(), 8);
    }

    #[test]
    fn an_identity_fits_a_class_of_the_allocator() {
        // In an `Arc` it fills the class of 96 bytes; see tuning.md.
        assert_eq!(size_of::<Identity>() + 2 * size_of::<usize>(), 96);
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
