//! The backlog compared with a model that is too simple to be wrong.

use super::tests::{frame_len, key, name, one, side_by_side, stamped, take_all, told};
use super::*;
use crate::hub::Loss;
use proptest::prelude::*;

/// What the backlog is, by vectors alone: no index, no holes, no chunks of several frames but their numbers.
#[derive(Default)]
struct Model {
    ahead: Vec<Waits>,
    queue: Vec<Waits>,
    stream: Vec<u8>,
    chunks: usize,
}

#[derive(Clone)]
struct Waits {
    bytes: Vec<u8>,
    sent: usize,
    chunk: usize,
    room: u64,
    loss: Loss,
    /// Of a notice, which has no bytes.
    lost: u64,
}

impl Model {
    fn add(&mut self, ahead: bool, frames: &[Vec<u8>], room: u64, loss: Loss) {
        self.chunks += 1;
        let line = if ahead { &mut self.ahead } else { &mut self.queue };
        line.extend(frames.iter().map(|bytes| Waits {
            bytes: bytes.clone(),
            sent: 0,
            chunk: self.chunks,
            room,
            loss,
            lost: 0,
        }));
    }

    fn same(&self, room: u64, loss: Loss) -> Option<usize> {
        self.queue.iter().position(|w| w.room == room && w.sent == 0 && w.loss == loss)
    }

    /// The oldest of the room of which most waits that may go.
    fn oldest(&self) -> Option<usize> {
        let may_go = |w: &&Waits| w.loss != Loss::Never && w.sent == 0;
        let bytes = |room: u64| -> usize {
            let of_room = self.queue.iter().filter(may_go).filter(|w| w.room == room);
            of_room.map(|w| charge(w.bytes.len()) + LOSSY_BYTES).sum()
        };
        let most = self.queue.iter().filter(may_go).map(|w| bytes(w.room)).max()?;
        self.queue.iter().position(|w| may_go(&w) && bytes(w.room) == most)
    }

    fn lose(&mut self, at: usize) {
        let room = self.queue[at].room;
        let notice = self.queue.iter().position(|w| w.lost > 0 && w.room == room);
        let lost = 1 + notice.map_or(0, |notice| self.queue[notice].lost);
        let told = Waits { bytes: Vec::new(), lost, loss: Loss::Never, ..self.queue[at].clone() };
        let notice_at = notice.unwrap_or(at);
        self.queue[at.min(notice_at)] = told;
        if notice.is_some() {
            self.queue.remove(at.max(notice_at));
        }
    }

    fn take(&mut self, mut count: usize) {
        while count > 0 {
            let begun = self.queue.first().is_some_and(|w| w.sent > 0);
            let line = if begun || self.ahead.is_empty() { &mut self.queue } else { &mut self.ahead };
            let Some(next) = line.first_mut() else { return };
            if next.lost > 0 {
                next.bytes = told(&name(next.room), next.lost).bytes().to_vec();
                (next.room, next.lost) = (0, 0);
            }
            let part = count.min(next.bytes.len() - next.sent);
            self.stream.extend_from_slice(&next.bytes[next.sent..next.sent + part]);
            next.sent += part;
            count -= part;
            if next.sent == next.bytes.len() {
                line.remove(0);
            }
        }
    }

    fn hasten(&mut self, room: u64) {
        let begun = self.queue.first().filter(|w| w.sent > 0).map(|w| w.chunk);
        let (mut moved, kept) = (Vec::new(), Vec::new());
        let queue = std::mem::replace(&mut self.queue, kept);
        for mut waits in queue {
            let is_kept = waits.room != 0 && waits.room != room && waits.sent == 0;
            if is_kept {
                self.queue.push(waits);
                continue;
            }
            if waits.lost > 0 {
                waits.bytes = told(&name(waits.room), waits.lost).bytes().to_vec();
                (waits.room, waits.lost) = (0, 0);
            }
            waits.loss = Loss::Never;
            moved.push(waits);
        }
        let (first, last): (Vec<_>, Vec<_>) = moved.into_iter().partition(|w| Some(w.chunk) == begun);
        self.ahead.splice(0..0, first);
        self.ahead.extend(last);
    }

