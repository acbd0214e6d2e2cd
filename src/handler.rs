//! Handlers of the embedding program for message types that no dialect defines.

use crate::base::Seldom;
use crate::config::HookEvent;
use crate::handle::{Handle, HandleError};
use crate::io::NodeShared;
use crate::metrics::{HookMetrics, HookOutcome};
use crate::model::{ConnectionId, Identity, Refusal};
use crate::shard;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::hash::RandomState;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

/// Bytes of what is wrong with a message's `data` that the client is told: some of it is what the client has sent.
const WRONG_DATA_BYTES_MAX: usize = 256;

/// The server that handlers belong to. They can be registered before it starts, and must not keep it alive, as it
/// holds them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Home(Arc<AtHome>);

#[derive(Debug, Default)]
struct AtHome {
    node: OnceLock<Weak<NodeShared>>,
    /// Picks the shard that encodes for a room: always the same, so that publications keep their order.
    spread: RandomState,
    /// When failures of the handlers for an event were told: as many as there are handlers.
    failures_told: Mutex<HashMap<String, Seldom>>,
}

impl Home {
    /// The server has started.
    pub fn set(&self, node: &Arc<NodeShared>) {
        // A builder starts one server.
        let _ = self.0.node.set(Arc::downgrade(node));
    }

    /// What picks shards.
    pub fn spread(&self) -> &RandomState {
        &self.0.spread
    }

    /// The server, while there is one.
    pub fn handle(&self) -> Option<Handle> {
        Some(Handle::new(self.0.node.get()?.upgrade()?, self.clone()))
    }

    /// Says in the log that code of the program for an event has failed: the first time, then once a minute.
    pub fn tell_failure(&self, event: &str, cause: &dyn fmt::Display) {
        tracing::debug!(event, %cause, "a handler failed");
        let Some(node) = self.0.node.get().and_then(Weak::upgrade) else { return };
        let mut told = self.0.failures_told.lock().unwrap_or_else(PoisonError::into_inner);
        let count = told.entry(event.to_owned()).or_default().happened(node.clock.now().ms());
        drop(told);
        if let Some(count) = count {
            tracing::error!(event, %cause, count, "a handler of the program failed");
        }
    }
}

/// Why a handler failed: in words for the client, or by an error that the client is not told.
///
/// `?` makes one of any error. The client gets the error `internal error`, and the log gets the cause. What the client
/// should read is made by [`HandlerError::told`].
///
/// ```
/// use fanwire::{CustomRequest, HandlerError};
///
/// fn rename(request: CustomRequest) -> Result<(), HandlerError> {
///     let name: String = request.json()?; // the client is told what is wrong with its data
///     if name.is_empty() {
///         return Err(HandlerError::told("the name is empty"));
///     }
///     std::fs::write("name", &name)?; // the client is told of an internal error
///     request.reply("renamed", &name)?;
///     Ok(())
/// }
/// ```
pub struct HandlerError(Kind);

enum Kind {
    Told(String),
    Internal(Box<dyn Error + Send + Sync>),
}

impl HandlerError {
    /// Words for the client.
    pub fn told(text: impl Into<String>) -> Self {
        Self(Kind::Told(text.into()))
    }

    /// The words for the client; `None` where the cause is for the log alone.
    pub fn text(&self) -> Option<&str> {
        match &self.0 {
            Kind::Told(text) => Some(text),
            Kind::Internal(_) => None,
        }
    }

    /// Tells the client, and the log where the client is told nothing.
    fn tell(&self, home: &Home, request: &shard::CustomRequest) {
        match &self.0 {
            Kind::Told(text) => request.error(text),
            Kind::Internal(cause) => {
                home.tell_failure(request.event(), cause);
                request.error(Refusal::Internal.text());
            }
        }
    }
}

