//! Connections that are held: what is published waits for its time in the backlog, as if the socket were full.
//!
//! A connection is held while it has a pace (the newest value of each room in each interval), batches (arrays of
//! messages), or a filter. It is blocked in `Owed` all that time, so a fan-out that has nothing to do with such
//! connections costs nothing more; it has a [`Backlog`] only while something waits. All bounds of backlogs hold.
//!
//! - Answers and control frames go out at the end of the tick, whatever waits.
//! - Publications wait in the queue, and are released all at once: put ahead and sent. The first one to wait sets the
//!   time: at once, or when the batch's time or the pace's interval is over. While the socket takes nothing, nothing
//!   is released, so what a slow client may lose or have conflated it still can.
//! - With a pace, a publication replaces the one of its room (and key, in a room that conflates by one) that waits.
//!   This the client has asked for, so it is not told as a loss. What an outbox has no place for even so is lost,
//!   and told, whatever the rule of its room.
//! - Whoever has a filter does not get publications to rooms that it does not let through; they are no loss.

use crate::hub::{Loss, Room};
use crate::model::Audience;
use crate::shard::fanout::mail::Target;
use crate::shard::output::backlog::Backlog;
use crate::shard::output::overflow::gap;
use crate::shard::output::palette::{EMPTY, Tag};
use crate::shard::{Now, Shard, Sockets};

/// Held connections that one turn drains at the most because their time has come.
const DRAINED_MAX: usize = 1024;

/// What a publication is to a connection that is held.
pub(in crate::shard) enum Held {
    /// It waits like any other.
    Plain,
    /// It takes the place of what waits of its room.
    Newest(Tag),
    /// It is none of the connection's business.
    Filtered,
}

impl Shard {
    /// Begins to hold a connection that now has terms to that end, or lets go of one that has none any more.
    pub(in crate::shard) fn change_hold(&mut self, now: Now, slot: u32) {
        let Some(conn) = self.conns.at_mut(slot) else { return };
        let Some(terms) = conn.terms.as_mut() else { return };
        // What waits is thought about anew at the end of the tick.
        terms.is_due = false;
        self.timers.unpace(slot);
        if conn.holds()
            && let Some(list) = self.owed.list(slot)
        {
            self.owed.block(slot);
            if list != EMPTY {
                self.ensure_backlog(slot);
                self.wait_for_each(now, slot, list, 0);
            }
        }
        self.note(slot);
    }

    /// Has a held connection looked at when the tick ends.
    pub(in crate::shard) fn note(&mut self, slot: u32) {
        if let Some(terms) = self.conns.at_mut(slot).and_then(|conn| conn.terms.as_mut())
            && !std::mem::replace(&mut terms.noted, true)
        {
            self.owed.note(slot);
        }
    }

    /// Gives a held connection a backlog for what it is about to be owed.
    pub(super) fn ensure_backlog(&mut self, slot: u32) {
        if let Some(conn) = self.conns.at_mut(slot)
            && conn.backlog.is_none()
        {
            conn.backlog = Some(Box::new(Backlog::held(self.blocked.add(slot))));
        }
    }

    /// What a publication to `target` is to a blocked connection.
    pub(in crate::shard) fn held(&mut self, slot: u32, entry: u32, target: Target, loss: Loss) -> Held {
        let Some(conn) = self.conns.at(slot) else { return Held::Plain };
        let (Some(terms), Target::Room { local, id }) = (conn.terms.as_ref(), target) else {
            return Held::Plain;
        };
        let (filter, paced, dialect) = (terms.filter, terms.interval_ms != 0, conn.dialect);
        // What is sent to a user or a tenant is not of the kind of which only the newest counts.
        let of_audience = |room: &Room| Audience::is_name(room.shared.name.as_str());
        if loss == Loss::Notice || self.rooms.get(local).is_some_and(of_audience) {
            return Held::Plain;
        }
        if let Some(filter) = filter
            && !self.filters.lets_frame_pass(filter, dialect, self.palette.message(entry))
        {
            return Held::Filtered;
        }
        if paced { Held::Newest(Tag { local, id, loss: Loss::ByKey(loss.key()) }) } else { Held::Plain }
    }

    /// At the end of a tick: a held connection that something was added for.
    #[cold]
    pub(super) fn drain_noted(&mut self, now: Now, slot: u32, sockets: &mut impl Sockets) {
        let terms = self.conns.at_mut(slot).and_then(|conn| conn.terms.as_mut());
        if terms.is_some_and(|terms| std::mem::take(&mut terms.noted)) {
            // Nothing may be sent to a connection after what was cut out of its backlog.
            self.evict_doomed(now, sockets);
            self.drain_backlog(now, slot, sockets);
        }
    }

    /// Drains the connections whose time has come.
    pub(in crate::shard) fn drain_due(&mut self, now: Now, sockets: &mut impl Sockets) {
        for _ in 0..DRAINED_MAX {
            let Some(slot) = self.timers.next_paced(now) else { break };
            let Some(conn) = self.conns.at_mut(slot) else { continue };
            // Perhaps an answer that nothing may come after has taken along all that waited.
            let waits = conn.backlog.as_ref().is_some_and(|backlog| backlog.has_queue());
            if let Some(terms) = conn.terms.as_mut() {
                terms.is_due = waits;
            }
            self.drain_backlog(now, slot, sockets);
        }
    }

    /// Puts ahead what may be sent now to a connection with terms, in the form in which it is sent. Whether the
    /// connection is held, so that the rest waits.
    pub(super) fn let_out(&mut self, now: Now, slot: u32, backlog: &mut Backlog) -> bool {
        let Some(conn) = self.conns.at_mut(slot) else { return false };
        let (holds, dialect) = (conn.holds(), conn.dialect);
        let Some(terms) = conn.terms.as_mut() else { return false };
        let batches = terms.batch_ms != 0;
        if !holds && !batches {
            return false;
        }
        let mut keeps = holds;
        if holds && backlog.has_queue() && !backlog.has_ahead() {
            if !terms.is_due && !self.timers.is_paced(slot) {
                let due_ms = terms.due_ms(now.ms());
                terms.is_due = due_ms <= now.ms();
                if !terms.is_due {
                    self.timers.pace(slot, due_ms);
                }
            }
            if terms.is_due {
                (terms.released_ms, terms.is_due) = (Some(now.ms()), false);
                keeps = false;
            }
        }
        if !keeps {
            self.timers.unpace(slot);
            let changed = backlog.release(|name, lost| gap(dialect, name, lost, now));
            self.settle_budget(slot, changed);
        }
        if batches {
            let changed = backlog.seal();
            self.settle_budget(slot, changed);
        }
        holds
    }

    fn settle_budget(&mut self, slot: u32, (charged, given): (usize, usize)) {
        self.force_budget(slot, charged);
        self.give_budget(slot, given);
    }
}

#[cfg(test)]
mod filter_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod route_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(in crate::shard) mod world_tests;
