//! What clients, their networks and the embedding program do, at random.

use super::mail::{Parcel, Told};
use super::peer::State;
use super::plan::step_limits;
use super::speech::{self, Ask};
use super::world::World;
use fanwire::config::Config;
use fanwire::model::{Draft, Selector};
use fanwire::shard::{Mail, Message, Request, StepLimits};
use std::sync::Arc;
use std::time::Duration;

/// What a transport holds that does not stall, where all must get through.
const WIDE: usize = 1 << 24;

impl World {
    /// Everything, from the first connection until nothing is left.
    pub fn run(&mut self) {
        for _ in 0..self.plan.steps {
            self.step();
        }
        self.finish();
    }

    fn step(&mut self) {
        let time = self.plan.time_percent;
        let sleeps = usize::from(self.plan.sleeps);
        let walks = usize::from(self.plan.wide.is_some());
        match self.random.weighted(&[30, 55, time, 4, 1, sleeps, walks]) {
            0 => {
                let site = self.random.below(self.sites.len());
                self.turn(site, false);
            }
            1 => self.client_acts(),
            2 => {
                let us = self.random.pick(&[10, 500, 20_000, 20_000, 400_000, 3_000_000]);
                let us = 1 + self.random.below(us) as u64;
                self.wait(us);
                if self.random.percent(3) {
                    self.jump_ms += self.random.below(100_000) as u64;
                }
            }
            3 => self.outside_acts(),
            4 => self.rest(),
            5 => {
                let site = self.random.below(self.sites.len());
                self.sleep(site);
            }
            _ => {
                let site = self.random.below(self.sites.len());
                let input_max = self.plan.input_max;
                let limits = StepLimits { input_max, ..step_limits(&mut self.random) };
                self.sites[site].shard.set_step_limits(limits);
            }
        }
    }

    fn client_acts(&mut self) {
        let persona = self.random.below(self.personas.len());
        let Some(index) = self.personas[persona].connection else {
            let site = self.random.below(self.sites.len());
            if self.random.percent(60) && self.sites[site].asleep_until.is_none() {
                self.connect(persona, site);
            }
            return;
        };
        if self.clients[index].ended {
            self.personas[persona].connection = None;
            return;
        }
        match self.random.weighted(&self.plan.acts) {
            0 => self.ask(index),
            1 => {
                let bytes = self.random.pick(&[1, 50, 2000, WIDE]);
                let bytes = self.random.between(1, bytes);
                self.listen(index, bytes);
            }
            2 => {
                self.note("client of {} stalls", &[index]);
                self.clients[index].stalled = true;
                let capacity = self.random.pick(&[0, 10, 500]);
                self.pipes[index].set_capacity(capacity);
            }
            3 => {
                self.note("client of {} goes on", &[index]);
                self.clients[index].stalled = false;
                self.pipes[index].set_capacity(self.plan.capacity);
            }
            4 if !self.is_silent(index) => {
                self.note("client of {} breaks the protocol", &[index]);
                self.clients[index].violate(&mut self.random, &self.plan, &mut self.pipes[index].up);
            }
            5 if !self.is_silent(index) => {
                self.clients[index].control(&mut self.random, &mut self.pipes[index].up);
            }
            6 if !self.is_silent(index) => {
                self.note("client of {} closes", &[index]);
                self.clients[index].close(&mut self.random, &mut self.pipes[index].up);
            }
            7 => self.cut(index),
            _ => {}
        }
    }

    fn is_silent(&self, index: usize) -> bool {
        self.clients[index].silent || self.pipes[index].cut || self.pipes[index].client_closed
    }

    /// The transport breaks, or the client goes away without a word.
    fn cut(&mut self, index: usize) {
        if self.random.percent(50) {
            self.note("the transport of {} is cut", &[index]);
            let waiting = self.pipes[index].down.len();
            let kept = self.random.between(0, waiting);
            self.pipes[index].cut(kept);
            self.clients[index].marks.clear();
        } else {
            self.note("client of {} goes away", &[index]);
            self.pipes[index].client_closed = true;
        }
        self.clients[index].silent = true;
    }

    /// A client says something, often several things at once.
    fn ask(&mut self, index: usize) {
        if self.is_silent(index) {
            return;
        }
        let count =
            if self.random.percent(8) { self.random.between(5, 40) } else { self.random.between(1, 3) };
        for _ in 0..count {
            if self.clients[index].echo {
                let text = self.data();
                self.clients[index].call(&mut self.random, &self.plan, text, &mut self.pipes[index].up);
                continue;
            }
            if self.clients[index].sixth && self.random.percent(12) {
                self.clients[index].hint(&mut self.random, &self.plan, &mut self.pipes[index].up);
                continue;
            }
            let request = self.request(index);
            self.clients[index].say(&mut self.random, &self.plan, request, &mut self.pipes[index].up);
        }
        self.note("client of {} says {} things", &[index, count]);
    }

