use super::*;
use crate::base::Pattern;
use crate::config::{HistoryLimits, RoomPolicy, RoomRule};
use crate::hub::{ENTRY_BYTES, Interest};
use crate::model::{ConnectionId, Sender};
use std::time::Duration;

const AGE_MS: u64 = 10_000;

const ID: &str = "5f64a9c2-8b1d-4e3f-a0b1-c2d3e4f50617";

/// A directory where rooms `h:*` have a history and `v:*` a last value.
fn directory(bytes_max: usize) -> Directory {
    let rule =
        |pattern: &str, policy| RoomRule { pattern: Pattern::parse(pattern).expect("a pattern"), policy };
    let limits = HistoryLimits {
        messages_max: 10,
        age_max: Duration::from_millis(AGE_MS),
        bytes_max: 64 * ENTRY_BYTES,
    };
    let directory = Directory::new(
        1,
        &[
            rule("h:*", RoomPolicy { history: Some(limits), ..RoomPolicy::default() }),
            rule("v:*", RoomPolicy { last_value: true, ..RoomPolicy::default() }),
            RoomRule {
                pattern: Pattern::parse_capturing("t:{tenant}:*", &[RoomRule::TENANT]).expect("a pattern"),
                policy: RoomPolicy { history: Some(limits), ..RoomPolicy::default() },
            },
        ],
    );
    directory.set_history_bytes_max(bytes_max, 0);
    directory
}

/// Publishes as a shard does for the backend.
fn publish(directory: &Directory, name: &str, data: &str, now_ms: u64) -> Option<u64> {
    publish_as(directory, None, name, data, now_ms)
}

/// Publishes as a shard does for a client of that tenant or of none, or for the backend.
fn publish_as(
    directory: &Directory,
    client: Option<Option<&str>>,
    name: &str,
    data: &str,
    now_ms: u64,
) -> Option<u64> {
    let room = directory.get_or_remember(name)?;
    let publication = Publication {
        event: "",
        room: Some(name),
        data: Some(data),
        whole: None,
        sender: client.map(|_| Sender { id: ConnectionId::parse(ID).expect("an id"), user: None }),
        unix_ms: 0,
        offset: None,
    };
    let log = room.log.as_ref()?;
    let (history, offset) = directory.append(log, &publication, || client.flatten(), now_ms)?;
    drop(history);
    directory.look_after(&room);
    Some(offset)
}

fn kept(directory: &Directory, name: &str) -> Option<usize> {
    directory.get(name).map(|room| room.log.as_ref().expect("a room that remembers").hold().len())
}

#[test]
fn rooms_without_a_rule_remember_nothing() {
    let directory = directory(1 << 20);
    assert!(directory.get_or_remember("other").is_none());
    let room = directory.attach("other");
    assert!(room.log.is_none() && directory.remembers());
    directory.detach(&room);
    assert!(directory.get("other").is_none());
    assert!(!Directory::new(1, &[]).remembers());
}

#[test]
fn a_room_outlives_its_last_member_by_the_age() {
    let directory = directory(1 << 20);
    let room = directory.attach("h:1");
    publish(&directory, "h:1", "1", 1000);
    directory.sweep(2000);
    directory.detach(&room);
    assert_eq!((directory.len(), directory.list("", None, 9).len()), (0, 0), "no room with members");
    directory.sweep(2000 + AGE_MS - 1);
    assert_eq!(kept(&directory, "h:1"), Some(0), "too old, and still known by its offsets");
    assert_eq!(directory.history_bytes(), KEPT_BYTES);
    let mut now_ms = 2000 + AGE_MS;
    while directory.get("h:1").is_some() {
        assert!(now_ms <= 2000 + 2 * AGE_MS, "never forgotten");
        now_ms = directory.sweep(now_ms);
    }
    drop(room);
    assert_eq!((directory.history_bytes(), directory.history_rooms()), (0, 0));
}

#[test]
fn who_comes_back_finds_the_same_history() {
    let directory = directory(1 << 20);
    let room = directory.attach("h:1");
    directory.detach(&room);
    assert_eq!(publish(&directory, "h:1", "1", 0), Some(1), "published while nobody was there");
    let again = directory.attach("h:1");
    assert_eq!((again.id, directory.len()), (room.id, 1));
    assert_eq!(
        directory.history_bytes(),
        ENTRY_BYTES + 1,
        "a room with members costs its publications alone"
    );
    directory.sweep(100 * AGE_MS);
    assert!(directory.get("h:1").is_some(), "members keep their room");
    assert_eq!(directory.history_bytes(), 0);
}

#[test]
fn publishing_to_nobody_is_remembered() {
    let directory = directory(1 << 20);
    assert_eq!(publish(&directory, "h:1", "1", 0), Some(1));
    assert_eq!(publish(&directory, "v:1", "1", 0), Some(1));
    assert_eq!((kept(&directory, "h:1"), kept(&directory, "v:1"), directory.len()), (Some(1), Some(1), 0));
    for now_ms in (0..4 * AGE_MS).step_by(1000) {
        directory.sweep(now_ms);
    }
    assert_eq!(
        (kept(&directory, "h:1"), kept(&directory, "v:1")),
        (None, Some(1)),
        "a last value has no age"
    );
}

