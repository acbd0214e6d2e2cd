//! The backend hook as pure functions and state: what is asked, how it is signed, how answers read, and in which
//! order and how often requests are sent. Sockets, clock and chance belong to the caller.

mod answer;
mod body;
mod breaker;
mod judge;
mod line;
mod retry;
mod sign;

pub use answer::{Garbage, read_decision, read_reply, reason_in_words};
pub use body::body;
pub use breaker::{Breaker, BreakerState, Failing, RETRY_AFTER_MAX, Source};
pub use judge::{Came, Cause, Judgement, in_place_of_backend, judge};
pub use line::{Line, LineLimits, NotAsked, Step};
pub use retry::{Fate, backoff, fate_of_notice, retry_after};
pub use sign::{SIGNATURE_HEADER, signature};

/// Bytes of an answer of the backend.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;
