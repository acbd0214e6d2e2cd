//! Filters: who hears what, and how often that is found out.

use super::world_tests::World;
use crate::model::{Draft, Selector};
use crate::shard::{Newcomer, Request};
use serde_json::{Value, json};

fn filter(world: &mut World, slot: u32, filter: &Value) {
    world.say(slot, &json!({"type": "filter", "filter": filter}));
    world.tick();
    assert_eq!(world.heard(slot), [], "{filter}");
}

#[test]
fn a_thousand_connections_of_four_shards_with_ten_filters_cost_ten_evaluations_a_publication() {
    let mut worlds = World::shards(4);
    let mut all: Vec<Vec<u32>> = Vec::new();
    for world in &mut worlds {
        let mut slots: Vec<u32> = (0..250).map(|_| world.routed(0)).collect();
        // Some get other bytes of the same.
        slots.extend((0..20).map(|_| {
            let slot = world.connect(World::deflated(World::by(0)));
            world.heard(slot);
            slot
        }));
        for (index, slot) in slots.iter().enumerate() {
            world.join(*slot, "r");
            filter(world, *slot, &json!({"n": index % 10, "on": true}));
        }
        all.push(slots);
    }
    let unfiltered = worlds[0].plain();
    worlds[0].join(unfiltered, "r");
    for value in 0..20 {
        let data = json!({"n": value % 10, "on": value < 10, "long": "z".repeat(1000)});
        worlds[value % 3].publish("r", &data);
        // From the publisher's shard on, as the others have its frames when its tick is over.
        (0..4).for_each(|turn| worlds[(value % 3 + turn) % 4].tick());
        for (world, slots) in worlds.iter_mut().zip(&all) {
            for (index, slot) in slots.iter().enumerate() {
                let expected = if value < 10 && index % 10 == value { vec![data.clone()] } else { vec![] };
                assert_eq!(world.data(*slot), expected, "{value} for {index}");
            }
        }
        assert_eq!(worlds[0].data(unfiltered), [data]);
        let evaluations: u64 = worlds.iter().map(|world| world.metrics.filter_evaluations.get()).sum();
        assert_eq!(evaluations, 10 * (value as u64 + 1));
    }
    // Filters that nobody has are forgotten.
    assert_eq!(worlds[0].hub.filters.len(), 10);
    for (shard, (world, slots)) in worlds.iter_mut().zip(&all).enumerate() {
        for slot in &slots[10..] {
            world.shard.lost(*slot, &mut world.pipes);
        }
        assert_eq!(world.hub.filters.len(), 10);
        for slot in &slots[shard.min(1)..10] {
            filter(world, *slot, &json!({}));
        }
    }
    assert_eq!(worlds[0].hub.filters.len(), 1);
    let (first, second) = (all[1][0], all[1][1]);
    worlds[1].publish("r", &json!(1));
    worlds[1].tick();
    assert_eq!((worlds[1].data(first).len(), worlds[1].data(second).len()), (0, 1));
    assert_eq!(worlds[0].hub.outboxes.bytes(), 0);
}

