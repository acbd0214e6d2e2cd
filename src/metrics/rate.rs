use std::collections::VecDeque;

/// How far back a rate looks, in milliseconds.
pub const RATE_WINDOW_MS: u64 = 10_000;

/// Least distance of two kept samples in milliseconds: bounds their number however often one comes.
const SAMPLE_EVERY_MS: u64 = 500;

/// The rate of a counter over the last ten seconds or so, from samples of it.
///
/// Sampled once a second it looks back ten seconds; sampled more rarely, to the sample before.
#[derive(Debug, Default)]
pub struct RateWindow {
    /// Time in milliseconds and count, oldest first. The first may be older than the window: the rate over the
    /// window needs one sample at or before its start.
    samples: VecDeque<(u64, u64)>,
}

impl RateWindow {
    /// Takes the counter's value at `now_ms` (any steady clock) and returns the rate per second up to it; zero
    /// until there are two samples.
    pub fn sample(&mut self, now_ms: u64, count: u64) -> f64 {
        let start = now_ms.saturating_sub(RATE_WINDOW_MS);
        while self.samples.get(1).is_some_and(|&(at, _)| at <= start) {
            self.samples.pop_front();
        }
        let rate = match self.samples.front() {
            Some(&(at, then)) if at < now_ms => {
                count.saturating_sub(then) as f64 * 1000.0 / (now_ms - at) as f64
            }
            _ => 0.0,
        };
        let due = self.samples.back().is_none_or(|&(at, _)| now_ms.saturating_sub(at) >= SAMPLE_EVERY_MS);
        if due {
            self.samples.push_back((now_ms, count));
        }
        rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_has_its_rate() {
        let mut window = RateWindow::default();
        assert_eq!(window.sample(0, 100), 0.0);
        for second in 1..60 {
            assert_eq!(window.sample(second * 1000, 100 + second * 50), 50.0);
        }
    }

    #[test]
    fn a_burst_is_forgotten_after_the_window() {
        let mut window = RateWindow::default();
        window.sample(0, 0);
        assert_eq!(window.sample(1_000, 1_000), 1_000.0);
        assert_eq!(window.sample(5_000, 1_000), 200.0);
        assert_eq!(window.sample(10_000, 1_000), 100.0);
        assert_eq!(window.sample(11_000, 1_000), 0.0);
        assert_eq!(window.sample(12_000, 1_000), 0.0);
    }

    #[test]
    fn rare_samples_look_back_to_the_one_before() {
        let mut window = RateWindow::default();
        window.sample(0, 0);
        assert_eq!(window.sample(60_000, 600), 10.0);
        assert_eq!(window.sample(120_000, 6_600), 100.0);
    }

    #[test]
    fn frequent_samples_are_bounded_and_time_may_stand() {
        let mut window = RateWindow::default();
        for ms in 0..100_000 {
            window.sample(ms, ms);
        }
        assert!(window.samples.len() <= (RATE_WINDOW_MS / SAMPLE_EVERY_MS) as usize + 2);
        assert_eq!(window.sample(99_999, 99_999), 1000.0);
        let mut window = RateWindow::default();
        window.sample(5, 5);
        assert_eq!(window.sample(5, 9), 0.0);
        assert_eq!(window.sample(4, 9), 0.0);
        assert_eq!(window.sample(1005, 1), 0.0);
    }
}
