//! What the embedding program, the API and the node ask of a shard.

use crate::dialect;
use crate::model::{Answer, CloseReason, ConnectionId, Draft, DropReason, Eviction, SlowConsumer};
use crate::shard::fanout::accept::Origin;
use crate::shard::fanout::mail::{Mail, Message, Request};
use crate::shard::fanout::tally::Tally;
use crate::shard::input::commands::user_of;
use crate::shard::{Now, Shard, Sockets};
use std::sync::Arc;

impl Shard {
    /// Something came from outside the shard's thread.
    pub fn mail(&mut self, now: Now, mail: Mail, sockets: &mut impl Sockets) {
        if self.turn.has_put_off() {
            self.turn.put_off(mail);
        } else {
            self.take_mail(now, mail, sockets);
        }
    }

    /// Handles mail. `false` if some of it is put off to the next turn.
    pub(in crate::shard) fn take_mail(&mut self, now: Now, mail: Mail, sockets: &mut impl Sockets) -> bool {
        let mut whole = true;
        match mail {
            Mail::Frames(mut batch) => {
                whole = self.deliver_batch(&mut batch);
                if !whole {
                    self.turn.put_back(Mail::Frames(batch));
                }
            }
            Mail::Ordered(ordered) => self.deliver_ordered(&ordered),
            Mail::Selected(selected) => self.deliver_selected(&selected),
            Mail::Remote(arrival) => self.arrive(now, *arrival),
            Mail::Request(request) => self.request(now, request, sockets),
        }
        self.settle(now, sockets);
        whole
    }

    /// To be called after each publication that came neither from a connection nor by mail: evicts who had no place for
    /// it, and ends the tick's writing where its memory is full.
    pub fn settle(&mut self, now: Now, sockets: &mut impl Sockets) {
        self.evict_doomed(now, sockets);
        if self.palette.is_full() {
            self.write_out(now, sockets);
        }
    }

    fn request(&mut self, now: Now, request: Request, sockets: &mut impl Sockets) {
        match request {
            Request::Publish { to, event, data, whole, reply } => {
                let draft = Draft { event: &event, data: data.as_deref(), whole: whole.as_deref() };
                let tally = Arc::new(Tally::new(reply));
                self.publish_selected(now, Origin::Program, &to, &draft, &tally);
                self.hold_answer(&to, tally);
            }
            Request::Send { to, message, reply } => {
                let slot = self.find(to).filter(|slot| self.conns.at(*slot).is_some_and(|conn| !conn.echo));
                if let Some(slot) = slot {
                    self.answer(now, slot, &message.as_answer());
                }
                reply(slot.is_some());
            }
            Request::Disconnect { to, reason, reply } => {
                let slot = self.find(to);
                if let Some(slot) = slot {
                    let kind = CloseReason::Disconnected;
                    let text = reason.as_deref().unwrap_or(kind.text());
                    self.close_with(now, slot, kind, kind.code(), text, sockets);
                }
                reply(slot.is_some());
            }
            Request::CloseAll { which, cursor, reason, text, reply } => {
                reply(self.close_connections(now, &which, cursor, reason, text.as_deref(), sockets));
            }
            Request::Connections { which, cursor, limit, reply } => {
                reply(self.find_connections(now, &which, cursor, limit));
            }
            Request::Connection { of, reply } => reply(self.find(of).and_then(|slot| self.info(now, slot))),
            Request::Join { to, room, reply } => reply(self.join_for(now, to, &room)),
            Request::PutOut { room, reply } => reply(self.put_out(now, &room)),
            Request::Leave { to, room, reply } => reply(self.leave_for(now, to, &room)),
            Request::Identify { to, identity, reply } => {
                let slot = self.find(to);
                if let Some(slot) = slot {
                    self.identify(now, slot, identity);
                }
                reply(slot.is_some());
            }
            Request::Members { room, cursor, limit, reply } => {
                reply(self.members_here(room.as_str(), cursor, limit));
            }
            Request::Users { rooms, from, reply } => reply(self.users_here(&rooms, from)),
            Request::RoomUsers { room, cursor, numbers, reply } => {
                reply(self.room_users_here(room.as_str(), cursor, &numbers));
            }
            Request::Slow { limit, reply } => reply(self.slow(now, limit)),
            Request::Canary(reply) => self.turn.canaries.push(reply),
            Request::EvictLargest => {
                if let Some(slot) = self.largest_blocked()
                    && !self.shed(slot)
                {
                    let backlog_bytes = self.evictable_bytes(slot);
                    self.evict(now, slot, Eviction::Full(DropReason::NodeOutboxes), backlog_bytes, sockets);
                }
            }
            Request::EvictLargestInput => self.evict_largest_input(now, sockets),
            Request::EvictLargestOf { account, party, larger_than } => {
                self.evict_largest_of(now, &account, party, larger_than, sockets);
            }
            Request::Reconfigure(config) => {
                let old = std::mem::replace(&mut self.config, config);
                self.change_access(&old);
                let limits = &self.config.limits;
                let (all, tenant) = (limits.history_bytes_max, limits.history_bytes_per_tenant_max);
                self.hub.directory.set_history_bytes_max(all, tenant);
                self.hub.directory.set_membership_bytes_max(limits.memberships_bytes_max);
                let has_accounts = self.config.limits.has_accounts();
                let changes_accounts = has_accounts != old.limits.has_accounts();
                let slots: Vec<u32> = self.conns.iter().map(|(key, _)| key.slot).collect();
                for slot in slots {
                    self.arm(now, slot);
                    if changes_accounts {
                        self.hold_anyway(slot);
                    }
                }
                self.trim_holdings();
            }
            Request::Handled(of) => self.handled(of),
            Request::Decided(decided) => self.decided(now, *decided, sockets),
            Request::Drain(over) => self.start_drain(now, over),
        }
    }

