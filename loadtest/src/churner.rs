//! What one load thread of `churn` does: connect, join, leave, close, over and over.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};

use hdrhistogram::Histogram;
use memchr::memmem::Finder;

use crate::clock::MILLI_NS;
use crate::engine::{Handler, Turn};
use crate::io::{ConnId, Connections, End, Ends};
use crate::joiner::{Joiner, Step as JoinStep};
use crate::outcome::{histogram, merge_ends};
use crate::run::Work;
use crate::schedule::Schedule;
use crate::stage::Stage;
use crate::template::{Templates, fill_room, room_name};

/// Longest wait of the loop.
const WAIT_NS: u64 = 5 * MILLI_NS;

/// How often cycles are looked at that take too long.
const CHECK_NS: u64 = 10 * MILLI_NS;

/// What all threads of a churn share.
#[derive(Debug)]
pub struct ChurnPlan {
    /// Texts of the protocol.
    pub templates: Templates,
    /// Before the number in a room's name.
    pub room_prefix: String,
    /// Rooms, used in turn.
    pub rooms: u32,
    /// Cycles per second over all threads; as fast as the server goes when `None`.
    pub rate: Option<f64>,
    /// Cycles under way at once on one thread.
    pub concurrency: usize,
    /// A cycle that takes longer fails, in nanoseconds.
    pub timeout_ns: u64,
    /// Load threads.
    pub threads: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Connecting,
    Joining,
    Leaving,
    Closing,
}

#[derive(Clone, Copy, Debug)]
struct Cycle {
    step: Step,
    /// When it should have begun (with a rate) or began.
    due_ns: u64,
    began_ns: u64,
    id: Option<ConnId>,
    room: u32,
    joined: JoinStep,
    timed_out: bool,
}

/// The sums of one thread.
pub struct Churned {
    /// From the intended begin of a cycle to its end, of cycles that ended in the window.
    pub cycle_ns: Histogram<u64>,
    /// From the connect to the acknowledged join, of the same.
    pub join_ns: Histogram<u64>,
    /// From the intended begin to the begin.
    pub lateness_ns: Histogram<u64>,
    /// Cycles that ended well in the window.
    pub window_cycles: u64,
    /// Cycles that ended well in the whole run.
    pub cycles: u64,
    /// Cycles that were due but found no place until the end.
    pub missed: u64,
    /// How the cycles failed.
    pub failures: Ends,
    /// How the server closed at the end of good cycles.
    pub ends: Ends,
}

impl Churned {
    /// All zero.
    pub fn new() -> Self {
        Self {
            cycle_ns: histogram(),
            join_ns: histogram(),
            lateness_ns: histogram(),
            window_cycles: 0,
            cycles: 0,
            missed: 0,
            failures: Ends::new(),
            ends: Ends::new(),
        }
    }

    /// Adds another thread's sums.
    pub fn merge(&mut self, other: Self) {
        // All have the same bounds, so adding cannot fail.
        let _ = self.cycle_ns.add(&other.cycle_ns);
        let _ = self.join_ns.add(&other.join_ns);
        let _ = self.lateness_ns.add(&other.lateness_ns);
        self.window_cycles += other.window_cycles;
        self.cycles += other.cycles;
        self.missed += other.missed;
        merge_ends(&mut self.failures, other.failures);
        merge_ends(&mut self.ends, other.ends);
    }
}

/// The handler.
pub struct Churner {
    plan: Arc<ChurnPlan>,
    stage: Arc<Stage>,
    thread: usize,
    cycles: Vec<Option<Cycle>>,
    free: Vec<u32>,
    begun: u32,
    schedule: Option<Schedule>,
    joiner: Joiner,
    left: Option<Finder<'static>>,
    checked_ns: u64,
    told_settled: bool,
    told_published: bool,
    out: Churned,
}

