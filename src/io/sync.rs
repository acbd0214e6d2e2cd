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
/// A mutex alone would be too good a stand-in: every look at the queue would order the two sides by itself, and
/// an error in the order of the mailbox's flag would stay hidden. So `pop` first glances at a count that may be
/// stale, and promises no more than a lock-free queue does: it finds what was pushed *before* it in the
/// happens-before sense, and perhaps more.
#[cfg(loom)]
mod stand_in {
    use super::{AtomicUsize, Ordering};
    use loom::sync::Mutex;
    use std::collections::VecDeque;

    pub(crate) struct Queue<T> {
        items: Mutex<VecDeque<T>>,
        count: AtomicUsize,
    }

    impl<T> Queue<T> {
        pub(crate) fn new() -> Self {
            Self { items: Mutex::new(VecDeque::new()), count: AtomicUsize::new(0) }
        }

        pub(crate) fn push(&self, item: T) {
            let mut items = self.items.lock().expect("no holder panics");
            items.push_back(item);
            self.count.store(items.len(), Ordering::Release);
        }

        pub(crate) fn pop(&self) -> Option<T> {
            if self.is_empty() {
                return None;
            }
            let mut items = self.items.lock().expect("no holder panics");
            let item = items.pop_front();
            self.count.store(items.len(), Ordering::Release);
            item
        }

        pub(crate) fn len(&self) -> usize {
            self.count.load(Ordering::Acquire)
        }

        pub(crate) fn is_empty(&self) -> bool {
            self.len() == 0
        }
    }
}
