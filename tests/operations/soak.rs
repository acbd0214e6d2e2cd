//! A long run of everything at once: members come and go in every way, publish, recover what they missed, stop reading,
//! while the configuration is reloaded. Nothing is lost, doubled or out of order; the counters are what the clients saw;
//! memory stays where it was. `tests/soak SECONDS` runs it for as long as wanted.

mod fleet;
mod memory;
mod peer;
mod tally;

use crate::common::{PATIENCE, Server, rss_kib};
use fleet::{FLOOD, Fleet, PUBLISHERS, ROOMS};
use memory::Memory;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long it runs unless FANWIRE_SOAK_SECONDS says otherwise.
const SECONDS: u64 = 15;

/// What memory may grow by after the warm-up, in percent.
const GROWTH_PERCENT_MAX: f64 = 2.0;

/// Shorter runs than this, in seconds, end before tables and the allocator's pages have their size.
const JUDGED_FROM: u64 = 45;

/// One step of the script.
const STEP: Duration = Duration::from_millis(20);

/// Steps after which nothing is under way any more.
const SETTLED_AFTER: u32 = 50;

/// Steps between one thing and the next of its kind.
const EVERY_STALL: u64 = 10;
const EVERY_FLOOD: u64 = 4;
const EVERY_SECOND: u64 = 50;
const EVERY_RELOAD: u64 = 250;

const FLAGS: [&str; 7] = [
    "--port=0",
    "--outbox-bytes-max=256KiB",
    "--tcp-send-buffer=16KiB",
    "--pong-wait=20s",
    "--messages-per-s=0",
    "--log-format=json",
    r#"--room-rules=[{"pattern":"kept:*","history_messages":50}]"#,
];

