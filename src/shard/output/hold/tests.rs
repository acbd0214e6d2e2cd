//! Held connections, by what they hear and when.

use super::world_tests::{Heard, World};
use crate::config::Config;
use crate::model::{CloseReason, DropReason};
use crate::shard::{Newcomer, Request};
use serde_json::{Value, json};
use std::time::Duration;

fn pace(world: &mut World, slot: u32, interval: u64) {
    world.say(slot, &json!({"type": "pace", "interval": interval}));
    world.tick();
    assert_eq!(world.heard(slot), []);
}

#[test]
fn messages_of_a_batch_come_in_one_array() {
    let mut world = World::new(|_| {});
    let slot = world.batched(50);
    world.join(slot, "r");
    for value in 0..3 {
        world.publish("r", &json!(value));
        world.pass(10);
        assert_eq!(world.heard(slot), []);
    }
    world.pass(19);
    assert_eq!(world.heard(slot), [], "30 + 19 ms have passed");
    world.pass(1);
    let (messages, lens) = world.arrays(slot);
    assert_eq!(lens, [3]);
    assert_eq!(
        messages.iter().map(|message| &message["data"]).collect::<Vec<_>>(),
        [&json!(0), &json!(1), &json!(2)]
    );
    // The next one begins a batch of its own.
    world.publish("r", &json!("alone"));
    world.pass(50);
    assert_eq!(world.arrays(slot).1, [1]);
    world.pass(5000);
    assert_eq!(world.heard(slot), []);
}

#[test]
fn answers_and_control_frames_do_not_wait_for_the_batch() {
    let mut world = World::new(|_| {});
    let slot = world.connect(Newcomer { batch: Duration::from_secs(1), ..Newcomer::default() });
    let (greeting, lens) = world.arrays(slot);
    assert_eq!((greeting[0]["type"].as_str(), lens), (Some("connected"), vec![1]));
    world.say(slot, &json!({"type": "subscribe", "room": "r"}));
    world.say(slot, &json!({"type": "ping", "id": 1}));
    world.publish("r", &json!(1));
    world.frame(slot, 0x89, b"x");
    world.say(slot, &json!({"type": "ping", "id": 2}));
    world.tick();
    let heard = world.heard(slot);
    let Heard::Text(first) = &heard[0] else { panic!("{heard:?}") };
    assert_eq!(
        (first[0]["type"].as_str(), first[1]["id"].as_u64(), first.as_array().unwrap().len()),
        (Some("subscribed"), Some(1), 2)
    );
    assert_eq!(heard[1], Heard::Control(0x8A));
    assert!(matches!(&heard[2], Heard::Text(text) if text[0]["id"] == 2) && heard.len() == 3, "{heard:?}");
    world.pass(1000);
    assert_eq!(world.arrays(slot).0[0]["data"], 1);
    // What waits of a room comes before the answer that nothing comes after.
    world.publish("r", &json!(2));
    world.say(slot, &json!({"type": "unsubscribe", "room": "r"}));
    world.tick();
    let (messages, _) = world.arrays(slot);
    assert_eq!((&messages[0]["data"], messages[1]["type"].as_str()), (&json!(2), Some("unsubscribed")));
}

#[test]
fn a_long_batch_is_several_arrays() {
    let mut world = World::new(|_| {});
    let slot = world.batched(100);
    world.join(slot, "r");
    for _ in 0..100 {
        world.publish("r", &json!("x".repeat(2000)));
    }
    world.pass(100);
    let (messages, lens) = world.arrays(slot);
    assert!(messages.len() == 100 && (3..6).contains(&lens.len()), "{lens:?}");
    // One that is longer than an array may be is an array of its own.
    world.publish("r", &json!("x".repeat(200_000)));
    world.publish("r", &json!(1));
    world.pass(100);
    assert_eq!(world.arrays(slot).1, [1, 1]);
}

