//! What must hold: what clients hear, why connections end, what is bounded, and what is counted.

use super::client::Client;
use super::deflate;
use super::frames::{self, Frame};
use super::peer::{Peer, State};
use super::pipe::Progress;
use super::rules;
use super::tally::Span;
use super::trace::fingerprint;
use super::world::{Cause, World};
use super::wrapped::{FAREWELL_BYTES, Heard};
use fanwire::model::{CloseReason, DropReason};
use fanwire::shard::Reading;
use std::sync::atomic::Ordering;

/// Bytes over its bound that an outbox may hold of answers and control frames, and frames likewise.
const RESERVE_BYTES: usize = 4096;
const RESERVE_FRAMES: usize = 64;

/// What a close frame may cost in a backlog: the longest control frame and the bookkeeping of one chunk.
const CLOSE_BYTES: usize = 127 + CHUNK_BYTES;
const CHUNK_BYTES: usize = 40;

/// What a publication that may be lost costs more, and each room that has some.
const LOSSY_BYTES: usize = 88;
const LOSSY_ROOM_BYTES: usize = 384 + 2 * 255;

/// A notice of a loss: its name may need escapes.
const NOTICE_BYTES: usize = 700;

/// What the outbox of an echo may hold beside its bound: a message of 16 MiB.
const ECHO_BYTES: usize = (16 << 20) + 100;

/// What an unfinished message costs beside twice its bytes.
const INPUT_BYTES: usize = 256 + 64;

/// How late a timer may be, in us: a tick of the wheel, and a tenth of a second of rounding on each side.
const LATE_US: u64 = 300_000;
/// How early, by rounding.
const EARLY_US: u64 = 100_000;

impl World {
    /// A client has read a frame.
    pub fn heard(&mut self, index: usize, frame: &Frame) {
        let inflated;
        let frame = if frame.compressed {
            let payload = deflate::inflate(self.clients[index].compression, &frame.payload);
            let payload = payload.unwrap_or_else(|wrong| panic!("connection {index}: {wrong}"));
            inflated = Frame { opcode: frame.opcode, compressed: false, payload };
            &inflated
        } else {
            frame
        };
        let unwrapped;
        let frame = if self.clients[index].sixth {
            let heard = self.clients[index].unwrap(frame);
            match heard.unwrap_or_else(|wrong| panic!("connection {index}: {wrong}")) {
                Heard::Whole(whole) => unwrapped = whole,
                Heard::Beat => return self.beaten(index),
                Heard::Part => return,
            }
            &unwrapped
        } else {
            frame
        };
        let print = fingerprint(without_epoch(&frame.payload)) as usize;
        self.note("client of {} hears frame {} with print {}", &[index, usize::from(frame.opcode), print]);
        let Frame { opcode, payload, .. } = frame;
        if *opcode == frames::PING {
            let pings = !self.plan.config.times.ping_interval.is_zero() && !self.clients[index].echo;
            assert!(pings, "a ping where there are none");
            let client = &mut self.clients[index];
            if !client.mute && !client.silent && !self.pipes[index].cut {
                client.pong(&mut self.random, payload, &mut self.pipes[index].up);
            }
            return;
        }
        if self.plan.streams
            && *opcode == frames::TEXT
            && !self.clients[index].echo
            && let Ok(text) = std::str::from_utf8(payload)
            && self.hears_stream(index, text)
        {
            return;
        }
        let peer = &mut self.model.peers[index];
        let ahead = peer.ahead(frame);
        if let Some(position) = ahead {
            peer.due.remove(position);
        }
        let mut answer = None;
        while ahead.is_none() {
            let Some(due) = peer.due.pop_front() else { panic!("connection {index}: {}", said(frame)) };
            if due.what.is(frame) {
                peer.confuse(&due, frame);
                answer = Some(due.what);
                break;
            }
            let is_last = *opcode == frames::CLOSE || peer.sixth && payload.starts_with(b"x");
            let cut = is_last && peer.cut;
            let next = peer.due.iter().take(5).map(|due| &due.what).collect::<Vec<_>>();
            assert!(
                cut || !due.sure,
                "connection {index} {} instead of {:?} and then {next:?}",
                said(frame),
                due.what
            );
        }
        if let Some(answer) = answer {
            self.hears_answer(index, &answer, payload);
        }
        if *opcode == frames::CLOSE {
            let peer = &self.model.peers[index];
            assert!(peer.due.is_empty(), "connection {index}: something is due after the close frame");
            let excused = peer.cut;
            let settled = self.settle_streams(index, excused);
            settled.unwrap_or_else(|wrong| panic!("connection {index} is closed: {wrong}"));
            let client = &mut self.clients[index];
            if !client.silent && !self.pipes[index].cut && self.random.percent(80) {
                client.close(&mut self.random, &mut self.pipes[index].up);
            }
            client.silent = true;
        }
    }

