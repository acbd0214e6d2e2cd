//! Who may do what in which room: the rules of the configuration, made ready to be asked for every act.
//!
//! All is compared byte for byte: nothing is folded or normalised, so a name that only looks like another one is
//! another one. A capture is one whole segment, between colons, that must be the name of who asks:
//! - `tenant:a1` never fits `tenant:a12`, and `user:1:` is user 1's, never user 10's;
//! - a tenant or user whose name has a colon in it fits no capture, as the name would span segments;
//! - a segment of no bytes fits no capture, even if a name were empty; but the room is still of the rule's shape, so
//!   it is refused, and not left to what holds for other names;
//! - `*`, `**` and `{tenant}` have a meaning in rules alone. In a room's name and in a tenant's they are letters like
//!   any others.

#[cfg(test)]
mod tests;
mod tree;

use crate::base::Segment;
use crate::config::{AccessDefault, AccessRule, AccessTable, Action, Actions, Who};
use crate::model::Identity;
use tree::{Tree, head};

/// Rules in the form in which they are asked.
///
/// A check costs a walk down a tree by the segments of the name, as far as rules go, and a comparison with those that
/// decide together. It allocates nothing.
#[derive(Debug)]
pub struct Access {
    tree: Tree,
    rules: Box<[Rule]>,
    default: AccessDefault,
}

/// Which rules of one [`Access`] speak of a room: the number of the first of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found(pub u32);

impl Found {
    /// None of them.
    const NOTHING: Self = Self(tree::NONE);
}

/// An act that the rules do not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused<'a> {
    /// What the rule says is to be told; `None`: the dialect has words for it.
    pub text: Option<&'a str>,
}

#[derive(Debug)]
struct Rule {
    /// Segments that are not text, by their places, in order. The tree has compared the text.
    names: Box<[(usize, Name)]>,
    /// Whether it decides together with the rule before.
    together: bool,
    who: Box<[Who]>,
    allow: Actions,
    text: Option<Box<str>>,
}

/// What stands for text in a pattern.
#[derive(Debug)]
enum Name {
    /// `*`.
    Any,
    Tenant,
    User,
    /// Of a capture that there is none of: no configuration has it.
    Nobodys,
}

impl Access {
    /// Makes a table ready.
    pub fn new(table: &AccessTable) -> Self {
        let patterns = table.rules.iter().map(|rule| &rule.pattern);
        let before = std::iter::once(None).chain(patterns.clone().map(Some));
        let rules = table.rules.iter().zip(before).map(|(rule, before)| {
            let together = before.is_some_and(|before| before.is_alike(&rule.pattern));
            Rule::new(rule, together)
        });
        Self { tree: Tree::new(patterns), rules: rules.collect(), default: table.default }
    }

    /// Which rules speak of a room. This is the dearer half of a check, and depends on the room's name alone.
    pub fn find(&self, room: &str) -> Found {
        Found(self.tree.first(room))
    }

    /// Whether who asks may do this in a room. The answer does not depend on whether there is such a room.
    ///
    /// # Errors
    /// If not; with what the rule says about it.
    #[inline]
    pub fn check(&self, identity: Option<&Identity>, room: &str, action: Action) -> Result<(), Refused<'_>> {
        self.check_found(self.find(room), identity, room, action)
    }

    /// The same, where it has been found out which rules speak of the room.
    ///
    /// # Errors
    /// As [`Access::check`].
    #[inline]
    pub fn check_found(
        &self,
        found: Found,
        identity: Option<&Identity>,
        room: &str,
        action: Action,
    ) -> Result<(), Refused<'_>> {
        if found == Found::NOTHING && self.default == AccessDefault::Allow {
            return Ok(());
        }
        self.ask(found, identity, room, action)
    }

    fn ask(
        &self,
        Found(first): Found,
        identity: Option<&Identity>,
        room: &str,
        action: Action,
    ) -> Result<(), Refused<'_>> {
        let Some((first, others)) = self.rules.get(first as usize..).and_then(<[_]>::split_first) else {
            return match self.default {
                AccessDefault::Allow => Ok(()),
                AccessDefault::Deny => Err(Refused { text: None }),
            };
        };
        let mut text = None;
        for rule in std::iter::once(first).chain(others.iter().take_while(|rule| rule.together)) {
            let Some(own) = rule.owns(identity, room) else { continue };
            if own && rule.allow.has(action) && rule.is_for(identity) {
                return Ok(());
            }
            text = text.or(rule.text.as_deref());
        }
        Err(Refused { text })
    }
}

impl Rule {
    fn new(rule: &AccessRule, together: bool) -> Self {
        let name = |(index, segment): (usize, &Segment)| match segment {
            Segment::Text(_) | Segment::Rest => None,
            Segment::One => Some((index, Name::Any)),
            Segment::Capture(AccessRule::TENANT) => Some((index, Name::Tenant)),
            Segment::Capture(AccessRule::USER) => Some((index, Name::User)),
            Segment::Capture(_) => Some((index, Name::Nobodys)),
        };
        Self {
            names: rule.pattern.segments().iter().enumerate().filter_map(name).collect(),
            together,
            who: rule.who.clone().into(),
            allow: rule.allow,
            text: rule.text.as_deref().map(Box::from),
        }
    }

    /// Whether who asks has the names that stand for the captures in a room of this rule's pattern, or of one that
    /// is alike. `None` if a segment that must not be empty is.
    fn owns(&self, identity: Option<&Identity>, room: &str) -> Option<bool> {
        let mut own = true;
        let (mut segment, mut rest) = ("", Some(room));
        let mut passed = 0;
        for (index, name) in &self.names {
            while passed <= *index {
                (segment, rest) = head(rest?);
                passed += 1;
            }
            let own_name = match name {
                Name::Any if segment.is_empty() => return None,
                Name::Any => continue,
                Name::Tenant => identity.and_then(|identity| identity.tenant.as_deref()),
                Name::User => identity.and_then(|identity| identity.user.as_deref()),
                Name::Nobodys => None,
            };
            own &= !segment.is_empty() && own_name == Some(segment);
        }
        Some(own)
    }

    fn is_for(&self, identity: Option<&Identity>) -> bool {
        self.who.iter().any(|who| match who {
            Who::Any => true,
            Who::User => identity.is_some_and(|identity| identity.user.is_some()),
            Who::WithoutTenant => identity.is_none_or(|identity| identity.tenant.is_none()),
            Who::Role(role) => identity.is_some_and(|identity| identity.has_role(role)),
        })
    }
}
