//! Which claims tell who somebody is, and what is made of those that say it in another shape. The defaults are tested in
//! tests/access/tokens.rs, with tokens that others made.

use super::*;

/// Rules with these claims for roles.
fn rules(roles: &[&str]) -> ClaimRules {
    let roles_claims = roles.iter().map(ToString::to_string).collect();
    ClaimRules::new(&Tokens { roles_claims, ..Tokens::default() })
}

#[track_caller]
fn check(roles: &[&str], claims: &str, expected: &[&str]) {
    let identity = rules(roles).read(claims, 0).unwrap_or_else(|error| panic!("{claims}: {error}")).identity;
    let got: Vec<&str> = identity.roles.iter().map(|role| &**role).collect();
    assert_eq!(got, expected, "{claims}");
}

#[track_caller]
fn refuse(roles: &[&str], claims: &str, expected: TokenError) {
    assert_eq!(rules(roles).read(claims, 0), Err(expected), "{claims}");
}

#[test]
fn claims_below_others_are_found() {
    let keycloak = r#" {"exp":2,"realm_access":{"x":[{}],"roles":["a","b"]},
        "resource_access":{"my.app":{"roles":["c"]},"my":{"app":{"roles":["d"]}}},"sub":"u"} "#;
    check(&["realm_access.roles"], keycloak, &["a", "b"]);
    check(&[r"resource_access.my\.app.roles"], keycloak, &["c"]);
    check(&["resource_access.my.app.roles"], keycloak, &["d"]);
    check(&["none.roles", "realm_access.none", "realm_access.roles"], keycloak, &["a", "b"]);
    check(&["1.2.3.4.5.6.7.8"], r#"{"1":{"2":{"3":{"4":{"5":{"6":{"7":{"8":"a"}}}}}}}}"#, &["a"]);
    check(&["1.2.3.4.5.6.7.8.9"], r#"{"1":{"2":{"3":{"4":{"5":{"6":{"7":{"8":{"9":"a"}}}}}}}}}"#, &[]);
}

#[test]
fn users_and_tenants_may_be_below_others_too() {
    let claim = |name: &str| vec![name.to_owned()];
    let tokens =
        Tokens { user_claims: claim("act.id"), tenant_claims: claim("org.name"), ..Tokens::default() };
    let identity =
        ClaimRules::new(&tokens).read(r#"{"act":{"id":7},"org":{"name":"t"}}"#, 0).unwrap().identity;
    assert_eq!((identity.user.as_deref(), identity.tenant.as_deref()), (Some("7"), Some("t")));
    let wrong = ClaimRules::new(&tokens).read(r#"{"act":{"id":{}},"org":{"name":"t"}}"#, 0);
    assert_eq!(wrong, Err(TokenError::Name));
}

#[test]
fn a_claim_of_exactly_this_name_goes_before_the_path() {
    for name in ["https://example.com/roles", "a.b", "a..b", ".", "a.", r"a\.b", "1.2.3.4.5.6.7.8.9"] {
        check(&[name], &serde_json::json!({name: ["x"], "a": {"b": "y"}}).to_string(), &["x"]);
    }
    check(&["a.b"], r#"{"a":{"b":"y"},"a.b":"x"}"#, &["x"]);
    check(&["a.b"], r#"{"a":{"b":"y"},"a.b":[]}"#, &[]);
    // Null is none, there as anywhere.
    check(&["a.b"], r#"{"a":{"b":"y"},"a.b":null}"#, &["y"]);
    check(&["a.b", "c"], r#"{"a":{"b":null},"c":"z"}"#, &["z"]);
    // A backslash says that the dot is the name's.
    check(&[r"a\.b"], r#"{"a.b":"x","a":{"b":"y"}}"#, &["x"]);
    // What is there counts, even where it is none.
    refuse(&["a", "a.b"], r#"{"a":{"b":"y"}}"#, TokenError::Name);
    check(&["a.b", "a"], r#"{"a":{"b":"y"}}"#, &["y"]);
}

#[test]
fn what_is_not_on_the_path_is_not_there() {
    for claims in [
        "{}",
        r#"{"a":null}"#,
        r#"{"a":{}}"#,
        r#"{"a":{"B":"x"}}"#,
        r#"{"a":{"b":null}}"#,
        r#"{"A":{"b":"x"}}"#,
        r#"{"a":"b"}"#,
        r#"{"a":"{\"b\":\"x\"}"}"#,
        r#"{"a":1.5e9,"b":"x"}"#,
        r#"{"a":true}"#,
        r#"{"a":["b","x"]}"#,
        r#"{"a":[{"b":"x"}]}"#,
        r#"{"x":{"a":{"b":"x"}}}"#,
    ] {
        check(&["a.b"], claims, &[]);
        check(&["a.b", "sub"], &claims.replacen('{', r#"{"sub":"other","#, 1).replace(",}", "}"), &["other"]);
    }
}

#[test]
fn what_is_wrong_at_the_end_of_a_path_is_refused() {
    for value in [r#""""#, "{}", "1", "true", r#"["a",1]"#, r#"["a",["b"]]"#, r#""a\u0000""#] {
        refuse(&["a.b"], &format!(r#"{{"a":{{"b":{value}}}}}"#), TokenError::Name);
    }
    let many = vec!["x"; Identity::ROLES_MAX + 1];
    refuse(&["a.b"], &serde_json::json!({"a": {"b": many}}).to_string(), TokenError::Name);
    // Whom one reader sees another must see, however deep; what is beside the path may be as it likes.
    for twice in [
        r#"{"a":{"b":"x","b":"y"}}"#,
        r#"{"a":{"b":"x"},"a":{"b":"y"}}"#,
        r#"{"a":{"b":"x"},"a":1}"#,
        r#"{"a":{"b":"x"},"\u0061":{"b":"y"}}"#,
    ] {
        refuse(&["a.b"], twice, TokenError::Claims);
    }
    check(&["a.b"], r#"{"a":{"b":"x","c":1,"c":2},"d":1,"d":2}"#, &["x"]);
}

#[test]
fn a_scope_is_a_list() {
    check(&["scope"], r#"{"scope":"read write:all  x "}"#, &["read", "write:all", "x"]);
    check(&["scp"], r#"{"scp":["a","b c"]}"#, &["a", "b c"]);
    check(&["access.scope"], r#"{"access":{"scope":"a b"}}"#, &["a", "b"]);
    for none in [r#"{"scope":""}"#, r#"{"scope":"  "}"#, r#"{"scope":null}"#, "{}"] {
        check(&["scope"], none, &[]);
    }
    // Names of roles have spaces and commas elsewhere.
    check(&["roles"], r#"{"roles":"account manager, night"}"#, &["account manager, night"]);
    check(&["scope.roles"], r#"{"scope":{"roles":"a b"}}"#, &["a b"]);
    check(&["scope"], &format!(r#"{{"scope":"{}"}}"#, "r ".repeat(Identity::ROLES_MAX)), &["r"; 32]);
    for wrong in ["r ".repeat(Identity::ROLES_MAX + 1), "x".repeat(129), r"a\tb".to_owned()] {
        refuse(&["scope"], &format!(r#"{{"scope":"{wrong}"}}"#), TokenError::Name);
    }
    refuse(&["scope"], r#"{"scope":1}"#, TokenError::Name);
}

/// The deepest and widest that fit into a token are read or refused in a few looks.
#[test]
fn paths_into_deep_claims_end() {
    let deep = format!("{}1{}", r#"{"a":"#.repeat(1000), "}".repeat(1000));
    for claims in [deep.as_str(), &format!(r#"{{"a":{deep}}}"#), &format!(r#"{{"a":{{"a":{deep}}}}}"#)] {
        assert!(rules(&["a.a.a.a"]).read(claims, 0).is_err());
    }
    let wide: String = (0..1000).map(|n| format!(r#""{n}":0,"#)).collect();
    check(
        &["a.999"],
        &format!(r#"{{"a":{{{wide}"b":1}},"x":0}}"#).replace(r#""999":0"#, r#""999":"r""#),
        &["r"],
    );
}

#[test]
fn others_see_the_claims_that_are_named_as_far_as_they_fit() {
    let shown = |claims: &[&str], json: &str| {
        let presence_claims = claims.iter().map(ToString::to_string).collect();
        let rules = ClaimRules::new(&Tokens { presence_claims, ..Tokens::default() });
        rules.read(json, 0).map(|read| read.identity.info.as_deref().map(str::to_owned))
    };
    let claims = r#"{"sub":"u","name":"A \"b\"","profile":{"name":"x","email":"e","age":7},"n":null}"#;
    assert_eq!(shown(&[], claims), Ok(None));
    assert_eq!(shown(&["none", "n"], claims), Ok(None));
    let info = |json: &str| Ok(Some(json.to_owned()));
    assert_eq!(shown(&["name", "profile.age"], claims), info(r#"{"name":"A \"b\"","age":7}"#));
    // The first of one last part counts.
    assert_eq!(shown(&["profile.name", "name"], claims), info(r#"{"name":"x"}"#));
    let long = serde_json::json!({"long": "x".repeat(Identity::INFO_BYTES_MAX), "short": 1}).to_string();
    assert_eq!(shown(&["long", "short"], &long), info(r#"{"short":1}"#));
    assert_eq!(shown(&["a.b"], r#"{"a":{"b":1,"b":2}}"#), Err(TokenError::Claims));
}
