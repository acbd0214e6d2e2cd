//! How other threads hand work to a shard: many push, one drains, and a wake is paid only when the shard may sleep.

use super::sync::{AtomicBool, AtomicUsize, Ordering, Queue};

/// Makes the receiver of a mailbox drain it soon.
///
/// A wake must not be lost when the receiver is awake: it then counts for its next sleep, as an eventfd does. What
/// the waking thread did before must be visible to the receiver that it woke.
pub trait Wake {
    /// Wakes the receiver. Must not block.
    fn wake(&self);
}

/// An unbounded queue of many senders and one receiver, with a waker.
///
/// Contract of the receiver: it calls [`Mailbox::drain`] after each wake, and again without one as long as `drain`
/// returns true; otherwise it may sleep until the next wake. Then everything pushed is drained, and the items of
/// one sender in its order.
///
/// Pushing never blocks and never fails, so that no two shards can wait for each other. Nothing here bounds the
/// memory: senders ask [`Mailbox::over`] and take in less from their own peers.
///
/// # Why no wake is lost
///
/// A push enqueues (E), then sets the flag by a swap (S), and wakes if it was clear. A drain clears the flag by a
/// swap (C), then pops until it finds the queue empty (P). All swaps on the flag fall into one order.
///
/// - S before C: C reads what S wrote, or what a later swap wrote. Read-modify-writes continue the release sequence
///   of S, so either way C (acquire) synchronises with S (release): E happens before P, and P finds the item.
/// - C before S: either S reads the cleared flag and wakes, or it reads the true of another swap after C, whose push
///   then woke, or of a drain that ran out of budget and so comes back by itself. In each case a drain follows
///   whose C comes after S, or which has this case again with a later wake; that is the first case.
///
/// The clearing must be a swap. A plain store orders nothing before P (the store-load pair that even release and
/// acquire leave free): P could miss an item whose push saw the flag still set. For the same reason a drain out of
/// budget sets the flag by a swap: a plain store would cut the release sequence, and the next C would miss what was
/// pushed, silently, before that store. And it must come first: a flag cleared after P swallows the push between
/// them. `tests/loom` checks all of this, and that each of these mistakes is found.
pub struct Mailbox<T, W> {
    queue: Queue<(T, usize)>,
    /// A drain is sure to come: a wake is under way, or the receiver knows that items are left.
    pending: AtomicBool,
    /// Bytes of the items in the queue, as their senders count them.
    bytes: AtomicUsize,
    waker: W,
}

impl<T, W: Wake> Mailbox<T, W> {
    /// An empty mailbox whose receiver `waker` wakes.
    pub fn new(waker: W) -> Self {
        Self { queue: Queue::new(), pending: AtomicBool::new(false), bytes: AtomicUsize::new(0), waker }
    }

    /// Enqueues an item that holds `bytes` of memory, and wakes the receiver unless a drain is sure to come anyway.
    pub fn push(&self, item: T, bytes: usize) {
        // Before the item, so that the receiver cannot take away what was not added yet.
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.queue.push((item, bytes));
        if !self.pending.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// Hands up to `budget` items to `receive` and returns whether more are left, in which case no wake will come
    /// for them and the receiver has to call again. To be called by the one receiver only.
    pub fn drain(&self, budget: usize, mut receive: impl FnMut(T)) -> bool {
        self.pending.swap(false, Ordering::AcqRel);
        for _ in 0..budget {
            let Some(item) = self.pop() else { return false };
            receive(item);
        }
        if self.queue.is_empty() {
            return false;
        }
        // The receiver comes back by itself, so pushes until then need not wake it.
        self.pending.swap(true, Ordering::AcqRel);
        true
    }

    /// Bytes of the items that wait. Exact when nothing moves; otherwise it may be ahead by pushes under way.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Items that wait, exact when nothing moves.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether no item waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether more than `high_water_bytes` wait, so that senders should take in less.
    pub fn over(&self, high_water_bytes: usize) -> bool {
        self.bytes() > high_water_bytes
    }

    /// The waker, to wake the receiver for another reason.
    pub const fn waker(&self) -> &W {
        &self.waker
    }

    fn pop(&self) -> Option<T> {
        let (item, bytes) = self.queue.pop()?;
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        Some(item)
    }
}

/// Wrong drains, to show that the model finds them.
#[cfg(loom)]
#[path = "../../../tests/loom/src/mutants.rs"]
mod mutants;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use std::sync::{Arc, Condvar, Mutex};
    use std::thread;

