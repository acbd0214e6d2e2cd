//! What an answer of the backend, or its absence, means: for the request, and for the backend.
//!
//! A status is an answer to this request and says nothing of others: a client can choose what it asks, and a backend
//! that answers 500 to one message serves the rest. Only what a balancer says in place of a backend (502, 503, 504), a
//! limit on the rate of requests (429), and silence speak of the backend.

use super::answer::read_reason;
use super::{Failing, Fate, Source, fate_of_notice, read_decision, read_reply};
use crate::config::{HookEvent, OnFailure};
use crate::metrics::HookOutcome;
use crate::model::hook::{Decision, HookReply, Verdict};
use std::time::Duration;

/// What came of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came<'a> {
    /// An answer.
    Answer {
        /// Its status.
        status: u16,
        /// Its body; `None` if it is larger than [`super::ANSWER_BYTES_MAX`].
        body: Option<&'a [u8]>,
        /// What its `Retry-After` says.
        retry_after: Option<Duration>,
    },
    /// No whole answer in time.
    Timeout,
    /// There was no connection, so the request did not leave.
    NotReached,
    /// The connection broke, or what came is not HTTP.
    Broken,
}

/// What one request means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// What becomes of it, unless it is sent again.
    pub verdict: Verdict,
    /// Whether it is a notice that can be sent again.
    pub again: bool,
    /// How it is counted, unless it is sent again.
    pub outcome: HookOutcome,
    /// What is wrong, for the log, if anything is.
    pub cause: Option<Cause>,
    /// Whether the backend is away, and whose request says so.
    pub failing: Option<Failing>,
    /// How long the backend wants to be left alone with this request; at most [`super::RETRY_AFTER_MAX`].
    pub retry_after: Duration,
}

/// Why a request failed: one line of the log in a minute is for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Cause {
    /// No whole answer in time.
    #[error("no answer within hook_timeout")]
    Timeout,
    /// No connection.
    #[error("no connection")]
    NotReached,
    /// A connection that broke, or no HTTP.
    #[error("the connection broke, or the answer is not HTTP")]
    Broken,
    /// A status that is no success.
    #[error("status {0}")]
    Status(u16),
    /// An answer with more than [`super::ANSWER_BYTES_MAX`] bytes.
    #[error("the answer is larger than {} bytes", super::ANSWER_BYTES_MAX)]
    TooLarge,
    /// A decision without a body. By 204 it would be a yes.
    #[error("status {0} without a body: answer {{\"allow\":true}}, or 204")]
    Empty(u16),
    /// A body that is no answer.
    #[error("{0}")]
    Garbage(super::Garbage),
}

/// Judges a request of `event`, as a failure of `source` where it is one.
pub fn judge(event: HookEvent, came: Came<'_>, source: Source) -> Judgement {
    let failing = failing(came, event.is_decision(), source);
    let asked_for = failing.as_ref().and_then(|failing| failing.retry_after).unwrap_or_default();
    let judgement = Judgement {
        verdict: if failing.is_some() { Verdict::Failed } else { Verdict::Unusable },
        again: false,
        outcome: HookOutcome::Status,
        cause: None,
        failing,
        retry_after: asked_for.min(super::RETRY_AFTER_MAX),
    };
    match came {
        Came::Answer { status, body, .. } if event.is_decision() => decision(judgement, status, body),
        Came::Answer { status, body, .. } => notice(judgement, event, status, body),
        Came::Timeout | Came::NotReached | Came::Broken => {
            let (outcome, cause) = match came {
                Came::Timeout => (HookOutcome::Timeout, Cause::Timeout),
                Came::NotReached => (HookOutcome::Unreachable, Cause::NotReached),
                Came::Broken | Came::Answer { .. } => (HookOutcome::Unreachable, Cause::Broken),
            };
            Judgement { again: !event.is_decision(), outcome, cause: Some(cause), ..judgement }
        }
    }
}

/// What a failure means where the configuration decides in place of the backend. It does so only where the backend
/// said nothing: an answer is never turned into a yes, as a client could ask for what makes the backend fail.
pub fn in_place_of_backend(event: HookEvent, on_failure: OnFailure, answered: bool) -> Verdict {
    match on_failure {
        OnFailure::Allow if event.is_decision() && !answered => {
            Verdict::Decided(Decision::Allow { identity: None })
        }
        OnFailure::Allow | OnFailure::Refuse => Verdict::Failed,
    }
}