    fn frames(&self) -> usize {
        self.ahead.iter().chain(&self.queue).filter(|w| w.lost == 0).count()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Plain(usize),
    Answer,
    Lossy(u64, Loss, usize),
    Taken(usize),
    Hasten(u64),
    DropAny,
}

/// A message of one text frame, or, where its number is even, with two binary frames that belong to it.
fn several(room: u64, number: usize, padding: usize) -> Vec<u8> {
    let mut message = stamped(room, number, padding);
    if number.is_multiple_of(2) {
        message.extend([0x82, 2, 7, number as u8, 0x82, 1, number as u8]);
    }
    message
}

/// Whether frames that belong together stand together.
fn are_whole(mut stream: &[u8]) -> bool {
    let mut follow = 0;
    while !stream.is_empty() {
        let (frame, rest) = stream.split_at(frame_len(stream));
        let begins = frame[0] == 0x81;
        if begins != (follow == 0) {
            return false;
        }
        let text = std::str::from_utf8(&frame[2..]).unwrap_or_default();
        // `ROOM NUMBER ...`; the notice of a loss has other words.
        let number: Option<usize> = text.split(' ').nth(1).and_then(|number| number.parse().ok());
        let is_notice = text.contains(" lost ");
        follow = match (begins, number) {
            (true, Some(number)) if !is_notice && number.is_multiple_of(2) => 2,
            (true, _) => 0,
            (false, _) => follow - 1,
        };
        stream = rest;
    }
    follow == 0
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let loss = prop_oneof![Just(Loss::Oldest), (1..4_u64).prop_map(key)];
    let step = prop_oneof![
        2 => (1..4_usize).prop_map(Step::Plain),
        1 => Just(Step::Answer),
        8 => (1..4_u64, loss, 0..40_usize).prop_map(|(room, loss, padding)| Step::Lossy(room, loss, padding)),
        3 => (0..60_usize).prop_map(Step::Taken),
        1 => (1..5_u64).prop_map(Step::Hasten),
        1 => Just(Step::DropAny),
    ];
    prop::collection::vec(step, 0..200)
}

proptest! {
    #[test]
    fn agrees_with_the_model(steps in steps(), bytes_max in 1000..8000_usize, frames_max in 1..40_u32) {
        let (mut backlog, mut model) = (Backlog::new(0, 0), Model::default());
        let (mut stream, mut budget, mut gathered) = (Vec::new(), 0, Vec::new());
        let bounds = Bounds { bytes_max, frames_max };
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Plain(count) => {
                    let frames: Vec<_> = (0..count).map(|at| several(0, number * 10 + at, 3)).collect();
                    let bundle = side_by_side(frames.clone());
                    budget += charge(bundle.len());
                    backlog.push(bundle, 0);
                    model.add(false, &frames, 0, Loss::Never);
                }
                Step::Answer => {
                    let bytes = several(0, number, 0);
                    budget += charge(bytes.len());
                    model.add(true, std::slice::from_ref(&bytes), 0, Loss::Never);
                    backlog.push_ahead(one(bytes));
                }
                Step::Lossy(room, loss, padding) => {
                    let bytes = several(room, number, padding);
                    let made = backlog.make_place(bytes.len(), room, loss, false, bounds);
                    budget -= made.given;
                    let same = if matches!(loss, Loss::ByKey(_)) { model.same(room, loss) } else { None };
                    prop_assert_eq!(made.conflated, u32::from(same.is_some()));
                    same.into_iter().for_each(|at| model.lose(at));
                    for _ in 0..made.dropped {
                        let oldest = model.oldest();
                        prop_assert!(oldest.is_some());
                        oldest.into_iter().for_each(|at| model.lose(at));
                    }
                    if made.fits {
                        budget += backlog.lossy_charge(bytes.len(), room);
                        model.add(false, std::slice::from_ref(&bytes), room, loss);
                        backlog.push_lossy(one(bytes), room, &name(room), loss);
                        prop_assert!(backlog.bytes() <= bytes_max && backlog.frames() <= frames_max);
                    } else {
                        prop_assert_eq!(model.oldest(), None);
                    }
                }
                Step::Taken(count) => {
                    let mut left = count;
                    while left > 0 {
                        if let Some((name, lost)) = backlog.notice() {
                            let bytes = told(name, lost);
                            let (charged, given) = backlog.tell(bytes);
                            budget = budget + charged - given;
                        }
                        let Some(bytes) = backlog.next(true, &mut gathered) else { break };
                        let part = left.min(bytes.len());
                        stream.extend_from_slice(&bytes[..part]);
                        budget -= backlog.advance_all(part, 0);
                        left -= part;
                    }
                    model.take(count);
                }
                Step::Hasten(room) => {
                    let (charged, given) = backlog.hasten(room, told);
                    budget = budget + charged - given;
                    model.hasten(room);
                }
                Step::DropAny => {
                    let oldest = model.oldest();
                    let given = backlog.drop_any();
                    prop_assert_eq!(given.is_some(), oldest.is_some());
                    budget -= given.unwrap_or(0);
                    oldest.into_iter().for_each(|at| model.lose(at));
                }
            }
            prop_assert_eq!(backlog.bytes(), budget);
            prop_assert_eq!(backlog.frames() as usize, model.frames());
            prop_assert_eq!(&stream, &model.stream);
        }
        model.take(usize::MAX);
        let begun = model.stream.len() - stream.len();
        let rest = take_all(&mut backlog);
        prop_assert_eq!(rest.len(), begun);
        stream.extend_from_slice(&rest);
        prop_assert_eq!(&stream, &model.stream);
        prop_assert!(are_whole(&stream));
        prop_assert!(backlog.is_empty() && backlog.bytes() == 0 && backlog.frames() == 0);
    }
}