    /// A client hears a beat of its dialect.
    fn beaten(&mut self, index: usize) {
        assert!(!self.plan.config.times.ping_interval.is_zero(), "a beat where there are none");
        self.note("client of {} hears a beat", &[index]);
        let client = &mut self.clients[index];
        if !client.mute && !client.silent && !self.pipes[index].cut {
            client.answer_beat(&mut self.random, &self.plan, &mut self.pipes[index].up);
        }
    }

    /// A client has read everything up to the end of its transport.
    pub fn ended(&mut self, index: usize) {
        let excused = self.model.peers[index].tail_lost || self.pipes[index].cut;
        let settled = self.settle_streams(index, excused);
        settled.unwrap_or_else(|wrong| panic!("connection {index} ends: {wrong}"));
        self.note("client of {} sees the end", &[index]);
        let peer = &self.model.peers[index];
        let excused = peer.tail_lost || self.pipes[index].cut;
        assert!(
            excused || !self.clients[index].reader.is_within_a_frame() && self.clients[index].torn.is_none(),
            "connection {index} ends in a frame"
        );
        let missing = peer.due.iter().find(|due| due.sure);
        assert!(excused || missing.is_none(), "connection {index} ends before {missing:?}");
    }

    /// A drain closes no more connections than are due.
    pub fn check_drain(&mut self, site: usize, closed: usize) {
        let now_us = self.now_us;
        let Some(drain) = &mut self.sites[site].drain else { return };
        drain.closed += closed;
        let (closed, due, all) = (drain.closed, drain.due(now_us), drain.all);
        assert!(closed <= due, "the drain of shard {site} has closed {closed} of {all}, where {due} are due");
    }

    /// Whether a connection may be closed for a reason that is not its own doing.
    pub fn is_just(&self, index: usize, reason: CloseReason, cause: Cause, blocked: bool) -> bool {
        let peer = &self.model.peers[index];
        let pipe = &self.pipes[index];
        let config = &self.sites[peer.site].config;
        let times = &config.times;
        let since = |us: u64, limit: std::time::Duration| {
            !limit.is_zero() && self.now_us + EARLY_US >= us + limit.as_micros() as u64
        };
        match reason {
            CloseReason::TransportLost => cause == Cause::Lost(index) || pipe.cut,
            CloseReason::Disconnected => cause == Cause::Disconnect(index),
            CloseReason::ShuttingDown => cause == Cause::Advance && self.sites[peer.site].draining,
            CloseReason::Idle => {
                let awake_us = self.sites[peer.site].awake_us;
                let since = |us: u64, limit| since(us.max(awake_us), limit);
                let pings = !times.ping_interval.is_zero() && !peer.echo;
                let pong = pings
                    && match peer.sixth {
                        // Two timers, each of which may be early; only the second one waits for a client.
                        true => {
                            let interval_us = times.ping_interval.as_micros() as u64;
                            since((peer.answered_us + interval_us).saturating_sub(EARLY_US), times.pong_wait)
                        }
                        false => since(peer.received_us, times.pong_wait),
                    };
                cause == Cause::Advance && (pong || since(peer.message_us, times.idle_timeout))
            }
            CloseReason::InputsFull => {
                let evicts = matches!(cause, Cause::Receive | Cause::EvictLargest);
                evicts && self.most_input() > config.limits.inputs_bytes_max
            }
            CloseReason::MessageTimeout => {
                let client = &self.clients[index];
                let awake_us = self.sites[peer.site].awake_us;
                let began_us = client.began_us.max(awake_us);
                cause == Cause::Advance && client.has_begun() && since(began_us, times.message_timeout)
            }
            CloseReason::SlowConsumer => {
                let timeout = cause == Cause::Advance
                    && self.now_us + 1000 >= self.stuck_us(index, self.pipes[index].before);
                blocked && (timeout || cause == Cause::EvictLargest || self.may_be_over(index))
            }
            _ => false,
        }
    }

