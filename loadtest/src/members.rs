//! What the members and publishers of `fanout`, `slow` and `idle` do on one load thread.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use anyhow::{Result, anyhow};
use hdrhistogram::Histogram;
use memchr::memmem::Finder;

use crate::clock::MILLI_NS;
use crate::engine::{Handler, Turn};
use crate::frame::opcode;
use crate::io::{ConnId, End, Ends, Io};
use crate::outcome::ThreadOutcome;
use crate::schedule::Schedule;
use crate::seats::{Seat, witness};
use crate::stage::Stage;
use crate::template::{Stamp, StampFinder, Templates, fill_room, render_payload, room_name};
use crate::tracker::Mark;

/// How publishers are paced.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// Open loop: so many messages per second over all publishers.
    Rate(f64),
    /// Closed loop: each publisher keeps so many of its messages under way.
    Window(u32),
}

/// What all threads of a run share.
#[derive(Debug)]
pub struct Plan {
    /// Texts of the protocol.
    pub templates: Templates,
    /// Before the number in a room's name.
    pub room_prefix: String,
    /// Publishers of each room.
    pub publishers: u32,
    /// Publishers of all rooms.
    pub publishers_total: usize,
    /// Publishers get their own copies.
    pub echo: bool,
    /// Size of a message's payload.
    pub size_bytes: usize,
    /// How publishers are paced.
    pub pace: Pace,
    /// Connections under way at once on one thread.
    pub connecting_max: usize,
    /// SO_RCVBUF of stalled members, 0 for the kernel's choice.
    pub stalled_receive_bytes: usize,
}

/// Without acknowledgements a thread has settled when nothing came for this long.
const QUIET_NS: u64 = 300 * MILLI_NS;

/// Longest wait of the loop, so that the stage is looked at.
const WAIT_NS: u64 = 5 * MILLI_NS;

/// A publisher with more than this waiting for the kernel sends no more in a closed loop.
const BACKLOG_BYTES_MAX: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Absent,
    Joining,
    Joined,
    Gone,
}

struct Publisher {
    seat: usize,
    number: u32,
    head: Vec<u8>,
    tail: Vec<u8>,
    sent: u32,
    acked: u32,
    witness: Option<usize>,
}

/// The handler.
pub struct Members {
    plan: Arc<Plan>,
    stage: Arc<Stage>,
    thread: usize,
    seats: Vec<Seat>,
    places: Vec<Place>,
    ids: Vec<Option<ConnId>>,
    /// Distinct copies each seat got.
    got: Vec<u64>,
    marks: Vec<Mark>,
    publishers: Vec<Publisher>,
    /// Publisher's number to its index here, `u32::MAX` for those of other threads.
    local: Vec<u32>,
    schedule: Option<Schedule>,
    finder: StampFinder,
    joined: Option<Finder<'static>>,
    connecting: usize,
    next: usize,
    pending: usize,
    last_message_ns: u64,
    settled: bool,
    primed: bool,
    published: bool,
    resumed: bool,
    progress: u64,
    payload: Vec<u8>,
    encode: Vec<u8>,
    out: ThreadOutcome,
}

impl Members {
    /// The seats must be those of thread number `thread`.
    ///
    /// # Errors
    /// When the publish template is broken or a closed loop finds no witness.
    pub fn new(plan: Arc<Plan>, stage: Arc<Stage>, thread: usize, seats: Vec<Seat>) -> Result<Self> {
        let mut publishers = Vec::new();
        let mut local = vec![u32::MAX; plan.publishers_total];
        for (seat, number) in seats.iter().enumerate().filter_map(|(i, seat)| Some((i, seat.publisher?))) {
            let room = room_name(&plan.room_prefix, seats[seat].room);
            let (head, tail) = plan.templates.publish_parts(&room)?;
            let witness = match plan.pace {
                Pace::Rate(_) => None,
                Pace::Window(_) => Some(witness(&seats, seat, plan.echo).ok_or_else(|| {
                    anyhow!("a closed loop without own copies needs an even number of members (at least 2)")
                })?),
            };
            local[number as usize] = publishers.len() as u32;
            publishers.push(Publisher { seat, number, head, tail, sent: 0, acked: 0, witness });
        }
        // The schedule walks its publishers in ascending order, so they must be stored so.
        debug_assert!(publishers.is_sorted_by_key(|publisher| publisher.number));
        let joined = plan.templates.joined_marker.as_ref().map(|text| Finder::new(text).into_owned());
        Ok(Self {
            places: vec![Place::Absent; seats.len()],
            ids: vec![None; seats.len()],
            got: vec![0; seats.len()],
            marks: vec![Mark::default(); seats.len() * plan.publishers as usize],
            pending: seats.len(),
            publishers,
            local,
            schedule: None,
            finder: StampFinder::new(),
            joined,
            connecting: 0,
            next: 0,
            last_message_ns: 0,
            settled: false,
            primed: false,
            published: false,
            resumed: false,
            progress: 0,
            payload: Vec::new(),
            encode: Vec::new(),
            out: ThreadOutcome::new(seats.len()),
            plan,
            stage,
            thread,
            seats,
        })
    }

