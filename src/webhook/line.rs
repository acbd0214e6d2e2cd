use super::{Breaker, BreakerState, Failing};
use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

/// Decisions that may go before a notice that waits: somebody waits for decisions, but notices must go too.
const BEFORE_NOTICE: u32 = 3;

/// The order in which requests are sent to the backend, and whether they are: at most so many at once, decisions
/// before notices, none while their breaker is open. How many may wait is the caller's to bound.
///
/// Notices have at most half of the places (one at least), so that a backend that is slow with them can still decide.
/// Decisions and notices have a breaker each: a backend can fail with notices, which clients make up, and decide well.
/// While their breaker is open decisions fail at once and notices wait.
#[derive(Debug)]
pub struct Line<T> {
    limits: LineLimits,
    of_decisions: Breaker,
    of_notices: Breaker,
    /// In the order of their deadlines, as all have the same time.
    decisions: VecDeque<(Instant, T)>,
    notices: VecDeque<T>,
    later: BinaryHeap<Reverse<Later<T>>>,
    /// Decisions that have gone before the notice that waits.
    before_notice: u32,
    /// How many were put off, so that those of one instant keep their order.
    put_off: u64,
    decisions_under_way: usize,
    notices_under_way: usize,
}

/// Bounds of a [`Line`].
#[derive(Debug, Clone, Copy)]
pub struct LineLimits {
    /// Requests under way at once.
    pub concurrency: usize,
    /// See [`Breaker::new`].
    pub breaker_failures: u32,
    /// See [`Breaker::new`].
    pub breaker_pause: Duration,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<T> {
    /// Send this, and tell [`Line::finished`] of it.
    Send(T),
    /// This decision is not to be had.
    GiveUp(T, NotAsked),
    /// Ask again when something has come or finished, or at that time.
    Wait(Option<Instant>),
}

/// Why the backend was not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAsked {
    /// It was not its turn in time.
    Timeout,
    /// The breaker is open.
    BreakerOpen {
        /// See [`Breaker::has_answered`].
        answered: bool,
    },
}

impl<T> Line<T> {
    /// An empty one.
    pub fn new(limits: LineLimits) -> Self {
        Self {
            of_decisions: Breaker::new(limits.breaker_failures, limits.breaker_pause),
            of_notices: Breaker::new(limits.breaker_failures, limits.breaker_pause),
            limits,
            decisions: VecDeque::new(),
            notices: VecDeque::new(),
            later: BinaryHeap::new(),
            before_notice: 0,
            put_off: 0,
            decisions_under_way: 0,
            notices_under_way: 0,
        }
    }

    /// Somebody waits for this until `deadline`, which must not be before that of an earlier one.
    pub fn decide(&mut self, deadline: Instant, item: T) {
        self.decisions.push_back((deadline, item));
    }

    /// Nobody waits for this.
    pub fn tell(&mut self, item: T) {
        self.notices.push_back(item);
    }

    /// A notice that is not to be sent before `due`.
    pub fn tell_later(&mut self, due: Instant, item: T) {
        self.put_off += 1;
        self.later.push(Reverse(Later { due, order: self.put_off, item }));
    }

    /// What to do now; to be asked again until it is [`Step::Wait`].
    pub fn next(&mut self, now: Instant) -> Step<T> {
        if let Some((_, item)) = self.decisions.pop_front_if(|(deadline, _)| *deadline <= now) {
            return Step::GiveUp(item, NotAsked::Timeout);
        }
        while self.later.peek().is_some_and(|Reverse(later)| later.due <= now) {
            if let Some(Reverse(later)) = self.later.pop() {
                self.notices.push_back(later.item);
            }
        }
        if !self.of_decisions.would_pass(now)
            && let Some((_, item)) = self.decisions.pop_front()
        {
            let answered = self.of_decisions.has_answered();
            return Step::GiveUp(item, NotAsked::BreakerOpen { answered });
        }
        let notices_pass = self.of_notices.would_pass(now);
        let wakes = [
            self.decisions.front().map(|(deadline, _)| *deadline),
            self.later.peek().map(|Reverse(later)| later.due),
            self.of_notices.opens_until().filter(|_| !self.notices.is_empty() && !notices_pass),
        ];
        let wait = Step::Wait(wakes.into_iter().flatten().min());
        if self.under_way() >= self.limits.concurrency {
            return wait;
        }
        let notice_may_go = notices_pass
            && !self.notices.is_empty()
            && self.notices_under_way < self.limits.concurrency.div_ceil(2);
        let notice_first = self.decisions.is_empty() || self.before_notice >= BEFORE_NOTICE;
        let notice = if notice_may_go && notice_first { self.notices.pop_front() } else { None };
        if let Some(item) = notice {
            self.before_notice = 0;
            self.notices_under_way += 1;
            self.of_notices.sent();
            return Step::Send(item);
        }
        match self.decisions.pop_front() {
            Some((_, item)) => {
                self.before_notice = if notice_may_go { self.before_notice + 1 } else { 0 };
                self.decisions_under_way += 1;
                self.of_decisions.sent();
                Step::Send(item)
            }
            None => wait,
        }
    }