    /// What all unfinished messages may hold at the most, by what has come of them.
    fn most_input(&self) -> usize {
        let live = self.sites.iter().flat_map(|site| &site.live);
        live.map(|index| {
            let client = &self.clients[*index];
            let begun = if client.has_begun() { 2 * client.begun_bytes() + INPUT_BYTES } else { 0 };
            begun + self.waiting_bytes(client)
        })
        .sum()
    }

    /// What the state of a connection in its dialect may hold of a request of which a step waits, until that is decided.
    fn waiting_bytes(&self, client: &Client) -> usize {
        let reading = self.sites[client.site].shard.reading(client.key.slot);
        let waits = client.sixth && reading != Some(Reading::On);
        if waits { 2 * self.plan.config.limits.message_bytes_max + INPUT_BYTES } else { 0 }
    }

    /// When a connection of which nothing is taken must be closed.
    pub fn stuck_us(&self, index: usize, progress: Progress) -> u64 {
        let config = &self.sites[self.model.peers[index].site].config;
        progress.since_us.max(self.sites[self.model.peers[index].site].awake_us)
            + config.times.write_wait.as_micros() as u64
    }

    /// Whether so much is owed to a connection, or to all, that a bound may be passed.
    pub fn may_be_over(&self, index: usize) -> bool {
        let peer = &self.model.peers[index];
        let limits = &self.sites[peer.site].config.limits;
        let (bytes, frames) = self.outstanding(peer, index);
        let all: usize = self.model.admitted().map(|peer| peer.owed_bytes as usize).sum();
        bytes + self.lossy_bytes(frames) > limits.outbox_bytes_max
            || frames > limits.outbox_messages_max as usize
            || all > limits.outboxes_bytes_max / 2
    }

    /// What is charged on top where publications may be lost.
    fn lossy_bytes(&self, frames: usize) -> usize {
        let rooms = self.plan.policies.iter().filter(|policy| rules::is_lossy(policy)).count();
        if rooms == 0 { 0 } else { rooms * LOSSY_ROOM_BYTES + frames * LOSSY_BYTES }
    }

    /// Bytes and frames that may wait for a connection now.
    pub fn outstanding_now(&mut self, index: usize) -> (usize, usize) {
        self.pipes[index].before = self.pipes[index].progress;
        let (bytes, frames) = self.outstanding(&self.model.peers[index], index);
        (bytes + self.lossy_bytes(frames), frames)
    }

    /// Bytes and frames owed and not taken before the present call, at the most, as they are charged.
    pub fn outstanding(&self, peer: &Peer, index: usize) -> (usize, usize) {
        let Progress { frames, bytes, .. } = self.pipes[index].before;
        let interval_us = self.plan.config.times.ping_interval.as_micros() as u64;
        let pings = (self.now_us - peer.opened_us).checked_div(interval_us).map_or(0, |pings| pings + 1);
        let frames = (peer.owed_frames + pings + 1).saturating_sub(frames) as usize;
        let bytes = (peer.owed_bytes + 3 * pings).saturating_sub(bytes) as usize;
        (bytes + frames * (CHUNK_BYTES + 10), frames)
    }

    /// Every bound and every count of a shard after its turn.
    pub fn check(&self, site: usize) {
        self.check_bounds(site);
        self.check_counters(site);
        let here = &self.sites[site];
        for &index in &here.live {
            let (peer, seen) = (&self.model.peers[index], self.seen[index].expect("live"));
            assert_eq!(seen.rooms, peer.rooms.len(), "rooms of connection {index}");
            let came = self.clients[index].begun_bytes();
            let waiting = self.waiting_bytes(&self.clients[index]);
            assert!(
                seen.input_bytes <= 2 * came + 64 + waiting,
                "connection {index} holds {} bytes for {came} that came of a message",
                seen.input_bytes
            );
        }
    }

