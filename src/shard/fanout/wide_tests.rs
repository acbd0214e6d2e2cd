//! Wide rooms and full turns, between sockets that count the calls. Nothing here is measured in time.

mod notices_tests;
mod world;

use crate::base::Key;
use crate::model::{Draft, Selector};
use crate::shard::fanout::wide::{STEP_MEMBERS, WAITING_BYTES_MAX, WIDE_MEMBERS};
use crate::shard::{Mail, Reading, Request};
use crate::wire::TextAt;
use world::{NOW, World, frame, numbers, publish, remembering, subscribe};

/// The most writes to others between a message of a small room and its own write, with `members` in a room whose
/// publishers send as much as they are let.
fn writes_before_another_room(members: usize) -> usize {
    let mut world = World::new(&[]);
    let wide = world.members("wide", members);
    let small = world.members("small", 2);
    world.listen(&small);
    let flood = frame(&publish("wide", &"x".repeat(100))).repeat(100);
    let mut most = 0;
    for round in 0..40 {
        // As the driver does: the first members publish, unless they are held.
        for publisher in &wide[..16] {
            if world.shard.reading(*publisher) != Some(Reading::Held) {
                world.shard.receive(NOW, *publisher, &mut flood.clone(), &mut world.wires);
            }
        }
        world.shard.take_released(&mut Vec::new());
        let before = world.wires.sends;
        world.listen(&small);
        world.say(small[0], &publish("small", &format!("round {round}")));
        world.flush();
        let (_, at, text) = &world.wires.heard[0];
        assert!(text.contains(&format!("round {round}")), "{text}");
        most = most.max(at - before);
    }
    most
}

#[test]
fn a_small_rooms_message_does_not_wait_for_a_wide_room_of_any_size() {
    let sizes = [WIDE_MEMBERS, 20_000, 100_000];
    let most = sizes.map(writes_before_another_room);
    // Its own turn's step at the most, and nothing that grows with the room.
    assert!(most.iter().all(|writes| *writes <= STEP_MEMBERS), "{most:?}");
}

