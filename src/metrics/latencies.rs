use hdrhistogram::Histogram;
use serde::Serialize;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// Length of a window in microseconds. What is read covers the present window and the one before it: the last one to
/// two minutes.
const WINDOW_US: u64 = 60_000_000;

/// Longest duration that is told apart from longer ones, in microseconds: 67 s. The maximum is exact all the same.
const LONGEST_US: u64 = (1 << 26) - 1;

/// Significant decimal digits of a percentile.
const DIGITS: u8 = 2;

/// Binary digits that a cell tells apart, as [`Histogram`] has it for [`DIGITS`]: a cell is as wide as 1/128 of the
/// durations in it, or a microsecond.
const BITS: u32 = 8;

/// Cells of a window: 10 KiB.
const CELLS: usize = index(LONGEST_US) + 1;

/// Stands for the number of a window that is being emptied.
const EMPTYING: u64 = u64::MAX;

/// The cell of a duration, laid out as the counts of a [`Histogram`] are.
#[inline]
const fn index(us: u64) -> usize {
    let us = if us > LONGEST_US { LONGEST_US } else { us };
    let shift = (u64::BITS - (us | ((1 << BITS) - 1)).leading_zeros()) - BITS;
    ((shift as usize) << (BITS - 1)) + (us >> shift) as usize
}

/// The shortest duration of a cell, in microseconds.
fn shortest_us(cell: usize) -> u64 {
    let shift = (cell >> (BITS - 1)).saturating_sub(1);
    (cell as u64 - ((shift as u64) << (BITS - 1))) << shift
}

/// What was recorded in one minute.
#[derive(Debug)]
struct Window {
    /// Number of the minute since the node's start, or [`EMPTYING`].
    number: AtomicU64,
    cells: Box<[AtomicU32]>,
    max_us: AtomicU64,
}

impl Default for Window {
    fn default() -> Self {
        let cells = (0..CELLS).map(|_| AtomicU32::default()).collect();
        Self { number: AtomicU64::default(), cells, max_us: AtomicU64::default() }
    }
}

impl Window {
    /// Empties the window, which is that of the minute `number` from now on.
    #[cold]
    fn begin(&self, number: u64) {
        self.number.store(EMPTYING, Ordering::Relaxed);
        // A reader that sees an emptied cell sees that the number has changed.
        fence(Ordering::Release);
        for cell in &self.cells {
            cell.store(0, Ordering::Relaxed);
        }
        self.max_us.store(0, Ordering::Relaxed);
        self.number.store(number, Ordering::Release);
    }
}

/// How long something took in the last minutes, for percentiles. One thread writes, any may read; neither ever waits.
///
/// Two windows of a minute take turns: the writer empties the older one when a minute begins, so a reader never looks
/// further back than two minutes, and memory does not grow: 20 KiB.
#[derive(Debug, Default)]
pub struct Latencies {
    windows: [Window; 2],
}

impl Latencies {
    /// Counts one duration `times` over, at `now_us` of the node's clock. Only for the owning thread.
    ///
    /// Costs some ten instructions, and 2,560 stores once a minute.
    #[inline]
    pub fn record_us(&self, now_us: u64, us: u64, times: u32) {
        let number = now_us / WINDOW_US;
        let window = &self.windows[(number & 1) as usize];
        if window.number.load(Ordering::Relaxed) != number {
            window.begin(number);
        }
        // Load and store instead of `fetch_add`, as in `Counter`.
        let cell = &window.cells[index(us)];
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(times), Ordering::Relaxed);
        if us > window.max_us.load(Ordering::Relaxed) {
            window.max_us.store(us, Ordering::Relaxed);
        }
    }

    /// What was recorded in the present minute and the one before it, at `now_us` of the node's clock.
    pub fn recent(&self, now_us: u64) -> Recent {
        let mut recent = Recent::default();
        for window in &self.windows {
            let number = window.number.load(Ordering::Acquire);
            // The writer may have begun the next minute since the reader asked for the time.
            if number.abs_diff(now_us / WINDOW_US) > 1 {
                continue;
            }
            let counts: Vec<u32> = window.cells.iter().map(|cell| cell.load(Ordering::Relaxed)).collect();
            let max_us = window.max_us.load(Ordering::Relaxed);
            fence(Ordering::Acquire);
            // Emptied meanwhile, so it is too old by now.
            if window.number.load(Ordering::Relaxed) == number {
                recent.take(&counts, max_us);
            }
        }
        recent
    }
}

/// Durations of the last minutes, of one shard or of several.
#[derive(Debug)]
pub struct Recent {
    histogram: Histogram<u64>,
    max_us: u64,
}

impl Default for Recent {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST_US, DIGITS).expect("the bounds are constants");
        Self { histogram, max_us: 0 }
    }
}

impl Recent {
    fn take(&mut self, counts: &[u32], max_us: u64) {
        for (cell, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            self.histogram.saturating_record_n(shortest_us(cell), u64::from(*count));
        }
        self.max_us = self.max_us.max(max_us);
    }

    /// Adds the durations of another shard.
    pub fn add(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("all have the same bounds");
        self.max_us = self.max_us.max(other.max_us);
    }

