//! Publishing many things at once, or once however often it is asked for.

use crate::api::{self, BATCH_MAX, Claim, Stored, Whole};
use crate::handle::{Handle, HandleError};
use crate::io::{Answer, NodeShared};
use crate::model::Selector;
use crate::shard::Request;
use serde::Serialize;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::oneshot;

/// Whose the keys of [`Handle::publish_once`] are. No key of the API has a control character, so that keys which come
/// over HTTP are others.
const CALLER: &[u8] = b"\0program";

/// Publications that are made together; see [`Handle::publish_batch`].
#[derive(Debug, Clone, Default)]
pub struct Batch {
    publications: Vec<Publication>,
}

#[derive(Debug, Clone)]
struct Publication {
    to: Selector<'static>,
    event: String,
    data: Option<String>,
    whole: Option<String>,
}

impl Batch {
    /// Without publications.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what [`Handle::publish_to`] publishes.
    ///
    /// # Errors
    /// If `data` cannot be written as JSON.
    pub fn add(mut self, to: Selector<'_>, event: &str, data: &impl Serialize) -> Result<Self, HandleError> {
        let data = Some(serde_json::to_string(data)?);
        self.publications.push(Publication {
            to: to.into_owned(),
            event: event.to_owned(),
            data,
            whole: None,
        });
        Ok(self)
    }

    /// Adds what [`Handle::publish_whole`] publishes.
    ///
    /// # Errors
    /// If `message` cannot be written as JSON, or is no object with a text `type`.
    pub fn add_whole(mut self, to: Selector<'_>, message: &impl Serialize) -> Result<Self, HandleError> {
        let text = serde_json::to_string(message)?;
        let Whole { event, data } = api::parse_whole(&text, u32::MAX)?;
        let (event, data) = (event.into_owned(), data.map(str::to_owned));
        self.publications.push(Publication { to: to.into_owned(), event, data, whole: Some(text) });
        Ok(self)
    }

    /// Number of publications.
    pub fn len(&self) -> usize {
        self.publications.len()
    }

    /// Whether the batch has no publications.
    pub fn is_empty(&self) -> bool {
        self.publications.is_empty()
    }
}

/// What becomes of a batch: gathered from the shards that publish it, told when all have.
struct Gathering {
    delivered: Vec<u32>,
    missing: usize,
    teller: Option<Teller>,
}

/// Tells what became of a batch.
struct Teller {
    sender: oneshot::Sender<Vec<u32>>,
    /// Where it is kept, for a batch that is published once.
    once: Option<Once>,
}

/// The number and the key of a batch that is published once.
struct Once {
    node: Weak<NodeShared>,
    number: u64,
    key: String,
}

impl Once {
    fn finish(&self, stored: Option<Stored>) {
        if let Some(node) = self.node.upgrade() {
            let mut table = node.idempotency.lock().unwrap_or_else(PoisonError::into_inner);
            table.finish(self.number, CALLER, &self.key, stored);
        }
    }
}

impl Gathering {
    /// A shard has published one. The teller if it was the last.
    fn take(&mut self, index: usize, delivered: u32) -> Option<(Teller, Vec<u32>)> {
        self.delivered[index] = delivered;
        self.missing -= 1;
        let teller = self.teller.take_if(|_| self.missing == 0)?;
        Some((teller, std::mem::take(&mut self.delivered)))
    }
}

impl Teller {
    fn tell(self, delivered: Vec<u32>) {
        if let Some(once) = &self.once {
            // Numbers are always JSON.
            let stored = serde_json::to_vec(&delivered).ok();
            once.finish(stored.map(|body| Stored { status: 200, body: body.into() }));
        }
        // Nobody waiting any more is no fault.
        let _ = self.sender.send(delivered);
    }
}

impl Handle {
    /// Publishes a batch: all of it, or nothing. The answer is, for each publication, the number of connections of this
    /// node that it is handed to. Publications of one batch for one selector arrive in their order.
    ///
    /// # Errors
    /// As [`Handle::publish_to`] of each, told with the place of the first that is wrong, counted from 0; or if the batch is
    /// empty, or has more than 1,000 publications.
    pub fn publish_batch(&self, batch: Batch) -> Result<Answer<Vec<u32>>, HandleError> {
        self.check_batch(&batch)?;
        let (sender, answer) = Answer::channel();
        self.publish_all(batch, Teller { sender, once: None });
        Ok(answer)
    }

    /// Publishes a batch once: given again with the same key within 10 minutes, it is answered as the first time, and
    /// nothing is published. A key is 1 to 255 visible ASCII characters. Keys that come over HTTP are others, but all are
    /// kept in one table, within its bounds (100,000 keys, 64 MiB).
    ///
    /// ```no_run
    /// # fn example(handle: &fanwire::Handle) -> Result<(), Box<dyn std::error::Error>> {
    /// use fanwire::{Batch, model::Selector};
    ///
    /// let batch = Batch::new()
    ///     .add(Selector::room("orders"), "paid", &7)?
    ///     .add(Selector::user("ann"), "thanks", &"for order 7")?;
    /// let delivered = handle.publish_once("order-7-paid", batch)?.wait()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Handle::publish_batch`]; or if the key is invalid, was given to another batch, or its batch is being published.
    pub fn publish_once(&self, key: &str, batch: Batch) -> Result<Answer<Vec<u32>>, HandleError> {
        api::check_key(key.as_bytes())?;
        self.check_batch(&batch)?;
        // Every field in its own quotes, so that no two batches have one text.
        let text = format!("{:?}", batch.publications);
        let (sender, answer) = Answer::channel();
        let node = self.shared();
        let now_ms = node.clock.now().ms();
        let mut table = node.idempotency.lock().unwrap_or_else(PoisonError::into_inner);
        let claim = table.claim(now_ms, CALLER, key, "", text.as_bytes());
        drop(table);
        match claim {
            Claim::New(number) => {
                let once = Once { node: Arc::downgrade(node), number, key: key.to_owned() };
                self.publish_all(batch, Teller { sender, once: Some(once) });
            }
            Claim::Done(stored) => {
                // The caller has the other end.
                let _ = sender.send(serde_json::from_slice(&stored.body)?);
            }
            Claim::Running => return Err(HandleError::Running),
            Claim::Other => return Err(HandleError::OtherBatch),
        }
        Ok(answer)
    }

    fn check_batch(&self, batch: &Batch) -> Result<(), HandleError> {
        if !(1..=BATCH_MAX).contains(&batch.len()) {
            return Err(HandleError::Batch(batch.len()));
        }
        batch.publications.iter().enumerate().try_for_each(|(index, publication)| {
            let checked = self.check(&publication.to, &publication.event);
            checked.map_err(|error| HandleError::InBatch(index, Box::new(error)))
        })
    }

    fn publish_all(&self, batch: Batch, teller: Teller) {
        let missing = batch.len();
        let gathering = Gathering { delivered: vec![0; missing], missing, teller: Some(teller) };
        let gathering = Arc::new(Mutex::new(gathering));
        for (index, Publication { to, event, data, whole }) in batch.publications.into_iter().enumerate() {
            let (shard, gathering) = (self.shard_for(&to), gathering.clone());
            let reply = Box::new(move |delivered| {
                let taken = gathering.lock().unwrap_or_else(PoisonError::into_inner).take(index, delivered);
                if let Some((teller, delivered)) = taken {
                    teller.tell(delivered);
                }
            });
            self.shared().post(shard, Request::Publish { to: Box::new(to), event, data, whole, reply });
        }
    }
}
