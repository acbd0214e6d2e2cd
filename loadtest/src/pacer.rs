//! Wakes a load thread when its next message is due.
//!
//! epoll waits in whole milliseconds, which would stand in every latency; a small thread that sleeps to
//! the nanosecond and rings the loop's waker does not.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::now_ns;
use crate::engine::Wake;
use crate::process;
use crate::schedule::Schedule;
use crate::stage::{Stage, interrupted};

/// Never wake more often than this, in nanoseconds: beyond 20,000 messages/s a wake-up takes several.
const SPACING_NS: u64 = 50_000;

/// Longest sleep, in nanoseconds, so that an interrupt is seen.
const NAP_NS: u64 = 20_000_000;

/// Starts the thread; it ends with the window.
pub fn spawn(mut schedule: Schedule, stage: Arc<Stage>, wake: Wake) {
    std::thread::spawn(move || {
        // The default slack of 50 us would add to every message; without the right to change it that stays.
        if let Some(task) = process::own_task() {
            let _ = std::fs::write(format!("/proc/{}/timerslack_ns", task.tid), "1");
        }
        let end = |stage: &Stage| stage.window_end_ns.load(std::sync::atomic::Ordering::Relaxed);
        while let Some(due) = schedule.peek() {
            if due.at_ns >= end(&stage) || interrupted() {
                return;
            }
            let now = now_ns();
            if due.at_ns > now {
                std::thread::sleep(Duration::from_nanos((due.at_ns - now).min(NAP_NS)));
                continue;
            }
            while schedule.take(now).is_some() {}
            wake();
            let next_ns = schedule.peek().map_or(0, |next| next.at_ns);
            if next_ns < now + SPACING_NS {
                std::thread::sleep(Duration::from_nanos(SPACING_NS));
            }
        }
    });
}
