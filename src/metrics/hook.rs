use super::Histogram;
use std::sync::atomic::{AtomicU64, Ordering};

/// What became of what the backend was to be asked or told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookOutcome {
    /// Allowed, or delivered.
    Ok,
    /// Refused by the backend; of a notice: not wanted by it (4xx).
    Refused,
    /// No connection, or one that broke.
    Unreachable,
    /// A status that is no answer to what was asked.
    Status,
    /// No whole answer in time.
    Timeout,
    /// An answer that makes no sense or is too large.
    Garbage,
    /// Not asked: the breaker was open.
    BreakerOpen,
    /// Not asked: too much waited.
    QueueFull,
    /// Not told: the server ended before.
    Ended,
    /// Code of the embedding program returned an error, or panicked.
    Failed,
}

impl HookOutcome {
    /// Label values in metrics, by [`HookOutcome::index`].
    pub const LABELS: [&'static str; 10] = [
        "ok",
        "refused",
        "unreachable",
        "status",
        "timeout",
        "garbage",
        "breaker_open",
        "queue_full",
        "ended",
        "failed",
    ];

    /// Those that code of the embedding program can come to.
    pub const OF_PROGRAM: [Self; 6] =
        [Self::Ok, Self::Refused, Self::Timeout, Self::QueueFull, Self::Ended, Self::Failed];

    /// Position in [`HookOutcome::LABELS`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// What is counted of the backend hook. Unlike the shards' counters these have many writers: a request over the
/// network dwarfs an atomic addition.
#[derive(Debug)]
pub struct HookMetrics {
    events: &'static [&'static str],
    outcomes: Box<[AtomicU64]>,
    retries: Box<[AtomicU64]>,
    /// Requests that wait or are under way.
    pub items: AtomicU64,
    /// Bytes of these.
    pub bytes: AtomicU64,
    /// Requests under way.
    pub under_way: AtomicU64,
    /// State of the breaker of decisions, and of that of notices; 0: closed, 1: probing, 2: open.
    breakers: [AtomicU64; 2],
    /// Times that each opened.
    breakers_opened: [AtomicU64; 2],
    /// From sending a request to its answer or failure. Written by the hook's thread alone.
    pub seconds: Histogram,
}

impl HookMetrics {
    /// All at zero, for events of these names.
    pub fn new(events: &'static [&'static str]) -> Self {
        let zeros = |n: usize| (0..n).map(|_| AtomicU64::new(0)).collect();
        Self {
            events,
            outcomes: zeros(events.len() * HookOutcome::LABELS.len()),
            retries: zeros(events.len()),
            items: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            under_way: AtomicU64::new(0),
            breakers: Default::default(),
            breakers_opened: Default::default(),
            seconds: Histogram::default(),
        }
    }

    /// Counts what became of an event, by its index.
    pub fn count(&self, event: usize, outcome: HookOutcome) {
        if let Some(count) = self.outcomes.get(event * HookOutcome::LABELS.len() + outcome.index()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a notice that is sent again.
    pub fn count_retry(&self, event: usize) {
        if let Some(count) = self.retries.get(event) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Tells the state of a breaker.
    pub fn show_breaker(&self, of_decisions: bool, state: u64) {
        self.breakers[usize::from(!of_decisions)].store(state, Ordering::Relaxed);
    }

    /// Counts that a breaker opens.
    pub fn count_opened(&self, of_decisions: bool) {
        self.breakers_opened[usize::from(!of_decisions)].fetch_add(1, Ordering::Relaxed);
    }

    /// What has a breaker, its state (0: closed, 1: probing, 2: open), and how often it opened.
    pub fn breakers(&self) -> [(&'static str, u64, u64); 2] {
        let at = |index: usize| {
            let load = |all: &[AtomicU64; 2]| all[index].load(Ordering::Relaxed);
            (["decisions", "notices"][index], load(&self.breakers), load(&self.breakers_opened))
        };
        [at(0), at(1)]
    }

    /// Events, outcomes and counts.
    pub fn outcomes(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let labels =
            self.events.iter().flat_map(|event| HookOutcome::LABELS.map(|outcome| (*event, outcome)));
        labels.zip(&self.outcomes).map(|((event, outcome), n)| (event, outcome, n.load(Ordering::Relaxed)))
    }

    /// Events and how often notices of them were sent again.
    pub fn retries(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.events.iter().copied().zip(self.retries.iter().map(|n| n.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_has_each_outcome() {
        let metrics = HookMetrics::new(&["a", "b"]);
        metrics.count(1, HookOutcome::Garbage);
        metrics.count(1, HookOutcome::Garbage);
        metrics.count(0, HookOutcome::Ok);
        metrics.count_retry(1);
        let counted: Vec<_> = metrics.outcomes().filter(|(.., n)| *n > 0).collect();
        assert_eq!(counted, [("a", "ok", 1), ("b", "garbage", 2)]);
        assert_eq!(metrics.outcomes().count(), 2 * HookOutcome::LABELS.len());
        assert_eq!(metrics.retries().collect::<Vec<_>>(), [("a", 0), ("b", 1)]);
        assert_eq!(HookOutcome::LABELS[HookOutcome::Ended.index()], "ended");
    }

    #[test]
    fn decisions_and_notices_have_a_breaker_each() {
        let metrics = HookMetrics::new(&[]);
        metrics.show_breaker(true, 2);
        metrics.count_opened(true);
        metrics.show_breaker(false, 1);
        assert_eq!(metrics.breakers(), [("decisions", 2, 1), ("notices", 1, 0)]);
    }
}