    fn check_bounds(&self, site: usize) {
        let here = &self.sites[site];
        let limits = &here.config.limits;
        let (mut held, mut closing, mut blocked) = (0, 0, 0);
        for &index in &here.live {
            let seen = self.seen[index].expect("live");
            let (bytes, frames) = (seen.backlog_bytes, seen.backlog_frames as usize);
            held += bytes;
            blocked += u64::from(frames > 0);
            let frames_max = self.plan.config.limits.outbox_messages_max as usize + RESERVE_FRAMES;
            let extra = if seen.closing.is_some() {
                closing += bytes;
                CLOSE_BYTES + self.largest_frame()
            } else {
                0
            };
            let notices = if self.plan.streams { NOTICE_BYTES } else { 0 };
            let echo = if self.clients[index].echo { ECHO_BYTES } else { 0 };
            let farewell = if self.clients[index].sixth { FAREWELL_BYTES } else { 0 };
            let bytes_max = self.outbox_bytes_max + RESERVE_BYTES + extra + notices + echo + farewell;
            assert!(
                bytes <= bytes_max,
                "connection {index} has a backlog of {bytes} bytes, over {bytes_max}"
            );
            assert!(frames <= frames_max + 1, "connection {index} has a backlog of {frames} frames");
        }
        assert_eq!(here.metrics.backlog_bytes.get(), held as u64, "gauge of backlog bytes");
        assert_eq!(here.metrics.blocked_connections.get(), blocked, "gauge of blocked connections");
        let node: usize = self.seen.iter().flatten().map(|seen| seen.backlog_bytes).sum();
        assert_eq!(self.hub.outboxes.bytes(), node, "bytes of all outboxes");
        self.check_inputs(site);
        let live = self.sites.iter().flat_map(|site| site.live.iter().copied());
        self.tenants.check(live, &self.seen);
        let ends = self.seen.iter().flatten().filter(|seen| seen.closing.is_some());
        let closing: usize = closing.max(ends.map(|seen| seen.backlog_bytes).sum());
        let told = if self.plan.streams { NOTICE_BYTES * self.model.admitted().count() } else { 0 };
        assert!(node - closing <= limits.outboxes_bytes_max + told, "the outboxes hold {node} bytes");
    }

    /// What unfinished messages hold, and that the bound on it is passed by no more than what was read meanwhile.
    fn check_inputs(&self, site: usize) {
        let charged = |index: &usize| self.seen[*index].map_or(0, |seen| seen.input_charge);
        let here: usize = self.sites[site].live.iter().map(charged).sum();
        assert_eq!(self.sites[site].metrics.input_bytes.get(), here as u64, "gauge of unfinished messages");
        let node: usize = self.sites.iter().flat_map(|site| &site.live).map(charged).sum();
        assert_eq!(self.hub.inputs.bytes(), node, "bytes of all unfinished messages");
        let bound = self.sites[site].config.limits.inputs_bytes_max;
        assert!(node <= bound + bound / 8, "unfinished messages hold {node} bytes");
    }

    fn largest_frame(&self) -> usize {
        self.pipes.iter().map(|pipe| pipe.taken.largest).max().unwrap_or(0)
    }

