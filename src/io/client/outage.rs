use std::time::{Duration, Instant};

/// Time between two outages that are told in the log.
const TOLD_AGAIN: Duration = Duration::from_secs(60);

/// A trouble that comes many times a second while it lasts, of which the log tells the begin and the end, and not more
/// than one in a minute.
#[derive(Debug, Default)]
pub(in crate::io) struct Outage {
    /// Failures since it began.
    failures: u64,
    /// When one was told last.
    told: Option<Instant>,
    /// The one under way was.
    tell_end: bool,
}

impl Outage {
    /// A failure. Whether to tell it.
    pub fn fails(&mut self) -> bool {
        self.failures += 1;
        let tell = self.failures == 1 && self.told.is_none_or(|told| told.elapsed() >= TOLD_AGAIN);
        if tell {
            (self.told, self.tell_end) = (Some(Instant::now()), true);
        }
        tell
    }

    /// A success. After how many failures, if that is to be told.
    pub fn is_over(&mut self) -> Option<u64> {
        let failures = std::mem::take(&mut self.failures);
        std::mem::take(&mut self.tell_end).then_some(failures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begin_and_end_are_told_once_and_the_next_outage_not_at_once() {
        let mut outage = Outage::default();
        assert_eq!(outage.is_over(), None);
        assert_eq!([(); 3].map(|()| outage.fails()), [true, false, false]);
        assert_eq!(outage.is_over(), Some(3));
        assert!(!outage.fails());
        assert_eq!(outage.is_over(), None);
    }
}
