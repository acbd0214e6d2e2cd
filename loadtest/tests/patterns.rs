//! Every pattern against the bare server in every mode, over loopback.

mod common;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use common::{assert_all_delivered, number, run};

const SHORT: [&str; 4] = ["--duration", "1", "--warmup", "0.2"];

fn with<'a>(options: &[&'a str]) -> Vec<&'a str> {
    [options, &SHORT].concat()
}

/// A bare server on a free port; ended when dropped.
struct Floor {
    child: Child,
    url: String,
}

impl Floor {
    /// Two threads, with further options.
    fn start(options: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_loadtest"))
            .args(["floor", "--port", "0", "--threads", "2"])
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split_ascii_whitespace().nth(2).expect("the address").trim_end_matches(',');
        Self { url: format!("ws://{address}/ws"), child }
    }

    fn pid(&self) -> String {
        self.child.id().to_string()
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every mode that this kernel can do: io_uring may be forbidden.
fn modes() -> Vec<&'static str> {
    let mut modes = vec!["send", "batch"];
    let forbidden = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or("2".into());
    if forbidden.trim() == "0" {
        modes.extend(["uring", "uring-batch"]);
    }
    modes
}

#[test]
fn fanout_at_a_rate_delivers_every_copy_at_its_time() {
    for mode in modes() {
        let floor = Floor::start(&["--mode", mode]);
        let pid = floor.pid();
        let options = with(&["--rooms", "3", "--members", "20", "--rate", "300", "--pid", &pid]);
        let (report, status) = run("fanout", &floor.url, &options);
        assert_all_delivered(&report, status);
        // 300 messages/s in 1.2 s, to 20 members each: not one is left out, however late.
        assert_eq!(number(&report, "deliveries", "expected"), 360.0 * 20.0, "{mode}: {report}");
        assert_eq!(number(&report, "deliveries", "published_per_s"), 300.0, "{mode}: {report}");
        let percentiles = ["p50_us", "p90_us", "p99_us", "p999_us", "max_us"];
        assert!(percentiles.map(|key| number(&report, "latency", key)).is_sorted(), "{mode}: {report}");
        assert!(number(&report, "latency", "p50_us") > 0.0, "{mode}");
        assert!(number(&report, "server", "rss_after_bytes") > 100_000.0, "{mode}");
        assert_eq!(number(&report, "connections", "joined"), 60.0, "{mode}");
    }
}

#[test]
fn fanout_flat_out_keeps_going_and_loses_nothing() {
    for mode in modes() {
        let floor = Floor::start(&["--mode", mode]);
        let options = with(&["--rooms", "5", "--members", "20", "--in-flight", "16"]);
        let (report, status) = run("fanout", &floor.url, &options);
        assert_all_delivered(&report, status);
        // Beyond the 80 messages that are under way at once.
        assert!(number(&report, "deliveries", "expected") > 2.0 * 20.0 * 80.0, "{mode}: {report}");
    }
}

#[test]
fn fanout_with_several_and_separate_publishers() {
    let floor = Floor::start(&[]);
    for options in [
        &["--publishers", "4"][..],
        &["--publishers", "2", "--separate-publishers"],
        &["--publishers", "2", "--separate-publishers", "--publishers-join"],
        &["--publishers", "2", "--separate-publishers", "--in-flight", "4"],
    ] {
        let (report, status) = run("fanout", &floor.url, &with(&[&["--members", "10"], options].concat()));
        assert_all_delivered(&report, status);
    }
}

#[test]
fn frames_of_the_bare_server_have_the_size_asked_for() {
    let floor = Floor::start(&["--frame-bytes", "500"]);
    let (report, status) = run("fanout", &floor.url, &with(&["--members", "10"]));
    assert_all_delivered(&report, status);
    assert_eq!(number(&report, "deliveries", "bytes_each"), 500.0);
}

#[test]
fn copies_that_cannot_be_told_are_lost_copies() {
    // Twenty bytes hold no sequence number.
    let floor = Floor::start(&["--frame-bytes", "20"]);
    let (report, status) =
        run("fanout", &floor.url, &with(&["--members", "5", "--rate", "50", "--drain", "0.2"]));
    assert_eq!(status, 1, "{report}");
    assert!(number(&report, "deliveries", "lost") > 0.0);
    assert_eq!(number(&report, "deliveries", "received"), 0.0);
}

#[test]
fn idle_tells_the_memory_of_a_connection() {
    let floor = Floor::start(&[]);
    let pid = floor.pid();
    for rooms in ["10", "0"] {
        let options = with(&["--connections", "200", "--rooms", rooms, "--pid", &pid, "--steady", "1.5"]);
        let (report, status) = run("idle", &floor.url, &options);
        assert_eq!(status, 0, "{report}");
        assert_eq!(number(&report, "connections", "joined"), 200.0);
        // The second run may find the memory of the first.
        let each = number(&report, "server", "bytes_per_connection");
        assert!((-5_000.0..50_000.0).contains(&each), "{report}");
    }
}

#[test]
fn connections_may_bring_tokens() {
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/ws", server.local_addr().unwrap());
    let heard = std::thread::spawn(move || {
        let heads = (0..2).map(|_| {
            let (stream, _) = server.accept().unwrap();
            let lines = BufReader::new(stream).lines().map(Result::unwrap);
            let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
            let bearer = head.iter().find_map(|line| line.strip_prefix("Authorization: Bearer "));
            bearer.expect("a token").to_owned()
        });
        heads.collect::<Vec<_>>()
    });
    let (_, status) = run("idle", &url, &with(&["--connections", "2", "--token-secret", "s"]));
    // It is nobody who upgrades.
    assert_eq!(status, 1);
    let tokens = heard.join().unwrap();
    assert_ne!(tokens[0], tokens[1]);
    assert!(tokens.iter().all(|token| token.split('.').count() == 3), "{tokens:?}");
}

#[test]
fn idle_over_several_source_addresses() {
    let floor = Floor::start(&[]);
    let options = with(&["--connections", "60", "--sources", "3"]);
    let (report, status) = run("idle", &floor.url, &options);
    assert_eq!((status, number(&report, "connections", "joined")), (0, 60.0), "{report}");
}

#[test]
fn churn_flat_out_and_at_a_rate() {
    let floor = Floor::start(&[]);
    let pid = floor.pid();
    let (report, status) = run("churn", &floor.url, &with(&["--concurrency", "8", "--pid", &pid]));
    assert_eq!(status, 0, "{report}");
    assert!(number(&report, "cycles", "completed") > 8.0, "{report}");
    assert!(report["server"]["cpu_us_per_cycle"].is_number(), "{report}");

    let (report, status) = run("churn", &floor.url, &with(&["--rate", "200"]));
    assert_eq!(status, 0, "{report}");
    let completed = number(&report, "cycles", "completed");
    assert_eq!(completed + number(&report, "cycles", "missed"), 240.0, "{report}");
}

#[test]
fn slow_members_are_cut_off_and_the_others_get_everything() {
    let floor = Floor::start(&["--backlog-bytes", "4000000"]);
    let options = with(&["--members", "6", "--stalled", "3", "--size", "100000", "--rate", "100"]);
    let options = [&options[..], &["--stalled-rcvbuf", "4096"]].concat();
    let (report, status) = run("slow", &floor.url, &options);
    assert_all_delivered(&report, status);
    let stalled = |key| number(&report, "stalled_members", key);
    assert_eq!(stalled("members"), 3.0);
    assert!(stalled("received") < stalled("expected"), "{report}");
    // On a machine with no time to spare some read again before they are cut off.
    let ends = report["stalled_members"]["ends"].as_object().expect("an object");
    let cut = ends.values().filter_map(|count| count.as_u64()).sum::<u64>();
    assert!((1..=3).contains(&cut), "{report}");
    assert!(stalled("first_cut_us") <= stalled("last_cut_us"), "{report}");
}

/// Both clients count the same messages and the same bytes of one server.
#[test]
fn the_second_client_tells_the_same() {
    let floor = Floor::start(&["--frame-bytes", "300"]);
    let reports = ["own", "fastwebsockets"].map(|client| {
        let options = with(&["--rooms", "3", "--members", "20", "--rate", "300", "--client", client]);
        let (report, status) = run("fanout", &floor.url, &options);
        assert_all_delivered(&report, status);
        report
    });
    for key in ["expected", "received", "published_per_s", "bytes_each"] {
        let [own, second] = reports.each_ref().map(|report| number(report, "deliveries", key));
        assert_eq!(own, second, "{key}");
    }
    assert_eq!(number(&reports[1], "deliveries", "bytes_each"), 300.0);
    assert!(number(&reports[1], "latency", "p50_us") > 0.0);
}

#[test]
fn the_second_client_goes_flat_out_and_comes_and_goes() {
    let floor = Floor::start(&[]);
    let second = ["--client", "fastwebsockets"];
    let flat_out = [&["--rooms", "5", "--members", "20", "--in-flight", "16"][..], &second].concat();
    let (report, status) = run("fanout", &floor.url, &with(&flat_out));
    assert_all_delivered(&report, status);
    assert!(number(&report, "deliveries", "expected") > 2.0 * 20.0 * 80.0, "{report}");
    let (report, status) = run("idle", &floor.url, &with(&[&["--connections", "200"][..], &second].concat()));
    assert_eq!((number(&report, "connections", "joined"), status), (200.0, 0), "{report}");
    let (report, status) = run("churn", &floor.url, &with(&[&["--rate", "200"][..], &second].concat()));
    assert_eq!((report["problems"].as_array().map(Vec::len), status), (Some(0), 0), "{report}");
    // Whether a paused connection hangs up cannot be heard by it.
    let (_, status) = run("slow", &floor.url, &with(&second));
    assert_eq!(status, 2);
}

#[test]
fn nobody_there_is_a_failure() {
    // The port was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("ws://127.0.0.1:{port}/");
    for pattern in ["fanout", "idle", "slow", "churn"] {
        let (report, status) = run(pattern, &url, &["--duration", "0.1", "--warmup", "0"]);
        assert_eq!(status, 1, "{pattern}: {report}");
        assert_ne!(report["problems"], serde_json::json!([]), "{pattern}");
    }
    let (_, status) = run("idle", "http://127.0.0.1/", &[]);
    assert_eq!(status, 2, "a URL that is none");
}
