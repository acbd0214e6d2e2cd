//! The model of rooms that remember: lives, memberships, and publications on their way through the mailboxes.

use super::model::{Model, Moment};
use super::ordered::{Joined, Life, Logged, Recover, Welcome};
use super::peer::Peer;
use super::rules;
use super::speech;
use std::rc::Rc;

/// Share of an outbox, in quarters, that a replay may fill.
const REPLAY_QUARTERS: usize = 3;

/// Bytes charged for a frame beside its text.
const FRAME_BYTES: usize = 50;

/// Where a publication belongs.
#[derive(Debug, Clone, Copy)]
pub enum Source {
    Stream(usize),
    Ordered { room: usize, life: usize, offset: u64 },
}

/// A publication of a room that remembers, on its way to a shard.
#[derive(Debug, Clone, Copy)]
pub struct Numbered {
    pub room: usize,
    pub life: usize,
    pub offset: u64,
    pub except: Option<usize>,
}

impl Model {
    /// The present life of a room that remembers, just after something was done there.
    pub fn life(&mut self, room: usize) -> usize {
        let id = self.kind.hub.directory.get(speech::ROOMS[room]).map(|shared| shared.id);
        let lives = &mut self.lives[room];
        // It is gone already where the one that used it was evicted in the same call: nobody will hear of it.
        let known = lives.last().is_some_and(|life| id.is_none_or(|id| id == life.id));
        if !known {
            lives.push(Life { id: id.unwrap_or(0), epoch: None, log: Vec::new() });
        }
        lives.len() - 1
    }

    /// Gives a publication its place, and posts it to all shards with members.
    #[expect(clippy::too_many_arguments, reason = "what makes a publication")]
    pub fn publish_ordered(
        &mut self,
        site: usize,
        sender: Option<usize>,
        room: usize,
        event: &str,
        data: Option<&str>,
        key: Option<String>,
        at: &Moment,
    ) -> Option<u64> {
        let life = self.life(room);
        let offset = self.lives[room][life].last() + 1;
        let told = self.kind.policies[room].history.map(|_| offset);
        let name = sender.map(|sender| self.peers[sender].name.as_str());
        let text: Rc<str> = speech::publication(event, Some(room), data, name, told, at.unix_ms).into();
        let charge = rules::charge(event, data);
        let at_ms = at.now_us / 1000;
        self.lives[room][life].log.push(Logged { text: text.clone(), sender, key, charge, at_ms });
        let before = self.words.insert(text, Source::Ordered { room, life, offset });
        assert!(before.is_none(), "two publications with the same words");
        for to in 0..self.tallies.len() {
            if !self.rooms[room].members[to].is_empty() {
                let except = sender.filter(|_| to == site && !at.config.deliver_to_sender);
                self.posted.push((to, Numbered { room, life, offset, except }));
            }
        }
        told
    }

    /// A shard takes such a publication out of its mailbox.
    pub fn deliver_numbered(&mut self, site: usize, numbered: Numbered) {
        let Numbered { room, life, offset, except } = numbered;
        let bytes = self.lives[room][life].log[offset as usize - 1].text.len();
        for member in self.rooms[room].members[site].clone() {
            let wide = self.kind.wide;
            let Peer { joined, limbo, .. } = &mut self.peers[member];
            let Some(joined) = joined[room].as_mut().filter(|joined| joined.life == life) else { continue };
            joined.delivered = joined.delivered.max(offset);
            if !wide {
                joined.walked = joined.delivered;
            }
            let sure = offset > joined.start && !*limbo && !wide;
            if offset > joined.start_low && Some(member) != except {
                self.count(member, bytes, sure);
            }
        }
    }

    /// What the answer to a join must say of the room's past. Starts the membership if it is new.
    pub fn welcome(
        &mut self,
        peer: usize,
        room: usize,
        is_new: bool,
        recover: Option<&(String, u64)>,
        at: &Moment,
    ) -> Option<Welcome> {
        if !self.kind.policies[room].remembers() {
            return None;
        }
        let life = self.life(room);
        let policy = &self.kind.policies[room];
        let now_ms = at.now_us / 1000;
        let here = &self.lives[room][life];
        let last = here.last();
        let roomy = at.config.limits.history_bytes_max > 1 << 20;
        let recover = recover.map(|(epoch, seen)| {
            let fits = policy.history.is_some() && here.epoch.as_ref() == Some(epoch) && *seen <= last;
            let space = fits && self.has_space(peer, &self.lives[room][life].log[*seen as usize..], at);
            let must = space && roomy && here.keeps_since(policy, *seen, now_ms);
            Recover { seen: *seen, fits, must }
        });
        let value = recover.is_none() && policy.last_value && is_new && last > 0;
        let snapshot = value.then(|| roomy && here.keeps_since(policy, last - 1, now_ms));
        let fits = recover.is_some_and(|recover| recover.fits);
        let joined = &mut self.peers[peer].joined[room];
        match joined {
            Some(joined) if !is_new => {
                joined.start = if fits { last } else { joined.start };
            }
            _ => *joined = Some(Joined { life, start: last, start_low: last, delivered: last, walked: last }),
        }
        Some(Welcome { life, was_member: !is_new, last, recover, snapshot })
    }

    /// Whether a replay surely fits into a connection's outbox.
    fn has_space(&self, peer: usize, missed: &[Logged], at: &Moment) -> bool {
        let limits = &at.config.limits;
        let (bytes, frames) = self.peers[peer].waiting;
        let needed: usize = missed.iter().map(|logged| logged.text.len() + FRAME_BYTES).sum();
        limits.outboxes_bytes_max > 1 << 26
            && bytes + needed <= limits.outbox_bytes_max / 4 * REPLAY_QUARTERS
            && frames + missed.len() <= limits.outbox_messages_max as usize * REPLAY_QUARTERS / 4
    }

    /// Counts what may follow the answer to a join.
    pub fn expect_past(&mut self, peer: usize, room: usize, welcome: Option<Welcome>) {
        let Some(Welcome { life, last, recover, snapshot, .. }) = welcome else { return };
        let replay = recover.filter(|recover| recover.fits).map(|recover| recover.seen);
        let from = replay.unwrap_or(if snapshot.is_some() { last - 1 } else { last });
        for offset in from..last {
            let bytes = self.lives[room][life].log[offset as usize].text.len();
            self.count(peer, bytes, false);
        }
    }
}