impl Churner {
    /// For thread number `thread`.
    pub fn new(plan: Arc<ChurnPlan>, stage: Arc<Stage>, thread: usize) -> Self {
        let finder = |marker: &Option<String>| marker.as_ref().map(|text| Finder::new(text).into_owned());
        Self {
            cycles: vec![None; plan.concurrency],
            free: (0..plan.concurrency as u32).collect(),
            begun: 0,
            schedule: None,
            joiner: Joiner::new(&plan.templates),
            left: finder(&plan.templates.left_marker),
            checked_ns: 0,
            told_settled: false,
            told_published: false,
            out: Churned::new(),
            plan,
            stage,
            thread,
        }
    }

    /// Begins what is due; how long the loop may wait then.
    fn begin_due(&mut self, io: &mut dyn Connections, start_ns: u64, now_ns: u64) -> u64 {
        if self.plan.rate.is_none() {
            while let Some(tag) = self.free.pop() {
                self.begin(io, tag, now_ns, now_ns);
            }
            return WAIT_NS;
        }
        let Some(mut schedule) = self.schedule.take().or_else(|| self.schedule(start_ns)) else {
            return WAIT_NS;
        };
        // With all places taken a due cycle waits, and its wait counts.
        while let Some(tag) = self.free.pop() {
            let Some(due) = schedule.take(now_ns) else {
                self.free.push(tag);
                break;
            };
            self.begin(io, tag, due.at_ns, now_ns);
        }
        let next = schedule.peek().filter(|_| !self.free.is_empty());
        let wait = next.map_or(WAIT_NS, |due| due.at_ns.saturating_sub(now_ns));
        self.schedule = Some(schedule);
        wait.min(WAIT_NS)
    }

    fn begin(&mut self, io: &mut dyn Connections, tag: u32, due_ns: u64, now_ns: u64) {
        // Threads begin at different rooms.
        let number = self.begun.wrapping_mul(self.plan.threads as u32).wrapping_add(self.thread as u32);
        let room = number % self.plan.rooms;
        self.begun = self.begun.wrapping_add(1);
        self.out.lateness_ns.saturating_record(now_ns.saturating_sub(due_ns));
        let name = io.wants_room().then(|| room_name(&self.plan.room_prefix, room));
        let id = io.connect(tag, number as usize, 0, name.as_deref());
        self.cycles[tag as usize] = Some(Cycle {
            step: Step::Connecting,
            due_ns,
            began_ns: now_ns,
            id,
            room,
            joined: 0,
            timed_out: false,
        });
    }

    /// Goes on with the join, and leaves when it is done.
    fn join(&mut self, io: &mut dyn Connections, id: ConnId, tag: u32, received: Option<&[u8]>, now_ns: u64) {
        let Some(cycle) = self.cycles[tag as usize].as_mut() else { return };
        let room = room_name(&self.plan.room_prefix, cycle.room);
        if self.joiner.step(io, id, &room, &mut cycle.joined, received) {
            self.leave(io, id, tag, now_ns);
        }
    }

    /// Joining is done: leave.
    fn leave(&mut self, io: &mut dyn Connections, id: ConnId, tag: u32, now_ns: u64) {
        let Some(cycle) = self.cycles[tag as usize].as_mut() else { return };
        if self.stage.window().contains(&now_ns) {
            self.out.join_ns.saturating_record(now_ns.saturating_sub(cycle.began_ns));
        }
        cycle.step = Step::Leaving;
        let text = fill_room(&self.plan.templates.leave, &room_name(&self.plan.room_prefix, cycle.room));
        if !text.is_empty() {
            io.send_text(id, &[text.as_bytes()]);
        }
        if self.left.is_none() || text.is_empty() {
            self.close(io, id, tag);
        }
    }

    fn close(&mut self, io: &mut dyn Connections, id: ConnId, tag: u32) {
        if let Some(cycle) = self.cycles[tag as usize].as_mut() {
            cycle.step = Step::Closing;
            io.send_close(id, 1000);
        }
    }