#[test]
fn a_pace_gives_the_newest_value_of_each_room_in_each_interval() {
    let mut world = World::new(|_| {});
    let slot = world.routed(0);
    for room in ["a", "b", "keyed:c"] {
        world.join(slot, room);
    }
    pace(&mut world, slot, 1000);
    world.publish("a", &json!(1));
    world.tick();
    assert_eq!(world.data(slot), [json!(1)], "the first comes at once");
    for value in 2..9 {
        world.publish("a", &json!(value));
        world.pass(100);
        assert_eq!(world.heard(slot), []);
    }
    world.publish("keyed:c", &json!({"k": "x", "v": 1}));
    world.publish("b", &json!("b"));
    world.publish("keyed:c", &json!({"k": "y", "v": 2}));
    world.publish("keyed:c", &json!({"k": "x", "v": 3}));
    world.pass(299);
    assert_eq!(world.heard(slot), []);
    world.pass(1);
    let heard = world.texts(slot);
    let data: Vec<&Value> = heard.iter().map(|text| &text["data"]).collect();
    assert_eq!(data, [&json!(8), &json!("b"), &json!({"k": "y", "v": 2}), &json!({"k": "x", "v": 3})]);
    world.pass(10_000);
    assert_eq!(world.heard(slot), [], "nothing was published, and nothing is told as lost");
    // The pace is the connection's to change, and to end.
    pace(&mut world, slot, 100);
    world.publish("a", &json!(10));
    world.tick();
    assert_eq!(world.data(slot).len(), 1);
    world.publish("a", &json!(11));
    world.say(slot, &json!({"type": "pace", "interval": 0, "id": 7}));
    world.publish("a", &json!(12));
    world.tick();
    let heard = world.texts(slot);
    assert_eq!(heard[0]["data"], json!({"interval": 0}));
    assert_eq!((&heard[1]["data"], &heard[2]["data"], heard.len()), (&json!(11), &json!(12), 3));
    world.publish("a", &json!(13));
    world.tick();
    assert_eq!(world.data(slot), [json!(13)]);
}

#[test]
fn a_long_pace_costs_no_connection() {
    let mut world = World::new(|config| config.times.write_wait = Duration::from_secs(10));
    let slot = world.routed(0);
    world.join(slot, "r");
    pace(&mut world, slot, 3_600_000);
    for value in 0..100 {
        world.publish("r", &json!(value));
        world.pass(10_000);
    }
    assert_eq!((world.closing(slot), world.data(slot)), (None, vec![json!(0)]));
    assert_eq!(world.metrics.blocked_connections.get(), 0);
    world.pass(3_600_000);
    assert_eq!(world.data(slot), [json!(99)]);
    assert_eq!((world.hub.outboxes.bytes(), world.metrics.backlog_bytes.get()), (0, 0));
}

#[test]
fn one_whose_socket_is_full_has_conflated_what_waits_and_then_is_evicted() {
    let mut world = World::new(|config| config.times.write_wait = Duration::from_secs(10));
    let slot = world.routed(0);
    world.join(slot, "r");
    pace(&mut world, slot, 100);
    world.pipes.0[slot as usize].space = 5;
    for value in 0..20 {
        world.publish("r", &json!(value));
        world.pass(100);
    }
    assert_eq!(world.metrics.blocked_connections.get(), 1);
    world.drain(slot, usize::MAX);
    world.tick();
    assert_eq!(world.data(slot), [json!(0), json!(19)]);
    assert_eq!(world.metrics.blocked_connections.get(), 0);
    world.pass(100);
    world.pipes.0[slot as usize].space = 0;
    world.publish("r", &json!("late"));
    world.pass(10_200);
    assert_eq!(world.closing(slot), Some(CloseReason::SlowConsumer));
}

#[test]
fn the_bounds_of_outboxes_hold_for_what_waits() {
    let mut world = World::new(|config| config.limits.outbox_messages_max = 10);
    let [firm, lossy] = [world.batched(1000), world.batched(1000)];
    world.join(firm, "r");
    world.join(lossy, "lossy:r");
    for value in 0..11 {
        world.publish("r", &json!(value));
        world.publish("lossy:r", &json!(value));
    }
    world.tick();
    assert_eq!(world.closing(firm), Some(CloseReason::SlowConsumer));
    world.pass(1000);
    let (messages, lens) = world.arrays(lossy);
    assert_eq!(
        (messages[0]["type"].as_str(), &messages[0]["data"], lens),
        (Some("gap"), &json!({"lost": 1}), vec![11])
    );
    assert_eq!(
        messages[1..].iter().map(|it| it["data"].as_u64().unwrap()).collect::<Vec<_>>(),
        (1..11).collect::<Vec<_>>()
    );
    assert_eq!(world.metrics.drops.iter().find(|(label, _)| *label == "drop_oldest").unwrap().1, 1);
    // With a pace, keys that are too many are lost and told too, in any room.
    let paced = world.routed(0);
    world.join(paced, "keyed:r");
    pace(&mut world, paced, 100);
    world.publish("keyed:r", &json!({"k": "first"}));
    world.tick();
    for key in 0..12 {
        world.publish("keyed:r", &json!({"k": key}));
    }
    world.pass(100);
    let heard = world.texts(paced);
    assert_eq!((heard.len(), &heard[1]["data"]), (12, &json!({"lost": 2})));
}

