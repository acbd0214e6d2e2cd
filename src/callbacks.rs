//! Callbacks of the embedding program: it decides who connects, joins and publishes, and is told who leaves and goes.

use crate::base::is_json_object;
use crate::config::HookEvent;
use crate::handle::Handle;
use crate::handler::{HandlerError, Home, Outcome, read};
use crate::io::Callback;
use crate::model::hook::{Decision, HookReply, Question, Verdict, What};
use crate::model::{ConnectionId, Identity};
use crate::node::Builder;
use crate::webhook::reason_in_words;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Calls of one [`blocking`] callback that block at the same time.
const BLOCKING_MAX: usize = 64;

/// What a callback is given.
trait Given: Sized {
    fn new(question: Arc<Question>, handle: Handle) -> Option<Self>;
}

macro_rules! given {
    ($(#[$doc:meta])* $name:ident { $($client:ident: $id:ty)? }) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name {
            question: Arc<Question>,
            handle: Handle,
            $($client: $id,)?
        }

        impl $name {
            $(
                /// The connection.
                pub fn $client(&self) -> $id {
                    self.$client
                }
            )?

            /// The identity of the client, as far as it is known; `None` for an anonymous one.
            pub fn identity(&self) -> Option<&Identity> {
                self.question.subject.identity.as_deref()
            }

            /// The address of the client; `None` over a Unix socket that tells none.
            pub fn ip(&self) -> Option<IpAddr> {
                self.question.subject.ip
            }

            /// The name of the protocol that the client speaks.
            pub fn dialect(&self) -> &'static str {
                self.question.subject.dialect
            }

            /// The server.
            pub fn handle(&self) -> &Handle {
                &self.handle
            }
        }

        impl Given for $name {
            fn new(question: Arc<Question>, handle: Handle) -> Option<Self> {
                $(let $client = question.subject.connection?;)?
                Some(Self { question, handle, $($client,)? })
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let subject = &self.question.subject;
                f.debug_struct(stringify!($name)).field("client", &subject.connection).finish_non_exhaustive()
            }
        }
    };
}

given! {
    /// A client wants to connect; see [`Builder::on_connect`].
    Connect {}
}

given! {
    /// A connection wants to join a room; see [`Builder::on_join`].
    Join { client: ConnectionId }
}

given! {
    /// A connection wants to publish; see [`Builder::on_publish`].
    Publish { client: ConnectionId }
}

given! {
    /// A connection has left a room; see [`Builder::on_leave`].
    Leave { client: ConnectionId }
}

given! {
    /// A connection has ended; see [`Builder::on_disconnect`].
    Disconnect { client: ConnectionId }
}

impl Connect {
    /// The path asked for, without `path_prefix`.
    pub fn path(&self) -> &str {
        match &self.question.what {
            What::Connect { path, .. } => path,
            _ => "",
        }
    }

    /// The query, as the client sent it: a token can be in it.
    pub fn query(&self) -> Option<&str> {
        match &self.question.what {
            What::Connect { query, .. } => query.as_deref(),
            _ => None,
        }
    }

    /// The fields of the request's head that are text, in their order; names in lower case.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let headers = match &self.question.what {
            What::Connect { headers, .. } => headers.as_slice(),
            _ => &[],
        };
        headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The first field of this name, whatever the case of its letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl Join {
    /// The room.
    pub fn room(&self) -> &str {
        match &self.question.what {
            What::Join { room, .. } => room,
            _ => "",
        }
    }

    /// Whether the client wants to publish there without having joined, as it can in some protocols. It is asked only
    /// where no callback or backend decides about publishing.
    pub fn is_to_publish(&self) -> bool {
        matches!(&self.question.what, What::Join { publishes: Some(_), .. })
    }
}

impl Publish {
    /// The room; `None` for a broadcast.
    pub fn room(&self) -> Option<&str> {
        match &self.question.what {
            What::Publish { room, .. } => room.as_deref(),
            _ => None,
        }
    }

    /// The message's type.
    pub fn event(&self) -> &str {
        match &self.question.what {
            What::Publish { event, .. } => event,
            _ => "",
        }
    }

    /// The message's `data` as raw JSON; `null` if there was none.
    pub fn data(&self) -> &str {
        match &self.question.what {
            What::Publish { data: Some(data), .. } => data,
            _ => "null",
        }
    }

    /// The message's `data`, read by serde.
    ///
    /// # Errors
    /// If the data is not that of a `T`. By `?` the client is told what is wrong, in at most 256 bytes.
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, HandlerError> {
        read(self.data())
    }
}

impl Leave {
    /// The room.
    pub fn room(&self) -> &str {
        match &self.question.what {
            What::Leave { room } => room,
            _ => "",
        }
    }
}

