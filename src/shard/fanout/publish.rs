//! The way of a publication: encoded once per encoding, owed to the members here, mailed to the shards that have more.

use crate::base::{Mutation, mutated};
use crate::dialect::{dialect, dialects_in};
use crate::hub::{Loss, RoomShared};
use crate::model::Publication;
use crate::shard::fanout::bundle::Ready;
use crate::shard::fanout::encode::Frames;
use crate::shard::fanout::frame_batch::{Delivery, FrameBatch, FrameItem, NO_TICKET, NOBODY};
use crate::shard::fanout::mail::{Published, Target};
use crate::shard::output::palette::{Kind, Tag};
use crate::shard::{Now, Shard};
use std::sync::Arc;

impl Shard {
    /// Publishes to a room, without the connection in slot `except`. `None` if the room has no members and has just
    /// been forgotten.
    pub(super) fn publish_to_room(
        &mut self,
        now: Now,
        room: &Arc<RoomShared>,
        publication: &Publication<'_>,
        except: Option<u32>,
    ) -> Option<Published> {
        if let Some(log) = &room.log {
            return self.publish_ordered(now, room, log, publication, except, None);
        }
        self.metrics.publications.add(1);
        if !mutated(Mutation::ForgetPublication) {
            room.activity.published(now.unix_ms);
        }
        let loss = self.hub.loss(&room.policy, publication.data);
        for (id, wanted) in dialects_in(room.encodings()) {
            let write = |out: &mut Vec<u8>| dialect(id).encode_publication(publication, out);
            let frames = self.encode(now, id, wanted, write);
            self.bring_to_members(now, room, &frames, loss, except.unwrap_or(NOBODY));
        }
        let delivered = room.members().saturating_sub(u32::from(except.is_some()));
        Some(Published { delivered, ..Published::default() })
    }

    /// Brings the frames of one text to the members of a room on all shards, without the connection in slot `except`.
    pub(super) fn bring_to_members(
        &mut self,
        now: Now,
        room: &RoomShared,
        frames: &Frames,
        loss: Loss,
        except: u32,
    ) {
        for &(entry, encodings) in frames {
            for shard in 0..self.mailer.shards() {
                let Some(interest) = room.interest(shard).filter(|it| it.encodings & encodings != 0) else {
                    continue;
                };
                let target = Target::Room { local: interest.local, id: room.id };
                self.bring(
                    now,
                    shard,
                    entry,
                    Delivery { target, encodings, loss, except, ticket: NO_TICKET },
                );
            }
        }
    }

    /// Publishes to the connections of a target that is no room, without the one in slot `except`.
    pub(super) fn publish_to_conns(
        &mut self,
        now: Now,
        publication: &Publication<'_>,
        target: Target,
        except: Option<u32>,
    ) {
        self.metrics.publications.add(1);
        let in_use = self.hub.encodings.in_use();
        let (loss, except_slot) = (Loss::Never, except.unwrap_or(NOBODY));
        for (id, wanted) in dialects_in(in_use) {
            let write = |out: &mut Vec<u8>| dialect(id).encode_publication(publication, out);
            for (entry, encodings) in self.encode(now, id, wanted, write) {
                for shard in 0..self.mailer.shards() {
                    let delivery =
                        Delivery { target, encodings, loss, except: except_slot, ticket: NO_TICKET };
                    self.bring(now, shard, entry, delivery);
                }
            }
        }
    }

    /// Brings a frame of the palette to one shard: at once if that is this one, else with the next batch.
    fn bring(&mut self, now: Now, shard: usize, entry: u32, delivery: Delivery) {
        if shard == self.mailer.here() {
            self.deliver(entry, &delivery);
        } else {
            self.mailer.push(shard, self.palette.message(entry), now.us, &delivery);
        }
    }

