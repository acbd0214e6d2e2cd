//! The way of a publication: encoded once per dialect, owed to the members here, mailed to the shards that have more.

use super::mail::{FrameBatch, FrameItem, Target};
use super::palette::{EMPTY, Kind, Tag};
use super::{BLOCKED, Now, Shard};
use crate::base::{Mutation, mutated};
use crate::dialect::DIALECTS;
use crate::hub::{Loss, RoomShared};
use crate::model::{DialectId, Publication};
use crate::wire;
use std::sync::atomic::Ordering;

/// No slot: nobody is left out of a fan-out.
pub(super) const NOBODY: u32 = u32::MAX;

impl Shard {
    /// Publishes to a room, without the connection in slot `except`. Returns how many connections of the node are
    /// members (less `except`).
    pub(super) fn publish(
        &mut self,
        now: Now,
        room: &RoomShared,
        publication: &Publication<'_>,
        except: Option<u32>,
    ) -> u32 {
        self.metrics.publications.add(1);
        let shards = self.outgoing.len();
        let loss = self.hub.loss(&room.policy, publication.data);
        let wanted =
            (0..shards).filter_map(|shard| room.interest(shard)).fold(0, |mask, it| mask | it.dialects);
        for dialect in DIALECTS {
            if wanted & dialect.id().bit() == 0 {
                continue;
            }
            let entry = self.palette.push(Some(now.us), |out| {
                wire::frame_in_place(out, wire::Opcode::Text, |out| {
                    dialect.encode_publication(publication, out)
                });
            });
            for shard in 0..shards {
                let Some(interest) = room.interest(shard).filter(|interest| interest.has(dialect.id()))
                else {
                    continue;
                };
                let target = Target::Room { local: interest.local, id: room.id };
                if shard == self.index {
                    self.deliver(entry, loss, dialect.id(), target, except.unwrap_or(NOBODY));
                } else {
                    let frame = self.palette.frame(entry);
                    self.outgoing[shard].push(frame, target, dialect.id(), now.us, loss);
                }
            }
        }
        room.members().saturating_sub(u32::from(except.is_some()))
    }

    /// Publishes to every connection of the node, without the one in slot `except`. Returns how many there are.
    pub(super) fn publish_to_all(
        &mut self,
        now: Now,
        publication: &Publication<'_>,
        except: Option<u32>,
    ) -> u32 {
        self.metrics.publications.add(1);
        for dialect in DIALECTS {
            let entry = self.palette.push(Some(now.us), |out| {
                wire::frame_in_place(out, wire::Opcode::Text, |out| {
                    dialect.encode_publication(publication, out)
                });
            });
            for shard in 0..self.outgoing.len() {
                if shard == self.index {
                    self.deliver(entry, Loss::Never, dialect.id(), Target::All, except.unwrap_or(NOBODY));
                } else {
                    let frame = self.palette.frame(entry);
                    self.outgoing[shard].push(frame, Target::All, dialect.id(), now.us, Loss::Never);
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
            self.deliver(entry, item.loss, item.dialect, item.target, NOBODY);
        }
    }

    /// Makes each connection of this shard that the frame is for owe it. The innermost loop of the server.
    pub(super) fn deliver(
        &mut self,
        entry: u32,
        loss: Loss,
        dialect: DialectId,
        target: Target,
        except: u32,
    ) {
        if loss != Loss::Never
            && let Target::Room { local, id } = target
        {
            self.palette.set_kind(entry, Kind::MayBeLost(Tag { local, id, loss }));
        }
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
                    room.members(dialect).iter().for_each(|slot| owe(*slot));
                }
            }
            Target::All => conns
                .iter()
                .filter(|(_, conn)| conn.is_open() && conn.dialect == dialect && !conn.echo)
                .for_each(|(key, _)| owe(key.slot)),
        }
        if !self.met.is_empty() {
            self.owe_blocked(entry);
        }
    }

    /// The frames for another shard since the last call.
    pub fn take_outgoing(&mut self, shard: usize) -> Option<FrameBatch> {
        (!self.outgoing[shard].is_empty()).then(|| std::mem::take(&mut self.outgoing[shard]))
    }
}

impl FrameBatch {
    pub(super) fn push(
        &mut self,
        frame: &[u8],
        target: Target,
        dialect: DialectId,
        accepted_us: u64,
        loss: Loss,
    ) {
        self.bytes.extend_from_slice(frame);
        self.items.push(FrameItem { end: self.bytes.len(), target, dialect, accepted_us, loss });
    }
}
