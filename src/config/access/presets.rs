//! The rules that each preset begins with.

use super::{AccessDefault, AccessRule, AccessTable, parse_rules};

/// What is a tenant's, a user's or the administrators' own by its name; and what is kept of reports and shown to others
/// without a sender, which only the server says. A user of a tenant is another one than a user of that name elsewhere, so
/// rooms of its own are below the tenant's.
const PROTECTED: &str = r#"[
    {"room": "tenant:{tenant}:user:{user}"},
    {"room": "tenant:{tenant}:user:{user}:**"},
    {"room": "tenant:{tenant}"},
    {"room": "tenant:{tenant}:**"},
    {"room": "user:{user}", "who": "without_tenant"},
    {"room": "user:{user}:**", "who": "without_tenant"},
    {"room": "notifications:{tenant}:{user}"},
    {"room": "notifications:{tenant}:{user}:**"},
    {"room": "admin:**", "who": "role:admin"},
    {"room": "reports:progress:**", "who": "any", "deny": "publish"},
    {"room": "reports:data:**", "who": "any", "deny": "publish"}
]"#;

/// With the words of the `topics` document. Its greeting offers `user:alerts` to all, so that is no user's own room;
/// and only the server says where a report stands and what a stream has shown, as that is kept and shown to others
/// without a sender.
const TOPICS: &str = r#"[
    {"room": "user:alerts", "who": "user", "deny": "publish", "text": "Authentication required for user channels"},
    {"room": "user:{user}", "who": "without_tenant", "text": "Authentication required for user channels"},
    {"room": "user:{user}:**", "who": "without_tenant", "text": "Authentication required for user channels"},
    {"room": "tenant:{tenant}:user:{user}"},
    {"room": "tenant:{tenant}:user:{user}:**"},
    {"room": "admin:**", "who": "role:admin", "text": "Insufficient permissions for admin channels"},
    {"room": "reports:progress:**", "who": "any", "deny": "publish"},
    {"room": "reports:data:**", "who": "any", "deny": "publish"}
]"#;

/// `canAccessChannel` of the `tenants` document, with the tenant compared as a whole segment, and the rooms of its
/// `subscribe_notifications`, to which only the server publishes.
const TENANTS: &str = r#"[
    {"room": "tenant:{tenant}"},
    {"room": "tenant:{tenant}:**"},
    {"room": "public:**", "who": "any"},
    {"room": "notifications:{tenant}:{user}:**", "deny": ["publish"]}
]"#;

impl AccessTable {
    /// No rules, and everything open: the presets `rooms` and `channels`, whose documents know no access rules.
    pub fn open() -> Self {
        Self::default()
    }

    /// Without a preset: what is a tenant's, a user's or the administrators' own by its name is theirs, and all
    /// other names are open.
    pub fn protected() -> Self {
        Self { rules: rules(PROTECTED), default: AccessDefault::Allow }
    }

    /// The preset `topics`.
    pub fn topics() -> Self {
        Self { rules: rules(TOPICS), default: AccessDefault::Allow }
    }

    /// The preset `tenants`: what is not given is refused.
    pub fn tenants() -> Self {
        Self { rules: rules(TENANTS), default: AccessDefault::Deny }
    }
}

fn rules(text: &str) -> Vec<AccessRule> {
    parse_rules(text).expect("the rules above are rules, as a test shows")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::access::show_rules;

    #[test]
    fn every_preset_has_rules_that_can_be_written_in_a_file() {
        for (table, count) in [
            (AccessTable::open(), 0),
            (AccessTable::protected(), 11),
            (AccessTable::topics(), 8),
            (AccessTable::tenants(), 4),
        ] {
            assert_eq!(table.rules.len(), count);
            assert_eq!(parse_rules(&show_rules(&table.rules)).unwrap(), table.rules);
            assert!(!table.rules.iter().any(AccessRule::mixes_tenants));
        }
    }
}