fn failing(came: Came<'_>, is_decision: bool, source: Source) -> Option<Failing> {
    match came {
        Came::Answer { status: 429 | 502..=504, retry_after, .. } => {
            Some(Failing { of: Some(source), answered: true, retry_after })
        }
        Came::Answer { .. } => None,
        // No request can cause it, but one notice that is sent again and again counts once.
        Came::NotReached => {
            Some(Failing { of: (!is_decision).then_some(source), answered: false, retry_after: None })
        }
        Came::Timeout | Came::Broken => {
            Some(Failing { of: Some(source), answered: false, retry_after: None })
        }
    }
}

fn decision(judgement: Judgement, status: u16, body: Option<&[u8]>) -> Judgement {
    let decided = |decision| {
        let outcome = match decision {
            Decision::Allow { .. } => HookOutcome::Ok,
            Decision::Refuse { .. } => HookOutcome::Refused,
        };
        Judgement { verdict: Verdict::Decided(decision), outcome, ..judgement.clone() }
    };
    let garbage =
        |cause| Judgement { outcome: HookOutcome::Garbage, cause: Some(cause), ..judgement.clone() };
    match (status, body) {
        (204, _) => decided(Decision::Allow { identity: None }),
        (200..=299, None) => garbage(Cause::TooLarge),
        (200..=299, Some(body)) if body.trim_ascii().is_empty() => garbage(Cause::Empty(status)),
        (200..=299, Some(body)) => match read_decision(body) {
            Ok(decision) => decided(decision),
            Err(error) => garbage(Cause::Garbage(error)),
        },
        (401 | 403 | 404, body) => {
            let refused = decided(Decision::Refuse { reason: read_reason(body.unwrap_or_default()) });
            Judgement { cause: Some(Cause::Status(status)), ..refused }
        }
        _ => Judgement { cause: Some(Cause::Status(status)), ..judgement },
    }
}

