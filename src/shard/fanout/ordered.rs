//! The way of a publication to a room that remembers: numbered and kept under the room's lock, encoded without it, and
//! mailed to all shards in the order of the numbers, so that every member sees one order. A shard that is ready before
//! the one whose number comes first leaves its mail for that one, so no shard ever waits for another's encoding.

use crate::hub::{Hub, RoomLog, RoomShared};
use crate::model::Publication;
use crate::shard::fanout::frame_batch::{Delivery, NOBODY};
use crate::shard::fanout::mail::{Mail, Ordered, OrderedFrames, Published, Target};
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

impl Shard {
    /// Publishes to a room that remembers. The shard's own members get it through the mailbox as well: whatever was
    /// published elsewhere before may still be there. With `part` it is for the members that pass the filter alone,
    /// and they are counted there. `None` if the room has been forgotten.
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
        let tenant = || {
            let slot = self.find(publication.sender?.id)?;
            self.conns.at(slot)?.identity.as_ref()?.tenant.as_deref()
        };
        let (history, offset) = self.hub.directory.append(log, publication, tenant, now.ms())?;
        let position = log.has_offsets().then(|| history.position());
        let publication = Publication { offset: position.map(|position| position.offset), ..*publication };
        let shards = 0..self.mailer.shards();
        let interests: SmallVec<[_; 16]> =
            shards.filter_map(|shard| Some((shard, room.interest(shard)?))).collect();
        let wanted = interests.iter().fold(0, |mask, (_, interest)| mask | interest.encodings);
        drop(history);
        let by_encoding = self.build(now, &publication, wanted);
        let (filter, tally) = part.unzip();
        let bytes = by_encoding.len_bytes();
        let frames =
            Arc::new(OrderedFrames { room: room.id, offset, accepted_us: now.us, loss, filter, by_encoding });
        let (here, post, tally) = (self.index, self.mailer.poster(), tally.cloned());
        let waits = Waits::new(&self.hub, room, bytes);
        log.post_in_order(offset, move || {
            for (shard, interest) in interests {
                let except = except.filter(|_| shard == here).unwrap_or(NOBODY);
                let (frames, tally) = (frames.clone(), tally.clone());
                post(shard, Mail::Ordered(Ordered { local: interest.local, except, frames, tally }));
            }
            drop(waits);
        });
        self.hub.directory.look_after(room);
        self.metrics.publications.add(1);
        room.activity.published_first(now.unix_ms);
        let delivered = room.members().saturating_sub(u32::from(except.is_some()));
        Some(Published { delivered, position })
    }

    /// Takes a publication over that some shard, perhaps this one, has numbered.
    pub(in crate::shard) fn deliver_ordered(&mut self, ordered: &Ordered) {
        let Ordered { local, except, frames, tally } = ordered;
        // The slot may have changed hands since the frame was mailed, or all members may know of it by their answers.
        if !self.rooms.awaits(*local, frames.room, frames.offset) {
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
            let OrderedFrames { loss, offset, .. } = **frames;
            self.deliver(entry, &Delivery { target, encodings, loss, except: *except, offset });
        }
        self.rooms.set_reached(*local, frames.room, frames.offset);
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
            |slot: &u32| self.rooms.get(*local).is_some_and(|room| !room.is_ahead(*slot, frames.offset));
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
        self.rooms.set_reached(*local, frames.room, frames.offset);
    }
}
