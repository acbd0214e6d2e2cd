//! What a shard's thread does: takes what has come in any order, and ends its tick, as the calling contract says.

use super::mail::{Parcel, Told};
use super::model;
use super::peer;
use super::runner::Undecided;
use super::speech;
use super::world::{Cause, Drain, Ends, World};
use fanwire::model::CloseReason;
use fanwire::shard::{Mail, Request};

#[derive(Debug, Clone, Copy)]
enum Act {
    Read(usize),
    Writable(usize),
    Mail,
}

impl World {
    /// One turn of a shard. With `all`, it takes everything that is there; else some of it.
    pub fn turn(&mut self, site: usize, all: bool) {
        if self.sites[site].asleep_until.is_some() {
            return;
        }
        self.note("shard {} has its turn", &[site]);
        let live = self.sites[site].live.clone();
        let mut acts: Vec<_> =
            live.iter().flat_map(|index| [Act::Read(*index), Act::Writable(*index)]).collect();
        acts.extend((0..self.sites[site].inbox.len()).map(|_| Act::Mail));
        self.random.shuffle(&mut acts);
        let (_, ends) = self.call(site, |shard, now, wires| shard.resume_mail(now, wires));
        self.settle(site, ends, Cause::Mail);
        self.release(site);
        for act in acts {
            if all || self.random.percent(75) {
                self.act(site, act);
            }
        }
        self.end_tick(site);
    }

    fn act(&mut self, site: usize, act: Act) {
        match act {
            Act::Read(index) => {
                if self.is_live(index) && self.pipes[index].is_readable() && !self.is_congested(site) {
                    self.read(index);
                }
            }
            Act::Writable(index) => {
                if self.is_live(index) && (self.pipes[index].take_writable_event() || self.random.percent(1))
                {
                    self.note("shard {} may write to connection {}", &[site, index]);
                    let slot = self.clients[index].key.slot;
                    let (_, ends) = self.call(site, |shard, now, wires| shard.writable(now, slot, wires));
                    self.settle(site, ends, Cause::Writable);
                }
            }
            Act::Mail => self.take_mail(site),
        }
    }

    pub fn is_live(&self, index: usize) -> bool {
        self.sites[self.clients[index].site].live.contains(&index)
    }

    /// Whether a mailbox is over its high-water mark, so that publishers are not read.
    fn is_congested(&self, site: usize) -> bool {
        let high_water = self.sites[site].config.limits.mailbox_bytes_max;
        self.sites.iter().any(|site| site.inbox.bytes > high_water)
    }

    pub fn end_tick(&mut self, site: usize) {
        let doomed = self.doomed(site);
        let (_, mut ends) = self.call(site, |shard, now, wires| shard.advance(now, wires));
        // A drain goes on behind the notices of presence, and so does the end of those who have no place for them.
        let mut later = ends.split_off(|index, reason| match reason {
            CloseReason::ShuttingDown => true,
            CloseReason::SlowConsumer => !doomed.contains(&index) && !self.is_long_stuck(index),
            _ => false,
        });
        self.check_drain(site, later.count(CloseReason::ShuttingDown));
        self.settle(site, ends, Cause::Advance);
        // Only now is it known what the notices tell: who has just been ended for silence has left.
        let early = later
            .split_off(|index, reason| reason == CloseReason::SlowConsumer && !self.is_overflow(site, index));
        self.settle(site, early, Cause::Advance);
        let at = self.moment(site);
        self.model.tell_changes(site, &at);
        self.settle(site, later, Cause::Advance);
        let (_, ends) = self.call(site, |shard, now, wires| shard.flush(now, wires));
        self.settle(site, ends, Cause::Flush);
        if !self.sites[site].shard.has_more() {
            self.model.walked(site);
        }
        self.hand_over(site);
        if let Some(largest) = self.sites[site].shard.take_evict_elsewhere() {
            let parcel =
                Parcel { mail: Mail::Request(Request::EvictLargest), told: Told::EvictLargest, bytes: 0 };
            self.sites[largest].inbox.push(site, parcel);
        }
        self.take_answers(site, Vec::new());
        self.check(site);
    }

