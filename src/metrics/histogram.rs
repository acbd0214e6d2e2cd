use super::cell::Counter;

/// Upper bounds of the buckets in nanoseconds, inclusive, 10 us to 10 s: in each decade 1, 2 and 5. What is longer
/// has a bucket of its own.
pub const BUCKET_BOUNDS_NS: [u64; 19] = [
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
    2_000_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// How long something took. One thread writes, any may read.
#[derive(Debug, Default)]
pub struct Histogram {
    /// Not cumulative; the last one is for what is over every bound.
    buckets: [Counter; BUCKET_BOUNDS_NS.len() + 1],
    sum_ns: Counter,
}

impl Histogram {
    /// Counts one duration in nanoseconds. Only for the owning thread.
    #[inline]
    pub fn observe_ns(&self, ns: u64) {
        self.observe_ns_times(ns, 1);
    }

    /// Counts one duration `times` over, for a batch that shares it. Only for the owning thread.
    #[inline]
    pub fn observe_ns_times(&self, ns: u64, times: u64) {
        self.buckets[BUCKET_BOUNDS_NS.partition_point(|&bound| bound < ns)].add(times);
        self.sum_ns.add(ns.saturating_mul(times));
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(Counter::get).sum()
    }

    /// All durations together, in seconds.
    pub fn sum_seconds(&self) -> f64 {
        self.sum_ns.get() as f64 / 1e9
    }

    /// Bound in seconds and count of each bucket, not cumulative; the last bound is infinite.
    pub fn buckets(&self) -> [(f64, u64); BUCKET_BOUNDS_NS.len() + 1] {
        std::array::from_fn(|index| {
            let bound = BUCKET_BOUNDS_NS.get(index).map_or(f64::INFINITY, |&ns| ns as f64 / 1e9);
            (bound, self.buckets[index].get())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_their_buckets() {
        let histogram = Histogram::default();
        for ns in [0, 10_000, 10_001, 20_000, 10_000_000_000, 10_000_000_001, u64::MAX / 2] {
            histogram.observe_ns(ns);
        }
        let counts = histogram.buckets().map(|(_, count)| count);
        assert_eq!((counts[0], counts[1], counts[18], counts[19]), (2, 2, 1, 2));
        assert_eq!(histogram.count(), 7);
    }

    #[test]
    fn bounds_are_seconds_and_the_sum_is_kept() {
        let histogram = Histogram::default();
        histogram.observe_ns_times(1_500_000, 4);
        assert_eq!(histogram.count(), 4);
        assert!((histogram.sum_seconds() - 0.006).abs() < 1e-12);
        let bounds = histogram.buckets().map(|(bound, _)| bound);
        assert_eq!((bounds[0], bounds[18], bounds[19]), (1e-5, 10.0, f64::INFINITY));
        assert!(bounds.is_sorted());
    }
}
