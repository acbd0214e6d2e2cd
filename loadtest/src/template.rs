//! What is sent, and how it is found again in whatever envelope a server puts around it.
//!
//! The payload is a JSON object `{"fw":"fw!p=12;s=345;t=123456789;xxxx"}`. The receiver searches for
//! [`MARKER`], which holds no character that any JSON writer escapes, so it survives a server that
//! re-serializes the object or packs it into a string, and several messages in one frame are all found.

use std::io::Write as _;

use anyhow::{Result, bail};
use memchr::memmem::Finder;

/// Stands before the numbers of every message.
pub const MARKER: &str = "fw!p=";

/// In a template: the room's name.
pub const ROOM: &str = "{room}";

/// In a publish template: the length of the payload in bytes, decimal.
const PAYLOAD_BYTES: &str = "{payload_bytes}";

/// A payload of fewer bytes may have to be longer than asked for, so that its numbers fit: 10 digits for
/// the publisher, 10 for the sequence, 20 for the time.
pub const PAYLOAD_BYTES_SURE: usize = r#"{"fw":"fw!p=;s=;t=;"}"#.len() + 40;

/// What one message says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Number of the publisher, counted over all rooms.
    pub publisher: u32,
    /// Sequence number of that publisher, from 1.
    pub sequence: u32,
    /// Intended send time in nanoseconds of the run's clock.
    pub intended_ns: u64,
}

/// What a server asks above WebSocket's own pings, and the answer.
#[derive(Clone, Debug)]
pub struct Keepalive {
    /// A whole frame, or a whole line of one with its line end.
    pub ask: String,
    /// The frame that answers.
    pub answer: String,
    /// `ask` is a line.
    pub is_line: bool,
}

/// The texts of one protocol, `{room}` and `{payload}` not yet filled in.
#[derive(Clone, Debug)]
pub struct Templates {
    /// Frames that a member sends after the upgrade, in order.
    pub join: Vec<String>,
    /// For each frame of `join`, text that the server must have sent before; missing ones count as `None`.
    pub join_after: Vec<Option<String>>,
    /// Frame that leaves a room.
    pub leave: String,
    /// Frame that publishes; `{payload_bytes}` in it is the payload's length.
    pub publish: String,
    /// Text in the frame that acknowledges a join; `None` when the server sends none.
    pub joined_marker: Option<String>,
    /// Text in the frame that acknowledges a leave; `None` when the server sends none.
    pub left_marker: Option<String>,
    /// What the server asks to stay connected.
    pub keepalive: Option<Keepalive>,
}

