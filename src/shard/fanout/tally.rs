use crate::shard::fanout::mail::Reply;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// Counts the connections that a publication is handed to, on all shards that hold it. Tells the sum when the last of
/// them lets go of it, so it tells even if a shard ends before it has counted.
pub struct Tally {
    delivered: AtomicU32,
    /// `None` once it is told.
    reply: Mutex<Option<Reply<u32>>>,
}

impl Tally {
    /// Nobody yet.
    pub fn new(reply: Reply<u32>) -> Self {
        Self { delivered: AtomicU32::new(0), reply: Mutex::new(Some(reply)) }
    }

    /// Counts some more.
    pub fn add(&self, delivered: u32) {
        // The reference count of whoever shares it orders this before the drop.
        self.delivered.fetch_add(delivered, Ordering::Relaxed);
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let reply = self.reply.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(reply) = reply {
            reply(*self.delivered.get_mut());
        }
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tally").field("delivered", &self.delivered).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::mpsc::channel;

    #[test]
    fn the_last_holder_tells_the_sum_once() {
        let (sender, sums) = channel();
        let tally = Arc::new(Tally::new(Box::new(move |sum| sender.send(sum).unwrap())));
        let threads: Vec<_> = (1..=4)
            .map(|count| {
                let tally = tally.clone();
                std::thread::spawn(move || tally.add(count))
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(sums.try_recv().is_err(), "one holder is left");
        drop(tally);
        assert_eq!(sums.iter().collect::<Vec<_>>(), [10]);
    }
}
