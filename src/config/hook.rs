use super::tokens::Secret;
pub use crate::model::{HookEvent, HookEvents};
use std::fmt;
use std::time::Duration;

/// What the backend is asked and told, see the chapter `hook` of the guide. Nothing while there is no `url`.
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
