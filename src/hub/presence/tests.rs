use super::*;
use crate::model::{Compression, ConnectionKey, DialectId, Locator, NamedMembers, NodeId};

const SECOND: Duration = Duration::from_secs(1);

fn id(slot: u32) -> ConnectionId {
    ConnectionId::new(
        Locator { node: NodeId::ALONE, shard: 0, slot },
        [slot as u8; 16],
        &ConnectionKey::new(7),
    )
}

fn encodings() -> [Encoding; 2] {
    [Compression::None, Compression::Window15].map(|it| Encoding::new(DialectId(0), it))
}

fn user(name: &str) -> Arc<Identity> {
    Arc::new(Identity { user: Some(name.into()), ..Identity::default() })
}

/// The names of users, or the slots of anonymous clients, in order.
fn names(roll: &Roll) -> Vec<String> {
    let mut names: Vec<_> = match roll.named() {
        NamedMembers::Ids(ids) => ids.iter().map(ToString::to_string).collect(),
        NamedMembers::People(people) => people
            .iter()
            .map(|person| match person.identity.as_ref().and_then(|identity| identity.user.as_deref()) {
                Some(user) => user.to_owned(),
                None => person.client_id.expect("a user or an id").to_string(),
            })
            .collect(),
    };
    names.sort_unstable();
    names
}

/// `joined - left = count`, or why nothing is told.
fn taken(take: &Take) -> String {
    match take {
        Take::Done => "done".to_owned(),
        Take::Later => "later".to_owned(),
        Take::Notice(notice) => {
            let [joined, left] = [&notice.joined, &notice.left].map(|roll| names(roll).join(" "));
            format!("{joined} - {left} = {}", notice.count)
        }
    }
}

#[test]
fn members_of_all_shards_are_listed_up_to_a_limit() {
    let presence = Presence::new(PresenceMode::Ids, 2);
    let [rooms, other] = encodings();
    presence.join(0, rooms, id(1), None);
    presence.join(0, rooms, id(2), None);
    presence.join(0, other, id(3), None);
    presence.join(1, rooms, id(4), None);
    let listed = |limit| match presence.members(limit).0.named() {
        NamedMembers::Ids(ids) => ids.to_vec(),
        NamedMembers::People(people) => panic!("{people:?}"),
    };
    assert_eq!(listed(9), [1, 2, 3, 4].map(id));
    presence.leave(0, rooms, 0);
    presence.leave(0, rooms, 1);
    assert_eq!(listed(2), [2, 3].map(id));
    assert_eq!(listed(0), []);
}

#[test]
fn the_count_continues_the_one_before_whatever_else_came_and_went() {
    let presence = Presence::new(PresenceMode::Ids, 2);
    let [encoding, _] = encodings();
    assert!(presence.join(0, encoding, id(1), None), "the first change has the shard tell");
    assert!(!presence.join(1, encoding, id(2), None), "one shard tells at a time");
    let Take::Notice(notice) = presence.take(1, SECOND) else { panic!("nothing is told") };
    assert_eq!((notice.joined_count, notice.left_count, notice.count), (2, 0, 2));
    // Comes and goes between two notices: nothing to tell, and the count told last is right.
    presence.join(1, encoding, id(3), None);
    presence.leave(1, encoding, 1);
    assert_eq!(taken(&presence.take(2, SECOND)), "done");
    assert!(presence.leave(1, encoding, 0), "another shard can tell from then on");
    assert_eq!(taken(&presence.take(3, SECOND)), format!(" - {} = 1", id(2)));
}

