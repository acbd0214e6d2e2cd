//! What a configuration may say and probably nobody means.

use super::settings::Config;

impl Config {
    /// What is valid, and still worth a look, in words for people: at the start, at a reload and by `check-config`.
    pub fn warnings(&self) -> Vec<String> {
        let mut told = Vec::new();
        self.warn_of_mixed_tenants(&mut told);
        told
    }

    /// Users of one name in two tenants are two users, which what names the user alone does not see.
    fn warn_of_mixed_tenants(&self, told: &mut Vec<String>) {
        if !self.tokens.has_keys() || self.tokens.tenant_claims.is_empty() {
            return;
        }
        for rule in self.access.rules.iter().filter(|rule| rule.mixes_tenants()) {
            told.push(format!(
                "access_rules: the rule for {} takes users of one name in two tenants for one: add {{tenant}} to its room, or \
                 who: without_tenant",
                rule.pattern
            ));
        }
        for endpoint in &self.endpoints {
            let names = |room: &str, name: &str| room.contains(name);
            let of_tenant = |room: &&String| names(room, "{user}") && names(room, "{tenant}");
            if endpoint.rooms.iter().any(|room| of_tenant(&room)) {
                continue;
            }
            for room in endpoint.rooms.iter().filter(|room| names(room, "{user}")) {
                told.push(format!(
                    "endpoints: the room {room} of {} names users without their tenant, so that clients of a tenant are left \
                     out: add one such as tenant:{{tenant}}:user:{{user}}",
                    endpoint.path
                ));
            }
        }
    }
}
