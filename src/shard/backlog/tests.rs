use super::*;
use proptest::prelude::*;

fn frame(len: u8) -> Vec<u8> {
    let mut frame = vec![0x81, len];
    frame.extend((0..len).map(|byte| byte + 1));
    frame
}

fn frames(lens: &[u8]) -> Rc<[u8]> {
    lens.iter().flat_map(|len| frame(*len)).collect::<Vec<_>>().into()
}

fn name(room: u64) -> RoomName {
    RoomName::new(&format!("room {room}")).unwrap()
}

fn key(key: u64) -> Loss {
    Loss::ByKey(NonZeroU64::new(key).unwrap())
}

/// A frame that says what it is: of a room, or nobody's (0), with a number.
fn stamped(room: u64, number: usize, padding: usize) -> Vec<u8> {
    let text = format!("{room} {number} {}", "x".repeat(padding));
    [&[0x81, text.len() as u8], text.as_bytes()].concat()
}

/// The frame that tells a loss.
fn told(name: &RoomName, lost: u64) -> Rc<[u8]> {
    let text = format!("{name} lost {lost}");
    [&[0x81, text.len() as u8], text.as_bytes()].concat().into()
}

const WIDE: Bounds = Bounds { bytes_max: usize::MAX, frames_max: u32::MAX };

/// Takes everything, telling losses; the texts of the frames.
fn drain(backlog: &mut Backlog) -> Vec<String> {
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
    assert!(backlog.is_empty() && backlog.bytes() == 0 && backlog.frames() == 0, "{backlog:?}");
    texts(&stream)
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
    backlog.push_ahead(stamped(0, 1, 0).into());
    backlog.push_ahead(stamped(0, 2, 0).into());
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
        backlog.push_lossy(stamped(7, number, 0).into(), 7, &name(7), Loss::Oldest);
        backlog.push(stamped(0, number, 0).into(), 0);
    }
    let bounds = Bounds { frames_max: backlog.frames() - 1, ..WIDE };
    let made = backlog.make_place(5, 7, Loss::Oldest, bounds);
    assert_eq!((made.dropped, made.fits), (2, true));
    assert_eq!(drain(&mut backlog), ["room 7 lost 2", "0 0", "0 1", "7 2", "0 2", "7 3", "0 3"]);
}

#[test]
fn when_none_of_the_room_is_left_another_that_may_lose_some_gives_way() {
    let mut backlog = Backlog::new(0, 0);
    backlog.push(stamped(0, 0, 0).into(), 0);
    for number in 0..3 {
        backlog.push_lossy(stamped(7, number, 0).into(), 7, &name(7), Loss::Oldest);
        backlog.push_lossy(stamped(8, number, 0).into(), 8, &name(8), Loss::Oldest);
    }
    let made = backlog.make_place(5, 7, Loss::Oldest, Bounds { frames_max: 3, ..WIDE });
    assert_eq!((made.dropped, made.fits), (5, true));
    assert!(!backlog.make_place(5, 7, Loss::Oldest, Bounds { frames_max: 1, ..WIDE }).fits);
    assert_eq!(drain(&mut backlog), ["0 0", "room 7 lost 3", "room 8 lost 3"]);
}

#[test]
fn a_frame_that_has_begun_is_not_lost() {
    let mut backlog = Backlog::new(0, 0);
    for number in 0..3 {
        backlog.push_lossy(stamped(7, number, 0).into(), 7, &name(7), key(1 + number as u64));
    }
    backlog.advance(3, 0);
    assert_eq!(backlog.make_place(1, 7, key(1), WIDE).conflated, 0);
    while backlog.drop_oldest(7).is_some() {}
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
        let made = backlog.make_place(8, 7, loss, WIDE);
        assert_eq!(made.conflated, u32::from(number >= 3));
        backlog.push_lossy(stamped(7, number, 0).into(), 7, &name(7), loss);
        most = most.max(backlog.queue.len());
    }
    assert!(backlog.frames() == 3 && most < 100, "{most} entries for 3 frames");
    assert_eq!(drain(&mut backlog), ["room 7 lost 9997", "7 9997", "7 9998", "7 9999"]);
}

