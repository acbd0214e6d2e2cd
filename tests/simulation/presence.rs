//! The model of presence: the members of a room, and the notices of those that joined and left, kept back for a time
//! and told together by one shard after the other.

use super::model::{Frame, Model, Moment, Target};
use super::peer::{Peer, What};
use super::speech;
use super::stream::{self, Said};
use std::collections::BTreeMap;

/// Joins and leaves that are not told yet, by room and life of the room.
#[derive(Debug, Default)]
pub struct Changes(BTreeMap<(usize, u64), Change>);

#[derive(Debug)]
struct Change {
    /// The shard that tells.
    site: usize,
    /// Whether each connection came or went.
    came: BTreeMap<usize, bool>,
    due_ms: Option<u64>,
}

impl Model {
    /// Whether a notice is due on its own shard for a connection.
    pub fn has_notice(&self, peer: usize, at: &Moment) -> bool {
        let Peer { site, rooms, .. } = &self.peers[peer];
        let now_ms = at.now_us / 1000;
        let interval_ms = at.config.times.presence_interval.as_millis() as u64;
        let is_due = |change: &Change| {
            let in_time = change.due_ms.map_or(interval_ms == 0, |due_ms| due_ms <= now_ms);
            change.site == *site && !change.came.is_empty() && in_time
        };
        self.changes.0.iter().any(|((room, _), change)| rooms.contains(room) && is_due(change))
    }

    /// A connection has come into a room, or is about to leave it.
    pub fn note_change(&mut self, peer: usize, room: usize, came: bool) {
        if self.kind.policies[room].presence.is_off() {
            return;
        }
        let life = if !self.kind.policies[room].remembers() {
            self.rooms[room].epoch
        } else if came {
            self.life(room) as u64
        } else {
            self.peers[peer].joined[room].map_or(0, |joined| joined.life as u64)
        };
        let site = self.peers[peer].site;
        let new = || Change { site, came: BTreeMap::new(), due_ms: None };
        let change = self.changes.0.entry((room, life)).or_insert_with(new);
        // A connection that comes and goes, or goes and comes, has done nothing.
        if change.came.remove(&peer) != Some(!came) {
            change.came.insert(peer, came);
        }
    }

    /// A shard has looked at its timers: the notices that are due go out.
    pub fn tell_changes(&mut self, site: usize, at: &Moment) {
        let now_ms = at.now_us / 1000;
        let interval_ms = at.config.times.presence_interval.as_millis() as u64;
        let mut due = Vec::new();
        self.changes.0.retain(|key, change| {
            if change.site != site || *change.due_ms.get_or_insert(now_ms + interval_ms) > now_ms {
                return true;
            }
            change.due_ms = Some(now_ms + interval_ms);
            let came = std::mem::take(&mut change.came);
            // Where nothing has changed for an interval any shard may go on.
            let goes_on = !came.is_empty();
            due.extend(goes_on.then_some((*key, came)));
            goes_on
        });
        for ((room, life), changed) in due {
            let named = |came: bool| {
                let of = changed.iter().filter(|one| *one.1 == came);
                let mut names: Vec<_> = of.map(|one| self.peers[*one.0].name.clone()).collect();
                names.sort_unstable();
                names
            };
            let count = u64::from(self.rooms[room].count());
            let (came, went) = (named(true), named(false));
            let said = Said::Change(stream::Change { came, went, count, unix_ms: at.unix_ms });
            let now = if self.kind.policies[room].remembers() {
                self.lives[room].len() as u64 - 1
            } else {
                self.rooms[room].epoch
            };
            if life != now {
                continue;
            }
            for to in 0..self.tallies.len() {
                let super::model::Room { members, epoch, site_epochs, .. } = &self.rooms[room];
                if !members[to].is_empty() {
                    let target = Target::Room { room, epoch: *epoch, site_epoch: site_epochs[to] };
                    self.serial += 1;
                    let frame = Frame { target, said: said.clone(), key: None, serial: self.serial };
                    self.bring(site, to, frame, None);
                }
            }
        }
    }

    /// A client asks who is in a room.
    pub fn tell_presence(&mut self, peer: usize, room: usize, id: Option<&str>, at: &Moment) {
        if !self.peers[peer].rooms.contains(&room) {
            return self.refuse(peer, speech::NOT_SUBSCRIBED, id, at);
        }
        if self.kind.policies[room].presence.is_off() {
            return self.refuse(peer, speech::PRESENCE_DISABLED, id, at);
        }
        let members = self.rooms[room].members.iter().flatten();
        let mut names: Vec<_> = members.clone().map(|member| self.peers[*member].name.clone()).collect();
        names.sort_unstable();
        let exact = !members.clone().any(|member| self.peers[*member].limbo);
        let id = id.map(str::to_owned);
        self.owe(peer, What::Present { room, names, id, unix_ms: at.unix_ms, exact }, true);
    }
}
