use crate::model::ConnectionId;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Most sources of failures that are remembered. A backend that fails for more of them in a row is away.
const SOURCES_MAX: usize = 1024;

/// Longest pause that a backend can ask for by `Retry-After`: a mistake there must not shut the door for an hour.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// A circuit breaker: a backend that fails again and again is left alone for a while, so that no client waits for it in
/// vain and these requests do not keep it down.
///
/// ```text
/// Closed --failures in a row--> Open --pause over, one request--> Probing --it succeeds--> Closed
///                                 ^------------------ it fails -----/
/// ```
///
/// A client can choose what it asks, and so can make its own requests fail. Therefore several failures of one
/// [`Source`] count once: no client opens the breaker alone, and none keeps it open.
#[derive(Debug)]
pub struct Breaker {
    /// Failures in a row that open it; 0: it never opens.
    failures_max: u32,
    pause: Duration,
    failures: u32,
    /// Where the failures in a row came from.
    sources: HashSet<Source>,
    /// Whether an answer is among these failures.
    answered: bool,
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
    /// No request passes.
    Open,
}

/// The client, or the notice, whose failures count once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Source {
    /// The client's address; of IPv6 its /64, which is what one subscriber gets.
    Address(IpAddr),
    /// A connection whose address tells no clients apart.
    Connection(ConnectionId),
    /// One delivery, however often it is sent.
    Delivery(Box<str>),
}

impl Source {
    /// The source of a request of `delivery` about a client. The address of this machine is that of a proxy, or of all
    /// clients of a test: there, connections are told apart.
    pub fn new(ip: Option<IpAddr>, connection: Option<ConnectionId>, delivery: &str) -> Self {
        match (ip.map(|ip| ip.to_canonical()).filter(|ip| !ip.is_loopback()), connection) {
            (Some(IpAddr::V6(ip)), _) => {
                let [a, b, c, d, ..] = ip.segments();
                Self::Address(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
            }
            (Some(ip), _) => Self::Address(ip),
            (None, Some(connection)) => Self::Connection(connection),
            (None, None) => Self::Delivery(delivery.into()),
        }
    }
}

/// A request that says that the backend is away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// Whose failures count once; `None`: each counts, as no request can be the cause.
    pub of: Option<Source>,
    /// Whether there was an answer: a status that says so.
    pub answered: bool,
    /// How long the backend wants to be left alone.
    pub retry_after: Option<Duration>,
}

impl Breaker {
    /// A closed one.
    pub fn new(failures_max: u32, pause: Duration) -> Self {
        Self {
            failures_max,
            pause,
            failures: 0,
            sources: HashSet::new(),
            answered: false,
            state: State::Closed,
        }
    }

    /// Whether a request may be sent now.
    pub fn would_pass(&self, now: Instant) -> bool {
        match self.state {
            State::Closed => true,
            State::Open { until } => now >= until,
            State::Probing => false,
        }
    }

    /// Takes note of a request that [`Breaker::would_pass`] and is sent. After a pause it is the one that probes:
    /// [`Breaker::succeeded`] or [`Breaker::failed`] must follow.
    pub fn sent(&mut self) {
        if let State::Open { .. } = self.state {
            self.state = State::Probing;
        }
    }

    /// When the pause is over, if there is one.
    pub fn opens_until(&self) -> Option<Instant> {
        if let State::Open { until } = self.state { Some(until) } else { None }
    }

    /// Whether an answer of the backend is among the failures that opened it, so that it is not silent.
    pub fn has_answered(&self) -> bool {
        self.answered
    }

    /// The backend answered this request.
    pub fn succeeded(&mut self) {
        // Of a request from before the pause too: a backend that answers is back.
        self.failures = 0;
        self.answered = false;
        self.sources.clear();
        self.state = State::Closed;
    }

