//! Pings, deadlines and the drain.

use super::closing::deciseconds;
use super::conn::{Conn, State};
use super::identity::IdentityDue;
use super::{Now, Shard, Sockets, TIMER_MS};
use crate::base::{Mutation, mutated};
use crate::model::{CloseReason, Eviction, IDLE_TEXT};
use crate::wire;
use rand::RngExt;
use std::time::Duration;

/// Time between two steps of a drain. Each closes a connection at the least: so few a second are no herd, and a small
/// node need not wait.
const DRAIN_STEP_MS: u64 = 50;

/// Connections closed in one turn, at the most.
const DRAIN_TURN_MAX: usize = 4096;

/// Share of the drain's time, in percent, in which the close frames go out; the rest is for the outboxes.
const DRAIN_PACED_PERCENT: u64 = 75;

/// A drain under way.
#[derive(Debug)]
pub(super) struct Drain {
    /// Connections not closed yet.
    pub queue: Vec<u32>,
    closed: usize,
    began_ms: u64,
    /// Steps over which they are closed evenly.
    steps: u64,
    next_ms: u64,
    /// Clients are told to come back within this time, each at its own moment.
    spread_ms: u64,
}

impl Drain {
    /// The connections that are due at a time: of all there are, as many as of the time is over.
    fn batch(&mut self, now_ms: u64) -> Vec<u32> {
        let step = (now_ms - self.began_ms) / DRAIN_STEP_MS + 1;
        let all = self.closed + self.queue.len();
        let due = match step < self.steps && !mutated(Mutation::DrainAtOnce) {
            true => (all as u64 * step / self.steps).max(step) as usize,
            false => all,
        };
        let due = due.saturating_sub(self.closed).min(self.queue.len());
        let len = due.min(DRAIN_TURN_MAX);
        self.closed += len;
        self.next_ms = if len < due { now_ms } else { self.began_ms + step * DRAIN_STEP_MS };
        self.queue.split_off(self.queue.len() - len)
    }
}

/// After a sleep, how long input may still be what came meanwhile: time enough to read it all.
const UNSEEN_US: u64 = 10_000_000;

/// A time in which the shard's thread did not run.
#[derive(Debug, Default)]
pub(super) struct Sleep {
    /// When it began, in µs.
    from_us: u64,
    /// When it was over, in µs.
    to_us: u64,
}

impl Sleep {
    /// The time since which what is received now may have waited unread: `now`, except soon after a sleep.
    pub fn unseen_since_us(&self, now: Now) -> u64 {
        if self.to_us != 0 && now.us < self.to_us + UNSEEN_US { self.from_us } else { now.us }
    }

    pub fn end_ds(&self) -> u32 {
        Now { us: self.to_us, unix_ms: 0 }.ds()
    }

    fn end_ms(&self) -> u64 {
        self.to_us / 1000
    }
}

/// The sweeps of idle connections.
#[derive(Debug, Default)]
pub(super) struct Cleanup {
    /// When the one under way is over, in ms; 0: there was none yet.
    next_ms: u64,
    /// Connections closed since the last one.
    closed: u64,
}

/// What is due for a connection.
enum Due {
    Nothing,
    Ping,
    Warn,
    /// It lives, but says nothing.
    CloseIdle,
    /// A message takes too long.
    CutInput,
    Close(CloseReason),
    Remove,
}