impl Disconnect {
    /// Why, as in the label `reason` of `fanwire_closes_total`.
    pub fn reason(&self) -> &'static str {
        match &self.question.what {
            What::Disconnect { reason } => reason,
            _ => "",
        }
    }
}

/// Callbacks decide what clients may do, beside the rules for access and after them: what the rules refuse is not asked
/// about. They run where async handlers run ([`crate::Handle::on_async`]), side by side and in no order, at most
/// `hook_queue_max` of them; those that decide nothing have half of that.
///
/// `Ok` is a yes. [`HandlerError::told`] is a no with a reason (256 bytes at most), which the client is told in the words
/// of its protocol. Any other error, and a panic, is a no as well: the client is told `the backend answered with an error`,
/// and the log the cause. A decision that does not come within `hook_timeout` is made by `hook_on_failure`; its callback
/// ends at its next `await`. While a decision is awaited its connection is not read, and no other one waits.
///
/// With a `hook_url` the program is asked first, and the backend after the program has said yes: any no is a no.
impl Builder {
    /// Sets what decides who may connect. It may say who the client is, in place of what its token says; `None` leaves it
    /// who it was. A refusal is a 403 with the reason.
    ///
    /// ```
    /// use fanwire::{HandlerError, Server, model::Identity};
    ///
    /// let builder = Server::builder().on_connect(|connect| async move {
    ///     match connect.header("cookie") {
    ///         Some("session=1") => Ok(Some(Identity { user: Some("ann".into()), ..Identity::default() })),
    ///         _ => Err(HandlerError::told("log in first")),
    ///     }
    /// });
    /// ```
    #[must_use]
    pub fn on_connect<F: Future<Output = Result<Option<Identity>, HandlerError>> + Send + 'static>(
        self,
        callback: impl Fn(Connect) -> F + Send + Sync + 'static,
    ) -> Self {
        self.decides(HookEvent::Connect, callback, |named| match named {
            Some(identity) if !is_valid(&identity) => Err(HandlerError::from(InvalidIdentity)),
            identity => Ok(identity),
        })
    }

    /// Sets what decides who may join a room. Rooms that the server puts a connection into are not asked about.
    ///
    /// ```
    /// # use fanwire::{HandlerError, Server};
    /// let builder = Server::builder().on_join(|join| async move {
    ///     if join.room() == "staff" {
    ///         return Err(HandlerError::told("staff only"));
    ///     }
    ///     Ok(())
    /// });
    /// ```
    #[must_use]
    pub fn on_join<F: Future<Output = Result<(), HandlerError>> + Send + 'static>(
        self,
        callback: impl Fn(Join) -> F + Send + Sync + 'static,
    ) -> Self {
        self.decides(HookEvent::Join, callback, |()| Ok(None))
    }

    /// Sets what decides who may publish, and what. Each message that a client publishes waits for it.
    #[must_use]
    pub fn on_publish<F: Future<Output = Result<(), HandlerError>> + Send + 'static>(
        self,
        callback: impl Fn(Publish) -> F + Send + Sync + 'static,
    ) -> Self {
        self.decides(HookEvent::Publish, callback, |()| Ok(None))
    }

    /// Sets what is told that a connection has left a room: by its own wish, because it was put out, or because it ended.
    #[must_use]
    pub fn on_leave<R: Outcome, F: Future<Output = R> + Send + 'static>(
        self,
        callback: impl Fn(Leave) -> F + Send + Sync + 'static,
    ) -> Self {
        self.hears(HookEvent::Leave, callback)
    }

    /// Sets what is told that a connection has ended.
    #[must_use]
    pub fn on_disconnect<R: Outcome, F: Future<Output = R> + Send + 'static>(
        self,
        callback: impl Fn(Disconnect) -> F + Send + Sync + 'static,
    ) -> Self {
        self.hears(HookEvent::Disconnect, callback)
    }

    fn decides<G: Given + Send + 'static, T: 'static, F>(
        self,
        event: HookEvent,
        callback: impl Fn(G) -> F + Send + Sync + 'static,
        identity: fn(T) -> Result<Option<Identity>, HandlerError>,
    ) -> Self
    where
        F: Future<Output = Result<T, HandlerError>> + Send + 'static,
    {
        let verdict = move |home: &Home, said: Result<T, HandlerError>| match said.and_then(identity) {
            Ok(identity) => Verdict::Decided(Decision::Allow { identity }),
            Err(error) => match error.text() {
                Some(text) => Verdict::Decided(Decision::Refuse { reason: reason_in_words(text) }),
                None => {
                    home.tell_failure(event.name(), &error);
                    Verdict::Unusable
                }
            },
        };
        let callback = make(self.home(), callback, verdict);
        self.callback(event, callback)
    }

    fn hears<G: Given + Send + 'static, R: Outcome, F: Future<Output = R> + Send + 'static>(
        self,
        event: HookEvent,
        callback: impl Fn(G) -> F + Send + Sync + 'static,
    ) -> Self {
        let verdict = move |home: &Home, said: R| match said.failure() {
            None => Verdict::Replied(HookReply::default()),
            Some(error) => {
                home.tell_failure(event.name(), &error);
                Verdict::Unusable
            }
        };
        let callback = make(self.home(), callback, verdict);
        self.callback(event, callback)
    }
}