    /// Counts wakes; the receiver waits for the count to be above zero, as for an eventfd.
    #[derive(Default)]
    struct Bell {
        rung: Mutex<usize>,
        changed: Condvar,
    }

    impl Wake for Bell {
        fn wake(&self) {
            *self.rung.lock().unwrap() += 1;
            self.changed.notify_one();
        }
    }

    impl Bell {
        /// Wakes since the last call.
        fn take(&self) -> usize {
            std::mem::take(&mut *self.rung.lock().unwrap())
        }

        fn wait(&self) -> usize {
            let rung = self.rung.lock().unwrap();
            std::mem::take(&mut *self.changed.wait_while(rung, |rung| *rung == 0).unwrap())
        }
    }

    #[test]
    fn only_the_first_push_wakes() {
        let mailbox = Mailbox::new(Bell::default());
        (0..5).for_each(|item| mailbox.push(item, 10));
        assert_eq!((mailbox.waker().take(), mailbox.len(), mailbox.bytes()), (1, 5, 50));
        assert!(mailbox.over(49) && !mailbox.over(50));
        let mut items = Vec::new();
        assert!(!mailbox.drain(100, |item| items.push(item)));
        assert_eq!(items, [0, 1, 2, 3, 4]);
        assert_eq!((mailbox.is_empty(), mailbox.bytes()), (true, 0));
        mailbox.push(5, 1);
        assert_eq!(mailbox.waker().take(), 1);
    }

    #[test]
    fn a_push_from_within_the_drain_is_not_lost() {
        let mailbox = Mailbox::new(Bell::default());
        mailbox.push(1, 1);
        let mut items = Vec::new();
        mailbox.drain(1, |item| {
            items.push(item);
            mailbox.push(item + 1, 1);
        });
        assert_eq!((items, mailbox.len()), (vec![1], 1));
    }

    #[test]
    fn many_senders_lose_nothing_and_keep_their_order() {
        const SENDERS: usize = 4;
        const ITEMS: usize = 20_000;
        let mailbox = Arc::new(Mailbox::new(Bell::default()));
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || (0..ITEMS).for_each(|item| mailbox.push((sender, item), 3)))
            })
            .collect();
        let (mut next, mut drains, mut wakes) = ([0; SENDERS], 0, 0);
        while next.iter().sum::<usize>() < SENDERS * ITEMS {
            wakes += mailbox.waker().wait();
            loop {
                drains += 1;
                let more = mailbox.drain(64, |(sender, item)| {
                    assert_eq!(next[sender], item);
                    next[sender] += 1;
                });
                if !more {
                    break;
                }
            }
        }
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        wakes += mailbox.waker().take();
        assert!(wakes <= drains + 1, "{wakes} wakes for {drains} drains");
        assert_eq!((mailbox.len(), mailbox.bytes()), (0, 0));
    }

    proptest! {
        /// Against a plain queue: `Some(bytes)` pushes, `None` drains with the budget given.
        #[test]
        fn agrees_with_a_queue(steps in prop::collection::vec((prop::option::of(0..100usize), 0..5usize), 0..100)) {
            let mailbox = Mailbox::new(Bell::default());
            let mut model: VecDeque<(usize, usize)> = VecDeque::new();
            // Whether the receiver sleeps and no wake is under way.
            let mut asleep = true;
            for (serial, (push, budget)) in steps.into_iter().enumerate() {
                if let Some(bytes) = push {
                    mailbox.push(serial, bytes);
                    model.push_back((serial, bytes));
                    prop_assert_eq!(mailbox.waker().take(), usize::from(asleep));
                    asleep = false;
                } else {
                    let mut items = Vec::new();
                    let more = mailbox.drain(budget, |item| items.push(item));
                    let taken: Vec<usize> = model.drain(..budget.min(model.len())).map(|(item, _)| item).collect();
                    prop_assert_eq!(items, taken);
                    prop_assert_eq!(more, !model.is_empty());
                    asleep = !more;
                }
                prop_assert_eq!(mailbox.len(), model.len());
                prop_assert_eq!(mailbox.bytes(), model.iter().map(|(_, bytes)| bytes).sum::<usize>());
            }
        }
    }
}