    /// Connections that had no place for something before, which go first.
    fn doomed(&self, site: usize) -> Vec<usize> {
        let here = &self.sites[site];
        let is_doomed = |index: &usize| {
            let seen = here.shard.inspect(self.clients[*index].key.slot);
            seen.is_some_and(|seen| seen.doomed)
        };
        here.live.iter().copied().filter(is_doomed).collect()
    }

    /// When a connection of which nothing is taken may be closed, and when it must be, in ms: the timers tick ten times
    /// a second, but some tick early.
    fn stuck_ms(&self, index: usize) -> (u64, u64) {
        let stuck_ms = self.stuck_us(index, self.pipes[index].before) / 1000;
        (stuck_ms, stuck_ms.next_multiple_of(100))
    }

    /// Whether a slow reader that an `advance` has ended took nothing for too long, whatever else there was.
    fn is_long_stuck(&self, index: usize) -> bool {
        self.now_us / 1000 >= self.stuck_ms(index).1
    }

    /// Whether one that was neither doomed before an `advance` nor surely took nothing for too long was ended by it
    /// because there was no place for a notice.
    fn is_overflow(&self, site: usize, index: usize) -> bool {
        let may_be_stuck = self.now_us / 1000 >= self.stuck_ms(index).0;
        if may_be_stuck && self.model.has_notice(index, &self.moment(site)) {
            std::panic::panic_any(Undecided);
        }
        !may_be_stuck
    }

    /// Who was held because a room was behind may be read again, and gets its answers.
    fn release(&mut self, site: usize) {
        self.sites[site].shard.take_released(&mut Vec::new());
        self.take_answers(site, Vec::new());
    }

    /// Looks at the answers to requests: those `expected` must have come now, unless a room is behind.
    fn take_answers(&mut self, site: usize, expected: Vec<u64>) {
        let here = &mut self.sites[site];
        here.owed_answers.extend(expected);
        for answer in here.inbox.answers() {
            let at = here.owed_answers.iter().position(|owed| *owed == answer);
            here.owed_answers.remove(at.unwrap_or_else(|| panic!("an answer {answer} to nothing")));
        }
        let none = here.owed_answers.is_empty() || self.plan.wide.is_some();
        assert!(none, "answers {:?} do not come", here.owed_answers);
    }

    /// Mails what was posted in a call.
    fn post(&mut self) {
        let is_eviction = |mail: &Mail| matches!(mail, Mail::Request(Request::EvictLargestInput));
        let (evictions, posts): (Vec<_>, Vec<_>) = std::mem::take(&mut *self.posts.lock().unwrap())
            .into_iter()
            .partition(|(_, mail)| is_eviction(mail));
        for (to, mail) in evictions {
            let parcel = Parcel { mail, told: Told::EvictLargest, bytes: 0 };
            self.sites[to].inbox.push(self.plan.shards + 1, parcel);
        }
        let numbered = &mut self.model.posted;
        assert_eq!(posts.len(), numbered.len(), "publications posted");
        for ((to, mail), (expected, numbered)) in posts.into_iter().zip(numbered.drain(..)) {
            assert_eq!(to, expected, "a publication is posted to the wrong shard");
            let bytes = mail.len_bytes();
            self.sites[to]
                .inbox
                .push(self.plan.shards + 1, Parcel { mail, told: Told::Numbered(numbered), bytes });
        }
    }

    /// Mails what a shard has for the others.
    pub fn hand_over(&mut self, site: usize) {
        for to in 0..self.sites.len() {
            let frames = std::mem::take(&mut self.model.outgoing[site][to]);
            let batch = self.sites[site].shard.take_outgoing(to);
            assert_eq!(batch.is_some(), !frames.is_empty(), "shard {site} has mail for shard {to}");
            let Some(batch) = batch else { continue };
            let bytes = batch.len_bytes();
            let text: usize = frames.iter().map(model::Frame::len).sum();
            let compressed = self.plan.deflate_percent > 0;
            assert!(bytes >= text || compressed, "a batch of {text} bytes counts as {bytes}");
            self.note("shard {} mails {} frames to shard {}", &[site, frames.len(), to]);
            let parcel = Parcel { mail: Mail::Frames(batch), told: Told::Frames(frames), bytes };
            self.sites[to].inbox.push(site, parcel);
        }
    }

