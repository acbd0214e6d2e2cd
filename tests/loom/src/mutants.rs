//! Drains with one mistake each, every one of them plausible. The model must find them all; if it ever passes one,
//! it has become too weak to say anything about the true drain.

use super::{Mailbox, Ordering, Wake};

impl<T, W: Wake> Mailbox<T, W> {
    /// Clears the flag after draining: a push between the last pop and the clearing sees the flag set, does not
    /// wake, and its item lies there.
    pub fn drain_then_clear(&self, budget: usize, mut receive: impl FnMut(T)) -> bool {
        for _ in 0..budget {
            let Some(item) = self.pop() else { break };
            receive(item);
        }
        let more = !self.queue.is_empty();
        self.pending.swap(more, Ordering::AcqRel);
        more
    }

    /// Clears the flag by a plain store: nothing makes the pops after it see what was pushed before it.
    pub fn drain_clearing_by_store(&self, budget: usize, receive: impl FnMut(T)) -> bool {
        self.pending.store(false, Ordering::Release);
        self.take(budget, receive, || self.pending.swap(true, Ordering::AcqRel))
    }

    /// Clears the flag by a swap that acquires nothing.
    pub fn drain_clearing_relaxed(&self, budget: usize, receive: impl FnMut(T)) -> bool {
        self.pending.swap(false, Ordering::Relaxed);
        self.take(budget, receive, || self.pending.swap(true, Ordering::AcqRel))
    }

    /// Sets the flag by a plain store when the budget is spent: that cuts the release sequence, so that the next
    /// drain need not see what was pushed before the store.
    pub fn drain_setting_by_store(&self, budget: usize, receive: impl FnMut(T)) -> bool {
        self.pending.swap(false, Ordering::AcqRel);
        self.take(budget, receive, || {
            self.pending.store(true, Ordering::Release);
            true
        })
    }

    /// Forgets to come back: says that nothing is left when the budget is spent.
    pub fn drain_forgetting_rest(&self, budget: usize, receive: impl FnMut(T)) -> bool {
        self.drain(budget, receive);
        false
    }

    /// The body of the true drain, but for what it does with the flag.
    fn take(&self, budget: usize, mut receive: impl FnMut(T), set: impl FnOnce() -> bool) -> bool {
        for _ in 0..budget {
            let Some(item) = self.pop() else { return false };
            receive(item);
        }
        if self.queue.is_empty() {
            return false;
        }
        set();
        true
    }
}
