//! What the measured window cost: CPU of the server and of the load threads, memory of the server.

use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;

use procfs::process::Task;

use crate::clock::now_ns;
use crate::machine::{self, CoreTimes, CoreUse};
use crate::process::{self, Cpu};
use crate::stage::Stage;

/// A load thread busier than this, in parts of one core, may itself be the bottleneck.
pub const BUSY_LIMIT: f64 = 0.85;

/// The load threads as /proc tells of them; each thread registers itself.
#[derive(Debug, Default)]
pub struct LoadThreads(Mutex<Vec<Task>>);

impl LoadThreads {
    /// Adds the calling thread.
    pub fn register(&self) {
        if let Some(task) = process::own_task() {
            self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(task);
        }
    }

    fn cpu_ns(&self) -> Vec<u64> {
        let tasks = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        tasks.iter().map(|task| process::task_cpu_ns(task).unwrap_or(0)).collect()
    }
}

/// One look at everything.
#[derive(Debug)]
pub struct Sample {
    delivered: u64,
    at_ns: u64,
    server: Option<Cpu>,
    own: Option<Cpu>,
    threads_ns: Vec<u64>,
    cores: Vec<CoreTimes>,
    /// Resident memory of the server, in bytes.
    pub rss_bytes: Option<u64>,
}

impl Sample {
    /// Looks now.
    pub fn take(pids: &[u32], stage: &Stage) -> Self {
        Self {
            delivered: stage.delivered.load(Relaxed),
            server: process::cpu_of(pids),
            own: process::cpu(std::process::id()).ok(),
            threads_ns: stage.threads.cpu_ns(),
            cores: machine::core_times(),
            at_ns: now_ns(),
            rss_bytes: process::rss_of(pids, process::rss_bytes),
        }
    }
}

/// The difference of two samples.
#[derive(Clone, Debug, Default)]
pub struct Cost {
    /// Length of the window in nanoseconds.
    pub wall_ns: u64,
    /// Deliveries (or cycles) between the samples: what the CPU is divided by, for a busy machine may
    /// take a sample a little after its time.
    pub delivered: u64,
    /// CPU of the server.
    pub server: Option<Cpu>,
    /// CPU of the load tool, all its threads.
    pub own: Option<Cpu>,
    /// Busy share of one core, for each load thread.
    pub threads_busy: Vec<f64>,
    /// What every core of the machine did.
    pub cores: Vec<CoreUse>,
    /// Resident memory of the server at the end, in bytes.
    pub rss_last_bytes: Option<u64>,
}

impl Cost {
    /// From `first` to `last`.
    pub fn between(first: &Sample, last: &Sample) -> Self {
        let wall_ns = last.at_ns.saturating_sub(first.at_ns).max(1);
        let busy = |(last, first): (&u64, &u64)| last.saturating_sub(*first) as f64 / wall_ns as f64;
        Self {
            wall_ns,
            delivered: last.delivered.saturating_sub(first.delivered),
            server: last.server.zip(first.server).map(|(last, first)| last.since(first)),
            own: last.own.zip(first.own).map(|(last, first)| last.since(first)),
            threads_busy: last.threads_ns.iter().zip(&first.threads_ns).map(busy).collect(),
            cores: machine::core_use(&first.cores, &last.cores, wall_ns),
            rss_last_bytes: last.rss_bytes,
        }
    }

    /// The busiest load thread's share of one core.
    pub fn busiest(&self) -> f64 {
        self.threads_busy.iter().copied().fold(0.0, f64::max)
    }
}