    /// Numbers of this thread's publishers, for its schedule and pacer.
    pub fn publisher_numbers(&self) -> Vec<u32> {
        self.publishers.iter().map(|publisher| publisher.number).collect()
    }

    /// What this thread saw, once its loop has ended.
    pub fn finish(mut self) -> ThreadOutcome {
        for (i, seat) in self.seats.iter().enumerate().filter(|(_, seat)| seat.member) {
            if !self.out.was_joined[i] {
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
        self.out
    }

    /// Copies a member of this seat is owed.
    fn expected(&self, seat: &Seat) -> u64 {
        let first = seat.room as usize * self.plan.publishers as usize;
        let sent = &self.stage.sent[first..first + self.plan.publishers as usize];
        let all: u64 = sent.iter().map(|count| u64::from(count.load(Acquire))).sum();
        let own = seat.publisher.filter(|_| !self.plan.echo);
        all - own.map_or(0, |number| u64::from(self.stage.sent[number as usize].load(Acquire)))
    }

    fn join_done(&mut self, io: &mut Io, id: ConnId, seat: usize) {
        self.places[seat] = Place::Joined;
        self.out.was_joined[seat] = true;
        self.pending -= 1;
        self.connecting -= 1;
        self.stage.joined.fetch_add(1, Relaxed);
        if self.seats[seat].stalled {
            io.pause(id);
        }
    }

    fn publish(&mut self, io: &mut Io, index: usize, intended_ns: u64, now_ns: u64) {
        let publisher = &mut self.publishers[index];
        let Some(id) = self.ids[publisher.seat].filter(|_| self.places[publisher.seat] == Place::Joined) else {
            self.out.unsent += 1;
            return;
        };
        publisher.sent += 1;
        let stamp = Stamp { publisher: publisher.number, sequence: publisher.sent, intended_ns };
        render_payload(&mut self.payload, stamp, self.plan.size_bytes);
        let parts: [&[u8]; 3] = [&publisher.head, &self.payload, &publisher.tail];
        io.send_frame(id, opcode::TEXT, &parts);
        self.stage.sent[publisher.number as usize].store(publisher.sent, Release);
        self.out.lateness_ns.saturating_record(now_ns.saturating_sub(intended_ns));
    }

    /// Sends what the closed loop's window has room for, in one write.
    fn top_up(&mut self, io: &mut Io, index: usize, now_ns: u64) {
        let Pace::Window(window) = self.plan.pace else { return };
        if self.stage.started_at().is_none_or(|start| now_ns < start)
            || now_ns >= self.stage.window_end_ns.load(Relaxed)
        {
            return;
        }
        let publisher = &mut self.publishers[index];
        let Some(id) = self.ids[publisher.seat].filter(|_| self.places[publisher.seat] == Place::Joined) else {
            return;
        };
        if io.backlog_bytes(id) > BACKLOG_BYTES_MAX {
            return;
        }
        self.encode.clear();
        while publisher.sent.wrapping_sub(publisher.acked) < window {
            publisher.sent += 1;
            let stamp = Stamp { publisher: publisher.number, sequence: publisher.sent, intended_ns: now_ns };
            render_payload(&mut self.payload, stamp, self.plan.size_bytes);
            let parts: [&[u8]; 3] = [&publisher.head, &self.payload, &publisher.tail];
            io.encode_frame(&mut self.encode, opcode::TEXT, &parts);
        }
        if !self.encode.is_empty() {
            io.send(id, &self.encode);
            self.stage.sent[publisher.number as usize].store(publisher.sent, Release);
        }
    }

    /// Publishes what is due; how long the loop may wait then.
    fn publish_due(&mut self, io: &mut Io, start_ns: u64, now_ns: u64) -> u64 {
        match self.plan.pace {
            Pace::Rate(rate) => {
                let numbers = self.publisher_numbers();
                let total = self.plan.publishers_total;
                let mut schedule =
                    self.schedule.take().unwrap_or_else(|| Schedule::new(start_ns, rate, total, numbers));
                while let Some(due) = schedule.take(now_ns) {
                    self.publish(io, due.own_index, due.at_ns, crate::clock::now_ns());
                }
                let wait = schedule.peek().map_or(WAIT_NS, |due| due.at_ns.saturating_sub(now_ns));
                self.schedule = Some(schedule);
                wait.min(WAIT_NS)
            }
            Pace::Window(_) => {
                // Later ones follow the witnesses' receipts; this also restarts a publisher whose
                // socket was full.
                if !self.primed || now_ns.saturating_sub(self.last_message_ns) > MILLI_NS {
                    self.primed = true;
                    for index in 0..self.publishers.len() {
                        self.top_up(io, index, now_ns);
                    }
                }
                MILLI_NS
            }
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
    fn opened(&mut self, io: &mut Io, id: ConnId, tag: u32, _now_ns: u64) {
        let seat = self.seats[tag as usize];
        self.ids[tag as usize] = Some(id);
        self.places[tag as usize] = Place::Joining;
        if seat.member {
            let room = room_name(&self.plan.room_prefix, seat.room);
            for template in &self.plan.templates.join {
                io.send_frame(id, opcode::TEXT, &[fill_room(template, &room).as_bytes()]);
            }
        }
        if !seat.member || self.joined.is_none() {
            self.join_done(io, id, tag as usize);
        }
    }

    fn message(&mut self, io: &mut Io, id: ConnId, tag: u32, payload: &[u8], now_ns: u64) {
        let index = tag as usize;
        self.last_message_ns = now_ns;
        if self.places[index] == Place::Joining
            && self.joined.as_ref().is_some_and(|marker| marker.find(payload).is_some())
        {
            self.join_done(io, id, index);
        }
        let seat = self.seats[index];
        let per_room = self.plan.publishers;
        let window = self.stage.window_start_ns.load(Relaxed)..self.stage.window_end_ns.load(Relaxed);
        let Self { finder, marks, out, got, publishers, local, .. } = self;
        finder.each(payload, |stamp| {
            if per_room == 0 || stamp.publisher / per_room != seat.room || !seat.member {
                out.strays += 1;
                return;
            }
            let arrival = marks[index * per_room as usize + (stamp.publisher % per_room) as usize]
                .note(stamp.sequence);
            if seat.stalled {
                out.stalled_tally.add(arrival);
            } else {
                out.tally.add(arrival);
            }
            if arrival == crate::tracker::Arrival::Duplicate {
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
            if let Some(publisher) = publishers.get_mut(local[stamp.publisher as usize] as usize)
                && publisher.witness == Some(index)
            {
                publisher.acked = publisher.acked.max(stamp.sequence);
            }
        });
    }

    fn batch_done(&mut self, io: &mut Io, tag: u32, bytes: usize, now_ns: u64) {
        let index = tag as usize;
        let window = self.stage.window_start_ns.load(Relaxed)..self.stage.window_end_ns.load(Relaxed);
        if window.contains(&now_ns) && !self.seats[index].stalled {
            self.out.window_bytes += bytes as u64;
        }
        if matches!(self.plan.pace, Pace::Window(_)) {
            for publisher in 0..self.publishers.len() {
                if self.publishers[publisher].witness == Some(index) {
                    self.top_up(io, publisher, now_ns);
                }
            }
        }
    }

    fn hung_up(&mut self, tag: u32, now_ns: u64) {
        self.out.hang_ups_ns.entry(self.seats[tag as usize].index).or_insert(now_ns);
    }

    fn closed(&mut self, _io: &mut Io, tag: u32, end: End, now_ns: u64) {
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
        self.ids[index] = None;
    }

    fn turn(&mut self, io: &mut Io, now_ns: u64) -> Turn {
        if self.stage.finish.load(Relaxed) {
            return Turn::Stop;
        }
        while self.next < self.seats.len() && self.connecting < self.plan.connecting_max {
            let seat = self.seats[self.next];
            let receive_bytes = if seat.stalled { self.plan.stalled_receive_bytes } else { 0 };
            io.connect(self.next as u32, seat.index as usize, receive_bytes);
            self.next += 1;
            self.connecting += 1;
        }
        if !self.settled && self.pending == 0 {
            let quiet = self.joined.is_some() || now_ns.saturating_sub(self.last_message_ns) > QUIET_NS;
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
            return Turn::Wait(self.publish_due(io, start_ns, now_ns));
        }
        if !self.published {
            self.published = true;
            self.stage.published.fetch_add(1, Release);
        }
        if self.stage.drain.load(Acquire) {
            if !self.resumed {
                self.resumed = true;
                for id in self.ids.iter().flatten() {
                    io.resume(*id);
                }
            }
            let missing = self.missing();
            self.stage.missing[self.thread].store(missing, Release);
        }
        Turn::Wait(MILLI_NS)
    }
}

/// A histogram of nanoseconds up to ten minutes, three digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600 * crate::clock::SECOND_NS, 3).expect("the bounds are constant and valid")
}
