//! Notices of presence between the publications of a room that is walked: they have no place in its order.

use super::super::frame_batch::{FrameBatch, FrameItem};
use super::super::mail::Target;
use super::*;
use crate::base::Pattern;
use crate::config::{Config, PresenceMode, RoomPolicy, RoomRule};
use crate::hub::Loss;
use crate::model::CloseReason;
use crate::shard::StepLimits;
use crate::wire::TextAt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A world in which a room of two is walked, one member in each turn, and notices are not kept back.
fn walked(rule: RoomRule) -> World {
    let rules = [RoomRule { policy: RoomPolicy { presence: PresenceMode::Ids, ..rule.policy }, ..rule }];
    let mut world = World::new(&rules);
    world.shard.set_step_limits(StepLimits { members_min: 2, step_members: 1, ..StepLimits::default() });
    configure(&mut world, |config| config.times.presence_interval = Duration::ZERO);
    world
}

fn configure(world: &mut World, change: impl FnOnce(&mut Config)) {
    let mut config = Config::clone(world.shard.config());
    change(&mut config);
    let mail = Mail::Request(Request::Reconfigure(Arc::new(config)));
    world.shard.mail(NOW, mail, &mut world.wires);
}

fn notices(text: &str) -> usize {
    text.matches("presence_change").count()
}

#[test]
fn a_member_that_recovers_keeps_the_notices_of_the_walk_under_way() {
    let mut world = walked(remembering("wide"));
    let wide = world.members("wide", 3);
    let last = wide[2];
    world.listen(&[last]);
    world.say(last, &subscribe("wide"));
    world.settle();
    let text = world.heard(last);
    let epoch = text.split("\"epoch\":\"").nth(1).and_then(|rest| rest.get(..16)).unwrap();
    let newcomer = world.connect();
    world.say(newcomer, &subscribe("wide"));
    world.flush();
    assert!(world.shard.has_more() && notices(&text) == 0, "the walk has not come to the last member");
    world.say(
        last,
        &format!(r#"{{"type":"subscribe","room":"wide","recover":{{"epoch":"{epoch}","offset":0}}}}"#),
    );
    world.settle();
    let text = world.heard(last);
    assert!(text.contains("\"recovered\":true") && notices(&text) == 1, "{text}");
}

#[test]
fn a_member_that_knows_a_publication_gets_the_notice_that_waits_with_it() {
    let mut world = walked(remembering("wide"));
    world.members("wide", 3);
    world.publish("wide", "<1>");
    world.deliver_posted();
    world.flush();
    assert!(world.shard.has_more(), "what comes now waits behind the walk");
    world.publish("wide", "<2>");
    let newcomer = world.connect();
    world.listen(&[newcomer]);
    world.say(newcomer, &subscribe("wide"));
    world.flush();
    world.settle();
    let text = world.heard(newcomer);
    assert_eq!((notices(&text), numbers(&text)), (1, vec![]), "{text}");
}

#[test]
fn what_waits_for_a_room_that_is_gone_is_not_counted_for_the_next_one() {
    let mut world = World::small(&[]);
    world.shard.set_step_limits(StepLimits { members_min: 2, step_members: 1, ..StepLimits::default() });
    let members = world.members("one", 3);
    let one = world.hub.directory.get("one").unwrap();
    let local = world.shard.rooms.find("one").unwrap();
    world.publish("one", "<1>");
    world.flush();
    assert!(world.shard.has_more());
    for slot in members {
        world.say(slot, r#"{"type":"unsubscribe","room":"one"}"#);
    }
    let other = world.connect();
    world.say(other, &subscribe("two"));
    assert_eq!(world.shard.rooms.find("two"), Some(local), "the slot has changed hands");
    // Another shard has not heard of it yet.
    let target = Target::Room { local, id: one.id };
    let item = FrameItem {
        text_at: TextAt::None,
        end: 3,
        target,
        encodings: 1,
        accepted_us: NOW.us,
        loss: Loss::Never,
    };
    let batch = FrameBatch { bytes: b"\x81\x01x".to_vec(), items: vec![item], handled: 0 };
    world.shard.mail(NOW, Mail::Frames(batch), &mut world.wires);
    world.settle();
    let two = world.hub.directory.get("two").unwrap();
    assert_eq!([&one.waiting, &two.waiting, &world.hub.waiting].map(|it| it.load(Ordering::Relaxed)), [0; 3]);
}

#[test]
fn who_has_no_place_for_a_notice_is_told_so_even_in_a_drain() {
    let mut world =
        walked(RoomRule { pattern: Pattern::parse("small").unwrap(), policy: RoomPolicy::default() });
    world.shard.set_step_limits(StepLimits::default());
    configure(&mut world, |config| config.limits.outbox_messages_max = 1);
    let members = world.members("small", 2);
    world.wires.jammed = vec![members[0]];
    world.publish("small", "<1>");
    world.settle();
    let newcomer = world.connect();
    world.say(newcomer, &subscribe("small"));
    world.shard.mail(NOW, Mail::Request(Request::Drain(Duration::ZERO)), &mut world.wires);
    world.flush();
    let reason = |slot: u32| world.shard.inspect(slot).and_then(|it| it.closing);
    assert_eq!(reason(members[0]), Some(CloseReason::SlowConsumer));
    assert_eq!(reason(members[1]), Some(CloseReason::ShuttingDown));
}
