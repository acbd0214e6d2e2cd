//! The model of membership: who comes into a room, who leaves it, and what each is told.

use super::model::{Model, Moment, NOTICES};
use super::ordered::Joined;
use super::peer::What;
use super::speech;

impl Model {
    pub fn join(
        &mut self,
        peer: usize,
        room: usize,
        recover: Option<&(String, u64)>,
        id: Option<&str>,
        at: &Moment,
    ) {
        let limits = &at.config.limits;
        let site = self.peers[peer].site;
        let is_new = !self.peers[peer].rooms.contains(&room);
        if is_new {
            if self.peers[peer].rooms.len() >= limits.rooms_per_connection_max as usize {
                return self.refuse(peer, speech::TOO_MANY_ROOMS, id, at);
            }
            let full = limits.connections_per_room_max;
            if full != 0 && self.rooms[room].count() >= full {
                return self.refuse(peer, speech::ROOM_FULL, id, at);
            }
            let here = &self.rooms[room].members[site];
            if !here.is_empty() && here.iter().all(|member| self.peers[*member].limbo) {
                // They may have left before this one came.
                self.rooms[room].site_epochs[site] += 1;
            }
            let mut others = self.rooms[room].members.iter().flatten().peekable();
            if others.peek().is_some() && others.all(|member| self.peers[*member].limbo) {
                self.rooms[room].unsure = true;
            }
            self.rooms[room].members[site].push(peer);
            self.peers[peer].rooms.push(room);
            let (sure, most) = self.joins.entry((peer, room)).or_default();
            *sure += u32::from(!self.peers[peer].limbo);
            *most += 1;
            for source in [room, NOTICES + room] {
                self.peers[peer].since[source] = self.serial;
            }
            self.note_change(peer, room, true);
        }
        let high = self.rooms[room].count();
        let others = self.rooms[room].members[site].iter().filter(|member| **member != peer);
        let low = high - others.filter(|member| self.peers[**member].limbo).count() as u32;
        let (before, after) = speech::joined(room, id, at.unix_ms);
        let welcome = self.welcome(peer, room, is_new, recover, at);
        if is_new && self.kind.streams {
            for source in [room, NOTICES + room] {
                self.peers[peer].streams[source].mark();
                self.perhaps(peer, source);
            }
        }
        let recovers = recover.is_some();
        let joined =
            What::Joined { before, after, low, high, room, is_new, recovers, welcome: welcome.clone() };
        self.owe(peer, joined, true);
        self.expect_past(peer, room, welcome);
    }

    /// Ends a membership, if there is one. Returns what it must have brought.
    pub fn leave(&mut self, peer: usize, room: usize) -> Option<Option<Joined>> {
        let site = self.peers[peer].site;
        if !self.peers[peer].rooms.contains(&room) {
            return None;
        }
        self.note_change(peer, room, false);
        if self.kind.streams {
            for source in [room, NOTICES + room] {
                self.doubt(peer, source);
                self.peers[peer].streams[source].mark();
            }
        }
        let left = self.peers[peer].joined[room].take();
        self.peers[peer].rooms.retain(|joined| *joined != room);
        self.rooms[room].leave(site, peer);
        Some(left)
    }
}
