//! What the integration tests share: a server process, a client that speaks bytes, and conversations.
#![allow(dead_code, unused_imports, reason = "each test binary compiles this and uses its own part")]

mod backend;
pub mod backlog;
mod browser;
mod bytes;
mod client;
mod conversation;
mod crowd;
mod document;
mod http;
mod json;
pub mod losses;
mod program;
pub mod remembering;
mod server;
mod siege;
pub mod token;
mod tools;
mod wiretap;
mod zip;

pub use backend::{Act, Backend, Heard};
pub use browser::{Browser, chromium};
pub use bytes::{byte_conversation, bytes};
pub use client::{Client, Frame, KEY, frame, opcode, upgrade_status};
pub use conversation::{conversation, conversations};
pub use crowd::{Crowd, Reading, crowd_alone, crowd_size, round_trips};
pub use document::{Document, at_port, in_the_browser, run_javascript};
pub use http::{
    BODY, CHUNKED, Response, exchange, exchange_on, head, post, request, stream_from, to_the_end,
};
pub use json::Json;
pub use program::Program;
pub use server::{Server, forget_settings};
pub use siege::{Siege, rss_kib, says};
pub use tools::{build_go, client_python, npm_package};
pub use wiretap::{Conversation, Tapped, Wiretap};
pub use zip::{deflate, inflate, repetitive};

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How long a test listens for what must not come.
pub const SILENCE: Duration = Duration::from_millis(200);

/// Prints that `test` is left out for want of `what`, and notes it in the file that `tests/run` shows at its end
/// (a runner hides what a passing test prints). The test then returns.
pub fn left_out(test: &str, what: &str) {
    use std::io::Write;
    let line = format!("left out: {test}: needs {what}");
    println!("{line}");
    if let Some(path) = std::env::var_os("FANWIRE_LEFT_OUT") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        // One write of one short line: appends of several tests do not mix.
        file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()))
            .expect("the list is writable");
    }
}

/// Where a program is installed: in `PATH`, or in the folders for administrators that `PATH` often lacks.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let administrators = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(administrators).map(|folder| folder.join(name)).find(|p| p.is_file())
}

/// A file or folder below `tests/`.
pub fn tests_path(inner: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(inner)
}

/// Asks `condition` again and again until it holds.
///
/// # Panics
/// When it does not within [`PATIENCE`].
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Ends threads that run until they are told to, also when the test fails before it tells them: a scope waits for its
/// threads, a failed one for ever.
pub struct Stop<'a>(pub &'a std::sync::atomic::AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Waits for something that takes as long as the machine needs: it fails only where nothing advances.
pub struct Progress {
    last: f64,
    since: Instant,
}

impl Progress {
    pub fn new() -> Self {
        Self { last: f64::NAN, since: Instant::now() }
    }

    /// Notes how far it has come.
    ///
    /// # Panics
    /// When that has been the same for longer than [`PATIENCE`].
    pub fn check(&mut self, what: &str, value: f64) {
        if value != self.last {
            (self.last, self.since) = (value, Instant::now());
        }
        assert!(self.since.elapsed() < PATIENCE, "{what} stays at {value} for {PATIENCE:?}");
    }
}

/// Processor time that a process has taken, user and system, in seconds.
pub fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    // proc_pid_stat(5): the name is in parentheses and may hold blanks; utime and stime are the 14th and 15th field,
    // in hundredths of a second on all of Linux.
    let (_, rest) = stat.rsplit_once(')').expect("a name in parentheses");
    let ticks = rest.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<f64>().expect("a number"));
    ticks.sum::<f64>() / 100.0
}

/// A TCP port that was free a moment ago, for programs that cannot be asked to choose one.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}
