use std::sync::atomic::{AtomicUsize, Ordering};

/// The bytes of one kind that all connections of the node hold together, against one bound: in outboxes, touched only
/// when a socket is blocked, never on the path of a delivery to a reader that keeps up; and of unfinished messages.
#[derive(Debug)]
pub struct SharedBytes {
    bytes: AtomicUsize,
    /// Per shard, the bytes of the largest holder, so that the node's largest is found without asking.
    largest: Box<[AtomicUsize]>,
}

impl SharedBytes {
    pub(super) fn new(shards: usize) -> Self {
        Self { bytes: AtomicUsize::new(0), largest: (0..shards).map(|_| AtomicUsize::new(0)).collect() }
    }

    /// Bytes held on the node.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Takes `bytes` out of the budget unless that would pass `bound`.
    pub fn take(&self, bytes: usize, bound: usize) -> bool {
        self.bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
                held.checked_add(bytes).filter(|sum| *sum <= bound)
            })
            .is_ok()
    }

    /// Takes `bytes` whatever the bound: the rest of a frame that has begun, and a close frame.
    pub fn force(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Gives `bytes` back.
    pub fn give(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// States what the largest holder of a shard has.
    pub fn set_largest(&self, shard: usize, bytes: usize) {
        self.largest[shard].store(bytes, Ordering::Relaxed);
    }

    /// The shard with the largest holder.
    pub fn largest_shard(&self) -> usize {
        let by_bytes = |shard: &usize| self.largest[*shard].load(Ordering::Relaxed);
        (0..self.largest.len()).max_by_key(by_bytes).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_checked_before_the_bytes_are_added() {
        let outboxes = SharedBytes::new(2);
        assert!(outboxes.take(60, 100));
        assert!(!outboxes.take(41, 100));
        assert_eq!(outboxes.bytes(), 60);
        outboxes.set_largest(1, 60);
        assert_eq!(outboxes.largest_shard(), 1);
        outboxes.give(60);
        assert!(outboxes.take(100, 100));
        assert!(!outboxes.take(usize::MAX, 100));
    }
}