#[test]
fn a_turn_writes_to_few_members_and_the_walk_comes_to_all() {
    let mut world = World::new(&[]);
    let wide = world.members("wide", 100_000);
    world.wires.sends = 0;
    world.publish("wide", "a");
    let mut turns = 0;
    while {
        world.flush();
        turns += 1;
        world.shard.has_more()
    } {
        assert!(world.wires.sends <= turns * STEP_MEMBERS, "{} writes in {turns} turns", world.wires.sends);
    }
    assert_eq!(world.wires.sends, wide.len());
    assert_eq!(world.hub.waiting.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[test]
fn long_messages_make_shorter_steps() {
    let mut world = World::new(&[]);
    world.members("wide", 5000);
    let long = "x".repeat(60_000);
    world.wires.bytes = 0;
    world.publish("wide", &long);
    let mut before = 0;
    while {
        world.flush();
        world.shard.has_more()
    } {
        let step = world.wires.bytes - before;
        assert!(step <= 5 << 20, "{step} bytes in one turn");
        before = world.wires.bytes;
    }
    assert!(world.wires.bytes > 5000 * 60_000);
}

#[test]
fn members_get_what_was_published_in_order_and_once() {
    let mut world = World::small(&[]);
    let wide = world.members("wide", 3000);
    let ears = [wide[0], wide[1500], wide[2999]];
    world.listen(&ears);
    for number in 0..200 {
        world.publish("wide", &format!("<{number}>"));
        if number % 3 == 0 {
            world.flush();
        }
    }
    world.settle();
    for slot in ears {
        assert_eq!(numbers(&world.heard(slot)), (0..200).collect::<Vec<_>>());
    }
}

#[test]
fn who_leaves_gets_no_more_and_who_comes_nothing_from_before() {
    let mut world = World::small(&[]);
    let wide = world.members("wide", 3000);
    let outsider = world.connect();
    world.settle();
    let (left, back) = (wide[2998], wide[2999]);
    world.listen(&[left, back, outsider]);
    world.publish("wide", "first");
    // The walk has begun and not come to the last ones.
    world.flush();
    assert!(world.shard.has_more() && world.wires.heard.is_empty());
    world.say(left, r#"{"type":"unsubscribe","room":"wide"}"#);
    world.say(back, r#"{"type":"unsubscribe","room":"wide"}"#);
    world.say(back, &subscribe("wide"));
    world.say(outsider, &subscribe("wide"));
    world.publish("wide", "second");
    world.settle();
    let heard = [left, back, outsider].map(|slot| world.heard(slot));
    assert!(heard.iter().all(|text| !text.contains("first")), "{heard:?}");
    assert_eq!(heard.each_ref().map(|text| text.matches("second").count()), [0, 1, 1]);
}

#[test]
fn a_slots_next_tenant_gets_nothing_of_a_walk() {
    let mut world = World::small(&[]);
    let wide = world.members("wide", 3000);
    let last = wide[2999];
    world.publish("wide", "message");
    world.shard.outside_publish(NOW, &Selector::all(), &Draft::new("message", Some("\"everybody\"")));
    // Each of the two lines has had a step.
    world.flush();
    world.flush();
    world.shard.lost(last, &mut world.wires);
    assert_eq!(world.connect(), last, "the slot is used again");
    world.listen(&[last]);
    world.settle();
    let text = world.heard(last);
    assert!(text.contains("connected") && !text.contains("\"data\":\""), "{text}");
}

#[test]
fn everybody_gets_what_is_for_all_in_steps_too() {
    let mut world = World::small(&[]);
    let wide = world.members("wide", 3000);
    let (left, stays) = (wide[2998], wide[2999]);
    world.listen(&[left, stays]);
    world.say(wide[0], r#"{"type":"broadcast","data":"all"}"#);
    world.flush();
    assert!(world.shard.has_more());
    let to = world.shard.inspect(left).unwrap().id;
    world.shard.mail(
        NOW,
        Mail::Request(Request::Disconnect { to, reason: None, reply: Box::new(|_| {}) }),
        &mut world.wires,
    );
    world.settle();
    assert!(world.heard(stays).contains("\"all\""));
    assert!(!world.heard(left).contains("\"all\""), "nothing comes after a close");
}

#[test]
fn a_room_that_remembers_is_walked_in_its_order() {
    let mut world = World::small(&[remembering("wide")]);
    let wide = world.members("wide", 3000);
    let last = wide[2999];
    let newcomer = world.connect();
    world.settle();
    world.listen(&[last, newcomer]);
    world.publish("wide", "<1>");
    world.deliver_posted();
    world.flush();
    assert!(world.shard.has_more() && world.wires.heard.is_empty());
    // It asks where it stands: what the walk has for it comes first. One who joins now has it in its past.
    world.say(last, &subscribe("wide"));
    world.say(newcomer, &subscribe("wide"));
    world.publish("wide", "<2>");
    world.settle();
    let text = world.heard(last);
    let places = ["<1>", "subscribed", "<2>"].map(|part| text.find(part).unwrap_or_else(|| panic!("{text}")));
    assert!(places.is_sorted(), "{text}");
    assert_eq!(text.matches("<1>").count(), 1);
    let text = world.heard(newcomer);
    assert!(!text.contains("<1>") && text.matches("<2>").count() == 1, "{text}");
}

#[test]
fn a_member_that_blocks_between_two_walks_gets_them_in_order() {
    let mut world = World::small(&[]);
    let first = world.members("wide", 50)[0];
    world.wires.jammed = vec![first];
    world.listen(&[first]);
    // Too long for one walk: the first ends in the turn in which the second begins, and this member is in both.
    for number in 1..4 {
        world.publish("wide", &format!("<{number}>{}", "x".repeat(60_000)));
    }
    world.settle();
    world.free(first);
    assert_eq!(numbers(&world.heard(first)), [1, 2, 3]);
}

#[test]
fn a_blocked_member_that_asks_where_it_stands_gets_what_waits_in_order() {
    let mut world = World::small(&[remembering("wide")]);
    let wide = world.members("wide", 3000);
    let last = wide[2999];
    world.wires.jammed = vec![last];
    world.listen(&[last]);
    world.publish("wide", "<1>");
    world.settle();
    world.publish("wide", "<2>");
    world.deliver_posted();
    world.flush();
    assert!(world.shard.has_more(), "the walk has not come to the last member");
    world.say(last, &subscribe("wide"));
    world.publish("wide", "<3>");
    world.settle();
    world.free(last);
    let text = world.heard(last);
    assert_eq!(numbers(&text), [1, 2, 3]);
    let places = ["<2>", "subscribed", "<3>"].map(|part| text.find(part).unwrap_or_else(|| panic!("{text}")));
    assert!(places.is_sorted(), "{text}");
}

#[test]
fn the_publishers_of_a_room_that_is_behind_are_held_and_let_go() {
    let mut world = World::small(&[]);
    let wide = world.members("wide", 3000);
    let loud = wide[0];
    let message = frame(&publish("wide", &"x".repeat(10_000)));
    for _ in 0..4 {
        if world.shard.reading(loud) == Some(Reading::On) {
            world.shard.receive(NOW, loud, &mut message.repeat(20), &mut world.wires);
        }
    }
    assert_eq!(world.shard.reading(loud), Some(Reading::Held));
    // One message over the bound at the most.
    let waiting = world.hub.waiting.load(std::sync::atomic::Ordering::Relaxed);
    assert!(waiting <= WAITING_BYTES_MAX + 11_000, "{waiting} bytes wait");
    assert!(
        world.shard.is_behind(&Selector::room("wide")) && !world.shard.is_behind(&Selector::room("other"))
    );
    let mut released: Vec<Key> = Vec::new();
    world.shard.take_released(&mut released);
    assert!(released.is_empty());
    // Others are taken in as ever.
    let other = world.connect();
    world.say(other, &subscribe("other"));
    assert_eq!(world.shard.reading(other), Some(Reading::On));
    while released.is_empty() {
        world.flush();
        world.shard.take_released(&mut released);
    }
    assert_eq!(released.iter().map(|key| key.slot).collect::<Vec<_>>(), [loud]);
    // What it had sent is not lost.
    while world.shard.reading(loud) != Some(Reading::On) || world.shard.has_more() {
        world.shard.take_released(&mut Vec::new());
        if world.shard.reading(loud) == Some(Reading::Paused) {
            world.shard.receive(NOW, loud, &mut [], &mut world.wires);
        }
        world.flush();
    }
    assert_eq!(world.shard.metrics.publications.get() % 20, 0);
}

#[test]
fn a_full_turn_pauses_a_sender_and_keeps_what_it_sent() {
    let mut world = World::new(&[]);
    let room = world.members("room", 1000);
    let loud = room[0];
    let message = frame(&publish("room", &"x".repeat(1000)));
    world.listen(&[room[999]]);
    world.shard.receive(NOW, loud, &mut message.repeat(200), &mut world.wires);
    assert_eq!(world.shard.reading(loud), Some(Reading::Paused));
    assert!(world.shard.is_sated());
    let mut turns = 1;
    while world.shard.reading(loud) == Some(Reading::Paused) {
        let before = world.wires.bytes;
        world.flush();
        assert!(world.wires.bytes - before < 80 << 20);
        assert!(!world.shard.is_sated());
        world.shard.receive(NOW, loud, &mut [], &mut world.wires);
        turns += 1;
    }
    world.settle();
    assert!(turns > 2, "{turns} turns");
    assert_eq!(world.heard(room[999]).matches("\"message\"").count(), 200);
}

#[test]
fn mail_that_does_not_fit_into_a_turn_waits_in_its_order() {
    let mut world = World::new(&[]);
    let room = world.members("room", 2000);
    world.listen(&[room[1999]]);
    let local = world.shard.rooms.find("room").unwrap();
    let id = world.shard.rooms.get(local).unwrap().shared.id;
    for batch in 0..3 {
        let mut frames = crate::shard::FrameBatch::default();
        for number in 0..100 {
            let text = format!("<{}>{}", batch * 100 + number, "x".repeat(500));
            let bytes = [&[0x81, 126], &(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat();
            frames.bytes.extend(bytes);
            let target = crate::shard::fanout::mail::Target::Room { local, id };
            let end = frames.bytes.len();
            frames.items.push(crate::shard::fanout::frame_batch::FrameItem {
                text_at: TextAt::None,
                end,
                target,
                encodings: 1,
                accepted_us: NOW.us,
                loss: crate::hub::Loss::Never,
            });
        }
        world.shard.mail(NOW, Mail::Frames(frames), &mut world.wires);
    }
    assert!(world.shard.is_sated_with_mail() && world.shard.has_more());
    // Half of the turn is left for those who send.
    assert!(!world.shard.is_sated());
    world.settle();
    assert_eq!(numbers(&world.heard(room[1999])), (0..300).collect::<Vec<_>>());
}
