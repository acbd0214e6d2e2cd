use std::time::Duration;

/// Resident memory over time.
#[derive(Debug, Default)]
pub struct Memory {
    /// Time and KiB.
    samples: Vec<(Duration, u64)>,
}

impl Memory {
    pub fn add(&mut self, at: Duration, kib: u64) {
        self.samples.push((at, kib));
    }

    /// The medians of the first and of the last third of what comes after `warm_up`, in KiB.
    pub fn thirds(&self, warm_up: Duration) -> (u64, u64) {
        let after: Vec<u64> =
            self.samples.iter().filter(|(at, _)| *at >= warm_up).map(|(_, kib)| *kib).collect();
        let third = after.len() / 3;
        assert!(third > 0, "too short a run");
        (median(&after[..third]), median(&after[after.len() - third..]))
    }

    /// The most there was, in KiB.
    pub fn peak(&self) -> u64 {
        self.samples.iter().map(|(_, kib)| *kib).max().unwrap_or(0)
    }
}

fn median(samples: &[u64]) -> u64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}