    /// Takes another shard's frames over, as far as they fit into the turn. Whether all of them are.
    pub(in crate::shard) fn deliver_batch(&mut self, batch: &mut FrameBatch) -> bool {
        let dropped = usize::from(mutated(Mutation::DropLastOfBatch));
        let from = batch.handled;
        let mut start = from.checked_sub(1).map_or(0, |before| batch.items[before].end);
        for item in &batch.items[from..batch.items.len() - dropped] {
            if batch.handled > from && self.turn.mail_is_over(self.owed.unwritten()) {
                return false;
            }
            batch.handled += 1;
            let message = Ready { bytes: &batch.bytes[start..item.end], text_at: item.text_at };
            start = item.end;
            let entry = self.palette.push(Some(item.accepted_us), |out| message.append(out));
            let FrameItem { target, encodings, loss, .. } = *item;
            self.deliver(entry, &Delivery { target, encodings, loss, except: NOBODY, ticket: NO_TICKET });
        }
        true
    }

    /// Makes each connection of this shard that the frame is for owe it.
    pub(super) fn deliver(&mut self, entry: u32, delivery: &Delivery) {
        let Delivery { target, encodings, loss, except, ticket } = *delivery;
        if loss.may_be()
            && let Target::Room { local, id } = target
        {
            self.palette.set_kind(entry, Kind::MayBeLost(Tag { local, id, loss }));
        }
        let members = self.receivers_here(target);
        if self.is_wide(target, members) {
            return self.put_wide(entry, delivery);
        }
        // Where no connection has a tenant the loop need not ask.
        let target = match target {
            Target::Tenantless if !self.policy.audiences.has_tenants() || mutated(Mutation::TellTenants) => {
                Target::All
            }
            target => target,
        };
        self.fan_out(entry, encodings, target, except, ticket);
        if mutated(Mutation::DeliverTwice) {
            self.fan_out(entry, encodings, target, except, ticket);
        }
        self.turn.delivered(members, self.palette.frame(entry).len());
        if !self.blocked.met.is_empty() {
            self.owe_blocked(entry, target, loss);
        }
    }

    /// The innermost loop of the server. In a function of its own, with its arguments one by one, as it costs an
    /// instruction more for each member otherwise.
    #[inline(never)]
    fn fan_out(&mut self, entry: u32, encodings: u32, target: Target, except: u32, ticket: u64) {
        let Self { rooms, conns, owed, palette, blocked, .. } = self;
        let mut owe = |slot: u32| {
            if slot == except && !mutated(Mutation::DeliverToExcept) {
                return;
            }
            if !owed.change(slot, |list| palette.extend(list, entry)) {
                blocked.met.push(slot);
            }
        };
        match target {
            // The slot may have changed hands since the frame was mailed.
            Target::Room { local, id } => {
                if let Some(room) =
                    rooms.get(local).filter(|room| room.shared.id == id || mutated(Mutation::TrustRoomSlot))
                {
                    let has_ahead = room.has_ahead(ticket);
                    for members in room.members(encodings) {
                        if has_ahead {
                            let behind = members.iter().filter(|slot| !room.is_ahead(**slot, ticket));
                            behind.for_each(|slot| owe(*slot));
                        } else {
                            members.iter().for_each(|slot| owe(*slot));
                        }
                    }
                }
            }
            Target::All => conns
                .iter()
                .filter(|(_, conn)| {
                    conn.is_open()
                        && conn.encoding().bit() & encodings != 0
                        && (!conn.echo || mutated(Mutation::TellEchoes))
                })
                .for_each(|(key, _)| owe(key.slot)),
            Target::Tenantless => conns
                .iter()
                .filter(|(_, conn)| {
                    conn.is_open()
                        && conn.encoding().bit() & encodings != 0
                        && !conn.echo
                        && !conn.has_tenant()
                })
                .for_each(|(key, _)| owe(key.slot)),
        }
    }

    /// The frames for another shard since the last call.
    pub fn take_outgoing(&mut self, shard: usize) -> Option<FrameBatch> {
        self.mailer.take(shard)
    }
}
