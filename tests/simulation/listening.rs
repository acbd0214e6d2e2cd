//! What clients hear in worlds of streams: each source has its order, what is lost is told, and answers stand where
//! they may.

use super::model::{ALL, NOTICES};
use super::order::Source;
use super::ordered::{Hearer, Joined, Seen, Welcome};
use super::peer::{State, What};
use super::rules;
use super::speech;
use super::stream::Said;
use super::world::World;

impl World {
    /// A client has read a text. `false` if it is an answer.
    pub fn hears_stream(&mut self, index: usize, text: &str) -> bool {
        let outcome = if let Some(source) = self.model.words.get(text).copied() {
            match source {
                Source::Stream(source) => self.hears_said(index, source, text),
                Source::Ordered { room, life, offset } => self.hears_ordered(index, room, life, offset),
            }
        } else if let Some((room, lost)) = speech::gap(text) {
            self.hears_gap(index, room, lost)
        } else if let Some((room, change)) = speech::change(text) {
            let is = |said: &Said| matches!(said, Said::Change(it) if *it == change);
            self.model.peers[index].streams[NOTICES + room].hear(is, false, false)
        } else {
            return false;
        };
        outcome.unwrap_or_else(|wrong| panic!("connection {index} hears {text}: {wrong}"));
        true
    }

    fn hears_said(&mut self, index: usize, source: usize, text: &str) -> Result<(), String> {
        let lossy = source < ALL && rules::is_lossy(&self.model.kind.policies[source]);
        let peer = &mut self.model.peers[index];
        let is = |said: &Said| matches!(said, Said::Text(it) if **it == *text);
        peer.streams[source].hear(is, lossy, peer.pressed)
    }

    fn hears_ordered(&mut self, index: usize, room: usize, life: usize, offset: u64) -> Result<(), String> {
        let peer = &mut self.model.peers[index];
        let hearer = Hearer {
            peer: index,
            policy: &self.model.kind.policies[room],
            own: self.plan.config.deliver_to_sender,
            pressed: peer.pressed,
        };
        let seen = peer.seen[room].as_mut().ok_or("while it is no member")?;
        if seen.life != life {
            return Err(format!("of life {life}, but is a member in {}", seen.life));
        }
        let life = &self.model.lives[room][life];
        seen.hear(hearer, life, offset)?;
        if let Some(epoch) = &life.epoch {
            let past = &mut self.personas[self.clients[index].persona].past[room];
            *past = Some((epoch.clone(), offset));
        }
        Ok(())
    }

    fn hears_gap(&mut self, index: usize, room: usize, lost: u64) -> Result<(), String> {
        if !rules::is_lossy(&self.model.kind.policies[room]) {
            return Err("of a room that loses nothing".into());
        }
        let peer = &mut self.model.peers[index];
        if !self.model.kind.policies[room].remembers() {
            return peer.streams[room].tell(lost);
        }
        let seen = peer.seen[room].as_mut().ok_or("while it is no member")?;
        seen.tell(lost, &self.model.lives[room][seen.life])
    }

    /// A client hears an answer that says something of a room.
    pub fn hears_answer(&mut self, index: usize, what: &What, payload: &[u8]) {
        let outcome = match what {
            What::Joined { room, is_new, welcome, .. } if self.plan.streams => {
                self.hears_joined(index, *room, *is_new, welcome.as_ref(), what, payload)
            }
            What::Left { room, left: Some(left), .. } if self.plan.streams => {
                self.settle_room(index, *room, *left)
            }
            _ => Ok(()),
        };
        outcome.unwrap_or_else(|wrong| {
            panic!("connection {index} hears {}: {wrong}", String::from_utf8_lossy(payload))
        });
    }