/// Any error, so that `?` works in a handler. (Therefore this type is no error itself.)
impl<E: Error + Send + Sync + 'static> From<E> for HandlerError {
    fn from(error: E) -> Self {
        Self(Kind::Internal(Box::new(error)))
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Told(text) => f.write_str(text),
            Kind::Internal(cause) => cause.fmt(f),
        }
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Told(text) => f.debug_tuple("Told").field(text).finish(),
            Kind::Internal(cause) => f.debug_tuple("Internal").field(cause).finish(),
        }
    }
}

/// What a handler returns: nothing, or a result whose error is told.
pub trait Outcome {
    /// Why it failed, if it did.
    fn failure(self) -> Option<HandlerError>;
}

impl Outcome for () {
    fn failure(self) -> Option<HandlerError> {
        None
    }
}

impl Outcome for Result<(), HandlerError> {
    fn failure(self) -> Option<HandlerError> {
        self.err()
    }
}

/// One message of a client for a handler. It can be kept, cloned and moved to any thread, and answered from there at
/// any time and any number of times.
#[derive(Clone)]
pub struct CustomRequest {
    inner: Arc<shard::CustomRequest>,
    handle: Handle,
}

impl CustomRequest {
    /// The connection that asks.
    pub fn client(&self) -> ConnectionId {
        self.inner.client()
    }

    /// The identity of the connection when it sent the message; `None` for an anonymous one.
    pub fn identity(&self) -> Option<&Identity> {
        self.inner.identity().map(AsRef::as_ref)
    }

    /// The message's type.
    pub fn event(&self) -> &str {
        self.inner.event()
    }

    /// The message's `data` as raw JSON; `null` if there was none.
    pub fn data(&self) -> &str {
        self.inner.data()
    }

    /// The message's `data`, read by serde.
    ///
    /// # Errors
    /// If the data is not that of a `T`. By `?` the client is told what is wrong, in at most 256 bytes.
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, HandlerError> {
        read(self.data())
    }

    /// The server, to publish, to register handlers, and all else.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Sends a message of type `event` to the client, with the request's `id`.
    ///
    /// # Errors
    /// If `data` cannot be written as JSON.
    pub fn reply(&self, event: &str, data: &impl Serialize) -> serde_json::Result<()> {
        self.inner.reply(event, data)
    }

    /// Sends an error to the client, with the request's `id`.
    pub fn error(&self, text: &str) {
        self.inner.error(text);
    }
}

impl fmt::Debug for CustomRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// Reads `data` that a client has sent.
pub(crate) fn read<'a, T: Deserialize<'a>>(data: &'a str) -> Result<T, HandlerError> {
    serde_json::from_str(data).map_err(|error| {
        let mut text = format!("data is invalid: {error}");
        text.truncate(text.floor_char_boundary(WRONG_DATA_BYTES_MAX));
        HandlerError::told(text)
    })
}

impl Handle {
    /// Registers the handler of messages of type `event`, in every dialect, in place of one that was registered before.
    /// It holds for all messages that are read after this returns. The dialects' own types cannot be taken.
    ///
    /// The handler runs on the shard's thread and must not block: all connections of the shard wait for it. Handlers
    /// that take their time are for [`Handle::on_async`]. If it panics the client is told of an internal error.
    pub fn on<R: Outcome>(&self, event: &str, handler: impl Fn(CustomRequest) -> R + Send + Sync + 'static) {
        self.shared().handlers.set(event, on_shard(self.home(), handler));
    }

    /// The same for a handler that may wait. It runs on threads beside the shards', or on the runtime that
    /// [`crate::Builder::runtime`] gives; there it must not block for long either, for which tokio has
    /// `spawn_blocking`. Of one connection at most 16 messages are being handled, and of all connections half of
    /// `hook_queue_max` messages and `hook_queue_bytes_max` bytes; a client that sends more is told so.
    ///
    /// # Errors
    /// If the threads cannot be started.
    pub fn on_async<R: Outcome, F: Future<Output = R> + Send + 'static>(
        &self,
        event: &str,
        handler: impl Fn(CustomRequest) -> F + Send + Sync + 'static,
    ) -> Result<(), HandleError> {
        let node = self.shared();
        node.deciders.program.start().map_err(HandleError::Threads)?;
        node.metrics.program.get_or_init(|| node.deciders.program.metrics().clone());
        node.handlers.set_going_on(event, beside_shards(self.home(), handler));
        Ok(())
    }

    /// Removes the handler of a type. `false` if there was none. Messages that are being handled are answered still.
    pub fn off(&self, event: &str) -> bool {
        self.shared().handlers.unset(event)
    }
}