#[test]
fn a_hundred_thousand_messages_for_held_connections_stay_within_the_nodes_bound() {
    let bound = 4 << 20;
    let mut world = World::new(|config| {
        config.limits.outboxes_bytes_max = bound;
        config.limits.outbox_bytes_max = 256 * 1024;
    });
    let slots: Vec<u32> = (0..1000).map(|_| world.batched(1000)).collect();
    for slot in &slots {
        world.join(*slot, "lossy:r");
    }
    for _ in 0..100 {
        world.publish("lossy:r", &json!("x".repeat(100)));
        assert!(world.hub.outboxes.bytes() <= bound, "{}", world.hub.outboxes.bytes());
    }
    world.tick();
    assert!(slots.iter().all(|slot| world.closing(*slot).is_none()));
    world.pass(1000);
    for slot in slots {
        let (messages, _) = world.arrays(slot);
        let told: u64 = messages.iter().map(|it| it["data"]["lost"].as_u64().unwrap_or(1)).sum();
        assert_eq!(told, 100, "what is lost is told");
        world.shard.lost(slot, &mut world.pipes);
    }
    assert_eq!((world.hub.outboxes.bytes(), world.metrics.backlog_bytes.get()), (0, 0));
}

#[test]
fn what_waits_goes_out_before_the_node_and_is_dropped_when_the_backend_closes() {
    for (ends, messages) in [(true, 2), (false, 0)] {
        let mut world = World::new(|config: &mut Config| config.times.drain_timeout = Duration::ZERO);
        let slot = world.batched(1000);
        world.join(slot, "r");
        world.publish("r", &json!(1));
        world.publish("r", &json!(2));
        world.tick();
        if ends {
            world.request(Request::Drain(Duration::ZERO));
            world.pass(100);
        } else {
            let now = world.now();
            world.shard.close(now, slot, CloseReason::Disconnected, &mut world.pipes);
            world.tick();
        }
        let heard = world.heard(slot);
        let arrays: Vec<_> = heard
            .iter()
            .filter_map(|it| if let Heard::Text(text) = it { text.as_array() } else { None })
            .collect();
        assert_eq!(arrays.iter().map(|array| array.len()).sum::<usize>(), messages, "{heard:?}");
        assert_eq!(heard.last(), Some(&Heard::Control(0x88)));
        let dropped = world.metrics.drops.iter().nth(DropReason::Closed.index()).unwrap().1;
        assert_eq!(dropped, 2 - messages as u64);
        world.shard.lost(slot, &mut world.pipes);
        assert_eq!(world.hub.outboxes.bytes(), 0);
    }
}

#[test]
fn a_health_check_is_told_and_closed() {
    let mut world = World::new(|_| {});
    let slot = world.connect(Newcomer { health: true, ..Newcomer::default() });
    let heard = world.heard(slot);
    let Heard::Text(text) = &heard[0] else { panic!("{heard:?}") };
    assert_eq!((&text["type"], &text["status"]), (&json!("health"), &json!("ok")));
    assert_eq!(text["timestamp"], "2023-11-14T22:13:21.000Z");
    assert_eq!(heard[1..], [Heard::Control(0x88)]);
    assert_eq!(world.closing(slot), Some(CloseReason::Done));
    world.frame(slot, 0x88, &1000_u16.to_be_bytes());
    world.tick();
    assert!(world.pipes.0[slot as usize].closed);
}

#[test]
fn a_batch_that_was_cut_in_the_middle_of_a_frame_ends_whole() {
    let mut world = World::new(|config| config.limits.outbox_bytes_max = 4096);
    let slot = world.batched(10);
    world.join(slot, "r");
    world.publish("r", &json!("x".repeat(100)));
    world.pipes.0[slot as usize].space = 5;
    world.pass(10);
    // Its array has begun, answers wait, and then more than it has place for.
    world.say(slot, &json!({"type": "ping"}));
    world.say(slot, &json!({"type": "ping"}));
    for _ in 0..10 {
        world.publish("r", &json!("x".repeat(1000)));
    }
    world.tick();
    assert_eq!(world.closing(slot), Some(CloseReason::SlowConsumer));
    world.drain(slot, usize::MAX);
    let heard = world.heard(slot);
    assert!(matches!(&heard[0], Heard::Text(text) if text.as_array().unwrap().len() == 1), "{heard:?}");
    assert_eq!(heard[1..], [Heard::Control(0x88)]);
    world.shard.lost(slot, &mut world.pipes);
    assert_eq!(world.hub.outboxes.bytes(), 0);
}