    /// A request that was sent is over. `failing` is there if it says that the backend is away.
    pub fn finished(&mut self, now: Instant, is_decision: bool, failing: Option<Failing>) {
        let (under_way, breaker) = match is_decision {
            true => (&mut self.decisions_under_way, &mut self.of_decisions),
            false => (&mut self.notices_under_way, &mut self.of_notices),
        };
        *under_way = under_way.saturating_sub(1);
        match failing {
            None => breaker.succeeded(),
            Some(failing) => breaker.failed(now, failing),
        }
    }

    /// Requests under way.
    pub fn under_way(&self) -> usize {
        self.decisions_under_way + self.notices_under_way
    }

    /// Whether nothing waits, is put off or under way.
    pub fn is_empty(&self) -> bool {
        self.under_way() == 0 && self.decisions.is_empty() && self.notices.is_empty() && self.later.is_empty()
    }

    /// All that is not under way.
    pub fn into_waiting(self) -> Vec<T> {
        let decisions = self.decisions.into_iter().map(|(_, item)| item);
        let later = self.later.into_iter().map(|Reverse(later)| later.item);
        decisions.chain(self.notices).chain(later).collect()
    }

    /// What the breaker of decisions or of notices does.
    pub fn breaker(&self, of_decisions: bool) -> BreakerState {
        let breaker = if of_decisions { &self.of_decisions } else { &self.of_notices };
        breaker.state()
    }
}

/// Ordered by time, then by turn.
#[derive(Debug)]
struct Later<T> {
    due: Instant,
    order: u64,
    item: T,
}

impl<T> PartialEq for Later<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Later<T> {}

