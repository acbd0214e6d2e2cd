//! What clients of the sixth dialect say and hear, on their side: the words of `rooms`, wrapped as `tests/sixth` tells.

use super::client::{Client, Intent};
use super::frames::{self, Frame};
use super::model::{Model, Moment};
use super::peer::What;
use super::plan::Plan;
use super::random::Random;
use super::sixth::{BEAT, BEAT_ANSWER, PLACE};
use super::speech::{self, Ask, Request};
use fanwire::model::CloseReason;
use std::collections::VecDeque;

/// Bytes that an entry has more than the words of `rooms`: a second frame's header, first characters, and [`PLACE`].
pub const WRAPPING_BYTES: usize = 48;

/// What the last words and their place in a backlog are charged at the most.
pub const FAREWELL_BYTES: usize = 128;

/// What a frame makes of those before it.
pub enum Heard {
    /// An entry, unwrapped.
    Whole(Frame),
    Beat,
    /// The first frame of an entry.
    Part,
}

/// The words of an entry.
pub fn farewell(reason: CloseReason) -> Option<String> {
    let is_told =
        !matches!(reason, CloseReason::PeerClosed | CloseReason::SlowConsumer | CloseReason::TransportLost);
    is_told.then(|| format!("x{}", reason.label()))
}

impl Client {
    /// Says something in the dialect: what it has as data perhaps in binary messages behind it.
    pub fn say_wrapped(
        &mut self,
        random: &mut Random,
        plan: &Plan,
        mut request: Request,
        out: &mut VecDeque<u8>,
    ) {
        let data = match &request.ask {
            Ask::Say { data, .. } | Ask::Shout { data } | Ask::Echo { data } => data.clone(),
            _ => None,
        };
        let Some(data) = data.filter(|_| random.percent(60)) else {
            request.text.insert(0, '=');
            let payload = request.text.clone().into_bytes();
            return self.send(random, plan, frames::TEXT, payload, Some(Intent::Request(request)), out);
        };
        let count = random.between(1, 3);
        let head = request.text.replacen(&format!("\"data\": {data}"), "\"elsewhere\":0", 1);
        let head = format!("+{count};{head}");
        let mut cuts: Vec<_> = (1..count).map(|_| random.between(0, data.len())).collect();
        cuts.sort_unstable();
        cuts.push(data.len());
        // What counts for the rates is all of it.
        request.text = format!("{head}{data}");
        self.send(random, plan, frames::TEXT, head.into_bytes(), None, out);
        let (mut start, mut intent) = (0, Some(Intent::Request(request)));
        for (index, end) in cuts.into_iter().enumerate() {
            let means = if index + 1 == count { intent.take() } else { None };
            self.send(random, plan, frames::BINARY, data.as_bytes()[start..end].to_vec(), means, out);
            start = end;
        }
    }

    /// Says what is answered every second time.
    pub fn hint(&mut self, random: &mut Random, plan: &Plan, out: &mut VecDeque<u8>) {
        self.send(random, plan, frames::TEXT, b"?".to_vec(), Some(Intent::Hint), out);
    }

    /// Answers a beat.
    pub fn answer_beat(&mut self, random: &mut Random, plan: &Plan, out: &mut VecDeque<u8>) {
        self.send(random, plan, frames::BINARY, BEAT_ANSWER.to_vec(), Some(Intent::BeatAnswer), out);
    }

    /// Puts the frames of an entry together.
    pub fn unwrap(&mut self, Frame { opcode, payload, .. }: &Frame) -> Result<Heard, String> {
        if let Some(head) = self.torn.take() {
            if *opcode != frames::BINARY {
                return Err(format!("a frame {opcode} between the frames of an entry"));
            }
            let data = String::from_utf8_lossy(payload);
            let text = head.replacen(&format!("\"data\":{PLACE}"), &format!("\"data\":{data}"), 1);
            let payload = text.into_bytes();
            return Ok(Heard::Whole(Frame { opcode: frames::TEXT, compressed: false, payload }));
        }
        let whole = |payload: &[u8]| {
            Heard::Whole(Frame { opcode: *opcode, compressed: false, payload: payload.to_vec() })
        };
        match (*opcode, payload.as_slice()) {
            (frames::PING, _) => Err("a ping beside the beats of its dialect".into()),
            (frames::BINARY, BEAT) => Ok(Heard::Beat),
            (frames::BINARY, _) => Err("a binary frame of nothing".into()),
            (frames::TEXT, [b'=', rest @ ..]) => Ok(whole(rest)),
            (frames::TEXT, [b'+', rest @ ..]) => {
                self.torn = Some(String::from_utf8_lossy(rest).into_owned());
                Ok(Heard::Part)
            }
            (_, payload) => Ok(whole(payload)),
        }
    }
}

impl Model {
    /// A hint of an open connection. Says for what reason it is the connection's last message, if it is.
    pub fn hint(&mut self, peer: usize, at: &Moment) -> Option<CloseReason> {
        let one = &mut self.peers[peer];
        one.message_us = at.now_us;
        one.hints += 1;
        let is_answered = one.hints.is_multiple_of(2);
        if let Some(end) = self.over_rate(peer, 1, at) {
            return end;
        }
        if is_answered {
            self.owe(peer, What::Text("!".into()), true);
        }
        None
    }

    /// Counts a message against the rates. If it is over them, whether the connection ends for that.
    pub fn over_rate(&mut self, peer: usize, bytes: u64, at: &Moment) -> Option<Option<CloseReason>> {
        let limits = &at.config.limits;
        let one = &mut self.peers[peer];
        let (site, limbo) = (one.site, one.limbo);
        let within =
            one.messages.take(limits.messages_per_s, limits.messages_burst, 1, at.now_us, at.since_us)
                && one.bytes.take(limits.bytes_per_s, limits.bytes_burst, bytes, at.now_us, at.since_us);
        if within {
            return None;
        }
        one.strikes += 1;
        let is_last = one.strikes == super::model::STRIKES_MAX;
        self.tallies[site].rate_limited.add(1, !limbo);
        if is_last {
            return Some(Some(CloseReason::RateLimited));
        }
        self.refuse(peer, speech::RATE_LIMITED, None, at);
        Some(None)
    }
}
