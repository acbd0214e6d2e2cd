//! One connection on a whole shard, which gets arbitrary bytes in arbitrary pieces.
//!
//! The input is a `script::Script`: choices, the lengths of the pieces, and what the client sends. It holds that
//! - the answer to the same bytes is the same, byte for byte, and the connection ends in the same way, whether they
//!   come at once, in pieces, or one by one;
//! - the answer is a row of whole frames as a server may send them (RFC 6455 section 5), their text is JSON, and a
//!   close frame is the last; a second run, whose transport stalls and whose time passes, may end in half a frame;
//! - pings are answered in order, echoes are what was sent, and the close code is that of the first fault, all as
//!   [`crate::frames`] reads the bytes;
//! - what waits for a transport that stalls stays within its bounds, in every tick;
//! - the same holds, but for the sameness of runs, where the connection sets itself a pace and a filter, or has its
//!   messages put together: then every text is an array;
//! - with the connection goes all that it held: its rooms, its place, its bytes in the node's budget.

mod outside;
mod script;
mod world;

use crate::frames::{self, End, Seen};
use crate::json;
use fanwire::wire::FrameLimits;
use outside::{Frame, whole_frames};
use script::Script;
use world::{Ending, World};

/// One by one costs as many ticks as bytes: only of the first of a long input.
const SINGLE_BYTES_MAX: usize = 2048;

/// Checks all that is said above.
pub fn check(data: &[u8]) {
    let Some(script) = Script::read(data) else { return };
    let stream = script.stream();
    let whole = run(&script, &stream, &mut std::iter::repeat(usize::MAX));
    if script.may_be_held() {
        check_held(&script, &whole);
        return stalled(&script, &stream);
    }
    let pieces = run(&script, &stream, &mut script.pieces());
    assert_eq!(whole, pieces, "pieces of {:?}", script.pieces().take(20).collect::<Vec<_>>());
    if stream.len() <= SINGLE_BYTES_MAX {
        let single = run(&script, &stream, &mut std::iter::repeat(1));
        assert_eq!(whole, single, "one by one");
    }
    let (frames, rest) = whole_frames(&whole.bytes);
    assert!(rest.is_empty(), "the answer ends in {rest:02x?}");
    check_answer(&frames, &script);
    if !script.has_rates() {
        check_meaning(&frames, &script, &stream);
    }
    stalled(&script, &stream);
}

/// What one hears that may be held. When it hears that is up to its pace and its batches, so no other run need be the
/// same.
fn check_held(script: &Script<'_>, whole: &Ending) {
    let (frames, rest) = whole_frames(&whole.bytes);
    assert!(rest.is_empty(), "the answer ends in {rest:02x?}");
    check_answer(&frames, script);
}

/// Everything at a transport that takes all.
fn run(script: &Script<'_>, stream: &[u8], pieces: &mut dyn Iterator<Item = usize>) -> Ending {
    let mut world = World::new(script, usize::MAX);
    let mut rest = stream;
    while !rest.is_empty() {
        let piece = pieces.next().unwrap_or(usize::MAX).clamp(1, rest.len());
        world.receive(&rest[..piece]);
        world.end_tick();
        rest = &rest[piece..];
    }
    world.end()
}

/// The same where the transport stalls, time passes, and others publish, ask and drain in between.
fn stalled(script: &Script<'_>, stream: &[u8]) {
    let mut world = World::new(script, script.first_room());
    let mut rest = stream;
    let mut pieces = script.pieces();
    let mut events = script.events();
    while !rest.is_empty() {
        let piece = pieces.next().unwrap_or(usize::MAX).clamp(1, rest.len());
        world.receive(&rest[..piece]);
        rest = &rest[piece..];
        if let Some(event) = events.next() {
            world.event(event);
        }
        world.end_tick();
        world.assert_bounds(stream.len());
    }
    // Whatever waits goes out if the transport takes it.
    world.unblock();
    world.end_tick();
    let ending = world.end();
    let (frames, _) = whole_frames(&ending.bytes);
    check_answer(&frames, script);
}

/// What every answer is.
fn check_answer(frames: &[Frame<'_>], script: &Script<'_>) {
    for (index, frame) in frames.iter().enumerate() {
        match frame {
            Frame::Text(text) if !script.is_echo() => {
                let depth = json::assert_valid(text);
                let batches = !script.batch().is_zero();
                assert!(text.starts_with(if batches { "[{" } else { "{" }), "{text}");
                // Beside the data: the message, its own object in some, an array, and what a request is shown in.
                let around = 2 + u32::from(batches) + u32::from(script.is_routed());
                assert!(depth <= around + script.json_depth_max(), "{text}");
            }
            Frame::Text(_) | Frame::Pong(_) => {}
            Frame::Ping(payload) => assert!(payload.is_empty() && !script.is_echo(), "{payload:02x?}"),
            Frame::Binary(_) => assert!(script.is_echo(), "no dialect here has binary messages"),
            Frame::Close(code, _) => {
                assert_eq!(index + 1, frames.len(), "something follows the close frame");
                assert!(matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999), "close code {code}");
            }
        }
    }
}

/// What this answer is, by what the frames mean.
fn check_meaning(frames: &[Frame<'_>], script: &Script<'_>, stream: &[u8]) {
    let limits = script.limits();
    let (seen, end) = frames::read(stream, &FrameLimits { ..limits });
    let binary = seen.iter().position(|seen| matches!(seen, Seen::Binary(_))).filter(|_| !script.is_echo());
    let handled = &seen[..binary.unwrap_or(seen.len())];

    let pings =
        handled.iter().filter_map(|seen| if let Seen::Ping(bytes) = seen { Some(&bytes[..]) } else { None });
    let pongs =
        frames.iter().filter_map(|frame| if let Frame::Pong(bytes) = frame { Some(*bytes) } else { None });
    assert!(pings.eq(pongs), "pongs are not the pings");

    let close =
        frames.iter().find_map(|frame| if let Frame::Close(code, _) = frame { Some(*code) } else { None });
    let expected = match (binary, &end) {
        (Some(_), _) => Some(1003),
        (None, End::NeedMore) => None,
        (None, End::Header(error) | End::Frame(error)) => Some(error.close_code()),
        (None, End::Closed) => match seen.last() {
            Some(Seen::Close(code, _)) => Some(code.unwrap_or(1000)),
            other => panic!("closed by {other:?}"),
        },
    };
    assert_eq!(close, expected, "{end:?}");

    if script.is_echo() {
        let sent = handled.iter().filter_map(|seen| match seen {
            Seen::Text(text) => Some((true, text.as_bytes())),
            Seen::Binary(bytes) => Some((false, &bytes[..])),
            _ => None,
        });
        let echoed = frames.iter().filter_map(|frame| match frame {
            Frame::Text(text) => Some((true, text.as_bytes())),
            Frame::Binary(bytes) => Some((false, *bytes)),
            _ => None,
        });
        assert!(sent.eq(echoed), "the echo is not what was sent");
    }
}
