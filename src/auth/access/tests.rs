use super::*;
use crate::config::{Config, Preset, Sources, load};
use proptest::prelude::*;

#[path = "naive.rs"]
mod naive;

fn table(rules: &str, default: &str) -> AccessTable {
    let flags =
        [("access-rules", rules), ("access-default", default)].map(|(k, v)| (k.to_owned(), v.to_owned()));
    load(&Sources { file: None, env: &[], flags: &flags }).unwrap().access
}

fn identity(user: &str, tenant: &str, roles: &[&str]) -> Identity {
    let name = |name: &str| (!name.is_empty()).then(|| name.into());
    let roles = roles.iter().map(|role| Box::from(*role)).collect();
    Identity { user: name(user), tenant: name(tenant), roles, ..Identity::default() }
}

/// Whether every action, or none, is allowed.
fn may(access: &Access, who: Option<&Identity>, room: &str) -> bool {
    let allowed = Action::ALL.map(|action| access.check(who, room, action).is_ok());
    assert!(allowed.iter().all(|one| *one == allowed[0]), "{room}: {allowed:?}");
    allowed[0]
}

#[test]
fn without_a_preset_what_is_somebodys_by_name_is_theirs() {
    let access = Access::new(&AccessTable::protected());
    let one = identity("1", "a1", &[]);
    for own in [
        "tenant:a1",
        "tenant:a1:",
        "tenant:a1:x:y",
        "tenant:a1:user:1",
        "tenant:a1:user:1:",
        "tenant:a1:user:1:reports",
        "tenant:a1:user",
        "notifications:a1:1",
        "notifications:a1:1:x",
    ] {
        assert!(may(&access, Some(&one), own), "{own}");
        assert!(!may(&access, None, own), "{own}");
        assert!(!may(&access, Some(&identity("2", "a2", &["user", "tenant"])), own), "{own}");
    }
    // A user of no tenant has rooms by its name alone.
    let alone = identity("1", "", &[]);
    for own in ["user:1", "user:1:", "user:1:reports"] {
        assert!(may(&access, Some(&alone), own), "{own}");
        for other in [Some(&one), None, Some(&identity("2", "", &[]))] {
            assert!(!may(&access, other, own), "{own}");
        }
    }
    assert!(!may(&access, Some(&alone), "tenant:a1:user:1"));
    for other in [
        // Other users of the tenant.
        "tenant:a1:user:2",
        "tenant:a1:user:10:x",
        "tenant:a1:user:",
        "tenant:a1:user::1",
        "tenant:a2:user:1",
        // Prefixes, of either.
        "tenant:a12",
        "tenant:a",
        "tenant:a12:x",
        "user:10",
        "user:10:",
        "user:",
        "tenant:",
        "tenant::",
        "tenant::a1",
        "user::1",
        "user:::1",
        // The one as the other.
        "tenant:1",
        "user:a1",
        "notifications:1:a1",
        "notifications:a1:2",
        "notifications:a2:1",
        "notifications::1",
        "notifications:a1:",
        "notifications:a12:1:x",
        // Case and blanks.
        "tenant:A1",
        "tenant:a1 ",
        "tenant: a1",
        "user:1\u{a0}",
        // What looks like it: full width, combining forms, zero width, another script, another digit.
        "tenant:ａ1",
        "tenant:a１",
        "tenant:a\u{301}1",
        "tenant:á1",
        "tenant:a1\u{200b}",
        "tenant:\u{430}1",
        "user:１",
        "user:١",
        // What rules are written with.
        "tenant:*",
        "tenant:**",
        "tenant:{tenant}",
        "user:{user}",
        "tenant:*:a1",
        "user:%31",
        // Control characters, as somebody might ask without a check before.
        "tenant:a1\0",
        "tenant:\0a1",
        "user:1\n",
        "tenant:\u{7f}",
        "admin:",
        "admin:x",
        "admin:*",
    ] {
        assert!(!may(&access, Some(&one), other), "{other:?}");
        assert!(!may(&access, None, other), "{other:?}");
    }
    for open in [
        "chat",
        "tenant",
        "user",
        "admin",
        "tenants:a2",
        "tenanta2",
        "Tenant:a2",
        "USER:2",
        "tenant：a2",
        "ｔenant:a2",
        "notifications",
        "notifications:a2",
        ":tenant:a2",
        "::",
        ":",
        "",
        "*",
        "**",
        "{tenant}",
        "public:x",
        " tenant:a2",
        "\0tenant:a2",
        "a:b:c:d",
    ] {
        assert!(may(&access, None, open), "{open:?}");
    }
    for room in ["admin:", "admin:x:y"] {
        assert!(may(&access, Some(&identity("", "", &["x", "admin"])), room));
        assert!(!may(
            &access,
            Some(&identity("admin", "admin", &["Admin", "admin ", "administrator"])),
            room
        ));
    }
}

