//! One connection as the model knows it: what it is, and what it must hear.

use super::bucket::Bucket;
use super::frames::{self, Frame};
use super::ordered::{Joined, Seen, Told, Welcome};
use super::speech;
use super::stream::Stream;
use fanwire::model::{CloseReason, ConnectionId};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::rc::Rc;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Open,
    Closing(CloseReason),
    Gone,
}

/// A frame that a connection must be sent.
#[derive(Debug)]
pub struct Due {
    pub what: What,
    /// Whether it must come, or only may.
    pub sure: bool,
}

#[derive(Debug)]
pub enum What {
    /// A publication.
    Published(Rc<str>),
    /// An answer.
    Text(Rc<str>),
    /// The answer to a join: a number between two texts, within bounds; perhaps a place in an order after it.
    Joined {
        before: String,
        after: String,
        low: u32,
        high: u32,
        room: usize,
        is_new: bool,
        /// Whether recovery was asked.
        recovers: bool,
        /// Where the room remembers.
        welcome: Option<Welcome>,
    },
    /// The answer to a leave, and what the membership that it ends must have brought.
    Left {
        text: String,
        room: usize,
        left: Option<Option<Joined>>,
    },
    /// Who is in a room, in order, all of them for sure or not.
    Present {
        room: usize,
        names: Vec<String>,
        id: Option<String>,
        unix_ms: u64,
        exact: bool,
    },
    /// Something said by an echo.
    Echoed {
        opcode: u8,
        payload: Vec<u8>,
    },
    Pong(Vec<u8>),
    Close {
        code: u16,
    },
}

/// A connection.
#[derive(Debug)]
pub struct Peer {
    pub site: usize,
    pub ip: Option<IpAddr>,
    pub id: ConnectionId,
    /// The tenant that it knows, by number.
    pub tenant: Option<usize>,
    pub name: String,
    pub state: State,
    /// Found closed after the call that is being told.
    pub limbo: bool,
    pub rooms: Vec<usize>,
    pub due: VecDeque<Due>,
    /// Frames and bytes ever owed, but for pings.
    pub owed_frames: u64,
    pub owed_bytes: u64,
    pub opened_us: u64,
    pub received_us: u64,
    pub message_us: u64,
    pub closing_us: u64,
    /// The peer's close frame, or something against the rules, came after ours.
    pub peer_done: bool,
    /// Frames of the backlog may be missing before the close frame.
    pub cut: bool,
    /// What was on its way at the end may be missing.
    pub tail_lost: bool,
    pub messages: Bucket,
    pub bytes: Bucket,
    pub strikes: u32,
    /// When it became a receiver of each source.
    pub since: Vec<u64>,
    /// Hears its own messages and nothing else.
    pub echo: bool,
    /// Speaks the sixth dialect: its hints, and when it last answered a beat.
    pub sixth: bool,
    pub hints: u64,
    pub answered_us: u64,
    /// In worlds of streams: what it must hear, by source.
    pub streams: Vec<Stream>,
    /// Its memberships of rooms that remember, and the last ones of one that is closed.
    pub joined: Vec<Option<Joined>>,
    /// How far it has heard those rooms.
    pub seen: Vec<Option<Seen>>,
    /// A bound of what waits for it may have been passed.
    pub pressed: bool,
    /// Bytes and frames that may wait for it at the present call.
    pub waiting: (usize, usize),
}

impl Peer {
    /// A frame has been heard that was not sure to come, or the next one that is the same: what is published twice within
    /// a millisecond cannot be told apart.
    pub fn confuse(&mut self, heard: &Due, frame: &Frame) {
        if heard.sure {
            return;
        }
        let possible = self.due.iter_mut().find(|due| due.sure || due.what.is(frame));
        if let Some(same) = possible.filter(|due| due.what.is(frame)) {
            same.sure = false;
        }
    }

    /// Where an answer is due that comes before publications older than it: these may wait for a slow reader while
    /// answers do not, but for the one that ends a membership of their room.
    pub fn ahead(&self, frame: &Frame) -> Option<usize> {
        let answers =
            || self.due.iter().enumerate().filter(|(_, due)| !matches!(due.what, What::Published(_)));
        let (position, _) = answers().find(|(_, due)| due.sure || due.what.is(frame))?;
        if position == 0 || frame.opcode == frames::CLOSE || !self.due[position].what.is(frame) {
            return None;
        }
        let text = std::str::from_utf8(&frame.payload).unwrap_or_default();
        let left =
            text.strip_prefix(r#"{"type":"unsubscribed","#).and_then(|rest| rest.split(",\"data\"").next());
        let is_of_it = |due: &Due| {
            let text = if let What::Published(text) = &due.what { text } else { "" };
            due.sure && left.is_some_and(|room| text.contains(room))
        };
        (!self.due.range(..position).any(is_of_it)).then_some(position)
    }
}

impl What {
    /// What the answer to a join says, if it is one.
    pub fn told(&self, payload: &[u8]) -> Option<Told> {
        let Self::Joined { before, after, .. } = self else { return None };
        let text = std::str::from_utf8(payload).ok()?;
        Told::parse(text.strip_prefix(before.as_str())?.strip_suffix(after.as_str())?)
    }

    /// Whether this is what came.
    pub fn is(&self, Frame { opcode, payload, .. }: &Frame) -> bool {
        match self {
            Self::Published(text) | Self::Text(text) => *opcode == frames::TEXT && payload == text.as_bytes(),
            Self::Pong(sent) => *opcode == frames::PONG && payload == sent,
            Self::Close { code } => {
                *opcode == frames::CLOSE
                    && payload.get(..2) == Some(&code.to_be_bytes())
                    && std::str::from_utf8(&payload[2..]).is_ok()
            }
            Self::Joined { low, high, recovers, welcome, .. } => {
                let fits = |told: &Told| {
                    (*low..=*high).contains(&told.count)
                        && told.recovered.is_some() == *recovers
                        && (welcome.is_some() || (told.position.is_none() && told.recovered != Some(true)))
                };
                *opcode == frames::TEXT && self.told(payload).as_ref().is_some_and(fits)
            }
            Self::Left { text, .. } => *opcode == frames::TEXT && payload == text.as_bytes(),
            Self::Echoed { opcode: same, payload: said } => opcode == same && payload == said,
            Self::Present { room, names, id, unix_ms, exact } => {
                *opcode == frames::TEXT
                    && speech::is_presence(payload, *room, names, id.as_deref(), *unix_ms, *exact)
            }
        }
    }
}

/// The code that a close frame must carry, by the document.
pub fn code(reason: CloseReason) -> u16 {
    match reason {
        CloseReason::PeerClosed | CloseReason::Done => 1000,
        CloseReason::TransportLost => 1006,
        CloseReason::ProtocolError => 1002,
        CloseReason::Unsupported => 1003,
        CloseReason::InvalidUtf8 => 1007,
        CloseReason::TooBig => 1009,
        CloseReason::ShuttingDown => 1001,
        CloseReason::InputsFull => 1013,
        CloseReason::Idle | CloseReason::MessageTimeout => 4408,
        CloseReason::RateLimited => 4429,
        CloseReason::SlowConsumer => 4430,
        CloseReason::Disconnected => 4440,
        CloseReason::Unauthenticated => 4401,
        CloseReason::Forbidden => 4403,
    }
}