#[test]
fn hours_leave_the_server_as_it_was() {
    let seconds = std::env::var("FANWIRE_SOAK_SECONDS").map_or(SECONDS, |s| s.parse().expect("seconds"));
    let seed = std::env::var("FANWIRE_SOAK_SEED").map_or(1, |s| s.parse().expect("a number"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fanwire.yaml");
    configure(&file, 0);
    let flags = [&FLAGS[..], &["--config", file.to_str().unwrap()]].concat();
    let mut fleet = Fleet::new(Server::start(&flags), seed);
    fleet.fill_histories(60);
    let mut memory = Memory::default();
    // Even the shortest run has some time after it.
    let warm_up = Duration::from_secs((seconds / 5).max(5).min(seconds / 2));
    let run = Duration::from_secs(seconds);
    let mut step = 0;
    while fleet.elapsed() < run {
        step += 1;
        one_step(&mut fleet, step, &file);
        if step % EVERY_SECOND == 0 {
            memory.add(fleet.elapsed(), rss_kib(&fleet.server));
        }
        if step % (EVERY_SECOND * (seconds / 20).max(1)) == 0 {
            println!(
                "{:>5.0?} s: {} KiB; {}",
                fleet.elapsed().as_secs(),
                rss_kib(&fleet.server),
                fleet.tally
            );
        }
    }
    settle(&mut fleet);
    check_counters(&mut fleet);
    check_deliveries(&mut fleet);
    check_end(&mut fleet);
    let (early, late) = memory.thirds(warm_up);
    let growth = (late as f64 / early as f64 - 1.0) * 100.0;
    println!("seed {seed}, {seconds} s: {}", fleet.tally);
    println!(
        "memory: {early} KiB after the warm-up, {late} KiB at the end ({growth:+.2} %), {} KiB at most; \
         processor time {:.1} s",
        memory.peak(),
        crate::common::cpu_seconds(fleet.server.pid())
    );
    if seconds >= JUDGED_FROM {
        assert!(growth <= GROWTH_PERCENT_MAX, "memory grows");
    }
}

/// What a step of the script does; most things happen every so many steps.
fn one_step(fleet: &mut Fleet, step: u64, file: &Path) {
    fleet.publish_some();
    fleet.churn();
    if step.is_multiple_of(EVERY_STALL) {
        fleet.stall();
    }
    if step.is_multiple_of(EVERY_FLOOD) {
        fleet.publish(FLOOD, 0, 16 * 1024);
    }
    if step.is_multiple_of(EVERY_SECOND) {
        fleet.publish_by_api();
        assert_eq!(fleet.server.get("/health").status, 200);
        assert_eq!(fleet.server.get("/ready").status, 200);
        fleet.tally.asked += 2;
    }
    if step.is_multiple_of(EVERY_RELOAD) {
        fleet.tally.reloads += 1;
        configure(file, fleet.tally.reloads);
        fleet.server.signal("HUP");
    }
    fleet.receive(STEP);
    if step % EVERY_RELOAD == EVERY_RELOAD / 2 {
        let told = fleet.server.output().matches("configuration read again").count() as u64;
        assert_eq!(told, fleet.tally.reloads, "each reload is told");
    }
}

/// Another configuration with each number.
fn configure(file: &Path, number: u64) {
    let (ping, bursts) = (5 + number % 3, 8192 + number % 2);
    fs::write(file, format!("ping_interval: {ping}s\noutbox_messages_max: {bursts}\n")).unwrap();
}

/// Goes on until all are there and have heard everything.
fn settle(fleet: &mut Fleet) {
    let start = Instant::now();
    while !fleet.is_settled() || !fleet.is_up_to_date() {
        assert!(start.elapsed() < 2 * PATIENCE, "not settled: {}", fleet.tally);
        // A staller is closed only by more than it can take.
        if !fleet.is_settled() {
            fleet.publish(FLOOD, 0, 16 * 1024);
        }
        fleet.bring_back();
        fleet.receive(STEP);
    }
}

/// What the server has counted, against what the clients did.
fn check_counters(fleet: &mut Fleet) {
    let server = &fleet.server;
    let sum = |name: &str| server.metric_sum(&format!("fanwire_{name}")) as u64;
    let closes = |reason: &str| {
        let of =
            |shard| server.metric(&format!("fanwire_closes_total{{shard=\"{shard}\",reason=\"{reason}\"}}"));
        (0..2).map(|shard| of(shard).expect("the reason exists") as u64).sum::<u64>()
    };
    crate::common::eventually("who went is counted", || sum("connections") == fleet.open_now() as u64);
    let tally = &fleet.tally;
    let mut found = vec![
        ("closes by their clients", closes("peer_closed"), tally.left),
        ("connections lost", closes("transport_lost"), tally.lost),
        ("slow consumers", closes("slow_consumer"), tally.slow),
        ("closes", sum("closes_total"), tally.left + tally.lost + tally.slow),
        ("publications", sum("publications_total"), tally.published + tally.published_by_api),
        ("memberships", sum("members"), fleet.memberships() as u64),
        ("rooms", server.metric("websocket_rooms_total").unwrap() as u64, 2 * ROOMS as u64 + 2),
        ("recoveries", sum("recoveries_total"), tally.recovered),
        ("backlog", sum("backlog_bytes"), 0),
        ("log lines lost", sum("log_lines_lost_total"), 0),
    ];
    for nothing in ["protocol_errors", "refusals", "handshake_failures", "http_errors", "accept_errors"] {
        found.push((nothing, sum(&format!("{nothing}_total")), 0));
    }
    for (what, counted, seen) in found {
        assert_eq!(counted, seen, "{what}: counted, and seen by the clients");
    }
}

/// Deliveries that the server has counted and no client has seen.
fn unseen(fleet: &Fleet) -> i64 {
    fleet.server.metric_sum("fanwire_deliveries_total") as i64 - fleet.tally.frames as i64
}

/// The least number of unseen deliveries, which was not undercut for long: what was lost with its connections, and no
/// frame, such as a ping, that is still under way.
fn lost_for_good(fleet: &mut Fleet) -> i64 {
    let (mut least, mut since) = (unseen(fleet), 0);
    while since < SETTLED_AFTER {
        fleet.receive(STEP);
        since += 1;
        let now = unseen(fleet);
        if now < least {
            (least, since) = (now, 0);
        }
    }
    least
}

/// With nobody coming or going, each frame that the server counts comes to a client, and no other.
fn check_deliveries(fleet: &mut Fleet) {
    let (lost, seen_before) = (lost_for_good(fleet), fleet.tally.frames);
    for _ in 0..50 {
        fleet.publish_some();
        fleet.receive(STEP);
    }
    let start = Instant::now();
    loop {
        fleet.receive(STEP);
        let (unseen, seen) = (unseen(fleet), fleet.tally.frames - seen_before);
        // Pings may be under way when the counter is read.
        if unseen == lost && fleet.is_up_to_date() {
            println!("{seen} frames counted, all of them seen");
            assert!(seen as usize > 50 * PUBLISHERS);
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{seen} frames seen, {} more counted", unseen - lost);
    }
}

/// Nothing of anybody is left.
fn check_end(fleet: &mut Fleet) {
    fleet.leave();
    let start = Instant::now();
    while fleet.open_now() > 0 {
        assert!(start.elapsed() < PATIENCE, "{} do not end", fleet.open_now());
        fleet.receive(STEP);
    }
    for gauge in ["connections", "members", "rooms", "backlog_bytes"] {
        crate::common::eventually(gauge, || fleet.server.metric_sum(&format!("fanwire_{gauge}")) == 0.0);
    }
    assert_eq!(fleet.server.metric_sum("fanwire_closes_total") as u64, fleet.tally.opened, "{}", fleet.tally);
}
