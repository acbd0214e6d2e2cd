use super::deciders::Deciders;
use super::http::key_check::WrongKeys;
use super::http::pages::Pages;
use super::http::refused::FailuresTold;
use super::log::LogWriter;
use super::turn::clock::Clock;
use super::turn::descriptors::Descriptors;
use super::turn::driver::GiveBack;
use super::turn::parcel::{Content, ShardMailbox, send};
use crate::api::{
    HistoryInfo, Idempotency, RoomInfo, RoomMembers, RoomMessage, RoomMessages, RoomRemoved, ShardStats,
    Stats,
};
use crate::auth::token::TokenDesk;
use crate::config::{Auth, Config, Endpoint, HookEvent};
use crate::hub::{Activity, Hub, RegistryFull, RoomShared, Stored};
use crate::metrics::{NodeMetrics, RateWindow, Recent, Scrape};
use crate::model::hook::Decider;
use crate::model::{ConnectionId, MembersCursor, RoomName, SlowConsumer};
use crate::shard::{Handlers, Mail, Reply, Request};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::sync::{oneshot, watch};

/// Bytes of a page of a room's history, by what they are charged; one publication alone may be larger.
const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// What the node, its handles and its shards' tasks share: the way to ask something of any shard.
pub struct NodeShared {
    /// What the shards share.
    pub hub: Arc<Hub>,
    /// One mailbox per shard.
    pub mailboxes: Arc<[ShardMailbox]>,
    /// What decides beside the rules.
    pub deciders: Deciders,
    /// The embedding program's handlers, as all shards have them.
    pub handlers: Handlers,
    /// How the allocator gives memory back, where the program has said.
    pub give_back: Option<GiveBack>,
    /// Every shard's counters.
    pub metrics: NodeMetrics,
    /// The time all agree on.
    pub clock: Clock,
    /// Deliveries over the last seconds, for `websocket_messages_per_second`.
    pub rate: Mutex<RateWindow>,
    /// How tokens are checked.
    pub tokens: Arc<TokenDesk>,
    /// The process's log, where it is one that can lose lines.
    pub log: Option<LogWriter>,
    /// Answers to publishes that are made once. Locked only for those that ask for it.
    pub idempotency: Mutex<Idempotency>,
    /// Wrong keys of the API. Locked for each of these alone.
    pub wrong_keys: Mutex<WrongKeys>,
    /// The file descriptors that the process may have.
    pub descriptors: Descriptors,
    /// Of which failures of handshakes the log has told.
    pub failures_told: FailuresTold,
    /// Pages that are kept for a moment.
    pub pages: Pages,
    /// Set to `true` to begin to stop: the node is not ready any more, and drains after `drain_delay`.
    pub stop: watch::Sender<bool>,
    /// When that was, in microseconds of the clock.
    pub stopped_us: AtomicU64,
    /// Shards that have nothing left to serve. Each serves the others until all have.
    pub drained: AtomicUsize,
}

/// What is counted of a room that was registered at that time, if it was, and has members or a history, if it has.
fn about(name: &str, registered_unix_ms: Option<u64>, room: Option<&RoomShared>) -> RoomInfo {
    let activity = room.map(|room| &room.activity);
    let began = activity.and_then(Activity::created_unix_ms);
    RoomInfo {
        messages: activity.map_or(0, Activity::messages),
        created_at: registered_unix_ms.into_iter().chain(began).min(),
        last_activity: activity.and_then(Activity::last_unix_ms),
        ..RoomInfo::new(name.to_owned(), room.map_or(0, RoomShared::members).into())
    }
}

/// The server ended before it answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server has ended")]
pub struct Ended;

/// The outcome of a request to a shard: await it, wait for it, or drop it if the outcome does not matter.
#[derive(Debug)]
pub struct Answer<T>(oneshot::Receiver<T>);