    /// Ends the cycles that take too long.
    fn check(&mut self, io: &mut dyn Connections, now_ns: u64) {
        if now_ns.saturating_sub(self.checked_ns) < CHECK_NS {
            return;
        }
        self.checked_ns = now_ns;
        for cycle in self.cycles.iter_mut().flatten() {
            if now_ns.saturating_sub(cycle.began_ns) > self.plan.timeout_ns
                && let Some(id) = cycle.id
            {
                cycle.timed_out = true;
                io.abort(id);
            }
        }
    }
}

impl Handler for Churner {
    fn opened(&mut self, io: &mut dyn Connections, id: ConnId, tag: u32, now_ns: u64) {
        let Some(cycle) = self.cycles[tag as usize].as_mut() else { return };
        cycle.step = Step::Joining;
        self.join(io, id, tag, None, now_ns);
    }

    fn message(&mut self, io: &mut dyn Connections, id: ConnId, tag: u32, payload: &[u8], now_ns: u64) {
        let Some(cycle) = self.cycles[tag as usize] else { return };
        let found =
            |marker: &Option<Finder<'static>>| marker.as_ref().is_some_and(|m| m.find(payload).is_some());
        match cycle.step {
            Step::Joining => self.join(io, id, tag, Some(payload), now_ns),
            Step::Leaving if found(&self.left) => self.close(io, id, tag),
            _ => {}
        }
    }

    fn closed(&mut self, _io: &mut dyn Connections, tag: u32, end: End, now_ns: u64) {
        let Some(cycle) = self.cycles[tag as usize].take() else { return };
        self.free.push(tag);
        if cycle.step == Step::Closing && matches!(end, End::Closed(_)) {
            self.out.cycles += 1;
            *self.out.ends.entry(end.to_string()).or_default() += 1;
            if self.stage.window().contains(&now_ns) {
                self.out.window_cycles += 1;
                self.out.cycle_ns.saturating_record(now_ns.saturating_sub(cycle.due_ns));
            }
            self.stage.delivered.fetch_add(1, Relaxed);
        } else {
            let what = if cycle.timed_out { "timeout".to_owned() } else { end.to_string() };
            let text = format!("{what} while {:?}", cycle.step).to_lowercase();
            *self.out.failures.entry(text).or_default() += 1;
        }
    }

    fn turn(&mut self, io: &mut dyn Connections, now_ns: u64) -> Turn {
        if self.stage.finish.load(Relaxed) {
            return Turn::Stop;
        }
        if !self.told_settled {
            self.told_settled = true;
            self.stage.settled.fetch_add(1, Release);
        }
        self.check(io, now_ns);
        let Some(start_ns) = self.stage.started_at() else { return Turn::Wait(WAIT_NS) };
        if now_ns < start_ns {
            return Turn::Wait((start_ns - now_ns).min(WAIT_NS));
        }
        if now_ns < self.stage.window_end_ns.load(Relaxed) {
            return Turn::Wait(self.begin_due(io, start_ns, now_ns));
        }
        if !self.told_published {
            self.told_published = true;
            // What was due before the end begins, however late this thread got to it, if it finds a place.
            let last_ns = self.stage.window_end_ns.load(Relaxed).saturating_sub(1);
            if self.plan.rate.is_some() {
                self.begin_due(io, start_ns, last_ns);
            }
            if let Some(mut rest) = self.schedule.take() {
                self.out.missed = std::iter::from_fn(|| rest.take(last_ns)).count() as u64;
            }
            self.stage.published.fetch_add(1, Release);
        }
        let under_way = self.cycles.iter().flatten().count();
        self.stage.missing[self.thread].store(under_way as u64, Release);
        Turn::Wait(MILLI_NS)
    }
}

impl Work for Churner {
    type Seen = Churned;

    fn schedule(&self, start_ns: u64) -> Option<Schedule> {
        Some(Schedule::new(start_ns, self.plan.rate?, self.plan.threads, vec![self.thread as u32]))
    }

    fn finish(mut self) -> Churned {
        let stuck = self.cycles.iter().flatten().count() as u64;
        if stuck > 0 {
            *self.out.failures.entry("not ended in time".into()).or_default() += stuck;
        }
        self.out
    }
}
