//! The publishers of one load thread: what they send and when.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};

use anyhow::{Result, anyhow, ensure};
use hdrhistogram::Histogram;

use crate::clock::{MILLI_NS, now_ns};
use crate::io::{ConnId, Connections};
use crate::outcome::histogram;
use crate::plan::{Pace, Plan};
use crate::schedule::Schedule;
use crate::seats::{Seat, witness};
use crate::stage::Stage;
use crate::template::{PAYLOAD_BYTES_SURE, Stamp, render_payload, room_name};

/// Longest wait of the loop, so that the stage is looked at.
pub const WAIT_NS: u64 = 5 * MILLI_NS;

/// A publisher with more than this waiting for the kernel sends no more in a closed loop.
const BACKLOG_BYTES_MAX: usize = 1 << 20;

struct Publisher {
    seat: usize,
    number: u32,
    head: Vec<u8>,
    tail: Vec<u8>,
    sent: u32,
    /// Newest of its messages that its witness got.
    acked: u32,
    witness: Option<usize>,
    /// Waits in the list of those to top up.
    listed: bool,
}

/// The publishers.
pub struct Publishers {
    plan: Arc<Plan>,
    stage: Arc<Stage>,
    list: Vec<Publisher>,
    /// Publisher's number to its index in `list`, `u32::MAX` for those of other threads.
    local: Vec<u32>,
    schedule: Option<Schedule>,
    /// Publishers whose window moved in this read.
    moved: Vec<usize>,
    topped_up_ns: u64,
    payload: Vec<u8>,
    /// From the intended send time to the send: the load tool's own part of the latency.
    pub lateness_ns: Histogram<u64>,
    /// Messages sent that were due in the window.
    pub window_sent: u64,
    /// Messages due at a publisher whose connection was gone.
    pub unsent: u64,
}

impl Publishers {
    /// The publishers among `seats`, which are those of one thread.
    ///
    /// # Errors
    /// When the publish template is broken or too short for its payload, or a closed loop finds no witness.
    pub fn new(plan: Arc<Plan>, stage: Arc<Stage>, seats: &[Seat]) -> Result<Self> {
        ensure!(
            plan.publishers == 0
                || !plan.templates.needs_payload_bytes()
                || plan.size_bytes >= PAYLOAD_BYTES_SURE,
            "with {{payload_bytes}} in the publish template --size must be at least {PAYLOAD_BYTES_SURE}"
        );
        let mut list = Vec::new();
        let mut local = vec![u32::MAX; plan.publishers_total];
        for (seat, number) in seats.iter().enumerate().filter_map(|(i, seat)| Some((i, seat.publisher?))) {
            let room = room_name(&plan.room_prefix, seats[seat].room);
            let (head, tail) = plan.templates.publish_parts(&room, plan.size_bytes)?;
            let witness = match plan.pace {
                Pace::Rate(_) => None,
                Pace::Window(_) => Some(witness(seats, seat, plan.echo).ok_or_else(|| {
                    anyhow!("a closed loop without own copies needs an even number of members (at least 2)")
                })?),
            };
            local[number as usize] = list.len() as u32;
            list.push(Publisher { seat, number, head, tail, sent: 0, acked: 0, witness, listed: false });
        }
        // The schedule walks its publishers in ascending order, so they must be stored so.
        debug_assert!(list.is_sorted_by_key(|publisher| publisher.number));
        Ok(Self {
            plan,
            stage,
            list,
            local,
            schedule: None,
            moved: Vec::new(),
            topped_up_ns: 0,
            payload: Vec::new(),
            lateness_ns: histogram(),
            window_sent: 0,
            unsent: 0,
        })
    }

    /// The send times of this thread's publishers in an open loop.
    pub fn schedule(&self, start_ns: u64) -> Option<Schedule> {
        let Pace::Rate(rate) = self.plan.pace else { return None };
        let numbers = self.list.iter().map(|publisher| publisher.number).collect();
        Some(Schedule::new(start_ns, rate, self.plan.publishers_total, numbers))
    }

    /// Seat `seat` got a message.
    pub fn witnessed(&mut self, seat: usize, stamp: Stamp) {
        let Some(&index) = self.local.get(stamp.publisher as usize) else { return };
        let Some(publisher) = self.list.get_mut(index as usize) else { return };
        if publisher.witness == Some(seat) && stamp.sequence > publisher.acked {
            publisher.acked = stamp.sequence;
            if !publisher.listed {
                publisher.listed = true;
                self.moved.push(index as usize);
            }
        }
    }

