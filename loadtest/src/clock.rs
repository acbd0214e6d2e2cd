//! The one clock of the run: monotonic nanoseconds since the process asked first.

use std::sync::OnceLock;
use std::time::Instant;

/// One second in nanoseconds.
pub const SECOND_NS: u64 = 1_000_000_000;

/// One millisecond in nanoseconds.
pub const MILLI_NS: u64 = 1_000_000;

/// Monotonic nanoseconds; the same origin for every thread, never 0, so that 0 can mean "not yet".
pub fn now_ns() -> u64 {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    let origin = ORIGIN.get_or_init(Instant::now);
    u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX).saturating_add(1)
}

/// Seconds from the command line as nanoseconds; negative or unreal input counts as 0.
pub fn seconds_ns(seconds: f64) -> u64 {
    (seconds.max(0.0) * SECOND_NS as f64) as u64
}
