//! The event loop of one shard: one task of its runtime drives all its WebSocket connections.
//!
//! The sockets are in a readiness poll of the shard's own ([`mio::Poll`], edge-triggered), which tokio sees as one
//! file descriptor. A turn of the loop takes what has come (readiness, mail, timers), lets the shard handle it, and
//! ends with one write per connection that is owed something and one batch of frames per other shard.

mod between;
mod give_back;

use super::clock::Clock;
use super::door::{Door, Handed, Inside};
use super::parcel::{Content, MAIL_TOKEN, Parcel, ShardMailbox, send};
use super::read_queue::{ReadQueue, Readable};
use super::socket_table::SocketTable;
use super::sys;
use crate::base::Key;
use crate::io::shared::NodeShared;
use crate::metrics::ShardMetrics;
use crate::shard::{Mail, Now, Reading, Request, Shard};
use give_back::Freed;
pub use give_back::GiveBack;
use mio::{Events, Poll};
use std::cell::RefCell;
use std::io::{self, ErrorKind, Read};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Shared receive buffer of a shard, in bytes: what one read takes at the most.
const SCRATCH_BYTES: usize = 256 * 1024;

/// Bytes that reads take from all sockets together that have more to say than their share. What is read of a connection
/// and then paused is kept for it, so the more of them there are, the less is read at once: `n` of them keep no more
/// than some `1 + ln n` times this, and [`READ_MIN`] each.
const BUSY_BYTES: usize = 8 * 1024 * 1024;

/// What one read takes at the least.
const READ_MIN: usize = 4 * 1024;

/// Readiness events taken in one turn.
const EVENTS_MAX: usize = 1024;

/// Items of mail handled in one turn.
const MAIL_MAX: usize = 1024;

/// Items of mail between two looks at whether the shard has enough.
const MAIL_STEP: usize = 16;

/// Time after which a turn reads from no further socket. The shard counts what it takes in, but not what the calls
/// cost that take it.
const READ_TIME: Duration = Duration::from_millis(10);

/// What the door gets of the time that the rest of the turn before took: one part of so many.
const DOOR_PART: u32 = 4;

/// How soon to look again whether an overfull mailbox has drained, or a room behind has caught up.
const HOLD: Duration = Duration::from_millis(1);

/// How often a shard with connections has a turn at the least, in ms: so a missing turn is seen.
const HEARTBEAT_MS: u64 = 1000;

/// Time between two turns, in ms, from which on the thread counts as having slept.
const SLEPT_MS: u64 = 2 * HEARTBEAT_MS;

/// One shard with its sockets, poll and mailboxes. Lives on the shard's thread, shared with the tasks that serve
/// HTTP there.
pub struct Driver {
    shard: Shard,
    sockets: SocketTable,
    poll: Poll,
    events: Events,
    scratch: Box<[u8]>,
    /// Sockets that may have input: readiness is reported once, so each stays here until a read falls short.
    readable: ReadQueue,
    /// Connections that may be read again, kept for its allocation.
    released: Vec<Key>,
    door: Door,
    /// What the last turn had to do beside the door.
    worked: Duration,
    mailboxes: Arc<[ShardMailbox]>,
    index: usize,
    metrics: Arc<ShardMetrics>,
    clock: Clock,
    /// A task that serves HTTP is changing the shard. Still set at a turn: it panicked half-way.
    entered: bool,
    /// When the last turn was, if there were connections.
    last_turn: Option<Now>,
    notify: Rc<Notify>,
    handed_notify: Rc<Notify>,
    freed: Freed,
}

impl Driver {
    /// A driver for `shard`.
    pub fn new(
        shard: Shard,
        index: usize,
        poll: Poll,
        node: Arc<NodeShared>,
        metrics: Arc<ShardMetrics>,
    ) -> io::Result<Self> {
        let clock = node.clock;
        let together = shard.config().io_uring;
        let sockets = SocketTable::new(poll.registry().try_clone()?, clock.epoch, together);
        let mailboxes = node.mailboxes.clone();
        let freed = Freed::new(node.give_back.clone());
        let registry = poll.registry().try_clone()?;
        let door = Door::new(shard.config(), registry, node, metrics.clone(), index);
        Ok(Self {
            shard,
            sockets,
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            scratch: vec![0; SCRATCH_BYTES].into(),
            readable: ReadQueue::default(),
            released: Vec::new(),
            door,
            worked: Duration::ZERO,
            mailboxes,
            index,
            metrics,
            clock,
            entered: false,
            last_turn: None,
            notify: Rc::default(),
            handed_notify: Rc::default(),
            freed,
        })
    }

    /// The shard.
    pub fn shard(&self) -> &Shard {
        &self.shard
    }

    /// Begins to accept connections.
    ///
    /// # Errors
    /// If the poll does not take a listener.
    pub fn listen(
        &mut self,
        tcp: Option<std::net::TcpListener>,
        unix: Option<std::os::unix::net::UnixListener>,
    ) -> io::Result<()> {
        self.door.listen(tcp, unix)
    }