    /// The backend is away, as this request says.
    pub fn failed(&mut self, now: Instant, failing: Failing) {
        if self.failures_max == 0 {
            return;
        }
        let Failing { of, answered, retry_after } = failing;
        let is_new = match of {
            Some(source) if self.sources.len() < SOURCES_MAX => self.sources.insert(source),
            Some(_) | None => true,
        };
        if is_new {
            self.failures = self.failures.saturating_add(1);
            self.answered |= answered;
        }
        let asked_for = retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
        let until = now + self.pause.max(asked_for);
        match self.state {
            State::Closed if self.failures >= self.failures_max => self.state = State::Open { until },
            State::Probing if is_new => self.state = State::Open { until },
            // Its failure is known already and says nothing new: the next request probes at once.
            State::Probing => self.state = State::Open { until: now },
            // One of a request from before the pause does not prolong it.
            State::Closed | State::Open { .. } => {}
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

    /// A failure that no request can cause.
    fn unreached() -> Failing {
        Failing { of: None, answered: false, retry_after: None }
    }

    fn of(source: &str) -> Failing {
        Failing { of: Some(Source::Delivery(source.into())), ..unreached() }
    }

    fn pass(breaker: &mut Breaker, now: Instant) -> bool {
        let passes = breaker.would_pass(now);
        if passes {
            breaker.sent();
        }
        passes
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_probe_closes_it() {
        let start = Instant::now();
        let mut breaker = Breaker::new(3, PAUSE);
        breaker.failed(start, unreached());
        breaker.failed(start, unreached());
        breaker.succeeded();
        breaker.failed(start, unreached());
        breaker.failed(start, unreached());
        assert!(pass(&mut breaker, start), "not in a row");
        breaker.failed(start, unreached());
        assert_eq!(breaker.state(), BreakerState::Open);
        assert_eq!(breaker.opens_until(), Some(start + PAUSE));
        assert!(!pass(&mut breaker, start + PAUSE - Duration::from_millis(1)));
        breaker.failed(start + Duration::from_secs(9), unreached());
        assert_eq!(breaker.opens_until(), Some(start + PAUSE), "a late failure does not prolong it");
        assert!(pass(&mut breaker, start + PAUSE));
        assert_eq!(breaker.state(), BreakerState::Probing);
        assert!(!pass(&mut breaker, start + PAUSE), "one probe");
        breaker.failed(start + PAUSE, unreached());
        assert_eq!(breaker.opens_until(), Some(start + 2 * PAUSE));
        assert!(pass(&mut breaker, start + 2 * PAUSE));
        breaker.succeeded();
        assert!(pass(&mut breaker, start + 2 * PAUSE) && pass(&mut breaker, start + 2 * PAUSE));
        breaker.failed(start + 2 * PAUSE, unreached());
        assert_eq!(breaker.state(), BreakerState::Closed, "counted from zero again");
    }

    #[test]
    fn one_source_neither_opens_it_nor_keeps_it_open() {
        let start = Instant::now();
        let mut breaker = Breaker::new(3, PAUSE);
        for _ in 0..1000 {
            breaker.failed(start, of("a"));
        }
        breaker.failed(start, of("b"));
        assert_eq!(breaker.state(), BreakerState::Closed);
        breaker.failed(start, of("c"));
        assert_eq!(breaker.state(), BreakerState::Open);
        let later = start + PAUSE;
        assert!(pass(&mut breaker, later));
        breaker.failed(later, of("a"));
        assert!(pass(&mut breaker, later), "the probe of a known source says nothing");
        breaker.failed(later, of("d"));
        assert_eq!(breaker.opens_until(), Some(later + PAUSE), "that of another does");
    }

    #[test]
    fn sources_are_remembered_up_to_a_bound() {
        let start = Instant::now();
        let mut breaker = Breaker::new(2 * SOURCES_MAX as u32, PAUSE);
        for n in 0..SOURCES_MAX {
            breaker.failed(start, of(&n.to_string()));
        }
        for _ in 0..SOURCES_MAX {
            assert_eq!(breaker.state(), BreakerState::Closed);
            breaker.failed(start, of("0"));
        }
        assert_eq!((breaker.state(), breaker.sources.len()), (BreakerState::Open, SOURCES_MAX));
    }

    #[test]
    fn a_backend_may_ask_for_a_longer_pause() {
        let start = Instant::now();
        for (asked_s, pause_s) in [(0, 10), (9, 10), (30, 30), (3600, 60), (u64::MAX, 60)] {
            let mut breaker = Breaker::new(1, PAUSE);
            breaker.failed(
                start,
                Failing { retry_after: Some(Duration::from_secs(asked_s)), answered: true, ..unreached() },
            );
            assert_eq!(breaker.opens_until(), Some(start + Duration::from_secs(pause_s)), "{asked_s}");
            assert!(breaker.has_answered());
            breaker.succeeded();
            assert!(!breaker.has_answered());
        }
    }

    #[test]
    fn sources_are_networks_or_else_connections() {
        let source = |ip: &str, delivery: &str| Source::new(ip.parse().ok(), None, delivery);
        for (a, b) in [
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.7", "::ffff:192.0.2.7"),
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"),
        ] {
            assert_eq!(source(a, "1"), source(b, "2"), "{a} {b}");
        }
        for (a, b) in
            [("192.0.2.7", "192.0.2.8"), ("2001:db8:1:2::1", "2001:db8:1:3::1"), ("127.0.0.1", "127.0.0.1")]
        {
            assert_ne!(source(a, "1"), source(b, "2"), "{a} {b}");
        }
        assert_eq!(source("", "1"), source("::1", "1"));
    }

    #[test]
    fn without_a_bound_it_stays_closed() {
        let mut breaker = Breaker::new(0, PAUSE);
        for n in 0..1000 {
            breaker.failed(Instant::now(), of(&n.to_string()));
            breaker.failed(Instant::now(), unreached());
        }
        assert!(pass(&mut breaker, Instant::now()));
        assert!(breaker.sources.is_empty());
    }
}
