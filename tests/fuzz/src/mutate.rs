//! Seeded random changes of an input, for the replay: no coverage guides them, but they need no other compiler.

/// Marsaglia's xorshift64*: the same seed gives the same inputs, so that a failure can be had again.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// A sequence of its own for each seed.
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `end`; 0 where that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.number() >> 16) as usize % end }
    }
}

/// Bytes on which parsers turn.
const BYTES: &[u8] = b"\0\x01\x7d\x7e\x7f\x80\x81\x88\x89\xfe\xff \r\n\t\"\\{}[]:,%&=?/+-.09azAZ";

/// One to four changes of `seed`: bits, bytes, pieces left out, doubled, or taken from `other`. At most
/// `bytes_max` bytes long.
pub fn mutate(seed: &[u8], other: &[u8], random: &mut Random, bytes_max: usize) -> Vec<u8> {
    let mut data = seed.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(data.len());
        let end = at + random.below(data.len().saturating_sub(at).min(32) + 1);
        match random.below(7) {
            0 if !data.is_empty() => data[at] ^= 1 << random.below(8),
            1 if !data.is_empty() => data[at] = BYTES[random.below(BYTES.len())],
            2 => data.insert(at, BYTES[random.below(BYTES.len())]),
            3 => drop(data.drain(at..end)),
            4 => {
                let piece = data[at..end].to_vec();
                data.splice(at..at, piece);
            }
            5 => {
                let from = random.below(other.len());
                let to = from + random.below(other.len() - from + 1);
                data.splice(at..end, other[from..to].iter().copied());
            }
            _ => data.truncate(end.max(1)),
        }
    }
    data.truncate(bytes_max);
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_inputs_and_others_differ() {
        let run = |seed| {
            let mut random = Random::new(seed);
            (0..100).map(|_| mutate(b"{\"a\":1}", b"xyz", &mut random, 64)).collect::<Vec<_>>()
        };
        assert_eq!(run(8), run(8));
        assert_ne!(run(8), run(10));
        let mut distinct = run(8);
        distinct.sort();
        distinct.dedup();
        assert!(distinct.len() > 50, "{}", distinct.len());
        assert!(distinct.iter().all(|data| data.len() <= 64));
        assert!(mutate(b"", b"", &mut Random::new(1), 8).len() <= 8);
    }
}
