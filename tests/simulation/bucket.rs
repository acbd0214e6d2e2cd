//! The rate limits, written apart from the server's own.

/// A token bucket in whole numbers: a token is 10^9.
#[derive(Debug, Default)]
pub struct Bucket {
    tokens: u128,
    last_us: u64,
    started: bool,
}

impl Bucket {
    pub fn take(&mut self, per_s: u32, burst: u32, cost: u64, now_us: u64, since_us: u64) -> bool {
        if per_s == 0 || cost == 0 {
            return true;
        }
        let burst = u64::from(if burst == 0 { per_s } else { burst });
        if cost > burst {
            return false;
        }
        // What came unseen since then is charged as if it had come at the rate.
        let credit = u128::from(now_us - since_us) * 1000 * u128::from(per_s);
        let full = u128::from(burst) * 1_000_000_000 + credit;
        let gained = u128::from(now_us - self.last_us) * 1000 * u128::from(per_s);
        self.tokens = if self.started { full.min(self.tokens + gained) } else { full };
        (self.last_us, self.started) = (now_us, true);
        let cost = u128::from(cost) * 1_000_000_000;
        let passes = cost <= self.tokens;
        self.tokens -= if passes { cost } else { 0 };
        passes
    }
}