impl Templates {
    /// The native protocol `rooms`.
    pub fn rooms() -> Self {
        Self {
            join: vec![r#"{"type":"subscribe","room":"{room}"}"#.into()],
            join_after: Vec::new(),
            leave: r#"{"type":"unsubscribe","room":"{room}"}"#.into(),
            publish: r#"{"type":"publish","room":"{room}","data":{payload}}"#.into(),
            joined_marker: Some(r#""subscribed""#.into()),
            left_marker: Some(r#""unsubscribed""#.into()),
            keepalive: None,
        }
    }

    /// No protocol: the upgrade joins, closing leaves, and what is sent is published as it is.
    pub fn none() -> Self {
        Self {
            join: Vec::new(),
            join_after: Vec::new(),
            leave: String::new(),
            publish: "{payload}".into(),
            joined_marker: None,
            left_marker: None,
            keepalive: None,
        }
    }

    /// The publish template for one room and payloads of `payload_bytes`, cut at `{payload}`.
    ///
    /// # Errors
    /// When the template has no `{payload}`.
    pub fn publish_parts(&self, room: &str, payload_bytes: usize) -> Result<(Vec<u8>, Vec<u8>)> {
        let text = fill_room(&self.publish, room).replace(PAYLOAD_BYTES, &payload_bytes.to_string());
        let Some((head, tail)) = text.split_once("{payload}") else {
            bail!("the publish template has no {{payload}}");
        };
        Ok((head.into(), tail.into()))
    }

    /// The length of a payload must be known before it is made.
    pub fn needs_payload_bytes(&self) -> bool {
        self.publish.contains(PAYLOAD_BYTES)
    }
}

/// Puts the room's name into a template.
pub fn fill_room(template: &str, room: &str) -> String {
    template.replace(ROOM, room)
}

/// The name of room number `index`; `prefix` keeps runs apart that share a server.
pub fn room_name(prefix: &str, index: u32) -> String {
    format!("{prefix}{index}")
}

/// Replaces `out` with a payload of `size_bytes`, or of what the numbers need when that is more.
pub fn render_payload(out: &mut Vec<u8>, stamp: Stamp, size_bytes: usize) {
    out.clear();
    // Writing to a vector cannot fail.
    let _ =
        write!(out, r#"{{"fw":"{MARKER}{};s={};t={};"#, stamp.publisher, stamp.sequence, stamp.intended_ns);
    let padded = size_bytes.saturating_sub(2).max(out.len());
    out.resize(padded, b'x');
    out.extend_from_slice(b"\"}");
}

/// Finds stamps in received messages.
pub struct StampFinder(Finder<'static>);

impl StampFinder {
    /// One for each thread: making it costs, searching does not.
    pub fn new() -> Self {
        Self(Finder::new(MARKER))
    }

    /// Calls `found` for every stamp in `message`.
    pub fn each(&self, mut message: &[u8], mut found: impl FnMut(Stamp)) {
        while let Some(at) = self.0.find(message) {
            message = &message[at + MARKER.len()..];
            if let Some(stamp) = parse_stamp(message) {
                found(stamp);
            }
        }
    }
}

/// Reads `12;s=345;t=123456789;`.
fn parse_stamp(text: &[u8]) -> Option<Stamp> {
    let (publisher, rest) = number(text, b";s=")?;
    let (sequence, rest) = number(rest, b";t=")?;
    let (intended_ns, _) = number(rest, b";")?;
    Some(Stamp {
        publisher: u32::try_from(publisher).ok()?,
        sequence: u32::try_from(sequence).ok()?,
        intended_ns,
    })
}

/// A decimal number and what follows `end`. Every copy is read by it, so it takes one pass.
fn number<'a, const N: usize>(text: &'a [u8], end: &[u8; N]) -> Option<(u64, &'a [u8])> {
    // Any 19 digits fit.
    let mut value = 0_u64;
    let mut digits = 0;
    while let Some(digit) = text.get(digits).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
        if digits == 19 {
            return None;
        }
        value = value * 10 + u64::from(digit);
        digits += 1;
    }
    let (found, rest) = text[digits..].split_first_chunk::<N>()?;
    (digits > 0 && found == end).then_some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { publisher: 12, sequence: 345, intended_ns: 123_456_789 };

    fn stamps(message: &[u8]) -> Vec<Stamp> {
        let mut found = Vec::new();
        StampFinder::new().each(message, |stamp| found.push(stamp));
        found
    }

    #[test]
    fn a_payload_has_its_size_and_is_json() {
        let mut out = Vec::new();
        render_payload(&mut out, STAMP, 200);
        assert_eq!(out.len(), 200);
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert!(value["fw"].as_str().unwrap().starts_with("fw!p=12;s=345;t=123456789;xxx"));
        render_payload(&mut out, STAMP, 1);
        assert_eq!(stamps(&out), [STAMP]);
    }

    #[test]
    fn stamps_are_found_in_any_envelope() {
        let mut payload = Vec::new();
        render_payload(&mut payload, STAMP, 80);
        let text = String::from_utf8(payload).unwrap();
        let escaped = serde_json::to_string(&text).unwrap();
        for message in [format!("42[\"m\",{text}]"), format!("{{\"d\":{escaped}}}"), text.clone()] {
            assert_eq!(stamps(message.as_bytes()), [STAMP], "{message}");
        }
        assert_eq!(stamps(format!("{text}\n{text}").as_bytes()), [STAMP, STAMP]);
    }

    #[test]
    fn broken_stamps_are_passed_over() {
        for text in [
            "fw!p=",
            "fw!p=1;s=2",
            "fw!p=;s=1;t=1;",
            "fw!p=99999999999;s=1;t=1;",
            "fw!p=1;s=x;t=1;",
            "fw!p=1;s=1;t=12345678901234567890;",
        ] {
            assert_eq!(stamps(text.as_bytes()), [], "{text}");
        }
    }

    #[test]
    fn the_publish_template_is_cut_at_the_payload() {
        let (head, tail) = Templates::rooms().publish_parts("r1", 100).unwrap();
        assert_eq!(head, br#"{"type":"publish","room":"r1","data":"#);
        assert_eq!(tail, b"}");
        let broken = Templates { publish: "x".into(), ..Templates::rooms() };
        assert!(broken.publish_parts("r1", 100).is_err());
        let counted =
            Templates { publish: "PUB {room} {payload_bytes}\n{payload}\n".into(), ..Templates::none() };
        assert!(counted.needs_payload_bytes() && !Templates::none().needs_payload_bytes());
        assert_eq!(counted.publish_parts("r1", 100).unwrap(), (b"PUB r1 100\n".to_vec(), b"\n".to_vec()));
    }

    #[test]
    fn the_longest_numbers_fit_the_sure_length() {
        let mut out = Vec::new();
        let stamp = Stamp { publisher: u32::MAX, sequence: u32::MAX, intended_ns: u64::MAX };
        render_payload(&mut out, stamp, PAYLOAD_BYTES_SURE);
        assert_eq!(out.len(), PAYLOAD_BYTES_SURE);
    }
}
