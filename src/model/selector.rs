use super::{ConnectionId, Identity, Publication, RoomName};
use std::borrow::Cow;

/// For whom a publication is: the connections of which all that is stated here holds. Nothing stated: all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector<'a> {
    /// Members of this room; valid by [`RoomName::check`].
    pub room: Option<Cow<'a, str>>,
    /// Connections of this user, of whichever tenant unless that is stated; valid by [`Identity::is_name`].
    pub user: Option<Cow<'a, str>>,
    /// Connections of this tenant; valid by [`Identity::is_name`].
    pub tenant: Option<Cow<'a, str>>,
    /// This connection.
    pub connection: Option<ConnectionId>,
    /// None of these: at most [`Selector::EXCEPT_MAX`]. Ids of nobody are no fault.
    pub except: Vec<ConnectionId>,
}

impl<'a> Selector<'a> {
    /// Connections that can be excepted: each is looked for on every shard that has receivers.
    pub const EXCEPT_MAX: usize = 1000;

    /// Every connection of the node.
    pub const fn all() -> Self {
        Self { room: None, user: None, tenant: None, connection: None, except: Vec::new() }
    }

    /// The members of a room.
    pub fn room(name: impl Into<Cow<'a, str>>) -> Self {
        Self { room: Some(name.into()), ..Self::all() }
    }

    /// The connections of a user.
    pub fn user(name: impl Into<Cow<'a, str>>) -> Self {
        Self { user: Some(name.into()), ..Self::all() }
    }

    /// The connections of a tenant.
    pub fn tenant(name: impl Into<Cow<'a, str>>) -> Self {
        Self { tenant: Some(name.into()), ..Self::all() }
    }

    /// One connection.
    pub fn connection(id: ConnectionId) -> Self {
        Self { connection: Some(id), ..Self::all() }
    }

    /// The same without these connections.
    pub fn except(self, ids: impl IntoIterator<Item = ConnectionId>) -> Self {
        Self { except: ids.into_iter().collect(), ..self }
    }

    /// Whether it states nothing but, perhaps, who is excepted.
    pub fn is_all(&self) -> bool {
        self.room.is_none() && self.user.is_none() && self.tenant.is_none() && self.connection.is_none()
    }

    /// Whether it is all that one name stands for: a room, a user, a tenant, or all.
    pub fn is_plain(&self) -> bool {
        let stated = [&self.room, &self.user, &self.tenant].into_iter().flatten().count();
        stated <= 1 && self.connection.is_none() && self.except.is_empty()
    }

    /// Memory that it stands for when it owns its names, in bytes.
    pub fn len_bytes(&self) -> usize {
        let names: usize =
            [&self.room, &self.user, &self.tenant].into_iter().flatten().map(|name| name.len()).sum();
        size_of::<Self>() + names + self.except.len() * size_of::<ConnectionId>()
    }

    /// Whether it states a user without its tenant. Where there are tenants, that may be several users.
    pub fn is_ambiguous(&self) -> bool {
        self.user.is_some() && self.tenant.is_none()
    }

    /// What is said of one that is ambiguous where there are tenants.
    pub const AMBIGUOUS: &'static str = "user needs tenant beside it: tenants are configured, and users of one name in two tenants are two users";

    /// What is wrong with its names or its number of ids.
    ///
    /// # Errors
    /// For people, naming the field.
    pub fn check(&self) -> Result<(), String> {
        if let Some(room) = &self.room {
            RoomName::check(room).map_err(|error| error.to_string())?;
        }
        for (field, name) in [("user", &self.user), ("tenant", &self.tenant)] {
            if name.as_ref().is_some_and(|name| !Identity::is_name(name)) {
                let most = Identity::NAME_BYTES_MAX;
                return Err(format!("{field} must have 1 to {most} bytes and no control characters"));
            }
        }
        if self.except.len() > Self::EXCEPT_MAX {
            return Err(format!("except may hold at most {} connection ids", Self::EXCEPT_MAX));
        }
        Ok(())
    }

    /// The same, owning its names.
    pub fn into_owned(self) -> Selector<'static> {
        let own = |name: Option<Cow<'a, str>>| name.map(|name| Cow::Owned(name.into_owned()));
        let Self { room, user, tenant, connection, except } = self;
        Selector { room: own(room), user: own(user), tenant: own(tenant), connection, except }
    }
}

/// What a backend publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draft<'a> {
    /// Type name, 1 to 255 bytes without control characters.
    pub event: &'a str,
    /// One valid JSON value.
    pub data: Option<&'a str>,
    /// See [`super::Publication::whole`].
    pub whole: Option<&'a str>,
}

impl<'a> Draft<'a> {
    /// An event with data.
    pub const fn new(event: &'a str, data: Option<&'a str>) -> Self {
        Self { event, data, whole: None }
    }

    /// It as the publication of no connection, accepted at `unix_ms`.
    pub fn publication<'p>(&self, to: &'p Selector<'_>, unix_ms: u64) -> Publication<'p>
    where
        'a: 'p,
    {
        let Self { event, data, whole } = *self;
        Publication { event, room: to.room.as_deref(), data, whole, sender: None, unix_ms, offset: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        let long = "x".repeat(Identity::NAME_BYTES_MAX + 1);
        for (selector, word) in [
            (Selector::room(""), "room"),
            (Selector::room("a\0"), "control"),
            (Selector::user(""), "user"),
            (Selector::user("\u{1}"), "user"),
            (Selector::tenant(long.as_str()), "tenant"),
            (Selector { tenant: Some("".into()), ..Selector::user("u") }, "tenant"),
        ] {
            assert!(selector.check().is_err_and(|text| text.contains(word)), "{selector:?}");
        }
        let id = ConnectionId::parse("6f9619ff-8b86-4011-b42d-00cf4fc964ff").unwrap();
        let most = Selector::all().except([id; Selector::EXCEPT_MAX]);
        assert_eq!(most.check(), Ok(()));
        assert!(Selector { except: [most.except, vec![id]].concat(), ..Selector::all() }.check().is_err());
    }

    #[test]
    fn nothing_stated_is_all() {
        assert!(Selector::all().is_all() && Selector::default().is_all());
        assert!(!Selector::room("r").is_all() && !Selector::user("u").is_all());
        assert_eq!(Selector::tenant("t").into_owned(), Selector::tenant("t"));
    }
}
