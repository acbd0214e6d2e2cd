//! Route endpoints: snapshots, and what their messages do.

use super::world_tests::World;
use serde_json::{Value, json};

#[test]
fn a_history_is_sent_newest_first_and_again_when_asked() {
    let mut world = World::new(|_| {});
    let slot = world.connect(World::by(0));
    let heard = world.texts(slot);
    assert_eq!((&heard[0]["type"], &heard[1]["type"]), (&json!("connected"), &json!("initial_data")));
    assert_eq!(heard[1]["data"], json!([]));
    for n in 0..3 {
        world.publish("past:x", &json!({"n": n}));
    }
    let slot = world.connect(World::by(0));
    let heard = world.texts(slot);
    assert_eq!(heard[1]["data"], json!([{"n": 2}, {"n": 1}, {"n": 0}]));
    world.say(slot, &json!({"type": "filter", "filter": {"n": 1}}));
    world.say(slot, &json!({"type": "again", "id": 4}));
    world.tick();
    let heard = world.texts(slot);
    assert_eq!((&heard[0]["data"], &heard[0]["id"]), (&json!([{"n": 1}]), &json!(4)));
}

#[test]
fn nothing_is_missing_and_nothing_twice_between_a_snapshot_and_what_follows() {
    let mut world = World::new(|_| {});
    // The mail of these is still under way when the connection comes.
    let member = world.plain();
    world.join(member, "past:x");
    world.publish("past:x", &json!(1));
    world.publish("past:x", &json!(2));
    let slot = world.connect(World::by(0));
    // The endpoint puts it there; here its rooms are the test's.
    let joined = world.texts(slot);
    assert_eq!(joined[1]["data"], json!([2, 1]));
    let mut newcomer = World::by(0);
    newcomer.rooms = vec![crate::model::RoomName::new("past:x").unwrap()];
    world.publish("past:x", &json!(3));
    let slot = world.connect(newcomer);
    world.publish("past:x", &json!(4));
    world.tick();
    let heard = world.texts(slot);
    assert_eq!((&heard[1]["data"], heard.len()), (&json!([3, 2, 1]), 3));
    assert_eq!(heard[2]["data"], 4);
}

#[test]
fn a_last_value_is_not_followed_by_older_ones() {
    let mut world = World::new(|_| {});
    let mut newcomer = World::by(1);
    newcomer.rooms = vec![crate::model::RoomName::new("last:x").unwrap()];
    world.publish("last:x", &json!("old"));
    let slot = world.connect(newcomer);
    let heard = world.texts(slot);
    assert_eq!((&heard[1]["type"], &heard[1]["data"], heard.len()), (&json!("message"), &json!("old"), 2));
    world.say(slot, &json!({"type": "pace", "interval": 1000}));
    for value in 1..4 {
        world.publish("last:x", &json!(value));
        world.tick();
    }
    assert_eq!(world.data(slot), [json!(1)]);
    world.say(slot, &json!({"type": "again"}));
    world.tick();
    assert_eq!(world.data(slot), [json!(3), json!(3)], "what waits comes first");
    world.pass(5000);
    assert_eq!(world.heard(slot), []);
}

#[test]
fn without_a_value_a_request_for_it_is_answered() {
    let mut world = World::new(|_| {});
    let slot = world.routed(1);
    for id in [None, Some(7)] {
        world.say(slot, &json!({"type": "again", "id": id}));
        world.tick();
        let heard = world.texts(slot);
        let [answer] = &heard[..] else { panic!("{heard:?}") };
        assert_eq!((&answer["type"], &answer["data"]), (&json!("again"), &json!({"sent": 0})));
        assert_eq!(answer["id"], json!(id));
    }
}

#[test]
fn rooms_are_joined_by_the_fields_of_messages() {
    let mut world = World::new(|_| {});
    let slot = world.routed(0);
    world.say(slot, &json!({"type": "follow", "to": "a\u{e9}", "id": 1}));
    world.tick();
    let heard = world.texts(slot);
    assert_eq!((&heard[0]["type"], &heard[0]["room"]), (&json!("subscribed"), &json!("past:aé")));
    for (to, error) in [
        (json!(null), "room name is required"),
        (json!(7), "room name is required"),
        (json!(["a"]), "room name is required"),
        (json!(""), "room name is required"),
        (json!("\u{0}"), "room name is invalid"),
        (json!("x".repeat(300)), "room name is invalid"),
    ] {
        world.say(slot, &json!({"type": "follow", "to": to}));
        world.tick();
        let answer = &world.texts(slot)[0];
        assert!(answer["error"].as_str().is_some_and(|text| text.starts_with(error)), "{to}: {answer}");
    }
    world.say(slot, &json!({"type": "follow"}));
    world.tick();
    assert_eq!(world.texts(slot)[0]["error"], "room name is required");
}

#[test]
fn a_pace_that_is_none_is_refused() {
    let mut world = World::new(|_| {});
    let slot = world.routed(0);
    for wrong in
        ["99", "3600001", "-100", "1.5", "\"1000\"", "null", "{}", "1e3", "99999999999999999999", "true"]
    {
        world.say_text(slot, &format!(r#"{{"type":"pace","interval":{wrong}}}"#));
        world.tick();
        let answer = &world.texts(slot)[0];
        assert!(answer["error"].as_str().unwrap().contains("100 to 3600000"), "{wrong}: {answer}");
    }
    for fine in ["100", "3600000", "0"] {
        world.say_text(slot, &format!(r#"{{"type":"pace","interval":{fine}}}"#));
        world.tick();
        assert_eq!(world.heard(slot), [], "{fine}");
    }
}

#[test]
fn what_is_forwarded_says_where_it_was_said() {
    let mut world = World::new(|_| {});
    let slot = world.routed(0);
    world.say(slot, &json!({"type": "cancel", "why": "\u{1}"}));
    world.tick();
    assert_eq!(world.heard(slot), []);
    let handed = world.handed.lock().unwrap().pop().unwrap();
    let data: Value = serde_json::from_str(&handed.1).unwrap();
    assert_eq!(handed.0, "cancel");
    assert_eq!(
        data,
        json!({"path": "/s/{id}", "parameters": {"id": "x"}, "message": {"type": "cancel", "why": "\u{1}"}})
    );
    // Elsewhere the type is like any other.
    let elsewhere = world.plain();
    world.say(elsewhere, &json!({"type": "cancel", "data": 1}));
    world.say(elsewhere, &json!({"type": "pace", "interval": 100}));
    world.tick();
    assert_eq!(world.handed.lock().unwrap().pop().unwrap().1, "1");
    assert_eq!(world.texts(elsewhere)[0]["error"], "unknown message type");
}