    fn request(&mut self, index: usize) -> speech::Request {
        let id = match self.random.below(4) {
            0 => Some(format!("{}", self.random.below(1000))),
            1 => Some(format!("\"i\\n{}\"", self.random.below(1000))),
            _ => None,
        };
        let joined = &self.model.peers[index].rooms;
        let room = if !joined.is_empty() && self.random.percent(70) {
            self.random.pick(joined)
        } else {
            self.random.below(self.plan.rooms)
        };
        let ask = match self.random.weighted(&self.plan.asks) {
            0 => {
                let room = self.random.below(self.plan.rooms);
                let room = if self.random.percent(80) { room } else { self.random.pick(&[room, 0]) };
                Ask::Join { room, recover: self.recover(index, room) }
            }
            1 => Ask::Leave(room),
            2 => Ask::Say { room, data: Some(self.data()) },
            3 => Ask::Shout { data: Some(self.data()) },
            4 => Ask::Ping,
            5 => Ask::Echo { data: Some(self.data()).filter(|_| self.random.percent(80)) },
            7 => Ask::Who(room),
            _ => {
                let depth_max = self.plan.config.limits.json_depth_max;
                return speech::wrong(&mut self.random, depth_max, id);
            }
        };
        speech::request(&mut self.random, ask, id)
    }

    /// What a client says that it has seen of a room, when it joins.
    fn recover(&mut self, index: usize, room: usize) -> Option<(String, u64)> {
        if !self.plan.streams || self.random.percent(35) {
            return None;
        }
        let past = self.personas[self.clients[index].persona].past[room].clone();
        let (epoch, offset) = past.unwrap_or(("0123456789abcdef".to_owned(), 0));
        match self.random.below(10) {
            0 => Some((epoch, self.random.below(offset as usize + 3) as u64)),
            1 => Some(("none".to_owned(), offset)),
            _ => Some((epoch, offset)),
        }
    }

    /// A JSON value that was never said before.
    fn data(&mut self) -> String {
        self.sayings += 1;
        let n = self.sayings;
        if self.plan.streams && self.random.percent(60) {
            let key = self.random.below(4);
            let filling = self.random.between(0, self.plan.data_bytes_max.min(1000));
            return format!("{{\"k\":{key},\"n\":{n},\"f\":\"{}\"}}", "~".repeat(filling));
        }
        match self.random.below(6) {
            0 => format!("{n}"),
            1 => format!("\"{n} \\\" \\u00e9 \u{e9}\""),
            2 => format!("[{n} , null,\t-1.50e3]"),
            3 => format!("{{ \"n\":{n}}}"),
            _ => {
                let filling = self.random.between(0, self.plan.data_bytes_max);
                format!("\"{n}{}\"", "~".repeat(filling))
            }
        }
    }

    /// A client reads.
    pub fn listen(&mut self, index: usize, bytes: usize) {
        if self.clients[index].ended {
            return;
        }
        let pipe = &mut self.pipes[index];
        let bytes = bytes.min(pipe.down.len());
        self.clients[index].reader.push(pipe.read_down(bytes));
        loop {
            let frame = self.clients[index].reader.next();
            let Some(frame) = frame.unwrap_or_else(|wrong| panic!("connection {index}: {wrong}")) else {
                break;
            };
            self.heard(index, &frame);
        }
        let pipe = &mut self.pipes[index];
        if pipe.down.is_empty() && (pipe.server_closed || pipe.finished || pipe.cut) {
            pipe.client_closed = true;
            self.clients[index].ended = true;
            self.clients[index].silent = true;
            self.ended(index);
        }
    }

