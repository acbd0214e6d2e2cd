//! The rules for access against a plain reading of them.
//!
//! The input is the rules as the configuration has them, JSON or YAML, then, each after a byte 0xFF (which UTF-8 never
//! has), the user, the tenant and the roles (one a line) of who asks, and the name of the room. It holds that
//! - what the configuration takes for rules, shown and read again, is the same;
//! - each action is decided, with the same words, as the oracle decides it, for who asks and for nobody, by the rules
//!   as well as by those of each preset;
//! - with captures alone for patterns, nobody gets into a room that does not have its name as a whole segment.

#[path = "../../../src/auth/access/naive.rs"]
mod naive;

use fanwire::auth::Access;
use fanwire::config::{self, AccessDefault, AccessRule, AccessTable, Action, Sources, Who};
use fanwire::model::Identity;
use naive::{Asking, Plain};

/// Checks all that is said above.
pub fn check(data: &[u8]) {
    let mut sections =
        data.splitn(5, |byte| *byte == 0xFF).map(|it| String::from_utf8_lossy(it).into_owned());
    let mut next = || sections.next().unwrap_or_default();
    let [rules, user, tenant, roles, room] = [next(), next(), next(), next(), next()];
    let named = |name: String| (!name.is_empty()).then_some(name);
    let roles: Vec<String> = roles.lines().take(Identity::ROLES_MAX).map(str::to_owned).collect();
    let asking = Asking { user: named(user), tenant: named(tenant), roles };
    let mut tables =
        vec![AccessTable::open(), AccessTable::protected(), AccessTable::topics(), AccessTable::tenants()];
    let read = |text: &str| {
        let flags = [("access-rules".to_owned(), text.to_owned())];
        config::load(&Sources { file: None, env: &[], flags: &flags })
    };
    if let Ok(config) = read(&rules) {
        assert_eq!(config.validate(), Ok(()), "{:?}", config.access);
        let rules = config.access.rules;
        tables.extend(
            [AccessDefault::Allow, AccessDefault::Deny]
                .map(|default| AccessTable { rules: rules.clone(), default }),
        );
    }
    for table in tables {
        let access = Access::new(&table);
        let allowed = compare(&access, &table, &asking, &room);
        compare(&access, &table, &Asking::default(), &room);
        let all_own = !table.rules.is_empty()
            && table.default == AccessDefault::Deny
            && table.rules.iter().all(|rule| rule.pattern.to_string().contains('{'));
        if all_own && allowed {
            let names = [&asking.user, &asking.tenant];
            assert!(
                room.split(':').any(|segment| names.iter().any(|name| name.as_deref() == Some(segment))),
                "{room:?}"
            );
        }
    }
}

/// Whether anything is allowed.
fn compare(access: &Access, table: &AccessTable, asking: &Asking, room: &str) -> bool {
    let identity = identity(asking);
    let mut any = false;
    for action in Action::ALL {
        let plain: Vec<_> = table.rules.iter().map(|rule| plain(rule, action)).collect();
        let expected = naive::decide(&plain, table.default == AccessDefault::Allow, asking, room);
        let decided = access.check(identity.as_ref(), room, action);
        any |= decided.is_ok();
        let decided = decided.map_err(|refused| refused.text.map(str::to_owned));
        assert_eq!(decided, expected, "{action:?} {room:?} by {asking:?} under {table:?}");
    }
    any
}

fn identity(asking: &Asking) -> Option<Identity> {
    let Asking { user, tenant, roles } = asking;
    let name = |name: &Option<String>| name.as_deref().map(Box::from);
    let known = user.is_some() || tenant.is_some() || !roles.is_empty();
    known.then(|| Identity {
        user: name(user),
        tenant: name(tenant),
        roles: roles.iter().map(|role| Box::from(role.as_str())).collect(),
        ..Identity::default()
    })
}

fn plain(rule: &AccessRule, action: Action) -> Plain {
    let who = |who: &Who| match who {
        Who::Any => "any".to_owned(),
        Who::User => "user".to_owned(),
        Who::WithoutTenant => "without_tenant".to_owned(),
        Who::Role(role) => format!("role:{role}"),
    };
    Plain {
        room: rule.pattern.to_string(),
        who: rule.who.iter().map(who).collect(),
        gives: rule.allow.has(action),
        text: rule.text.clone(),
    }
}
