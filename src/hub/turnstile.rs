use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// Lets what was numbered pass in the order of the numbers, whoever is ready first, and nobody waits: what comes too
/// early is left here, and passes with what it has come too early for.
///
/// So publications of one room are encoded by several shards at a time, each without a lock, and still reach all
/// mailboxes in the room's order.
#[derive(Default)]
pub struct Turnstile(Mutex<State>);

#[derive(Default)]
struct State {
    /// Number of those that have passed: numbers begin at 1 and have no gaps.
    passed: u64,
    early: BTreeMap<u64, Box<dyn FnOnce() + Send>>,
}

impl Turnstile {
    /// Has `pass` called as the `number`th: now, or by the caller whose number comes before it. Every number must come
    /// once. Calls of one turnstile do not overlap; `pass` must neither block nor come here.
    ///
    /// Returns whether it was left for another caller.
    pub fn enter(&self, number: u64, pass: impl FnOnce() + Send + 'static) -> bool {
        // A shard that panics ends the process, so a poisoned lock is never read on.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if number != state.passed + 1 {
            state.early.insert(number, Box::new(pass));
            return true;
        }
        pass();
        state.passed += 1;
        loop {
            let next = state.passed + 1;
            let Some(pass) = state.early.remove(&next) else { return false };
            pass();
            state.passed = next;
        }
    }
}

impl fmt::Debug for Turnstile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turnstile").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    proptest! {
        #[test]
        fn all_pass_once_in_order_whoever_comes_first(
            numbers in (1..60_u64).prop_flat_map(|most| Just((1..=most).collect::<Vec<_>>()).prop_shuffle()),
        ) {
            let (turnstile, passed) = (Turnstile::default(), Arc::new(Mutex::new(Vec::new())));
            let mut came = std::collections::BTreeSet::new();
            for number in &numbers {
                let list = passed.clone();
                let early = turnstile.enter(*number, { let number = *number; move || list.lock().unwrap().push(number) });
                came.insert(*number);
                let whole = (1..).take_while(|number| came.contains(number)).count();
                prop_assert_eq!(passed.lock().unwrap().len(), whole, "what can pass has passed");
                prop_assert_eq!(early, *number > whole as u64);
            }
            prop_assert_eq!(&*passed.lock().unwrap(), &(1..=numbers.len() as u64).collect::<Vec<_>>());
            prop_assert!(turnstile.0.lock().unwrap().early.is_empty());
        }
    }

    #[test]
    fn threads_keep_the_order() {
        let (turnstile, next) = (Turnstile::default(), AtomicU64::new(1));
        let passed = Arc::new(Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..2000_u64 {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        // Some take longer than others.
                        (0..number * 7 % 50 * (round % 3)).for_each(|_| std::hint::spin_loop());
                        let list = passed.clone();
                        turnstile.enter(number, move || list.lock().unwrap().push(number));
                    }
                });
            }
        });
        assert!(passed.lock().unwrap().iter().copied().eq(1..=8000));
    }
}