    /// Sends what the windows that moved have room for. `online` holds the joined connection of each seat.
    pub fn top_up_moved(&mut self, io: &mut dyn Connections, online: &[Option<ConnId>], now_ns: u64) {
        while let Some(index) = self.moved.pop() {
            self.list[index].listed = false;
            self.top_up(io, index, online, now_ns);
        }
    }

    /// Publishes what is due; how long the loop may wait then.
    pub fn publish_due(
        &mut self,
        io: &mut dyn Connections,
        online: &[Option<ConnId>],
        start_ns: u64,
        now: u64,
    ) -> u64 {
        match self.plan.pace {
            Pace::Rate(_) => {
                let Some(mut schedule) = self.schedule.take().or_else(|| self.schedule(start_ns)) else {
                    return WAIT_NS;
                };
                while let Some(due) = schedule.take(now) {
                    self.publish(io, due.own_index, online, due.at_ns);
                }
                let wait = schedule.peek().map_or(WAIT_NS, |due| due.at_ns.saturating_sub(now));
                self.schedule = Some(schedule);
                wait.min(WAIT_NS)
            }
            Pace::Window(_) => {
                // Most messages follow the witnesses' receipts; this begins, and restarts a publisher
                // whose socket was full.
                if now.saturating_sub(self.topped_up_ns) > MILLI_NS {
                    self.topped_up_ns = now;
                    for index in 0..self.list.len() {
                        self.top_up(io, index, online, now);
                    }
                }
                MILLI_NS
            }
        }
    }

    /// In an open loop sends what was due before the end, however late this thread got to it.
    pub fn publish_rest(&mut self, io: &mut dyn Connections, online: &[Option<ConnId>], start_ns: u64) {
        if matches!(self.plan.pace, Pace::Rate(_)) {
            let end_ns = self.stage.window_end_ns.load(Relaxed);
            self.publish_due(io, online, start_ns, end_ns.saturating_sub(1));
        }
    }

    fn publish(
        &mut self,
        io: &mut dyn Connections,
        index: usize,
        online: &[Option<ConnId>],
        intended_ns: u64,
    ) {
        let publisher = &mut self.list[index];
        let Some(id) = online[publisher.seat] else {
            self.unsent += 1;
            return;
        };
        publisher.sent += 1;
        // Before the message itself, so that no receipt can be ahead of it.
        self.stage.sent[publisher.number as usize].store(publisher.sent, Release);
        let stamp = Stamp { publisher: publisher.number, sequence: publisher.sent, intended_ns };
        render_payload(&mut self.payload, stamp, self.plan.size_bytes);
        let parts: [&[u8]; 3] = [&publisher.head, &self.payload, &publisher.tail];
        self.lateness_ns.saturating_record(now_ns().saturating_sub(intended_ns));
        io.send_text(id, &parts);
        if self.stage.window().contains(&intended_ns) {
            self.window_sent += 1;
        }
    }

    /// Sends what the closed loop's window has room for, in one write.
    fn top_up(&mut self, io: &mut dyn Connections, index: usize, online: &[Option<ConnId>], now_ns: u64) {
        let Pace::Window(under_way) = self.plan.pace else { return };
        if self.stage.started_at().is_none_or(|start| now_ns < start)
            || now_ns >= self.stage.window_end_ns.load(Relaxed)
        {
            return;
        }
        let publisher = &mut self.list[index];
        let Some(id) = online[publisher.seat] else { return };
        if publisher.sent - publisher.acked >= under_way || io.backlog_bytes(id) > BACKLOG_BYTES_MAX {
            return;
        }
        let before = publisher.sent;
        while publisher.sent - publisher.acked < under_way {
            publisher.sent += 1;
            let stamp = Stamp { publisher: publisher.number, sequence: publisher.sent, intended_ns: now_ns };
            render_payload(&mut self.payload, stamp, self.plan.size_bytes);
            let parts: [&[u8]; 3] = [&publisher.head, &self.payload, &publisher.tail];
            io.queue_text(&parts);
        }
        self.stage.sent[publisher.number as usize].store(publisher.sent, Release);
        if self.stage.window().contains(&now_ns) {
            self.window_sent += u64::from(publisher.sent - before);
        }
        io.send_queued(id);
    }
}
