//! What happened, for a person to read after a failure and for two runs to be compared.

use std::collections::VecDeque;
use std::fmt::Write;

/// Lines kept.
const LINES: usize = 160;

/// Everything that happened, as a fingerprint, and the last of it, in full.
#[derive(Debug, Default)]
pub struct Trace {
    last: VecDeque<Line>,
    /// Number of lines and a hash of them all.
    pub fingerprint: (u64, u64),
    pub now_us: u64,
}

/// A text with `{}` for each number: put together only when somebody reads it.
#[derive(Debug, Clone, Copy)]
struct Line {
    now_us: u64,
    text: &'static str,
    numbers: [u64; 3],
}

impl Trace {
    pub fn add(&mut self, text: &'static str, numbers: &[usize]) {
        let mut line = Line { now_us: self.now_us, text, numbers: [0; 3] };
        for (to, from) in line.numbers.iter_mut().zip(numbers) {
            *to = *from as u64;
        }
        self.mix(line.now_us);
        self.mix(fingerprint(text.as_bytes()));
        line.numbers.iter().for_each(|number| self.mix(*number));
        self.fingerprint.0 += 1;
        if self.last.len() == LINES {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    fn mix(&mut self, number: u64) {
        self.fingerprint.1 = (self.fingerprint.1 ^ number).wrapping_mul(0x0100_0000_01B3).rotate_left(23);
    }

    /// The last lines.
    pub fn tail(&self) -> String {
        let mut text = String::new();
        for Line { now_us, text: pattern, numbers } in &self.last {
            let _ = write!(text, "{:>6}.{:06} s  ", now_us / 1_000_000, now_us % 1_000_000);
            let mut parts = pattern.split("{}");
            text.push_str(parts.next().unwrap_or(""));
            for (part, number) in parts.zip(numbers) {
                let _ = write!(text, "{number}{part}");
            }
            text.push('\n');
        }
        text
    }
}

/// FNV-1a of some bytes.
pub fn fingerprint(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3))
}