#[test]
fn a_user_counts_once_and_has_grace() {
    let presence = Presence::new(PresenceMode::Users, 2);
    let [encoding, _] = encodings();
    let (alice, bob) = (user("alice"), user("bob"));
    presence.join(0, encoding, id(1), Some(&alice));
    presence.join(0, encoding, id(2), Some(&bob));
    presence.join(1, encoding, id(3), Some(&alice));
    assert_eq!(taken(&presence.take(0, SECOND)), "alice bob -  = 2");
    presence.leave(0, encoding, 0);
    assert_eq!(taken(&presence.take(100, SECOND)), "done", "another connection of the user is there");
    // A page that is loaded again.
    presence.leave(1, encoding, 0);
    assert_eq!(taken(&presence.take(200, SECOND)), "later");
    presence.join(1, encoding, id(4), Some(&user("alice")));
    assert_eq!(taken(&presence.take(300, SECOND)), "done");
    presence.leave(1, encoding, 0);
    presence.join(0, encoding, id(5), None);
    // The user is counted as long as nothing else is told.
    assert_eq!(taken(&presence.take(400, SECOND)), format!("{} -  = 3", id(5)));
    assert_eq!(taken(&presence.take(1399, SECOND)), "later");
    assert_eq!(taken(&presence.take(1400, SECOND)), " - alice = 2");
    assert_eq!(taken(&presence.take(1500, SECOND)), "done");
    let (roll, count) = presence.members(9);
    assert_eq!((names(&roll).len(), count), (2, Some(2)));
}

#[test]
fn a_user_of_another_tenant_is_another_user() {
    let presence = Presence::new(PresenceMode::Users, 1);
    let [encoding, _] = encodings();
    let of = |tenant: &str| Arc::new(Identity { tenant: Some(tenant.into()), ..(*user("alice")).clone() });
    presence.join(0, encoding, id(1), Some(&of("a")));
    presence.join(0, encoding, id(2), Some(&of("b")));
    assert_eq!(taken(&presence.take(0, SECOND)), "alice alice -  = 2");
}

#[test]
fn a_member_that_says_who_it_is_is_told_anew() {
    let [encoding, _] = encodings();
    let connections = Presence::new(PresenceMode::Connections, 1);
    connections.join(0, encoding, id(1), None);
    assert_eq!(taken(&connections.take(0, SECOND)), format!("{} -  = 1", id(1)));
    assert_eq!(taken(&connections.take(1, SECOND)), "done");
    assert!(connections.identify(0, encoding, 0, Some(&user("alice"))));
    assert_eq!(taken(&connections.take(2, SECOND)), "alice -  = 1", "it is no member more");
    assert!(!connections.identify(0, encoding, 0, Some(&user("alice"))), "a renewed token changes nothing");
    connections.identify(0, encoding, 0, Some(&user("bob")));
    connections.leave(0, encoding, 0);
    assert_eq!(taken(&connections.take(3, SECOND)), " - bob = 0");

    let users = Presence::new(PresenceMode::Users, 1);
    users.join(0, encoding, id(1), None);
    users.take(0, Duration::ZERO);
    users.identify(0, encoding, 0, Some(&user("alice")));
    assert_eq!(taken(&users.take(1, Duration::ZERO)), format!("alice - {} = 1", id(1)));
}

#[test]
fn names_have_a_bound_in_bytes() {
    let presence = Presence::new(PresenceMode::Users, 1);
    let [encoding, _] = encodings();
    let info = format!("{{\"about\":\"{}\"}}", "x".repeat(Identity::INFO_BYTES_MAX - 12));
    for number in 0..1000 {
        let identity = Identity { info: Some(info.as_str().into()), ..(*user(&number.to_string())).clone() };
        presence.join(0, encoding, id(number), Some(&Arc::new(identity)));
    }
    let (roll, count) = presence.members(1000);
    assert!(roll.named().len() < 64 * 1024 / info.len() && count == Some(1000), "{}", roll.named().len());
    let Take::Notice(notice) = presence.take(0, SECOND) else { panic!("nothing is told") };
    assert!(notice.joined.named().len() < 8192 / info.len() && notice.joined_count == 1000);
}

#[test]
fn an_empty_room_is_told_by_no_shard() {
    let presence = Presence::new(PresenceMode::Ids, 1);
    let [encoding, _] = encodings();
    presence.join(0, encoding, id(1), None);
    assert!(!presence.abandon(), "it has a member");
    presence.leave(0, encoding, 0);
    assert!(presence.abandon());
    assert!(presence.join(0, encoding, id(2), None), "the task is free again");
}
