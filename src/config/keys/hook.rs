//! The backend hook.

use super::{GIB, KIB, key};
use crate::config::key::Key;
use crate::config::kind::Kind;
use std::time::Duration;

pub(super) const HOOK: &[Key] = &[
    key("hook_url", Kind::HookUrl(|c| &mut c.hook.url), "Where the backend hook is sent; none: no hook"),
    key(
        "hook_secret",
        Kind::Secrets(|c| &mut c.hook.secrets),
        "Key that requests to the backend are signed with; a second one while keys are exchanged",
    ),
    key(
        "hook_events",
        Kind::HookEvents(|c| &mut c.hook.events),
        "What the backend is asked (connect, join, publish) and told (leave, disconnect, message)",
    ),
    key(
        "hook_headers",
        Kind::Headers(|c| &mut c.hook.headers),
        "Header fields of an upgrade request that the backend sees, such as cookie or authorization",
    ),
    key(
        "hook_timeout",
        Kind::Time {
            at: |c| &mut c.hook.timeout,
            min: Duration::from_millis(10),
            max: Duration::from_secs(30),
        },
        "Time for the backend to answer",
    ),
    key(
        "hook_concurrency",
        Kind::Count { at: |c| &mut c.hook.concurrency, min: 1, max: 1024 },
        "Requests to the backend at once",
    ),
    key(
        "hook_queue_max",
        Kind::Count { at: |c| &mut c.hook.queue_max, min: 1, max: 1_000_000 },
        "Requests to the backend that wait; more are failures at once",
    ),
    key(
        "hook_queue_bytes_max",
        Kind::Size { at: |c| &mut c.hook.queue_bytes_max, min: 64 * KIB, max: GIB },
        "Bytes of requests to the backend that wait",
    ),
    key(
        "hook_retries",
        Kind::Count { at: |c| &mut c.hook.retries, min: 0, max: 20 },
        "How often a notice that did not arrive is sent again, after 0.5 s and then twice as long each time",
    ),
    key(
        "hook_on_failure",
        Kind::OnFailure(|c| &mut c.hook.on_failure),
        "What holds when the backend does not decide",
    ),
    key(
        "hook_breaker_failures",
        Kind::Count { at: |c| &mut c.hook.breaker_failures, min: 0, max: 1_000_000 },
        "Failures in a row after which the backend is not asked for a while; 0: it always is",
    ),
    key(
        "hook_breaker_pause",
        Kind::Time {
            at: |c| &mut c.hook.breaker_pause,
            min: Duration::from_millis(10),
            max: Duration::from_secs(3600),
        },
        "How long it is not asked then, before one request tries it again",
    ),
];