/// Makes a handler for the shard's thread.
pub(crate) fn on_shard<R: Outcome>(
    home: &Home,
    handler: impl Fn(CustomRequest) -> R + Send + Sync + 'static,
) -> shard::Handler {
    let home = home.clone();
    Arc::new(move |request| {
        // Without a server there is nobody to answer.
        let Some(handle) = home.handle() else { return };
        let inner = Arc::new(request);
        let outcome = handler(CustomRequest { inner: inner.clone(), handle });
        if let Some(error) = outcome.failure() {
            error.tell(&home, &inner);
        }
    })
}

/// A message that is being handled beside the shards. If the handler does not come to its end the client is told.
struct BeingHandled {
    home: Home,
    request: Arc<shard::CustomRequest>,
    metrics: Arc<HookMetrics>,
    is_done: bool,
}

impl BeingHandled {
    fn done(&mut self, failure: Option<HandlerError>) {
        self.is_done = true;
        self.count(if failure.is_some() { HookOutcome::Failed } else { HookOutcome::Ok });
        if let Some(error) = failure {
            error.tell(&self.home, &self.request);
        }
    }

    fn count(&self, outcome: HookOutcome) {
        self.metrics.count(HookEvent::Message.index(), outcome);
    }
}

impl Drop for BeingHandled {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        if std::thread::panicking() {
            self.count(HookOutcome::Failed);
            self.home.tell_failure(self.request.event(), &"panic");
        } else {
            self.count(HookOutcome::Ended);
        }
        self.request.error(Refusal::Internal.text());
    }
}

/// Makes a handler for the threads beside the shards'.
pub(crate) fn beside_shards<R: Outcome, F: Future<Output = R> + Send + 'static>(
    home: &Home,
    handler: impl Fn(CustomRequest) -> F + Send + Sync + 'static,
) -> shard::Handler {
    let (home, handler) = (home.clone(), Arc::new(handler));
    Arc::new(move |request| {
        let Some(handle) = home.handle() else { return };
        let Some(place) =
            handle.shared().deciders.program.take_place(HookEvent::Message, request.len_bytes())
        else {
            return request.error(Refusal::BackendFailed.text());
        };
        let inner = Arc::new(request);
        let (handler, program) = (handler.clone(), handle.shared().deciders.program.clone());
        let (home, metrics) = (home.clone(), program.metrics().clone());
        let mut being_handled = BeingHandled { home, request: inner.clone(), metrics, is_done: false };
        program.spawn(async move {
            let outcome = handler(CustomRequest { inner, handle }).await;
            being_handled.done(outcome.failure());
            drop(place);
        });
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_sent_wrong_is_told_in_a_few_words() {
        #[derive(Debug, Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum Colour {
            Red,
        }
        assert!(matches!(read::<Colour>("\"red\""), Ok(Colour::Red)));
        let data = format!("\"{}\"", "é".repeat(100_000));
        let text = read::<Colour>(&data).expect_err("no colour").to_string();
        assert!(text.starts_with("data is invalid: unknown variant") && text.len() <= WRONG_DATA_BYTES_MAX);
    }

    #[test]
    fn any_error_is_one_but_only_words_for_the_client_are_told() {
        let internal = || -> Result<(), HandlerError> {
            "x".parse::<u8>()?;
            Ok(())
        };
        let error = internal().expect_err("no number");
        assert!(error.text().is_none() && error.to_string().contains("digit"), "{error:?}");
        assert_eq!(HandlerError::told("no").text(), Some("no"));
    }
}
