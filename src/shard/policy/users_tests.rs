//! What a shard tells of users, looked at in the portions in which it is told.

use super::{NOW, World};
use crate::config::AccessDefault;
use crate::model::{Audience, Identity, MembersCursor, RoomName};
use crate::shard::policy::users::{LOOK_MAX, UsersPlace};
use std::collections::{BTreeMap, HashSet};
use std::hash::RandomState;
use std::sync::Arc;

fn world() -> World {
    World::new(|config| config.access.default = AccessDefault::Allow)
}

fn connect(world: &mut World, user: &str, tenant: Option<&str>) -> u32 {
    let slot = world.connect();
    let identity = Identity { user: Some(user.into()), tenant: tenant.map(Box::from), ..Identity::default() };
    world.shard.identify(NOW, slot, Some(Arc::new(identity)));
    slot
}

/// Connections of a user, by its index among those asked for, and of a tenant.
type Found = BTreeMap<(usize, Option<Box<str>>), u32>;

/// All that the shard tells of some users, and in how many portions.
fn told(world: &World, users: &[&str]) -> (Found, usize) {
    let rooms: Vec<_> = users.iter().map(|user| RoomName::known(&Audience::User.room(user))).collect();
    let (mut found, mut portions) = (BTreeMap::new(), 0);
    let mut next: Option<UsersPlace> = Some((0, MembersCursor::START));
    while let Some(from) = next {
        let (parts, rest) = world.shard.users_here(&rooms, from);
        assert!(parts.iter().map(|part| part.connections as usize).sum::<usize>() <= LOOK_MAX);
        for part in parts {
            *found.entry((part.index, part.tenant)).or_default() += part.connections;
        }
        (next, portions) = (rest, portions + 1);
    }
    (found, portions)
}

#[test]
fn a_user_with_many_connections_is_counted_in_portions() {
    let mut world = world();
    let many = LOOK_MAX + 500;
    for number in 0..many {
        connect(&mut world, "many", [None, Some("t")][number % 2]);
    }
    connect(&mut world, "one", Some("t"));
    let tenant = || Some(Box::from("t"));
    let half = (many / 2) as u32;
    let expected = BTreeMap::from([((0, tenant()), 1), ((2, None), half), ((2, tenant()), half)]);
    assert_eq!(told(&world, &["one", "nobody", "many"]), (expected, 2));
    assert_eq!(told(&world, &[]), (BTreeMap::new(), 1));
}

#[test]
fn many_users_are_counted_in_portions() {
    let world = world();
    let names: Vec<String> = (0..2 * LOOK_MAX + 1).map(|number| number.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(told(&world, &names), (BTreeMap::new(), 3), "a look for each that is not here");
}

#[test]
fn the_users_of_a_room_are_told_in_portions() {
    let mut world = world();
    let numbers = RandomState::new();
    for number in 0..LOOK_MAX + 10 {
        let slot = match number % 3 {
            0 => world.connect(),
            1 => connect(&mut world, "u", None),
            _ => connect(&mut world, "u", Some("t")),
        };
        world.say(slot, r#"{"type":"subscribe","room":"room"}"#);
    }
    let (mut users, mut looks, mut next) = (HashSet::new(), Vec::new(), Some(MembersCursor::START));
    while let Some(cursor) = next {
        let (here, rest) = world.shard.room_users_here("room", cursor, &numbers);
        looks.push(here.len());
        users.extend(here);
        next = rest;
    }
    assert_eq!((users.len(), looks.len()), (2, 2), "two users, and who is not known is none");
    assert_eq!(world.shard.room_users_here("none", MembersCursor::START, &numbers), (Vec::new(), None));
}
