use super::hook::Backend;
use super::mail::Message;
use crate::model::ConnectionId;
use hashbrown::HashMap;
use serde::Serialize;
use std::fmt;
use std::sync::Arc;

/// Who outside the shards has a say: handlers of the embedding program for message types that no dialect defines, and
/// the backend.
#[derive(Default, Clone)]
pub struct Handlers {
    by_type: HashMap<String, Handler>,
    of_admins: HashMap<String, Handler>,
    backend: Option<Backend>,
}

/// A handler. It runs on the shard's thread and so must be quick and not block: for anything longer, move the
/// [`CustomRequest`] to a thread or runtime of your own and answer from there.
pub type Handler = Arc<dyn Fn(CustomRequest) + Send + Sync>;

impl Handlers {
    /// Sets the handler of a type; the last one set counts.
    pub fn set(&mut self, event: &str, handler: Handler) {
        self.by_type.insert(event.to_owned(), handler);
    }

    /// Sets the backend that is asked and told.
    pub fn set_backend(&mut self, backend: Backend) {
        self.backend = Some(backend);
    }

    /// The backend, if there is one.
    #[inline]
    pub fn backend(&self) -> Option<&Backend> {
        self.backend.as_ref()
    }

    /// Sets the handler of a type for connections of an endpoint for admins. It goes before one of [`Handlers::set`].
    pub fn set_for_admins(&mut self, event: &str, handler: Handler) {
        self.of_admins.insert(event.to_owned(), handler);
    }

    /// The handler of a type.
    pub fn get(&self, event: &str, admin: bool) -> Option<&Handler> {
        let of_admins = if admin { self.of_admins.get(event) } else { None };
        of_admins.or_else(|| self.by_type.get(event))
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_type.keys()).finish()
    }
}

/// How a handler's answers reach the connection: set by the node.
pub type Respond = Arc<dyn Fn(ConnectionId, Message) + Send + Sync>;

/// One message of a client for a custom handler. Can be moved to any thread.
pub struct CustomRequest {
    client: ConnectionId,
    event: String,
    data: Option<String>,
    id: Option<String>,
    respond: Respond,
}

impl CustomRequest {
    pub(super) fn new(
        client: ConnectionId,
        event: &str,
        data: Option<&str>,
        id: Option<&str>,
        respond: Respond,
    ) -> Self {
        let [data, id] = [data, id].map(|text| text.map(str::to_owned));
        Self { client, event: event.to_owned(), data, id, respond }
    }

    /// The connection that asks.
    pub fn client(&self) -> ConnectionId {
        self.client
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