#[test]
fn a_last_value_that_never_was_is_not_kept() {
    let directory = directory(1 << 20);
    let room = directory.attach("v:1");
    directory.detach(&room);
    assert!(directory.get("v:1").is_none());
    assert!(room.log.as_ref().unwrap().lock(0).is_none(), "who still has it must ask again");
    assert_eq!(directory.history_bytes(), 0);
}

#[test]
fn the_room_used_longest_ago_goes_first() {
    let cost = KEPT_BYTES + ENTRY_BYTES + 100;
    let directory = directory(3 * cost);
    let data = "x".repeat(100);
    for (number, name) in ["h:1", "h:2", "v:3"].into_iter().enumerate() {
        publish(&directory, name, &data, number as u64);
    }
    assert_eq!(directory.history_bytes(), 3 * cost);
    directory.get("h:1").unwrap().log.as_ref().unwrap().lock(5).unwrap();
    publish(&directory, "h:4", &data, 6);
    assert_eq!(
        ["h:1", "h:2", "v:3", "h:4"].map(|name| kept(&directory, name)),
        [Some(1), None, Some(1), Some(1)]
    );
    assert!(directory.history_bytes() <= 3 * cost);
    // A room with members is emptied, and its offsets go on.
    let room = directory.attach("v:3");
    let member = directory.attach("h:1");
    member.set_interest(0, Interest { local: 0, encodings: 1 });
    publish(&directory, "h:4", &data, 7);
    publish(&directory, "h:5", &data, 8);
    publish(&directory, "h:6", &data, 9);
    assert_eq!(kept(&directory, "v:3"), Some(0));
    assert_eq!(publish(&directory, "v:3", &data, 10), Some(2));
    assert!(directory.history_bytes() <= 3 * cost, "{}", directory.history_bytes());
    drop((room, member));
}

#[test]
fn who_floods_takes_nothing_from_who_has_less() {
    const ROOM_BYTES: usize = KEPT_BYTES + ENTRY_BYTES + 100;
    let data = "x".repeat(100);
    let directory = directory(40 * ROOM_BYTES);
    let publish = |client, name: &str, now_ms| publish_as(&directory, client, name, &data, now_ms);
    // Each has two of forty: a tenant by its client, one by the names of its rooms, strangers, and the backend.
    for number in 0..2 {
        publish(Some(Some("client's")), &format!("h:client-{number}"), 0);
        publish(None, &format!("t:named:{number}"), 0);
        publish(Some(None), &format!("h:stranger-{number}"), 0);
        publish(None, &format!("h:backend-{number}"), 0);
    }
    let all = |directory: &Directory| {
        let names = ["h:client-", "t:named:", "h:stranger-", "h:backend-"];
        names.map(|name| (0..2).filter_map(|number| kept(directory, &format!("{name}{number}"))).sum())
    };
    assert_eq!(all(&directory), [2, 2, 2, 2]);
    // A tenant has a quarter, then its own go.
    for number in 0..1000 {
        publish(Some(Some("flood")), &format!("h:flood-{number}"), 1 + number);
    }
    let of_flood = |directory: &Directory| {
        (0..1000).filter_map(|number| kept(directory, &format!("h:flood-{number}"))).sum::<usize>()
    };
    assert_eq!((all(&directory), of_flood(&directory)), ([2, 2, 2, 2], 10));
    assert_eq!(kept(&directory, "h:flood-999"), Some(1), "the last is kept");
    assert_eq!((directory.history_share_evictions(), directory.history_evictions()), (990, 0));
    // Strangers have no bound of their own, but pay with their own as soon as all is spent.
    for number in 0..1000 {
        publish(Some(None), &format!("h:anybody-{number}"), 2000 + number);
    }
    assert_eq!((all(&directory), of_flood(&directory)), ([2, 2, 0, 2], 10));
    assert!(directory.history_bytes() <= 40 * ROOM_BYTES);
    // A tenant with less than its part gets place from who has most, those used longest ago first.
    assert!(kept(&directory, "h:anybody-999").is_some());
    for number in 0..4 {
        publish(None, &format!("t:late:{number}"), 4000 + number);
    }
    assert_eq!((all(&directory), of_flood(&directory)), ([2, 2, 0, 2], 10));
    assert_eq!((0..4).filter_map(|number| kept(&directory, &format!("t:late:{number}"))).sum::<usize>(), 4);
    // All is given back.
    directory.set_history_bytes_max(0, 0);
    assert_eq!((directory.history_bytes(), directory.history_rooms()), (0, 0));
}

