//! Two senders and a receiver that sleeps. A lost wakeup leaves the receiver asleep for ever, which loom reports as
//! a deadlock.

use crate::mailbox::{Mailbox, Wake};
use loom::sync::{Condvar, Mutex};
use loom::thread;
// Not loom's, which panics again when a model that failed is unwound.
use std::sync::Arc;

/// What one sender pushes: its name and a serial number.
type Item = (usize, usize);
type Receive<'r> = &'r mut dyn FnMut(Item);
type Drain = fn(&Mailbox<Item, Bell>, usize, Receive) -> bool;

/// An eventfd: a count that wakes add to and the receiver takes, sleeping while it is zero.
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
    fn wait(&self) -> usize {
        let mut rung = self.rung.lock().unwrap();
        while *rung == 0 {
            rung = self.changed.wait(rung).unwrap();
        }
        std::mem::take(&mut *rung)
    }

    fn take(&self) -> usize {
        std::mem::take(&mut *self.rung.lock().unwrap())
    }
}

/// Runs every schedule of two senders with these numbers of items and a receiver with this budget for a drain.
fn check(items: [usize; 2], budget: usize, drain: Drain) {
    let mut builder = loom::model::Builder::new();
    // Most errors of order need two or three forced switches; without a bound three threads take hours.
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let bell = Bell { rung: Mutex::new(0), changed: Condvar::new() };
        let mailbox = Arc::new(Mailbox::new(bell));
        let senders = [0, 1].map(|sender| {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || (0..items[sender]).for_each(|serial| mailbox.push((sender, serial), 5)))
        });
        let (mut next, mut drains, mut wakes) = ([0; 2], 0, 0);
        while next != items {
            wakes += mailbox.waker().wait();
            loop {
                drains += 1;
                let more = drain(&mailbox, budget, &mut |(sender, serial)| {
                    assert_eq!(next[sender], serial, "a sender's order is kept");
                    next[sender] += 1;
                });
                if !more {
                    break;
                }
            }
        }
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        wakes += mailbox.waker().take();
        // Each wake finds the flag clear, and only a drain clears it again.
        assert!(wakes <= drains + 1, "{wakes} wakes for {drains} drains");
        assert_eq!((mailbox.len(), mailbox.bytes()), (0, 0));
    });
}

#[test]
fn one_item_of_each_sender() {
    check([1, 1], 8, |mailbox, budget, receive| mailbox.drain(budget, receive));
}

#[test]
fn a_budget_of_one() {
    check([2, 1], 1, |mailbox, budget, receive| mailbox.drain(budget, receive));
}

#[test]
fn two_items_of_each_sender() {
    check([2, 2], 8, |mailbox, budget, receive| mailbox.drain(budget, receive));
}

#[test]
#[should_panic(expected = "deadlock")]
fn draining_before_clearing_is_found() {
    check([1, 1], 8, |mailbox, budget, receive| mailbox.drain_then_clear(budget, receive));
}

#[test]
#[should_panic(expected = "deadlock")]
fn clearing_by_a_store_is_found() {
    check([1, 1], 8, |mailbox, budget, receive| mailbox.drain_clearing_by_store(budget, receive));
}

#[test]
#[should_panic(expected = "deadlock")]
fn clearing_without_acquire_is_found() {
    check([1, 1], 8, |mailbox, budget, receive| mailbox.drain_clearing_relaxed(budget, receive));
}

#[test]
#[should_panic(expected = "deadlock")]
fn setting_by_a_store_is_found() {
    check([2, 1], 1, |mailbox, budget, receive| mailbox.drain_setting_by_store(budget, receive));
}

#[test]
#[should_panic(expected = "deadlock")]
fn forgetting_the_rest_is_found() {
    check([1, 1], 1, |mailbox, budget, receive| mailbox.drain_forgetting_rest(budget, receive));
}
