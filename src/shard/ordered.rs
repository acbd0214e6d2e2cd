//! The way of a publication to a room that remembers: numbered, kept and mailed to all shards under the room's lock, so
//! that every member sees one order.

use super::fanout::{Delivery, NOBODY};
use super::mail::{Mail, Ordered, OrderedFrames, Published, Target};
use super::{Now, Shard};
use crate::dialect::DIALECTS;
use crate::hub::{RoomLog, RoomShared};
use crate::model::Publication;
use smallvec::SmallVec;
use std::sync::Arc;

impl Shard {
    /// Publishes to a room that remembers. The shard's own members get it through the mailbox as well: whatever was
    /// published elsewhere before may still be there. `None` if the room has been forgotten.
    pub(super) fn publish_ordered(
        &mut self,
        now: Now,
        room: &Arc<RoomShared>,
        log: &RoomLog,
        publication: &Publication<'_>,
        except: Option<u32>,
    ) -> Option<Published> {
        // The key of conflation is looked for before the lock: `data` may be long.
        let loss = self.hub.loss(&room.policy, publication.data);
        let (history, offset) = self.hub.directory.append(log, publication, now.ms())?;
        let position = log.has_offsets().then(|| history.position());
        let publication = Publication { offset: position.map(|position| position.offset), ..*publication };
        let shards = 0..self.outgoing.len();
        let interests: SmallVec<[_; 16]> =
            shards.filter_map(|shard| Some((shard, room.interest(shard)?))).collect();
        let wanted = interests.iter().fold(0, |mask, (_, interest)| mask | interest.encodings);
        let mut by_encoding = SmallVec::new();
        for dialect in DIALECTS {
            let wanted = wanted & dialect.id().encodings();
            if wanted != 0 {
                let write = |out: &mut Vec<u8>| dialect.encode_publication(&publication, out);
                let built = self.encode(now, dialect.id(), wanted, write);
                by_encoding.extend(
                    built.into_iter().map(|(entry, encodings)| (encodings, self.palette.frame(entry).into())),
                );
            }
        }
        let frames =
            Arc::new(OrderedFrames { room: room.id, offset, accepted_us: now.us, loss, by_encoding });
        for (shard, interest) in interests {
            let except = except.filter(|_| shard == self.index).unwrap_or(NOBODY);
            let ordered = Ordered { local: interest.local, except, frames: frames.clone() };
            (self.post)(shard, Mail::Ordered(ordered));
        }
        drop(history);
        self.hub.directory.look_after(room);
        self.metrics.publications.add(1);
        let delivered = room.members().saturating_sub(u32::from(except.is_some()));
        Some(Published { delivered, position })
    }

    /// Takes a publication over that some shard, perhaps this one, has numbered.
    pub(super) fn deliver_ordered(&mut self, ordered: &Ordered) {
        let Ordered { local, except, frames } = ordered;
        // The slot may have changed hands since the frame was mailed, or all members may know of it by their answers.
        if !self.rooms.awaits(*local, frames.room, frames.offset) {
            return;
        }
        let target = Target::Room { local: *local, id: frames.room };
        if self.is_wide(target, self.receivers_here(target)) {
            return self.put_wide_ordered(target, ordered);
        }
        for (encodings, frame) in &frames.by_encoding {
            // Who had these encodings may have left since.
            if self.rooms.get(*local).is_none_or(|room| room.members(*encodings).next().is_none()) {
                continue;
            }
            let entry = self.palette.push(Some(frames.accepted_us), |out| out.extend_from_slice(frame));
            let OrderedFrames { loss, offset, .. } = **frames;
            self.deliver(entry, &Delivery { target, encodings: *encodings, loss, except: *except, offset });
        }
        self.rooms.set_reached(*local, frames.room, frames.offset);
    }
}
