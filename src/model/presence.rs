//! How the members of a room are named to others.

use super::{ConnectionId, Identity};
use std::sync::Arc;

/// One member, or one user with all their connections, as others may see them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The connection; `None` where a user is named once for all their connections.
    pub client_id: Option<ConnectionId>,
    /// Who it is; `None`: an anonymous client.
    pub identity: Option<Arc<Identity>>,
}

impl Person {
    /// Bytes of its JSON, roughly: names and information count as they are, keys and punctuation at most 100.
    pub fn weight(&self) -> usize {
        let identity = self.identity.as_deref();
        let names = identity
            .into_iter()
            .flat_map(|it| [it.user.as_deref(), it.tenant.as_deref(), it.info.as_deref()])
            .flatten();
        100 + names.map(|name| name.len()).sum::<usize>()
    }
}

/// Some members of a room, in the form that its rule asks for.
#[derive(Debug, Clone, Copy)]
pub enum NamedMembers<'a> {
    /// Ids of connections.
    Ids(&'a [ConnectionId]),
    /// Connections, or users, with what others may know of them.
    People(&'a [Person]),
}

impl NamedMembers<'_> {
    /// How many are named.
    pub fn len(&self) -> usize {
        match self {
            Self::Ids(ids) => ids.len(),
            Self::People(people) => people.len(),
        }
    }

    /// Whether none is named.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Members that joined or left: some by name, and how many there are.
#[derive(Debug, Clone, Copy)]
pub struct Changed<'a> {
    /// Some of them.
    pub named: NamedMembers<'a>,
    /// All of them, counted.
    pub count: u32,
}

/// What a count of a room's members counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountOf {
    /// Connections.
    Connections,
    /// Users, each once however many connections they have; an anonymous connection counts as a user of its own.
    Users,
}
