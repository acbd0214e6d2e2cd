//! Time that stands still for the server alone, and clocks that jump.

use crate::common::opcode::{FIN, PONG};
use crate::common::{Client, PATIENCE, Server, eventually, left_out};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Answers pings and counts texts until told to end, then says how many; `None` if the connection ended.
fn live_on(mut client: Client, over: Arc<AtomicBool>) -> thread::JoinHandle<Option<u64>> {
    thread::spawn(move || {
        let mut texts = 0;
        while !over.load(Ordering::Relaxed) {
            let frame = client.read_frame()?;
            match frame.head {
                0x89 => client.send_frame(FIN | PONG, &frame.payload),
                0x81 => {
                    // The numbers of the one publisher come in order, all of them.
                    let message: serde_json::Value = serde_json::from_slice(&frame.payload).unwrap();
                    assert_eq!(message["data"], texts, "{message}");
                    texts += 1;
                }
                _ => return None,
            }
        }
        Some(texts)
    })
}

fn closed_as(server: &Server, reason: &str) -> f64 {
    let of = |shard| server.metric(&format!("fanwire_closes_total{{shard=\"{shard}\",reason=\"{reason}\"}}"));
    (0..2).filter_map(of).sum()
}

#[test]
fn a_server_that_was_stopped_holds_nobody_s_silence_against_them() {
    const LIVING: usize = 40;
    const DEAD: usize = 10;
    const STOPPED: Duration = Duration::from_secs(7);
    let server = Server::start(&[
        "--ping-interval=1s",
        "--pong-wait=3s",
        "--messages-per-s=25",
        "--messages-burst=25",
    ]);
    let over = Arc::new(AtomicBool::new(false));
    let join = || {
        let mut client = server.connect();
        client.subscribe("room");
        client
    };
    let mut publisher = server.connect();
    publisher.subscribe("room");
    // They are ended by pong_wait, after the stop: reading nothing, they cannot be told.
    let dead: Vec<_> = (0..DEAD).map(|_| join()).collect();
    let living: Vec<_> = (0..LIVING).map(|_| live_on(join(), over.clone())).collect();
    // 20 a second: within the rate, and far beyond the burst when those of the stop come at once.
    let mut published = 0;
    let mut publish_for = |publisher: &mut Client, time: Duration| {
        let start = Instant::now();
        while start.elapsed() < time {
            publisher.send_text(&format!(r#"{{"type":"publish","room":"room","data":{published}}}"#));
            published += 1;
            thread::sleep(Duration::from_millis(50));
        }
    };
    publish_for(&mut publisher, Duration::from_secs(1));
    server.signal("STOP");
    publish_for(&mut publisher, STOPPED);
    let start = Instant::now();
    server.signal("CONT");
    publish_for(&mut publisher, Duration::from_secs(1));
    // Whoever is dead goes by the rules, counted from the end of the stop; nobody else goes.
    while closed_as(&server, "idle") < DEAD as f64 {
        assert!(start.elapsed() < 3 * PATIENCE, "the dead stay");
        publish_for(&mut publisher, Duration::from_millis(200));
    }
    let ended = start.elapsed();
    assert!(ended > Duration::from_millis(2500), "{ended:?}: silence counts from the end of the stop");
    publish_for(&mut publisher, Duration::from_secs(3));
    over.store(true, Ordering::Relaxed);
    publish_for(&mut publisher, Duration::from_millis(500));
    let heard: Vec<_> = living.into_iter().map(|member| member.join().unwrap()).collect();
    let alive = heard.iter().flatten().count();
    let pauses = server.metric_sum("fanwire_pauses_total");
    println!(
        "stopped for {STOPPED:?}: {alive} of {LIVING} living stayed, {DEAD} dead gone {ended:?} after it, {published} \
         messages, {} rate limited; {pauses} pauses counted",
        server.metric_sum("fanwire_rate_limited_total")
    );
    assert_eq!(alive, LIVING);
    assert!(heard.iter().flatten().all(|texts| *texts > published / 2));
    assert_eq!(closed_as(&server, "idle"), DEAD as f64);
    assert_eq!(server.metric_sum("fanwire_rate_limited_total"), 0.0);
    // Once for each shard with connections; a machine that others keep busy may stop them for longer once more.
    assert!(pauses >= 1.0, "{pauses}");
    assert!(server.output().contains("the shard did not run"));
    drop(dead);
}

/// Where Debian's package faketime puts the library.
fn faketime() -> Option<PathBuf> {
    let folders = ["x86_64-linux-gnu", "aarch64-linux-gnu"].map(|machine| format!("/usr/lib/{machine}"));
    let paths = folders.iter().map(|folder| Path::new(folder).join("faketime/libfaketime.so.1"));
    paths.into_iter().find(|path| path.exists())
}

#[test]
fn a_clock_that_jumps_changes_timestamps_and_nothing_else() {
    let Some(library) = faketime() else {
        return left_out(
            "a_clock_that_jumps_changes_timestamps_and_nothing_else",
            "the Debian package faketime",
        );
    };
    let folder = tempfile::tempdir().unwrap();
    let clock = folder.path().join("clock");
    let set = |offset: &str| {
        // Put in place whole: the server may look at any moment.
        let new = folder.path().join("new");
        std::fs::write(&new, format!("{offset}\n")).unwrap();
        std::fs::rename(&new, &clock).unwrap();
    };
    set("+0");
    // The wall clock alone: the monotonic clock is the kernel's, and does not jump. One shard: while one thread has the
    // library read the file anew, another may be told the true time.
    let mut server = Server::start_with(
        &[
            "--shards=1",
            "--ping-interval=1s",
            "--pong-wait=3s",
            r#"--room-rules=[{"pattern":"kept","history_messages":1000,"history_ttl":"1h"}]"#,
        ],
        &[
            ("LD_PRELOAD", library.to_str().unwrap()),
            ("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap()),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ],
    );
    let mut member = server.connect();
    member.subscribe("kept");
    let mut said = 0;
    let mut timestamp = |member: &mut Client| {
        said += 1;
        member.send_text(&format!(r#"{{"type":"publish","room":"kept","data":{said}}}"#));
        member.expect_json(|message| {
            assert_eq!((&message["data"], &message["offset"]), (&said.into(), &said.into()), "{message}");
            message["timestamp"].as_i64().unwrap()
        })
    };
    let hour = 3_600_000;
    let mut last = timestamp(&mut member);
    for (offset, jump) in [("-1h", -hour), ("+1h", 2 * hour), ("-10d", -241 * hour), ("+0", 240 * hour)] {
        set(offset);
        // It may be looking just now.
        eventually("the timestamps follow the clock", || {
            let before = last;
            last = timestamp(&mut member);
            (last - before - jump).abs() < 60_000
        });
        // Over pong_wait: pings go on, and nobody is ended before their time or kept after it.
        let began = Instant::now();
        let mut silent = server.connect();
        let silent = thread::spawn(move || {
            silent.read_until_close(4408, |_| {});
            began.elapsed()
        });
        while !silent.is_finished() {
            let at = timestamp(&mut member);
            assert!((at - last).abs() < 60_000, "{at} after {last}");
            last = at;
            thread::sleep(Duration::from_millis(20));
        }
        let ended = silent.join().unwrap();
        println!("clock set to {offset}: timestamps followed, a silent member was ended after {ended:?}");
        // From pong_wait on, and not by a clock that has jumped by an hour and more: it would not have ended yet.
        assert!(ended >= Duration::from_millis(2500), "{ended:?}");
    }
    // By the monotonic clock nothing is an hour old.
    let kept = server.get("/v1/rooms/kept/messages?limit=1000").json()["messages"].as_array().unwrap().len();
    assert_eq!(kept as u64, said.min(1000));
    // Not killed: the library has shared memory to take away.
    server.signal("TERM");
    assert_eq!(server.wait(PATIENCE).expect("it ends").code(), Some(0));
}