    /// Accepts no more connections.
    pub fn close_door(&mut self) {
        self.door.close();
    }

    /// Whether nobody is at the door, but for those that have said nothing.
    pub fn is_door_quiet(&self) -> bool {
        self.door.is_quiet()
    }

    /// Told when there are connections for hyper; see [`Driver::take_handed`].
    pub fn handed_notify(&self) -> Rc<Notify> {
        self.handed_notify.clone()
    }

    /// Connections for hyper.
    pub fn take_handed(&mut self) -> Vec<Handed> {
        self.door.take_handed()
    }

    /// Whether a mailbox holds more than its high-water mark, so that nobody should publish more.
    pub fn is_congested(&self) -> bool {
        let high_water = self.shard.config().limits.mailbox_bytes_max;
        self.shard.waiting_bytes() > high_water
            || self.mailboxes.iter().any(|mailbox| mailbox.over(high_water))
    }

    /// Posts a request to a shard.
    pub fn post(&self, shard: usize, request: Request) {
        self.send(shard, Content::Mail(Mail::Request(request)));
    }

    fn send(&self, shard: usize, content: Content) {
        send(&self.mailboxes, self.clock, shard, content);
    }

    /// Does one turn. Returns whether there is more to do at once.
    fn turn(&mut self) -> io::Result<bool> {
        if self.entered {
            return Err(io::Error::other("a task panicked while it changed the shard"));
        }
        let began = Instant::now();
        let now = self.clock.now();
        self.notice_sleep(now);
        let mut more = self.poll_events(now)?;
        more |= self.take_mail(now);
        self.read_ready(now);
        let at_door = Instant::now();
        more |= self.let_in(now);
        let at_door = at_door.elapsed();
        self.shard.advance(now, &mut self.sockets);
        self.shard.flush(now, &mut self.sockets);
        self.sockets.send_greetings();
        self.send_outgoing();
        if let Some(shard) = self.shard.take_evict_elsewhere() {
            self.post(shard, Request::EvictLargest);
        }
        self.last_turn = (self.shard.connections() > 0).then_some(now);
        let took = began.elapsed();
        self.worked = took.saturating_sub(at_door);
        self.metrics.tick_seconds.observe_ns(took.as_nanos() as u64);
        self.metrics.recent_turns.record_us(now.us, took.as_micros() as u64, 1);
        more |= self.shard.has_more() || self.shard.has_released();
        Ok(more || (!self.readable.is_empty() && !self.is_congested()))
    }

    /// Lets in who is at the door, for a part of the time that the rest of a turn takes. Returns whether there are more.
    fn let_in(&mut self, now: Now) -> bool {
        let inside =
            Inside { shard: &mut self.shard, sockets: &mut self.sockets, scratch: &mut self.scratch };
        let more = self.door.serve(now, self.worked / DOOR_PART, inside);
        if self.door.has_handed() {
            self.handed_notify.notify_one();
        }
        more
    }

    /// Tells the shard when the thread has not run for long: nobody's silence is held against them then.
    fn notice_sleep(&mut self, now: Now) {
        let Some(last) = self.last_turn.filter(|last| now.ms() - last.ms() > SLEPT_MS) else { return };
        self.metrics.pauses.add(1);
        tracing::warn!(shard = self.index, ms = now.ms() - last.ms(), "the shard did not run");
        self.shard.slept(last, now);
    }

