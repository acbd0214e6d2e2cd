//! The way of a publication: encoded once per encoding, owed to the members here, mailed to the shards that have more.

use super::mail::{FrameBatch, FrameItem, Published, Target};
use super::palette::EMPTY;
use super::{BLOCKED, Now, Shard};
use crate::base::{Mutation, mutated};
use crate::dialect::DIALECTS;
use crate::hub::RoomShared;
use crate::model::Publication;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// No slot: nobody is left out of a fan-out.
pub(super) const NOBODY: u32 = u32::MAX;

/// A frame of a room without order.
const NO_OFFSET: u64 = 0;

impl Shard {
    /// Publishes to a room, without the connection in slot `except`. `None` if the room has no members and has just
    /// been forgotten.
    pub(super) fn publish(
        &mut self,
        now: Now,
        room: &Arc<RoomShared>,
        publication: &Publication<'_>,
        except: Option<u32>,
    ) -> Option<Published> {
        if let Some(log) = &room.log {
            return self.publish_ordered(now, room, log, publication, except);
        }
        self.metrics.publications.add(1);
        let shards = self.outgoing.len();
        let wanted =
            (0..shards).filter_map(|shard| room.interest(shard)).fold(0, |mask, it| mask | it.encodings);
        for dialect in DIALECTS {
            let wanted = wanted & dialect.id().encodings();
            if wanted == 0 {
                continue;
            }
            for (entry, encodings) in self.encode(now, dialect, publication, wanted) {
                for shard in 0..shards {
                    let Some(interest) = room.interest(shard).filter(|it| it.encodings & encodings != 0)
                    else {
                        continue;
                    };
                    let target = Target::Room { local: interest.local, id: room.id };
                    if shard == self.index {
                        self.deliver(entry, encodings, target, except.unwrap_or(NOBODY), NO_OFFSET);
                    } else {
                        let frame = self.palette.frame(entry);
                        self.outgoing[shard].push(frame, target, encodings, now.us);
                    }
                }
            }
        }
        let delivered = room.members().saturating_sub(u32::from(except.is_some()));
        Some(Published { delivered, position: None })
    }

    /// Publishes to every connection of the node, without the one in slot `except`. Returns how many there are.
    pub(super) fn publish_to_all(
        &mut self,
        now: Now,
        publication: &Publication<'_>,
        except: Option<u32>,
    ) -> u32 {
        self.metrics.publications.add(1);
        let in_use = self.hub.encodings.in_use();
        for dialect in DIALECTS {
            let wanted = in_use & dialect.id().encodings();
            if wanted == 0 {
                continue;
            }
            for (entry, encodings) in self.encode(now, dialect, publication, wanted) {
                for shard in 0..self.outgoing.len() {
                    if shard == self.index {
                        self.deliver(entry, encodings, Target::All, except.unwrap_or(NOBODY), NO_OFFSET);
                    } else {
                        let frame = self.palette.frame(entry);
                        self.outgoing[shard].push(frame, Target::All, encodings, now.us);
                    }
                }
            }
        }
        let unreached = self.hub.echoes.load(Ordering::Relaxed) + u32::from(except.is_some());
        self.hub.admission.connections().saturating_sub(unreached)
    }

    /// Takes another shard's frames over.
    pub(super) fn deliver_batch(&mut self, batch: &FrameBatch) {
        let mut start = 0;
        let dropped = usize::from(mutated(Mutation::DropLastOfBatch));
        for item in &batch.items[..batch.items.len() - dropped] {
            let frame = &batch.bytes[start..item.end];
            start = item.end;
            let entry = self.palette.push(Some(item.accepted_us), |out| out.extend_from_slice(frame));
            self.deliver(entry, item.encodings, item.target, NOBODY, NO_OFFSET);
        }
    }

    /// Makes each connection of this shard that the frame is for owe it: those whose encodings are in the mask. The
    /// innermost loop of the server.
    pub(super) fn deliver(&mut self, entry: u32, encodings: u32, target: Target, except: u32, offset: u64) {
        let Self { rooms, conns, pending, dirty, palette, met, .. } = self;
        let mut owe = |slot: u32| {
            if slot == except && !mutated(Mutation::DeliverToExcept) {
                return;
            }
            let list = pending[slot as usize];
            if list == BLOCKED {
                met.push(slot);
                return;
            }
            if list == EMPTY {
                dirty.push(slot);
            }
            pending[slot as usize] = palette.extend(list, entry);
        };
        match target {
            // The slot may have changed hands since the frame was mailed.
            Target::Room { local, id } => {
                if let Some(room) =
                    rooms.get(local).filter(|room| room.shared.id == id || mutated(Mutation::TrustRoomSlot))
                {
                    let has_ahead = room.has_ahead(offset);
                    for members in room.members(encodings) {
                        if has_ahead {
                            let behind = members.iter().filter(|slot| !room.is_ahead(**slot, offset));
                            behind.for_each(|slot| owe(*slot));
                        } else {
                            members.iter().for_each(|slot| owe(*slot));
                        }
                    }
                }
            }
            Target::All => conns
                .iter()
                .filter(|(_, conn)| conn.is_open() && conn.encoding().bit() & encodings != 0 && !conn.echo)
                .for_each(|(key, _)| owe(key.slot)),
        }
        if !self.met.is_empty() {
            self.owe_blocked(entry, 0);
        }
    }

    /// The frames for another shard since the last call.
    pub fn take_outgoing(&mut self, shard: usize) -> Option<FrameBatch> {
        (!self.outgoing[shard].is_empty()).then(|| std::mem::take(&mut self.outgoing[shard]))
    }
}

impl FrameBatch {
    fn push(&mut self, frame: &[u8], target: Target, encodings: u32, accepted_us: u64) {
        self.bytes.extend_from_slice(frame);
        self.items.push(FrameItem { end: self.bytes.len(), target, encodings, accepted_us });
    }
}
