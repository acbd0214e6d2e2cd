//! Giving back to the system what clients have given back to the server.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Has the allocator return free memory of the calling thread to the system.
#[derive(Clone)]
pub struct GiveBack(Arc<dyn Fn() + Send + Sync>);

impl GiveBack {
    /// Does it by `call`.
    pub fn new(call: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(call))
    }
}

impl fmt::Debug for GiveBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GiveBack(..)")
    }
}

/// Bytes that clients must have given back before it pays: a walk over the thread's free pages, some milliseconds for
/// the system to take a hundred megabytes.
const FREED_MIN: usize = 8 * 1024 * 1024;

/// Shortest time between two.
const PAUSE: Duration = Duration::from_millis(500);

/// What one shard's clients have given back, and when the system is given it.
pub(super) struct Freed {
    give_back: Option<GiveBack>,
    bytes: usize,
    /// Not before that.
    next: Instant,
}

impl Freed {
    pub fn new(give_back: Option<GiveBack>) -> Self {
        Self { give_back, bytes: 0, next: Instant::now() }
    }

    /// Clients have given `bytes` back, and the thread has nothing else to do.
    pub fn add(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
        let Some(give_back) = self.give_back.as_ref().filter(|_| self.bytes >= FREED_MIN) else { return };
        let began = Instant::now();
        if began < self.next {
            return;
        }
        give_back.0();
        let now = Instant::now();
        tracing::debug!(bytes = self.bytes, us = (now - began).as_micros() as u64, "gave memory back");
        self.bytes = 0;
        self.next = now + PAUSE;
    }

    /// When the system is to be given what there is.
    pub fn due(&self) -> Option<Instant> {
        (self.give_back.is_some() && self.bytes >= FREED_MIN).then_some(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn much_is_given_back_at_once_and_then_at_a_bounded_rate() {
        let calls = Arc::new(AtomicU32::new(0));
        let counted = calls.clone();
        let mut freed = Freed::new(Some(GiveBack::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        })));
        freed.add(FREED_MIN - 1);
        assert_eq!((calls.load(Ordering::Relaxed), freed.due()), (0, None));
        freed.add(1);
        assert_eq!((calls.load(Ordering::Relaxed), freed.due()), (1, None));
        freed.next = Instant::now() + 60 * PAUSE;
        freed.add(FREED_MIN);
        assert_eq!((calls.load(Ordering::Relaxed), freed.due()), (1, Some(freed.next)), "later, not never");
        freed.next = Instant::now();
        freed.add(0);
        assert_eq!((calls.load(Ordering::Relaxed), freed.due()), (2, None));
    }

    #[test]
    fn without_an_allocator_to_call_nothing_is_due() {
        let mut freed = Freed::new(None);
        freed.add(usize::MAX);
        freed.add(usize::MAX);
        assert_eq!(freed.due(), None);
    }
}