    /// Takes readiness in. Returns whether there may be more of it.
    fn poll_events(&mut self, now: Now) -> io::Result<bool> {
        match self.poll.poll(&mut self.events, Some(Duration::ZERO)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(true),
            result => result?,
        }
        let mut count = 0;
        for event in &self.events {
            count += 1;
            if event.token() == MAIL_TOKEN || self.door.event(event.token()) {
                continue;
            }
            let key = Key::from_token(event.token().0);
            if self.shard.key(key.slot) != Some(key) {
                continue;
            }
            if event.is_writable() {
                self.shard.writable(now, key.slot, &mut self.sockets);
            }
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                let to_the_end = event.is_read_closed() || event.is_error();
                self.readable.push(key, to_the_end);
            }
        }
        Ok(count == EVENTS_MAX)
    }

    fn take_mail(&mut self, now: Now) -> bool {
        let mailboxes = self.mailboxes.clone();
        let mailbox = &mailboxes[self.index];
        self.metrics.mailbox_items.set(mailbox.len() as u64);
        let mut oldest_us = now.us;
        self.shard.resume_mail(now, &mut self.sockets);
        let (mut more, mut taken) = (true, 0);
        while more && taken < MAIL_MAX && !self.shard.is_sated_with_mail() {
            taken += MAIL_STEP;
            more = mailbox.drain(MAIL_STEP, |Parcel { sent_us, content }| {
                oldest_us = oldest_us.min(sent_us);
                match content {
                    Content::Mail(mail) => self.shard.mail(now, mail, &mut self.sockets),
                    Content::Accepted(socket) => self.door.accepted(socket),
                }
            });
        }
        self.metrics.mailbox_age_us.set(now.us - oldest_us);
        self.metrics.mailbox_bytes.set(mailbox.bytes() as u64);
        more
    }

    /// Reads once from each socket that may have input, as far as the turn goes, unless another shard is behind with
    /// its mail. A socket that had its turn goes behind those that had none, and so does one whose input the shard has
    /// paused because it was dear.
    fn read_ready(&mut self, now: Now) {
        let began = Instant::now();
        self.shard.take_released(&mut self.released);
        for key in self.released.drain(..) {
            // What happened to its socket meanwhile is not known any more.
            self.readable.push(key, true);
        }
        if self.is_congested() {
            return;
        }
        self.shard.begin_input(self.clock.now().us);
        self.readable.begin_round();
        loop {
            let elapsed = began.elapsed();
            if self.shard.is_sated() || elapsed > READ_TIME {
                break;
            }
            let Some(readable) = self.readable.pop(elapsed) else { break };
            if self.shard.key(readable.key.slot) == Some(readable.key) {
                self.read_one(now, readable);
            }
        }
    }

    fn read_one(&mut self, now: Now, Readable { key, to_the_end }: Readable) {
        if self.shard.reading(key.slot) == Some(Reading::Paused) {
            self.shard.receive(now, key.slot, &mut [], &mut self.sockets);
        }
        match self.shard.reading(key.slot) {
            Some(Reading::On) => {}
            Some(Reading::Paused) => return self.readable.push_again(key, to_the_end),
            // The shard tells when.
            Some(Reading::Held) | None => return,
        }
        let Some(mut socket) = self.sockets.get(key.slot) else { return };
        let most = (BUSY_BYTES / (self.readable.busy() + 1)).clamp(READ_MIN, SCRATCH_BYTES);
        match socket.read(&mut self.scratch[..most]) {
            Ok(0) => self.shard.lost(key.slot, &mut self.sockets),
            Ok(len) => {
                self.shard.receive(now, key.slot, &mut self.scratch[..len], &mut self.sockets);
                // A read that falls short has emptied the socket: the next byte makes a new event (epoll(7)).
                let paused = self.shard.reading(key.slot) == Some(Reading::Paused);
                if len == most || to_the_end || paused {
                    self.readable.push_again(key, to_the_end || len == most);
                }
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock => {}
                ErrorKind::Interrupted => self.readable.push_again(key, to_the_end),
                _ => self.shard.lost(key.slot, &mut self.sockets),
            },
        }
    }

    fn send_outgoing(&mut self) {
        for shard in 0..self.mailboxes.len() {
            if let Some(batch) = self.shard.take_outgoing(shard) {
                self.send(shard, Content::Mail(Mail::Frames(batch)));
            }
        }
    }

    /// Has the allocator give to the system what clients have given back, if that is much.
    fn give_back(&mut self) {
        self.freed.add(self.shard.take_freed());
    }

    /// When the next turn is due if nothing happens.
    fn deadline(&self) -> Option<Instant> {
        let timers = self.shard.deadline_ms().map(|ms| self.clock.epoch + Duration::from_millis(ms));
        let waits = !self.readable.is_empty() || self.shard.has_held();
        let hold = waits.then(|| Instant::now() + HOLD);
        // On whole seconds, so that not every turn sets another timer.
        let heartbeat = self.last_turn.map(|last| {
            self.clock.epoch + Duration::from_millis((last.ms() / HEARTBEAT_MS + 1) * HEARTBEAT_MS)
        });
        let door = self.door.deadline_us().map(|us| self.clock.instant(us));
        [timers, hold, heartbeat, door, self.freed.due()].into_iter().flatten().min()
    }
}

/// Tells when the shard's poll has something.
pub type PollWatch = tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>;

/// Makes the watch of a driver's poll. It takes a file descriptor, so it is made once, before there are connections
/// that could have taken the last.
pub fn watch(driver: &Driver) -> io::Result<PollWatch> {
    sys::watch_poll(&driver.poll)
}

/// Drives a shard for as long as its runtime lives.
pub async fn run(driver: Rc<RefCell<Driver>>, poll: &PollWatch) -> io::Result<()> {
    let notify = driver.borrow().notify.clone();
    // Far enough not to matter, near enough for the timer's arithmetic.
    let idle = Duration::from_secs(3600);
    let sleep = tokio::time::sleep(idle);
    tokio::pin!(sleep);
    loop {
        let deadline = driver.borrow().deadline().unwrap_or_else(|| Instant::now() + idle);
        if sleep.deadline() != deadline.into() {
            sleep.as_mut().reset(deadline.into());
        }
        tokio::select! {
            biased;
            // Cleared before the poll is asked: an event that comes meanwhile makes it ready anew.
            guard = poll.readable() => guard?.clear_ready(),
            () = notify.notified() => {}
            () = &mut sleep => {}
        }
        while driver.borrow_mut().turn()? {
            // HTTP and the listeners have their turn too.
            tokio::task::yield_now().await;
        }
        driver.borrow_mut().give_back();
    }
}
