//! The way of a publication that is for a part of a room, of an audience or of all: those who pass a filter.
//!
//! The smallest of the sets that the selector names is walked, on the shards that have members of all of them, and
//! whatever else is stated is looked up for each connection that is come to. So it costs by that set, and the receivers
//! are counted where they are, exactly.
//!
//! # What order and what memory
//! With `except` alone a publication goes the way of the whole set: in its order, in a room that remembers with an
//! offset, kept, and told to whoever comes later; the excepted do not get it now, as one does not get its own where the
//! endpoint says so. What is for an intersection is no part of any room's history: others could read it there.

use crate::dialect::{dialect, dialects_in};
use crate::hub::{Loss, RoomShared};
use crate::model::{Audience, ConnectionId, DialectId, Position, Publication, Selector};
use crate::shard::conn::Conn;
use crate::shard::fanout::frame_batch::NOBODY;
use crate::shard::fanout::mail::{ByEncoding, Mail, Request, Selected, SelectedFrames, Target};
use crate::shard::fanout::tally::Tally;
use crate::shard::output::palette::{Kind, Tag};
use crate::shard::{Now, Shard};
use crate::wire::Layout;
use smallvec::SmallVec;
use std::sync::Arc;

/// What must hold for a connection of the target, besides being in it.
#[derive(Debug, Default)]
pub(in crate::shard) struct Filter {
    room: Option<Arc<RoomShared>>,
    user: Option<Box<str>>,
    tenant: Option<Box<str>>,
    except: Vec<ConnectionId>,
}

impl Filter {
    /// All but these.
    pub fn except(except: Vec<ConnectionId>) -> Self {
        Self { except, ..Self::default() }
    }
}

/// A filter as it stands on one shard at one moment.
struct Sieve<'a> {
    filter: &'a Filter,
    /// Slot of the filter's room.
    room: Option<u32>,
    /// Slots of the excepted connections, ascending.
    except: SmallVec<[u32; 8]>,
}

/// The rooms that a selector names: its own and those of its audiences.
type Named = SmallVec<[Arc<RoomShared>; 3]>;

impl Shard {
    /// Publishes to an audience, without the connection in slot `except`. Returns how many belong to it.
    pub(super) fn publish_to_audience(
        &mut self,
        now: Now,
        room: &RoomShared,
        publication: &Publication<'_>,
        except: Option<u32>,
    ) -> u32 {
        self.metrics.publications.add(1);
        let wanted = room.encodings();
        for (id, wanted) in dialects_in(wanted) {
            let write = |out: &mut Vec<u8>| dialect(id).encode_publication(publication, out);
            let frames = self.encode(now, id, wanted, write);
            self.bring_to_members(now, room, &frames, Loss::Notice, except.unwrap_or(NOBODY));
        }
        room.members()
    }

    /// Publishes to those of a selector that is not plain. Receivers are counted in `tally`, which may be held by other
    /// shards when this returns. Gives the place in the order of a room with history.
    pub(super) fn publish_to_part(
        &mut self,
        now: Now,
        to: &Selector<'_>,
        publication: &Publication<'_>,
        tally: &Arc<Tally>,
    ) -> Option<Position> {
        if let Some(id) = to.connection {
            self.publish_to_one(now, id, to, publication, tally);
            return None;
        }
        let is_part = [&to.room, &to.user, &to.tenant].into_iter().flatten().count() > 1;
        if let Some(room) = to.room.as_deref().filter(|_| !is_part && self.hub.directory.remembers()) {
            while let Some(shared) = self.hub.directory.get_or_remember(room) {
                let Some(log) = &shared.log else { break };
                let filter = Arc::new(Filter::except(to.except.clone()));
                let part = Some((filter, tally));
                if let Some(published) = self.publish_ordered(now, &shared, log, publication, None, part) {
                    return published.position;
                }
            }
        }
        self.metrics.publications.add(1);
        let named = self.named(to)?;
        let filter = Arc::new(Filter {
            room: to.room.is_some().then(|| named[0].clone()),
            user: to.user.as_deref().map(Box::from),
            tenant: to.tenant.as_deref().map(Box::from),
            except: to.except.clone(),
        });
        let smallest = named.iter().min_by_key(|room| room.members());
        let loss = match smallest.filter(|_| !is_part && to.room.is_some()) {
            Some(room) => {
                room.activity.published(now.unix_ms);
                self.hub.loss(&room.policy, publication.data)
            }
            None => Loss::Notice,
        };
        let wanted = smallest.map_or_else(|| self.hub.encodings.in_use(), |room| room.encodings());
        let by_encoding = self.build(now, publication, wanted);
        let frames = Arc::new(SelectedFrames { accepted_us: now.us, loss, filter, by_encoding });
        for shard in 0..self.mailer.shards() {
            if named.iter().any(|room| room.interest(shard).is_none()) {
                continue;
            }
            let target = match smallest.map(|room| (room.interest(shard), room.id)) {
                Some((Some(interest), id)) => Target::Room { local: interest.local, id },
                Some((None, _)) => continue,
                None => Target::All,
            };
            let selected = Selected { target, frames: frames.clone(), tally: tally.clone() };
            if shard == self.mailer.here() {
                self.deliver_selected(&selected);
            } else {
                self.mailer.post_behind(shard, Mail::Selected(selected));
            }
        }
        None
    }

