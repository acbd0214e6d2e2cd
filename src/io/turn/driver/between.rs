//! What tasks that serve HTTP do to a shard between its turns.

use super::Driver;
use crate::model::{Draft, Selector};
use crate::shard::{Newcomer, Now, Origin, Published, Shard, Tally};
use socket2::Socket;
use std::sync::Arc;

impl Driver {
    /// Takes an upgraded connection over, with the bytes that were read beyond the handshake. Gives `false` if it
    /// could not; the admission is then still the caller's.
    pub fn adopt(&mut self, socket: Socket, newcomer: Newcomer, read: &mut [u8]) -> bool {
        let now = self.clock.now();
        // First, so that a panic is noticed at once. Input that came between the handshake and now is reported by the
        // registration itself.
        self.notify.notify_one();
        self.entered = true;
        let adopted = self.adopt_now(now, socket, newcomer, read);
        self.entered = false;
        adopted
    }

    fn adopt_now(&mut self, now: Now, socket: Socket, newcomer: Newcomer, read: &mut [u8]) -> bool {
        let turned_away = newcomer.turned_away;
        let Some(key) = self.shard.open(now, newcomer) else { return false };
        if let Err(error) = self.sockets.insert(key, socket, false) {
            tracing::error!(%error, "cannot watch a new socket");
            self.shard.lost(key.slot, &mut self.sockets);
            return true;
        }
        if let Some(error) = turned_away {
            self.shard.turn_away(now, key.slot, error, &mut self.sockets);
        }
        if !read.is_empty() {
            self.shard.receive(now, key.slot, read, &mut self.sockets);
            self.shard.read_on(key.slot);
        }
        true
    }

    /// Publishes for the API, for all that one name stands for. When this returns, the frames are in the mailboxes of
    /// all shards, so a later publication anywhere comes after.
    pub fn publish(&mut self, to: &Selector<'_>, draft: &Draft<'_>) -> Published {
        self.enter(|shard, now| shard.outside_publish(now, to, draft))
    }

    /// Publishes for the API, whatever the selector; see [`Shard::publish_selected`].
    pub fn publish_selected(
        &mut self,
        to: &Selector<'_>,
        draft: &Draft<'_>,
        tally: &Arc<Tally>,
    ) -> Published {
        self.enter(|shard, now| shard.publish_selected(now, Origin::Api, to, draft, tally))
    }

    fn enter<T>(&mut self, publish: impl FnOnce(&mut Shard, Now) -> T) -> T {
        let now = self.clock.now();
        self.notify.notify_one();
        self.entered = true;
        let published = publish(&mut self.shard, now);
        self.shard.settle(now, &mut self.sockets);
        self.send_outgoing();
        self.entered = false;
        published
    }
}