#[test]
fn values_are_compared_by_what_they_are() {
    let mut world = World::new(|_| {});
    let slot = world.routed(0);
    world.join(slot, "r");
    let passes = |world: &mut World, wanted: &str, data: &str| {
        world.say_text(slot, &format!(r#"{{"type":"filter","filter":{wanted}}}"#));
        let data: Value = serde_json::from_str(data).unwrap();
        world.publish("r", &data);
        world.tick();
        !world.data(slot).is_empty()
    };
    for (wanted, data) in [
        (r#"{"a":1}"#, r#"{"a":1.0,"b":2}"#),
        (r#"{"a":1e2}"#, r#"{"a":100}"#),
        (r#"{"a":-0.0}"#, r#"{"a":0}"#),
        (r#"{"a":0.1}"#, r#"{"a":1e-1}"#),
        (r#"{"a":18446744073709551615}"#, r#"{"a":18446744073709551615}"#),
        (r#"{"a":"\u00e9"}"#, r#"{"\u0061":"é"}"#),
        (r#"{"a":null}"#, r#"{"a":null}"#),
        (r#"{"a":true,"b":"x"}"#, r#"{"b":"x","c":{},"a":true}"#),
        (r#"{"":""}"#, r#"{"":""}"#),
        ("{}", "[1]"),
    ] {
        assert!(passes(&mut world, wanted, data), "{wanted} {data}");
    }
    for (wanted, data) in [
        (r#"{"a":1}"#, r#"{"a":"1"}"#),
        (r#"{"a":1}"#, r#"{"a":true}"#),
        (r#"{"a":0}"#, r#"{"a":null}"#),
        (r#"{"a":null}"#, r#"{}"#),
        (r#"{"a":false}"#, r#"{"a":0}"#),
        (r#"{"a":9007199254740993}"#, r#"{"a":9007199254740992}"#),
        (r#"{"a":"x"}"#, r#"{"A":"x"}"#),
        (r#"{"a":"x","b":1}"#, r#"{"a":"x"}"#),
        (r#"{"a":"x"}"#, r#"{"b":{"a":"x"}}"#),
        (r#"{"a":"x"}"#, r#"[{"a":"x"}]"#),
        (r#"{"a":"{}"}"#, r#"{"a":{}}"#),
        (r#"{"a":1}"#, "1"),
    ] {
        assert!(!passes(&mut world, wanted, data), "{wanted} {data}");
    }
}

#[test]
fn what_is_no_filter_is_refused_and_the_old_one_stays() {
    let mut world = World::new(|_| {});
    let slot = world.routed(0);
    world.join(slot, "r");
    filter(&mut world, slot, &json!({"a": 1}));
    let many: Vec<String> = (0..17).map(|at| format!("\"{at}\":1")).collect();
    for wrong in [
        String::new(),
        r#","filter":null"#.to_owned(),
        r#","filter":[]"#.to_owned(),
        r#","filter":"a""#.to_owned(),
        r#","filter":{"a":{}}"#.to_owned(),
        r#","filter":{"a":[1]}"#.to_owned(),
        format!(r#","filter":{{{}}}"#, many.join(",")),
    ] {
        world.say_text(slot, &format!(r#"{{"id":"q","type":"filter"{wrong}}}"#));
        world.tick();
        let answer = &world.texts(slot)[0];
        assert_eq!((&answer["type"], &answer["id"]), (&json!("error"), &json!("q")), "{wrong}");
        assert!(answer["error"].as_str().unwrap().contains("at most 16 fields"), "{answer}");
    }
    world.publish("r", &json!({"a": 2}));
    world.publish("r", &json!({"a": 1}));
    world.tick();
    assert_eq!(world.data(slot), [json!({"a": 1})]);
    world.say(slot, &json!({"type": "filter", "filter": {"a": 2}, "id": 1}));
    world.tick();
    assert_eq!(world.texts(slot)[0]["data"], json!({"filter": {"a": 2}}));
}

#[test]
fn notices_and_what_goes_to_everybody_pass() {
    let mut world = World::new(|_| {});
    let slot = world.routed(0);
    world.join(slot, "seen:r");
    world.pass(2000);
    world.heard(slot);
    filter(&mut world, slot, &json!({"a": 1}));
    world.say(slot, &json!({"type": "pace", "interval": 100}));
    let other = world.plain();
    world.join(other, "seen:r");
    world.pass(2000);
    let notice = &world.texts(slot)[0];
    assert_eq!(notice["type"], "presence_change");
    let now = world.now();
    world.shard.outside_publish(now, &Selector::all(), &Draft::new("message", Some("\"all\"")));
    world.shard.outside_publish(now, &Selector::all(), &Draft::new("message", Some("\"of you\"")));
    world.pass(200);
    assert_eq!(world.data(slot), [json!("all"), json!("of you")]);
}

#[test]
fn wide_rooms_are_filtered_in_their_steps() {
    let mut world = World::new(|_| {});
    world.shard.turn.steps.members_min = 10;
    let slots: Vec<u32> = (0..3000).map(|_| world.routed(0)).collect();
    for (index, slot) in slots.iter().enumerate() {
        world.join(*slot, if index % 2 == 0 { "r" } else { "past:r" });
        filter(&mut world, *slot, &json!({"n": index % 4}));
    }
    for room in ["r", "past:r"] {
        for n in 0..4 {
            world.publish(room, &json!({"n": n, "room": room}));
        }
    }
    world.tick();
    for (index, slot) in slots.iter().enumerate() {
        let room = if index % 2 == 0 { "r" } else { "past:r" };
        assert_eq!(world.data(*slot), [json!({"n": index % 4, "room": room})], "{index}");
    }
    assert_eq!(world.metrics.filter_evaluations.get(), 2 * 4 * 2);
}

#[test]
fn what_is_filtered_is_no_gap_and_what_is_recovered_is_filtered() {
    let mut world = World::new(|_| {});
    let slot = world.routed(0);
    world.say(slot, &json!({"type": "subscribe", "room": "past:r"}));
    world.tick();
    let position = world.texts(slot)[0]["data"].clone();
    for n in 0..6 {
        world.publish("past:r", &json!({"even": n % 2 == 0, "n": n}));
    }
    world.tick();
    assert_eq!(world.data(slot).len(), 6);
    filter(&mut world, slot, &json!({"even": true}));
    world.publish("past:r", &json!({"even": false}));
    world.publish("past:r", &json!({"even": true}));
    world.tick();
    let heard = world.texts(slot);
    assert_eq!((heard.len(), heard[0]["offset"].as_u64()), (1, Some(8)));
    let recover = json!({"epoch": position["epoch"], "offset": position["offset"]});
    world.say(slot, &json!({"type": "subscribe", "room": "past:r", "recover": recover}));
    world.tick();
    let heard = world.texts(slot);
    assert_eq!(heard[0]["data"]["recovered"], true);
    let offsets: Vec<_> = heard[1..].iter().map(|message| message["offset"].as_u64().unwrap()).collect();
    assert_eq!(offsets, [1, 3, 5, 8]);
}

#[test]
fn a_filter_and_a_pace_and_a_batch_go_together() {
    let mut world = World::new(|_| {});
    let batch = std::time::Duration::from_millis(20);
    let slot = world.connect(Newcomer { batch, ..World::by(0) });
    world.join(slot, "r");
    world.say(slot, &json!({"type": "filter", "filter": {"a": 1}}));
    world.say(slot, &json!({"type": "pace", "interval": 500}));
    for n in 0..10 {
        world.publish("r", &json!({"a": n % 2, "n": n}));
    }
    world.pass(19);
    assert_eq!(world.heard(slot), []);
    world.pass(1);
    let (messages, _) = world.arrays(slot);
    assert_eq!((messages.len(), &messages[0]["data"]["n"]), (1, &json!(9)));
    world.publish("r", &json!({"a": 1, "n": 10}));
    world.publish("r", &json!({"a": 0, "n": 11}));
    world.pass(499);
    assert_eq!(world.heard(slot), []);
    world.pass(1);
    assert_eq!(world.arrays(slot).0[0]["data"]["n"], 10);
    world.request(Request::Drain(std::time::Duration::ZERO));
    world.pass(10_000);
    assert_eq!((world.shard.connections(), world.hub.filters.len()), (0, 0));
}