#[test]
fn names_that_look_like_patterns_are_names() {
    let access = Access::new(&AccessTable::protected());
    for name in ["*", "**", "{tenant}", "{user}", "%2A", "a1\u{200b}", "é", "e\u{301}"] {
        let own = identity(name, name, &[]);
        let of_user = format!("tenant:{name}:user:{name}");
        for room in [format!("tenant:{name}"), format!("tenant:{name}:x"), of_user] {
            assert!(may(&access, Some(&own), &room), "{room}");
            assert!(!may(&access, Some(&identity("a1", "a1", &[])), &room), "{room}");
        }
        for room in ["tenant:a1", "tenant:a1:x", "user:a1", "tenant:", "tenant::x", "user:"] {
            assert!(!may(&access, Some(&own), room), "{name} {room}");
        }
    }
    assert!(
        !may(&access, Some(&identity("", "é", &[])), "tenant:e\u{301}"),
        "another form of the same letter"
    );
}

#[test]
fn a_name_with_a_colon_or_without_bytes_owns_nothing() {
    let access = Access::new(&AccessTable::protected());
    let colon = identity("1:x", "a:b", &[]);
    for room in
        ["tenant:a:b", "tenant:a", "tenant:b", "user:1:x", "user:1", "tenant:a:b:c", "notifications:a:b:1:x"]
    {
        assert!(!may(&access, Some(&colon), room), "{room}");
    }
    // Who is tenant `a` has rooms below it, whatever they are called.
    assert!(may(&access, Some(&identity("", "a", &[])), "tenant:a:b"));
    let empty = Identity { user: Some("".into()), tenant: Some("".into()), ..Identity::default() };
    for room in
        ["tenant:", "tenant::", "tenant::x", "user:", "user::", "notifications::", "notifications:::x"]
    {
        assert!(!may(&access, Some(&empty), room), "{room}");
    }
}

#[test]
fn rooms_and_channels_leave_all_open() {
    let access = Access::new(&AccessTable::open());
    for room in ["tenant:a2", "admin:x", "user:", "", ":"] {
        assert!(may(&access, None, room));
    }
}

#[test]
fn topics_has_its_documents_words() {
    let table = AccessTable::topics();
    let access = Access::new(&table);
    let one = identity("1", "", &[]);
    assert!(may(&access, Some(&one), "user:1:alerts") && may(&access, None, "reports:progress"));
    let does = |who, room, action| access.check(who, room, action).is_ok();
    for (who, room, subscribes) in [
        (None, "reports:progress:x", true),
        (None, "reports:data:x:y", true),
        (Some(&one), "user:alerts", true),
        (None, "user:alerts", false),
    ] {
        assert_eq!(does(who, room, Action::Subscribe), subscribes, "{room}");
        assert!(!does(who, room, Action::Publish), "{room}");
    }
    assert!(may(&access, None, "tenant:a1") && may(&access, Some(&identity("", "", &["admin"])), "admin:x"));
    for who in [None, Some(&one)] {
        let text = |room| access.check(who, room, Action::Subscribe).unwrap_err().text;
        for room in ["user:2", "user:10:alerts", "user:", "user::x"] {
            assert_eq!(text(room), Some("Authentication required for user channels"), "{room}");
        }
        assert_eq!(text("admin:x"), Some("Insufficient permissions for admin channels"));
    }
}

#[test]
fn tenants_refuses_what_it_does_not_give() {
    let access = Access::new(&AccessTable::tenants());
    let one = identity("1", "a1", &["admin"]);
    for room in ["tenant:a1", "tenant:a1:general", "public:", "public:news"] {
        assert!(may(&access, Some(&one), room), "{room}");
    }
    assert!(may(&access, None, "public:news"));
    for room in [
        "tenant:a12",
        "tenant:a12:x",
        "public",
        "Public:x",
        "user:1",
        "admin:x",
        "chat",
        "",
        ":",
        "notifications:a1:1",
        "notifications:a1:12:x",
    ] {
        assert!(!may(&access, Some(&one), room), "{room}");
        assert_eq!(access.check(Some(&one), room, Action::Publish), Err(Refused { text: None }));
    }
    let notifications = |action| access.check(Some(&one), "notifications:a1:1:alerts", action).is_ok();
    assert_eq!(Action::ALL.map(notifications), [true, false, true, true], "only the server publishes there");
}