impl Shard {
    /// When [`Shard::advance`] must be called at the latest, in ms of the shard's clock.
    pub fn deadline_ms(&self) -> Option<u64> {
        let drain = self.drain.as_ref().filter(|drain| !drain.queue.is_empty()).map(|drain| drain.next_ms);
        let due = [
            self.wheel.next_deadline_ms(),
            self.pace.next_deadline_ms(),
            drain,
            self.sweep_ms,
            self.next_sweep_ms(),
            self.changes_due_ms(),
        ];
        due.into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn advance(&mut self, now: Now, sockets: &mut impl Sockets) {
        self.evict_doomed(now, sockets);
        while let Some(slot) = self.wheel.pop_expired(now.ms()) {
            match self.due(now, slot) {
                Due::Nothing => {}
                Due::Ping => self.ping(now, slot),
                Due::Warn => self.warn_of_end(now, slot),
                Due::Close(CloseReason::SlowConsumer) => {
                    let backlog_bytes = self.conns.at(slot).map_or(0, |conn| conn.backlog_bytes());
                    self.evict(now, slot, Eviction::Stalled, backlog_bytes, sockets);
                }
                Due::CloseIdle => {
                    let reason = CloseReason::Idle;
                    self.close_with(now, slot, reason, reason.code(), IDLE_TEXT, sockets);
                    self.cleanup.closed += 1;
                }
                Due::CutInput => self.cut_input(now, slot, CloseReason::MessageTimeout, sockets),
                Due::Close(reason) => self.close(now, slot, reason, sockets),
                Due::Remove => self.remove(slot, sockets),
            }
            self.arm(now, slot);
        }
        self.end_sweep(now);
        self.drain_due(now, sockets);
        self.review_step(now, sockets);
        self.tell_changes(now);
        // Whoever had no place for a notice is told so, not that the node goes down.
        self.evict_doomed(now, sockets);
        self.drain_step(now, sockets);
        if self.sweep_ms.is_some_and(|sweep_ms| now.ms() >= sweep_ms) {
            self.sweep_ms = Some(self.hub.directory.sweep(now.ms()));
        }
    }

    /// To be called first when the thread has not run since `from` (the process was stopped, the machine was asleep):
    /// silence counts from now on, and input that piled up is no haste. Whoever lives answers the pings that are due
    /// now; a shard that slept cannot know who was silent.
    pub fn slept(&mut self, from: Now, now: Now) {
        if mutated(Mutation::ForgetSleep) {
            return;
        }
        self.sleep = Sleep { from_us: from.us, to_us: now.us };
    }

    /// Another shard's mail to send because the node's outboxes are near their bound: the shard to ask.
    pub fn take_evict_elsewhere(&mut self) -> Option<usize> {
        self.evict_elsewhere.take()
    }

    fn due(&self, now: Now, slot: u32) -> Due {
        let Some(conn) = self.conns.at(slot) else { return Due::Nothing };
        let times = &self.config.times;
        let ping_interval = self.ping_interval(conn);
        let (awake_ds, awake_ms) = (self.sleep.end_ds(), self.sleep.end_ms());
        let over = |since_ds: u32, limit: Duration| {
            !limit.is_zero() && now.ds() >= since_ds.saturating_add(deciseconds(limit))
        };
        let silent = |since_ds: u32, limit: Duration| over(since_ds.max(awake_ds), limit);
        match conn.state {
            State::Closing { deadline_ds, .. } if now.ds() >= deadline_ds => Due::Remove,
            State::Closing { .. } => Due::Nothing,
            State::Open => {
                let stuck = conn.backlog.as_ref().filter(|backlog| backlog.refused).is_some_and(|backlog| {
                    now.ms() >= backlog.progress_ms.max(awake_ms) + times.write_wait.as_millis() as u64
                });
                if stuck {
                    Due::Close(CloseReason::SlowConsumer)
                } else if !ping_interval.is_zero() && silent(conn.received_ds, times.pong_wait) {
                    Due::Close(CloseReason::Idle)
                } else if self.idle_end_ds(conn.message_ds).is_some_and(|end_ds| now.ds() >= end_ds)
                    && !mutated(Mutation::IgnoreIdle)
                {
                    Due::CloseIdle
                } else if self.input_due_ds(slot, conn).is_some_and(|due_ds| now.ds() >= due_ds) {
                    Due::CutInput
                } else if let Some(identity) = &conn.identity
                    && let Some(due) = self.identity_due(now, identity, conn.warned)
                {
                    match due {
                        IdentityDue::Warning => Due::Warn,
                        IdentityDue::End => Due::Close(CloseReason::Unauthenticated),
                    }
                } else if mutated(Mutation::ForgetPing) {
                    Due::Nothing
                } else if over(conn.pinged_ds, ping_interval) {
                    Due::Ping
                } else {
                    Due::Nothing
                }
            }
        }
    }

    /// When a connection that says nothing since then is closed: after `idle_timeout`, with the first sweep if there are
    /// any; none: never.
    fn idle_end_ds(&self, message_ds: u32) -> Option<u32> {
        let times = &self.config.times;
        if times.idle_timeout.is_zero() {
            return None;
        }
        let due_ds = message_ds.max(self.sleep.end_ds()).saturating_add(deciseconds(times.idle_timeout));
        let step_ds = times.sweep_interval().map_or(1, deciseconds).max(1);
        Some(due_ds.div_ceil(step_ds).saturating_mul(step_ds))
    }

    /// When the sweep under way is over, in ms; none where there is nothing to look through.
    fn next_sweep_ms(&self) -> Option<u64> {
        let is_needed = self.config.times.sweep_interval().is_some() && !self.conns.is_empty();
        is_needed.then_some(self.cleanup.next_ms)
    }

    /// Tells a sweep of idle connections that is over. The timers have closed what was due in it.
    fn end_sweep(&mut self, now: Now) {
        let Some(interval) = self.config.times.sweep_interval() else { return };
        let is_due = self.next_sweep_ms().is_some_and(|next_ms| now.ms() >= next_ms);
        if self.cleanup.closed == 0 && !is_due {
            return;
        }
        let step_ms = u64::from(deciseconds(interval).max(1)) * 100;
        // The timers of a sweep are up to one of their steps late.
        let next_ms = (now.ms() / step_ms + 1) * step_ms + u64::from(TIMER_MS);
        let cleanup = std::mem::replace(&mut self.cleanup, Cleanup { next_ms, closed: 0 });
        if cleanup.next_ms != 0 || cleanup.closed > 0 {
            self.metrics.cleanups.inc();
            self.metrics.cleanup_closed.add(cleanup.closed);
            tracing::debug!(
                shard = self.index,
                closed = cleanup.closed,
                connections = self.conns.len(),
                "idle connections looked for"
            );
        }
    }

    /// Time between pings to a connection; zero: none.
    fn ping_interval(&self, conn: &Conn) -> Duration {
        if conn.echo { Duration::ZERO } else { self.config.times.ping_interval }
    }

    fn ping(&mut self, now: Now, slot: u32) {
        let Some(conn) = self.conns.at_mut(slot) else { return };
        conn.pinged_ds = now.ds();
        let entry = self.palette.push_control(|out| wire::write_ping(out, b""));
        self.owe(slot, entry);
    }

    /// Sets a connection's one timer to the first thing that will be due for it.
    pub(super) fn arm(&mut self, now: Now, slot: u32) {
        let Some(conn) = self.conns.at(slot) else { return };
        let times = &self.config.times;
        let ping_interval = self.ping_interval(conn);
        let (awake_ds, awake_ms) = (self.sleep.end_ds(), self.sleep.end_ms());
        let after = |since_ds: u32, limit: Duration| {
            (!limit.is_zero()).then(|| u64::from(since_ds.saturating_add(deciseconds(limit))) * 100)
        };
        let deadline_ms = match conn.state {
            State::Closing { deadline_ds, .. } => Some(u64::from(deadline_ds) * 100),
            State::Open => {
                let pong = if ping_interval.is_zero() {
                    None
                } else {
                    after(conn.received_ds.max(awake_ds), times.pong_wait)
                };
                let write = conn
                    .backlog
                    .as_ref()
                    .filter(|backlog| backlog.refused)
                    .map(|log| log.progress_ms.max(awake_ms) + times.write_wait.as_millis() as u64);
                let idle = self.idle_end_ds(conn.message_ds).map(|end_ds| u64::from(end_ds) * 100);
                let identity = conn.identity.as_ref();
                let identity =
                    identity.and_then(|identity| self.identity_deadline_ms(now, identity, conn.warned));
                let ping = after(conn.pinged_ds, ping_interval);
                let input = self.input_due_ds(slot, conn).map(|due_ds| u64::from(due_ds) * 100);
                [pong, write, idle, identity, ping, input].into_iter().flatten().min()
            }
        };
        match deadline_ms {
            // Never in the same instant: a deadline is looked at again only after time has passed.
            Some(deadline_ms) => self.wheel.set(slot, deadline_ms.max(now.ms() + 1)),
            None => self.wheel.clear(slot),
        }
    }

    /// Begins to close all connections, paced over a time.
    pub(super) fn start_drain(&mut self, now: Now, over: Duration) {
        let queue: Vec<u32> = self.conns.iter().map(|(key, _)| key.slot).collect();
        let spread_ms = over.as_millis() as u64;
        let steps = (spread_ms * DRAIN_PACED_PERCENT / 100 / DRAIN_STEP_MS).max(1);
        let (began_ms, spread_ms) = (now.ms(), spread_ms.max(1000));
        self.drain = Some(Drain { queue, closed: 0, began_ms, steps, next_ms: began_ms, spread_ms });
    }

    fn drain_step(&mut self, now: Now, sockets: &mut impl Sockets) {
        let Some(drain) = self.drain.as_mut().filter(|drain| now.ms() >= drain.next_ms) else { return };
        let batch = drain.batch(now.ms());
        let spread_ms = drain.spread_ms;
        for slot in batch {
            // Clients that all come back at the same moment would fell the next node.
            let hint_ms = 500 + self.random.random_range(0..spread_ms);
            let text = format!("{}: reconnect in {hint_ms} ms", CloseReason::ShuttingDown.text());
            let code = if mutated(Mutation::CloseAsNormal) { 1000 } else { CloseReason::ShuttingDown.code() };
            self.close_with(now, slot, CloseReason::ShuttingDown, code, &text, sockets);
        }
    }
}
