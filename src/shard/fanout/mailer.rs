//! What goes to other shards: frames in batches at a turn's end, other mail at once.

use crate::shard::fanout::bundle::Ready;
use crate::shard::fanout::frame_batch::{Delivery, FrameBatch};
use crate::shard::fanout::mail::{Mail, Post};

/// See the module's documentation.
pub(in crate::shard) struct Mailer {
    /// Frames for each shard since its last batch.
    batches: Vec<FrameBatch>,
    post: Post,
    here: usize,
}

impl Mailer {
    /// Mail of the shard number `here`, for so many shards.
    pub fn new(here: usize, shards: usize, post: Post) -> Self {
        Self { batches: (0..shards).map(|_| FrameBatch::default()).collect(), post, here }
    }

    /// The shard's own index.
    #[inline]
    pub fn here(&self) -> usize {
        self.here
    }

    /// Number of the node's shards.
    pub fn shards(&self) -> usize {
        self.batches.len()
    }

    /// Adds a frame to the next batch of a shard.
    #[inline]
    pub fn push(&mut self, shard: usize, message: Ready<'_>, accepted_us: u64, delivery: &Delivery) {
        self.batches[shard].push(message, accepted_us, delivery);
    }

    /// The batch for a shard, if it has any frames.
    pub fn take(&mut self, shard: usize) -> Option<FrameBatch> {
        (!self.batches[shard].is_empty()).then(|| std::mem::take(&mut self.batches[shard]))
    }

    /// Posts mail at once, before the frames of the next batch.
    pub fn post(&self, shard: usize, mail: Mail) {
        (self.post)(shard, mail);
    }

    /// Posts mail behind the frames that wait for the next batch.
    pub fn post_behind(&mut self, shard: usize, mail: Mail) {
        if let Some(batch) = self.take(shard) {
            self.post(shard, Mail::Frames(batch));
        }
        self.post(shard, mail);
    }

    /// What posts mail from wherever it is called.
    pub fn poster(&self) -> Post {
        self.post.clone()
    }
}
