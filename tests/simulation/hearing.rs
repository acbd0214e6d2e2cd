//! How a shard reads what clients have sent, and how the model is told of it.

use super::client::Intent;
use super::mail::{Parcel, Told};
use super::peer::{self, State, What};
use super::speech::Ask;
use super::world::{Cause, Ends, World};
use fanwire::model::CloseReason;
use fanwire::shard::{Mail, Message, Reading, Request};

/// Least work that a frame is charged.
const FRAME_WORK: u64 = 2048;

impl World {
    /// A shard reads some of what a client has sent, or the end.
    pub fn read(&mut self, index: usize) {
        let site = self.clients[index].site;
        let slot = self.clients[index].key.slot;
        match self.sites[site].shard.reading(slot) {
            Some(Reading::Held) => return,
            Some(Reading::Paused) => {
                let (_, ends) = self.call(site, |shard, now, wires| shard.receive(now, slot, &mut [], wires));
                self.model.peers[index].received_us = self.now_us;
                return self.settle(site, ends, Cause::Receive);
            }
            _ => {}
        }
        let waiting = self.pipes[index].up.len();
        if waiting == 0 {
            return self.lose(index);
        }
        let all = self.random.percent(50);
        let mut len = if all { waiting } else { self.random.between(1, waiting) };
        if !self.plan.bursts {
            len = len.min(self.clients[index].to_next_mark());
        }
        let mut bytes: Vec<u8> = self.pipes[index].up.drain(..len).collect();
        let idle = self.seen[index].is_none_or(|seen| seen.input_charge == 0);
        let intents = self.clients[index].consume(len, self.now_us, idle);
        self.note("shard {} reads {} bytes of connection {}", &[site, len, index]);
        let published = self.sites[site].metrics.publications.get();
        self.model.peers[index].waiting = self.outstanding_now(index);
        let metrics = self.sites[site].metrics.clone();
        let (most, mut ends) = self.call(site, |shard, now, wires| {
            let (mut input, mut most) = (&mut bytes[..], 0);
            loop {
                let before = metrics.frames_in.get();
                shard.receive(now, slot, input, wires);
                most = most.max(metrics.frames_in.get() - before);
                // What was paused goes on at once: so the model need not know where that was.
                if shard.reading(slot) != Some(Reading::Paused) {
                    break most;
                }
                input = &mut [];
            }
        });
        let share = self.plan.input_max / FRAME_WORK + 1;
        let is_over =
            most > share && ends.of(index).is_none() && self.model.peers[index].state == State::Open;
        assert!(!is_over, "{most} frames of connection {index} are taken in at once, {share} may be");
        let published = self.sites[site].metrics.publications.get() - published;
        self.hear(index, intents, published, &mut ends);
        self.settle(site, ends, Cause::Receive);
    }

