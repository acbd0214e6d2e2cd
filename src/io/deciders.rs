//! All that decides beside the rules, as one: callbacks of the embedding program, then the backend.

use super::client::hook::Hook;
use super::program::Program;
use crate::config::{HookEvent, HookEvents};
use crate::model::hook::{Decider, Decision, HookAnswer, Question, Verdict};
use std::sync::Arc;

/// The embedding program and the backend.
///
/// A decision is asked of the program, and of the backend after the program has said yes: any no is a no. Where both say
/// who a connection is, the backend has the last word. Notices go to both.
#[derive(Debug, Clone)]
pub struct Deciders {
    /// Where callbacks run, if there are any, and async handlers.
    pub program: Arc<Program>,
    /// The backend hook, where one is configured.
    pub hook: Option<Arc<Hook>>,
}

impl Deciders {
    /// Fields of an upgrade's head that are looked at; `None`: all.
    pub fn headers(&self) -> Option<&[String]> {
        // A program sees what came to it; to send it elsewhere is for the configuration to allow.
        if self.program.events().has(HookEvent::Connect) {
            return None;
        }
        Some(self.hook.as_ref().map_or(&[], |hook| &hook.settings().headers))
    }
}

impl Decider for Deciders {
    fn events(&self) -> HookEvents {
        let of_hook = self.hook.as_ref().map_or(HookEvents::NONE, |hook| hook.settings().events);
        self.program.events().or(of_hook)
    }

    fn ask(&self, question: Question, answer: HookAnswer) {
        let event = question.what.event();
        let hook = self.hook.as_ref().filter(|hook| hook.wants(event));
        match (self.program.events().has(event), hook) {
            (false, Some(hook)) => hook.ask(question, answer),
            (_, None) => self.program.ask(question, answer),
            (true, Some(hook)) if !event.is_decision() => {
                self.program.ask(question.clone(), Box::new(|_, _| {}));
                hook.ask(question, answer);
            }
            (true, Some(hook)) => {
                let hook = hook.clone();
                let then = move |mut question: Question, verdict| match verdict {
                    Verdict::Decided(Decision::Allow { identity }) => {
                        if let Some(named) = identity.clone() {
                            question.subject.identity = Some(Arc::new(named));
                        }
                        let last = move |question, verdict| match verdict {
                            Verdict::Decided(Decision::Allow { identity: None }) => {
                                answer(question, Verdict::Decided(Decision::Allow { identity }));
                            }
                            verdict => answer(question, verdict),
                        };
                        hook.ask(question, Box::new(last));
                    }
                    no => answer(question, no),
                };
                self.program.ask(question, Box::new(then));
            }
        }
    }
}