#[test]
fn rules_that_are_alike_decide_together() {
    let rules = r#"[
        {"room": "news:*", "who": "any", "allow": ["subscribe"]},
        {"room": "news:*", "who": ["role:editor", "role:chief"], "text": "only editors"},
        {"room": "user:{user}", "deny": "publish"},
        {"room": "user:*", "who": "role:admin"},
        {"room": "*:log", "who": "user"},
        {"room": "shop:**", "who": "any", "allow": []}
    ]"#;
    let access = Access::new(&table(rules, "deny"));
    let check = |who: &Identity, room, action| access.check(Some(who), room, action);
    let (reader, editor, admin) =
        (identity("1", "", &[]), identity("2", "", &["chief"]), identity("3", "", &["admin"]));
    assert_eq!(check(&reader, "news:a", Action::Subscribe), Ok(()));
    assert_eq!(check(&reader, "news:a", Action::Publish), Err(Refused { text: Some("only editors") }));
    assert!(may(&access, Some(&editor), "news:a") && !may(&access, Some(&editor), "news:"));
    assert_eq!(check(&reader, "user:1", Action::Publish), Err(Refused { text: None }));
    assert_eq!(check(&reader, "user:1", Action::Presence), Ok(()));
    assert!(may(&access, Some(&admin), "user:1") && !may(&access, Some(&admin), "user:"));
    // Heads of their own come before and after one without: the order is that of the table.
    assert!(may(&access, Some(&reader), "shop:log") && !may(&access, None, "shop:log"));
    assert!(!may(&access, Some(&reader), "shop:x") && may(&access, Some(&reader), "x:log"));
    assert!(may(&access, Some(&admin), "user:log"), "the rules of user:* stand before *:log");
    assert!(!may(&access, Some(&identity("", "x", &[])), "x:log"), "a tenant without a user is no user");
}

fn segment() -> impl Strategy<Value = String> {
    let text = ["a", "b", "ab", "tenant", "é", ""].map(str::to_owned).to_vec();
    prop_oneof![8 => prop::sample::select(text), 1 => "[a-b*{}]{1,2}"]
}

fn pattern() -> impl Strategy<Value = String> {
    let special = ["*", "{tenant}", "{user}"].map(str::to_owned).to_vec();
    let text = ["a", "b", "ab", "tenant", "é", ""].map(str::to_owned).to_vec();
    let one = prop_oneof![prop::sample::select(special), prop::sample::select(text)];
    (prop::collection::vec(one, 1..4), any::<bool>()).prop_map(|(mut segments, rest)| {
        if rest {
            segments.push("**".to_owned());
        }
        segments.join(":")
    })
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![prop::collection::vec(segment(), 1..6).prop_map(|segments| segments.join(":")), "[ab:]{0,40}"]
}

fn asking() -> impl Strategy<Value = Option<(Option<String>, Option<String>, Vec<String>)>> {
    let one = || prop::option::of(segment());
    prop::option::of((one(), one(), prop::collection::vec("[xy]", 0..3)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn decisions_are_those_of_a_plain_reading(
        rules in prop::collection::vec((pattern(), prop::collection::vec("any|user|role:[xy]", 1..3), any::<bool>(), prop::option::of("[tu]")), 0..8),
        allows in any::<bool>(),
        who in asking(),
        rooms in prop::collection::vec(name(), 8),
    ) {
        let parsed = |(room, who, gives, text): &(String, Vec<String>, bool, Option<String>)| {
            let rule = serde_json::json!([{ "room": room, "who": who, "text": text, "allow": if *gives { vec!["publish"] } else { vec![] } }]);
            // An empty pattern is none; rules are read one by one, as in a random table most would never count.
            let flags = [("access-rules".to_owned(), rule.to_string())];
            load(&Sources { file: None, env: &[], flags: &flags }).ok()?.access.rules.pop()
        };
        let fine: Vec<_> = rules.iter().filter_map(|rule| Some((rule, parsed(rule)?))).collect();
        let default = if allows { AccessDefault::Allow } else { AccessDefault::Deny };
        let table = AccessTable { rules: fine.iter().map(|(_, rule)| rule.clone()).collect(), default };
        let access = Access::new(&table);
        let plain: Vec<_> = fine.iter().map(|((room, who, gives, text), _)| naive::Plain {
            room: room.clone(), who: who.clone(), gives: *gives, text: text.clone(),
        }).collect();
        let identity = who.as_ref().map(|(user, tenant, roles)| Identity {
            user: user.as_deref().map(Box::from),
            tenant: tenant.as_deref().map(Box::from),
            roles: roles.iter().map(|role| Box::from(role.as_str())).collect(),
            ..Identity::default()
        });
        let asking = who.map_or_else(naive::Asking::default, |(user, tenant, roles)| naive::Asking { user, tenant, roles });
        for room in &rooms {
            let decided = access.check(identity.as_ref(), room, Action::Publish);
            let decided = decided.map_err(|refused| refused.text.map(str::to_owned));
            prop_assert_eq!(decided, naive::decide(&plain, allows, &asking, room), "{} by {:?}", room, table);
            if !plain.is_empty() || !allows {
                let otherwise = access.check(identity.as_ref(), room, Action::Subscribe).is_ok();
                let none: Vec<_> = plain.iter().map(|rule| naive::Plain { room: rule.room.clone(), who: vec![], gives: false, text: None }).collect();
                prop_assert_eq!(otherwise, naive::decide(&none, allows, &asking, room).is_ok());
            }
        }
    }
}

#[test]
fn every_preset_has_its_table() {
    let of = |preset| Config::of_preset(preset).access;
    assert_eq!(Config::default().access, AccessTable::protected());
    assert_eq!([of(Preset::Rooms), of(Preset::Channels)], [AccessTable::open(), AccessTable::open()]);
    assert_eq!([of(Preset::Topics), of(Preset::Tenants)], [AccessTable::topics(), AccessTable::tenants()]);
}