    fn check_counters(&self, site: usize) {
        let Self { sites, model, pipes, .. } = self;
        let (metrics, tally) = (&sites[site].metrics, &model.tallies[site]);
        let (mut frames, mut pings, mut bytes) = sites[site].retired;
        let mut waiting = 0;
        for &index in &sites[site].live {
            let taken = &pipes[index].taken;
            (frames, pings, bytes) = (frames + taken.frames, pings + taken.pings, bytes + taken.bytes);
            waiting += u64::from(self.seen[index].expect("live").backlog_frames);
        }
        assert_eq!(metrics.deliveries.get(), frames, "deliveries");
        assert_eq!(metrics.bytes_out.get(), bytes, "bytes out");
        assert_eq!(metrics.publications.get(), tally.publications, "publications");
        for (reason, (label, count)) in CloseReason::ALL.iter().zip(metrics.closes.iter()) {
            assert_eq!(count, tally.closes[reason.index()], "closes for {label}");
        }
        let spans: [(&str, Span, u64); 3] = [
            ("refusals", tally.refusals, metrics.refusals.total()),
            ("rate limited", tally.rate_limited, metrics.rate_limited.get()),
            ("protocol errors", tally.protocol_errors, metrics.protocol_errors.get()),
        ];
        for (name, span, counted) in spans {
            assert!(span.has(counted), "{name}: counted {counted}, should be {span:?}");
        }
        // Every frame owed is delivered, waits, or is counted as dropped, unless a later turn is to write it.
        let is_due = self.plan.wide.is_none() && !sites[site].shard.has_more();
        let accounted = frames + waiting + metrics.drops.total();
        assert!(
            accounted >= tally.owed.low || !is_due,
            "{accounted} frames of {:?} are accounted for",
            tally.owed
        );
        if self.plan.config.times.ping_interval.is_zero() {
            // The notices of losses are fewer than the losses.
            let lossy = [DropReason::DropOldest, DropReason::Conflated].map(DropReason::index);
            let dropped = metrics.drops.iter().enumerate().filter(|(at, _)| lossy.contains(at));
            let owed = tally.owed.high + dropped.map(|(_, (_, count))| count).sum::<u64>();
            assert!(accounted <= owed, "{accounted} frames accounted for, {owed} owed, {pings} pings");
        }
        let here = &sites[site].live;
        assert_eq!(metrics.connections.get(), here.len() as u64, "gauge of connections");
        assert_eq!(self.hub.admission.connections() as usize, model.admitted().count(), "admitted");
        let members: usize = model.rooms.iter().map(|room| room.members[site].len()).sum();
        assert_eq!(metrics.members.get(), members as u64, "gauge of members");
        let rooms = model.rooms.iter().filter(|room| !room.members[site].is_empty()).count();
        assert_eq!(metrics.rooms.get(), rooms as u64, "gauge of rooms");
        let listed: Vec<_> =
            self.hub.directory.list("", None, 100).into_iter().map(|(_, room)| room.members()).collect();
        let mut counts: Vec<_> =
            (0..model.rooms.len()).filter(|room| model.rooms[*room].count() > 0).collect();
        counts.sort_by_key(|room| super::speech::ROOMS[*room]);
        let counts: Vec<_> = counts.into_iter().map(|room| model.rooms[room].count()).collect();
        assert_eq!(listed, counts, "members of the rooms");
        for (index, room) in model.rooms.iter().enumerate() {
            let is_known = room.count() > 0 && !room.unsure && !model.kind.policies[index].remembers();
            if let Some(shared) = self.hub.directory.get(super::speech::ROOMS[index]).filter(|_| is_known) {
                let told = shared.activity.messages();
                assert_eq!(told, room.published, "messages of the room {}", super::speech::ROOMS[index]);
            }
        }
    }

