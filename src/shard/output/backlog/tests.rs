use super::*;
use crate::hub::Loss;
use crate::model::RoomName;
use crate::shard::fanout::bundle::Mark;
use crate::wire::TextAt;
use std::num::NonZeroU64;

fn frame(len: u8) -> Vec<u8> {
    let mut frame = vec![0x81, len];
    frame.extend((0..len).map(|byte| byte + 1));
    frame
}

fn frames(lens: &[u8]) -> Rc<Bundle> {
    side_by_side(lens.iter().map(|len| frame(*len)).collect())
}

/// A bundle of one message.
pub(super) fn one(frame: Vec<u8>) -> Rc<Bundle> {
    Rc::new(Bundle::one(frame, TextAt::None))
}

/// A bundle of messages.
pub(super) fn side_by_side(messages: Vec<Vec<u8>>) -> Rc<Bundle> {
    let mark = |end: &mut u32, message: &Vec<u8>| {
        *end += message.len() as u32;
        Some(Mark { end: *end, text_at: TextAt::None })
    };
    let marks = messages.iter().scan(0, mark).collect();
    Rc::new(Bundle::new(messages.concat(), marks))
}

/// Length of the frame at the start of `bytes`, which is neither masked nor cut off (RFC 6455 section 5.2).
pub(in crate::shard) fn frame_len(bytes: &[u8]) -> usize {
    match bytes[1] {
        126 => 4 + usize::from(u16::from_be_bytes([bytes[2], bytes[3]])),
        127 => 10 + bytes[2..10].iter().fold(0, |len, byte| len << 8 | usize::from(*byte)),
        len => 2 + usize::from(len),
    }
}

/// What such a frame carries.
pub(in crate::shard) fn payload(frame: &[u8]) -> &[u8] {
    match frame[1] {
        126 => &frame[4..],
        127 => &frame[10..],
        _ => &frame[2..],
    }
}

pub(super) fn name(room: u64) -> RoomName {
    RoomName::new(&format!("room {room}")).unwrap()
}

pub(super) fn key(key: u64) -> Loss {
    Loss::ByKey(NonZeroU64::new(key).unwrap())
}

/// A frame that says what it is: of a room, or nobody's (0), with a number.
pub(super) fn stamped(room: u64, number: usize, padding: usize) -> Vec<u8> {
    let text = format!("{room} {number} {}", "x".repeat(padding));
    [&[0x81, text.len() as u8], text.as_bytes()].concat()
}

/// The frame that tells a loss.
pub(super) fn told(name: &RoomName, lost: u64) -> Rc<Bundle> {
    let text = format!("{name} lost {lost}");
    one([&[0x81, text.len() as u8], text.as_bytes()].concat())
}

const WIDE: Bounds = Bounds { bytes_max: usize::MAX, frames_max: u32::MAX };

/// Takes everything, telling losses; the texts of the frames.
fn drain(backlog: &mut Backlog) -> Vec<String> {
    let stream = take_all(backlog);
    assert!(backlog.is_empty() && backlog.bytes() == 0 && backlog.frames() == 0, "{backlog:?}");
    texts(&stream)
}

/// Takes everything, telling losses; the bytes.
pub(super) fn take_all(backlog: &mut Backlog) -> Vec<u8> {
    let mut stream = Vec::new();
    loop {
        if let Some((name, lost)) = backlog.notice() {
            let bytes = told(name, lost);
            backlog.tell(bytes);
        }
        let Some(bytes) = backlog.front() else { break };
        let len = bytes.len();
        stream.extend_from_slice(bytes);
        backlog.advance(len, 0);
    }
    stream
}

fn texts(mut stream: &[u8]) -> Vec<String> {
    let mut texts = Vec::new();
    while !stream.is_empty() {
        let (frame, rest) = stream.split_at(frame_len(stream));
        texts.push(String::from_utf8(frame[2..].to_vec()).unwrap().trim_end_matches(['x', ' ']).to_owned());
        stream = rest;
    }
    texts
}

#[test]
fn what_is_charged_is_given_back() {
    let mut backlog = Backlog::new(5, 0);
    backlog.push(frames(&[10, 20]), 4);
    assert_eq!((backlog.bytes(), backlog.frames()), (charge(30), 2));
    assert_eq!(backlog.advance(8, 6), 8);
    assert_eq!((backlog.frames(), backlog.progress_ms), (1, 6));
    assert_eq!(backlog.advance(22, 7), charge(22));
    assert!(backlog.is_empty() && backlog.bytes() == 0 && backlog.frames() == 0);
}

