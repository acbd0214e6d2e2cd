//! Who connections are, what the rules allow them, and what users and tenants have together.

pub(super) mod access;
pub(super) mod accounts;
pub(super) mod audience;
pub(super) mod identity;
pub(super) mod users;

use crate::config::Config;
use access::Gate;
use accounts::Holdings;
use audience::Audiences;

/// What a shard knows of its connections' identities and rights beside the connections themselves.
pub(super) struct Policy {
    /// The rules for access and the keys of tokens.
    pub gate: Gate,
    /// The audiences of users and tenants.
    pub audiences: Audiences,
    /// What connections have in the accounts of their users and tenants.
    pub holdings: Holdings,
}

impl Policy {
    /// Of a shard without connections.
    pub fn new(config: &Config) -> Self {
        Self { gate: Gate::new(config), audiences: Audiences::default(), holdings: Holdings::default() }
    }
}
