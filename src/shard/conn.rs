use super::Reading;
use super::input::hook::FORWARDED_MAX;
use super::life::agents::AgentId;
use super::life::terms::Terms;
use super::output::backlog::Backlog;
use crate::base::{Gcra, Mutation, mutated};
use crate::dialect;
use crate::hub::{FilterId, Membership};
use crate::model::hook::Subject;
use crate::model::{CloseReason, Compression, ConnectionId, DialectId, Encoding, Identity};
use crate::wire::Assembler;
use smallvec::SmallVec;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// One connection, as its shard holds it. An idle one costs this entry and nothing else: buffers exist only while
/// something is in them.
#[derive(Debug)]
pub(super) struct Conn {
    pub id: ConnectionId,
    /// The client's address and port as the proxy rules find them; `None` over a Unix socket without a proxy header.
    /// As a pair they take 12 bytes less than a `SocketAddr`, whose flow label and scope nobody asks for.
    pub peer: Option<(IpAddr, u16)>,
    pub dialect: DialectId,
    /// Whether and how permessage-deflate was negotiated.
    pub compression: Compression,
    /// Who it is; `None`: nobody known.
    pub identity: Option<Arc<Identity>>,
    /// What its client calls itself.
    pub agent: AgentId,
    /// When it came, in tenths of a second of the shard's clock.
    pub opened_ds: u32,
    /// Sends every message back (see `echo`) and is told nothing else.
    pub echo: bool,
    /// Whether it may look at the node and act on it.
    pub admin: bool,
    /// Whether what it publishes comes back to it.
    pub hears_itself: bool,
    /// Whether it may say who it is.
    pub authenticates: Authenticates,
    /// It was told that its identity ends soon.
    pub warned: bool,
    pub state: State,
    /// Requests refused in a row by the rate limits.
    pub strikes: u8,
    /// Messages of it that are on their way to the backend or to handlers; at most [`FORWARDED_MAX`].
    pub forwarded: u8,
    /// Whether what it sends is taken in.
    pub reading: Reading,
    /// When anything last came, in tenths of a second of the shard's clock (so 13 years fit 32 bits).
    pub received_ds: u32,
    /// When a message or a ping last came: what the client did of its own accord.
    pub message_ds: u32,
    /// When a ping was last sent.
    pub pinged_ds: u32,
    pub memberships: SmallVec<[Membership; 1]>,
    pub messages: Gcra,
    pub bytes: Gcra,
    pub input: Option<Box<Input>>,
    pub assembler: Option<Box<Assembler>>,
    pub backlog: Option<Box<Backlog>>,
    pub terms: Option<Box<Terms>>,
}

/// Whether a connection may say who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Authenticates {
    Never,
    /// As anybody that a token names.
    AsAnybody,
    /// As a user of a tenant.
    AsUserOfTenant,
}

/// Bytes of a frame that has not come whole.
#[derive(Debug, Default)]
pub(super) struct Input {
    pub buffer: Vec<u8>,
    /// Bytes of the buffer that are used up.
    pub start: usize,
    /// Parsing again makes no sense before the buffer holds that many bytes beyond those.
    pub need: usize,
}

impl Input {
    /// Uses bytes up. `None` if nothing is left. What is used up is given back before it is more than what is left, so
    /// that the buffer is never more than twice as large as it must be, and each byte is moved about once.
    pub fn without(mut self: Box<Self>, used: usize, need: usize) -> Option<Box<Self>> {
        (self.start, self.need) = (self.start + used, need);
        let left = self.buffer.len() - self.start;
        if left > 0 && 2 * left < self.buffer.capacity() {
            self.buffer = self.buffer[self.start..].to_vec();
            self.start = 0;
        }
        (left > 0).then_some(self)
    }

    /// Adds bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        if self.buffer.capacity() < self.need {
            // At most doubled, so that a header's word reserves no more than what has really come.
            let sensible = (2 * (self.buffer.len() + bytes.len())).min(self.need);
            let sensible = if mutated(Mutation::ReserveOnWord) { self.need } else { sensible };
            self.buffer.reserve_exact(sensible.saturating_sub(self.buffer.len()));
        }
        self.buffer.extend_from_slice(bytes);
    }
}

/// Life of a connection. It is a member of rooms only while open.
///
/// ```text
/// Open --close frame of either side--> Closing --both seen, or close_wait over--> (removed)
///   \------------------- transport lost ------------------------------------------^
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Open,
    /// Our close frame is on its way.
    Closing {
        reason: CloseReason,
        /// The peer's close frame has come, so nothing more is awaited once ours is out.
        peer_closed: bool,
        /// Where the peer's frames begin is not known any more, so what it sends is not looked at: its side of the
        /// transport is awaited to end, not its close frame.
        deaf: bool,
        /// Tenths of a second of the shard's clock.
        deadline_ds: u32,
    },
}

impl Conn {
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Whether publications wait for their time although the socket would take them.
    pub fn holds(&self) -> bool {
        self.terms.as_ref().is_some_and(|terms| terms.hold()) && self.is_open()
    }

    /// The filter that it has applied.
    pub fn filter(&self) -> Option<FilterId> {
        self.terms.as_ref()?.filter
    }

    /// Why it is being closed, if it is.
    pub fn closing(&self) -> Option<CloseReason> {
        match self.state {
            State::Open => None,
            State::Closing { reason, .. } => Some(reason),
        }
    }

    /// The form in which it gets publications. What is put together into arrays is not compressed.
    pub fn encoding(&self) -> Encoding {
        let batches = self.terms.as_ref().is_some_and(|terms| terms.batch_ms != 0);
        Encoding::new(self.dialect, if batches { Compression::None } else { self.compression })
    }

    /// Who it is, for the backend.
    pub fn subject(&self) -> Subject {
        Subject {
            connection: Some(self.id),
            identity: self.identity.clone(),
            ip: self.ip(),
            dialect: dialect::spec(self.dialect).name,
        }
    }

    /// Counts one more message that is on its way. `false` if there are too many already.
    pub fn forwards_one_more(&mut self) -> bool {
        let fits = self.forwarded < FORWARDED_MAX;
        self.forwarded += u8::from(fits);
        fits
    }

    pub fn ip(&self) -> Option<IpAddr> {
        self.peer.map(|(ip, _)| ip)
    }

    /// Whether it belongs to a tenant.
    pub fn has_tenant(&self) -> bool {
        self.identity.as_ref().is_some_and(|identity| identity.tenant.is_some())
    }

    /// The client's address and port, for logs.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        self.peer.map(SocketAddr::from)
    }

    pub fn backlog_bytes(&self) -> usize {
        self.backlog.as_ref().map_or(0, |backlog| backlog.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_size_is_the_one_that_is_documented() {
        // 8 more for the slab's entry: 160 in tuning.md.
        assert_eq!(size_of::<Conn>(), 152);
    }
}
