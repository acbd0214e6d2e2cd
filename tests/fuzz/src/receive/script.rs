//! What an input says: choices, pieces, events, and the bytes of the client.

use fanwire::config::{Act, Config, Endpoint, Past, Snapshot};
use fanwire::wire::FrameLimits;
use std::time::Duration;

/// An input of the target, read: `[choices][n][n lengths of pieces][stream]`.
pub struct Script<'a> {
    choices: u8,
    lengths: &'a [u8],
    body: &'a [u8],
}

/// Starts and ends of JSON texts, so that a mutation need not find them.
const TEMPLATES: [(&str, &str); 8] = [
    ("{\"type\":\"subscribe\",\"room\":\"", "\"}"),
    ("{\"type\":\"unsubscribe\",\"room\":\"", "\"}"),
    ("{\"type\":\"publish\",\"id\":1,\"room\":\"a\",\"data\":", "}"),
    ("{\"type\":\"publish\",\"room\":\"b\",\"data\":\"", "\"}"),
    ("{\"type\":\"broadcast\",\"id\":\"x\",\"data\":", "}"),
    ("{\"type\":\"ping\",\"id\":", "}"),
    ("{\"type\":\"job\",\"data\":", "}"),
    ("{", "}"),
];

impl<'a> Script<'a> {
    /// `None` where the bytes are too few.
    pub fn read(data: &'a [u8]) -> Option<Self> {
        let [choices, count, rest @ ..] = data else { return None };
        let (lengths, body) = rest.split_at_checked(usize::from(*count))?;
        Some(Self { choices: *choices, lengths, body })
    }

    /// Whether the connection is one of `/echo`.
    pub fn is_echo(&self) -> bool {
        self.choices & 1 != 0
    }

    /// Whether the connection came by an endpoint at which it may set a pace and a filter.
    pub fn is_routed(&self) -> bool {
        self.choices & 0x40 != 0 && !self.is_echo()
    }

    /// Time over which what it is sent is put together; zero: it is not.
    pub fn batch(&self) -> Duration {
        Duration::from_millis(if self.choices & 0x80 != 0 && !self.is_echo() { 700 } else { 0 })
    }

    /// Whether what it hears may depend on when it asks.
    pub fn may_be_held(&self) -> bool {
        self.is_routed() || !self.batch().is_zero()
    }

    /// Whether what is sent is bounded by rates.
    pub fn has_rates(&self) -> bool {
        self.variant() == 2
    }

    fn variant(&self) -> usize {
        usize::from(self.choices >> 2 & 3)
    }

    /// Bound of nesting.
    pub fn json_depth_max(&self) -> u32 {
        [64, 3, 8, 64][self.variant()]
    }

    /// The configuration of the shard.
    pub fn config(&self) -> Config {
        let variant = self.variant();
        let mut config = Config {
            deliver_to_sender: self.choices & 0x10 == 0,
            client_broadcast: Some(self.choices & 0x20 == 0),
            echo: true,
            ..Config::default()
        };
        let messages = [
            ("pace", Act::Pace),
            ("filter", Act::Filter),
            ("again", Act::Snapshot),
            ("job", Act::Forward),
            ("follow", Act::Join("{to}".to_owned())),
        ];
        let snapshot = Snapshot { room: "{id}".to_owned(), what: Past::History, kind: "past".to_owned() };
        config.endpoints = vec![Endpoint {
            messages: messages.map(|(kind, act)| (kind.to_owned(), act)).into(),
            snapshot: Some(snapshot),
            ..Endpoint::new("/{id}", "rooms")
        }];
        let limits = &mut config.limits;
        // The last is so large that memory given on a header's word alone is conspicuous.
        limits.message_bytes_max = [1024, 128, 4096, 64 << 20][variant];
        limits.fragments_max = [1024, 2, 16, 1024][variant];
        limits.json_depth_max = self.json_depth_max();
        limits.rooms_per_connection_max = [3, 1, 1000, 1000][variant];
        limits.outbox_bytes_max = [4096, 16 * 1024, 4096, 64 * 1024][variant];
        limits.outbox_messages_max = [8192, 3, 20, 8192][variant];
        limits.outboxes_bytes_max = 1 << 20;
        if self.has_rates() {
            (limits.messages_per_s, limits.messages_burst) = (1, 3);
            (limits.bytes_per_s, limits.bytes_burst) = (100, 500);
        }
        config
    }

    /// The bounds that the connection's frames are held to.
    pub fn limits(&self) -> FrameLimits {
        let limits = self.config().limits;
        if self.is_echo() {
            // What `/echo` documents.
            FrameLimits { message_bytes_max: 16 << 20, fragments_max: 65_537, compression: false }
        } else {
            FrameLimits {
                message_bytes_max: limits.message_bytes_max,
                fragments_max: limits.fragments_max,
                compression: false,
            }
        }
    }

    /// Lengths of the pieces that the stream comes in, without an end.
    pub fn pieces(&self) -> Box<dyn Iterator<Item = usize> + '_> {
        if self.lengths.is_empty() {
            return Box::new(std::iter::repeat(7));
        }
        Box::new(self.lengths.iter().cycle().map(|byte| usize::from(byte & 0x3F) + 1))
    }

    /// What happens between the pieces in the run that stalls, without an end.
    pub fn events(&self) -> impl Iterator<Item = u8> + '_ {
        self.lengths.iter().copied().cycle()
    }

    /// Bytes that the transport takes at first in the run that stalls.
    pub fn first_room(&self) -> usize {
        self.lengths.first().map_or(0, |byte| usize::from(*byte) * 8)
    }

    /// The client's bytes: as they stand, or as frames made of them.
    pub fn stream(&self) -> Vec<u8> {
        if self.choices & 2 != 0 {
            return self.body.to_vec();
        }
        let mut stream = Vec::new();
        let mut rest = self.body;
        while let [head, len, after @ ..] = rest {
            let (bytes, after) = after.split_at(usize::from(*len).min(after.len()));
            rest = after;
            frame(*head, bytes, &mut stream);
        }
        stream
    }
}

/// Appends a masked frame; `head` tells its kind.
fn frame(head: u8, bytes: &[u8], out: &mut Vec<u8>) {
    // Text more often than the others, as it leads further.
    let opcode = [0x1, 0x1, 0x1, 0x2, 0x0, 0x9, 0xA, 0x8][usize::from(head & 7)];
    let fin = if head & 0x80 == 0 { 0x80 } else { 0 };
    let mut payload = bytes.to_vec();
    if head & 0x40 != 0 && opcode == 0x1 {
        let (before, after) = TEMPLATES[usize::from(head >> 3 & 7)];
        payload = [before.as_bytes(), bytes, after.as_bytes()].concat();
    }
    out.push(fin | opcode);
    match payload.len() {
        len @ 0..126 => out.push(0x80 | len as u8),
        len => {
            out.push(0x80 | 126);
            out.extend((len as u16).to_be_bytes());
        }
    }
    let key = [head, bytes.len() as u8, 0x37, 0x00];
    out.extend(key);
    out.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
}
