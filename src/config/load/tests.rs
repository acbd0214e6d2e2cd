use super::*;
use crate::config::{AccessDefault, AccessTable, Actions, Secret, TokenAlgorithm};
use std::time::Duration;

/// The document's own example.
const DOCUMENT: &str = r#"
websocket:
  enabled: true
  host: "0.0.0.0"
  port: 8082
  timeout: "31s"
  read_buffer_size: 1024
  write_buffer_size: 1024
  max_message_size: 512001  # 500KB
  ping_interval: "55s"
  pong_wait: "61s"
  write_wait: "11s"

  limits:
    max_connections: 10000       # 0 = unlimited
    max_connections_per_room: 1000  # 0 = unlimited
"#;

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

fn from(file: &str, env: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let (env, flags) = (pairs(env), pairs(flags));
    let loaded = load(&Sources { file: Some(("f.yaml", file)), env: &env, flags: &flags });
    loaded.map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

fn assert_document(config: &Config) {
    assert_eq!(config.port, 8082);
    assert_eq!(config.limits.message_bytes_max, 512_001);
    assert_eq!(config.limits.connections_max, 10_000);
    assert_eq!(config.limits.connections_per_room_max, 1000);
    let times = &config.times;
    let times = [times.handshake_timeout, times.ping_interval, times.pong_wait, times.write_wait];
    assert_eq!(times, [31, 55, 61, 11].map(Duration::from_secs));
}

#[test]
fn nothing_configured_is_the_default() {
    assert_eq!(from("", &[], &[]), Ok(Config::default()));
}

#[test]
fn the_documents_file_is_understood() {
    assert_document(&from(DOCUMENT, &[], &[]).unwrap());
}

#[test]
fn the_documents_variables_are_understood() {
    let env = [
        ("WEBSOCKET_ENABLED", "true"),
        ("WEBSOCKET_HOST", "0.0.0.0"),
        ("WEBSOCKET_PORT", "8082"),
        ("WEBSOCKET_TIMEOUT", "31s"),
        ("WEBSOCKET_READ_BUFFER_SIZE", "1024"),
        ("WEBSOCKET_WRITE_BUFFER_SIZE", "1024"),
        ("WEBSOCKET_MAX_MESSAGE_SIZE", "512001"),
        ("WEBSOCKET_PING_INTERVAL", "55s"),
        ("WEBSOCKET_PONG_WAIT", "61s"),
        ("WEBSOCKET_WRITE_WAIT", "11s"),
        ("WEBSOCKET_LIMITS_MAX_CONNECTIONS", "10000"),
        ("WEBSOCKET_LIMITS_MAX_CONNECTIONS_PER_ROOM", "1000"),
        ("PATH", "/bin"),
    ];
    assert_document(&from("", &env, &[]).unwrap());
}

#[test]
fn every_configuration_of_the_rooms_document_is_understood() {
    let document = include_str!("../../../tests/documents/rooms-go-module.md");
    let blocks: Vec<_> =
        document.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let configs: Vec<_> = blocks.iter().map(|block| from(block, &[], &[]).unwrap()).collect();
    assert_eq!(configs.len(), 4);
    // "Example Production Config" is the last.
    let config = &configs[3];
    let [ping_s, pong_s, write_s] =
        [config.times.ping_interval, config.times.pong_wait, config.times.write_wait]
            .map(|time| time.as_secs());
    let limits = &config.limits;
    assert_eq!(
        (
            limits.message_bytes_max,
            limits.connections_max,
            limits.connections_per_room_max,
            [ping_s, pong_s, write_s]
        ),
        (65_536, 50_000, 5000, [30, 35, 10])
    );
}

#[test]
fn every_key_is_understood_by_file_variable_and_flag() {
    let default = Config::default();
    for key in keys::all() {
        let value = key.show(&default);
        let (variable, flag) = (format!("FANWIRE_{}", key.name.to_uppercase()), key.flag());
        let file = format!("{}: '{value}'\n", key.name);
        if value.is_empty() {
            assert_eq!(from(&file, &[(&variable, "")], &[]), Ok(Config::default()), "{}", key.name);
            let errors = from("", &[], &[(&flag, " ")]).unwrap_err();
            assert!(errors.len() == 1 && errors[0].contains("the value is empty; leave"), "{errors:?}");
        } else {
            assert_eq!(
                from(&file, &[(&variable, &value)], &[(&flag, &value)]),
                Ok(Config::default()),
                "{}",
                key.name
            );
        }
        // The same key with a value that is never right is refused wherever it stands.
        if matches!(key.name, "unix_socket" | "jwt_public_key_file" | "jwt_jwks_file") {
            continue;
        }
        let bad = "\u{7f}bad";
        assert_eq!(
            from(&format!("{}: \"{}\"\n", key.name, "\\x7fbad"), &[], &[]).unwrap_err().len(),
            1,
            "{}",
            key.name
        );
        assert_eq!(from("", &[(&variable, bad)], &[]).unwrap_err().len(), 1, "{}", key.name);
        assert_eq!(from("", &[], &[(&flag, bad)]).unwrap_err().len(), 1, "{}", key.name);
    }
}

#[test]
fn the_later_source_wins() {
    let file = "port: 1\n";
    let port = |env: &[_], flags: &[_]| from(file, env, flags).unwrap().port;
    assert_eq!(port(&[], &[]), 1);
    assert_eq!(port(&[("WEBSOCKET_PORT", "2")], &[]), 2);
    assert_eq!(port(&[("FANWIRE_PORT", "3"), ("WEBSOCKET_PORT", "2")], &[]), 3);
    assert_eq!(port(&[("FANWIRE_PORT", "3")], &[("port", "4")]), 4);
}

#[test]
fn mistakes_are_told_all_at_once_with_place_value_and_range() {
    let file = "port: 70000\nconections_max: 5\nwebsocket:\n  pong_wiat: 3s\n";
    let errors = from(file, &[("FANWIRE_SHRADS", "2")], &[("ping-interval", "soon")]).unwrap_err();
    assert_eq!(
        errors,
        [
            "f.yaml:1: port: \"70000\" is not allowed, allowed is 0 to 65535",
            "--ping-interval: ping_interval: \"soon\" is not allowed, allowed is 0, or 1s to 24h (such as 54s or 500ms)",
            "f.yaml:2: conections_max: unknown key, did you mean connections_max?",
            "f.yaml:4: websocket.pong_wiat: unknown key, did you mean pong_wait?",
            "variable FANWIRE_SHRADS: unknown key, did you mean FANWIRE_SHARDS?",
        ]
    );
}

#[test]
fn values_must_fit_together() {
    for (file, key) in [
        ("proxy_protocol: true\n", "proxy_protocol"),
        ("hook_url: 'http://a/'\n", "hook_secret"),
        ("tcp: false\n", "unix_socket"),
        (
            "room_rules: [{pattern: a, history_messages: 1, history_bytes: 1GiB}]\n",
            "at most history_bytes_max, which is",
        ),
    ] {
        let errors = from(file, &[], &[]).unwrap_err();
        assert!(errors.len() == 1 && errors[0].contains(key), "{errors:?}");
    }
    assert!(from("ping_interval: 0\npong_wait: 0\n", &[], &[]).is_ok());
    // Without a hook its times are nobody's concern.
    assert!(from("idle_timeout: 5s\nhook_timeout: 11s\n", &[], &[]).is_ok());
}

#[test]
fn a_mistake_in_a_list_of_the_file_has_its_line_and_column() {
    let before = "# rules\nport: 9000\n";
    for (list, place, what) in [
        (
            "room_rules:\n  - pattern: a\n    overflow: explode\n",
            "5:15",
            "rule 1: overflow: it must be disconnect",
        ),
        ("room_rules:\n  - pattern: a\n    overflow: explode\n", "5:15", "(explode is given)"),
        ("room_rules:\n  - pattern: a\n    histroy_ttl: 5s\n", "5:5", "unknown field `histroy_ttl`"),
        ("room_rules:\n  - pattern: a\n    presence: perhaps\n", "5:5", "expected presence"),
        ("room_rules:\n  - pattern: a\n    history_messages: -1\n", "5:23", "u32"),
        ("room_rules:\n  - pattern: a\n  - pattern: a\n", "5:14", "rule 2: pattern: the rule never counts"),
        ("room_rules:\n  - pattern: b\n  - presence: true\n", "5:5", "pattern"),
        ("access_rules:\n  - room: a\n    who: anybody\n", "5:10", "rule 1: who: it must be any, user"),
        ("access_rules:\n  - room: a\n    who: 7\n", "5:5", "a name or a list of names"),
        (
            "access_rules:\n  - {room: a, who: any, allow: [dance]}\n",
            "4:32",
            "rule 1: allow: it must be a list of",
        ),
        ("access_rules:\n  - room: a\n", "4:5", "rule 1: who: it must be given"),
        (
            "endpoints:\n  - path: ws\n    dialect: rooms\n",
            "4:11",
            "endpoint 1: path: a path begins with a slash",
        ),
        ("endpoints:\n  - path: /ws\n    dialect: Rooms\n", "5:14", "(Rooms is given)"),
        (
            "endpoints:\n  - path: /ws\n    dialect: rooms\n    snapshot: {room: a, as: first}\n",
            "6:29",
            "first",
        ),
    ] {
        let errors = from(&format!("{before}{list}"), &[], &[]).unwrap_err();
        let key = list.split(':').next().unwrap();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].starts_with(&format!("f.yaml:{place}: {key}: ")), "{list}{errors:?}");
        assert!(errors[0].contains(what) && errors[0].len() < 400, "{list}{errors:?}");
    }
    // Elsewhere the number of the item has to do.
    let errors = from("", &[("FANWIRE_ROOM_RULES", r#"[{"pattern":"a","overflow":"x"}]"#)], &[]).unwrap_err();
    assert_eq!(
        errors,
        [
            "variable FANWIRE_ROOM_RULES: room_rules: rule 1: overflow: it must be disconnect, drop_oldest or conflate"
        ]
    );
    let errors = from("port:\n  - a: 1\n", &[], &[]).unwrap_err();
    assert_eq!(errors, ["f.yaml:2: port: a list of mappings is not allowed, allowed is 0 to 65535"]);
}

#[test]
fn texts_of_the_file_are_what_is_written() {
    let keys = from("api_keys: [0x1F, 0o17, 1_000, 1.10, +5, True, 007]\n", &[], &[]).unwrap().api_keys;
    let keys: Vec<_> = keys.iter().map(Secret::reveal).collect();
    assert_eq!(keys, ["0x1F", "0o17", "1_000", "1.10", "+5", "True", "007"]);
    for text in ["12345678901234567890123456789012", "0x1F", "1e3", "9e99999", ".inf", "False"] {
        let file = format!("jwt_secret: {text}\napi_keys: {text}\n");
        let config = from(&file, &[], &[]).unwrap();
        assert_eq!((config.tokens.secret.reveal(), config.api_keys[0].reveal()), (text, text));
    }
    let file = "room_rules:\n  - {pattern: 1.10, overflow: conflate, conflate_key: 0x1F}\n\
                access_rules:\n  - {room: 007, who: [role:1_000], text: True}\n\
                endpoints:\n  - {path: /ws, dialect: rooms, rooms: [1.10, 0o17]}\n";
    let config = from(file, &[], &[]).unwrap();
    assert_eq!(config.room_rules[0].pattern.to_string(), "1.10");
    assert_eq!(
        config.room_rules[0].policy.overflow,
        crate::config::Overflow::Conflate { key: Some("0x1F".into()) }
    );
    let rule = &config.access.rules[0];
    assert_eq!((rule.pattern.to_string(), rule.text.as_deref()), ("007".to_owned(), Some("True")));
    assert_eq!(config.endpoints[0].rooms, ["1.10", "0o17"]);
}

#[test]
fn secrets_are_never_shown() {
    let errors = from("api_keys: 'not allowed: blank'\n", &[], &[]).unwrap_err();
    assert!(errors[0].contains("api_keys") && !errors[0].contains("blank"), "{errors:?}");
    for file in ["hook_url: 'http://user:hush@host/'\n", "hook_secret: 'hush hush'\n"] {
        let errors = from(file, &[], &[]).unwrap_err();
        assert!(errors[0].contains("hook_") && !errors[0].contains("hush"), "{errors:?}");
    }
}

#[test]
fn lists_may_be_lists_or_text() {
    let variable = [("FANWIRE_JWT_SECRET", "not allowed: \u{7f}")];
    let errors = from("jwt_secret: \"not allowed: \\x7f\"\n", &variable, &[]).unwrap_err();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(
        errors.iter().all(|error| error.contains("jwt_secret") && !error.contains("not allowed:")),
        "{errors:?}"
    );
    let both = from("api_keys: [one, two]\ntrusted_proxies: 10.0.0.0/8, ::1\n", &[], &[]).unwrap();
    assert_eq!(both.api_keys, ["one", "two"].map(crate::config::Secret::from));
    assert_eq!(both.trusted_proxies, ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);
    assert_eq!(from("", &[("FANWIRE_API_KEY", "k")], &[]).unwrap().api_keys, ["k".into()]);
}

#[test]
fn wrong_values_of_each_kind_are_refused() {
    for file in [
        "port: -1",
        "port: 1.5",
        "port: 0x1ffff",
        "port: ''",
        "host: example.com",
        "path_prefix: realtime",
        "path_prefix: /a b",
        "path_prefix: //a",
        "trusted_proxies: 10.0.0.0/33",
        "allowed_origins: example.com",
        "allowed_origins: https://*example.com",
        "allowed_origins: https://a.*.example.com",
        "allowed_origins: https://*",
        "allowed_origins: https://*.",
        "allowed_origins: https://",
        "allowed_origins: https://a.example/",
        "allowed_origins: app://:*",
        "allowed_hosts: https://a.example",
        "allowed_hosts: a.example:8081",
        "allowed_hosts: '*'",
        "allowed_hosts: a.*.example",
        "jwt_cookies: 'a b'",
        "jwt_cookies: a;b",
        "jwt_query_parameters: a=b",
        "jwt_query_parameters: a,b,c,d,e,f,g,h,i",
        "log_level: loud",
        "flow_affinity: on",
        "message_bytes_max: 64TiB",
        "message_bytes_max: 0",
        "ping_interval: 54",
        "write_wait: 0",
        "enabled: maybe",
        "shards: 99999",
        "preset: channel",
        "endpoints: 7",
        "read_buffer_size: big",
        "port: {a: 1}",
        "rooms_per_connection_max: 0",
    ] {
        assert!(from(file, &[], &[]).is_err(), "{file}");
    }
}

#[test]
fn a_preset_gives_defaults_that_any_source_overrides() {
    let preset = |text: &str| from("", &[], &[("preset", text)]).unwrap();
    assert_eq!([preset("none").port, preset("rooms").port, preset("tenants").port], [8081, 8081, 3000]);
    for (file, env, flags) in [
        ("preset: topics\nport: 1\n", vec![], vec![]),
        ("port: 1", vec![("FANWIRE_PRESET", "topics")], vec![]),
        ("preset: rooms", vec![("WEBSOCKET_PORT", "1")], vec![("preset", "topics")]),
    ] {
        let config = from(file, &env, &flags).unwrap();
        assert_eq!((config.preset, config.port), (Preset::Topics, 1));
        assert_eq!(config.times.ping_interval, Duration::from_secs(30));
        assert_eq!(config.endpoints[0].dialect, "topics");
    }
    for (_, preset) in PRESETS {
        assert_eq!(Config::of_preset(preset).validate(), Ok(()));
    }
}

#[test]
fn no_rules_are_other_than_those_of_the_preset() {
    let access = |file: &str| from(file, &[], &[]).unwrap().access;
    assert_eq!(access("preset: topics"), AccessTable::topics());
    assert_eq!(access("preset: topics\naccess_rules: []\n"), AccessTable::open());
    let none_allowed = access("preset: tenants\naccess_rules:\n");
    assert_eq!((none_allowed.rules.len(), none_allowed.default), (0, AccessDefault::Deny));
    let one = access("access_rules:\n  - {room: \"user:{user}\", allow: []}\naccess_default: deny\n");
    assert_eq!((one.rules.len(), one.rules[0].allow, one.default), (1, Actions::NONE, AccessDefault::Deny));
}

#[test]
fn a_programs_own_value_is_checked_as_a_files() {
    assert_eq!(Config::default().validate(), Ok(()));
    let mut wrong = Config { path_prefix: "no slash".to_owned(), ..Config::default() };
    wrong.times.pong_wait = Duration::from_secs(2);
    let errors = wrong.validate().unwrap_err();
    assert_eq!(errors.len(), 2, "{errors:?}");
}

#[test]
fn the_nearest_name_is_near() {
    let names = ["port", "ping_interval", "path_prefix"];
    for (name, near) in [("prot", Some("port")), ("ping_intervall", Some("ping_interval")), ("unlike", None)]
    {
        assert_eq!(nearest(name, names.into_iter()), near, "{name}");
    }
    assert_eq!(nearest(&"x".repeat(1000), ["x"].into_iter()), None);
}

#[test]
fn the_variables_of_the_topics_document_are_understood_under_every_preset() {
    let env = |preset| {
        [
            ("FANWIRE_PRESET", preset),
            ("WEBSOCKET_MAX_PAYLOAD", "1048577"),
            ("WEBSOCKET_CLEANUP_INTERVAL", "300000"),
            ("WEBSOCKET_CONNECTION_TIMEOUT", "300001"),
            ("WEBSOCKET_PING_INTERVAL", "31000"),
        ]
    };
    for preset in ["none", "rooms", "channels", "topics", "tenants"] {
        let config = from("", &env(preset), &[]).unwrap();
        assert_eq!(config.limits.message_bytes_max, 1_048_577, "{preset}");
        let times = [config.times.idle_timeout, config.times.ping_interval, config.times.cleanup_interval];
        assert_eq!(times, [300_001, 31_000, 300_000].map(Duration::from_millis), "{preset}");
    }
    // The rooms document has the same name for a duration.
    let config = from("", &[("WEBSOCKET_PING_INTERVAL", "31s")], &[]).unwrap();
    assert_eq!(config.times.ping_interval, Duration::from_secs(31));
    for (name, wrong) in [
        ("WEBSOCKET_MAX_PAYLOAD", "1 potato"),
        ("WEBSOCKET_MAX_PAYLOAD", "0"),
        ("WEBSOCKET_CLEANUP_INTERVAL", "999"),
        ("WEBSOCKET_CLEANUP_INTERVAL", "often"),
        ("WEBSOCKET_CONNECTION_TIMEOUT", "-1"),
        ("WEBSOCKET_CONNECTION_TIMEOUT", "99999999999999999999"),
        ("WEBSOCKET_PING_INTERVAL", "30"),
        ("FANWIRE_PING_INTERVAL", "30000"),
    ] {
        let errors = from("", &[(name, wrong)], &[]).unwrap_err();
        assert!(errors.len() == 1 && errors[0].contains(name), "{name}: {errors:?}");
    }
}

#[test]
fn the_wait_for_pongs_follows_the_pings_of_documents_that_know_none() {
    let topics = |ping| from("", &[("FANWIRE_PRESET", "topics"), ("WEBSOCKET_PING_INTERVAL", ping)], &[]);
    let pong_wait = |ping| topics(ping).map(|config| config.times.pong_wait.as_secs());
    assert_eq!([pong_wait("30000"), pong_wait("120000"), pong_wait("0")], [Ok(60), Ok(240), Ok(0)]);
    let env =
        [("FANWIRE_PRESET", "topics"), ("WEBSOCKET_PING_INTERVAL", "120000"), ("FANWIRE_PONG_WAIT", "90s")];
    assert!(from("", &env, &[]).unwrap_err()[0].contains("pong_wait"));
}

#[test]
fn tokens_are_configured() {
    let file = "jwt_secret: a, b\njwt_algorithms: [HS256, EdDSA]\njwt_audience: one, two words\njwt_user_claims: uid\n";
    let config = from(file, &[("FANWIRE_TENANTS", "a1,a12"), ("FANWIRE_JWT_LEEWAY", "5s")], &[]).unwrap();
    let tokens = config.tokens;
    // A comma may stand in a secret: it is one, not a list.
    assert_eq!(tokens.secret.reveal(), "a, b");
    assert_eq!(tokens.algorithms, [TokenAlgorithm::Hs256, TokenAlgorithm::EdDsa]);
    assert_eq!(tokens.audience, ["one", "two words"]);
    assert_eq!(tokens.user_claims, ["uid"]);
    assert_eq!(tokens.tenants, ["a1", "a12"]);
    assert_eq!(tokens.leeway, Duration::from_secs(5));
    for wrong in [
        "jwt_algorithms: none",
        "jwt_algorithms: hs256",
        "jwt_algorithms: ES256K",
        "jwt_leeway: 1h",
        "jwt_user_claims: a,b,c,d,e,f,g,h,i",
        "jwt_jwks_url: ftp://id.example/keys",
        "jwt_jwks_url: /keys",
        "jwt_jwks_url: https://user:password@id.example/keys",
        "jwt_jwks_url: 'https://'",
    ] {
        assert_eq!(from(wrong, &[], &[]).unwrap_err().len(), 1, "{wrong}");
    }
    let url = "https://id.example:8443/keys?a=b";
    let config = from(&format!("jwt_jwks_url: {url}"), &[], &[]).unwrap();
    assert_eq!(config.tokens.jwks_url.as_deref(), Some(url));
}
