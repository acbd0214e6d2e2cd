use std::time::{Duration, SystemTime};

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

/// What becomes of a notice by the status of its answer.
pub fn fate_of_notice(status: u16) -> Fate {
    match status {
        200..=299 => Fate::Delivered,
        // RFC 9110 sections 15.5.9 and 15.5.20, RFC 8470 section 5.2, RFC 6585 sections 3 and 4: all say to try again.
        408 | 421 | 425 | 428 | 429 | 500.. => Fate::Again,
        _ => Fate::Unwanted,
    }
}

/// How long an answer asks to wait by its `Retry-After` (RFC 9110 section 10.2.3): seconds, or a date, which is
/// compared with `now`. `None` if it is neither.
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim_ascii();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More seconds than a u64 has are as many as it can hold.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
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
            assert_eq!(fate_of_notice(status), Fate::Delivered);
        }
        for status in [301, 302, 400, 401, 403, 404, 410, 413] {
            assert_eq!(fate_of_notice(status), Fate::Unwanted);
        }
        for status in [408, 425, 429, 500, 503, 599] {
            assert_eq!(fate_of_notice(status), Fate::Again);
        }
    }

    #[test]
    fn a_wait_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let seconds = |text: &str| retry_after(text, now).map(|wait| wait.as_secs());
        assert_eq!(seconds(" 120 "), Some(120));
        assert_eq!(seconds("0"), Some(0));
        assert_eq!(seconds("99999999999999999999999"), Some(u64::MAX));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:47 GMT"), Some(10));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:00 GMT"), Some(0), "it is over");
        for text in ["", "-1", "1.5", "soon", "Sun, 06 Nov 1994"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