#[test]
fn a_notice_under_way_is_not_counted_on() {
    let mut backlog = Backlog::new(0, 0);
    for number in 0..3 {
        backlog.push_lossy(stamped(7, number, 0).into(), 7, &name(7), Loss::Oldest);
    }
    backlog.drop_oldest(7);
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
    backlog.push([stamped(0, 0, 0), stamped(0, 1, 0)].concat().into(), 2);
    backlog.push_ahead(stamped(0, 100, 0).into());
    for number in 0..3 {
        backlog.push_lossy(stamped(7, number, 0).into(), 7, &name(7), Loss::Oldest);
        backlog.push_lossy(stamped(8, number, 0).into(), 8, &name(8), Loss::Oldest);
    }
    backlog.push(stamped(0, 2, 0).into(), 0);
    backlog.drop_oldest(7);
    let before = backlog.bytes();
    let (charged, given) = backlog.hasten(7, told);
    assert_eq!(backlog.bytes(), before + charged - given);
    backlog.push_ahead(stamped(0, 101, 0).into());
    backlog.advance(backlog.front().unwrap().len(), 0);
    let order = ["0 100", "room 7 lost 1", "7 1", "7 2", "0 2", "0 101", "8 0", "8 1", "8 2"];
    assert_eq!(drain(&mut backlog), order);
}

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

    fn may_go(&self, room: u64, loss: Option<Loss>) -> Option<usize> {
        self.queue.iter().position(|w| {
            w.room == room && w.sent == 0 && w.loss != Loss::Never && loss.is_none_or(|loss| w.loss == loss)
        })
    }

    fn oldest(&self) -> Option<usize> {
        self.queue.iter().position(|w| w.loss != Loss::Never && w.sent == 0)
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
                next.bytes = told(&name(next.room), next.lost).to_vec();
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
                waits.bytes = told(&name(waits.room), waits.lost).to_vec();
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
        let (mut stream, mut budget) = (Vec::new(), 0);
        let bounds = Bounds { bytes_max, frames_max };
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Plain(count) => {
                    let frames: Vec<_> = (0..count).map(|at| stamped(0, number * 10 + at, 3)).collect();
                    let bytes = frames.concat();
                    budget += charge(bytes.len());
                    backlog.push(bytes.into(), 0);
                    model.add(false, &frames, 0, Loss::Never);
                }
                Step::Answer => {
                    let bytes = stamped(0, number, 0);
                    budget += charge(bytes.len());
                    model.add(true, std::slice::from_ref(&bytes), 0, Loss::Never);
                    backlog.push_ahead(bytes.into());
                }
                Step::Lossy(room, loss, padding) => {
                    let bytes = stamped(room, number, padding);
                    let made = backlog.make_place(bytes.len(), room, loss, bounds);
                    budget -= made.given;
                    let same = if matches!(loss, Loss::ByKey(_)) { model.may_go(room, Some(loss)) } else { None };
                    prop_assert_eq!(made.conflated, u32::from(same.is_some()));
                    same.into_iter().for_each(|at| model.lose(at));
                    for _ in 0..made.dropped {
                        let oldest = model.may_go(room, None).or_else(|| model.oldest());
                        prop_assert!(oldest.is_some());
                        oldest.into_iter().for_each(|at| model.lose(at));
                    }
                    if made.fits {
                        budget += backlog.lossy_charge(bytes.len(), room);
                        model.add(false, std::slice::from_ref(&bytes), room, loss);
                        backlog.push_lossy(bytes.into(), room, &name(room), loss);
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
                        let Some(bytes) = backlog.front() else { break };
                        let part = left.min(bytes.len());
                        stream.extend_from_slice(&bytes[..part]);
                        budget -= backlog.advance(part, 0);
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
        let mut rest = Vec::new();
        loop {
            if let Some((name, lost)) = backlog.notice() {
                let bytes = told(name, lost);
                backlog.tell(bytes);
            }
            let Some(bytes) = backlog.front() else { break };
            let len = bytes.len();
            rest.extend_from_slice(bytes);
            backlog.advance(len, 0);
        }
        prop_assert_eq!(rest.len(), begun);
        stream.extend_from_slice(&rest);
        prop_assert_eq!(texts(&stream), texts(&model.stream));
        prop_assert!(backlog.is_empty() && backlog.bytes() == 0 && backlog.frames() == 0);
    }
}