impl<T> PartialOrd for Later<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Later<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.due, self.order).cmp(&(other.due, other.order))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn line(concurrency: usize, breaker_failures: u32) -> (Line<&'static str>, Instant) {
        let limits = LineLimits { concurrency, breaker_failures, breaker_pause: 10 * SECOND };
        (Line::new(limits), Instant::now())
    }

    /// Says that the backend is away, whatever it was asked.
    fn away() -> Failing {
        Failing { of: None, answered: false, retry_after: None }
    }

    const OPEN: NotAsked = NotAsked::BreakerOpen { answered: false };

    #[test]
    fn no_more_go_at_once_than_may_and_notices_have_half() {
        let (mut line, now) = line(4, 0);
        for notice in ["n1", "n2", "n3"] {
            line.tell(notice);
        }
        assert_eq!(line.next(now), Step::Send("n1"));
        assert_eq!(line.next(now), Step::Send("n2"));
        assert_eq!(line.next(now), Step::Wait(None), "half of the places");
        for decision in ["d1", "d2", "d3"] {
            line.decide(now + SECOND, decision);
        }
        assert_eq!(line.next(now), Step::Send("d1"));
        assert_eq!(line.next(now), Step::Send("d2"));
        assert_eq!(line.next(now), Step::Wait(Some(now + SECOND)), "all places");
        line.finished(now, false, None);
        assert_eq!(line.next(now), Step::Send("d3"), "decisions first");
        line.finished(now, true, None);
        assert_eq!(line.next(now), Step::Send("n3"));
        assert_eq!(line.next(now), Step::Wait(None));
        for is_decision in [true, true, false, false] {
            assert!(!line.is_empty());
            line.finished(now, is_decision, None);
        }
        assert!(line.is_empty());
    }

    #[test]
    fn a_notice_goes_in_spite_of_ever_more_decisions() {
        let (mut line, now) = line(1, 0);
        line.tell("notice");
        let mut sent = Vec::new();
        for _ in 0..5 {
            line.decide(now + SECOND, "decision");
            let Step::Send(item) = line.next(now) else { panic!("a place is free") };
            sent.push(item);
            line.finished(now, item == "decision", None);
        }
        assert_eq!(sent, ["decision", "decision", "decision", "notice", "decision"]);
    }

    #[test]
    fn a_decision_that_waited_too_long_is_given_up() {
        let (mut line, now) = line(1, 0);
        line.decide(now + SECOND, "slow");
        line.decide(now + 2 * SECOND, "late");
        assert_eq!(line.next(now), Step::Send("slow"));
        assert_eq!(line.next(now), Step::Wait(Some(now + 2 * SECOND)));
        assert_eq!(line.next(now + 2 * SECOND), Step::GiveUp("late", NotAsked::Timeout));
    }

    #[test]
    fn what_is_put_off_comes_in_time_and_in_order() {
        let (mut line, now) = line(8, 0);
        line.tell_later(now + 2 * SECOND, "c");
        line.tell_later(now + SECOND, "a");
        line.tell_later(now + SECOND, "b");
        assert_eq!(line.next(now), Step::Wait(Some(now + SECOND)));
        assert_eq!(line.next(now + SECOND), Step::Send("a"));
        assert_eq!(line.next(now + SECOND), Step::Send("b"));
        assert_eq!(line.next(now + SECOND), Step::Wait(Some(now + 2 * SECOND)));
        assert!(!line.is_empty());
    }

    #[test]
    fn while_its_breaker_is_open_decisions_fail_and_notices_go() {
        let (mut line, now) = line(4, 2);
        for decision in ["d1", "d2"] {
            line.decide(now + 60 * SECOND, decision);
            assert_eq!(line.next(now), Step::Send(decision));
            line.finished(now, true, Some(away()));
        }
        assert_eq!((line.breaker(true), line.breaker(false)), (BreakerState::Open, BreakerState::Closed));
        line.tell("notice");
        line.decide(now + 60 * SECOND, "d3");
        assert_eq!(line.next(now), Step::GiveUp("d3", OPEN));
        assert_eq!(line.next(now), Step::Send("notice"));
        line.finished(now, false, None);
        assert_eq!(line.breaker(true), BreakerState::Open, "a notice says nothing of decisions");
        let later = now + 10 * SECOND;
        for decision in ["d4", "d5"] {
            line.decide(later + 60 * SECOND, decision);
        }
        assert_eq!(line.next(later), Step::Send("d4"), "it probes");
        assert_eq!(line.next(later), Step::GiveUp("d5", OPEN));
        line.finished(later, true, None);
        line.decide(later + 60 * SECOND, "d6");
        assert_eq!(line.next(later), Step::Send("d6"));
    }

    #[test]
    fn while_its_breaker_is_open_notices_wait_and_decisions_go() {
        let (mut line, now) = line(4, 1);
        line.tell("n1");
        assert_eq!(line.next(now), Step::Send("n1"));
        line.finished(now, false, Some(away()));
        line.tell("n2");
        line.tell("n3");
        line.decide(now + 60 * SECOND, "decision");
        assert_eq!(line.next(now), Step::Send("decision"));
        assert_eq!(line.next(now), Step::Wait(Some(now + 10 * SECOND)));
        line.finished(now, true, None);
        let later = now + 10 * SECOND;
        assert_eq!(line.next(later), Step::Send("n2"), "it probes");
        assert_eq!(line.next(later), Step::Wait(None), "one");
        line.finished(later, false, None);
        assert_eq!(line.next(later), Step::Send("n3"));
    }

    #[test]
    fn decisions_fail_at_once_by_an_open_breaker_though_all_places_are_taken() {
        let (mut line, now) = line(2, 1);
        for decision in ["d1", "d2"] {
            line.decide(now + SECOND, decision);
            assert_eq!(line.next(now), Step::Send(decision));
        }
        line.finished(now, true, Some(Failing { answered: true, ..away() }));
        line.tell("notice");
        assert_eq!(line.next(now), Step::Send("notice"));
        line.decide(now + SECOND, "d3");
        assert_eq!(line.next(now), Step::GiveUp("d3", NotAsked::BreakerOpen { answered: true }));
    }

    #[test]
    fn an_open_breaker_with_nothing_to_send_does_not_probe() {
        let (mut line, now) = line(1, 1);
        line.tell("n");
        assert_eq!(line.next(now), Step::Send("n"));
        line.finished(now, false, Some(away()));
        assert_eq!(line.next(now + 60 * SECOND), Step::Wait(None));
        assert_eq!(line.breaker(false), BreakerState::Open);
    }
}
