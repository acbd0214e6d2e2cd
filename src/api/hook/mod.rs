//! The backend hook as pure functions and state: what is asked, how it is signed, how answers read, and in which
//! order and how often requests are sent. Sockets, clock and chance belong to the caller.

mod answer;
mod breaker;
mod decider;
mod judge;
mod line;
mod question;
mod retry;
mod sign;

pub use answer::{
    Decision, Garbage, HookAnswer, HookMessage, HookReply, MESSAGES_MAX, REASON_BYTES_MAX, Verdict,
    read_decision, read_reply, reason_in_words,
};
pub use breaker::{Breaker, BreakerState, Failing, RETRY_AFTER_MAX, Source};
pub use decider::Decider;
pub use judge::{Came, Cause, Judgement, in_place_of_backend, judge};
pub use line::{Line, LineLimits, NotAsked, Step};
pub use question::{Question, ROOMS_MAX, Subject, Unjoined, What};
pub use retry::{Fate, backoff, fate_of_notice, retry_after};
pub use sign::{SIGNATURE_HEADER, signature};

/// Bytes of an answer of the backend.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;
