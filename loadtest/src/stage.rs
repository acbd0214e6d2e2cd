//! How the main thread leads the load threads through a run: settle, publish, drain, finish.
//!
//! The main thread alone decides; the load threads report through counters and look at the rest once
//! per turn of their loop.

use std::sync::OnceLock;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize};
use std::time::Duration;

use crate::clock::now_ns;
use crate::watch::LoadThreads;

/// How often the main thread looks.
const LOOK: Duration = Duration::from_millis(2);

/// The shared state of one run. Times are nanoseconds of the run's clock, 0 means "not yet".
#[derive(Debug, Default)]
pub struct Stage {
    /// Load threads whose seats are all joined or failed.
    pub settled: AtomicUsize,
    /// Connections that joined, for the progress line.
    pub joined: AtomicU64,
    /// Deliveries so far, for the progress line.
    pub delivered: AtomicU64,
    /// When publishing begins.
    pub start_ns: AtomicU64,
    /// When measuring begins.
    pub window_start_ns: AtomicU64,
    /// When measuring and publishing end; an interrupt moves it to now.
    pub window_end_ns: AtomicU64,
    /// Load threads that publish no more.
    pub published: AtomicUsize,
    /// The counts in `sent` are final: what is missing can be told.
    pub drain: AtomicBool,
    /// Load threads leave their loops.
    pub finish: AtomicBool,
    /// Messages sent, for each publisher of all rooms.
    pub sent: Vec<AtomicU32>,
    /// Copies still expected, for each load thread; `u64::MAX` until known.
    pub missing: Vec<AtomicU64>,
    /// For the CPU account.
    pub threads: LoadThreads,
}

impl Stage {
    /// For a number of publishers (of all rooms) and load threads.
    pub fn new(publishers: usize, threads: usize) -> Self {
        Self {
            sent: (0..publishers).map(|_| AtomicU32::new(0)).collect(),
            missing: (0..threads).map(|_| AtomicU64::new(u64::MAX)).collect(),
            ..Self::default()
        }
    }

    /// Fixes the times of the run.
    pub fn set_start(&self, start_ns: u64, warmup_ns: u64, duration_ns: u64) {
        self.window_start_ns.store(start_ns + warmup_ns, Relaxed);
        self.window_end_ns.store(start_ns + warmup_ns + duration_ns, Relaxed);
        self.start_ns.store(start_ns, Release);
    }

    /// When publishing begins, once that is fixed; the window's times are valid then.
    pub fn started_at(&self) -> Option<u64> {
        Some(self.start_ns.load(Acquire)).filter(|start| *start > 0)
    }

    /// The measured time; empty until it is fixed.
    pub fn window(&self) -> std::ops::Range<u64> {
        self.window_start_ns.load(Relaxed)..self.window_end_ns.load(Relaxed)
    }

    /// Waits until `done`, the deadline, or an interrupt; true when `done`.
    pub fn wait(&self, deadline_ns: u64, mut done: impl FnMut(&Self) -> bool) -> bool {
        let mut fulfilled = false;
        self.wait_always(deadline_ns, |stage| {
            fulfilled = done(stage);
            fulfilled || interrupted()
        });
        fulfilled
    }

    /// Waits until `done` or the deadline, an interrupt or not: the end of every run; true when `done`.
    pub fn wait_always(&self, deadline_ns: u64, mut done: impl FnMut(&Self) -> bool) -> bool {
        loop {
            if done(self) {
                return true;
            }
            if now_ns() >= deadline_ns {
                return false;
            }
            std::thread::sleep(LOOK);
        }
    }
}

static INTERRUPTED: OnceLock<()> = OnceLock::new();

/// Ctrl-C or SIGTERM came: end early, with the report.
pub fn interrupted() -> bool {
    INTERRUPTED.get().is_some()
}

/// Makes Ctrl-C and SIGTERM end the run early; a second one calls `in_haste` and ends the process.
///
/// # Errors
/// When another handler is in place.
pub fn catch_interrupt(in_haste: impl Fn() + Send + 'static) -> anyhow::Result<()> {
    Ok(ctrlc::set_handler(move || {
        if INTERRUPTED.set(()).is_err() {
            in_haste();
            std::process::exit(130);
        }
    })?)
}
