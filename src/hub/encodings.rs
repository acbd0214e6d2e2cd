use crate::model::Encoding;
use std::sync::atomic::{AtomicU32, Ordering};

/// How many connections of the node have each encoding, so that a broadcast to all is built only in the encodings
/// that somebody has. Touched when a connection comes or goes, and by such broadcasts.
#[derive(Debug, Default)]
pub struct Encodings {
    connections: [AtomicU32; Encoding::COUNT],
}

impl Encodings {
    /// Counts a connection, before it is told that it is one.
    pub fn add(&self, encoding: Encoding) {
        // Release and acquire as for a room's interest: who has heard of the connection sees that it is counted.
        self.connections[encoding.index()].fetch_add(1, Ordering::Release);
    }

    /// Counts one less.
    pub fn remove(&self, encoding: Encoding) {
        self.connections[encoding.index()].fetch_sub(1, Ordering::Release);
    }

    /// A bit for each encoding that a connection has.
    pub fn in_use(&self) -> u32 {
        let counts = self.connections.iter().enumerate();
        counts.fold(0, |mask, (index, count)| mask | u32::from(count.load(Ordering::Acquire) != 0) << index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Compression, DialectId};

    #[test]
    fn an_encoding_is_in_use_while_a_connection_has_it() {
        let encodings = Encodings::default();
        assert_eq!(encodings.in_use(), 0);
        let [first, last] =
            [(0, Compression::None), (7, Compression::Window15)].map(|(d, c)| Encoding::new(DialectId(d), c));
        for encoding in [first, last, last] {
            encodings.add(encoding);
        }
        assert_eq!(encodings.in_use(), first.bit() | last.bit());
        encodings.remove(first);
        encodings.remove(last);
        assert_eq!(encodings.in_use(), last.bit());
    }
}
