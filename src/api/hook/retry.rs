use std::time::Duration;

/// Wait before a notice is sent for the second time, at the most.
const FIRST: Duration = Duration::from_millis(500);

/// Longest wait: a backend that was restarted is told soon after.
const LONGEST: Duration = Duration::from_secs(30);

/// How long to wait before sending a notice again that has been sent `sent` times, 1 at least: half a second, doubled
/// each time, up to 30 s; and of that between half and all, by chance (`random` is any number), so that notices that
/// failed together do not come together again.
pub fn backoff(sent: u32, random: u64) -> Duration {
    let doubled = FIRST.saturating_mul(2_u32.saturating_pow(sent.saturating_sub(1)));
    let half = doubled.min(LONGEST) / 2;
    // The upper bits, of which every generator has good ones.
    half + half.mul_f64((random >> 11) as f64 / (1_u64 << 53) as f64)
}

/// What becomes of a notice that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The backend has it.
    Delivered,
    /// It may have it another time.
    Again,
    /// It does not want it: sending it again would change nothing.
    Unwanted,
}

/// What becomes of a notice by the status of its answer; `None` if there was none.
pub fn fate_of_notice(status: Option<u16>) -> Fate {
    match status {
        Some(200..=299) => Fate::Delivered,
        // RFC 9110 sections 15.5.9 and 15.5.20, RFC 6585 sections 3 and 4: all say to try again.
        Some(408 | 421 | 428 | 429) | None | Some(500..) => Fate::Again,
        Some(_) => Fate::Unwanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_half_a_minute_and_vary_by_half() {
        let shortest: Vec<_> = (1..=8).map(|sent| backoff(sent, 0).as_millis()).collect();
        assert_eq!(shortest, [250, 500, 1000, 2000, 4000, 8000, 15_000, 15_000]);
        for sent in [1, 2, 5, 8, 1000, u32::MAX] {
            let (least, most) = (backoff(sent, 0), backoff(sent, u64::MAX));
            assert!(
                least * 2 >= most && least * 19 < most * 10 && most <= LONGEST,
                "{sent}: {least:?} to {most:?}"
            );
            assert!((least..=most).contains(&backoff(sent, u64::MAX / 3)));
        }
    }

    #[test]
    fn what_the_backend_understood_and_refused_is_not_sent_again() {
        for status in [200, 201, 204, 299] {
            assert_eq!(fate_of_notice(Some(status)), Fate::Delivered);
        }
        for status in [301, 302, 400, 401, 403, 404, 410, 413] {
            assert_eq!(fate_of_notice(Some(status)), Fate::Unwanted);
        }
        for status in [None, Some(408), Some(429), Some(500), Some(503), Some(599)] {
            assert_eq!(fate_of_notice(status), Fate::Again);
        }
    }
}
