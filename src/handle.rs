use crate::api::{
    self, ApiError, BATCH_MAX, ConnectionStats, RoomInfo, RoomMembers, RoomMessages, RoomRemoved, RoomStats,
    Stats, UserEntry, UsersCursor, Whole,
};
use crate::calls::Calls;
use crate::handler::Home;
use crate::hub::{METADATA_BYTES_MAX, RegistryFull};
use crate::io::{Answer, Ended, NodeShared};
use crate::model::{
    CloseReason, ConnectionId, ConnectionInfo, EVENT_BYTES_MAX, Identity, MembersCursor, RoomName,
    RoomNameError, Selector, SlowConsumer, Which,
};
use crate::shard::{Message, Request};
use serde::Serialize;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

/// A running server, from any thread and any runtime. Cheap to clone.
///
/// Calls hand their request to a shard at once, in order, and return an [`Answer`]: await it, [`Answer::wait`] for
/// it, or drop it if the outcome does not matter.
#[derive(Debug, Clone)]
pub struct Handle {
    shared: Arc<NodeShared>,
    home: Home,
}

/// Why a call was refused.
#[derive(Debug, thiserror::Error)]
pub enum HandleError {
    /// The room's name is none.
    #[error(transparent)]
    Room(#[from] RoomNameError),
    /// A name of a selector is none.
    #[error("{0}")]
    Selector(String),
    /// The object is none that can be delivered as it is.
    #[error(transparent)]
    Message(#[from] ApiError),
    /// There is no such topic of the event bus.
    #[error("no such topic: {0:.64?}")]
    Topic(String),
    /// The data cannot be written as JSON.
    #[error("data cannot be written as JSON: {0}")]
    Data(#[from] serde_json::Error),
    /// The metadata is no object, or too long.
    #[error("metadata must be an object of at most {METADATA_BYTES_MAX} bytes")]
    Metadata,
    /// There are too many registered rooms.
    #[error(transparent)]
    Registry(#[from] RegistryFull),
    /// The type of a message is invalid.
    #[error("event must have 1 to {EVENT_BYTES_MAX} bytes and no control characters")]
    Event,
    /// A batch is empty, or too large.
    #[error("a batch holds 1 to {BATCH_MAX} publications, not {0}")]
    Batch(usize),
    /// A publication of a batch is wrong: its place, counted from 0, and why.
    #[error("[{0}]: {1}")]
    InBatch(usize, Box<HandleError>),
    /// The same batch is being published.
    #[error("a batch with this key is being published")]
    Running,
    /// The key was given to another batch.
    #[error("this key was given to another batch")]
    OtherBatch,
    /// The threads for handlers cannot be started.
    #[error("the threads for handlers cannot be started: {0}")]
    Threads(std::io::Error),
}

impl Handle {
    pub(crate) fn new(shared: Arc<NodeShared>, home: Home) -> Self {
        Self { shared, home }
    }

    pub(crate) fn shared(&self) -> &Arc<NodeShared> {
        &self.shared
    }

    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// Publishes to the members of a room. The answer is the number of connections of this node that it is handed
    /// to. Publications of one thread to one room arrive in the order of the calls.
    ///
    /// # Errors
    /// If the room's name or `event` is invalid, or `data` cannot be written as JSON.
    pub fn publish(
        &self,
        room: &str,
        event: &str,
        data: &impl Serialize,
    ) -> Result<Answer<u32>, HandleError> {
        RoomName::check(room)?;
        self.publish_to(Selector::room(room), event, data)
    }

    /// Publishes to every connection of this node. The answer is their number.
    ///
    /// # Errors
    /// If `event` is invalid, or `data` cannot be written as JSON.
    pub fn broadcast(&self, event: &str, data: &impl Serialize) -> Result<Answer<u32>, HandleError> {
        self.publish_to(Selector::all(), event, data)
    }

    /// Publishes to those of whom all that `to` states holds. The answer is the number of connections of this node
    /// that it is handed to. Publications of one thread to one selector arrive in the order of the calls.
    ///
    /// # Errors
    /// If a name of the selector is invalid, if it states a user without its tenant where tenants are configured, if
    /// `event` is invalid, or if `data` cannot be written as JSON.
    pub fn publish_to(
        &self,
        to: Selector<'_>,
        event: &str,
        data: &impl Serialize,
    ) -> Result<Answer<u32>, HandleError> {
        let data = serde_json::to_string(data)?;
        self.ask_to_publish(to, event, Some(data), None)
    }

    /// Publishes a whole object: members that get objects as they are get this one, the others its `type` as the event
    /// with its `data`. The answer is as that of [`Handle::publish_to`].
    ///
    /// # Errors
    /// If a name of the selector is none, or `message` cannot be written as JSON or is no object with a text `type`.
    pub fn publish_whole(
        &self,
        to: Selector<'_>,
        message: &impl Serialize,
    ) -> Result<Answer<u32>, HandleError> {
        let text = serde_json::to_string(message)?;
        let Whole { event, data } = api::parse_whole(&text, u32::MAX)?;
        let (event, data) = (event.into_owned(), data.map(str::to_owned));
        self.ask_to_publish(to, &event, data, Some(text))
    }

    fn ask_to_publish(
        &self,
        to: Selector<'_>,
        event: &str,
        data: Option<String>,
        whole: Option<String>,
    ) -> Result<Answer<u32>, HandleError> {
        self.check(&to, event)?;
        let shard = self.shard_for(&to);
        let (to, event) = (Box::new(to.into_owned()), event.to_owned());
        Ok(self.shared.ask(shard, |reply| Request::Publish { to, event, data, whole, reply }))
    }

    /// Whether something can be published so.
    pub(crate) fn check(&self, to: &Selector<'_>, event: &str) -> Result<(), HandleError> {
        to.check().map_err(HandleError::Selector)?;
        if to.is_ambiguous() && self.shared.tokens.has_tenants() {
            return Err(HandleError::Selector(Selector::AMBIGUOUS.to_owned()));
        }
        api::is_event(event).then_some(()).ok_or(HandleError::Event)
    }

    /// The shard that encodes for a selector.
    pub(crate) fn shard_for(&self, to: &Selector<'_>) -> usize {
        match (to.connection, to.is_all()) {
            (Some(id), _) => self.shared.shard_of(id),
            (None, true) => 0,
            (None, false) => {
                let named = (&to.room, &to.user, &to.tenant);
                self.home.spread().hash_one(named) as usize % self.shared.mailboxes.len()
            }
        }
    }

    /// The calls of the systems that Fanwire stands in for, under their names.
    pub fn calls(&self) -> Calls<'_> {
        Calls::new(self)
    }

    /// Sends a message to one connection. The answer says whether there is such an open connection.
    ///
    /// # Errors
    /// If `data` cannot be written as JSON.
    pub fn send(
        &self,
        to: ConnectionId,
        event: &str,
        data: &impl Serialize,
    ) -> Result<Answer<bool>, HandleError> {
        let data = Some(serde_json::to_string(data)?);
        let message = Message::Event { event: event.to_owned(), data, id: None };
        Ok(self.shared.ask(self.shared.shard_of(to), |reply| Request::Send { to, message, reply }))
    }

    /// Closes one connection with code 4440 and, where one is given, a text of at most 123 bytes. The answer says
    /// whether there was such an open connection.
    pub fn disconnect(&self, to: ConnectionId, reason: Option<&str>) -> Answer<bool> {
        let reason = reason.map(str::to_owned);
        self.shared.ask(self.shared.shard_of(to), |reply| Request::Disconnect { to, reason, reply })
    }

    /// What is known of one connection, if there is such an open one.
    pub fn connection(&self, of: ConnectionId) -> Answer<Option<ConnectionInfo>> {
        self.shared.ask(self.shared.shard_of(of), |reply| Request::Connection { of, reply })
    }

    /// A page of the connections of this node that fit, about `limit` of them (at least 1) from `cursor` on, and
    /// where to go on if there may be more.
    ///
    /// # Errors
    /// If the server ends first.
    pub async fn connections(
        &self,
        which: &Which,
        cursor: MembersCursor,
        limit: usize,
    ) -> Result<(Vec<ConnectionInfo>, Option<MembersCursor>), Ended> {
        self.shared.connections(which, cursor, limit).await
    }

    /// Connections by tenant and by room, of the first thousand of each by name.
    pub fn connection_stats(&self) -> ConnectionStats {
        self.shared.connection_stats(self.shared.status_counts())
    }

    /// Connections of this node.
    pub fn active_connections(&self) -> u64 {
        u64::from(self.shared.hub.admission.connections())
    }

    /// Closes all connections that fit with code 4440; how many.
    ///
    /// # Errors
    /// If the server ends first.
    pub async fn disconnect_all(&self, which: &Which, reason: Option<&str>) -> Result<u64, Ended> {
        self.shared.close_all(which, CloseReason::Disconnected, reason).await
    }

    /// Closes the connections without a message for `idle` with code 4408; how many.
    ///
    /// # Errors
    /// If the server ends first.
    pub async fn cleanup(&self, idle: Duration) -> Result<u64, Ended> {
        self.shared.cleanup(idle).await
    }

    /// Makes a connection a member of a room and tells it, as if it had asked: the rules for access hold. The answer is
    /// the number of the room's members on this node, or why it may not; `None` if there is no such open connection.
    pub fn join(&self, to: ConnectionId, room: &RoomName) -> Answer<Option<Result<u32, String>>> {
        let room = room.clone();
        self.shared.ask(self.shared.shard_of(to), |reply| Request::Join { to, room, reply })
    }

    /// Ends a connection's membership of a room and tells it. The answer is whether it was a member; `None` if there
    /// is no such open connection.
    pub fn leave(&self, to: ConnectionId, room: &RoomName) -> Answer<Option<bool>> {
        let room = room.clone();
        self.shared.ask(self.shared.shard_of(to), |reply| Request::Leave { to, room, reply })
    }

    /// Says to one connection who it is from now on, or with `None` that it is nobody known. What it may do follows
    /// from that at once, and memberships that the rules for access do not allow to it any more end. The answer says
    /// whether there is such an open connection.
    pub fn identify(&self, to: ConnectionId, identity: Option<Identity>) -> Answer<bool> {
        let identity = identity.map(Arc::new);
        self.shared.ask(self.shared.shard_of(to), |reply| Request::Identify { to, identity, reply })
    }

    /// Up to `limit` rooms whose names start with `prefix` and sort after `after`, in order of name.
    pub fn rooms(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<RoomInfo> {
        self.shared.rooms(prefix, after, limit)
    }

    /// Registers a room, or says something else of one that is registered: `metadata` becomes a JSON object of at most
    /// [`METADATA_BYTES_MAX`] bytes. `true` if it is new.
    ///
    /// # Errors
    /// If the name is none, if the metadata is no such object, or if there are too many registered rooms.
    pub fn create_room(&self, room: &str, metadata: &impl Serialize) -> Result<bool, HandleError> {
        let (room, text) = (RoomName::new(room)?, serde_json::to_string(metadata)?);
        if !text.starts_with('{') || text.len() > METADATA_BYTES_MAX {
            return Err(HandleError::Metadata);
        }
        Ok(self.shared.register(&room, &text)?)
    }

    /// One room, if it has members, is registered, or is kept for its history.
    pub fn room(&self, room: &str) -> Option<RoomInfo> {
        self.shared.room(room)
    }

    /// What is counted of one room, its different users among that: each of its members is looked at, some thousands at a
    /// time. `None` if there is no such room.
    ///
    /// # Errors
    /// If the server ends first.
    pub async fn room_stats(&self, room: &RoomName) -> Result<Option<RoomStats>, Ended> {
        self.shared.room_stats(room).await
    }

    /// Up to `limit` (at least 1) of the users with a connection of this node, of one tenant if that is given, from
    /// `cursor` on ([`UsersCursor::default`]: all), and where to go on if there may be more. In no order; users of one name
    /// in two tenants are two. A page may have fewer than `limit`, or none, where there are more: it ends as well when it
    /// has passed over many rooms.
    ///
    /// # Errors
    /// If the server ends first.
    pub async fn users(
        &self,
        tenant: Option<&str>,
        cursor: UsersCursor,
        limit: usize,
    ) -> Result<(Vec<UserEntry>, Option<UsersCursor>), Ended> {
        self.shared.users(tenant, cursor, limit).await
    }

    /// Puts a room's members out and tells them, empties its history and forgets what was said of it.
    ///
    /// # Errors
    /// If the server ends first.
    pub async fn remove_room(&self, room: &RoomName) -> Result<RoomRemoved, Ended> {
        self.shared.remove_room(room).await
    }

    /// Who is in a room: its members on this node, and the ids of up to `limit` (at least 1) of them from `cursor`
    /// on. `None` if there is no such room.
    ///
    /// # Errors
    /// If the server ends first.
    pub async fn members(
        &self,
        room: &RoomName,
        cursor: MembersCursor,
        limit: usize,
    ) -> Result<Option<RoomMembers>, Ended> {
        self.shared.members(room, cursor, limit).await
    }

    /// A page of a room's history, in order: the first `limit` publications after an offset, or without one the last
    /// `limit`; fewer where they are large. `None` if there is no such room or it has no history.
    pub fn messages(&self, room: &str, after: Option<u64>, limit: usize) -> Option<RoomMessages> {
        self.shared.messages(room, after, limit)
    }

    /// Counts of the node and of each shard.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// The consumers with the largest backlogs, at most `limit`, largest first.
    ///
    /// # Errors
    /// If the server ends first.
    pub async fn slow(&self, limit: usize) -> Result<Vec<SlowConsumer>, Ended> {
        self.shared.slow(limit).await
    }

    /// Begins to stop: the node is not ready any more; after `drain_delay` it lets nobody in, and its connections are
    /// closed over `drain_timeout`. Returns at once; [`crate::Server::wait`] returns when it is done.
    pub fn shutdown(&self) {
        self.shared.begin_to_stop();
    }
}
