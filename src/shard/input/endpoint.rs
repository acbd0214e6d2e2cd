//! The messages of route endpoints: what the configuration says that a type does at the endpoint of a connection.

use crate::base::{Mutation, fill_template, iso8601, json_field, json_text, mutated};
use crate::config::{Act, Action, Config, Past, Snapshot};
use crate::hub::History;
use crate::model::{Answer, CloseReason, Command, Refusal, RequestId, RoomName, RoomNameError};
use crate::shard::fanout::recovery::{Page, Space, owned};
use crate::shard::input::commands::Asked;
use crate::shard::input::look::Wanted;
use crate::shard::output::palette::Kind;
use crate::shard::policy::access::Denial;
use crate::shard::turn::price;
use crate::shard::{Now, Shard};
use crate::wire;
use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Paces that a client may set, in ms: no finer than a chart can show, no longer than anybody waits for a value.
const INTERVALS_MS: RangeInclusive<u64> = 100..=3_600_000;

/// Publications of a history that one snapshot holds at the most.
const SNAPSHOT_MAX: usize = 1000;

/// What a snapshot came to.
pub(in crate::shard) enum Sent {
    /// So many publications as members got them, which name no request.
    Publications(usize),
    /// One answer, with the request's `id`, that holds all there is.
    Answer,
    /// Nothing yet: the request waits until the past is read.
    Later,
}

impl Sent {
    const NOTHING: Self = Self::Publications(0);
}

impl Shard {
    /// A message of a type that the dialect does not have. Whether the connection's endpoint has it.
    pub(super) fn acted(&mut self, now: Now, asked: Asked<'_>, event: &str) -> bool {
        let config = Arc::clone(&self.config);
        let Some(act) = self.act_of(asked.slot, event) else { return false };
        let done = match act {
            Act::Join(room) => self.join_named(now, asked, &room),
            Act::Snapshot => self.snapshot_again(now, asked, event, &config),
            Act::Pace => self.set_pace(now, asked, event),
            Act::Filter => self.set_filter(now, asked, event),
            Act::Forward if mutated(Mutation::ForgetForward) => Ok(()),
            Act::Forward => {
                self.forward_from(now, asked, event, &config);
                Ok(())
            }
        };
        if let Err(denial) = done {
            self.deny(now, asked, denial);
        }
        true
    }

    /// What a message of a type does at the endpoint of a connection, if that has it.
    pub(super) fn act_of(&self, slot: u32, event: &str) -> Option<Act> {
        let terms = self.conns.at(slot)?.terms.as_ref()?;
        terms.endpoint(&self.config)?.messages.get(event).cloned()
    }