#[test]
fn a_room_that_was_emptied_is_charged_to_who_fills_it_next() {
    let directory = directory(1 << 20);
    let bytes_of = |tenant: &str| directory.ledger.shares.of(Owner::Tenant(tenant.into())).bytes();
    let member = directory.attach("h:1");
    publish_as(&directory, Some(Some("a")), "h:1", "1", 0);
    publish_as(&directory, Some(Some("b")), "h:1", "2", 0);
    assert_eq!((bytes_of("a"), bytes_of("b")), (2 * (ENTRY_BYTES + 1), 0));
    directory.empty("h:1");
    publish_as(&directory, Some(Some("b")), "h:1", "3", 1);
    assert_eq!((bytes_of("a"), bytes_of("b")), (0, ENTRY_BYTES + 1));
    directory.detach(&member);
    assert_eq!((bytes_of("a"), bytes_of("b")), (0, KEPT_BYTES + ENTRY_BYTES + 1));
    directory.set_history_bytes_max(0, 0);
    assert_eq!((bytes_of("b"), directory.history_bytes()), (0, 0), "it is listed under its new owner");
}

#[test]
fn rooms_that_keep_nothing_go_before_those_that_do() {
    let directory = directory(10 * KEPT_BYTES);
    publish(&directory, "h:real", "1", 0);
    for number in 0..1000 {
        let room = directory.attach(&format!("h:{number}"));
        directory.sweep(number);
        directory.detach(&room);
        assert!(directory.history_bytes() <= 10 * KEPT_BYTES);
    }
    assert_eq!(kept(&directory, "h:real"), Some(1));
    assert!(directory.get("h:998").is_some() && directory.get("h:1").is_none());
    assert!(directory.history_rooms() <= 10);
}

#[test]
fn what_is_larger_than_the_bound_is_not_kept() {
    let directory = directory(KEPT_BYTES + ENTRY_BYTES + 50);
    assert_eq!(publish(&directory, "h:1", "1", 0), Some(1));
    let room = directory.attach("h:1");
    assert_eq!(publish(&directory, "h:1", &"x".repeat(5000), 0), Some(2));
    assert_eq!((kept(&directory, "h:1"), directory.history_bytes()), (Some(0), 0));
    assert_eq!(publish(&directory, "h:1", "3", 0), Some(3));
    assert_eq!(kept(&directory, "h:1"), Some(1));
    drop(room);
}

#[test]
fn a_room_that_fills_the_bound_alone_drops_its_own_oldest() {
    // A member's room and 10 messages of 1 byte need as much as there is; the rule would allow as many.
    let directory = directory(10 * (ENTRY_BYTES + 1));
    let room = directory.attach("h:1");
    for number in 1..=50 {
        assert_eq!(publish(&directory, "h:1", "1", 0), Some(number));
        assert_eq!(kept(&directory, "h:1"), Some(number.min(10) as usize));
    }
    // What the rule does not allow to be kept costs nobody else anything.
    let other = directory.attach("h:2");
    directory.set_history_bytes_max(11 * (ENTRY_BYTES + 1), 0);
    publish(&directory, "h:2", "1", 1);
    assert_eq!(publish(&directory, "h:2", &"x".repeat(64 * ENTRY_BYTES), 2), Some(2));
    assert_eq!((kept(&directory, "h:1"), kept(&directory, "h:2")), (Some(10), Some(0)));
    assert_eq!(directory.history_evictions(), 0);
    drop((room, other));
}

#[test]
fn what_is_emptied_is_gone_unless_it_has_members() {
    let directory = directory(1 << 20);
    let epoch = |name: &str| {
        let room = directory.get(name)?;
        Some(room.log.as_ref().expect("a room that remembers").hold().position().epoch)
    };
    directory.empty("h:none");
    publish(&directory, "h:alone", "1", 0);
    let before = epoch("h:alone");
    directory.empty("h:alone");
    assert_eq!((epoch("h:alone"), directory.history_bytes(), directory.history_rooms()), (None, 0, 0));
    assert_eq!(publish(&directory, "h:alone", "1", 0), Some(1));
    assert_ne!(epoch("h:alone"), before);
    let room = directory.attach("h:held");
    publish(&directory, "h:held", "1", 0);
    directory.empty("h:held");
    assert_eq!((kept(&directory, "h:held"), publish(&directory, "h:held", "1", 0)), (Some(0), Some(2)));
    directory.detach(&room);
}

#[test]
fn all_bytes_are_given_back_whatever_threads_do() {
    let bound = 40 * KEPT_BYTES;
    let directory = directory(bound);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let directory = &directory;
            scope.spawn(move || {
                for step in 0..3000_u64 {
                    let kind = if step % 3 == 0 { "v" } else { "h" };
                    let name = format!("{kind}:{}", (step * (thread + 3)) % 50);
                    let room = (step % 2 == 0).then(|| directory.attach(&name));
                    while publish(directory, &name, &"x".repeat(step as usize % 300), step).is_none() {}
                    if step % 70 == 0 {
                        directory.empty(&name);
                    }
                    if step % 100 == 0 {
                        directory.sweep(step);
                    }
                    if let Some(room) = room {
                        directory.detach(&room);
                    }
                }
            });
        }
    });
    assert!(directory.is_empty());
    assert!(directory.history_bytes() <= bound, "{}", directory.history_bytes());
    directory.set_history_bytes_max(0, 0);
    assert_eq!((directory.history_bytes(), directory.history_rooms()), (0, 0));
    assert!(directory.histories.lock().by_due.is_empty() && directory.histories.lock().by_use.is_empty());
}
