//! How much HTTP is served between two turns of the shard's loop.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// Time for requests after which the shard's loop has its turn. A request costs from some microseconds to a
/// millisecond, and each one goes to its end.
const TIME_MAX: Duration = Duration::from_millis(1);

/// The turns of HTTP on one shard. hyper alone would answer up to 16 requests of each connection before the loop is
/// looked at again, which with many connections that send one request after the other is tens of milliseconds.
#[derive(Debug)]
pub(in crate::io) struct HttpTurns {
    began: Cell<Instant>,
}

impl HttpTurns {
    pub fn new() -> Self {
        Self { began: Cell::new(Instant::now()) }
    }

    /// Waits until the request may be served. All tasks that wait sleep until the runtime has looked at its sockets, and
    /// so wake behind the shard's loop if that has something to do.
    pub async fn wait(&self) {
        loop {
            let began = self.began.get();
            if began.elapsed() < TIME_MAX {
                return;
            }
            tokio::task::yield_now().await;
            // The first to wake begins the next turn.
            if self.began.get() == began {
                self.began.set(Instant::now());
            }
        }
    }
}
