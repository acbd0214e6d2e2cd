//! One connection as its client sees it: what it says, cut into frames at random, and what it has read.

use super::deflate;
use super::frames::{self, Reader};
use super::plan::Plan;
use super::random::Random;
use super::speech::Request;
use fanwire::base::Key;
use fanwire::model::{CloseReason, Compression, DialectId};
use fanwire::shard::Newcomer;
use std::collections::VecDeque;

/// What some bytes of a client mean, once the server has them all.
#[derive(Debug, Clone)]
pub enum Intent {
    Request(Request),
    /// To an echo.
    Message {
        opcode: u8,
        payload: Vec<u8>,
    },
    /// In the sixth dialect: what is answered every second time, and the answer to a beat.
    Hint,
    BeatAnswer,
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
    /// Against the rules: the server must close for this reason.
    Wrong(CloseReason, Wrong),
}

/// What the server can tell of what comes behind a wrong frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// Where it ends: what follows is read for a close frame.
    Bounded,
    /// Nothing: it can only say that it is done, and wait for the transport to end.
    Boundless,
    /// That nothing comes: it was a close frame.
    Close,
}

impl Intent {
    /// Whether the server need not wait for a further close frame.
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Close(_) | Self::Wrong(_, Wrong::Close))
    }
}

/// Where an intent stands in the bytes sent.
#[derive(Debug)]
pub struct Mark {
    pub begin: u64,
    pub end: u64,
    pub intent: Intent,
}

/// A connection, from the client's side.
#[derive(Debug)]
pub struct Client {
    pub site: usize,
    pub key: Key,
    /// Who it is each time it connects.
    pub persona: usize,
    pub compression: Compression,
    /// It is sent back what it says, and nothing else.
    pub echo: bool,
    /// It speaks the sixth dialect, and has heard the first frame of an entry of two.
    pub sixth: bool,
    pub torn: Option<String>,
    /// What the server has not read whole.
    pub marks: VecDeque<Mark>,
    sent: u64,
    /// Bytes that the server has read.
    pub consumed: u64,
    /// Where the last message that the server has read whole ends.
    pub whole: u64,
    /// When the first byte of the message came that the server has not read whole, at the earliest, and at the latest
    /// (as control frames may have been read since), if there is one.
    pub began_us: u64,
    pub began_late_us: u64,
    pub reader: Reader,
    /// Does not read at present.
    pub stalled: bool,
    /// Answers no pings, ever.
    pub mute: bool,
    /// Will say nothing more.
    pub silent: bool,
    /// The server has read something behind which it cannot tell frames.
    pub deafened: bool,
    /// Has seen the end of what comes.
    pub ended: bool,
}

impl Client {
    pub fn new(site: usize, key: Key, persona: usize, newcomer: &Newcomer, mute: bool) -> Self {
        Self {
            site,
            key,
            persona,
            compression: newcomer.compression,
            echo: newcomer.echo,
            sixth: newcomer.dialect != DialectId::NATIVE,
            torn: None,
            marks: VecDeque::new(),
            sent: 0,
            consumed: 0,
            whole: 0,
            began_us: 0,
            began_late_us: 0,
            reader: Reader::default(),
            stalled: false,
            mute,
            silent: false,
            deafened: false,
            ended: false,
        }
    }

    fn put(&mut self, bytes: &[u8], intent: Option<Intent>, out: &mut VecDeque<u8>) {
        let begin = self.sent;
        self.sent += bytes.len() as u64;
        out.extend(bytes);
        if let Some(intent) = intent {
            self.marks.push_back(Mark { begin, end: self.sent, intent });
        }
    }

    /// Says something in one or several frames, perhaps with control frames between them.
    pub fn say(&mut self, random: &mut Random, plan: &Plan, request: Request, out: &mut VecDeque<u8>) {
        if self.sixth {
            return self.say_wrapped(random, plan, request, out);
        }
        let payload = request.text.clone().into_bytes();
        self.send(random, plan, frames::TEXT, payload, Some(Intent::Request(request)), out);
    }

