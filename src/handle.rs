use crate::api::types::{RoomInfo, SlowConsumer, Stats};
use crate::hub::Hub;
use crate::io::{Parcel, ShardMailbox};
use crate::model::{ConnectionId, RoomName, RoomNameError};
use crate::shard::{Mail, Message, Reply, Request, To};
use serde::Serialize;
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A running server, from any thread and any runtime. Cheap to clone.
///
/// Calls hand their request to a shard at once, in order, and return an [`Answer`]: await it, [`Answer::wait`] for
/// it, or drop it if the outcome does not matter.
#[derive(Clone)]
pub struct Handle {
    pub(crate) shared: Arc<NodeShared>,
}

/// What the node, its handles and its shards' tasks share.
pub(crate) struct NodeShared {
    pub hub: Arc<Hub>,
    pub mailboxes: Arc<[ShardMailbox]>,
    pub metrics: Arc<crate::metrics::NodeMetrics>,
    /// Spreads rooms over the shards that encode for them, always the same one for a room, so that publications of
    /// one caller to one room keep their order.
    pub spread: RandomState,
    pub stop: tokio::sync::watch::Sender<bool>,
}

/// The outcome of a request to a shard.
#[derive(Debug)]
pub struct Answer<T>(tokio::sync::oneshot::Receiver<T>);

/// Why a call was refused or not answered.
#[derive(Debug, thiserror::Error)]
pub enum HandleError {
    /// The room's name is none.
    #[error(transparent)]
    Room(#[from] RoomNameError),
    /// The data cannot be written as JSON.
    #[error("data cannot be written as JSON: {0}")]
    Data(#[from] serde_json::Error),
    /// The server has ended.
    #[error("the server has ended")]
    Ended,
}

impl<T> Answer<T> {
    /// Blocks until the answer is there. Not for use on an async runtime's threads: await the answer there.
    ///
    /// # Errors
    /// [`HandleError::Ended`] if the server ends first.
    pub fn wait(self) -> Result<T, HandleError> {
        self.0.blocking_recv().map_err(|_| HandleError::Ended)
    }
}

impl<T> Future for Answer<T> {
    type Output = Result<T, HandleError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map_err(|_| HandleError::Ended)
    }
}

impl Handle {
    /// Publishes to the members of a room. The answer is the number of connections of this node that it is handed
    /// to. Publications of one thread to one room arrive in the order of the calls.
    ///
    /// # Errors
    /// If the room's name is none or `data` cannot be written as JSON.
    pub fn publish(&self, room: &str, event: &str, data: &impl Serialize) -> Result<Answer<u32>, HandleError> {
        RoomName::check(room)?;
        let shard = self.shared.spread.hash_one(room) as usize % self.shared.mailboxes.len();
        self.publish_to(shard, To::Room(room.to_owned()), event, data)
    }

    /// Publishes to every connection of this node. The answer is their number.
    ///
    /// # Errors
    /// If `data` cannot be written as JSON.
    pub fn broadcast(&self, event: &str, data: &impl Serialize) -> Result<Answer<u32>, HandleError> {
        self.publish_to(0, To::All, event, data)
    }

    fn publish_to(
        &self,
        shard: usize,
        to: To,
        event: &str,
        data: &impl Serialize,
    ) -> Result<Answer<u32>, HandleError> {
        let data = Some(serde_json::to_string(data)?);
        let event = event.to_owned();
        Ok(self.ask(shard, |reply| Request::Publish { to, event, data, reply }))
    }

    /// Sends a message to one connection. The answer says whether there is such an open connection.
    ///
    /// # Errors
    /// If `data` cannot be written as JSON.
    pub fn send(&self, to: ConnectionId, event: &str, data: &impl Serialize) -> Result<Answer<bool>, HandleError> {
        let data = Some(serde_json::to_string(data)?);
        Ok(self.send_message(to, Message::Event { event: event.to_owned(), data, id: None }))
    }

    pub(crate) fn send_message(&self, to: ConnectionId, message: Message) -> Answer<bool> {
        self.ask(self.shard_of(to), |reply| Request::Send { to, message, reply })
    }

    /// Closes one connection with code 4440. The answer says whether there was such an open connection.
    pub fn disconnect(&self, to: ConnectionId) -> Answer<bool> {
        self.ask(self.shard_of(to), |reply| Request::Disconnect { to, reply })
    }

    /// Up to `limit` rooms whose names start with `prefix` and sort after `after`, in order of name.
    pub fn rooms(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<RoomInfo> {
        let rooms = self.shared.hub.directory.list(prefix, after, limit);
        rooms.into_iter().map(|(room, members)| RoomInfo { room: room.to_string(), members }).collect()
    }

    /// Counts of the node and of each shard.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// The consumers with the largest backlogs, at most `limit`, largest first.
    ///
    /// # Errors
    /// [`HandleError::Ended`] if the server ends first.
    pub async fn slow(&self, limit: usize) -> Result<Vec<SlowConsumer>, HandleError> {
        self.shared.slow(limit).await
    }

    /// Begins to drain: the node is not ready any more, listeners stop, connections close over `drain_timeout`.
    /// Returns at once; [`crate::Server::wait`] returns when it is done.
    pub fn shutdown(&self) {
        self.shared.hub.set_draining();
        self.shared.stop.send_replace(true);
    }

    fn shard_of(&self, id: ConnectionId) -> usize {
        // An id that is not ours may point anywhere; the shard asked finds that it is none of its own.
        usize::from(id.locator(self.shared.hub.connection_key).shard) % self.shared.mailboxes.len()
    }

    fn ask<T: Send + 'static>(&self, shard: usize, request: impl FnOnce(Reply<T>) -> Request) -> Answer<T> {
        self.shared.ask(shard, request)
    }
}

impl NodeShared {
    /// Posts a request that is answered.
    pub fn ask<T: Send + 'static>(&self, shard: usize, request: impl FnOnce(Reply<T>) -> Request) -> Answer<T> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        // Nobody waiting any more is no fault.
        let reply: Reply<T> = Box::new(move |value| drop(sender.send(value)));
        self.post(shard, request(reply));
        Answer(receiver)
    }

    /// Posts a request.
    pub fn post(&self, shard: usize, request: Request) {
        self.mailboxes[shard].push(Parcel::Mail(Mail::Request(request)), 0);
    }

    /// Asks every shard for its slow consumers and keeps the `limit` largest backlogs.
    pub async fn slow(&self, limit: usize) -> Result<Vec<SlowConsumer>, HandleError> {
        let asked: Vec<Answer<Vec<SlowConsumer>>> = (0..self.mailboxes.len())
            .map(|shard| self.ask(shard, |reply| Request::Slow { limit, reply }))
            .collect();
        let mut slow = Vec::new();
        for answer in asked {
            slow.extend(answer.await?);
        }
        slow.sort_by_key(|entry| std::cmp::Reverse(entry.backlog_bytes));
        slow.truncate(limit);
        Ok(slow)
    }

    /// Sends a canary through the mailbox and the tick of every shard.
    pub async fn canary(&self) -> Result<(), HandleError> {
        let asked: Vec<Answer<()>> =
            (0..self.mailboxes.len()).map(|shard| self.ask(shard, Request::Canary)).collect();
        for answer in asked {
            answer.await?;
        }
        Ok(())
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("shards", &self.shared.mailboxes.len()).finish_non_exhaustive()
    }
}
