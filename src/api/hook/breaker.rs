use std::time::{Duration, Instant};

/// A circuit breaker: a backend that fails again and again is left alone for a while, so that nobody waits for it in
/// vain and it is not kept down by those who do.
///
/// ```text
/// Closed --failures in a row--> Open --pause over, one request--> Probing --it succeeds--> Closed
///                                 ^------------------ it fails -----/
/// ```
#[derive(Debug)]
pub struct Breaker {
    /// Failures in a row that open it; 0: none do.
    failures_max: u32,
    pause: Duration,
    failures: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Instant },
    Probing,
}

/// What a [`Breaker`] does, for metrics: 0, 1, 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// All requests pass.
    Closed,
    /// One request is under way, the others do not pass.
    Probing,
    /// None pass.
    Open,
}

impl Breaker {
    /// A closed one.
    pub fn new(failures_max: u32, pause: Duration) -> Self {
        Self { failures_max, pause, failures: 0, state: State::Closed }
    }

    /// Whether a request may be sent. A `true` after a pause is for the one that probes: it must be sent, and
    /// [`Breaker::succeeded`] or [`Breaker::failed`] be told.
    pub fn pass(&mut self, now: Instant) -> bool {
        match self.state {
            State::Closed => true,
            State::Open { until } if now >= until => {
                self.state = State::Probing;
                true
            }
            State::Open { .. } | State::Probing => false,
        }
    }

    /// When the pause is over, if there is one.
    pub fn opens_until(&self) -> Option<Instant> {
        if let State::Open { until } = self.state { Some(until) } else { None }
    }

    /// The backend answered sensibly.
    pub fn succeeded(&mut self) {
        // Of a request from before the pause too: who answers is back.
        self.failures = 0;
        self.state = State::Closed;
    }

    /// The backend did not.
    pub fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        let opens = match self.state {
            State::Closed => self.failures_max != 0 && self.failures >= self.failures_max,
            State::Probing => true,
            // Of a request from before the pause, which is no longer for it.
            State::Open { .. } => false,
        };
        if opens {
            self.state = State::Open { until: now + self.pause };
        }
    }

    /// What it does.
    pub fn state(&self) -> BreakerState {
        match self.state {
            State::Closed => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::Probing => BreakerState::Probing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(10);

    #[test]
    fn failures_in_a_row_open_it_and_a_probe_closes_it() {
        let start = Instant::now();
        let mut breaker = Breaker::new(3, PAUSE);
        breaker.failed(start);
        breaker.failed(start);
        breaker.succeeded();
        breaker.failed(start);
        breaker.failed(start);
        assert!(breaker.pass(start), "not in a row");
        breaker.failed(start);
        assert_eq!(breaker.state(), BreakerState::Open);
        assert_eq!(breaker.opens_until(), Some(start + PAUSE));
        assert!(!breaker.pass(start + PAUSE - Duration::from_millis(1)));
        breaker.failed(start + Duration::from_secs(9));
        assert_eq!(breaker.opens_until(), Some(start + PAUSE), "a late failure does not prolong it");
        assert!(breaker.pass(start + PAUSE));
        assert_eq!(breaker.state(), BreakerState::Probing);
        assert!(!breaker.pass(start + PAUSE), "one probe");
        breaker.failed(start + PAUSE);
        assert_eq!(breaker.opens_until(), Some(start + 2 * PAUSE));
        assert!(breaker.pass(start + 2 * PAUSE));
        breaker.succeeded();
        assert!(breaker.pass(start + 2 * PAUSE) && breaker.pass(start + 2 * PAUSE));
        breaker.failed(start + 2 * PAUSE);
        assert_eq!(breaker.state(), BreakerState::Closed, "counted from zero again");
    }

    #[test]
    fn without_a_bound_it_stays_closed() {
        let mut breaker = Breaker::new(0, PAUSE);
        for _ in 0..1000 {
            breaker.failed(Instant::now());
        }
        assert!(breaker.pass(Instant::now()));
    }
}
