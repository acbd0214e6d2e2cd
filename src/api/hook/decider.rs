use super::{HookAnswer, Question};
use crate::config::HookEvents;

/// What has a say, beside the rules for access, in what clients may do, and is told of what they have done: the backend
/// by its hook, callbacks of the embedding program, or both.
pub trait Decider: Send + Sync {
    /// What it is asked and told.
    fn events(&self) -> HookEvents;

    /// Asks or tells something of these. It must not block. `answer` is called once, on any thread, perhaps before this
    /// returns.
    fn ask(&self, question: Question, answer: HookAnswer);
}
