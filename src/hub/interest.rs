//! The rooms that the node has members of, told to what brings it the publications of other nodes there.

use crate::model::RoomName;
use std::fmt;
use std::sync::Arc;

/// Hears of which rooms the node has members.
pub trait InterestListener: Send + Sync {
    /// The node's first member of a room joins, or its last member has left. Rooms of audiences (users and tenants)
    /// count as rooms.
    ///
    /// It is told before the join is confirmed. Of a member that the room then has no place for, both is told. For one
    /// name the calls come one after the other and alternate, beginning with `true`. They are made with a lock of the
    /// directory held: they must neither block nor ask the directory for anything.
    fn interest(&self, room: &RoomName, has_members: bool);
}

/// The listener of a directory, if it has one.
#[derive(Clone, Default)]
pub(super) struct Listening(pub Option<Arc<dyn InterestListener>>);

impl Listening {
    #[inline]
    pub fn tell(&self, room: &RoomName, has_members: bool) {
        if let Some(listener) = &self.0 {
            listener.interest(room, has_members);
        }
    }
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Listening").field(&self.0.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Pattern;
    use crate::config::{RoomPolicy, RoomRule};
    use crate::hub::{Hub, Rooms};
    use crate::model::{Audience, Compression, DialectId, Encoding};
    use std::collections::HashMap;
    use std::sync::Mutex;

    const PLAIN: Encoding = Encoding::new(DialectId::NATIVE, Compression::None);

    #[derive(Default)]
    struct Heard(Mutex<Vec<(String, bool)>>);

    impl InterestListener for Heard {
        fn interest(&self, room: &RoomName, has_members: bool) {
            self.0.lock().unwrap().push((room.to_string(), has_members));
        }
    }

    fn listened_to(shards: usize) -> (Hub, Arc<Heard>) {
        let pattern = Pattern::parse("kept:*").unwrap();
        let policy = RoomPolicy { last_value: true, ..RoomPolicy::default() };
        let (mut hub, heard) =
            (Hub::new(shards, 7, &[RoomRule { pattern, policy }]), Arc::new(Heard::default()));
        hub.directory.set_listener(heard.clone());
        (hub, heard)
    }

    fn told(heard: &Heard) -> Vec<(String, bool)> {
        std::mem::take(&mut heard.0.lock().unwrap())
    }

    #[test]
    fn the_first_and_the_last_member_of_the_node_are_told() {
        let (hub, heard) = listened_to(2);
        let (mut here, mut there) = (Rooms::new(0), Rooms::new(1));
        for name in ["plain", "kept:a", Audience::User.room("u").as_str()] {
            let (first, _) = here.join(&hub.directory, name, 0, PLAIN, 1, 0).unwrap();
            assert_eq!(told(&heard), [(name.to_owned(), true)]);
            let (second, _) = there.join(&hub.directory, name, 0, PLAIN, 1, 0).unwrap();
            let (third, _) = there.join(&hub.directory, name, 0, PLAIN, 2, 0).unwrap();
            here.leave(&hub.directory, PLAIN, first);
            there.leave(&hub.directory, PLAIN, third);
            assert_eq!(told(&heard), [], "others are still members");
            there.leave(&hub.directory, PLAIN, second);
            assert_eq!(told(&heard), [(name.to_owned(), false)]);
        }
    }

    #[test]
    fn a_room_kept_for_its_history_alone_is_of_no_interest() {
        let (hub, heard) = listened_to(1);
        let mut rooms = Rooms::new(0);
        hub.directory.get_or_remember("kept:a").expect("a room that remembers is made");
        assert_eq!(told(&heard), []);
        for _ in 0..2 {
            let (member, _) = rooms.join(&hub.directory, "kept:a", 0, PLAIN, 1, 0).unwrap();
            assert_eq!(told(&heard), [("kept:a".to_owned(), true)]);
            rooms.leave(&hub.directory, PLAIN, member);
            assert_eq!(told(&heard), [("kept:a".to_owned(), false)]);
        }
    }

    #[test]
    fn what_is_told_of_a_room_alternates_whoever_comes_and_goes() {
        let (hub, heard) = listened_to(4);
        std::thread::scope(|scope| {
            for shard in 0..4 {
                let directory = &hub.directory;
                scope.spawn(move || {
                    let mut rooms = Rooms::new(shard);
                    for round in 0..2000_u32 {
                        let name = ["plain", "kept:a"][round as usize % 2];
                        // A limit of 2 refuses some of them.
                        if let Ok((member, _)) = rooms.join(directory, name, 2, PLAIN, round, 0) {
                            rooms.leave(directory, PLAIN, member);
                        }
                    }
                });
            }
        });
        let mut states: HashMap<String, bool> = HashMap::new();
        for (room, has_members) in told(&heard) {
            let before = states.insert(room.clone(), has_members).unwrap_or(false);
            assert_ne!(before, has_members, "{room}");
        }
        assert_eq!(states.values().filter(|has_members| **has_members).count(), 0);
        assert_eq!(states.len(), 2);
    }
}
