use super::tokens::Secret;
use std::fmt;
use std::time::Duration;

/// What the backend is asked and told, see README.md. Nothing while there is no `url`.
#[derive(Clone, PartialEq, Eq)]
pub struct HookSettings {
    /// Where to POST: `http://` or `https://`, host, port and path; empty: no hook.
    pub url: String,
    /// Keys that requests are signed with: the first and, while keys are exchanged, another.
    pub secrets: Vec<Secret>,
    /// Which events it is asked or told about.
    pub events: HookEvents,
    /// Fields of an upgrade request's head that the backend sees of it; lower case.
    pub headers: Vec<String>,
    /// Time for one request, from the moment that it is wanted in the case of a decision.
    pub timeout: Duration,
    /// Requests under way at once.
    pub concurrency: u32,
    /// Requests that wait.
    pub queue_max: u32,
    /// Bytes of requests that wait.
    pub queue_bytes_max: usize,
    /// How often a notice that did not arrive is sent again.
    pub retries: u32,
    /// What holds when the backend does not decide.
    pub on_failure: OnFailure,
    /// Failures in a row after which the backend is left alone for a while; 0: never.
    pub breaker_failures: u32,
    /// How long it is left alone.
    pub breaker_pause: Duration,
    /// What callbacks of the embedding program decide and hear. No key sets it.
    pub in_program: HookEvents,
}

impl HookSettings {
    /// Whether there is something to decide or to hear of an event: the backend, or a callback of the program.
    pub fn is_asked(&self, event: HookEvent) -> bool {
        !self.url.is_empty() && self.events.has(event) || self.in_program.has(event)
    }
}

impl Default for HookSettings {
    fn default() -> Self {
        Self {
            url: String::new(),
            secrets: Vec::new(),
            events: HookEvents::DEFAULT,
            headers: vec!["origin".to_owned(), "user-agent".to_owned()],
            // Whoever connects waits for it; a backend that needs longer has other worries.
            timeout: Duration::from_secs(5),
            // Sixteen at 10 ms each are 1,600 decisions a second, and no more than a small backend bears.
            concurrency: 16,
            queue_max: 10_000,
            queue_bytes_max: 16 * 1024 * 1024,
            // With the backoff of 0.5 s, doubled each time, a backend may be away for some 4 s.
            retries: 3,
            on_failure: OnFailure::Refuse,
            breaker_failures: 5,
            breaker_pause: Duration::from_secs(10),
            in_program: HookEvents::NONE,
        }
    }
}

impl fmt::Debug for HookSettings {
    /// Without the secrets, and without the URL, whose query may be one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HookSettings").field("events", &self.events).finish_non_exhaustive()
    }
}

/// What happens that a backend may want to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HookEvent {
    /// A client wants to connect. A decision.
    Connect,
    /// A connection wants to join a room. A decision.
    Join,
    /// A connection wants to publish or to broadcast. A decision.
    Publish,
    /// A connection has left a room. A notice, and one that a backend gets only if it is named.
    Leave,
    /// A connection has ended. A notice.
    Disconnect,
    /// A message of a type that only the backend knows. A notice.
    Message,
}

impl HookEvent {
    /// Every event, in the order of [`HookEvent::index`].
    pub const ALL: [Self; 6] =
        [Self::Connect, Self::Join, Self::Publish, Self::Leave, Self::Disconnect, Self::Message];

    /// Their names, in the configuration, in requests and in metrics.
    pub const LABELS: [&'static str; 6] = ["connect", "join", "publish", "leave", "disconnect", "message"];

    /// Position in [`HookEvent::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        Self::LABELS[self.index()]
    }

    /// Whether somebody waits for the answer, which may be no.
    pub const fn is_decision(self) -> bool {
        matches!(self, Self::Connect | Self::Join | Self::Publish)
    }
}

/// A set of [`HookEvent`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HookEvents(u8);

