//! What other threads send to a shard's, and what wakes it for that.

use super::clock::Clock;
use super::mailbox::{Mailbox, Wake};
use crate::shard::{Mail, Post};
use mio::{Poll, Token};
use socket2::Socket;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// The token of a waker in its shard's poll.
pub(super) const MAIL_TOKEN: Token = Token(usize::MAX);

/// Wakes the loop of a shard.
pub struct ShardWaker(mio::Waker);

impl Wake for ShardWaker {
    fn wake(&self) {
        if let Err(error) = self.0.wake() {
            tracing::error!(%error, "cannot wake a shard");
        }
    }
}

/// What reaches a shard's thread.
pub struct Parcel {
    /// When it was sent, in microseconds of the node's clock.
    pub sent_us: u64,
    /// What it is.
    pub content: Content,
}

/// A socket that one shard has accepted for another.
pub struct Accepted {
    pub(in crate::io) socket: Socket,
    /// `None`: of the Unix socket, which one shard accepts for all.
    pub(in crate::io) peer: Option<SocketAddr>,
}

/// What is in a [`Parcel`].
pub enum Content {
    /// For the shard.
    Mail(Mail),
    /// A socket that another shard has accepted.
    Accepted(Accepted),
}

/// A shard's mailbox.
pub type ShardMailbox = Mailbox<Parcel, ShardWaker>;

/// Makes a shard's poll and the waker of its mailbox.
pub fn poll_and_waker() -> io::Result<(Poll, ShardWaker)> {
    let poll = Poll::new()?;
    let waker = mio::Waker::new(poll.registry(), MAIL_TOKEN)?;
    Ok((poll, ShardWaker(waker)))
}

/// Sends to a shard.
pub(in crate::io) fn send(mailboxes: &[ShardMailbox], clock: Clock, shard: usize, content: Content) {
    let bytes = match &content {
        Content::Mail(mail) => mail.len_bytes(),
        // Its buffers are the kernel's.
        Content::Accepted(_) => size_of::<Parcel>(),
    };
    mailboxes[shard].push(Parcel { sent_us: clock.now().us, content }, bytes);
}

/// How shards send mail that cannot wait for the end of their turn.
pub fn post(mailboxes: Arc<[ShardMailbox]>, clock: Clock) -> Post {
    Arc::new(move |shard, mail| send(&mailboxes, clock, shard, Content::Mail(mail)))
}
