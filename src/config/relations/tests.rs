use super::*;
use crate::config::{Preset, Sources, load};

const KIB: usize = 1024;

/// Both keys of each relation, as a file that breaks it alone, and what is told.
const BREAK: &[(&str, &str)] = &[
    ("ping_interval: 60s\npong_wait: 60s", "pong_wait: 60s must be longer than ping_interval, which is 60s"),
    ("ping_interval: 0", "pong_wait: 60s must be 0 without ping_interval"),
    (
        "outbox_bytes_max: 2MiB\noutboxes_bytes_max: 1MiB",
        "outbox_bytes_max: 2MiB must be at most outboxes_bytes_max, which is 1MiB",
    ),
    (
        "message_bytes_max: 64KiB\noutbox_bytes_max: 64KiB",
        "message_bytes_max: 64KiB must be at least 3KiB less than outbox_bytes_max, which is 64KiB",
    ),
    (
        "http_body_bytes_max: 8MiB\noutbox_bytes_max: 2MiB",
        "http_body_bytes_max: 8MiB must be at least 3KiB less than outbox_bytes_max, which is 2MiB",
    ),
    (
        "message_bytes_max: 2MiB\nmailbox_bytes_max: 1MiB",
        "message_bytes_max: 2MiB must be at most mailbox_bytes_max, which is 1MiB",
    ),
    (
        "message_bytes_max: 2MiB\ninputs_bytes_max: 1MiB",
        "message_bytes_max: 2MiB must be at most inputs_bytes_max, which is 1MiB",
    ),
    (
        "outbox_bytes_per_user_max: 4KiB",
        "outbox_bytes_per_user_max: 4KiB must be 0, or at least outbox_bytes_max",
    ),
    (
        "outbox_bytes_per_user_max: 1GiB",
        "outbox_bytes_per_user_max: 1GiB must be 0, or at most outboxes_bytes_max, which is 256MiB",
    ),
    (
        "outbox_bytes_per_tenant_max: 4KiB",
        "outbox_bytes_per_tenant_max: 4KiB must be 0, or at least outbox_bytes_max, which is 1MiB",
    ),
    (
        "outbox_bytes_per_tenant_max: 1GiB",
        "outbox_bytes_per_tenant_max: 1GiB must be 0, or at most outboxes_bytes_max, which is 256MiB",
    ),
    (
        "hook_url: 'http://a/'\nhook_secret: s\nhook_timeout: 11s",
        "hook_timeout: 11s must be at most http_request_timeout, which is 10s",
    ),
    (
        "hook_url: 'http://a/'\nhook_secret: s\nping_interval: 2s\npong_wait: 5s",
        "hook_timeout: 5s must be shorter than pong_wait, which is 5s",
    ),
    (
        "hook_url: 'http://a/'\nhook_secret: s\nidle_timeout: 5s",
        "hook_timeout: 5s must be shorter than idle_timeout, which is 5s",
    ),
    (
        "hook_url: 'http://a/'\nhook_secret: s\nmessage_bytes_max: 64KiB\nhook_queue_bytes_max: 64KiB",
        "message_bytes_max: 64KiB must be at most half of hook_queue_bytes_max, which is 64KiB",
    ),
];

