//! The progress line: on a terminal only, on standard error.

use std::cell::Cell;
use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::clock::{MILLI_NS, SECOND_NS, now_ns};

/// How often the line changes.
const EVERY_NS: u64 = 200 * MILLI_NS;

/// One line that changes.
pub struct Progress {
    bar: Option<ProgressBar>,
    connections: u64,
    told_ns: Cell<u64>,
    told_count: Cell<u64>,
}

impl Progress {
    /// For a run of so many connections.
    pub fn new(connections: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed_precise} {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        Self { bar, connections, told_ns: Cell::new(0), told_count: Cell::new(0) }
    }

    /// Connections that joined so far.
    pub fn joining(&self, joined: u64) {
        self.tell(joined, |_| format!("joining: {joined} of {}", self.connections));
    }

    /// Waiting for steady memory.
    pub fn settling(&self) {
        self.tell(0, |_| "waiting until the server's memory is steady".into());
    }

    /// Deliveries (or cycles) so far.
    pub fn running(&self, count: u64) {
        self.tell(count, |per_s| format!("running: {count}, {per_s:.0}/s"));
    }

    /// Waiting for what is under way.
    pub fn draining(&self) {
        self.tell(0, |_| "waiting for what is under way".into());
    }

    fn tell(&self, count: u64, text: impl FnOnce(f64) -> String) {
        let (now, then) = (now_ns(), self.told_ns.get());
        let Some(bar) = self.bar.as_ref().filter(|_| now > then + EVERY_NS) else { return };
        let grown = count.saturating_sub(self.told_count.get()) as f64;
        bar.set_message(text(grown / (now - then) as f64 * SECOND_NS as f64));
        self.told_ns.set(now);
        self.told_count.set(count);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