#[test]
fn a_cut_keeps_the_rest_of_a_frame_that_has_begun() {
    let mut backlog = Backlog::new(0, 0);
    backlog.push(frames(&[10, 20]), 15);
    backlog.push(frames(&[30]), 0);
    let (dropped, given) = backlog.cut();
    assert_eq!((dropped, backlog.frames(), backlog.front().unwrap().len()), (1, 1, 19));
    assert_eq!(given + backlog.bytes(), charge(19) + charge(32));
}

#[test]
fn a_cut_at_a_border_drops_all() {
    let mut backlog = Backlog::new(0, 0);
    backlog.push(frames(&[10, 20]), 12);
    assert_eq!(backlog.cut().0, 1);
    assert!(backlog.is_empty() && backlog.bytes() == 0);
}

#[test]
fn a_frame_that_has_begun_survives_another_cut() {
    let mut backlog = Backlog::new(0, 0);
    backlog.push(frames(&[10]), 3);
    backlog.cut();
    assert_eq!(backlog.cut(), (0, 0));
    assert_eq!(backlog.front().unwrap(), &frame(10)[3..]);
    backlog.advance(1, 0);
    assert_eq!(backlog.frames(), 1);
}

#[test]
fn answers_go_after_the_frame_that_has_begun_and_before_the_rest() {
    let mut backlog = Backlog::new(0, 0);
    backlog.push(frames(&[10, 20]), 3);
    backlog.push_ahead(one(stamped(0, 1, 0)));
    backlog.push_ahead(one(stamped(0, 2, 0)));
    assert_eq!(backlog.front().unwrap(), &frame(10)[3..]);
    backlog.advance(4, 0);
    assert_eq!(backlog.front().unwrap(), &frame(10)[7..]);
    backlog.advance(5, 0);
    assert_eq!(texts(backlog.front().unwrap()), ["0 1"]);
    backlog.advance(2, 0);
    let begun = backlog.front().unwrap().len();
    backlog.advance(begun, 0);
    assert_eq!(texts(backlog.front().unwrap()), ["0 2"]);
    let len = backlog.front().unwrap().len();
    backlog.advance(len, 0);
    assert_eq!(backlog.front().unwrap(), frame(20));
}

#[test]
fn the_oldest_of_the_room_go_and_their_number_is_told_in_their_place() {
    let mut backlog = Backlog::new(0, 0);
    for number in 0..4 {
        backlog.push_lossy(one(stamped(7, number, 0)), 7, &name(7), Loss::Oldest);
        backlog.push(one(stamped(0, number, 0)), 0);
    }
    let bounds = Bounds { frames_max: backlog.frames() - 1, ..WIDE };
    let made = backlog.make_place(5, 7, Loss::Oldest, false, bounds);
    assert_eq!((made.dropped, made.fits), (2, true));
    assert_eq!(drain(&mut backlog), ["room 7 lost 2", "0 0", "0 1", "7 2", "0 2", "7 3", "0 3"]);
}

#[test]
fn the_room_of_which_most_waits_gives_way_first() {
    let mut backlog = Backlog::new(0, 0);
    backlog.push_lossy(one(stamped(7, 0, 0)), 7, &name(7), Loss::Oldest);
    for number in 0..4 {
        backlog.push_lossy(one(stamped(8, number, 20)), 8, &name(8), Loss::Oldest);
    }
    let made = backlog.make_place(5, 7, Loss::Oldest, false, Bounds { frames_max: 3, ..WIDE });
    assert_eq!((made.dropped, made.fits), (3, true));
    assert_eq!(drain(&mut backlog), ["7 0", "room 8 lost 3", "8 3"]);
}

#[test]
fn as_much_gives_way_as_there_is() {
    let mut backlog = Backlog::new(0, 0);
    backlog.push(one(stamped(0, 0, 0)), 0);
    for number in 0..3 {
        backlog.push_lossy(one(stamped(7, number, 0)), 7, &name(7), Loss::Oldest);
        backlog.push_lossy(one(stamped(8, number, 0)), 8, &name(8), Loss::Oldest);
    }
    let made = backlog.make_place(5, 7, Loss::Oldest, false, Bounds { frames_max: 3, ..WIDE });
    assert_eq!((made.dropped, made.fits), (5, true));
    assert!(!backlog.make_place(5, 7, Loss::Oldest, false, Bounds { frames_max: 1, ..WIDE }).fits);
    assert_eq!(drain(&mut backlog), ["0 0", "room 7 lost 3", "room 8 lost 3"]);
}

#[test]
fn a_frame_that_has_begun_is_not_lost() {
    let mut backlog = Backlog::new(0, 0);
    for number in 0..3 {
        backlog.push_lossy(one(stamped(7, number, 0)), 7, &name(7), key(1 + number as u64));
    }
    backlog.advance(3, 0);
    assert_eq!(backlog.make_place(1, 7, key(1), false, WIDE).conflated, 0);
    while backlog.drop_any().is_some() {}
    assert_eq!(backlog.front().unwrap(), &stamped(7, 0, 0)[3..]);
    let rest = backlog.front().unwrap().len();
    backlog.advance(rest, 0);
    assert_eq!(drain(&mut backlog), ["room 7 lost 2"]);
}

