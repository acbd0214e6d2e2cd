//! Pings and deadlines.

use crate::base::{Mutation, Wheel, mutated};
use crate::model::{CloseReason, Eviction, IDLE_TEXT};
use crate::shard::conn::{Conn, State};
use crate::shard::input::talk::BeatDue;
use crate::shard::life::closing::deciseconds;
use crate::shard::life::drain::Drain;
use crate::shard::life::wall::Wall;
use crate::shard::policy::identity::IdentityDue;
use crate::shard::{Now, Shard, Sockets};
use crate::wire;
use std::time::Duration;

/// Granularity of the timers: every deadline here is in seconds, so a tenth is fine enough.
const TIMER_MS: u32 = 100;

/// Granularity of the times at which what waits for held connections is let out.
const PACE_MS: u32 = 1;

/// After a sleep, how long input may still be what came meanwhile: time enough to read it all.
const UNSEEN_US: u64 = 10_000_000;

/// A time in which the shard's thread did not run.
#[derive(Debug, Default)]
struct Sleep {
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

/// What the shard waits for by its clock.
#[derive(Debug)]
pub(in crate::shard) struct Timers {
    /// The next thing that is due for each connection.
    wheel: Wheel,
    /// When what waits for held connections is let out.
    pace: Wheel,
    cleanup: Cleanup,
    /// When histories are next looked through for what is too old, in ms. One shard does so for the node, and only
    /// where some rule asks for histories.
    sweep_ms: Option<u64>,
    /// The last time at which the thread had not run; see [`Shard::slept`].
    sleep: Sleep,
    wall: Wall,
}

impl Timers {
    /// No deadline, except that of the histories where this shard looks through them.
    pub fn new(sweeps: bool) -> Self {
        Self {
            wheel: Wheel::new(TIMER_MS),
            pace: Wheel::new(PACE_MS),
            cleanup: Cleanup::default(),
            sweep_ms: sweeps.then_some(0),
            sleep: Sleep::default(),
            wall: Wall::default(),
        }
    }

    /// Forgets a connection.
    pub fn forget(&mut self, slot: u32) {
        self.wheel.clear(slot);
        self.pace.clear(slot);
    }

    /// Lets out at that time, in ms, what waits for a held connection.
    pub fn pace(&mut self, slot: u32, due_ms: u64) {
        self.pace.set(slot, due_ms);
    }

    /// Whether there is a time at which that is let out.
    pub fn is_paced(&self, slot: u32) -> bool {
        self.pace.is_set(slot)
    }

    /// Sets no such time.
    pub fn unpace(&mut self, slot: u32) {
        self.pace.clear(slot);
    }

    /// The next held connection whose time has come.
    pub fn next_paced(&mut self, now: Now) -> Option<u32> {
        self.pace.pop_expired(now.ms())
    }

    /// The time since which what is received now may have waited unread, in µs: `now`, except soon after a sleep.
    pub fn unseen_since_us(&self, now: Now) -> u64 {
        self.sleep.unseen_since_us(now)
    }

    /// A time of the shard's clock in tenths of a second, as Unix time in ms.
    pub fn unix_ms(&self, now: Now, ds: u32) -> u64 {
        self.wall.unix_ms(now, ds)
    }

