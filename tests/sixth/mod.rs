//! A dialect that no client speaks, with all that a dialect can have and those of the documents have not: a state,
//! binary messages both ways, a heartbeat, first and last words, several requests in a message, and an answer to only one
//! message in two. It is in no table of the server: [`register`] is the line that adds it.
//!
//! Requests, answers and publications are those of `rooms`, behind a first character.
//!
//! | client to server | |
//! |---|---|
//! | `=REQUEST` | a request |
//! | `&REQUEST` and more, each on its line | several requests |
//! | `+N;REQUEST` and N binary messages | a request whose `data` is the bytes of these |
//! | `?` | the second, fourth and so on are answered with `!` |
//! | binary `03` | the answer to a beat |
//!
//! | server to client | |
//! |---|---|
//! | `oID` | the first words: the connection's id |
//! | `=ANSWER` | an answer, or a publication without data |
//! | `+PUBLICATION` and a binary message | a publication with [`PLACE`] for its data, and its data |
//! | binary `02` | a beat |
//! | `xREASON` | the last words before a close frame |

use fanwire::dialect::{
    self, Attached, DecodeLimits, Dialect, DialectSpec, Heartbeat, Misplaced, Opening, Payload, Rejected,
    Rooms, Session, SessionLimits, Step,
};
use fanwire::model::{Answer, CloseReason, Command, DialectId, Publication, Refusal};
use fanwire::wire::{Layout, Parts};
use std::collections::VecDeque;

/// What stands for the data in the text of a publication.
pub const PLACE: &str = r#"{"_placeholder":0}"#;

/// A beat, and the answer to it.
pub const BEAT: &[u8] = &[2];
pub const BEAT_ANSWER: &[u8] = &[3];

static SPEC: DialectSpec = DialectSpec {
    name: "sixth",
    codec: &Sixth,
    greeting_room: "chat",
    greeting_join: r#"={"type":"subscribe","room":"chat"}"#,
    reserved: &["sixth_sense"],
};

/// Adds the dialect to those of the process.
pub fn register() -> DialectId {
    dialect::add(&SPEC)
}

struct Sixth;

impl Dialect for Sixth {
    fn decode<'a>(&self, text: &'a str, limits: &DecodeLimits) -> Result<Command<'a>, Rejected<'a>> {
        Rooms.decode(text.trim_start_matches(['=', '&']), limits)
    }

    fn begin(&self, opening: &Opening) -> Option<Box<dyn Session>> {
        let beats = !opening.ping_interval.is_zero();
        let (interval, timeout) = (opening.ping_interval, opening.pong_wait);
        Some(Box::new(State {
            first: format!("o{}", opening.id),
            last: String::new(),
            heartbeat: beats.then_some(Heartbeat { interval, timeout }),
            attached: Attached::default(),
            current: String::new(),
            waiting: VecDeque::new(),
            asked: false,
        }))
    }

    fn delivers_to_sender(&self) -> bool {
        true
    }

    fn publishes_unjoined(&self) -> bool {
        false
    }

    fn encode_publication(&self, publication: &Publication<'_>, out: &mut Vec<u8>) -> Layout {
        let Some(data) = publication.data else {
            out.push(b'=');
            return Rooms.encode_publication(publication, out);
        };
        let mut parts = Parts::new(out);
        parts.text(|out| {
            out.push(b'+');
            Rooms.encode_publication(&Publication { data: Some(PLACE), ..*publication }, out);
        });
        parts.binary(data.as_bytes());
        parts.finish()
    }

    fn encode_answer(&self, answer: &Answer<'_>, unix_ms: u64, out: &mut Vec<u8>) -> Layout {
        let start = out.len();
        out.push(b'=');
        Rooms.encode_answer(answer, unix_ms, out);
        if out.len() == start + 1 {
            out.truncate(start);
        }
        Layout::Text
    }
}

