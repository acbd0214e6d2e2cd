//! What the shard moves between accounts, looked at from the accounts' side.

use super::{NOW, World};
use crate::config::{AccessDefault, Config};
use crate::hub::Party;
use crate::model::{Identity, Refusal, RoomName};
use crate::shard::Request;
use std::sync::Arc;

fn who(user: &str) -> Option<Arc<Identity>> {
    let (user, tenant) = (Some(user.into()), Some("t".into()));
    Some(Arc::new(Identity { user, tenant, ..Identity::default() }))
}

/// Memberships and waiting bytes of a user, and the connections without the one that looks.
fn counts(world: &World, user: &str) -> (u32, u32, usize) {
    let holding = world.hub.accounts.enter_anyway(&who(user).unwrap()).unwrap();
    let account = holding.each().next().unwrap();
    (account.connections() - 1, account.memberships(), account.outbox_bytes())
}

fn limited(config: &mut Config) {
    config.access.default = AccessDefault::Allow;
    config.limits.per_user.rooms_max = 2;
}

#[test]
fn a_new_identity_takes_all_of_a_connection_along() {
    let mut world = World::new(limited);
    let slot = world.member(0);
    world.publish(1000);
    world.flush();
    let waiting = world.shard.conns.at(slot).unwrap().backlog_bytes();
    assert!(waiting > 1000);
    for user in ["u", "v", "v"] {
        world.shard.identify(NOW, slot, who(user));
        assert_eq!(counts(&world, user), (1, 1, waiting), "{user}");
    }
    assert_eq!(counts(&world, "u"), (0, 0, 0));
    world.shard.identify(NOW, slot, None);
    assert_eq!((counts(&world, "v"), world.hub.accounts.counts()), ((0, 0, 0), (0, 0)));
}

#[test]
fn limits_that_come_and_go_find_what_there_is() {
    let mut world = World::new(|config| config.access.default = AccessDefault::Allow);
    let slot = world.member(0);
    world.shard.identify(NOW, slot, who("u"));
    world.publish(1000);
    world.flush();
    let waiting = world.shard.conns.at(slot).unwrap().backlog_bytes();
    assert_eq!(counts(&world, "u"), (0, 0, 0), "where nothing is limited nothing is counted");
    assert!(world.shard.policy.holdings.is_empty());
    let mut config = Config::clone(world.shard.config());
    limited(&mut config);
    let off = world.shard.config().clone();
    for (config, expected) in [(Arc::new(config), (1, 1, waiting)), (off, (0, 0, 0))] {
        world.mail(Request::Reconfigure(config));
        assert_eq!(counts(&world, "u"), expected);
    }
    assert!(world.shard.policy.holdings.is_empty());
    world.shard.lost(slot, &mut world.wires);
    assert_eq!(world.hub.outboxes.bytes(), 0);
}

#[test]
fn a_room_that_is_full_costs_no_place() {
    let mut world = World::new(|config| {
        limited(config);
        config.limits.connections_per_room_max = 1;
    });
    let _there = world.member(usize::MAX);
    let slot = world.connect();
    world.shard.identify(NOW, slot, who("u"));
    let join =
        |world: &mut World, room| world.shard.subscribe(NOW, slot, room).err().map(|denial| denial.refusal);
    assert_eq!(join(&mut world, "room"), Some(Refusal::RoomFull));
    assert_eq!((join(&mut world, "a"), join(&mut world, "b")), (None, None));
    assert_eq!(join(&mut world, "c"), Some(Refusal::TooManyRoomsOfUser));
    let id = world.shard.conns.at(slot).unwrap().id;
    assert_eq!(world.shard.leave_for(NOW, id, &RoomName::new("a").unwrap()), Some(true));
    assert_eq!((join(&mut world, "c"), counts(&world, "u").1), (None, 2));
    world.shard.lost(slot, &mut world.wires);
    assert_eq!(world.hub.accounts.counts(), (0, 0));
}

#[test]
fn a_backlog_that_need_not_give_way_is_noted_again() {
    let mut world = World::new(|config| {
        limited(config);
        config.limits.per_user.outbox_bytes_max = 1 << 20;
    });
    let slot = world.member(0);
    world.shard.identify(NOW, slot, who("u"));
    world.publish(1000);
    world.flush();
    let holding = world.hub.accounts.enter_anyway(&who("u").unwrap()).unwrap();
    let account = holding.each().next().unwrap();
    let claim = || account.claim_largest(1, 100);
    for larger_than in [100, 100, usize::MAX] {
        assert_eq!((claim(), claim(), account.gives_way()), (Some(0), None, true), "each note is had once");
        let account = account.clone();
        world.mail(Request::EvictLargestOf { account, party: Party::User, larger_than });
    }
    assert!(!account.gives_way());
    assert_eq!(claim(), Some(0));
    assert!(world.shard.conns.at(slot).unwrap().is_open(), "the share was never spent");
}

#[test]
fn while_a_larger_backlog_is_asked_to_give_way_no_smaller_one_goes() {
    let mut world = World::new(|config| {
        limited(config);
        config.limits.per_user.outbox_bytes_max = 4000;
    });
    let slot = world.member(0);
    world.shard.identify(NOW, slot, who("u"));
    let holding = world.hub.accounts.enter_anyway(&who("u").unwrap()).unwrap();
    let account = holding.each().next().unwrap().clone();
    account.note_backlog(1, 1 << 20);
    assert_eq!(account.claim_largest(2, 0), Some(1), "a third shard asks");
    let say = |world: &mut World, times: usize| {
        for _ in 0..times {
            world.publish(1000);
            world.flush();
        }
        world.shard.conns.at(slot).is_some_and(|conn| conn.is_open())
    };
    assert!(say(&mut world, 10), "the larger one will go");
    assert!(account.outbox_bytes() > 8000);
    account.gave_way();
    assert!(!say(&mut world, 1), "nobody else is left");
}