    /// The percentiles, all zero where there was nothing.
    pub fn percentiles(&self) -> Percentiles {
        // A cell is told by its longest duration, which may be longer than any that came.
        let at = |quantile| self.histogram.value_at_quantile(quantile).min(self.max_us);
        Percentiles {
            count: self.histogram.len(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: self.max_us,
        }
    }
}

/// How long something took in the last one to two minutes, in microseconds: so many percent took no longer. Two digits
/// are significant (an error below 0.8 percent); over 67 s only the maximum is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    /// How many were measured.
    pub count: u64,
    /// Median.
    pub p50_us: u64,
    /// 90th percentile.
    pub p90_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// 99.9th percentile.
    pub p999_us: u64,
    /// The longest, exactly.
    pub max_us: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::atomic::AtomicBool;

    fn percentiles(latencies: &Latencies, now_us: u64) -> Percentiles {
        latencies.recent(now_us).percentiles()
    }

    #[test]
    fn cells_are_those_of_the_library() {
        let histogram = Recent::default().histogram;
        assert_eq!(CELLS, histogram.distinct_values());
        assert_eq!(CELLS * 4, 10 * 1024);
        for cell in 0..CELLS {
            let shortest = shortest_us(cell);
            assert_eq!(shortest, histogram.lowest_equivalent(shortest), "cell {cell}");
            assert_eq!(index(shortest), cell);
            assert_eq!(index(histogram.highest_equivalent(shortest)), cell);
        }
        assert_eq!(index(u64::MAX), CELLS - 1);
    }

    #[test]
    fn nothing_has_no_percentiles() {
        assert_eq!(percentiles(&Latencies::default(), 0), Percentiles::default());
    }

    #[test]
    fn a_duration_counts_as_often_as_it_is_said() {
        let latencies = Latencies::default();
        latencies.record_us(0, 10, 989);
        latencies.record_us(1, 1_000, 10);
        latencies.record_us(2, 70_000, 1);
        let told = percentiles(&latencies, 3);
        assert_eq!((told.count, told.p50_us, told.p90_us, told.max_us), (1_000, 10, 10, 70_000));
        assert_eq!((told.p99_us, told.p999_us), (1_003, 1_003), "the cells are 8 us wide there");
    }

    #[test]
    fn what_is_very_long_is_told_by_the_maximum() {
        let latencies = Latencies::default();
        latencies.record_us(0, 100_000_000, 1);
        let told = percentiles(&latencies, 0);
        assert_eq!((told.count, told.p50_us, told.max_us), (1, LONGEST_US, 100_000_000));
    }

    #[test]
    fn minutes_are_forgotten_whether_or_not_others_follow() {
        let latencies = Latencies::default();
        latencies.record_us(0, 900, 1);
        let count = |now_us| percentiles(&latencies, now_us).count;
        assert_eq!((count(0), count(2 * WINDOW_US - 1), count(2 * WINDOW_US)), (1, 1, 0));
        latencies.record_us(WINDOW_US, 40, 1);
        assert_eq!(percentiles(&latencies, WINDOW_US).max_us, 900);
        latencies.record_us(2 * WINDOW_US, 50, 1);
        let told = percentiles(&latencies, 2 * WINDOW_US);
        assert_eq!((told.count, told.max_us), (2, 50), "the first minute is gone");
        assert_eq!(count(9 * WINDOW_US), 0);
        latencies.record_us(9 * WINDOW_US, 7, 1);
        assert_eq!((count(9 * WINDOW_US), count(10 * WINDOW_US)), (1, 1));
    }

    #[test]
    fn shards_are_added_up() {
        let [one, two] = [Latencies::default(), Latencies::default()];
        one.record_us(0, 5, 99);
        two.record_us(0, 123_456, 1);
        let mut node = one.recent(0);
        node.add(&two.recent(0));
        let told = node.percentiles();
        assert_eq!((told.count, told.p50_us, told.p99_us, told.max_us), (100, 5, 5, 123_456));
    }

    /// A reader that did not notice a window being emptied would at times tell of durations without a maximum.
    #[test]
    fn a_reader_sees_a_window_whole_or_not_at_all() {
        let (latencies, over) = (Latencies::default(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for minute in 0..20_000 {
                    latencies.record_us(minute * WINDOW_US, 1_000 + minute, 1);
                }
                over.store(true, Ordering::Relaxed);
            });
            while !over.load(Ordering::Relaxed) {
                let newest = latencies.windows.iter().map(|window| window.number.load(Ordering::Relaxed));
                let newest = newest.filter(|number| *number != EMPTYING).max().unwrap_or(0);
                let told = percentiles(&latencies, newest * WINDOW_US);
                // The writer may be between the emptying and the record, or have left both behind.
                assert!(told.count <= 2 && told.p50_us <= told.max_us, "{told:?}");
            }
        });
        assert_eq!(percentiles(&latencies, 19_999 * WINDOW_US).count, 2);
    }

    proptest! {
        #[test]
        fn percentiles_are_those_of_the_sorted_list(mut list in prop::collection::vec(0..80_000_000_u64, 1..400)) {
            let latencies = Latencies::default();
            for us in &list {
                latencies.record_us(0, *us, 1);
            }
            list.sort_unstable();
            let told = percentiles(&latencies, 0);
            prop_assert_eq!((told.count, told.max_us), (list.len() as u64, *list.last().unwrap()));
            for (quantile, us) in [(0.5, told.p50_us), (0.9, told.p90_us), (0.99, told.p99_us), (0.999, told.p999_us)] {
                let rank = (quantile * list.len() as f64).ceil() as usize;
                let exact = list[rank - 1].min(LONGEST_US);
                prop_assert!(us >= exact && us - exact <= exact / 128, "{}: {} for {}", quantile, us, exact);
            }
        }
    }
}
