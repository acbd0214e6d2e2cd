//! The backend hook: one thread that POSTs what shards and HTTP tasks ask, and brings the answers back.
//!
//! A thread of its own, so that no shard waits for JSON, TLS or names, and so that the bounds (requests at once, what
//! waits, the breakers) are the node's and not a shard's. What goes when is decided by [`crate::webhook::Line`], what
//! an answer means by [`crate::webhook::judge`].
//!
//! A request can arrive at the backend twice, when the kept connection that it went by ends before a byte of the answer
//! comes. That is right for decisions too: a question changes nothing, both copies have one id and one signed time,
//! and a backend that remembers ids sees that it is one. The alternative is a no to a client that may come in.

pub(in crate::io) mod connect;
mod worker;

use crate::config::{HookEvent, HookSettings, OnFailure};
use crate::io::client::http_client::{ClientLimits, ClientUrlError, HttpClient};
use crate::metrics::{HookMetrics, HookOutcome};
use crate::model::hook::{HookAnswer, Question, Verdict, What};
use crate::webhook::{ANSWER_BYTES_MAX, LineLimits, Source, in_place_of_backend};
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{Notify, mpsc};

/// The way to the backend, for any thread.
pub struct Hook {
    settings: HookSettings,
    metrics: Arc<HookMetrics>,
    sender: mpsc::Sender<Job>,
    ending: Arc<Notify>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// One question on its way. However it ends, whoever waits is answered.
struct Job {
    question: Option<Question>,
    event: HookEvent,
    answer: Option<HookAnswer>,
    on_failure: OnFailure,
    /// When a decision is due.
    deadline: Instant,
    /// The request's body, once it was sent; its time and signature are new each time.
    body: bytes::Bytes,
    delivery: String,
    /// Whose failures count once.
    source: Source,
    /// When it happened.
    unix_ms: u64,
    /// How often it was sent.
    sent: u32,
    charge: Option<Charge>,
}

/// What a job takes of the node's bounds, for as long as it lives.
struct Charge {
    metrics: Arc<HookMetrics>,
    bytes: u64,
}

impl Charge {
    /// Takes what a question needs. `None` if there is no room for it.
    ///
    /// Notices have half of the room: clients can make as many as they like, and shall not keep others from joining.
    fn take(
        metrics: &Arc<HookMetrics>,
        bytes: u64,
        settings: &HookSettings,
        is_decision: bool,
    ) -> Option<Self> {
        let share = if is_decision { 1 } else { 2 };
        let items = metrics.items.fetch_add(1, Ordering::Relaxed) + 1;
        let all_bytes = metrics.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        // Given back by being dropped where it is too much.
        let charge = Self { metrics: metrics.clone(), bytes };
        let fits = items <= u64::from(settings.queue_max.div_ceil(share))
            && all_bytes <= settings.queue_bytes_max as u64 / u64::from(share);
        fits.then_some(charge)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.metrics.items.fetch_sub(1, Ordering::Relaxed);
        self.metrics.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Job {
    fn finish(&mut self, verdict: Verdict) {
        // Before the answer, which may bring the next question.
        self.charge = None;
        if let (Some(question), Some(answer)) = (self.question.take(), self.answer.take()) {
            answer(question, verdict);
        }
    }

    /// Finishes it where the backend does not; `answered` says whether that has answered, if only that it is away.
    fn fail(&mut self, answered: bool) {
        self.finish(in_place_of_backend(self.event, self.on_failure, answered));
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.fail(false);
    }
}

impl Hook {
    /// Starts the thread, for settings that have a URL.
    ///
    /// # Errors
    /// If the URL or the certificates are of no use, or the thread cannot be started.
    pub fn start(settings: &HookSettings) -> std::io::Result<Arc<Self>> {
        let concurrency = settings.concurrency as usize;
        let limits = ClientLimits {
            connect_timeout: settings.timeout,
            timeout: settings.timeout,
            body_bytes_max: ANSWER_BYTES_MAX,
            idle_max: concurrency,
        };
        let invalid = |error: ClientUrlError| {
            std::io::Error::new(std::io::ErrorKind::InvalidInput, format!("hook_url: {error}"))
        };
        let client = HttpClient::new(&settings.url, limits).map_err(invalid)?;
        let metrics = Arc::new(HookMetrics::new(&HookEvent::LABELS));
        // As large as what may wait, so that sending never finds it full.
        let (sender, receiver) = mpsc::channel(settings.queue_max as usize);
        let ending = Arc::new(Notify::new());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let line = LineLimits {
            concurrency,
            breaker_failures: settings.breaker_failures,
            breaker_pause: settings.breaker_pause,
        };
        let worker = worker::Worker::new(settings.clone(), client, metrics.clone(), line);
        let of_worker = ending.clone();
        let thread = std::thread::Builder::new()
            .name("hook".to_owned())
            .spawn(move || runtime.block_on(worker.run(receiver, of_worker)))?;
        Ok(Arc::new(Self {
            settings: settings.clone(),
            metrics,
            sender,
            ending,
            thread: Mutex::new(Some(thread)),
        }))
    }

    /// Whether the backend wants to hear of an event.
    pub fn wants(&self, event: HookEvent) -> bool {
        self.settings.events.has(event)
    }

    /// What is configured.
    pub fn settings(&self) -> &HookSettings {
        &self.settings
    }

    /// Its counters.
    pub fn metrics(&self) -> &Arc<HookMetrics> {
        &self.metrics
    }

    /// Asks or tells the backend. `answer` is called once, on whatever thread; at once if too much waits already. Of a
    /// head only the configured fields are sent.
    pub fn ask(&self, mut question: Question, answer: HookAnswer) {
        if let What::Connect { headers, .. } = &mut question.what {
            headers.retain(|(name, _)| self.settings.headers.contains(name));
        }
        let event = question.what.event();
        let on_failure = self.settings.on_failure;
        let bytes = question.len_bytes() as u64;
        let Some(charge) = Charge::take(&self.metrics, bytes, &self.settings, event.is_decision()) else {
            self.metrics.count(event.index(), HookOutcome::QueueFull);
            return answer(question, in_place_of_backend(event, on_failure, false));
        };
        let delivery = uuid::Uuid::new_v4().to_string();
        let source = Source::new(question.subject.ip, question.subject.connection, &delivery);
        let job = Job {
            question: Some(question),
            event,
            answer: Some(answer),
            on_failure,
            deadline: Instant::now() + self.settings.timeout,
            body: bytes::Bytes::new(),
            delivery,
            source,
            unix_ms: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64,
            sent: 0,
            charge: Some(charge),
        };
        // A job that is not taken is dropped, and so answered.
        if let Err(error) = self.sender.try_send(job) {
            let outcome = match error {
                mpsc::error::TrySendError::Full(_) => HookOutcome::QueueFull,
                mpsc::error::TrySendError::Closed(_) => HookOutcome::Ended,
            };
            self.metrics.count(event.index(), outcome);
        }
    }

    /// Ends the thread, once what waits was sent, or after `hook_timeout`. Blocks until then.
    pub fn finish(&self) {
        self.ending.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the hook panicked");
        }
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook").field("settings", &self.settings).finish_non_exhaustive()
    }
}
