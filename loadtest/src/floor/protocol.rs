//! The texts of the `rooms` preset, read by position: anything else is passed over.

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Join this room.
    Join(&'a [u8]),
    /// Leave this room.
    Leave(&'a [u8]),
    /// Send the whole text to this room.
    Publish(&'a [u8]),
}

const JOIN: &[u8] = br#"{"type":"subscribe","room":""#;
const LEAVE: &[u8] = br#"{"type":"unsubscribe","room":""#;
const PUBLISH: &[u8] = br#"{"type":"publish","room":""#;

/// Reads a request.
pub fn read(text: &[u8]) -> Option<Request<'_>> {
    let room = |head: &[u8]| {
        let rest = text.strip_prefix(head)?;
        memchr::memchr(b'"', rest).map(|end| &rest[..end])
    };
    // The letter after `{"type":"` tells which.
    match *text.get(9)? {
        b'p' => room(PUBLISH).map(Request::Publish),
        b's' => room(JOIN).map(Request::Join),
        b'u' => room(LEAVE).map(Request::Leave),
        _ => None,
    }
}

/// The text that acknowledges a join or leave.
pub fn acknowledge(kind: &str, room: &[u8]) -> Vec<u8> {
    let mut text = format!(r#"{{"type":"{kind}","room":""#).into_bytes();
    text.extend_from_slice(room);
    text.extend_from_slice(br#""}"#);
    text
}

/// Makes `text` fill a frame of `frame_bytes`, header included, by cutting it or adding spaces.
/// 0 leaves it as it is. Frames of 128, 129 and 65,540 to 65,545 bytes do not exist; they come out shorter.
pub fn fit(text: &mut Vec<u8>, frame_bytes: usize) {
    if frame_bytes > 0 {
        let header = match frame_bytes {
            0..=127 => 2,
            128..=65_539 => 4,
            _ => 10,
        };
        text.resize(frame_bytes.saturating_sub(header), b' ');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{opcode, push_unmasked};
    use crate::template::{Templates, fill_room};

    #[test]
    fn the_presets_texts_are_understood() {
        let templates = Templates::rooms();
        let of = |template: &str| fill_room(template, "r 1");
        assert_eq!(read(of(&templates.join[0]).as_bytes()), Some(Request::Join(b"r 1")));
        assert_eq!(read(of(&templates.leave).as_bytes()), Some(Request::Leave(b"r 1")));
        assert_eq!(read(of(&templates.publish).as_bytes()), Some(Request::Publish(b"r 1")));
        for text in ["", "{", r#"{"type":"ping"}"#, r#"{"type":"subscribe","room":"open"#] {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn the_acknowledgements_hold_the_presets_markers() {
        let templates = Templates::rooms();
        for (kind, marker) in
            [("subscribed", templates.joined_marker), ("unsubscribed", templates.left_marker)]
        {
            let text = String::from_utf8(acknowledge(kind, b"r")).unwrap();
            assert!(text.contains(&marker.unwrap()), "{text}");
        }
    }

    #[test]
    fn frames_get_the_size_asked_for() {
        for size in [100, 127, 130, 1_000, 65_539, 65_600] {
            for length in [50, 500, 70_000] {
                let (mut text, mut frame) = (vec![b'x'; length], Vec::new());
                fit(&mut text, size);
                push_unmasked(&mut frame, opcode::TEXT, &text);
                assert_eq!(frame.len(), size, "{length}");
            }
        }
    }
}
