//! The way of a publication to a room that remembers: numbered and kept under the room's lock, encoded without it, and
//! mailed to all shards in the order of the numbers, so that every member sees one order. A shard that is ready before
//! the one whose number comes first leaves its mail for that one, so no shard ever waits for another's encoding.

use crate::hub::{Hub, Interest, LogGuard, Loss, RoomLog, RoomShared};
use crate::model::{Position, Publication};
use crate::shard::fanout::frame_batch::{Delivery, NOBODY};
use crate::shard::fanout::mail::{ByEncoding, Mail, Ordered, OrderedFrames, Published, Target};
use crate::shard::fanout::select::Filter;
use crate::shard::fanout::tally::Tally;
use crate::shard::{Now, Shard};
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes of a publication that is numbered and not mailed: they count as waiting for the room, so that its publishers
/// are held while a shard that is to mail first does not run.
struct Waits {
    hub: Arc<Hub>,
    room: Arc<RoomShared>,
    bytes: usize,
}

impl Waits {
    fn new(hub: &Arc<Hub>, room: &Arc<RoomShared>, bytes: usize) -> Self {
        hub.waiting.fetch_add(bytes, Ordering::Relaxed);
        room.waiting.fetch_add(bytes, Ordering::Relaxed);
        Self { hub: hub.clone(), room: room.clone(), bytes }
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.hub.waiting.fetch_sub(self.bytes, Ordering::Relaxed);
        self.room.waiting.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The place of a publication in the order of its room.
pub(super) struct Sequenced {
    /// See [`LogGuard::ticket`].
    ticket: u64,
    /// Its place that clients are told, in a room with history.
    position: Option<Position>,
    /// The shards that have members at this place of the order.
    interests: SmallVec<[(usize, Interest); 16]>,
}

impl Sequenced {
    /// The place of the latest publication of a locked history.
    pub fn latest(shards: usize, room: &RoomShared, log: &RoomLog, history: &LogGuard<'_>) -> Self {
        Self {
            ticket: history.ticket(),
            position: log.has_offsets().then(|| history.position()),
            interests: (0..shards).filter_map(|shard| Some((shard, room.interest(shard)?))).collect(),
        }
    }

    /// The place that clients are told.
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// Mask of the encodings that the members have.
    pub fn encodings(&self) -> u32 {
        self.interests.iter().fold(0, |mask, (_, interest)| mask | interest.encodings)
    }
}

/// What is brought to the members of a room in its order.
pub(super) struct InOrder {
    /// The frames in the encodings of [`Sequenced::encodings`].
    pub by_encoding: ByEncoding,
    pub loss: Loss,
    /// Who of the members it is for, if not for all, and where these are counted.
    pub part: Option<(Arc<Filter>, Option<Arc<Tally>>)>,
    /// The shard and slot of a connection that it is not for.
    pub except: Option<(usize, u32)>,
}

impl Shard {
    /// Publishes to a room that remembers, in the order that this node keeps. With `part` it is for the members that
    /// pass the filter alone, and they are counted there. `None` if the room has been forgotten.
    pub(super) fn publish_ordered(
        &mut self,
        now: Now,
        room: &Arc<RoomShared>,
        log: &RoomLog,
        publication: &Publication<'_>,
        except: Option<u32>,
        part: Option<(Arc<Filter>, &Arc<Tally>)>,
    ) -> Option<Published> {
        // The key of conflation is looked for before the lock: `data` may be long.
        let loss = self.hub.loss(&room.policy, publication.data);
        let sequenced = self.sequence(now, room, log, publication)?;
        let position = sequenced.position;
        let publication = Publication { offset: position.map(|position| position.offset), ..*publication };
        let by_encoding = self.build(now, &publication, sequenced.encodings());
        let is_excepted = except.is_some();
        let part = part.map(|(filter, tally)| (filter, Some(tally.clone())));
        let except = except.map(|slot| (self.mailer.here(), slot));
        self.deliver_sequenced(now, room, log, sequenced, InOrder { by_encoding, loss, part, except });
        let delivered = room.members().saturating_sub(u32::from(is_excepted));
        Some(Published { delivered, position, ..Published::default() })
    }

    /// Numbers a publication in the order that this node keeps, and keeps it. `None` if the room has been forgotten.
    fn sequence(
        &self,
        now: Now,
        room: &RoomShared,
        log: &RoomLog,
        publication: &Publication<'_>,
    ) -> Option<Sequenced> {
        let tenant = || {
            let slot = self.find(publication.sender?.id)?;
            self.conns.at(slot)?.identity.as_ref()?.tenant.as_deref()
        };
        let (history, _) = self.hub.directory.append(log, publication, tenant, now.ms())?;
        Some(Sequenced::latest(self.mailer.shards(), room, log, &history))
    }

    /// Brings what has its place in the order of a room to the mailboxes of all shards with members, whoever gave it the
    /// place. The shard's own members get it through the mailbox as well: whatever has an earlier place may still be
    /// there.
    pub(super) fn deliver_sequenced(
        &self,
        now: Now,
        room: &Arc<RoomShared>,
        log: &RoomLog,
        sequenced: Sequenced,
        what: InOrder,
    ) {
        let Sequenced { ticket, interests, .. } = sequenced;
        let InOrder { by_encoding, loss, part, except } = what;
        let (filter, tally) = part.unzip();
        let tally = tally.flatten();
        let waits = Waits::new(&self.hub, room, by_encoding.len_bytes());
        let frames =
            Arc::new(OrderedFrames { room: room.id, ticket, accepted_us: now.us, loss, filter, by_encoding });
        let post = self.mailer.poster();
        log.post_in_order(ticket, move || {
            for (shard, interest) in interests {
                let except = except.filter(|(of, _)| *of == shard).map_or(NOBODY, |(_, slot)| slot);
                let (frames, tally) = (frames.clone(), tally.clone());
                post(shard, Mail::Ordered(Ordered { local: interest.local, except, frames, tally }));
            }
            drop(waits);
        });
        self.hub.directory.look_after(room);
        self.metrics.publications.add(1);
        room.activity.published_first(now.unix_ms);
    }

    /// Takes a publication over that some shard, perhaps this one, has numbered.
    pub(in crate::shard) fn deliver_ordered(&mut self, ordered: &Ordered) {
        let Ordered { local, except, frames, tally } = ordered;
        // The slot may have changed hands since the frame was mailed, or all members may know of it by their answers.
        if !self.rooms.awaits(*local, frames.room, frames.ticket) {
            return;
        }
        let target = Target::Room { local: *local, id: frames.room };
        if let Some(filter) = &frames.filter {
            return self.deliver_ordered_part(ordered, target, filter, tally.as_deref());
        }
        if self.is_wide(target, self.receivers_here(target)) {
            return self.put_wide_ordered(target, ordered);
        }
        for (encodings, message) in frames.by_encoding.iter() {
            // Who had these encodings may have left since.
            if self.rooms.get(*local).is_none_or(|room| room.members(encodings).next().is_none()) {
                continue;
            }
            let entry = self.palette.push(Some(frames.accepted_us), |out| message.append(out));
            let OrderedFrames { loss, ticket, .. } = **frames;
            self.deliver(entry, &Delivery { target, encodings, loss, except: *except, ticket });
        }
        self.rooms.set_reached(*local, frames.room, frames.ticket);
    }

    /// The same for the members that pass a filter.
    fn deliver_ordered_part(
        &mut self,
        ordered: &Ordered,
        target: Target,
        filter: &Filter,
        tally: Option<&Tally>,
    ) {
        let Ordered { local, frames, .. } = ordered;
        let is_behind =
            |slot: &u32| self.rooms.get(*local).is_some_and(|room| !room.is_ahead(*slot, frames.ticket));
        let by_encoding = frames.by_encoding.iter();
        let mut parts: SmallVec<[_; 4]> = by_encoding
            .map(|(encodings, message)| {
                let mut members = self.selected(target, encodings, filter);
                members.retain(is_behind);
                (message, members)
            })
            .collect();
        let count = parts.iter().map(|(_, members)| members.len()).sum();
        if let Some(tally) = tally {
            tally.add(count as u32);
        }
        if self.is_wide(target, count) {
            return self.put_wide_ordered(target, ordered);
        }
        for (message, members) in parts.iter_mut().filter(|(_, members)| !members.is_empty()) {
            let entry = self.palette.push(Some(frames.accepted_us), |out| message.append(out));
            self.hand_out(entry, target, frames.loss, members);
        }
        self.rooms.set_reached(*local, frames.room, frames.ticket);
    }
}