    fn take_mail(&mut self, site: usize) {
        let Some((from, Parcel { mail, told, .. })) = self.sites[site].inbox.pop(&mut self.random) else {
            return;
        };
        self.note("shard {} takes mail of {}", &[site, from]);
        let (_, ends) = self.call(site, |shard, now, wires| shard.mail(now, mail, wires));
        let expected = self.tell(site, &told);
        match told {
            Told::Disconnect { connection } => self.settle(site, ends, Cause::Disconnect(connection)),
            Told::EvictLargest => self.settle(site, ends, Cause::EvictLargest),
            _ => self.settle(site, ends, Cause::Mail),
        }
        self.take_answers(site, expected);
    }

    /// Tells the model of an item of mail. Returns the answers that it must have brought.
    fn tell(&mut self, site: usize, told: &Told) -> Vec<u64> {
        let at = self.moment(site);
        match told {
            Told::Frames(frames) => {
                frames.iter().for_each(|frame| self.model.deliver(site, frame, None));
                Vec::new()
            }
            Told::Numbered(numbered) => {
                self.model.deliver_numbered(site, *numbered);
                Vec::new()
            }
            Told::Publish { room, event, data } => {
                vec![self.tell_publish(site, *room, event, data.as_deref())]
            }
            Told::Send { connection, event, data, id } => {
                // What the call itself has ended was open when the message came.
                let peer = &self.model.peers[*connection];
                let open = peer.state == peer::State::Open && !peer.echo;
                if open {
                    let text = speech::event(event, data.as_deref(), id.as_deref(), at.unix_ms);
                    self.model.say(*connection, text);
                }
                vec![u64::from(open)]
            }
            Told::Disconnect { connection } => {
                vec![u64::from(self.model.peers[*connection].state == peer::State::Open)]
            }
            Told::Slow { limit } => {
                let live = self.sites[site].live.iter();
                let slow =
                    live.filter(|index| self.seen[**index].is_some_and(|seen| seen.backlog_frames > 0));
                vec![slow.count().min(*limit) as u64]
            }
            Told::Reconfigure(config) => {
                self.outbox_bytes_max = self.outbox_bytes_max.max(config.limits.outbox_bytes_max);
                self.sites[site].config = config.clone();
                self.sites[site].configured_us = at.now_us;
                Vec::new()
            }
            Told::Drain(over) => {
                let here = &mut self.sites[site];
                here.draining = true;
                let all = here.shard.connections();
                here.drain = Some(Drain { began_us: at.now_us, over: *over, all, closed: 0 });
                Vec::new()
            }
            Told::Canary | Told::EvictLargest => Vec::new(),
        }
    }

    /// Tells the model of a publication that no connection sent. Returns how many it is handed to.
    pub fn tell_publish(&mut self, site: usize, room: Option<usize>, event: &str, data: Option<&str>) -> u64 {
        let at = self.moment(site);
        let count = match room {
            Some(room) => u64::from(self.model.rooms[room].count()),
            None => self.model.audience().count() as u64,
        };
        let remembers = room.is_some_and(|room| self.plan.policies[room].remembers());
        if count > 0 || room.is_none() || remembers {
            self.model.publish(site, None, room, event, data, &at);
        }
        count
    }