    /// The embedding program, the API or the operator does something.
    fn outside_acts(&mut self) {
        let site = self.random.below(self.sites.len());
        if self.sites[site].asleep_until.is_some() {
            return;
        }
        let room = Some(self.random.below(self.plan.rooms)).filter(|_| self.random.percent(70));
        let to = room.map_or(Selector::all(), |room| Selector::room(speech::ROOMS[room]));
        let data = Some(self.data());
        let inbox = &self.sites[site].inbox;
        let (request, told) = match self.random.below(9) {
            0..=1 => {
                // As the API does it: on a shard's thread, between its turns.
                self.note("shard {} publishes for the API", &[site]);
                let (count, ends) = self.call(site, |shard, now, _| {
                    shard.outside_publish(now, &to, &Draft::new("news", data.as_deref()))
                });
                let expected = self.tell_publish(site, room, "news", data.as_deref());
                assert_eq!(
                    u64::from(count.delivered),
                    expected,
                    "connections that a publication is handed to"
                );
                self.settle(site, ends, super::world::Cause::Mail);
                return self.hand_over(site);
            }
            2 => {
                let reply = inbox.reply();
                let (event, data) = ("news \"x\"", data.filter(|_| self.plan.streams));
                (
                    Request::Publish {
                        to: Box::new(to),
                        event: event.to_owned(),
                        data: data.clone(),
                        whole: None,
                        reply,
                    },
                    Told::Publish { room, event, data },
                )
            }
            3 | 4 if !self.clients.is_empty() => {
                let index = self.random.below(self.clients.len());
                let (data, id) = (Some("{}".to_owned()), Some("\"7\"".to_owned()));
                let message = Message::Event { event: "told".to_owned(), data: data.clone(), id: id.clone() };
                return self.post_send(index, "told", data, id, message);
            }
            5 if !self.clients.is_empty() => {
                let connection = self.random.below(self.clients.len());
                let site = self.clients[connection].site;
                let (reply, to) = (self.sites[site].inbox.reply(), self.model.peers[connection].id);
                let mail = Mail::Request(Request::Disconnect { reason: None, to, reply });
                let parcel = Parcel { mail, told: Told::Disconnect { connection }, bytes: 0 };
                return self.sites[site].inbox.push(self.plan.shards, parcel);
            }
            6 => {
                let limit = self.random.below(4);
                let reply = inbox.reply_with(|slow: Vec<fanwire::model::SlowConsumer>| {
                    assert!(slow.is_sorted_by(|a, b| a.backlog_bytes >= b.backlog_bytes));
                    // One that was cut, and goes at the next event, may have nothing left.
                    slow.iter().filter(|entry| entry.backlog_messages > 0).count() as u64
                });
                (Request::Slow { limit, reply }, Told::Slow { limit })
            }
            7 => {
                let config = Arc::new(self.other_config());
                (Request::Reconfigure(config.clone()), Told::Reconfigure(config))
            }
            _ => (Request::Canary(self.sites[site].inbox.canary()), Told::Canary),
        };
        let parcel = Parcel { mail: Mail::Request(request), told, bytes: 0 };
        self.sites[site].inbox.push(self.plan.shards, parcel);
    }

    /// The configuration with other values where that asks nothing new of the clients.
    fn other_config(&mut self) -> Config {
        let mut config = self.plan.config.clone();
        config.limits.outbox_bytes_max = self.random.pick(&[4096, 32 * 1024]);
        config.times.write_wait = Duration::from_millis(self.random.pick(&[1000, 3000]));
        config.times.idle_timeout = Duration::from_millis(self.random.pick(&[0, 2500]));
        if !self.plan.bursts {
            config.limits.connections_per_room_max = self.random.between(1, 4) as u32;
        }
        config
    }

    /// Lets everything that is on its way arrive, and then looks closely.
    pub fn rest(&mut self) {
        self.note("all rest", &[]);
        self.wake_all();
        let mut quiet = 0;
        for _ in 0..10_000 {
            let before = self.trace.lock().unwrap().fingerprint.0;
            let sites = self.sites.len();
            for site in 0..sites {
                self.turn(site, true);
            }
            for index in 0..self.clients.len() {
                if !self.clients[index].ended {
                    self.clients[index].stalled = false;
                    self.pipes[index].set_capacity(WIDE);
                    self.listen(index, WIDE);
                }
            }
            self.wait(50);
            let lines = self.trace.lock().unwrap().fingerprint.0 - before;
            // A round in which nothing happens has a line for each turn.
            let busy = self.sites.iter().any(|site| site.shard.has_more() || site.shard.has_held());
            let busy = busy || (self.plan.streams && self.changes_wait());
            quiet = if lines == sites as u64 && !busy { quiet + 1 } else { 0 };
            if quiet == 2 {
                return self.check_quiet();
            }
        }
        panic!("the world does not come to rest");
    }

    /// Whether notices of presence are still kept back.
    fn changes_wait(&self) -> bool {
        self.sites.iter().any(|site| site.shard.deadline_ms().is_some_and(|ms| ms * 1000 <= self.now_us))
    }

    /// Ends everything, one way or the other.
    fn finish(&mut self) {
        self.note("the end begins", &[]);
        if self.plan.drains {
            self.hub.set_draining();
            let over = Duration::from_millis(self.random.pick(&[0, 200, 3000]));
            for site in 0..self.sites.len() {
                let parcel =
                    Parcel { mail: Mail::Request(Request::Drain(over)), told: Told::Drain(over), bytes: 0 };
                self.sites[site].inbox.push(self.plan.shards, parcel);
            }
            for _ in 0..20 {
                self.step();
            }
        }
        if !self.plan.drains || self.random.percent(30) {
            for index in 0..self.clients.len() {
                if !self.is_silent(index) && self.model.peers[index].state == State::Open {
                    match self.random.percent(50) {
                        true => self.cut(index),
                        false => self.clients[index].close(&mut self.random, &mut self.pipes[index].up),
                    }
                }
            }
        }
        for _ in 0..30 {
            self.rest();
            self.wait(1_000_000);
            if self.model.admitted().count() == 0 {
                // The last notices of presence are told to nobody, and then no shard has any to tell.
                for _ in 0..2 {
                    self.rest();
                    self.wait(1_000_000);
                }
                self.rest();
                return self.check_empty();
            }
        }
        self.check_empty();
    }
}