/// Makes a callback as the threads beside the shards run it.
fn make<G: Given + Send + 'static, T, F: Future<Output = T> + Send + 'static>(
    home: &Home,
    callback: impl Fn(G) -> F + Send + Sync + 'static,
    verdict: impl Fn(&Home, T) -> Verdict + Copy + Send + Sync + 'static,
) -> Callback {
    let (home, callback) = (home.clone(), Arc::new(callback));
    Arc::new(move |question| {
        let (home, callback) = (home.clone(), callback.clone());
        Box::pin(async move {
            // Without a server there is nothing to decide.
            let given = home.handle().and_then(|handle| G::new(question, handle));
            let Some(given) = given else { return Verdict::Failed };
            let said = callback(given).await;
            verdict(&home, said)
        })
    })
}

/// A callback named a client in a way that no token could.
#[derive(Debug, thiserror::Error)]
#[error(
    "the identity is invalid: names must have 1 to {} bytes and no control characters, roles must be at most {}, \
     and info must be a JSON object of at most {} bytes",
    Identity::NAME_BYTES_MAX,
    Identity::ROLES_MAX,
    Identity::INFO_BYTES_MAX
)]
struct InvalidIdentity;

fn is_valid(identity: &Identity) -> bool {
    let Identity { user, tenant, roles, info, .. } = identity;
    let mut names = [user.as_ref(), tenant.as_ref()].into_iter().flatten().chain(roles);
    names.all(|name| Identity::is_name(name))
        && roles.len() <= Identity::ROLES_MAX
        && info.as_ref().is_none_or(|info| {
            info.len() <= Identity::INFO_BYTES_MAX
                && is_json_object(info.as_bytes())
                && serde_json::from_str::<&RawValue>(info).is_ok()
        })
}

/// Makes an async callback or handler of one that blocks. Of each at most 64 calls block at the same time, on threads for
/// that; the others wait their turn.
///
/// ```
/// use fanwire::{CustomRequest, HandlerError, Server, blocking};
///
/// fn load(request: CustomRequest) -> Result<(), HandlerError> {
///     let text = std::fs::read_to_string("motto")?;
///     request.reply("motto", &text)?;
///     Ok(())
/// }
///
/// let builder = Server::builder().on_async("get_motto", blocking(load));
/// ```
pub fn blocking<T: Send + 'static, R: Send + 'static>(
    callback: impl Fn(T) -> R + Send + Sync + 'static,
) -> impl Fn(T) -> Pin<Box<dyn Future<Output = R> + Send>> + Send + Sync + 'static {
    let (callback, places) = (Arc::new(callback), Arc::new(Semaphore::new(BLOCKING_MAX)));
    move |given| {
        let (callback, places) = (callback.clone(), places.clone());
        Box::pin(async move {
            // Taken before the thread is, so that what waits here can be given up, and no queue grows.
            let place = places.acquire_owned().await;
            let called = tokio::task::spawn_blocking(move || {
                let said = callback(given);
                drop(place);
                said
            });
            match called.await.map_err(tokio::task::JoinError::try_into_panic) {
                Ok(said) => said,
                Err(Ok(panic)) => std::panic::resume_unwind(panic),
                // The threads end, and this with them.
                Err(Err(_)) => std::future::pending().await,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_as_valid_as_that_of_a_token() {
        let named = |user: &str| Identity { user: Some(user.into()), ..Identity::default() };
        let with_info = |info: &str| Identity { info: Some(info.into()), ..named("ann") };
        let with_roles = |count: usize| Identity { roles: vec!["dev".into(); count].into(), ..named("ann") };
        for valid in [Identity::default(), named("ann"), with_info(r#"{"n":1}"#), with_roles(32)] {
            assert!(is_valid(&valid), "{valid:?}");
        }
        let long = format!(r#"{{"n":"{}"}}"#, "x".repeat(512));
        for invalid in [
            named(""),
            named("a\n"),
            named(&"x".repeat(129)),
            Identity { tenant: Some("".into()), ..named("ann") },
            Identity { roles: vec!["".into()].into(), ..named("ann") },
            with_roles(33),
            with_info("[]"),
            with_info("{"),
            with_info(&long),
        ] {
            assert!(!is_valid(&invalid), "{invalid:?}");
        }
    }
}