    /// Ends the limbo of a call: the connections that it has ended are closed, or gone, in the model too.
    pub fn settle(&mut self, site: usize, mut ends: Ends, cause: Cause) {
        let at = self.moment(site);
        self.post();
        for index in self.sites[site].live.clone() {
            self.model.peers[index].pressed |= self.plan.streams && self.may_be_over(index);
        }
        let mut hidden = self.hidden(&ends);
        for (index, reason) in std::mem::take(&mut ends.closed) {
            let blocked = self.pipes[index].before.full;
            let refused = ends.refused.contains(&index);
            if self.model.peers[index].state == peer::State::Open {
                let reason = reason.unwrap_or_else(|| {
                    let lost = cause == Cause::Lost(index) || self.pipes[index].cut;
                    // One that was cut may have been closed for something else before that was found out.
                    let is_lost = |reason: &CloseReason| lost && *reason == CloseReason::TransportLost;
                    let fits = |reason: &CloseReason| self.is_just(index, *reason, cause, blocked || refused);
                    let at = hidden.iter().position(is_lost).or_else(|| hidden.iter().position(fits));
                    assert!(!hidden.is_empty(), "connection {index} is gone for no reason");
                    hidden.remove(at.unwrap_or(0))
                });
                let counted = ends.reasons.iter().position(|counted| *counted == reason);
                ends.reasons.swap_remove(counted.unwrap_or_else(|| panic!("{reason:?} is not counted")));
                assert!(
                    self.is_just(index, reason, cause, blocked || refused),
                    "connection {index} is closed for {reason:?} at {cause:?} without cause: {:?} bytes and frames",
                    self.outstanding(&self.model.peers[index], index)
                );
                self.model.close(index, reason, peer::code(reason), &at);
            }
            let peer::State::Closing(reason) = self.model.peers[index].state else { unreachable!() };
            self.note("connection {} ends with {}", &[index, usize::from(peer::code(reason))]);
            self.model.peers[index].limbo = false;
            self.model.peers[index].cut = reason != CloseReason::ShuttingDown && (blocked || refused);
        }
        for index in ends.refused {
            // Even what an orderly end lets out first has its bound.
            if matches!(self.model.peers[index].state, peer::State::Closing(_)) && self.may_be_over(index) {
                self.model.peers[index].cut = true;
            }
        }
        assert!(ends.reasons.is_empty(), "closed without a connection: {:?}", ends.reasons);
        for index in ends.gone {
            self.gone(index, cause);
        }
        let here = &self.sites[site];
        for &index in &here.live {
            self.seen[index] = here.shard.inspect(self.clients[index].key.slot);
        }
    }

    /// The reasons of those that are gone at once: counted, and of no other connection that is there to show it.
    fn hidden(&self, ends: &Ends) -> Vec<CloseReason> {
        let mut hidden = ends.reasons.clone();
        for (index, reason) in &ends.closed {
            if self.model.peers[*index].state == peer::State::Open
                && let Some(at) = hidden.iter().position(|hidden| Some(*hidden) == *reason)
            {
                hidden.remove(at);
            }
        }
        hidden
    }

    /// A shard has forgotten a connection.
    fn gone(&mut self, index: usize, cause: Cause) {
        let site = self.clients[index].site;
        let peer = &mut self.model.peers[index];
        let peer::State::Closing(reason) = peer.state else { unreachable!("closed by settle") };
        let wait_us = self.sites[site].config.times.close_wait.as_micros() as u64;
        let late = self.now_us + 100_000 >= peer.closing_us + wait_us && cause == Cause::Advance;
        let pipe = &self.pipes[index];
        let lost = cause == Cause::Lost(index) || pipe.cut || reason == CloseReason::TransportLost;
        assert!(
            late || lost || peer.peer_done,
            "connection {index}, closing for {reason:?}, is forgotten at {cause:?} without need"
        );
        peer.tail_lost = late || lost;
        peer.state = peer::State::Gone;
        let here = &mut self.sites[site];
        here.live.retain(|live| *live != index);
        here.retired.0 += pipe.taken.frames;
        here.retired.1 += pipe.taken.pings;
        here.retired.2 += pipe.taken.bytes;
        self.seen[index] = None;
        assert!(pipe.server_closed, "a forgotten connection's transport must be closed");
        self.note("connection {} is forgotten", &[index]);
    }

    /// Time passes; every shard's deadline in it is kept.
    pub fn wait(&mut self, us: u64) {
        let until = self.now_us + us;
        let mut served = 0;
        loop {
            let due = (0..self.sites.len())
                .filter_map(|site| self.due_us(site).map(|us| (us, site)))
                .min()
                .filter(|(due, _)| *due <= until);
            let Some((due, site)) = due else { break };
            if due > self.now_us {
                let step = due - self.now_us;
                self.pass(step);
                served = 0;
            }
            if !self.wake(site) {
                self.end_tick(site);
            }
            served += 1;
            // Where notices of presence have an interval of none, the end of telling them has a deadline of its own.
            assert!(served <= 3 * self.sites.len(), "shard {site} has the same deadline again and again");
        }
        let step = until - self.now_us;
        self.pass(step);
        self.check_deadlines();
    }
}
