//! The atomics and the queue of the mailbox: the real ones, or loom's when the model is checked (`tests/loom`).

#[cfg(not(loom))]
pub(super) use crossbeam_queue::SegQueue as Queue;
#[cfg(not(loom))]
pub(super) use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[cfg(loom)]
pub(super) use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
#[cfg(loom)]
pub(super) use stand_in::Queue;

/// A queue for loom, which cannot look into crossbeam's.
///
/// A queue within loom's mutex would be too good a stand-in: each lock would order the two sides by itself, and an
/// error in the order of the mailbox's flag would stay hidden. So loom sees only the count of all pushes, which
/// `pop` may read stale: it finds what was pushed *before* it in the happens-before sense, and perhaps more. That
/// is what crossbeam's queue promises, whose `pop` reads its tail just so. The items lie in a mutex that loom does
/// not see; it is never held over a step of loom.
#[cfg(loom)]
mod stand_in {
    use super::{AtomicUsize, Ordering};
    use std::collections::VecDeque;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    pub(crate) struct Queue<T> {
        pushed: AtomicUsize,
        items: Mutex<Items<T>>,
    }

    struct Items<T> {
        waiting: VecDeque<T>,
        popped: usize,
    }

    impl<T> Queue<T> {
        pub(crate) fn new() -> Self {
            let items = Items { waiting: VecDeque::new(), popped: 0 };
            Self { pushed: AtomicUsize::new(0), items: Mutex::new(items) }
        }

        pub(crate) fn push(&self, item: T) {
            // One step for loom, which switches threads only before an operation that it sees.
            self.pushed.fetch_add(1, Ordering::AcqRel);
            self.items().waiting.push_back(item);
        }

        pub(crate) fn pop(&self) -> Option<T> {
            if self.is_empty() {
                return None;
            }
            let mut items = self.items();
            items.popped += 1;
            items.waiting.pop_front()
        }

        pub(crate) fn len(&self) -> usize {
            let pushed = self.pushed.load(Ordering::Acquire);
            pushed - self.items().popped
        }

        pub(crate) fn is_empty(&self) -> bool {
            self.len() == 0
        }

        fn items(&self) -> MutexGuard<'_, Items<T>> {
            self.items.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }
}
