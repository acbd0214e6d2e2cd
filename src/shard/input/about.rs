//! What a connection is told about itself, and the rooms that are its own.

use crate::model::{Answer, Refusal, RequestId, RoomName};
use crate::shard::fanout::recovery::Joined;
use crate::shard::input::commands::{Asked, user_of};
use crate::shard::{Now, Shard};

impl Shard {
    /// The first message of a connection.
    pub(super) fn greet(&mut self, now: Now, slot: u32) {
        let Some(conn) = self.conns.at(slot) else { return };
        let (client_id, identity, config) = (conn.id, conn.identity.clone(), self.config.clone());
        let user = user_of(&identity);
        self.answer(now, slot, &Answer::Connected { client_id, user, available: &config.available_rooms });
    }

    /// What a connection is told and put into at its endpoint.
    pub(in crate::shard) fn welcome_in(&mut self, now: Now, slot: u32, rooms: &[RoomName]) {
        self.greet(now, slot);
        for room in rooms {
            self.put_into(now, slot, room);
        }
        if self.conns.at(slot).is_some_and(|conn| conn.terms.is_some()) {
            let config = self.config.clone();
            if let Err(denial) = self.snapshot(now, slot, &config, None) {
                self.note_refusal(now, slot, None, &denial);
            }
        }
    }

    /// Makes a connection a member without being asked, and without an answer.
    fn put_into(&mut self, now: Now, slot: u32, room: &RoomName) {
        if let Err(denial) = self.subscribe(now, slot, room.as_str()) {
            self.note_refusal(now, slot, None, &denial);
        }
    }

    /// What is known of a connection.
    pub(in crate::shard) fn status(&mut self, now: Now, slot: u32, id: RequestId<'_>) {
        let Some(conn) = self.conns.at(slot) else { return };
        let rooms: Vec<RoomName> = conn
            .memberships
            .iter()
            .filter_map(|membership| Some(self.rooms.get(membership.room)?.shared.name.clone()))
            .collect();
        let (client_id, identity) = (conn.id, conn.identity.clone());
        let active_unix_ms = self.timers.unix_ms(now, conn.message_ds);
        let connected_unix_ms = self.timers.unix_ms(now, conn.opened_ds);
        let user = user_of(&identity);
        let rooms = &rooms;
        let answer = Answer::Status { client_id, user, rooms, active_unix_ms, connected_unix_ms, id };
        self.answer(now, slot, &answer);
    }

    /// Joins the rooms `notifications:TENANT:USER:TYPE` of a connection's own user, as the AegisX platform document has it:
    /// all of them, or none where one is refused.
    pub(in crate::shard) fn notifications<T: AsRef<str>>(
        &mut self,
        now: Now,
        asked: Asked<'_>,
        types: &[T],
        raw: &str,
    ) {
        let Some(conn) = self.conns.at(asked.slot) else { return };
        let identity = conn.identity.clone();
        let own = identity.as_ref().and_then(|own| Some((own.tenant.as_deref()?, own.user.as_deref()?)));
        let Some((tenant, user)) = own else {
            return self.refuse(now, asked, Refusal::Unauthenticated);
        };
        let mut rooms = Vec::with_capacity(types.len());
        for kind in types {
            match RoomName::new(&format!("notifications:{tenant}:{user}:{}", kind.as_ref())) {
                Ok(room) => rooms.push(room),
                Err(_) => return self.refuse(now, asked, Refusal::RoomInvalid),
            }
        }
        let mut joined = Vec::new();
        for room in &rooms {
            match self.subscribe(now, asked.slot, room.as_str()) {
                Ok(Joined { was_member: false, .. }) => joined.push(room),
                Ok(_) => {}
                Err(denial) => {
                    // All or none: the refusal is of the whole request.
                    for room in joined {
                        self.unsubscribe(asked.slot, room.as_str());
                    }
                    return self.deny(now, asked, denial);
                }
            }
        }
        self.answer(now, asked.slot, &Answer::NotificationsJoined { types: raw });
    }
}
