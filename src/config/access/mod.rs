//! Rules for access: who may do what in which rooms.

mod actions;
mod presets;
mod written;

pub use actions::{Action, Actions};
pub(super) use written::{parse_rules, parse_rules_of, show_rules};

use crate::base::{Pattern, Segment};

/// Who may do what: rules in their order, and what holds where none speaks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessTable {
    /// The rules; see [`AccessRule`].
    pub rules: Vec<AccessRule>,
    /// What holds for rooms that no rule's pattern matches.
    pub default: AccessDefault,
}

/// What holds for rooms that no rule speaks of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessDefault {
    /// Everybody may do everything there.
    #[default]
    Allow,
    /// Nobody may do anything there.
    Deny,
}

/// Who may do what in the rooms whose names match a pattern, whatever stands for its captures.
///
/// The first rule whose pattern matches a room decides for it, together with those right behind it whose patterns are
/// alike (the same but for captures and `*`): what one of these gives is given, and all else is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRule {
    /// Which rooms; read with [`AccessRule::CAPTURES`]. `{tenant}` and `{user}` stand for one whole segment, which
    /// must be, byte for byte, the tenant or the user of who asks.
    pub pattern: Pattern,
    /// To whom it gives something: one of these is enough. What the captures ask comes on top.
    pub who: Vec<Who>,
    /// What it gives.
    pub allow: Actions,
    /// What who is refused is told; none: the dialect's own words.
    pub text: Option<String>,
}

/// Some who ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// All, those that have not said who they are as well.
    Any,
    /// Those whose user is known.
    User,
    /// Those that belong to no tenant.
    WithoutTenant,
    /// Those with this role, in this spelling.
    Role(String),
}

impl AccessRule {
    /// Whether it takes users of one name in several tenants for one user: it names the user, and neither the tenant
    /// nor those alone that have none.
    pub fn mixes_tenants(&self) -> bool {
        let captures = |name| self.pattern.segments().contains(&Segment::Capture(name));
        captures(Self::USER)
            && !captures(Self::TENANT)
            && self.allow != Actions::NONE
            && self.who.iter().any(|who| *who != Who::WithoutTenant)
    }

    /// Name of the capture of the tenant.
    pub const TENANT: &'static str = "tenant";

    /// Name of the capture of the user.
    pub const USER: &'static str = "user";

    /// The captures that a pattern may have.
    pub const CAPTURES: [&'static str; 2] = [Self::TENANT, Self::USER];
}