    /// When the last sleep was over, in tenths of a second.
    pub fn awake_ds(&self) -> u32 {
        self.sleep.end_ds()
    }
}

/// The sweeps of idle connections.
#[derive(Debug, Default)]
struct Cleanup {
    /// When the one under way is over, in ms; 0: there was none yet.
    next_ms: u64,
    /// Connections closed since the last one.
    closed: u64,
}

/// What is due for a connection.
enum Due {
    Nothing,
    Ping,
    /// The heartbeat of its dialect beats.
    Beat,
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
        let due = [
            self.timers.wheel.next_deadline_ms(),
            self.timers.pace.next_deadline_ms(),
            self.endings.drain.as_ref().and_then(Drain::deadline_ms),
            self.timers.sweep_ms,
            self.next_sweep_ms(),
            self.changes_due_ms(),
        ];
        due.into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn advance(&mut self, now: Now, sockets: &mut impl Sockets) {
        self.evict_doomed(now, sockets);
        while let Some(slot) = self.timers.wheel.pop_expired(now.ms()) {
            match self.due(now, slot) {
                Due::Nothing => {}
                Due::Ping => self.ping(now, slot),
                Due::Beat => self.beat(now, slot),
                Due::Warn => self.warn_of_end(now, slot),
                Due::Close(CloseReason::SlowConsumer) => {
                    let backlog_bytes = self.conns.at(slot).map_or(0, |conn| conn.backlog_bytes());
                    self.evict(now, slot, Eviction::Stalled, backlog_bytes, sockets);
                }
                Due::CloseIdle => {
                    let reason = CloseReason::Idle;
                    self.close_with(now, slot, reason, reason.code(), IDLE_TEXT, sockets);
                    self.timers.cleanup.closed += 1;
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
        if self.timers.sweep_ms.is_some_and(|sweep_ms| now.ms() >= sweep_ms) {
            self.timers.sweep_ms = Some(self.hub.directory.sweep(now.ms()));
        }
    }

    /// To be called first when the thread has not run since `from` (the process was stopped, the machine was asleep):
    /// silence counts from now on, and input that piled up is no haste. Whoever lives answers the pings that are due
    /// now; a shard that slept cannot know which clients were silent.
    pub fn slept(&mut self, from: Now, now: Now) {
        if mutated(Mutation::ForgetSleep) {
            return;
        }
        self.timers.sleep = Sleep { from_us: from.us, to_us: now.us };
    }

    /// Another shard's mail to send because the node's outboxes are near their bound: the shard to ask.
    pub fn take_evict_elsewhere(&mut self) -> Option<usize> {
        self.blocked.take_elsewhere()
    }

    fn due(&self, now: Now, slot: u32) -> Due {
        let Some(conn) = self.conns.at(slot) else { return Due::Nothing };
        let times = &self.config.times;
        let ping_interval = self.ping_interval(conn);
        let (awake_ds, awake_ms) = (self.timers.sleep.end_ds(), self.timers.sleep.end_ms());
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
                } else if let Some(due) = self.beat_due(now, conn, awake_ds) {
                    match due {
                        BeatDue::Beat => Due::Beat,
                        BeatDue::Close => Due::Close(CloseReason::Idle),
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
        let due_ds =
            message_ds.max(self.timers.sleep.end_ds()).saturating_add(deciseconds(times.idle_timeout));
        let step_ds = times.sweep_interval().map_or(1, deciseconds).max(1);
        Some(due_ds.div_ceil(step_ds).saturating_mul(step_ds))
    }

    /// When the sweep under way is over, in ms; none where there is nothing to look through.
    fn next_sweep_ms(&self) -> Option<u64> {
        let is_needed = self.config.times.sweep_interval().is_some() && !self.conns.is_empty();
        is_needed.then_some(self.timers.cleanup.next_ms)
    }

    /// Tells a sweep of idle connections that is over. The timers have closed what was due in it.
    fn end_sweep(&mut self, now: Now) {
        let Some(interval) = self.config.times.sweep_interval() else { return };
        let is_due = self.next_sweep_ms().is_some_and(|next_ms| now.ms() >= next_ms);
        if self.timers.cleanup.closed == 0 && !is_due {
            return;
        }
        let step_ms = u64::from(deciseconds(interval).max(1)) * 100;
        // The timers of a sweep are up to one of their steps late.
        let next_ms = (now.ms() / step_ms + 1) * step_ms + u64::from(TIMER_MS);
        let cleanup = std::mem::replace(&mut self.timers.cleanup, Cleanup { next_ms, closed: 0 });
        if cleanup.next_ms != 0 || cleanup.closed > 0 {
            self.metrics.cleanups.inc();
            self.metrics.cleanup_closed.add(cleanup.closed);
            tracing::debug!(
                shard = self.mailer.here(),
                closed = cleanup.closed,
                connections = self.conns.len(),
                "idle connections looked for"
            );
        }
    }

    /// Time between pings to a connection; zero: none.
    fn ping_interval(&self, conn: &Conn) -> Duration {
        if conn.echo || conn.beats() { Duration::ZERO } else { self.config.times.ping_interval }
    }

    fn ping(&mut self, now: Now, slot: u32) {
        let Some(conn) = self.conns.at_mut(slot) else { return };
        conn.pinged_ds = now.ds();
        let entry = self.palette.push_control(|out| wire::write_ping(out, b""));
        self.owe(slot, entry);
    }

    /// Sets a connection's one timer to the first thing that will be due for it.
    pub(in crate::shard) fn arm(&mut self, now: Now, slot: u32) {
        let Some(conn) = self.conns.at(slot) else { return };
        let times = &self.config.times;
        let ping_interval = self.ping_interval(conn);
        let (awake_ds, awake_ms) = (self.timers.sleep.end_ds(), self.timers.sleep.end_ms());
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
                let beat = conn.beat_due_ds(awake_ds).map(|due_ds| u64::from(due_ds) * 100);
                [pong, write, idle, identity, ping, input, beat].into_iter().flatten().min()
            }
        };
        match deadline_ms {
            // Never in the same instant: a deadline is looked at again only after time has passed.
            Some(deadline_ms) => self.timers.wheel.set(slot, deadline_ms.max(now.ms() + 1)),
            None => self.timers.wheel.clear(slot),
        }
    }
}