    /// Tells the model what a shard has read, of which `published` were publications.
    fn hear(&mut self, index: usize, intents: Vec<Intent>, published: u64, ends: &mut Ends) {
        let site = self.clients[index].site;
        let at = self.moment(site);
        let end = ends.of(index);
        let evicted = match end {
            Some(None) => ends.hides(CloseReason::SlowConsumer),
            end => end == Some(Some(CloseReason::SlowConsumer)),
        };
        let mut left = published;
        self.model.peers[index].received_us = at.now_us;
        let done = intents.iter().any(Intent::is_last);
        let mut intents = intents.into_iter();
        while let Some(intent) = intents.next() {
            let errors = !matches!(intent, Intent::Wrong(CloseReason::Unsupported, _));
            let done = intent.is_last();
            let peer = &mut self.model.peers[index];
            if peer.state != State::Open {
                continue;
            }
            let (reason, code) = match intent {
                Intent::Pong => continue,
                Intent::BeatAnswer => {
                    peer.answered_us = at.now_us;
                    continue;
                }
                Intent::Hint => {
                    let Some(reason) = self.model.hint(index, &at) else { continue };
                    (reason, peer::code(reason))
                }
                Intent::Ping(payload) => {
                    peer.message_us = at.now_us;
                    self.model.pong(index, payload);
                    continue;
                }
                Intent::Message { opcode, payload } => {
                    peer.message_us = at.now_us;
                    self.model.owe(index, What::Echoed { opcode, payload }, true);
                    continue;
                }
                Intent::Request(request) => {
                    let publishes = match request.ask {
                        Ask::Say { room, .. } => peer.rooms.contains(&room),
                        Ask::Shout { .. } => at.config.lets_clients_broadcast(),
                        _ => false,
                    };
                    if publishes && left == 0 && evicted {
                        // Unless it was over its rate, and refused for that.
                        let rest = 1 + intents.len() as u64;
                        self.model.tallies[site].refusals.add(rest, false);
                        self.model.tallies[site].rate_limited.add(rest, false);
                        self.model.tallies[site].owed.add(rest, false);
                        break;
                    }
                    let before = self.model.tallies[site].publications;
                    let limited = self.model.tallies[site].rate_limited.high;
                    let end = self.model.hear(index, &request, &at);
                    left = left.wrapping_sub(self.model.tallies[site].publications - before);
                    if let Ask::Echo { data } = &request.ask
                        && self.model.tallies[site].rate_limited.high == limited
                    {
                        let length = data.as_ref().map_or(4, String::len);
                        self.echoes.push((index, length.to_string(), request.id.clone()));
                    }
                    let Some(reason) = end else { continue };
                    (reason, peer::code(reason))
                }
                Intent::Close(code) => (CloseReason::PeerClosed, code.unwrap_or(1000)),
                Intent::Wrong(reason, _) => (reason, peer::code(reason)),
            };
            if evicted && !ends.reasons.contains(&reason) {
                break;
            }
            assert!(
                ends.explain(reason) && end.is_some_and(|end| end.is_none_or(|end| end == reason)),
                "connection {index} must be closed for {reason:?}, but is {end:?}"
            );
            let counted = errors && !matches!(reason, CloseReason::PeerClosed | CloseReason::RateLimited);
            self.model.tallies[site].protocol_errors.add(u64::from(counted), true);
            self.model.close(index, reason, code, &at);
            self.model.peers[index].peer_done = done;
        }
        assert!(
            left == 0 || evicted && left < published,
            "{left} of {published} publications are unexplained"
        );
        if let (State::Open, Some(Some(reason)), Some(wrong)) =
            (self.model.peers[index].state, end, self.clients[index].wrong_under_way())
            && reason == wrong
            && ends.explain(reason)
        {
            let counted = reason != CloseReason::Unsupported;
            self.model.tallies[site].protocol_errors.add(u64::from(counted), true);
            self.model.close(index, reason, peer::code(reason), &at);
        }
        // What comes behind the end of a connection is not looked at; but its close frame counts.
        self.model.peers[index].peer_done |= done;
        self.take_echoes(evicted);
    }

    /// Mails what handlers have answered, if it is what they must.
    fn take_echoes(&mut self, evicted: bool) {
        let responses = std::mem::take(&mut *self.responses.lock().unwrap());
        let expected = std::mem::take(&mut self.echoes);
        assert!(
            responses.len() == expected.len() || evicted && responses.len() < expected.len(),
            "{} answers of handlers instead of {}",
            responses.len(),
            expected.len()
        );
        for ((to, message), (index, data, id)) in responses.into_iter().zip(expected) {
            let Message::Event { event, data: said, id: echoed } = &message else { panic!("an error") };
            assert_eq!((event.as_str(), said.as_ref(), echoed), ("echoed", Some(&data), &id));
            assert_eq!(to, self.model.peers[index].id);
            self.post_send(index, "echoed", Some(data), id, message);
        }
    }

    /// Posts a message of the embedding program to a connection.
    pub fn post_send(
        &mut self,
        index: usize,
        event: &'static str,
        data: Option<String>,
        id: Option<String>,
        message: Message,
    ) {
        let site = self.clients[index].site;
        let inbox = &mut self.sites[site].inbox;
        let reply = inbox.reply();
        let to = self.model.peers[index].id;
        let told = Told::Send { connection: index, event, data, id };
        let mail = Mail::Request(Request::Send { to, message, reply });
        inbox.push(self.plan.shards, Parcel { mail, told, bytes: 0 });
    }

    /// A shard learns that a transport has ended.
    fn lose(&mut self, index: usize) {
        let site = self.clients[index].site;
        let slot = self.clients[index].key.slot;
        self.note("shard {} loses connection {}", &[site, index]);
        let (_, ends) = self.call(site, |shard, _, wires| shard.lost(slot, wires));
        assert!(ends.gone.contains(&index), "a lost connection is still there");
        self.settle(site, ends, Cause::Lost(index));
    }
}
