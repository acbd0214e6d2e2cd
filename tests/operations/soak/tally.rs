use std::fmt;

/// What the clients have done and seen.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Upgraded connections.
    pub opened: u64,
    /// Connections of HTTP.
    pub asked: u64,
    /// Frames received, of whatever kind.
    pub frames: u64,
    /// Publications received.
    pub messages: u64,
    /// Publications by connections, and by the API.
    pub published: u64,
    pub published_by_api: u64,
    /// Joins that got exactly what was missed.
    pub recovered: u64,
    /// Connections ended by a close frame of theirs.
    pub left: u64,
    /// Connections that went without one.
    pub lost: u64,
    /// Slow consumers, those that were told and those whose time for that was over.
    pub slow: u64,
    pub slow_untold: u64,
    /// Reloads of the configuration.
    pub reloads: u64,
    /// Latencies in µs by their number of bits.
    latencies: [u64; 32],
}

impl Tally {
    /// Counts the time from a publication to its receipt.
    pub fn latency(&mut self, us: u64) {
        self.latencies[us.checked_ilog2().unwrap_or(0).min(31) as usize] += 1;
    }

    /// A bound in ms that this part of all latencies was under, exact to a factor of two.
    pub fn latency_ms(&self, part: f64) -> f64 {
        let all: u64 = self.latencies.iter().sum();
        let mut seen = 0;
        let at = self.latencies.iter().position(|count| {
            seen += count;
            seen as f64 >= all as f64 * part
        });
        2_f64.powi(at.unwrap_or(0) as i32 + 1) / 1e3
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} opened, {} left, {} lost, {} too slow ({} untold), {} recovered, {} published, {} received, \
             {} reloads; 99 % within {} ms, 99.99 % within {} ms",
            self.opened,
            self.left,
            self.lost,
            self.slow,
            self.slow_untold,
            self.recovered,
            self.published + self.published_by_api,
            self.messages,
            self.reloads,
            self.latency_ms(0.99),
            self.latency_ms(0.9999),
        )
    }
}