fn notice(judgement: Judgement, event: HookEvent, status: u16, body: Option<&[u8]>) -> Judgement {
    let cause = Some(Cause::Status(status));
    let reply = match fate_of_notice(status) {
        Fate::Again => return Judgement { again: true, cause, ..judgement },
        Fate::Unwanted => return Judgement { outcome: HookOutcome::Refused, cause, ..judgement },
        Fate::Delivered if event != HookEvent::Message => Ok(HookReply::default()),
        Fate::Delivered => match body {
            Some(body) => read_reply(body).map_err(Cause::Garbage),
            None => Err(Cause::TooLarge),
        },
    };
    match reply {
        Ok(reply) => Judgement { verdict: Verdict::Replied(reply), outcome: HookOutcome::Ok, ..judgement },
        Err(cause) => Judgement { outcome: HookOutcome::Garbage, cause: Some(cause), ..judgement },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: &str = "refused by the backend";

    fn source() -> Source {
        Source::Delivery("d".into())
    }

    fn answered(event: HookEvent, status: u16, body: &str) -> Judgement {
        let came = Came::Answer { status, body: Some(body.as_bytes()), retry_after: None };
        judge(event, came, source())
    }

    fn no(reason: &str) -> Verdict {
        Verdict::Decided(Decision::Refuse { reason: reason.to_owned() })
    }

    const YES: Verdict = Verdict::Decided(Decision::Allow { identity: None });

    #[test]
    fn each_status_of_a_decision_has_one_meaning() {
        for (status, body, verdict, outcome) in [
            (200, r#"{"allow":true}"#, YES, HookOutcome::Ok),
            (201, r#"{"allow":false,"reason":"r"}"#, no("r"), HookOutcome::Refused),
            (200, "\u{feff}{\"allow\":true}", YES, HookOutcome::Ok),
            (204, "", YES, HookOutcome::Ok),
            (200, "", Verdict::Unusable, HookOutcome::Garbage),
            (200, " \n", Verdict::Unusable, HookOutcome::Garbage),
            (200, r#"{"Allow":true}"#, Verdict::Unusable, HookOutcome::Garbage),
            (401, r#"{"allow":true,"reason":"log in"}"#, no("log in"), HookOutcome::Refused),
            (403, r#"{"reason":"staff\u0000 only"}"#, no("staff only"), HookOutcome::Refused),
            (403, "<html>no</html>", no(REFUSED), HookOutcome::Refused),
            (403, r#"{"reason":7}"#, no(REFUSED), HookOutcome::Refused),
            (403, r#"["reason"]"#, no(REFUSED), HookOutcome::Refused),
            (404, "", no(REFUSED), HookOutcome::Refused),
            (400, "", Verdict::Unusable, HookOutcome::Status),
            (408, "", Verdict::Unusable, HookOutcome::Status),
            (413, "", Verdict::Unusable, HookOutcome::Status),
            (500, r#"{"allow":true}"#, Verdict::Unusable, HookOutcome::Status),
            (501, "", Verdict::Unusable, HookOutcome::Status),
            (302, r#"{"allow":true}"#, Verdict::Unusable, HookOutcome::Status),
            (429, "", Verdict::Failed, HookOutcome::Status),
            (502, "", Verdict::Failed, HookOutcome::Status),
            (503, r#"{"allow":true}"#, Verdict::Failed, HookOutcome::Status),
            (504, "", Verdict::Failed, HookOutcome::Status),
        ] {
            let judgement = answered(HookEvent::Join, status, body);
            assert_eq!((&judgement.verdict, judgement.outcome), (&verdict, outcome), "{status} {body}");
            assert_eq!(judgement.failing.is_some(), verdict == Verdict::Failed, "{status} {body}");
            assert!(!judgement.again, "a decision is asked for once");
            assert_eq!(
                judgement.cause.is_none(),
                (200..300).contains(&status) && outcome != HookOutcome::Garbage
            );
        }
    }

    #[test]
    fn a_body_that_is_too_large_leaves_the_status() {
        let of =
            |status| judge(HookEvent::Join, Came::Answer { status, body: None, retry_after: None }, source());
        assert_eq!(of(200).verdict, Verdict::Unusable);
        assert_eq!(of(200).cause, Some(Cause::TooLarge));
        assert_eq!(of(403).verdict, no(REFUSED));
    }

    #[test]
    fn notices_are_sent_again_where_that_can_help() {
        for (status, again, away) in [
            (200, false, false),
            (204, false, false),
            (400, false, false),
            (404, false, false),
            (413, false, false),
            (408, true, false),
            (500, true, false),
            (429, true, true),
            (503, true, true),
        ] {
            let judgement = answered(HookEvent::Disconnect, status, "");
            assert_eq!((judgement.again, judgement.failing.is_some()), (again, away), "{status}");
        }
        let reply = answered(HookEvent::Message, 200, r#"{"error":"no"}"#).verdict;
        assert!(matches!(reply, Verdict::Replied(HookReply { error: Some(_), .. })), "{reply:?}");
        let garbage = answered(HookEvent::Message, 200, "OK");
        assert_eq!((garbage.verdict, garbage.outcome), (Verdict::Unusable, HookOutcome::Garbage));
    }

    #[test]
    fn silence_speaks_of_the_backend_and_counts_once_for_each_source_unless_nothing_was_sent() {
        for (came, outcome) in [
            (Came::Timeout, HookOutcome::Timeout),
            (Came::Broken, HookOutcome::Unreachable),
            (Came::NotReached, HookOutcome::Unreachable),
        ] {
            let of = |event| judge(event, came, source());
            let decision = of(HookEvent::Connect);
            assert_eq!(
                (&decision.verdict, decision.outcome, decision.again),
                (&Verdict::Failed, outcome, false)
            );
            let counts_always = came == Came::NotReached;
            assert_eq!(decision.failing.map(|failing| failing.of.is_none()), Some(counts_always), "{came:?}");
            let notice = of(HookEvent::Message);
            assert!(notice.again && notice.failing.is_some_and(|failing| failing.of.is_some()), "{came:?}");
        }
    }

    #[test]
    fn a_wait_that_the_backend_asks_for_is_bounded() {
        for (status, asked_s, wait_s) in
            [(429, 7, 7), (503, 7, 7), (429, 1 << 40, 60), (500, 7, 0), (200, 7, 0)]
        {
            let retry_after = Some(Duration::from_secs(asked_s));
            let came = Came::Answer { status, body: Some(b""), retry_after };
            let judgement = judge(HookEvent::Disconnect, came, source());
            assert_eq!(judgement.retry_after, Duration::from_secs(wait_s), "{status} {asked_s}");
        }
    }

    #[test]
    fn the_configuration_decides_only_where_the_backend_is_silent() {
        let of = |event, on_failure, answered| in_place_of_backend(event, on_failure, answered);
        assert_eq!(of(HookEvent::Join, OnFailure::Allow, false), YES);
        for (event, on_failure, answered) in [
            (HookEvent::Join, OnFailure::Allow, true),
            (HookEvent::Join, OnFailure::Refuse, false),
            (HookEvent::Message, OnFailure::Allow, false),
        ] {
            assert_eq!(of(event, on_failure, answered), Verdict::Failed, "{event:?}");
        }
    }
}