    /// The slot of an open connection of this shard.
    pub(in crate::shard) fn find(&self, id: ConnectionId) -> Option<u32> {
        let slot = self.hub.locate(id)?.slot;
        self.conns.at(slot).filter(|conn| conn.id == id && conn.is_open()).map(|_| slot)
    }

    fn slow(&self, now: Now, limit: usize) -> Vec<SlowConsumer> {
        let mut slow: Vec<_> = self
            .blocked
            .iter()
            .filter_map(|slot| self.conns.at(slot))
            .filter_map(|conn| conn.backlog.as_ref().map(|backlog| (conn, backlog)))
            .filter(|(_, backlog)| backlog.refused)
            .collect();
        slow.sort_by_key(|(_, backlog)| std::cmp::Reverse(backlog.bytes()));
        slow.truncate(limit);
        slow.into_iter()
            .map(|(conn, backlog)| {
                let age_ms = now.ms().saturating_sub(backlog.since_ms);
                SlowConsumer {
                    client_id: conn.id.to_string(),
                    ip: conn.ip(),
                    dialect: if conn.echo { "echo" } else { dialect::spec(conn.dialect).name },
                    user: user_of(&conn.identity).map(str::to_owned),
                    user_agent: self.newcomers.agents.name(conn.agent).map(str::to_owned),
                    rooms: conn
                        .memberships
                        .iter()
                        .take(ROOMS_SHOWN)
                        .filter_map(|membership| self.rooms.get(membership.room))
                        .map(|room| room.shared.name.to_string())
                        .collect(),
                    backlog_bytes: backlog.bytes() as u64,
                    backlog_messages: u64::from(backlog.frames()),
                    since_unix_ms: now.unix_ms_ago(age_ms),
                    age_ms,
                }
            })
            .collect()
    }
}

/// Rooms named for each slow consumer: enough to see what it hears, few enough to keep the page short.
const ROOMS_SHOWN: usize = 8;

impl Message {
    fn as_answer(&self) -> Answer<'_> {
        match self {
            Self::Event { event, data, id } => {
                Answer::Event { event, data: data.as_deref(), id: id.as_deref() }
            }
            Self::Error { text, id } => {
                Answer::Error { refusal: None, text, original: None, id: id.as_deref() }
            }
        }
    }
}