    /// Says something to an echo.
    pub fn call(&mut self, random: &mut Random, plan: &Plan, text: String, out: &mut VecDeque<u8>) {
        let opcode = random.pick(&[frames::TEXT, frames::BINARY]);
        let payload = text.into_bytes();
        self.send(random, plan, opcode, payload.clone(), Some(Intent::Message { opcode, payload }), out);
    }

    pub fn send(
        &mut self,
        random: &mut Random,
        plan: &Plan,
        opcode: u8,
        mut payload: Vec<u8>,
        mut intent: Option<Intent>,
        out: &mut VecDeque<u8>,
    ) {
        // Larger ones might be compressed by more than the server lets pass. What others belong to is held inflated, and
        // by what has come of it is told how much may be held.
        let compresses = intent.is_some()
            && self.compression != Compression::None
            && payload.len() < 60_000
            && random.percent(50);
        if compresses {
            payload = deflate::deflate(self.compression, &payload);
        }
        let compressed = if compresses { frames::COMPRESSED } else { 0 };
        let fragments_max = plan.config.limits.fragments_max as usize;
        let fragments = if random.percent(60) { 1 } else { random.between(1, fragments_max.min(5)) };
        let mut cuts: Vec<_> = (1..fragments).map(|_| random.between(0, payload.len())).collect();
        cuts.sort_unstable();
        cuts.push(payload.len());
        let mut start = 0;
        for (index, end) in cuts.into_iter().enumerate() {
            let opcode = if index == 0 { opcode | compressed } else { frames::CONTINUATION };
            let last = index + 1 == fragments;
            let frame = frames::frame(random, last, opcode, &payload[start..end]);
            let means = if last { intent.take() } else { None };
            self.put(&frame, means, out);
            if !last && random.percent(20) {
                self.control(random, out);
            }
            start = end;
        }
    }

    /// Sends a ping or an unasked pong.
    pub fn control(&mut self, random: &mut Random, out: &mut VecDeque<u8>) {
        let length = random.pick(&[0, 1, 125]);
        let payload: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        if random.percent(75) {
            let frame = frames::frame(random, true, frames::PING, &payload);
            self.put(&frame, Some(Intent::Ping(payload)), out);
        } else {
            self.pong(random, &payload, out);
        }
    }

    pub fn pong(&mut self, random: &mut Random, payload: &[u8], out: &mut VecDeque<u8>) {
        let frame = frames::frame(random, true, frames::PONG, payload);
        self.put(&frame, Some(Intent::Pong), out);
    }

    /// Sends a close frame, after which it says nothing.
    pub fn close(&mut self, random: &mut Random, out: &mut VecDeque<u8>) {
        let code = random.pick(&[None, Some(1000), Some(1001), Some(3000), Some(4999)]);
        let payload = code.map_or(Vec::new(), |code: u16| [&code.to_be_bytes()[..], b"bye"].concat());
        let frame = frames::frame(random, true, frames::CLOSE, &payload);
        self.put(&frame, Some(Intent::Close(code)), out);
        self.silent = true;
    }

