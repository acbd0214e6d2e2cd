//! New connections when the process has few file descriptors left: silent ones give way to them.

use super::{Arrival, Door};
use crate::io::turn::descriptors::Left;
use crate::io::turn::parcel::Accepted;
use crate::io::turn::places::Stage;
use mio::unix::SourceFd;
use std::os::fd::AsRawFd;

/// Silent connections that give way to one newcomer at the most, when file descriptors run out: as many as may have one of
/// those that are kept for requests.
const GIVEN_WAY_MAX: usize = 32;

impl Door {
    /// Passes a new connection on to another shard if there is a descriptor for it only where another gives way, and this
    /// shard has none that can. Returns a connection that stays here.
    pub(super) fn pass_on(&self, arrival: Arrival) -> Option<Arrival> {
        let scarce = self.node.descriptors.left(&arrival.socket) == Left::Kept;
        if !scarce || self.places.borrow().has_idle() {
            return Some(arrival);
        }
        let places = |shard: &usize| self.node.metrics.shards[*shard].places.get();
        let others = (0..self.node.mailboxes.len()).filter(|shard| *shard != self.index);
        match others.max_by_key(places).filter(|shard| places(shard) > 0) {
            Some(shard) => {
                self.send(shard, Accepted { socket: arrival.socket, peer: arrival.peer });
                None
            }
            None => Some(arrival),
        }
    }

    /// Whether there is a file descriptor for a connection. When only those are left that are kept for requests, a
    /// connection gives way that waits for no answer.
    pub(super) fn has_descriptors(&mut self, arrival: &mut Arrival) -> bool {
        let descriptors = &self.node.descriptors;
        if descriptors.left(&arrival.socket) == Left::Plenty {
            if let Some(failures) = self.scarcity.is_over() {
                tracing::info!(shard = self.index, failures, "connections are accepted again");
            }
            return true;
        }
        self.metrics.accept_errors.add(1);
        if self.scarcity.fails() {
            tracing::error!(
                shard = self.index,
                open_files = descriptors.limit(),
                "cannot accept connections: too many open files; requests are still answered; still trying; raise \
                 LimitNOFILE or `ulimit -n`, or lower connections_max"
            );
        }
        for _ in 0..GIVEN_WAY_MAX {
            let idle = self.places.borrow_mut().evict_idle();
            let Some(idle) = idle else { break };
            // A task closes its socket later; and a socket that is closed now may have had a descriptor that is kept.
            let is_closed = idle.stage == Stage::Silent;
            self.end_evicted(idle);
            self.take_lower(arrival);
            if !is_closed || self.node.descriptors.left(&arrival.socket) == Left::Plenty {
                break;
            }
        }
        self.node.descriptors.left(&arrival.socket) != Left::Last
    }

    /// Gives a connection with one of the last descriptors a lower one, if there is one by now.
    pub(super) fn take_lower(&self, arrival: &mut Arrival) {
        if let Ok(lower) = arrival.socket.try_clone()
            && self.node.descriptors.left(&lower) == Left::Plenty
        {
            if std::mem::take(&mut arrival.watched) {
                // Fails never, since it is watched. Without it the poll would go on to watch it through the new one.
                let _ = self.registry.deregister(&mut SourceFd(&arrival.socket.as_raw_fd()));
            }
            arrival.socket = lower;
        }
    }
}
