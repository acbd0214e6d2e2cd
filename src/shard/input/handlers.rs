use crate::base::Seldom;
use crate::config::{HookEvent, HookEvents};
use crate::model::hook::Decider;
use crate::model::{ConnectionId, Identity};
use crate::shard::fanout::mail::{Mail, Message, Post, Request};
use hashbrown::HashMap;
use serde::Serialize;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

/// What outside the shards has a say: handlers of the embedding program for message types that no dialect defines, and
/// what decides beside the rules. All clones share the handlers of the program, which can change while the shards run.
#[derive(Default, Clone)]
pub struct Handlers {
    /// Locked for messages of types that no dialect defines, for the time of a look-up; nothing else is locked then.
    by_type: Arc<RwLock<HashMap<String, Registered>>>,
    of_admins: HashMap<String, Registered>,
    decider: Option<Arc<dyn Decider>>,
    /// What the decider is asked and told.
    events: HookEvents,
}

/// A handler. It runs on the shard's thread and so must be quick and not block.
pub type Handler = Arc<dyn Fn(CustomRequest) + Send + Sync>;

/// A handler, and whether it goes on after it returns.
#[derive(Clone)]
pub(in crate::shard) struct Registered {
    pub handler: Handler,
    /// It hands the request to another thread, so that each connection has a bound of requests that are under way.
    pub goes_on: bool,
    /// When its panics were told.
    pub panics_told: Arc<Seldom>,
}

impl Registered {
    fn new(handler: Handler, goes_on: bool) -> Self {
        Self { handler, goes_on, panics_told: Arc::default() }
    }
}

impl Handlers {
    /// Sets the handler of a type; the last one set counts.
    pub fn set(&self, event: &str, handler: Handler) {
        self.insert(event, Registered::new(handler, false));
    }

    /// The same for a handler that hands the request to another thread. Of each connection at most
    /// [`crate::shard::FORWARDED_MAX`] such requests are under way; a request ends when its [`CustomRequest`] is dropped.
    pub fn set_going_on(&self, event: &str, handler: Handler) {
        self.insert(event, Registered::new(handler, true));
    }

    fn insert(&self, event: &str, registered: Registered) {
        let mut handlers = self.by_type.write().unwrap_or_else(PoisonError::into_inner);
        let before = handlers.insert(event.to_owned(), registered);
        drop(handlers);
        // What the program has captured can call back when it is dropped, so this comes after the lock.
        drop(before);
    }

    /// Removes the handler of a type. `false` if there was none. Requests that are under way go on.
    pub fn unset(&self, event: &str) -> bool {
        let removed = self.by_type.write().unwrap_or_else(PoisonError::into_inner).remove(event);
        removed.is_some()
    }

    /// Removes all handlers of the program, at the end: they can hold what holds them.
    pub fn clear(&self) {
        let removed = std::mem::take(&mut *self.by_type.write().unwrap_or_else(PoisonError::into_inner));
        drop(removed);
    }

    /// Sets what is asked and told.
    pub fn set_decider(&mut self, decider: Arc<dyn Decider>) {
        self.events = decider.events();
        self.decider = Some(decider);
    }

    /// What is asked and told, if there is something.
    #[inline]
    pub(super) fn decider(&self) -> Option<&dyn Decider> {
        self.decider.as_deref()
    }

    /// What it is asked and told.
    #[inline]
    pub(in crate::shard) fn events(&self) -> HookEvents {
        self.events
    }

    /// Whether an event is asked about or told.
    #[inline]
    pub(in crate::shard) fn hear(&self, event: HookEvent) -> bool {
        self.events.has(event)
    }

    /// Sets the handler of a type for connections of an endpoint for admins. It goes before one of [`Handlers::set`].
    pub fn set_for_admins(&mut self, event: &str, handler: Handler) {
        self.of_admins.insert(event.to_owned(), Registered::new(handler, false));
    }

    /// The handler of a type.
    pub(in crate::shard) fn get(&self, event: &str, admin: bool) -> Option<Registered> {
        let of_admins = if admin { self.of_admins.get(event) } else { None };
        if of_admins.is_some() {
            return of_admins.cloned();
        }
        self.by_type.read().unwrap_or_else(PoisonError::into_inner).get(event).cloned()
    }

    /// Whether a type has a handler.
    pub(in crate::shard) fn has(&self, event: &str, admin: bool) -> bool {
        admin && self.of_admins.contains_key(event)
            || self.by_type.read().unwrap_or_else(PoisonError::into_inner).contains_key(event)
    }
}

/// The embedding program as a shard knows it.
pub(in crate::shard) struct Program {
    /// What is handled, asked and told.
    pub handlers: Handlers,
    /// How answers of handlers come back.
    pub respond: Respond,
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handlers = self.by_type.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_set().entries(handlers.keys()).finish()
    }
}

/// How a handler's answers reach the connection: set by the node.
pub type Respond = Arc<dyn Fn(ConnectionId, Message) + Send + Sync>;

/// A place among the requests of a connection that are under way; dropping it gives the place back.
pub(super) struct UnderWay {
    pub of: ConnectionId,
    /// The shard of the connection.
    pub shard: usize,
    pub post: Post,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        (self.post)(self.shard, Mail::Request(Request::Handled(self.of)));
    }
}

/// One message of a client for a custom handler. Can be moved to any thread.
pub struct CustomRequest {
    pub(in crate::shard) client: ConnectionId,
    pub(in crate::shard) identity: Option<Arc<Identity>>,
    pub(in crate::shard) event: String,
    pub(in crate::shard) data: Option<String>,
    pub(in crate::shard) id: Option<String>,
    pub(in crate::shard) respond: Respond,
    /// Where the handler goes on after it returns.
    #[expect(dead_code, reason = "it is held until the request is dropped")]
    pub(super) under_way: Option<UnderWay>,
}

impl CustomRequest {
    /// The connection that asks.
    pub fn client(&self) -> ConnectionId {
        self.client
    }

    /// The identity of the connection when it sent the message; `None` for an anonymous one.
    pub fn identity(&self) -> Option<&Arc<Identity>> {
        self.identity.as_ref()
    }

    /// Memory that it stands for, in bytes.
    pub fn len_bytes(&self) -> usize {
        let texts = [self.data.as_ref(), self.id.as_ref()].into_iter().flatten();
        size_of::<Self>() + self.event.len() + texts.map(String::len).sum::<usize>()
    }

    /// The message's type.
    pub fn event(&self) -> &str {
        &self.event
    }

    /// The message's `data` as raw JSON; `null` if there was none.
    pub fn data(&self) -> &str {
        self.data.as_deref().unwrap_or("null")
    }

    /// Sends a message of type `event` to the client, with the request's `id`. May be called any number of times.
    ///
    /// # Errors
    /// If `data` cannot be written as JSON.
    pub fn reply(&self, event: &str, data: &impl Serialize) -> serde_json::Result<()> {
        let data = Some(serde_json::to_string(data)?);
        (self.respond)(self.client, Message::Event { event: event.to_owned(), data, id: self.id.clone() });
        Ok(())
    }

    /// Sends an error to the client, with the request's `id`.
    pub fn error(&self, text: &str) {
        (self.respond)(self.client, Message::Error { text: text.to_owned(), id: self.id.clone() });
    }
}

impl fmt::Debug for CustomRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CustomRequest").field("client", &self.client).field("event", &self.event).finish()
    }
}
