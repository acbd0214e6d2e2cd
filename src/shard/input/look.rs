//! First looks: the past that a connection with a filter asks for, of which the fields have not been read.
//!
//! To read them can cost as much as the past is long, so it is divided between parts of the connection's input. The
//! request is put aside as it came, before anything of it is carried out, and its connection is paused with it. Each later
//! part reads for its share, and one publication at the least; the part that leaves nothing unread carries the request
//! out. So what the client is told is decided at one moment, as it is for all others: neither its order nor what comes
//! meanwhile hangs on how long the reading took. What is read stays with the history, for all filters.

use crate::config::Action;
use crate::hub::{History, RoomLog};
use crate::model::{Command, Position, Refusal};
use crate::shard::fanout::recovery::Page;
use crate::shard::input::commands::Asked;
use crate::shard::{Now, Reading, Shard, Sockets};

/// Parts after which a request is carried out whatever is left to read. In time a room to which very much is published
/// would else keep its past from a client for ever. What is left then is what was published in the last of these parts.
const PARTS_MAX: u8 = 64;

/// What of the past is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted<'a> {
    /// All after a position.
    After(Position),
    /// What a snapshot holds, by a message of that type.
    Snapshot(&'a str),
}

/// A request that waits until the fields of what it asks for are read.
#[derive(Debug)]
pub(in crate::shard) struct Look {
    room: Box<str>,
    /// Where a recovery begins; `None`: a snapshot, by a message of the type `event`.
    after: Option<Position>,
    event: Box<str>,
    /// The message as it came.
    text: Box<str>,
    id: Option<Box<str>>,
}

impl Look {
    /// Bytes of what the client said.
    pub fn len_bytes(&self) -> usize {
        self.room.len() + self.event.len() + self.text.len() + self.id.as_ref().map_or(0, |id| id.len())
    }
}

impl Shard {
    /// Puts a request aside if more has to be read for it than one part may cost. To be called before
    /// anything of it is carried out.
    pub(super) fn looks_first(&mut self, now: Now, asked: Asked<'_>, room: &str, past: Wanted<'_>) -> bool {
        let has_filter = self.conns.at(asked.slot).is_some_and(|conn| conn.filter().is_some());
        if !has_filter || !self.may_look(asked.slot, room, past) {
            return false;
        }
        let is_read = self.look(now, asked.slot, room, past);
        let Some(conn) = self.conns.at_mut(asked.slot) else { return false };
        let Some(terms) = conn.terms.as_mut() else { return false };
        if is_read || terms.looks >= PARTS_MAX {
            terms.looks = 0;
            return false;
        }
        terms.looks += 1;
        let (after, event) = match past {
            Wanted::After(position) => (Some(position), ""),
            Wanted::Snapshot(event) => (None, event),
        };
        let (text, id) = (asked.text.into(), asked.id.map(Box::from));
        terms.look = Some(Box::new(Look { room: room.into(), after, event: event.into(), text, id }));
        conn.reading = Reading::Paused;
        self.inputs.left = true;
        self.turn.holds_now();
        true
    }

    /// Whether a request will be told of the past at all. One for a snapshot has been asked about that.
    fn may_look(&self, slot: u32, room: &str, past: Wanted<'_>) -> bool {
        let may = |action| self.allowed(slot, room, action).is_ok();
        matches!(past, Wanted::Snapshot(_)) || (may(Action::Subscribe) && may(Action::History))
    }

    /// Reads what nobody has read of what is asked for, as far as this part goes. Whether all of it is read.
    fn look(&mut self, now: Now, slot: u32, room: &str, past: Wanted<'_>) -> bool {
        let Some(shared) = self.hub.directory.get(room) else { return true };
        let Some(log) = shared.log.as_ref() else { return true };
        let unread = log.lock(now.ms()).and_then(|history| self.unread(slot, log, &history, past));
        let Some(unread) = unread.filter(|page| !page.is_empty()) else { return true };
        let most = self.turn.steps.input_max.saturating_sub(self.turn.input());
        let (work, is_whole) = self.filters.read_ahead(log, &unread, most);
        self.turn.charge(work);
        is_whole
    }

    /// What of a locked history a request will be told of and nobody has read.
    fn unread(&self, slot: u32, log: &RoomLog, history: &History, past: Wanted<'_>) -> Option<Page> {
        let mut page = match past {
            Wanted::After(seen) => log.has_offsets().then(|| self.missed(slot, history, seen))??,
            Wanted::Snapshot(_) => self.snapshot_page(slot, history),
        };
        page.retain(|(_, stored)| !stored.is_read());
        Some(page)
    }

    /// Goes on with the request of a connection that was put aside, if there is one. Whether the rest of what the client
    /// has sent must wait for a later part.
    pub(super) fn looks_on(&mut self, now: Now, slot: u32, sockets: &mut impl Sockets) -> bool {
        let terms = self.conns.at_mut(slot).and_then(|conn| conn.terms.as_mut());
        let Some(look) = terms.and_then(|terms| terms.look.take()) else { return false };
        let Look { room, after, event, text, id } = *look;
        let asked = Asked { slot, text: &text, id: id.as_deref() };
        match after {
            Some(_) => {
                let command = Command::Subscribe { room: (&*room).into(), recover: after, id: asked.id };
                self.allowed_command(now, slot, &text, command);
            }
            // By now the configuration can have another act for it.
            None if self.acted(now, asked, &event) => {}
            None => self.refuse(now, asked, Refusal::UnknownType),
        }
        self.evict_doomed(now, sockets);
        if self.palette.is_full() {
            self.write_out(now, sockets);
        }
        self.pauses(now, slot, 0, sockets)
    }
}
