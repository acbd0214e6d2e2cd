use super::*;
use crate::config::{Sources, load, remarks};

fn read(file: &str, flags: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let flags: Vec<_> = flags.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    load(&Sources { file: Some(("f.yaml", file)), env: &[], flags: &flags })
        .map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

const GOOD: &str = "0123456789abcdef0123456789abcdef";

/// Each check with what it finds, and the same put right.
const CASES: &[(&str, &str, &str)] = &[
    (
        "jwt_secret: short",
        "jwt_secret: a secret is too short (5 of at least 32 bytes)",
        "jwt_secret: 0123456789abcdef0123456789abcdef",
    ),
    (
        "jwt_secret: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "jwt_secret: a secret has only 1 different characters",
        "jwt_secret: 0123456789abcdef0123456789abcdef",
    ),
    (
        "jwt_secret: 0123456789abcdef0123456789abcdef\njwt_algorithms: HS512",
        "of at least 64 bytes",
        "jwt_secret: 0123456789abcdef0123456789abcdef\njwt_algorithms: [HS256, HS512]",
    ),
    (
        "jwt_secret: 0123456789abcdef0123456789abcdef\njwt_algorithms: HS384",
        "of at least 48 bytes",
        "jwt_secret: 0123456789abcdef0123456789abcdef0123456789abcdef\njwt_algorithms: HS384",
    ),
    (
        "api_keys: [0123456789abcdef, k]",
        "api_keys: a secret is too short (1 of",
        "api_keys: 0123456789abcdef",
    ),
    (
        "hook_url: 'http://a/'\nhook_secret: s",
        "hook_secret: a secret is too short (1 of",
        "hook_url: 'http://a/'\nhook_secret: 0123456789abcdef",
    ),
    (
        "preset: tenants\nendpoints: [{path: /ws, dialect: tenants, auth: required}]",
        "nobody can connect at /ws: it asks for a token",
        "preset: tenants\nendpoints: [{path: /ws, dialect: tenants, auth: required}]\n\
         jwt_secret: 0123456789abcdef0123456789abcdef",
    ),
    (
        "preset: tenants",
        "nobody can connect at /ws: it asks for a token",
        "preset: tenants\nhook_url: 'http://a/'\nhook_secret: 0123456789abcdef",
    ),
    (
        "endpoints: [{path: /a, dialect: rooms, auth: required, role: admin, admin: true}]",
        "nobody can connect at /a",
        "endpoints: [{path: /a, dialect: rooms}]",
    ),
    (
        "jwt_secret: 0123456789abcdef0123456789abcdef\njwt_roles_claims: []\n\
         endpoints: [{path: /a, dialect: rooms, auth: required, role: x}]",
        "jwt_roles_claims names no claim",
        "jwt_secret: 0123456789abcdef0123456789abcdef\n\
         endpoints: [{path: /a, dialect: rooms, auth: required, role: x}]",
    ),
    ("jwt_issuer: me", "jwt_issuer: it has no effect", "jwt_issuer: me\njwt_jwks_file: /keys"),
    ("tenants: a1", "tenants: it has no effect", "tenants: a1\njwt_public_key_file: /key"),
    ("hook_secret: 0123456789abcdef", "hook_secret: it has no effect", ""),
    (
        "hook_url: 'http://a/'\nhook_secret: 0123456789abcdef\nhook_events: []",
        "hook_events names no event",
        "hook_url: 'http://a/'\nhook_secret: 0123456789abcdef\nhook_events: join",
    ),
    (
        "endpoints: [{path: '/live/{board}', dialect: topics, snapshot: {room: 'board:{board}', as: history}}]",
        "the snapshot at /live/{board} is always empty",
        "endpoints: [{path: '/live/{board}', dialect: topics, snapshot: {room: 'board:{board}', as: history}}]\n\
         room_rules: [{pattern: 'board:*', history_messages: 10}]",
    ),
    (
        "endpoints: [{path: /a, dialect: topics, snapshot: {room: a, as: last}}]\n\
         room_rules: [{pattern: a, presence: true}]",
        "keeps a last value of a",
        "endpoints: [{path: /a, dialect: topics, snapshot: {room: a, as: last}}]\n\
         room_rules: [{pattern: a, last_value: true}]",
    ),
    ("trusted_proxies: [10.0.0.0/8, 0.0.0.0/0]", "0.0.0.0/0 is every address", "trusted_proxies: 10.0.0.0/8"),
    ("trusted_proxies: '::/0'", "::/0 is every address", "trusted_proxies: '::1'"),
    (
        "unix_socket_mode: 0600",
        "unix_socket_mode: it has no effect",
        "unix_socket_mode: 0600\nunix_socket: /run/a",
    ),
    ("unix_socket_group: www-data", "unix_socket_group: it has no effect", ""),
    (
        "unix_socket: /run/a\nunix_socket_mode: 0666",
        "every user of this machine may connect",
        "unix_socket: /run/a\nunix_socket_mode: 0666\napi_keys: 0123456789abcdef",
    ),
    ("flow_affinity: cbpf\npin_threads: false", "flow_affinity: it has no effect", "flow_affinity: cbpf"),
    ("messages_burst: 9", "messages_burst: 9 needs messages_per_s", "messages_burst: 9\nmessages_per_s: 3"),
];

#[test]
fn each_check_finds_what_it_is_for_and_nothing_else() {
    for (wrong, what, right) in CASES {
        let found = read(wrong, &[]).unwrap().warnings();
        assert!(found.len() == 1 && found[0].contains(what), "{wrong}: {found:?}");
        assert_eq!(read(right, &[]).unwrap().warnings(), [""; 0], "{right}");
    }
}

#[test]
fn what_runs_without_configuration_has_no_warning_but_where_tokens_are_asked() {
    for preset in ["none", "rooms", "channels", "topics"] {
        assert_eq!(read("", &[("preset", preset)]).unwrap().warnings(), [""; 0], "{preset}");
    }
    assert_eq!(read(&format!("preset: tenants\njwt_secret: {GOOD}"), &[]).unwrap().warnings(), [""; 0]);
}

#[test]
fn warnings_are_errors_where_that_is_asked() {
    let errors = read("jwt_secret: hush-1\nstrict: true\n", &[]).unwrap_err();
    assert!(errors.len() == 1 && errors[0].starts_with("strict: jwt_secret: "), "{errors:?}");
    assert!(!errors[0].contains("hush"), "{errors:?}");
    assert!(read(&format!("jwt_secret: {GOOD}"), &[("strict", "true")]).is_ok());
    // Information alone is none.
    let env = [("FANWIRE_SERVICE_HOST".to_owned(), "10.0.0.1".to_owned())];
    let sources = Sources { file: Some(("f.yaml", "strict: true")), env: &env, flags: &[] };
    let config = load(&sources).unwrap();
    assert_eq!(remarks(&sources, &config).len(), 1);
}

#[test]
fn no_warning_shows_a_secret() {
    let file =
        "jwt_secret: hush1\napi_keys: [hush2, hush3]\nhook_url: 'http://a/?k=hush4'\nhook_secret: hush5\n";
    let found = read(file, &[]).unwrap().warnings();
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(!found.iter().any(|text| text.contains("hush")), "{found:?}");
}

#[test]
fn patterns_meet_templates() {
    for (pattern, template, expected) in [
        ("a", "a", Meets::All),
        ("a", "b", Meets::None),
        ("a", "{x}", Meets::Some),
        ("a:*", "a:{x}", Meets::All),
        ("a:b", "a:{x}", Meets::Some),
        ("a:*:b", "a:{x}", Meets::Some),
        ("a:*", "a", Meets::None),
        ("a:**", "a:{x}:b", Meets::All),
        ("a:**", "a", Meets::None),
        ("**", "a:{x}", Meets::All),
        ("b:**", "a:{x}", Meets::None),
        ("b:**", "{x}:a", Meets::Some),
        ("*:b", "{x}:a", Meets::Some),
        ("a:x", "a:pre-{x}", Meets::Some),
        ("a", "a:{x}", Meets::None),
    ] {
        assert_eq!(meets(&Pattern::parse(pattern).unwrap(), template), expected, "{pattern} {template}");
    }
}
