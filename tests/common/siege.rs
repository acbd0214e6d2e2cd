use super::{Client, Response, Server, eventually};
use std::collections::BTreeMap;

/// The families whose counts a bad input may raise, and only in the way that its test says.
const WATCHED: [&str; 6] =
    ["closes", "refusals", "handshake_failures", "http_errors", "protocol_errors", "rate_limited"];

/// Counts by family and label: `closes too_big`, or `protocol_errors`.
type Counts = BTreeMap<String, u64>;

/// A server with a healthy member, which goes on receiving whatever others send.
pub struct Siege {
    server: Server,
    member: Client,
    heard: u32,
    before: Counts,
}

impl Siege {
    /// Starts a server, connects the member, and lets it join a room. Nobody is pinged unless `flags` ask for that: the
    /// member does not read while an attack is under way, for as long as that takes on a busy machine.
    pub fn start(flags: &[&str]) -> Self {
        let pings = flags.iter().any(|flag| flag.starts_with("--ping-interval"));
        let quiet: &[&str] = if pings { &[] } else { &["--ping-interval=0", "--pong-wait=0"] };
        let server = Server::start(&[quiet, flags].concat());
        let mut member = server.connect();
        member.subscribe("healthy");
        let before = counts(&server);
        Self { server, member, heard: 0, before }
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Does `attack`; then what is counted has grown by exactly `expected` since the last call, and the member still
    /// receives.
    pub fn counts<T>(
        &mut self,
        what: &str,
        expected: &[(&str, u64)],
        attack: impl FnOnce(&Server) -> T,
    ) -> T {
        println!("{what}");
        let outcome = attack(&self.server);
        let expected: Counts = expected.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        let mut grown = Counts::new();
        let start = std::time::Instant::now();
        while grown != expected {
            assert!(start.elapsed() < super::PATIENCE, "{what}: counted {grown:?}, not {expected:?}");
            grown = growth(&self.before, &counts(&self.server));
        }
        for (name, count) in expected {
            *self.before.entry(name).or_default() += count;
        }
        self.member_hears();
        outcome
    }

    /// Nothing at all has been counted since the last call: what comes late would show here.
    pub fn nothing_more_is_counted(&self) {
        assert_eq!(growth(&self.before, &counts(&self.server)), Counts::new());
    }

    /// A message to the member's room comes to the member, and no other since the last.
    pub fn member_hears(&mut self) {
        self.heard += 1;
        let heard = self.heard;
        self.member.send_text(&format!(r#"{{"type":"publish","room":"healthy","data":{heard}}}"#));
        self.member.expect_json(|message| assert_eq!(message["data"], heard, "{message}"));
    }

    /// Lets the member receive for as long as another thread takes; what that returns.
    pub fn hears_while<T>(&mut self, other: std::thread::JoinHandle<T>) -> T {
        while !other.is_finished() {
            self.member_hears();
        }
        other.join().expect("it does not panic")
    }

    /// Does `attack` often, and then often again: the second time leaves the memory where it was.
    pub fn leaves_memory(&mut self, what: &str, times: u32, mut attack: impl FnMut(&Server)) {
        // Above the allocator's own movements between two runs, below 2 KiB for each of 2,000 attacks.
        const GROWTH_KIB_MAX: u64 = 3 * 1024;
        // Allocators keep some of what they are given back, and tables their size: that is reached in the first run.
        (0..times).for_each(|_| attack(&self.server));
        self.all_gone();
        let before = rss_kib(&self.server);
        (0..times).for_each(|_| attack(&self.server));
        self.all_gone();
        let grown = rss_kib(&self.server).saturating_sub(before);
        println!("{what}: {times} times, then {times} more: {before} KiB and {grown} KiB");
        assert!(grown <= GROWTH_KIB_MAX, "{what}: {grown} KiB more after {times} times");
        self.member_hears();
    }

    /// Waits until the member is the only connection.
    pub fn all_gone(&self) {
        eventually("all others are gone", || self.server.metric("websocket_clients_total") == Some(1.0));
    }
}

/// Resident memory of the server in KiB.
pub fn rss_kib(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the kernel tells it");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// What kind of body a response has, for tables that only name a part of its text.
pub fn says(response: &Response, status: u16, part: &str, what: &str) {
    assert_eq!(response.status, status, "{what}: {response:?}");
    assert!(response.body.contains(part), "{what}: {part:?} is not in {:?}", response.body);
}

fn growth(before: &Counts, now: &Counts) -> Counts {
    let grown = |(name, count): (&String, &u64)| {
        let grown = count - before.get(name).copied().unwrap_or(0);
        (grown > 0).then(|| (name.clone(), grown))
    };
    now.iter().filter_map(grown).collect()
}

fn counts(server: &Server) -> Counts {
    let mut counts = Counts::new();
    for line in server.get("/metrics").body.lines() {
        let Some((series, value)) =
            line.strip_prefix("fanwire_").and_then(|line| line.trim().rsplit_once(' '))
        else {
            continue;
        };
        let Some((family, labels)) = series.split_once("_total{") else { continue };
        if WATCHED.contains(&family) {
            // The shard comes first, and where there is a label beside it, that is the last.
            let label = labels.split_once(',').and_then(|(_, label)| label.split('"').nth(1));
            let name = label.map_or_else(|| family.to_owned(), |label| format!("{family} {label}"));
            *counts.entry(name).or_default() += value.parse::<f64>().expect("a number") as u64;
        }
    }
    counts
}
