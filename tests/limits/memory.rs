//! The node's bound on what waits in outboxes is a bound on memory: with ten thousand readers that have stopped and
//! publishers that go on, the process stays within what tuning.md tells.

use crate::common::{Client, Crowd, Progress, Server, Stop, crowd_alone, crowd_size, rss_kib};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

const MIB: u64 = 1024;

/// `outboxes_bytes_max`.
const BOUND_KIB: u64 = 64 * MIB;

const SHARDS: u64 = 2;

/// The formula of tuning.md, in KiB: what the process may hold beside what its connections cost when idle.
fn formula_kib(stalled: u64) -> u64 {
    // The outboxes with what the allocator rounds up; for each stalled connection its entry there and what is sent of
    // the frame that it has begun; a tick's memory, the receive buffer and mail under way of each shard.
    BOUND_KIB * 5 / 4 + stalled * (MESSAGE_BYTES as u64 + 512) / 1024 + SHARDS * 8 * MIB
}

/// A message's length, but for its envelope.
const MESSAGE_BYTES: usize = 4096;

/// Rooms that one publisher is in.
const ROOMS_EACH: usize = 1000;

/// Publishes 4 KiB to each of the rooms `first..`, one after the other, without end; counts in `done` what it asks for.
fn publish_to_all(server: &Server, first: usize, rooms: usize, stop: &AtomicBool, done: &AtomicU64) -> u64 {
    let mut client = server.connect();
    let last = rooms.min(first + ROOMS_EACH);
    for room in first..last {
        client.subscribe(&format!("stalled-{room}"));
        done.fetch_add(1, Ordering::Relaxed);
    }
    let padding = "x".repeat(MESSAGE_BYTES);
    let mut sent = 0;
    'flood: loop {
        for room in first..last {
            if stop.load(Ordering::Relaxed) {
                break 'flood;
            }
            client.send_text(&format!(r#"{{"type":"publish","room":"stalled-{room}","data":"{padding}"}}"#));
            sent += 1;
            done.fetch_add(1, Ordering::Relaxed);
        }
    }
    sent
}

/// Reads numbers in their order until the last one.
fn hear(mut member: Client) -> u64 {
    let mut next = 0;
    loop {
        let number = member.expect_json(|message| message["data"].as_u64());
        let Some(number) = number else { return next };
        assert_eq!(number, next, "something is missing");
        next += 1;
    }
}

#[test]
fn stalled_readers_cost_no_more_memory_than_is_configured() {
    let _alone = crowd_alone();
    let server = Server::start(&[
        &format!("--shards={SHARDS}"),
        &format!("--outboxes-bytes-max={}KiB", BOUND_KIB),
        "--outbox-bytes-max=1MiB",
        "--outbox-messages-max=10000",
        "--write-wait=60s",
        // So that the kernel hides little, and no publisher has to read.
        "--tcp-send-buffer=8KiB",
        "--deliver-to-sender=false",
        "--connections-per-ip-max=0",
        "--rooms-per-connection-max=1000",
        "--log-level=warn",
    ]);
    let size = crowd_size(10_000);
    let stalled = Crowd::connect(server.addr(), size, Some(4096), |number| format!("stalled-{number}"));
    let mut healthy: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    healthy.iter_mut().for_each(|client| client.subscribe("healthy"));
    let mut speaker = server.connect();
    speaker.subscribe("healthy");
    let before = rss_kib(&server);
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let (mut most, mut held_most) = (before, 0);
    thread::scope(|scope| {
        let hearers: Vec<_> = healthy.drain(..).map(|member| scope.spawn(|| hear(member))).collect();
        let publishers: Vec<_> = (0..size)
            .step_by(ROOMS_EACH)
            .map(|first| {
                let (server, stop, done) = (&server, &stop, &done);
                scope.spawn(move || publish_to_all(server, first, size, stop, done))
            })
            .collect();
        // Until as much as the bound has been dropped as well.
        let _stop = Stop(&stop);
        let (mut said, mut progress) = (0, Progress::new());
        loop {
            speaker.send_text(&format!(r#"{{"type":"publish","room":"healthy","data":{said}}}"#));
            said += 1;
            most = most.max(rss_kib(&server));
            if said % 20 == 0 {
                let held = server.metric_sum("fanwire_backlog_bytes");
                held_most = held_most.max(held as u64 / 1024);
                let evicted = server.metric_sum("fanwire_dropped_frames_total");
                if evicted * 4.0 > BOUND_KIB as f64 {
                    break;
                }
                // A publisher joins a thousand rooms before it says its first word.
                progress.check("what publishers did", done.load(Ordering::Relaxed) as f64);
            }
            thread::sleep(Duration::from_millis(5));
        }
        speaker.send_text(r#"{"type":"publish","room":"healthy","data":"end"}"#);
        for hearer in hearers {
            assert_eq!(hearer.join().expect("no healthy member is cut off"), said);
        }
        stop.store(true, Ordering::Relaxed);
        let sent: u64 =
            publishers.into_iter().map(|one| one.join().expect("nobody cuts publishers off")).sum();
        println!("{sent} messages to the stalled, {said} to the healthy");
    });
    let grown = most - before;
    println!(
        "{size} stalled: {before} KiB before, at the most {grown} KiB more, of which {held_most} KiB in outboxes; \
         allowed {} KiB",
        formula_kib(size as u64)
    );
    assert!(held_most > BOUND_KIB / 2, "the outboxes held {held_most} KiB only");
    assert!(grown <= formula_kib(size as u64), "{grown} KiB");
    assert!(stalled.streams().len() == size);
}
