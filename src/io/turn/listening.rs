//! A listener of a shard and its troubles.

use crate::io::client::outage::Outage;
use crate::metrics::ShardMetrics;
use std::io::{self, ErrorKind};
use std::time::Duration;

/// Pause after an accept failed for want of something (file descriptors, memory), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What accepts without blocking.
pub(in crate::io) trait Accept {
    /// The connection and its peer.
    type Accepted;

    /// Accepts one connection.
    fn accept_one(&self) -> io::Result<Self::Accepted>;
}

impl Accept for mio::net::TcpListener {
    type Accepted = (mio::net::TcpStream, std::net::SocketAddr);

    fn accept_one(&self) -> io::Result<Self::Accepted> {
        self.accept()
    }
}

impl Accept for mio::net::UnixListener {
    type Accepted = (mio::net::UnixStream, std::os::unix::net::SocketAddr);

    fn accept_one(&self) -> io::Result<Self::Accepted> {
        self.accept()
    }
}

/// A listener whose readiness is reported once.
pub(super) struct Listening<L> {
    listener: L,
    ready: bool,
    /// When to try again after a failure, in microseconds of the node's clock.
    paused_until_us: Option<u64>,
    outage: Outage,
}

impl<L: Accept> Listening<L> {
    /// A listener that is watched.
    pub fn new(listener: L) -> Self {
        Self { listener, ready: true, paused_until_us: None, outage: Outage::default() }
    }

    /// There may be connections.
    pub fn ready(&mut self) {
        self.ready = true;
    }

    /// Whether there may be connections that can be accepted now.
    pub fn has_more(&self) -> bool {
        self.ready && self.paused_until_us.is_none()
    }

    /// When to try again after a failure.
    pub fn paused_until_us(&self) -> Option<u64> {
        self.paused_until_us
    }

    /// Accepts a connection, if there is one and no pause. Failures are counted.
    pub fn accept(&mut self, now_us: u64, shard: usize, metrics: &ShardMetrics) -> Option<L::Accepted> {
        if self.paused_until_us.is_some_and(|until_us| now_us < until_us) || !self.ready {
            return None;
        }
        self.paused_until_us = None;
        loop {
            match self.listener.accept_one() {
                Ok(accepted) => {
                    self.over(shard);
                    metrics.accepts.add(1);
                    return Some(accepted);
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock => {
                        self.ready = false;
                        return None;
                    }
                    // That connection's own fault: the next one may be there and well.
                    ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset => {
                        metrics.accept_errors.add(1);
                    }
                    _ => {
                        metrics.accept_errors.add(1);
                        self.failed(now_us, shard, &error);
                        return None;
                    }
                },
            }
        }
    }

    /// Pauses. Not each failure is logged: at its limit, a server may fail and go on many times a second, for hours.
    fn failed(&mut self, now_us: u64, shard: usize, error: &io::Error) {
        self.paused_until_us = Some(now_us + ACCEPT_PAUSE.as_micros() as u64);
        if self.outage.fails() {
            tracing::error!(shard, "cannot accept connections: {error}; still trying");
        }
    }

    /// A connection came.
    fn over(&mut self, shard: usize) {
        if let Some(failures) = self.outage.is_over() {
            tracing::info!(shard, failures, "connections are accepted again");
        }
    }
}