    fn hears_joined(
        &mut self,
        index: usize,
        room: usize,
        is_new: bool,
        welcome: Option<&Welcome>,
        what: &What,
        payload: &[u8],
    ) -> Result<(), String> {
        let peer = &mut self.model.peers[index];
        if is_new {
            // What was before has been settled by the answer that ended it.
            for source in [room, NOTICES + room] {
                peer.streams[source].settle(false, false)?;
            }
        }
        let Some(welcome) = welcome else { return Ok(()) };
        let told = what.told(payload).ok_or("no answer to a join")?;
        let hearer = Hearer {
            peer: index,
            policy: &self.model.kind.policies[room],
            own: self.plan.config.deliver_to_sender,
            pressed: peer.pressed,
        };
        let life = &mut self.model.lives[room][welcome.life];
        if hearer.policy.history.is_some() != told.position.is_some() {
            return Err("with or without a place in the order".into());
        }
        let recovered = told.recovered.unwrap_or(false);
        let fits = welcome.recover.is_some_and(|recover| recover.fits);
        let must = welcome.recover.is_some_and(|recover| recover.must);
        if recovered && !fits || must && !recovered {
            return Err(format!("instead of {:?}", welcome.recover));
        }
        let Some((epoch, offset)) = told.position else {
            if is_new {
                let snapshot = welcome.snapshot.map(|must| (welcome.last, must));
                peer.seen[room] = Some(Seen::new(welcome.life, welcome.last, welcome.last, snapshot));
            }
            return Ok(());
        };
        if *life.epoch.get_or_insert_with(|| epoch.clone()) != epoch {
            return Err(format!("but the epoch is {:?}", life.epoch));
        }
        let life = &self.model.lives[room][welcome.life];
        if !welcome.was_member || recovered {
            if offset != welcome.last {
                return Err(format!("but the last offset is {}", welcome.last));
            }
            let at = if recovered { welcome.recover.map_or(0, |recover| recover.seen) } else { offset };
            let snapshot = welcome.snapshot.map(|must| (welcome.last, must));
            peer.seen[room] = Some(Seen::new(welcome.life, at, offset, snapshot));
        } else {
            let seen = peer.seen[room].as_mut().ok_or("it was no member")?;
            if offset < seen.at {
                return Err(format!("but has heard {}", seen.at));
            }
            seen.settle(hearer, life, offset, offset)?;
        }
        let past = &mut self.personas[self.clients[index].persona].past[room];
        *past = Some((
            epoch,
            if recovered { past.as_ref().map_or(0, |past| past.1).min(offset) } else { offset },
        ));
        Ok(())
    }

    /// A membership is over, or nothing of it is on its way: all must have been heard or told as lost.
    fn settle_room(&mut self, index: usize, room: usize, left: Option<Joined>) -> Result<(), String> {
        let policy = &self.model.kind.policies[room];
        let lossy = rules::is_lossy(policy);
        let peer = &mut self.model.peers[index];
        peer.streams[room].settle(lossy, peer.pressed)?;
        peer.streams[NOTICES + room].settle(false, false)?;
        let (Some(left), Some(mut seen)) = (left, peer.seen[room].take()) else { return Ok(()) };
        let own = self.plan.config.deliver_to_sender;
        let hearer = Hearer { peer: index, policy, own, pressed: peer.pressed };
        let life = &self.model.lives[room][seen.life];
        let outcome = seen.settle(hearer, life, left.walked, left.delivered);
        outcome.map_err(|wrong| format!("at the end of its membership of room {room}: {wrong}"))
    }

    /// A client hears nothing more: with `excused`, something may be missing.
    pub fn settle_streams(&mut self, index: usize, excused: bool) -> Result<(), String> {
        if !self.plan.streams {
            return Ok(());
        }
        if !excused {
            for room in 0..speech::ROOMS.len() {
                let left = self.model.peers[index].joined[room];
                self.settle_room(index, room, left)?;
            }
            self.model.peers[index].streams[ALL].settle(false, false)?;
        }
        let peer = &mut self.model.peers[index];
        peer.streams.iter_mut().for_each(super::stream::Stream::clear);
        peer.seen.iter_mut().for_each(|seen| *seen = None);
        Ok(())
    }

    /// Nothing is on its way any more: whoever is connected has heard everything.
    pub fn check_streams(&mut self) {
        for index in 0..self.model.peers.len() {
            if self.model.peers[index].state != State::Open || !self.plan.streams {
                continue;
            }
            for room in 0..speech::ROOMS.len() {
                self.settle_quiet(index, room)
                    .unwrap_or_else(|wrong| panic!("connection {index} in room {room}: {wrong}"));
            }
            self.model.peers[index].streams[ALL].settle(false, false).unwrap_or_else(|wrong| {
                panic!("connection {index} has not heard everything: {wrong}");
            });
        }
    }

    fn settle_quiet(&mut self, index: usize, room: usize) -> Result<(), String> {
        let policy = &self.model.kind.policies[room];
        let peer = &mut self.model.peers[index];
        peer.streams[room].settle(rules::is_lossy(policy), peer.pressed)?;
        peer.streams[NOTICES + room].settle(false, false)?;
        let own = self.plan.config.deliver_to_sender;
        let hearer = Hearer { peer: index, policy, own, pressed: peer.pressed };
        let Some(seen) = &mut peer.seen[room] else { return Ok(()) };
        let life = &self.model.lives[room][seen.life];
        seen.settle(hearer, life, life.last(), life.last())
    }
}