/// The same of what should fit.
const MISS: &[(&str, &str)] = &[
    ("deflate: true\ndeflate_min_bytes: 2MiB", "deflate_min_bytes: 2MiB should be at most message_bytes_max"),
    ("bytes_per_s: 64KiB", "bytes_per_s: 64KiB or bytes_burst should be at least message_bytes_max"),
    ("bytes_burst: 1MiB", "bytes_burst: 1MiB needs bytes_per_s, which is 0"),
    ("messages_burst: 9", "messages_burst: 9 needs messages_per_s, which is 0"),
    ("messages_burst_user: 9", "messages_burst_user: 9 needs messages_per_s_user, which is 0"),
    ("messages_burst_tenant: 9", "messages_burst_tenant: 9 needs messages_per_s_tenant, which is 0"),
    (
        "messages_per_s: 20\nmessages_per_s_user: 10",
        "messages_per_s: 20 should be at most messages_per_s_user, which is 10",
    ),
    (
        "messages_per_s_user: 20\nmessages_per_s_tenant: 10",
        "messages_per_s_user: 20 should be at most messages_per_s_tenant, which is 10",
    ),
    (
        "connections_per_ip_max: 20\nconnections_max: 10",
        "connections_per_ip_max: 20 should be at most connections_max, which is 10",
    ),
    (
        "connections_per_user_max: 20\nconnections_per_tenant_max: 10",
        "connections_per_user_max: 20 should be at most connections_per_tenant_max, which is 10",
    ),
    (
        "connections_per_tenant_max: 20\nconnections_max: 10",
        "connections_per_tenant_max: 20 should be at most connections_max, which is 10",
    ),
    (
        "rooms_per_user_max: 20\nrooms_per_tenant_max: 10",
        "rooms_per_user_max: 20 should be at most rooms_per_tenant_max, which is 10",
    ),
    (
        "history_bytes_per_tenant_max: 2GiB",
        "history_bytes_per_tenant_max: 2GiB should be at most history_bytes_max, which is 256MiB",
    ),
    ("ready_timeout: 20s", "ready_timeout: 20s should be at most http_request_timeout, which is 10s"),
];

fn read(file: &str) -> Result<Config, Vec<String>> {
    load(&Sources { file: Some(("f.yaml", file)), env: &[], flags: &[] })
        .map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

#[test]
fn each_relation_that_is_broken_is_told_alone() {
    assert_eq!(BREAK.len(), MUST.len());
    for (file, what) in BREAK {
        let errors = read(file).unwrap_err();
        assert!(errors.len() == 1 && errors[0].contains(what), "{file}: {errors:?}");
    }
    assert_eq!(MISS.len(), SHOULD.len());
    for (file, what) in MISS {
        let told = read(file).unwrap().without_effect();
        assert!(told.len() == 1 && told[0].contains(what), "{file}: {told:?}");
    }
}

#[test]
fn relations_name_keys_that_there_are() {
    for relation in MUST.iter().chain(SHOULD) {
        for name in [relation.key, relation.other] {
            assert!(keys::by_name(name).is_some(), "{name}");
        }
    }
}

#[test]
fn what_runs_without_configuration_fits() {
    for preset in [Preset::None, Preset::Rooms, Preset::Channels, Preset::Topics, Preset::Tenants] {
        let config = Config::of_preset(preset);
        assert_eq!((config.contradictions(), config.without_effect()), (vec![], vec![]), "{preset:?}");
        let mut fitted = config.clone();
        fitted.fit_outboxes(|_| false);
        assert_eq!(fitted, config, "{preset:?}: its defaults are fitted already");
    }
}

#[test]
fn what_is_not_configured_fits_to_what_is() {
    let sizes = |file: &str| {
        let config = read(file).unwrap();
        [config.limits.message_bytes_max, config.http.body_bytes_max, config.limits.outbox_bytes_max]
    };
    assert_eq!(sizes(""), [512_000, 1024 * KIB, 1088 * KIB]);
    assert_eq!(sizes("message_bytes_max: 4MiB"), [4096 * KIB, 1024 * KIB, 8256 * KIB]);
    assert_eq!(sizes("http_body_bytes_max: 8MiB"), [512_000, 8192 * KIB, 8256 * KIB]);
    assert_eq!(sizes("outbox_bytes_max: 64KiB"), [61 * KIB, 61 * KIB, 64 * KIB]);
    assert_eq!(sizes("outbox_bytes_max: 4KiB"), [KIB, KIB, 4 * KIB]);
    assert_eq!(sizes("outbox_bytes_per_user_max: 1MiB"), [512_000, 1021 * KIB, 1024 * KIB]);
    // What is configured is never changed.
    assert!(read("message_bytes_max: 64MiB\noutboxes_bytes_max: 32MiB").is_err());
    assert!(read("http_body_bytes_max: 1MiB\noutbox_bytes_max: 64KiB").is_err());
}
