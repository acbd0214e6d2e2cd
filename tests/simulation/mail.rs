//! The mailboxes: mail between shards and from outside, delayed at random, in order between each two.

use super::model::Frame;
use super::order::Numbered;
use super::random::Random;
use fanwire::config::Config;
use fanwire::shard::{Mail, Reply};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// One item of mail, and what the model is told of it.
pub struct Parcel {
    pub mail: Mail,
    pub told: Told,
    /// As counted against the mailbox's high-water mark.
    pub bytes: usize,
}

/// What the model is told of an item of mail.
pub enum Told {
    Frames(Vec<Frame>),
    Numbered(Numbered),
    Publish { room: Option<usize>, event: &'static str, data: Option<String> },
    Send { connection: usize, event: &'static str, data: Option<String>, id: Option<String> },
    Disconnect { connection: usize },
    Slow { limit: usize },
    Canary,
    EvictLargest,
    Reconfigure(Arc<Config>),
    Drain(Duration),
}

/// A shard's mailbox.
pub struct Inbox {
    /// By sender; the last but one is everything that comes from outside the shards, the last what is posted at once,
    /// which keeps its order whoever posts it.
    queues: Vec<VecDeque<Parcel>>,
    pub bytes: usize,
    answers: Arc<Mutex<Vec<u64>>>,
    /// Canaries sent and come back. Apart from the answers, for they come at any flush.
    pub canaries: u64,
    back: Arc<AtomicU64>,
}

impl Inbox {
    pub fn new(shards: usize) -> Self {
        Self {
            queues: (0..shards + 2).map(|_| VecDeque::new()).collect(),
            bytes: 0,
            answers: Arc::default(),
            canaries: 0,
            back: Arc::default(),
        }
    }

    pub fn push(&mut self, from: usize, parcel: Parcel) {
        self.bytes += parcel.bytes;
        self.queues[from].push_back(parcel);
    }

    pub fn len(&self) -> usize {
        self.queues.iter().map(VecDeque::len).sum()
    }

    /// The next item of a sender that has any.
    pub fn pop(&mut self, random: &mut Random) -> Option<(usize, Parcel)> {
        let senders: Vec<_> = (0..self.queues.len()).filter(|from| !self.queues[*from].is_empty()).collect();
        if senders.is_empty() {
            return None;
        }
        let from = random.pick(&senders);
        let parcel = self.queues[from].pop_front()?;
        self.bytes -= parcel.bytes;
        Some((from, parcel))
    }

    /// A reply whose number ends up with [`Inbox::answers`].
    pub fn reply<T: Into<u64> + 'static>(&self) -> Reply<T> {
        self.reply_with(T::into)
    }

    pub fn reply_with<T>(&self, number: impl FnOnce(T) -> u64 + Send + 'static) -> Reply<T> {
        let answers = self.answers.clone();
        Box::new(move |value| answers.lock().unwrap().push(number(value)))
    }

    /// The reply of a canary.
    pub fn canary(&mut self) -> Reply<()> {
        self.canaries += 1;
        let back = self.back.clone();
        Box::new(move |()| {
            back.fetch_add(1, Ordering::Relaxed);
        })
    }

    /// Canaries that have come back.
    pub fn canaries_back(&self) -> u64 {
        self.back.load(Ordering::Relaxed)
    }

    /// The answers since the last call.
    pub fn answers(&self) -> Vec<u64> {
        std::mem::take(&mut self.answers.lock().unwrap())
    }
}