    /// The rooms that a selector names, its own first. `None` if one of them has no members: then nobody is in all.
    pub(in crate::shard) fn named(&self, to: &Selector<'_>) -> Option<Named> {
        let directory = &self.hub.directory;
        let room = to.room.as_deref().map(|room| directory.get(room));
        let audiences = audiences_of(to).map(|(audience, name)| directory.get(&audience.room(name)));
        room.into_iter().chain(audiences).collect()
    }

    /// Builds the frames of a publication in the encodings of the mask `wanted`, to be handed to several shards.
    pub(in crate::shard) fn build(
        &mut self,
        now: Now,
        publication: &Publication<'_>,
        wanted: u32,
    ) -> ByEncoding {
        self.build_text(now, wanted, |id, out| dialect(id).encode_publication(publication, out))
    }

    /// The same of whatever `write` says in a dialect.
    pub(super) fn build_text(
        &mut self,
        now: Now,
        wanted: u32,
        write: impl Fn(DialectId, &mut Vec<u8>) -> Layout,
    ) -> ByEncoding {
        let mut frames = ByEncoding::default();
        for (id, wanted) in dialects_in(wanted) {
            for (entry, encodings) in self.encode(now, id, wanted, |out| write(id, out)) {
                frames.push(encodings, self.palette.message(entry));
            }
        }
        frames
    }

    /// Publishes to one connection, on its own shard, if all else that is stated holds for it.
    fn publish_to_one(
        &mut self,
        now: Now,
        id: ConnectionId,
        to: &Selector<'_>,
        publication: &Publication<'_>,
        tally: &Arc<Tally>,
    ) {
        let Some(locator) = self.hub.locate(id) else { return };
        let shard = usize::from(locator.shard);
        if shard != self.mailer.here() {
            if shard < self.mailer.shards() {
                let tally = tally.clone();
                let request = Request::Publish {
                    to: Box::new(to.clone().into_owned()),
                    event: publication.event.to_owned(),
                    data: publication.data.map(str::to_owned),
                    whole: publication.whole.map(str::to_owned),
                    reply: Box::new(move |delivered| tally.add(delivered)),
                };
                self.mailer.post_behind(shard, Mail::Request(request));
            }
            return;
        }
        self.metrics.publications.add(1);
        let Some(slot) = self.find(id) else { return };
        let room = match to.room.as_deref().map(|room| self.hub.directory.get(room)) {
            Some(None) => return,
            room => room.flatten(),
        };
        let filter = Filter {
            room,
            user: to.user.as_deref().map(Box::from),
            tenant: to.tenant.as_deref().map(Box::from),
            except: to.except.clone(),
        };
        let Some(conn) = self.conns.at(slot).filter(|conn| !conn.echo) else { return };
        if !self.sieve(&filter).is_some_and(|sieve| sieve.passes(self, slot)) {
            return;
        }
        let (id, wanted) = (conn.dialect, conn.encoding().bit());
        let write = |out: &mut Vec<u8>| dialect(id).encode_publication(publication, out);
        for (entry, _) in self.encode(now, id, wanted, write) {
            self.wide.step.push(slot);
            self.owe_met(entry, Target::All, Loss::Never);
        }
        tally.add(1);
    }