    /// Breaks the protocol in one of many ways. Says nothing after it, if that could not be told apart.
    pub fn violate(&mut self, random: &mut Random, plan: &Plan, out: &mut VecDeque<u8>) {
        let limits = &plan.config.limits;
        let masked = |bytes: &[u8]| [bytes, &[0; 4]].concat();
        let (bytes, reason, wrong) = match random.below(match (self.echo, self.sixth) {
            (true, _) => 11,
            (false, false) => 14,
            (false, true) => 16,
        }) {
            0 => (masked(&[0xA1, 0x80]), CloseReason::ProtocolError, Wrong::Boundless),
            1 => (masked(&[0x83, 0x80]), CloseReason::ProtocolError, Wrong::Boundless),
            2 => (masked(&[0x8F, 0x80]), CloseReason::ProtocolError, Wrong::Boundless),
            3 => (masked(&[0x09, 0x80]), CloseReason::ProtocolError, Wrong::Boundless),
            4 => (masked(&[0x81, 0x02, b'{', b'}']), CloseReason::ProtocolError, Wrong::Boundless),
            5 => (masked(&[0x8A, 0xFE, 0, 126]), CloseReason::ProtocolError, Wrong::Boundless),
            6 => (masked(&[0x81, 0xFE, 0, 125]), CloseReason::ProtocolError, Wrong::Boundless),
            7 => (masked(&[0x80, 0x80]), CloseReason::ProtocolError, Wrong::Bounded),
            8 => (
                [masked(&[0x01, 0x80]), masked(&[0x81, 0x80])].concat(),
                CloseReason::ProtocolError,
                Wrong::Bounded,
            ),
            9 => {
                let payload = random.pick(&[&[3][..], &[3, 0xED], &[3, 0xE7], &[0x13, 0x88]]);
                (
                    frames::frame(random, true, frames::CLOSE, payload),
                    CloseReason::ProtocolError,
                    Wrong::Close,
                )
            }
            10 => {
                let payload = random.pick(&[&[0xFF][..], b"\xED\xA0\x80", b"{\"\xE2\x82"]);
                (frames::frame(random, true, frames::TEXT, payload), CloseReason::InvalidUtf8, Wrong::Bounded)
            }
            11 => {
                let mut bytes = vec![0x81, 0xFF];
                bytes.extend((limits.message_bytes_max.max(0x1_0000) as u64 + 1).to_be_bytes());
                (masked(&bytes), CloseReason::TooBig, Wrong::Boundless)
            }
            12 => {
                let mut bytes = frames::frame(random, false, frames::TEXT, b"{");
                for _ in 0..limits.fragments_max {
                    bytes.extend(frames::frame(random, false, frames::CONTINUATION, b" "));
                }
                (bytes, CloseReason::TooBig, Wrong::Bounded)
            }
            13 => {
                (frames::frame(random, true, frames::BINARY, b"x"), CloseReason::Unsupported, Wrong::Bounded)
            }
            14 => (frames::frame(random, true, frames::TEXT, b"+65;{}"), CloseReason::TooBig, Wrong::Bounded),
            _ => {
                let mut bytes = frames::frame(random, true, frames::TEXT, b"+1;{}");
                bytes.extend(frames::frame(random, true, frames::TEXT, b"?"));
                (bytes, CloseReason::ProtocolError, Wrong::Bounded)
            }
        };
        self.put(&bytes, Some(Intent::Wrong(reason, wrong)), out);
        self.silent = wrong != Wrong::Bounded;
    }

    /// The server has read that many bytes more; `idle`: it held none before. Returns what they mean.
    pub fn consume(&mut self, bytes: usize, now_us: u64, idle: bool) -> Vec<Intent> {
        self.consumed += bytes as u64;
        let whole = self.whole;
        let mut means = Vec::new();
        while let Some(mark) = self.marks.pop_front_if(|mark| mark.end <= self.consumed) {
            if !matches!(mark.intent, Intent::Ping(_) | Intent::Pong) {
                self.whole = mark.end;
            }
            self.deafened |= matches!(mark.intent, Intent::Wrong(_, Wrong::Boundless));
            means.push(mark.intent);
        }
        if idle || self.whole != whole {
            self.began_us = now_us;
        }
        if idle || !means.is_empty() {
            self.began_late_us = now_us;
        }
        means
    }

    /// Whether the server has read the beginning of a message and not its end, as far as can be known.
    pub fn has_begun(&self) -> bool {
        self.begun_bytes() > 0
    }

    /// Bytes that the server may hold of a message.
    pub fn begun_bytes(&self) -> usize {
        (self.consumed - self.whole) as usize
    }

    /// A wrong frame that the server has read a part of: it may have noticed already.
    pub fn wrong_under_way(&self) -> Option<CloseReason> {
        match self.marks.front() {
            Some(Mark { begin, intent: Intent::Wrong(reason, _), .. }) if *begin < self.consumed => {
                Some(*reason)
            }
            _ => None,
        }
    }

    /// Bytes to the end of the next intent.
    pub fn to_next_mark(&self) -> usize {
        self.marks.front().map_or(usize::MAX, |mark| (mark.end - self.consumed) as usize)
    }
}