#[test]
fn the_newest_of_each_key_is_what_waits() {
    let mut backlog = Backlog::new(0, 0);
    let mut most = 0;
    for number in 0..10_000 {
        let loss = key(1 + number as u64 % 3);
        let made = backlog.make_place(8, 7, loss, false, WIDE);
        assert_eq!(made.conflated, u32::from(number >= 3));
        backlog.push_lossy(one(stamped(7, number, 0)), 7, &name(7), loss);
        most = most.max(backlog.queue.len());
    }
    assert!(backlog.frames() == 3 && most < 100, "{most} entries for 3 frames");
    assert_eq!(drain(&mut backlog), ["room 7 lost 9997", "7 9997", "7 9998", "7 9999"]);
}

#[test]
fn a_notice_under_way_is_not_counted_on() {
    let mut backlog = Backlog::new(0, 0);
    for number in 0..3 {
        backlog.push_lossy(one(stamped(7, number, 0)), 7, &name(7), Loss::Oldest);
    }
    backlog.drop_any();
    let bytes = backlog.notice().map(|(name, lost)| told(name, lost)).unwrap();
    backlog.tell(bytes);
    backlog.advance(1, 0);
    backlog.drop_any();
    let begun = backlog.front().unwrap().len();
    backlog.advance(begun, 0);
    assert_eq!(drain(&mut backlog), ["room 7 lost 1", "7 2"]);
}

#[test]
fn what_is_hastened_keeps_its_order() {
    let mut backlog = Backlog::new(0, 0);
    backlog.push(side_by_side(vec![stamped(0, 0, 0), stamped(0, 1, 0)]), 2);
    backlog.push_ahead(one(stamped(0, 100, 0)));
    for number in 0..3 {
        backlog.push_lossy(one(stamped(7, number, 0)), 7, &name(7), Loss::Oldest);
        backlog.push_lossy(one(stamped(8, number, 0)), 8, &name(8), Loss::Oldest);
    }
    backlog.push(one(stamped(0, 2, 0)), 0);
    backlog.drop_any();
    let before = backlog.bytes();
    let (charged, given) = backlog.hasten(7, told);
    assert_eq!(backlog.bytes(), before + charged - given);
    backlog.push_ahead(one(stamped(0, 101, 0)));
    backlog.advance(backlog.front().unwrap().len(), 0);
    let order = ["0 100", "room 7 lost 1", "7 1", "7 2", "0 2", "0 101", "8 0", "8 1", "8 2"];
    assert_eq!(drain(&mut backlog), order);
}

#[test]
fn short_messages_are_sent_together_and_long_ones_are_not_copied() {
    let mut backlog = Backlog::new(0, 0);
    backlog.push(side_by_side(vec![stamped(0, 0, 0), stamped(0, 1, 0)]), 2);
    (2..5000).for_each(|number| backlog.push_ahead(one(stamped(0, number, 0))));
    backlog.push_lossy(one(stamped(7, 5000, 0)), 7, &name(7), Loss::Oldest);
    let (mut gathered, mut stream, mut calls) = (Vec::new(), Vec::new(), 0);
    while let Some(bytes) = backlog.next(true, &mut gathered) {
        stream.extend_from_slice(bytes);
        let len = bytes.len();
        backlog.advance_all(len, 0);
        calls += 1;
    }
    assert!(calls <= 2 + stream.len() / GATHER_MAX, "{calls} calls");
    let order: Vec<_> = [0].into_iter().chain(2..5000).chain([1, 5000]).collect();
    let stream = [&stamped(0, 0, 0)[..2], &stream].concat();
    let numbers: Vec<usize> =
        texts(&stream).iter().map(|text| text.split(' ').nth(1).unwrap().parse().unwrap()).collect();
    assert_eq!(numbers, order);
    // One that is long enough, and what follows it.
    let long = one([&[0x82, 126, 0x40, 0], &[0; 0x4000][..]].concat());
    backlog.push_ahead(long.clone());
    backlog.push_ahead(one(stamped(0, 1, 0)));
    assert_eq!(backlog.next(true, &mut gathered).unwrap().as_ptr(), long.bytes().as_ptr());
    // What waits for its time is left.
    let mut held = Backlog::held(0);
    held.push_ahead(one(stamped(0, 1, 0)));
    held.push_ahead(one(stamped(0, 2, 0)));
    held.push(one(stamped(0, 3, 0)), 0);
    assert_eq!(held.next(false, &mut gathered).unwrap(), [stamped(0, 1, 0), stamped(0, 2, 0)].concat());
}
