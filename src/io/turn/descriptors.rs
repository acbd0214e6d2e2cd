//! The last file descriptors of the process, which are kept from WebSocket connections: so that probes, requests, the
//! admin listener, and calls to the backend still have some when the connections have taken all others.

use std::os::fd::{AsRawFd, RawFd};

/// One part of so many of the limit is kept, but at least [`KEPT_MIN`] descriptors and at most [`KEPT_MAX`].
const KEPT_PART: u64 = 16;
const KEPT_MIN: u64 = 8;
const KEPT_MAX: u64 = 64;

/// The file descriptors that the process may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    limit: u64,
    kept: u64,
}

/// How many descriptors were free when one was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// Enough.
    Plenty,
    /// Only those that are kept for requests and for the admin listener.
    Kept,
    /// Only those that are kept for the admin listener and for calls to other servers.
    Last,
}

impl Descriptors {
    /// With this limit (`RLIMIT_NOFILE`) of the process; `None`: it is not known, and nothing is kept.
    pub fn new(limit: Option<u64>) -> Self {
        match limit {
            Some(limit) => Self { limit, kept: (limit / KEPT_PART).clamp(KEPT_MIN, KEPT_MAX).min(limit) },
            None => Self { limit: u64::MAX, kept: 0 },
        }
    }

    /// The limit.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Connections that the limit allows beside `others` descriptors.
    fn connections(&self, others: u64) -> u64 {
        self.limit.saturating_sub(self.kept + others)
    }

    /// Tells how many connections the limit allows beside the descriptors that are open now, and whether that is less
    /// than `connections_max` (0: no limit).
    pub fn tell(&self, connections_max: u32) {
        if self.kept == 0 {
            return;
        }
        // The lowest number that is free: so many are in use.
        let others = std::fs::File::open("/dev/null").map_or(0, |file| file.as_raw_fd());
        let connections = self.connections(u64::try_from(others).unwrap_or(0));
        if u64::from(connections_max) > connections {
            tracing::warn!(
                connections_max,
                open_files = self.limit,
                connections,
                "the limit of open files allows fewer connections than connections_max: raise LimitNOFILE or \
                 `ulimit -n`, or lower connections_max"
            );
        } else {
            tracing::info!(
                open_files = self.limit,
                connections,
                "the limit of open files allows so many connections"
            );
        }
    }

    /// What was left when this descriptor was made. The kernel gives the lowest number that is free (open(2)), so a
    /// high number says that all below it are taken.
    pub(super) fn left(&self, made: &impl AsRawFd) -> Left {
        self.left_at(made.as_raw_fd())
    }

    fn left_at(&self, fd: RawFd) -> Left {
        let number = u64::try_from(fd).unwrap_or(0);
        if number >= self.limit - self.kept / 2 {
            Left::Last
        } else if number >= self.limit - self.kept {
            Left::Kept
        } else {
            Left::Plenty
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_descriptors_are_kept() {
        let of = |limit| Descriptors::new(Some(limit));
        let left = |fd| of(1024).left_at(fd);
        assert_eq!([3, 959].map(left), [Left::Plenty; 2]);
        assert_eq!([960, 991].map(left), [Left::Kept; 2]);
        assert_eq!([992, 1023].map(left), [Left::Last; 2]);
        assert_eq!(of(1024).connections(24), 936);
        assert_eq!(of(64).connections(24), 32);
        assert_eq!(of(1_048_576).connections(0), 1_048_512);
        assert_eq!(of(4).connections(30), 0);
        assert_eq!(of(4).left_at(3), Left::Last);
        assert_eq!(Descriptors::new(None).left_at(i32::MAX), Left::Plenty);
    }
}
