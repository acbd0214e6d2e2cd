//! What the members and publishers of `fanout`, `slow` and `idle` do on one load thread.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use anyhow::Result;

use crate::clock::MILLI_NS;
use crate::engine::{Handler, Turn};
use crate::io::{ConnId, Connections, End, Ends};
use crate::joiner::{Joiner, Step};
use crate::outcome::ThreadOutcome;
use crate::plan::Plan;
use crate::publish::{Publishers, WAIT_NS};
use crate::run::Work;
use crate::schedule::Schedule;
use crate::seats::Seat;
use crate::stage::Stage;
use crate::template::{StampFinder, room_name};
use crate::tracker::{Arrival, Mark};

/// Without acknowledgements a thread has settled when nothing came for this long.
const QUIET_NS: u64 = 300 * MILLI_NS;

/// How often the copies still missing are counted while the run drains.
const COUNT_NS: u64 = 20 * MILLI_NS;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Absent,
    Joining,
    Joined,
    Gone,
}

/// The handler.
pub struct Members {
    plan: Arc<Plan>,
    stage: Arc<Stage>,
    thread: usize,
    seats: Vec<Seat>,
    places: Vec<Place>,
    /// The connection of each seat that has joined.
    online: Vec<Option<ConnId>>,
    /// Distinct copies each seat got.
    got: Vec<u64>,
    /// For each seat, one for each publisher of its room.
    marks: Vec<Mark>,
    publishers: Publishers,
    finder: StampFinder,
    joiner: Joiner,
    steps: Vec<Step>,
    connecting: usize,
    next: usize,
    pending: usize,
    last_message_ns: u64,
    settled: bool,
    published: bool,
    resumed: bool,
    counted_ns: u64,
    progress: u64,
    out: ThreadOutcome,
}

impl Members {
    /// The seats must be those of thread number `thread`.
    ///
    /// # Errors
    /// When the publish template is broken or a closed loop finds no witness.
    pub fn new(plan: Arc<Plan>, stage: Arc<Stage>, thread: usize, seats: Vec<Seat>) -> Result<Self> {
        let publishers = Publishers::new(plan.clone(), stage.clone(), &seats)?;
        Ok(Self {
            places: vec![Place::Absent; seats.len()],
            online: vec![None; seats.len()],
            got: vec![0; seats.len()],
            marks: vec![Mark::default(); seats.len() * plan.publishers as usize],
            pending: seats.len(),
            publishers,
            finder: StampFinder::new(),
            joiner: Joiner::new(&plan.templates),
            steps: vec![0; seats.len()],
            connecting: 0,
            next: 0,
            last_message_ns: 0,
            settled: false,
            published: false,
            resumed: false,
            counted_ns: 0,
            progress: 0,
            out: ThreadOutcome::new(seats.len()),
            plan,
            stage,
            thread,
            seats,
        })
    }

    /// Copies a member of this seat is owed.
    fn expected(&self, seat: &Seat) -> u64 {
        let first = seat.room as usize * self.plan.publishers as usize;
        let sent = &self.stage.sent[first..first + self.plan.publishers as usize];
        let all: u64 = sent.iter().map(|count| u64::from(count.load(Acquire))).sum();
        let own = seat.publisher.filter(|_| !self.plan.echo);
        all - own.map_or(0, |number| u64::from(self.stage.sent[number as usize].load(Acquire)))
    }

    /// Goes on with the join; true when it is done.
    fn step(&mut self, io: &mut dyn Connections, id: ConnId, seat: usize, received: Option<&[u8]>) -> bool {
        let room = room_name(&self.plan.room_prefix, self.seats[seat].room);
        self.joiner.step(io, id, &room, &mut self.steps[seat], received)
    }

    fn join_done(&mut self, io: &mut dyn Connections, id: ConnId, seat: usize) {
        self.places[seat] = Place::Joined;
        self.online[seat] = Some(id);
        self.out.was_joined[seat] = true;
        self.pending -= 1;
        self.connecting -= 1;
        self.stage.joined.fetch_add(1, Relaxed);
        if self.seats[seat].stalled {
            io.pause(id);
        }
    }

    /// Copies that may still come to the members of this thread.
    fn missing(&self) -> u64 {
        let open = |i: &usize| self.seats[*i].member && self.places[*i] == Place::Joined;
        let owed = |i: usize| self.expected(&self.seats[i]).saturating_sub(self.got[i]);
        (0..self.seats.len()).filter(open).map(owed).sum()
    }
}

impl Handler for Members {
    fn opened(&mut self, io: &mut dyn Connections, id: ConnId, tag: u32, _now_ns: u64) {
        let seat = self.seats[tag as usize];
        self.places[tag as usize] = Place::Joining;
        if !seat.member || self.step(io, id, tag as usize, None) {
            self.join_done(io, id, tag as usize);
        }
    }