    /// Makes the connections of the present step owe one frame.
    fn owe_met(&mut self, entry: u32, target: Target, loss: Loss) {
        self.turn.delivered(self.wide.step.len(), self.palette.frame(entry).len());
        self.owe_step(target, &[(entry, NOBODY, loss)]);
        self.wide.step.clear();
    }

    /// Takes a publication over that some shard, perhaps this one, has built.
    pub(in crate::shard) fn deliver_selected(&mut self, selected: &Selected) {
        let Selected { target, frames, tally } = selected;
        for (encodings, message) in frames.by_encoding.iter() {
            let mut members = self.selected(*target, encodings, &frames.filter);
            tally.add(members.len() as u32);
            if members.is_empty() {
                continue;
            }
            if self.is_wide(*target, members.len()) {
                self.put_wide_selected(*target, encodings, message, frames);
                continue;
            }
            let entry = self.palette.push(Some(frames.accepted_us), |out| message.append(out));
            self.hand_out(entry, *target, frames.loss, &mut members);
        }
    }

    /// Makes some members of a target owe a frame.
    pub(super) fn hand_out(&mut self, entry: u32, target: Target, loss: Loss, members: &mut Vec<u32>) {
        if loss.may_be()
            && let Target::Room { local, id } = target
        {
            self.palette.set_kind(entry, Kind::MayBeLost(Tag { local, id, loss }));
        }
        self.wide.step.append(members);
        self.owe_met(entry, target, loss);
    }

    /// The connections of a target with an encoding of the mask that pass a filter now: their slots, in no order.
    pub(in crate::shard) fn selected(&self, target: Target, encodings: u32, filter: &Filter) -> Vec<u32> {
        let Some(sieve) = self.sieve(filter) else { return Vec::new() };
        let passes = |slot: &u32| sieve.passes(self, *slot);
        match target {
            Target::Room { local, id } => {
                let room = self.rooms.get(local).filter(|room| room.shared.id == id);
                let members = room.iter().flat_map(|room| room.members(encodings)).flatten();
                members.copied().filter(passes).collect()
            }
            Target::All | Target::Tenantless => {
                let is_in = |conn: &Conn| target == Target::All || !conn.has_tenant();
                let open = self.conns.iter().filter(|(_, conn)| conn.is_open() && !conn.echo && is_in(conn));
                let known = open.filter(|(_, conn)| conn.encoding().bit() & encodings != 0);
                known.map(|(key, _)| key.slot).filter(passes).collect()
            }
        }
    }

    /// `None` if nobody here can pass.
    fn sieve<'a>(&self, filter: &'a Filter) -> Option<Sieve<'a>> {
        let room = match &filter.room {
            Some(room) => Some(room.interest(self.mailer.here())?.local),
            None => None,
        };
        let slots = filter.except.iter().filter_map(|id| {
            let locator = self.hub.locate(*id)?;
            let is_here = usize::from(locator.shard) == self.mailer.here();
            self.conns.at(locator.slot).filter(|conn| is_here && conn.id == *id).map(|_| locator.slot)
        });
        let mut except: SmallVec<_> = slots.collect();
        except.sort_unstable();
        Some(Sieve { filter, room, except })
    }
}

impl Sieve<'_> {
    fn passes(&self, shard: &Shard, slot: u32) -> bool {
        let Some(conn) = shard.conns.at(slot) else { return false };
        let Filter { user, tenant, .. } = self.filter;
        let identity = conn.identity.as_deref();
        let is =
            |wanted: &Option<Box<str>>, own: Option<&Box<str>>| wanted.is_none() || wanted.as_ref() == own;
        is(user, identity.and_then(|identity| identity.user.as_ref()))
            && is(tenant, identity.and_then(|identity| identity.tenant.as_ref()))
            && self.room.is_none_or(|room| conn.memberships.iter().any(|membership| membership.room == room))
            && self.except.binary_search(&slot).is_err()
    }
}

/// What a selector asks for of audiences.
fn audiences_of<'a>(to: &'a Selector<'_>) -> impl Iterator<Item = (Audience, &'a str)> {
    let named = [(Audience::User, to.user.as_deref()), (Audience::Tenant, to.tenant.as_deref())];
    named.into_iter().filter_map(|(audience, name)| Some((audience, name?)))
}