    /// Tells that the server is there, and begins to close: all that a health check is for.
    pub(in crate::shard) fn tell_health(&mut self, now: Now, slot: u32) {
        let time = iso8601(now.unix_ms);
        let time = String::from_utf8_lossy(&time);
        let text = format!(r#"{{"type":"health","status":"ok","timestamp":"{time}"}}"#);
        let entry = self
            .palette
            .push_answer(|out| wire::text_frame(out, |out| out.extend_from_slice(text.as_bytes())));
        self.owe(slot, entry);
        if mutated(Mutation::KeepHealthOpen) {
            return;
        }
        self.close_at_once(now, slot, CloseReason::Done);
    }

    /// Sends the snapshot again. Where there is nothing to send, the backend or a handler gets the message, and where
    /// neither listens, the client is told so: a request without an answer looks like a lost one.
    fn snapshot_again(
        &mut self,
        now: Now,
        asked: Asked<'_>,
        event: &str,
        config: &Config,
    ) -> Result<(), Denial> {
        let sent = self.snapshot(now, asked.slot, config, Some((asked, event)))?;
        match sent {
            Some(Sent::Publications(0)) | None if self.is_heard(asked.slot, event) => {
                self.forward_from(now, asked, event, config);
            }
            None => self.refuse(now, asked, Refusal::UnknownType),
            Some(Sent::Publications(count)) if count == 0 || asked.id.is_some() => {
                let data = format!(r#"{{"sent":{count}}}"#);
                self.answer(now, asked.slot, &Answer::Event { event, data: Some(&data), id: asked.id });
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// Sends what the endpoint of a connection sends of the past, at the start or because it has asked for that by a
    /// message of some type. `None` if it has no such thing.
    ///
    /// # Errors
    /// If the rules do not let it.
    pub(in crate::shard) fn snapshot(
        &mut self,
        now: Now,
        slot: u32,
        config: &Config,
        request: Option<(Asked<'_>, &str)>,
    ) -> Result<Option<Sent>, Denial> {
        let endpoint = self.conns.at(slot).and_then(|conn| conn.terms.as_ref()?.endpoint(config));
        let Some(snapshot) = endpoint.and_then(|endpoint| endpoint.snapshot.as_ref()) else {
            return Ok(None);
        };
        // The path or the client has no value for the room's name, or not a valid one: nothing is known of such a room.
        let Some(room) = self.fill(slot, &snapshot.room, None) else { return Ok(Some(Sent::NOTHING)) };
        let Ok(room) = RoomName::new(&room) else { return Ok(Some(Sent::NOTHING)) };
        self.allowed(slot, room.as_str(), Action::History)?;
        self.may_ask_past(now, slot)?;
        if let Some((asked, event)) = request.filter(|_| snapshot.what == Past::History)
            && self.looks_first(now, asked, room.as_str(), Wanted::Snapshot(event))
        {
            return Ok(Some(Sent::Later));
        }
        let id = request.and_then(|(asked, _)| asked.id);
        Ok(Some(self.send_past(now, slot, &room, snapshot, id)))
    }

    fn send_past(
        &mut self,
        now: Now,
        slot: u32,
        room: &RoomName,
        snapshot: &Snapshot,
        id: RequestId<'_>,
    ) -> Sent {
        let name = room.as_str();
        let shared = self.hub.directory.get(name);
        let locked = shared.as_ref().and_then(|shared| Some((shared, shared.log.as_ref()?)));
        let locked = locked.and_then(|(shared, log)| Some((shared, log, log.lock(now.ms())?)));
        let Some((shared, log, history)) = locked else {
            if snapshot.what == Past::Last {
                return Sent::NOTHING;
            }
            self.tell_past(now, slot, snapshot, "[]", id, None);
            return Sent::Answer;
        };
        let member = self.membership(slot, name).and_then(|index| {
            self.conns.at(slot).and_then(|conn| conn.memberships.get(index)).map(|membership| membership.room)
        });
        let ticket = history.ticket();
        // What waits of the room comes before what is newer.
        let kind = member.map(|_| Kind::After(shared.id));
        match snapshot.what {
            Past::Last => {
                let page = owned(history.last());
                drop(history);
                let entries = self.encode_past(now, slot, name, log, page, Space::ALL).unwrap_or_default();
                self.catch_up(slot, member, ticket);
                for &entry in &entries {
                    self.owe_after(now, slot, entry, kind);
                }
                Sent::Publications(entries.len())
            }
            Past::History => {
                let mut page = self.snapshot_page(slot, &history);
                drop(history);
                // The newest first.
                page.reverse();
                let mut page = self.filter_past(now, slot, log, page);
                if mutated(Mutation::EmptySnapshot) {
                    page.clear();
                }
                let data =
                    page.iter().map(|(_, stored)| stored.publication(name, None).data.unwrap_or("null"));
                let values = format!("[{}]", data.collect::<Vec<_>>().join(","));
                self.turn.charge(price::ENCODED * page.len() as u64 + 2 * values.len() as u64);
                self.catch_up(slot, member, ticket);
                self.tell_past(now, slot, snapshot, &values, id, kind);
                Sent::Answer
            }
        }
    }

    /// What a snapshot of a locked history holds for a connection, before its filter.
    pub(super) fn snapshot_page(&self, slot: u32, history: &History) -> Page {
        let space = self.space(slot);
        owned(history.page(None, SNAPSHOT_MAX.min(space.frames), space.bytes))
    }

    /// What is on its way to a member that has been told all up to a ticket is not for it any more.
    fn catch_up(&mut self, slot: u32, member: Option<u32>, ticket: u64) {
        if let Some(local) = member {
            self.leave_walk(slot, local, true);
            self.rooms.set_ahead(local, slot, ticket);
        }
    }

    fn tell_past(
        &mut self,
        now: Now,
        slot: u32,
        snapshot: &Snapshot,
        values: &str,
        id: RequestId<'_>,
        kind: Option<Kind>,
    ) {
        let answer = Answer::Event { event: &snapshot.kind, data: Some(values), id };
        self.answer_of_kind(now, slot, &answer, kind);
    }

    /// Owes a frame that is part of an answer, behind what waits of a room.
    fn owe_after(&mut self, now: Now, slot: u32, entry: u32, kind: Option<Kind>) {
        if let Some(Kind::After(room)) = kind {
            self.palette.set_kind(entry, Kind::After(room));
            if self.owed.is_blocked(slot) {
                self.hasten(now, slot, room);
            }
        }
        self.owe(slot, entry);
    }

    /// Joins the room that a message names, as if it had asked for that.
    fn join_named(&mut self, now: Now, asked: Asked<'_>, template: &str) -> Result<(), Denial> {
        let Asked { slot, text, id } = asked;
        let room = self.fill(slot, template, Some(text)).ok_or(Refusal::RoomRequired)?;
        RoomName::check(&room).map_err(|error| match error {
            RoomNameError::Empty => Refusal::RoomRequired,
            _ => Refusal::RoomInvalid,
        })?;
        self.command(now, slot, text, Command::Subscribe { room: room.into(), recover: None, id });
        Ok(())
    }

    fn set_pace(&mut self, now: Now, asked: Asked<'_>, event: &str) -> Result<(), Denial> {
        let interval = json_field(asked.text, "interval").and_then(|raw| raw.parse::<u64>().ok());
        let interval = interval.filter(|ms| *ms == 0 || INTERVALS_MS.contains(ms)).ok_or_else(|| {
            let (least, most) = (INTERVALS_MS.start(), INTERVALS_MS.end());
            wrong(format!(
                "interval must be a number of milliseconds: {least} to {most}, or 0 for all updates"
            ))
        })?;
        if let Some(terms) = self.conns.at_mut(asked.slot).and_then(|conn| conn.terms.as_mut())
            && !mutated(Mutation::IgnorePace)
        {
            terms.interval_ms = interval as u32;
        }
        self.change_hold(now, asked.slot);
        self.confirm(now, asked, event, &format!(r#"{{"interval":{interval}}}"#));
        Ok(())
    }

    fn set_filter(&mut self, now: Now, asked: Asked<'_>, event: &str) -> Result<(), Denial> {
        let raw = json_field(asked.text, "filter").unwrap_or_default();
        self.turn.charge(price::REQUEST);
        let filter = self.filters.take(raw).map_err(|_| {
            wrong(format!(
                "filter must be an object of at most {} fields whose values are strings, numbers, booleans or null",
                crate::hub::FIELDS_MAX
            ))
        })?;
        let filter = filter.filter(|_| !mutated(Mutation::IgnoreFilter));
        let terms = self.conns.at_mut(asked.slot).and_then(|conn| conn.terms.as_mut());
        let before = terms.and_then(|terms| std::mem::replace(&mut terms.filter, filter));
        self.filters.give(before);
        self.change_hold(now, asked.slot);
        self.confirm(now, asked, event, &format!(r#"{{"filter":{raw}}}"#));
        Ok(())
    }

    /// Answers a request that the document does not answer, if it asks for that by an `id`.
    fn confirm(&mut self, now: Now, asked: Asked<'_>, event: &str, data: &str) {
        if asked.id.is_some() {
            self.answer(now, asked.slot, &Answer::Event { event, data: Some(data), id: asked.id });
        }
    }

    /// Hands a message to the backend or the embedding program, with what the path says of it.
    fn forward_from(&mut self, now: Now, asked: Asked<'_>, event: &str, config: &Config) {
        let Some(terms) = self.conns.at(asked.slot).and_then(|conn| conn.terms.as_ref()) else { return };
        let Some(endpoint) = terms.endpoint(config) else { return };
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let parameters = terms.route.iter().flat_map(|route| &route.parameters);
        let parameters = parameters.map(|(name, value)| format!("{}:{}", quoted(name), quoted(value)));
        let data = format!(
            r#"{{"path":{},"parameters":{{{}}},"message":{}}}"#,
            quoted(&endpoint.path.to_string()),
            parameters.collect::<Vec<_>>().join(","),
            asked.text
        );
        self.custom(now, asked, event, Some(&data));
    }

    /// A template with the path's parameters, the user and the tenant of a connection, and what fields a message has.
    fn fill(&self, slot: u32, template: &str, message: Option<&str>) -> Option<String> {
        let conn = self.conns.at(slot)?;
        let route = conn.terms.as_ref()?.route.as_ref()?;
        fill_template(template, |name| match name {
            "user" | "tenant" => conn.identity.as_ref()?.fills(template, name).map(Cow::Borrowed),
            _ => {
                let parameter = route.parameters.iter().find(|(known, _)| known == name);
                parameter.map(|(_, value)| Cow::Borrowed(value.as_str())).or_else(|| {
                    let value = json_field(message?, name).and_then(json_text)?;
                    (!value.is_empty()).then_some(value)
                })
            }
        })
    }
}

fn wrong(text: String) -> Denial {
    Denial { refusal: Refusal::InvalidJson, text: Some(text.into()) }
}