    fn message(&mut self, io: &mut dyn Connections, id: ConnId, tag: u32, payload: &[u8], now_ns: u64) {
        let index = tag as usize;
        self.last_message_ns = now_ns;
        if self.places[index] == Place::Joining && self.step(io, id, index, Some(payload)) {
            self.join_done(io, id, index);
        }
        self.joiner.keep_alive(io, id, payload);
        let seat = self.seats[index];
        let per_room = self.plan.publishers;
        let window = self.stage.window();
        let Self { finder, marks, out, got, publishers, .. } = self;
        finder.each(payload, |stamp| {
            if per_room == 0 || stamp.publisher / per_room != seat.room || !seat.member {
                out.strays += 1;
                return;
            }
            let arrival =
                marks[index * per_room as usize + (stamp.publisher % per_room) as usize].note(stamp.sequence);
            if seat.stalled {
                out.stalled_tally.add(arrival);
            } else {
                out.tally.add(arrival);
            }
            if arrival == Arrival::Duplicate {
                return;
            }
            got[index] += 1;
            if !seat.stalled {
                if window.contains(&stamp.intended_ns) {
                    out.latency_ns.saturating_record(now_ns.saturating_sub(stamp.intended_ns));
                }
                if window.contains(&now_ns) {
                    out.window_deliveries += 1;
                }
            }
            publishers.witnessed(index, stamp);
        });
    }

    fn batch_done(&mut self, io: &mut dyn Connections, tag: u32, bytes: usize, now_ns: u64) {
        if !self.seats[tag as usize].stalled && self.stage.window().contains(&now_ns) {
            self.out.window_bytes += bytes as u64;
        }
        self.publishers.top_up_moved(io, &self.online, now_ns);
    }

    fn hung_up(&mut self, tag: u32, now_ns: u64) {
        self.out.hang_ups_ns.entry(self.seats[tag as usize].index).or_insert(now_ns);
    }

    fn closed(&mut self, _io: &mut dyn Connections, tag: u32, end: End, now_ns: u64) {
        let index = tag as usize;
        let ends: &mut Ends = match (self.places[index], self.seats[index].stalled) {
            (Place::Joined, true) => {
                self.out.stalled_closes_ns.push(now_ns);
                &mut self.out.stalled_ends
            }
            (Place::Joined, false) => &mut self.out.ends,
            _ => {
                self.pending -= 1;
                self.connecting -= 1;
                self.out.failed += 1;
                &mut self.out.failures
            }
        };
        *ends.entry(end.to_string()).or_default() += 1;
        self.places[index] = Place::Gone;
        self.online[index] = None;
    }

    fn turn(&mut self, io: &mut dyn Connections, now_ns: u64) -> Turn {
        if self.stage.finish.load(Relaxed) {
            return Turn::Stop;
        }
        while self.next < self.seats.len() && self.connecting < self.plan.connecting_max {
            let seat = self.seats[self.next];
            let receive_bytes = if seat.stalled { self.plan.stalled_receive_bytes } else { 0 };
            let room = io.wants_room().then(|| room_name(&self.plan.room_prefix, seat.room));
            io.connect(self.next as u32, seat.index as usize, receive_bytes, room.as_deref());
            self.next += 1;
            self.connecting += 1;
        }
        if !self.settled && self.pending == 0 {
            let quiet =
                self.joiner.is_acknowledged() || now_ns.saturating_sub(self.last_message_ns) > QUIET_NS;
            if quiet {
                self.settled = true;
                self.stage.settled.fetch_add(1, Release);
            }
        }
        let delivered = self.out.tally.distinct;
        self.stage.delivered.fetch_add(delivered - self.progress, Relaxed);
        self.progress = delivered;
        let Some(start_ns) = self.stage.started_at() else { return Turn::Wait(WAIT_NS) };
        if now_ns < start_ns {
            return Turn::Wait((start_ns - now_ns).min(WAIT_NS));
        }
        if now_ns < self.stage.window_end_ns.load(Relaxed) {
            return Turn::Wait(self.publishers.publish_due(io, &self.online, start_ns, now_ns));
        }
        if !self.published {
            self.published = true;
            self.publishers.publish_rest(io, &self.online, start_ns);
            self.stage.published.fetch_add(1, Release);
        }
        if self.stage.drain.load(Acquire) {
            if !self.resumed {
                self.resumed = true;
                for id in self.online.iter().flatten() {
                    io.resume(*id);
                }
            }
            if now_ns.saturating_sub(self.counted_ns) > COUNT_NS {
                self.counted_ns = now_ns;
                self.stage.missing[self.thread].store(self.missing(), Release);
            }
        }
        Turn::Wait(MILLI_NS)
    }
}

impl Work for Members {
    type Seen = ThreadOutcome;

    fn schedule(&self, start_ns: u64) -> Option<Schedule> {
        self.publishers.schedule(start_ns)
    }

    fn finish(mut self) -> ThreadOutcome {
        for (i, seat) in self.seats.iter().enumerate() {
            if matches!(self.places[i], Place::Absent | Place::Joining) {
                self.out.failed += 1;
                *self.out.failures.entry("not joined in time".into()).or_default() += 1;
            }
            if !self.out.was_joined[i] || !seat.member {
                continue;
            }
            let expected = self.expected(seat);
            let account = match (seat.stalled, self.places[i]) {
                (true, _) => &mut self.out.stalled,
                (false, Place::Gone) => &mut self.out.gone,
                (false, _) => &mut self.out.healthy,
            };
            account.members += 1;
            account.expected += expected;
            account.received += self.got[i];
        }
        self.out.lateness_ns = self.publishers.lateness_ns;
        self.out.unsent = self.publishers.unsent;
        self.out.window_sent = self.publishers.window_sent;
        self.out
    }
}
