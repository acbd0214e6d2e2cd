//! In place of `ring` in a program without the feature `io-uring`: no ring can be made, and sends go one by one.

use crate::shard::Sent;
use std::io::{self, ErrorKind};
use std::os::fd::RawFd;

/// No ring exists in such a program.
pub(super) enum Ring {}

impl Ring {
    /// # Errors
    /// Always.
    pub fn new() -> io::Result<Self> {
        Err(io::Error::new(ErrorKind::Unsupported, "built without the feature io-uring"))
    }

    /// Never called, as no ring exists.
    pub fn send(&mut self, _: &[RawFd], _: &[u8], _: &mut Vec<Sent>) -> io::Result<()> {
        match *self {}
    }
}