impl HookEvents {
    /// None of them.
    pub const NONE: Self = Self(0);

    /// All of them.
    pub const ALL: Self = Self((1 << HookEvent::ALL.len()) - 1);

    /// All but `leave`: a connection that ends leaves all its rooms, which can be very many requests.
    pub const DEFAULT: Self = Self(Self::ALL.0 & !(1 << HookEvent::Leave.index()));

    /// These and `event`.
    #[must_use]
    pub const fn with(self, event: HookEvent) -> Self {
        Self(self.0 | 1 << event.index())
    }

    /// These and those.
    #[must_use]
    pub const fn or(self, those: Self) -> Self {
        Self(self.0 | those.0)
    }

    /// Whether `event` is one of them.
    #[inline]
    pub const fn has(self, event: HookEvent) -> bool {
        self.0 & 1 << event.index() != 0
    }

    pub(super) fn parse<'n>(mut names: impl Iterator<Item = &'n str>) -> Option<Self> {
        names.try_fold(Self::NONE, |set, name| {
            let index = HookEvent::LABELS.iter().position(|label| *label == name)?;
            Some(Self(set.0 | 1 << index))
        })
    }

    pub(super) fn show(self) -> String {
        let names: Vec<_> =
            HookEvent::ALL.into_iter().filter(|e| self.has(*e)).map(HookEvent::name).collect();
        names.join(",")
    }
}

/// What holds for a decision that the backend did not make: it is away, too slow, or makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// No.
    Refuse,
    /// Yes.
    Allow,
}

/// Whether text can be the URL of a backend: `http` or `https`, a host, no user and password (the secret is there for
/// that), no fragment.
pub(super) fn is_url(text: &str) -> bool {
    let Ok(uri) = text.parse::<hyper::Uri>() else { return false };
    matches!(uri.scheme_str(), Some("http" | "https"))
        && uri
            .authority()
            .is_some_and(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'))
        && !text.contains('#')
        && text.len() <= 2048
}

/// The name of a header field, in lower case.
pub(super) fn parse_header(text: &str) -> Option<String> {
    hyper::header::HeaderName::from_bytes(text.as_bytes()).ok().map(|name| name.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_a_set_of_names() {
        let set = HookEvents::parse(["message", "join", "join"].into_iter()).unwrap();
        assert!(set.has(HookEvent::Join) && set.has(HookEvent::Message) && !set.has(HookEvent::Publish));
        assert_eq!(set.show(), "join,message");
        assert_eq!(HookEvents::parse(HookEvent::LABELS.into_iter()), Some(HookEvents::ALL));
        assert_eq!(HookEvents::parse([].into_iter()), Some(HookEvents::NONE));
        assert_eq!(HookEvents::DEFAULT.show(), "connect,join,publish,disconnect,message");
        assert_eq!(HookEvents::DEFAULT.with(HookEvent::Leave), HookEvents::ALL);
        assert_eq!(HookEvents::NONE.or(set), set);
        assert_eq!(HookEvents::parse(["Join"].into_iter()), None);
        for (index, event) in HookEvent::ALL.into_iter().enumerate() {
            assert_eq!(event.index(), index);
        }
    }

    #[test]
    fn urls_have_a_scheme_and_a_host_and_no_password() {
        for good in ["http://a", "https://a.example:8443/hook?x=1", "http://[::1]:80/", "http://10.0.0.1/"] {
            assert!(is_url(good), "{good}");
        }
        let long = format!("http://a/{}", "x".repeat(2048));
        for bad in
            ["", "a", "/hook", "ftp://a/", "http://", "http://u:p@a/", "http://a/#b", "http://a b/", &long]
        {
            assert!(!is_url(bad), "{bad}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let settings = HookSettings {
            url: "http://a/?k=s3cret".into(),
            secrets: vec!["s3cret".into()],
            ..Default::default()
        };
        assert!(!format!("{settings:?}").contains("s3cret"));
    }
}
