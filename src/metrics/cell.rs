use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows. One thread writes, any may read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only for the owning thread: of two that add at once one would be lost.
    #[inline]
    pub fn add(&self, n: u64) {
        // Load and store instead of `fetch_add`: with one writer they do the same, without locking the bus.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Adds one. Only for the owning thread.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down. One thread writes, any may read.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets the value. Only for the owning thread.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds `n`. Only for the owning thread.
    #[inline]
    pub fn add(&self, n: u64) {
        self.set(self.get().wrapping_add(n));
    }

    /// Takes `n` away, stopping at zero. Only for the owning thread.
    #[inline]
    pub fn sub(&self, n: u64) {
        self.set(self.get().saturating_sub(n));
    }

    /// The value now.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One counter for each of a fixed list of labels. One thread writes, any may read.
#[derive(Debug)]
pub struct LabelledCounters {
    labels: &'static [&'static str],
    counters: Box<[Counter]>,
}

impl LabelledCounters {
    /// Counters at zero, one for each label.
    pub fn new(labels: &'static [&'static str]) -> Self {
        Self { labels, counters: labels.iter().map(|_| Counter::default()).collect() }
    }

    /// Adds `n` to the counter at `index` of the list. Only for the owning thread.
    ///
    /// # Panics
    /// If the list has no such index.
    #[inline]
    pub fn add(&self, index: usize, n: u64) {
        self.counters[index].add(n);
    }

    /// Adds one to the counter at `index` of the list. Only for the owning thread.
    ///
    /// # Panics
    /// If the list has no such index.
    #[inline]
    pub fn inc(&self, index: usize) {
        self.add(index, 1);
    }

    /// The count at an index of the list; 0 if there is none.
    pub fn get(&self, index: usize) -> u64 {
        self.counters.get(index).map_or(0, Counter::get)
    }

    /// Labels and counts, in the order of the list.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.labels.iter().copied().zip(self.counters.iter().map(Counter::get))
    }

    /// All counts together.
    pub fn total(&self) -> u64 {
        self.counters.iter().map(Counter::get).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_kept() {
        let counter = Counter::default();
        counter.inc();
        counter.add(41);
        assert_eq!(counter.get(), 42);
        let gauge = Gauge::default();
        gauge.add(5);
        gauge.sub(2);
        assert_eq!(gauge.get(), 3);
        gauge.sub(4);
        assert_eq!(gauge.get(), 0);
        gauge.set(9);
        assert_eq!(gauge.get(), 9);
    }

    #[test]
    fn labels_keep_their_order() {
        let counters = LabelledCounters::new(&["a", "b"]);
        counters.inc(1);
        counters.add(1, 2);
        counters.inc(0);
        assert_eq!(counters.iter().collect::<Vec<_>>(), [("a", 1), ("b", 3)]);
        assert_eq!(counters.total(), 4);
    }
}