impl<T> Answer<T> {
    /// An answer, and the way to give it.
    pub fn channel() -> (oneshot::Sender<T>, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Self(receiver))
    }

    /// Blocks until the answer is there. Not for an async runtime's own threads: await the answer there.
    ///
    /// # Errors
    /// If the server ends first.
    pub fn wait(self) -> Result<T, Ended> {
        self.0.blocking_recv().map_err(|_| Ended)
    }
}

impl<T> Future for Answer<T> {
    type Output = Result<T, Ended>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map_err(|_| Ended)
    }
}

impl NodeShared {
    /// Whether an endpoint of clients lets in nobody yet: it asks for tokens, and their keys have never come. A backend
    /// that is asked who connects can name clients without.
    pub(super) fn waits_for_keys(&self, config: &Config) -> bool {
        let names = self.deciders.events().has(HookEvent::Connect);
        let asks = |endpoint: &Endpoint| endpoint.auth == Auth::Required && !endpoint.admin;
        config.endpoints.iter().any(asks) && !names && self.tokens.waits_for_keys()
    }

    /// Posts a request that is answered.
    pub fn ask<T: Send + 'static>(
        &self,
        shard: usize,
        request: impl FnOnce(Reply<T>) -> Request,
    ) -> Answer<T> {
        let (sender, answer) = Answer::channel();
        // Nobody waiting any more is no fault.
        self.post(shard, request(Box::new(move |value| drop(sender.send(value)))));
        answer
    }

    /// Posts a request.
    pub fn post(&self, shard: usize, request: Request) {
        send(&self.mailboxes, self.clock, shard, Content::Mail(Mail::Request(request)));
    }

    /// The shard on which a connection would live. An id that is not this node's can point anywhere; the shard asked
    /// finds that it has no such connection.
    pub fn shard_of(&self, id: ConnectionId) -> usize {
        let locator = self.hub.locate(id);
        locator.map_or(0, |locator| usize::from(locator.shard) % self.mailboxes.len())
    }

    /// Begins to stop.
    pub fn begin_to_stop(&self) {
        self.stopped_us.store(self.clock.now().us, Ordering::Relaxed);
        self.stop.send_replace(true);
    }

    fn ask_all<T: Send + 'static>(&self, request: impl Fn(Reply<T>) -> Request) -> Vec<Answer<T>> {
        (0..self.mailboxes.len()).map(|shard| self.ask(shard, &request)).collect()
    }

    /// Asks every shard for its slow consumers and keeps the `limit` largest backlogs, largest first.
    ///
    /// # Errors
    /// If the server ends first.
    pub async fn slow(&self, limit: usize) -> Result<Vec<SlowConsumer>, Ended> {
        let mut slow = Vec::new();
        for answer in self.ask_all(|reply| Request::Slow { limit, reply }) {
            slow.extend(answer.await?);
        }
        slow.sort_by_key(|entry| std::cmp::Reverse(entry.backlog_bytes));
        slow.truncate(limit);
        Ok(slow)
    }

    /// Who is in a room: its members on this node, and the ids of up to `limit` of them from `cursor` on. `None` if
    /// there is no such room.
    ///
    /// # Errors
    /// If the server ends first.
    pub async fn members(
        &self,
        room: &RoomName,
        cursor: MembersCursor,
        limit: usize,
    ) -> Result<Option<RoomMembers>, Ended> {
        let Some(shared) = self.hub.directory.get(room.as_str()) else { return Ok(None) };
        let mut members = Vec::new();
        let mut next = Some(cursor);
        while let Some(cursor) = next.filter(|_| members.len() < limit) {
            let shard = usize::from(cursor.shard);
            let mut more = None;
            if shard < self.mailboxes.len() && shared.interest(shard).is_some() {
                let (room, limit) = (room.clone(), limit - members.len());
                let ask = |reply| Request::Members { room, cursor, limit, reply };
                let (ids, rest) = self.ask(shard, ask).await?;
                members.extend(ids.iter().map(ConnectionId::to_string));
                more = rest;
            }
            let others = (shard + 1..self.mailboxes.len()).find(|shard| shared.interest(*shard).is_some());
            next = more.or_else(|| others.map(|shard| MembersCursor::shard(shard as u16)));
        }
        let (client_count, cursor) = (u64::from(shared.members()), next.map(|next| next.to_string()));
        Ok(Some(RoomMembers { room: room.to_string(), client_count, members, cursor }))
    }

    /// Sends a canary through the mailbox and the tick of every shard.
    ///
    /// # Errors
    /// If the server ends first.
    pub async fn canary(&self) -> Result<(), Ended> {
        for answer in self.ask_all(Request::Canary) {
            answer.await?;
        }
        Ok(())
    }

    /// Up to `limit` rooms whose names start with `prefix` and sort after `after`, in order of name.
    pub fn rooms(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<RoomInfo> {
        let registered = self.hub.registry.list(prefix, after, limit).into_iter();
        let mut rooms: BTreeMap<RoomName, RoomInfo> = registered
            .map(|(name, unix_ms)| (name.clone(), about(name.as_str(), Some(unix_ms), None)))
            .collect();
        for (name, room) in self.hub.directory.list(prefix, after, limit) {
            let created_at = rooms.get(&name).and_then(|known| known.created_at);
            rooms.insert(name.clone(), about(name.as_str(), created_at, Some(&room)));
        }
        rooms.into_values().take(limit).collect()
    }

    /// One room, if it has members, is registered, or is kept for its history.
    pub fn room(&self, name: &str) -> Option<RoomInfo> {
        let registered = self.hub.registry.get(name);
        let created_at = registered.as_ref().map(|known| known.created_unix_ms);
        let metadata = registered.and_then(|known| RawValue::from_string(known.metadata.into()).ok());
        let room = self.hub.directory.get(name);
        if room.is_none() {
            created_at?;
        }
        let log = room.as_ref().and_then(|room| room.log.as_ref()).filter(|log| log.has_offsets());
        let history = log.and_then(|log| log.lock(self.clock.now().ms())).map(|history| HistoryInfo {
            epoch: history.position().epoch.to_string(),
            offset: history.position().offset,
            messages: history.len() as u64,
            bytes: history.bytes() as u64,
        });
        Some(RoomInfo { metadata, history, ..about(name, created_at, room.as_deref()) })
    }

    /// Registers a room, or says something else of one that is: `metadata` is one valid JSON object of at most
    /// `METADATA_BYTES_MAX` bytes. `true` if it is new.
    ///
    /// # Errors
    /// If there are too many.
    pub fn register(&self, name: &RoomName, metadata: &str) -> Result<bool, RegistryFull> {
        self.hub.registry.put(name, metadata, self.clock.now().unix_ms)
    }

    /// Puts a room's members out, empties its history and forgets what was said of it. There is no such room then, unless
    /// somebody joins meanwhile.
    ///
    /// # Errors
    /// If the server ends first.
    pub async fn remove_room(&self, name: &RoomName) -> Result<RoomRemoved, Ended> {
        let registered = self.hub.registry.remove(name.as_str());
        let mut members = 0;
        for shard in 0..self.mailboxes.len() {
            loop {
                let room = name.clone();
                let (here, more) = self.ask(shard, |reply| Request::PutOut { room, reply }).await?;
                members += here;
                if !more {
                    break;
                }
            }
        }
        self.hub.directory.empty(name.as_str());
        Ok(RoomRemoved { registered, members })
    }

    /// A page of a room's history: the first `limit` publications after an offset, or without one the last `limit`;
    /// fewer where they are large. `None` if there is no such room or it has no history.
    pub fn messages(&self, name: &str, after: Option<u64>, limit: usize) -> Option<RoomMessages> {
        let room = self.hub.directory.get(name)?;
        let history = room.log.as_ref().filter(|log| log.has_offsets())?.lock(self.clock.now().ms())?;
        let position = history.position();
        // Taken out under the lock, written after it: writing checks all data again.
        let page: Vec<(u64, Arc<Stored>)> = history
            .page(after, limit, PAGE_BYTES_MAX)
            .map(|(offset, stored)| (offset, stored.clone()))
            .collect();
        drop(history);
        let messages = page.iter().map(|(offset, stored)| message(name, *offset, stored)).collect();
        let (epoch, offset) = (position.epoch.to_string(), position.offset);
        Some(RoomMessages { room: name.to_owned(), epoch, offset, messages })
    }

    /// Writes every shard's counters for Prometheus.
    pub fn encode_metrics(&self, out: &mut String) {
        let now_ms = self.clock.now().ms();
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        let (jwks_fetches, jwks_fetch_failures) = self.tokens.fetches();
        let (users, tenants) = self.hub.accounts.counts();
        let scrape = Scrape {
            users: u64::from(users),
            tenants: u64::from(tenants),
            rooms: u64::from(self.hub.directory.len()),
            membership_bytes: self.hub.directory.membership_bytes() as u64,
            history_bytes: self.hub.directory.history_bytes() as u64,
            history_evictions: self.hub.directory.history_evictions(),
            history_share_evictions: self.hub.directory.history_share_evictions(),
            idempotency_evictions: self
                .idempotency
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .evictions(),
            log_lines_lost: self.log.as_ref().map_or(0, LogWriter::lost),
            history_rooms: self.hub.directory.history_rooms() as u64,
            jwks_fetches,
            jwks_fetch_failures,
            messages_per_second: rate.sample(now_ms, self.metrics.deliveries()),
            uptime_seconds: now_ms as f64 / 1e3,
        };
        self.metrics.encode(&scrape, out);
    }

    /// Counts of the node and of each shard.
    pub fn stats(&self) -> Stats {
        let now = self.clock.now();
        let (mut publish_to_write, mut turn) = (Recent::default(), Recent::default());
        let shards: Vec<ShardStats> = (0_u16..)
            .zip(&self.metrics.shards)
            .map(|(shard, metrics)| {
                let publications = metrics.recent_publish_to_write.recent(now.us);
                let turns = metrics.recent_turns.recent(now.us);
                publish_to_write.add(&publications);
                turn.add(&turns);
                ShardStats {
                    shard,
                    clients: metrics.connections.get(),
                    rooms: metrics.rooms.get(),
                    members: metrics.members.get(),
                    publications: metrics.publications.get(),
                    deliveries: metrics.deliveries.get(),
                    backlog_bytes: metrics.backlog_bytes.get(),
                    mailbox_bytes: metrics.mailbox_bytes.get(),
                    publish_to_write: publications.percentiles(),
                    turn: turns.percentiles(),
                }
            })
            .collect();
        Stats {
            clients: u64::from(self.hub.admission.connections()),
            rooms: u64::from(self.hub.directory.len()),
            uptime_ms: now.ms(),
            publications: shards.iter().map(|shard| shard.publications).sum(),
            deliveries: shards.iter().map(|shard| shard.deliveries).sum(),
            backlog_bytes: self.hub.outboxes.bytes() as u64,
            publish_to_write: publish_to_write.percentiles(),
            turn: turn.percentiles(),
            shards,
        }
    }
}

fn message(room: &str, offset: u64, stored: &Stored) -> RoomMessage {
    let publication = stored.publication(room, Some(offset));
    RoomMessage {
        offset,
        event: publication.event.to_owned(),
        // It was JSON when it came in, so this does not fail.
        data: publication
            .data
            .or(publication.whole)
            .and_then(|data| RawValue::from_string(data.to_owned()).ok()),
        client_id: publication.sender.map(|sender| sender.id.to_string()),
        timestamp: publication.unix_ms,
    }
}

impl fmt::Debug for NodeShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeShared").field("shards", &self.mailboxes.len()).finish_non_exhaustive()
    }
}