/// What is kept of a connection.
#[derive(Debug)]
struct State {
    first: String,
    last: String,
    heartbeat: Option<Heartbeat>,
    attached: Attached,
    /// The request that the present step is about, where it is none of a received message's own bytes.
    current: String,
    /// Requests behind it.
    waiting: VecDeque<String>,
    /// A `?` is not answered yet.
    asked: bool,
}

impl Session for State {
    fn open(&mut self) -> Option<Payload<'_>> {
        Some(Payload::Text(&self.first))
    }

    fn receive<'a>(&'a mut self, message: Payload<'a>, limits: &SessionLimits) -> Option<Step<'a>> {
        if self.attached.is_awaited() {
            return match self.attached.add(message, limits) {
                Ok(false) => None,
                Ok(true) => Some(self.whole(limits)),
                Err(misplaced) => Some(close(misplaced)),
            };
        }
        let text = match message {
            Payload::Binary(bytes) if bytes == BEAT_ANSWER => return Some(Step::Alive),
            Payload::Binary(_) => return Some(close(Misplaced::Unannounced)),
            Payload::Text(text) => text,
        };
        match text.split_at_checked(1).unwrap_or(("", text)) {
            ("=", request) => Some(request_step(request, limits)),
            ("&", requests) => {
                let mut requests = requests.split('\n');
                let first = requests.next().unwrap_or_default();
                self.waiting = requests.map(str::to_owned).collect();
                Some(request_step(first, limits))
            }
            ("+", announced) => self.announced(announced, limits),
            ("?", "") => {
                self.asked = !self.asked;
                (!self.asked).then_some(Step::Say(Payload::Text("!")))
            }
            _ => Some(refused(text, Refusal::InvalidJson)),
        }
    }

    fn next(&mut self, limits: &SessionLimits) -> Option<Step<'_>> {
        self.current = String::new();
        self.current = self.waiting.pop_front()?;
        Some(request_step(&self.current, limits))
    }

    fn held_bytes(&self) -> usize {
        let waiting: usize = self.waiting.iter().map(|text| text.capacity().max(1)).sum();
        self.attached.held_bytes() + self.current.capacity() + waiting
    }

    fn heartbeat(&self) -> Option<Heartbeat> {
        self.heartbeat
    }

    fn beat(&mut self) -> Option<Payload<'_>> {
        Some(Payload::Binary(BEAT))
    }

    fn farewell(&mut self, reason: CloseReason) -> Option<Payload<'_>> {
        self.last = format!("x{}", reason.label());
        Some(Payload::Text(&self.last))
    }
}

impl State {
    /// `N;REQUEST`, which N binary messages follow.
    fn announced<'a>(&'a mut self, announced: &'a str, limits: &SessionLimits) -> Option<Step<'a>> {
        let parsed = announced.split_once(';').and_then(|(n, text)| Some((n.parse::<usize>().ok()?, text)));
        let Some((count, request)) = parsed.filter(|(count, _)| *count > 0) else {
            return Some(refused(announced, Refusal::InvalidJson));
        };
        self.attached.begin(request, count, limits).err().map(close)
    }

    /// The request whose last binary message has come.
    fn whole(&mut self, limits: &SessionLimits) -> Step<'_> {
        let head = self.attached.text().trim_end().trim_end_matches('}');
        let data = String::from_utf8_lossy(self.attached.bytes());
        self.current = format!("{head},\"data\":{data}}}");
        self.attached.clear();
        request_step(&self.current, limits)
    }
}

fn request_step<'a>(text: &'a str, limits: &SessionLimits) -> Step<'a> {
    match Rooms.decode(text, &limits.decode) {
        Ok(command) => Step::Command { command, text },
        Err(rejected) => Step::Refused { rejected, text },
    }
}

fn refused(text: &str, refusal: Refusal) -> Step<'_> {
    Step::Refused { rejected: Rejected { refusal, id: None }, text }
}

fn close<'a>(misplaced: Misplaced) -> Step<'a> {
    Step::Close { reason: misplaced.reason(), text: misplaced.text() }
}