    /// No timer is late.
    pub fn check_deadlines(&self) {
        let awake = self.sites.iter().filter(|site| site.asleep_until.is_none());
        for index in awake.flat_map(|site| &site.live) {
            let peer = &self.model.peers[*index];
            let times = &self.sites[peer.site].config.times;
            let late = |us: u64, limit: std::time::Duration| {
                let from_us = us.max(self.sites[peer.site].configured_us).max(self.sites[peer.site].awake_us);
                !limit.is_zero() && self.now_us > from_us + limit.as_micros() as u64 + LATE_US
            };
            match peer.state {
                State::Open => {
                    let waits = self.seen[*index].is_some_and(|seen| seen.backlog_frames > 0);
                    let stuck =
                        waits && self.now_us > self.stuck_us(*index, self.pipes[*index].progress) + LATE_US;
                    assert!(
                        !stuck || self.now_us < self.sites[peer.site].configured_us + LATE_US,
                        "connection {index} takes nothing and is not closed"
                    );
                    let pings = !times.ping_interval.is_zero() && !peer.echo;
                    let from_us = peer.answered_us + LATE_US;
                    let pong = pings
                        && match peer.sixth {
                            true => late(from_us, times.ping_interval + times.pong_wait),
                            false => late(peer.received_us, times.pong_wait),
                        };
                    assert!(!pong, "connection {index} gives no sign of life and is not closed");
                    let swept = times.idle_timeout + times.sweep_interval().unwrap_or_default();
                    assert!(!late(peer.message_us, swept), "connection {index} idles on");
                    // Where rooms are walked it may not be read for a while, and then its time begins again.
                    let unfinished = self.seen[*index].is_some_and(|seen| seen.input_charge > 0);
                    let began_us = self.clients[*index].began_late_us;
                    let overdue =
                        unfinished && self.plan.wide.is_none() && late(began_us, times.message_timeout);
                    assert!(!overdue, "connection {index} takes too long for a message");
                    // A blocked connection is owed its ping, or is about to be evicted. Others may still be owed it
                    // by a shard that has more to write.
                    let pipe = &self.pipes[*index];
                    let pinged_us = peer.opened_us.max(pipe.pinged_us);
                    let is_owed = pipe.progress.full || self.sites[peer.site].shard.has_more();
                    // The next beat comes after the answer to the last one.
                    let beaten = peer.sixth && pipe.pinged_us > peer.answered_us;
                    let pinged_us = if peer.sixth { peer.answered_us } else { pinged_us };
                    let pinged = peer.echo || is_owed || beaten || !late(pinged_us, times.ping_interval);
                    assert!(pinged, "connection {index} is not pinged at {} since {pinged_us}", self.now_us);
                }
                State::Closing(_) => {
                    assert!(!late(peer.closing_us, times.close_wait), "connection {index} does not end");
                }
                State::Gone => unreachable!(),
            }
        }
    }

    /// Nothing is on its way any more: whoever is connected has heard everything.
    pub fn check_quiet(&mut self) {
        self.check_streams();
        for (index, peer) in self.model.peers.iter().enumerate() {
            if peer.state == State::Open {
                let missing = peer.due.iter().find(|due| due.sure);
                assert!(missing.is_none(), "connection {index} has not heard {missing:?}");
            }
            let heard_all = self.clients[index].ended || !self.clients[index].deafened;
            assert!(
                heard_all,
                "connection {index}: the server cannot read on and does not say that it is done"
            );
        }
        for (site, here) in self.sites.iter().enumerate() {
            self.check(site);
            assert!(!here.shard.has_held() && here.owed_answers.is_empty(), "shard {site} holds somebody");
            assert_eq!(here.inbox.canaries_back(), here.inbox.canaries, "canaries of shard {site}");
        }
    }

    /// Everybody is gone: nothing may be left.
    pub fn check_empty(&mut self) {
        self.check_quiet();
        assert_eq!(self.model.admitted().count(), 0, "connections that do not end");
        assert_eq!(self.hub.admission.connections(), 0, "admission");
        assert_eq!(self.hub.outboxes.bytes(), 0, "outboxes");
        assert_eq!(self.hub.inputs.bytes(), 0, "unfinished messages");
        assert!(self.hub.directory.is_empty(), "rooms are left in the directory");
        self.told.check(&self.model);
        assert_eq!(self.hub.directory.membership_bytes(), 0, "charged for memberships");
        assert_eq!(self.hub.waiting.load(Ordering::Relaxed), 0, "bytes for members of wide rooms");
        for (index, site) in self.sites.iter().enumerate() {
            assert_eq!(site.shard.connections(), 0, "connections");
            let sweeps = index == 0 && self.hub.directory.remembers();
            assert!(sweeps || site.shard.deadline_ms().is_none(), "a timer is left");
        }
    }
}

fn said(Frame { opcode, payload, .. }: &Frame) -> String {
    match *opcode {
        frames::TEXT => format!("hears {}", String::from_utf8_lossy(payload)),
        _ => format!("hears a frame {opcode} with {payload:02x?}"),
    }
}

/// A payload up to an epoch, which is different each time.
fn without_epoch(payload: &[u8]) -> &[u8] {
    if !payload.starts_with(b"{\"type\":\"subscribed\"") {
        return payload;
    }
    let mark = b"\"epoch\":\"";
    let at = payload.windows(mark.len()).position(|window| window == mark);
    at.map_or(payload, |at| &payload[..at])
}
