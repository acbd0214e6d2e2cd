use super::*;
use crate::metrics::{HandshakeFailure, ShardLabels};
use std::collections::HashSet;

const LABELS: ShardLabels = ShardLabels {
    close_reasons: &["idle", "slow_consumer"],
    drop_reasons: &["outbox"],
    refusals: &["room_full"],
    token_failures: &["expired", "signature"],
};

fn text(node: &NodeMetrics, scrape: &Scrape) -> String {
    let mut out = String::new();
    node.encode(scrape, &mut out);
    out
}

fn sample() -> String {
    let node = NodeMetrics::new(2, &LABELS);
    let [first, second] = &node.shards[..] else { panic!() };
    first.connections.set(3);
    second.connections.set(4);
    first.mailbox_bytes.add(70);
    second.deliveries.add(500);
    second.closes.add(1, 9);
    second.refusals.inc(0);
    second.token_failures.inc(1);
    first.handshake_failures.inc(HandshakeFailure::Origin.index());
    first.tick_seconds.observe_ns(15_000);
    first.tick_seconds.observe_ns(60_000_000_000);
    text(
        &node,
        &Scrape {
            users: 9,
            tenants: 4,
            rooms: 12,
            membership_bytes: 832,
            history_bytes: 4096,
            history_rooms: 2,
            history_evictions: 3,
            history_share_evictions: 2,
            log_lines_lost: 5,
            idempotency_evictions: 6,
            jwks_fetches: 7,
            jwks_fetch_failures: 6,
            messages_per_second: 2.5,
            uptime_seconds: 61.0,
        },
    )
}

#[test]
fn the_documents_four_are_there() {
    let text = sample();
    for line in [
        "websocket_clients_total 7.0",
        "websocket_rooms_total 12.0",
        "websocket_messages_per_second 2.5",
        "websocket_errors_total 2",
        "fanwire_membership_bytes 832.0",
        "fanwire_history_bytes 4096.0",
        "fanwire_history_rooms 2.0",
        "fanwire_history_evictions_total 3",
        "fanwire_history_share_evictions_total 2",
        "fanwire_log_lines_lost_total 5",
        "fanwire_idempotency_evictions_total 6",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
}

#[test]
fn shards_and_reasons_are_labels() {
    let text = sample();
    for line in [
        "fanwire_connections{shard=\"0\"} 3",
        "fanwire_connections{shard=\"1\"} 4",
        "fanwire_mailbox_bytes{shard=\"0\"} 70",
        "fanwire_deliveries_total{shard=\"1\"} 500",
        "fanwire_closes_total{shard=\"1\",reason=\"slow_consumer\"} 9",
        "fanwire_closes_total{shard=\"0\",reason=\"idle\"} 0",
        "fanwire_refusals_total{shard=\"1\",reason=\"room_full\"} 1",
        "fanwire_handshake_failures_total{shard=\"0\",reason=\"origin\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
}

#[test]
fn histograms_are_cumulative() {
    let text = sample();
    for line in [
        "fanwire_tick_seconds_sum{shard=\"0\"} 60.000015",
        "fanwire_tick_seconds_count{shard=\"0\"} 2",
        "fanwire_tick_seconds_bucket{le=\"0.00001\",shard=\"0\"} 0",
        "fanwire_tick_seconds_bucket{le=\"0.00002\",shard=\"0\"} 1",
        "fanwire_tick_seconds_bucket{le=\"10.0\",shard=\"0\"} 1",
        "fanwire_tick_seconds_bucket{le=\"+Inf\",shard=\"0\"} 2",
        "fanwire_publish_to_write_seconds_count{shard=\"1\"} 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
}

#[test]
fn every_line_is_of_the_format_and_comes_once() {
    let text = sample();
    let body = text.strip_suffix("# EOF\n").unwrap();
    let mut seen = HashSet::new();
    let mut family = "";
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            family = rest.split(' ').next().unwrap();
            assert!(seen.insert(line));
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            assert_eq!(rest.split(' ').next().unwrap(), family);
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(series.starts_with(family), "{line} under {family}");
        assert!(value.parse::<f64>().unwrap() >= 0.0);
        assert!(seen.insert(series), "{series} twice");
    }
    assert!(seen.len() > 100);
}

#[test]
fn a_node_without_shards_still_has_its_totals() {
    let text = text(&NodeMetrics::new(0, &LABELS), &Scrape::default());
    assert!(text.contains("websocket_clients_total 0.0\n"));
    assert!(text.ends_with("# EOF\n"));
}
