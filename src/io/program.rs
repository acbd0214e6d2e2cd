//! Where code of the embedding program runs that may take its time: on threads of its own, never on a shard's.
//!
//! What runs there has places, in number and in bytes, which it holds until it has really ended: code that blocks keeps
//! its own places and nothing else. A decision that does not come in time is made without the callback, on a thread that
//! runs no code of the program, so that it is made even if all others are blocked.

use crate::base::Seldom;
use crate::config::{HookEvent, HookEvents, HookSettings, OnFailure};
use crate::metrics::{HookMetrics, HookOutcome};
use crate::model::hook::{Decision, HookAnswer, Question, Verdict};
use crate::webhook::in_place_of_backend;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Instant;
use tokio::runtime::{self, Runtime};
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinHandle};

/// Threads of the program's own runtime: several, so that code which blocks by mistake leaves others to run. Code that
/// has to block belongs to `spawn_blocking`, which has [`BLOCKING_THREADS`].
const THREADS: usize = 4;

/// Threads for code that blocks. They start when they are needed and end when they are not.
const BLOCKING_THREADS: usize = 64;

/// A callback of the program: what it says to a question. Making the future runs no code of the program.
pub type Callback = Arc<dyn Fn(Arc<Question>) -> Pin<Box<dyn Future<Output = Verdict> + Send>> + Send + Sync>;

/// The callbacks of the program, one for each event.
#[derive(Default, Clone)]
pub struct Callbacks([Option<Callback>; HookEvent::ALL.len()]);

impl Callbacks {
    /// Sets the callback for an event; the last one set counts.
    pub fn set(&mut self, event: HookEvent, callback: Callback) {
        self.0[event.index()] = Some(callback);
    }

    /// The events that have one.
    pub fn events(&self) -> HookEvents {
        let named = HookEvent::ALL.into_iter().filter(|event| self.0[event.index()].is_some());
        named.fold(HookEvents::NONE, HookEvents::with)
    }
}

impl fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Callbacks").field(&self.events()).finish()
    }
}

/// The program's place to run.
pub struct Program {
    settings: HookSettings,
    callbacks: Callbacks,
    metrics: Arc<HookMetrics>,
    places: Arc<Places>,
    /// The way to [`Program::own`], or a runtime that the program has given.
    runtime: OnceLock<runtime::Handle>,
    own: Mutex<Option<Runtime>>,
    /// The thread on which decisions come to their end.
    watch: OnceLock<runtime::Handle>,
    ending: Arc<Notify>,
    failures: Arc<Failures>,
}

/// Which failures the log has told.
struct Failures {
    started: Instant,
    panics: Seldom,
    timeouts: Seldom,
}

impl Failures {
    fn panicked(&self, event: HookEvent) {
        if let Some(count) = self.panics.happened(self.started.elapsed().as_millis() as u64) {
            tracing::error!(event = event.name(), count, "callbacks of the program panicked");
        }
    }

    fn timed_out(&self, event: HookEvent) {
        if let Some(count) = self.timeouts.happened(self.started.elapsed().as_millis() as u64) {
            let event = event.name();
            tracing::warn!(event, count, "callbacks of the program did not decide within hook_timeout");
        }
    }
}

/// A question that a callback has. However the callback ends, there is an answer.
struct Asked {
    event: HookEvent,
    /// Until it is answered.
    waiting: Option<(Arc<Question>, HookAnswer)>,
    on_failure: OnFailure,
    metrics: Arc<HookMetrics>,
    failures: Arc<Failures>,
}

impl Asked {
    fn finish(&mut self, verdict: Verdict) {
        let outcome = match &verdict {
            Verdict::Decided(Decision::Refuse { .. }) => HookOutcome::Refused,
            Verdict::Decided(_) | Verdict::Replied(_) => HookOutcome::Ok,
            Verdict::Failed | Verdict::Unusable => HookOutcome::Failed,
        };
        self.finish_as(outcome, verdict);
    }

    fn finish_as(&mut self, outcome: HookOutcome, verdict: Verdict) {
        if let Some((question, answer)) = self.waiting.take() {
            self.metrics.count(self.event.index(), outcome);
            // The callback can have kept what it was given.
            answer(Arc::unwrap_or_clone(question), verdict);
        }
    }

    /// Finishes it where the callback does not.
    fn fail(&mut self, outcome: HookOutcome) {
        self.finish_as(outcome, in_place_of_backend(self.event, self.on_failure, false));
    }

    fn panicked(&mut self) {
        self.failures.panicked(self.event);
        self.finish(Verdict::Unusable);
    }

    /// Waits for a decision until its deadline.
    async fn wait(mut self, mut task: JoinHandle<Verdict>, deadline: Instant) {
        match tokio::time::timeout_at(deadline.into(), &mut task).await {
            Ok(Ok(verdict)) => self.finish(verdict),
            Ok(Err(error)) if JoinError::is_panic(&error) => {
                // What a panic carries can panic in its turn when it is dropped.
                std::mem::forget(error);
                self.panicked();
            }
            Ok(Err(_)) => self.fail(HookOutcome::Ended),
            Err(_) => {
                task.abort();
                self.failures.timed_out(self.event);
                self.fail(HookOutcome::Timeout);
            }
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if self.waiting.is_none() {
        } else if std::thread::panicking() {
            self.panicked();
        } else {
            self.fail(HookOutcome::Ended);
        }
    }
}

/// The places that are taken.
struct Places {
    metrics: Arc<HookMetrics>,
    taken: Mutex<Taken>,
    /// Told when no place is taken.
    empty: Condvar,
}

#[derive(Default)]
struct Taken {
    items: u64,
    bytes: u64,
}

/// A place, until it is dropped.
pub struct Place {
    places: Arc<Places>,
    bytes: u64,
}

impl Places {
    fn lock(&self) -> std::sync::MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows in the metrics what is taken.
    fn show(&self, taken: &Taken) {
        self.metrics.items.store(taken.items, Ordering::Relaxed);
        self.metrics.bytes.store(taken.bytes, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.items -= 1;
        taken.bytes -= self.bytes;
        self.places.show(&taken);
        if taken.items == 0 {
            self.places.empty.notify_all();
        }
    }
}

impl Program {
    /// No thread yet. With a runtime of the program, all runs there.
    pub fn new(settings: &HookSettings, callbacks: Callbacks, runtime: Option<runtime::Handle>) -> Arc<Self> {
        let metrics = Arc::new(HookMetrics::new(&HookEvent::LABELS));
        let places = Places { metrics: metrics.clone(), taken: Mutex::default(), empty: Condvar::new() };
        Arc::new(Self {
            settings: settings.clone(),
            callbacks,
            metrics,
            places: Arc::new(places),
            runtime: runtime.map_or_else(OnceLock::new, OnceLock::from),
            own: Mutex::default(),
            watch: OnceLock::new(),
            ending: Arc::default(),
            failures: Arc::new(Failures {
                started: Instant::now(),
                panics: Seldom::default(),
                timeouts: Seldom::default(),
            }),
        })
    }

    /// The events that have a callback.
    pub fn events(&self) -> HookEvents {
        self.callbacks.events()
    }

    /// Its counters.
    pub fn metrics(&self) -> &Arc<HookMetrics> {
        &self.metrics
    }

    /// Starts the threads, unless they run.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn start(&self) -> std::io::Result<()> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if self.watch.get().is_none()
            && HookEvent::ALL.iter().any(|e| e.is_decision() && self.events().has(*e))
        {
            let runtime = runtime::Builder::new_current_thread().enable_time().build()?;
            // Nobody else sets it, as that needs the lock.
            let _ = self.watch.set(runtime.handle().clone());
            let ending = self.ending.clone();
            std::thread::Builder::new()
                .name("program-watch".to_owned())
                .spawn(move || runtime.block_on(ending.notified()))?;
        }
        if self.runtime.get().is_some() {
            return Ok(());
        }
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_name("program")
            .enable_all()
            .build()?;
        // Nobody else sets it, as that needs the lock.
        let _ = self.runtime.set(runtime.handle().clone());
        *own = Some(runtime);
        Ok(())
    }

    /// Takes a place for something of so many bytes. `None` if all are taken, which is counted.
    ///
    /// What nobody waits for has half of the places: clients can cause as much of it as they like, and must not keep
    /// others from joining.
    pub fn take_place(&self, event: HookEvent, bytes: usize) -> Option<Place> {
        let (bytes, share) = (bytes as u64, if event.is_decision() { 1 } else { 2 });
        let mut taken = self.places.lock();
        let fits = taken.items < u64::from(self.settings.queue_max.div_ceil(share))
            && taken.bytes + bytes <= self.settings.queue_bytes_max as u64 / u64::from(share);
        if !fits {
            self.metrics.count(event.index(), HookOutcome::QueueFull);
            return None;
        }
        taken.items += 1;
        taken.bytes += bytes;
        self.places.show(&taken);
        Some(Place { places: self.places.clone(), bytes })
    }

    /// Runs something to its end. It is dropped unfinished if the threads do not run, or not any more.
    pub fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Option<JoinHandle<T>> {
        Some(self.runtime.get()?.spawn(future))
    }

    /// Asks or tells a callback. `answer` is called once, on whatever thread; at once if all places are taken, and
    /// for a decision within `hook_timeout`.
    pub fn ask(&self, question: Question, answer: HookAnswer) {
        let event = question.what.event();
        let Some(callback) = &self.callbacks.0[event.index()] else {
            return answer(question, Verdict::Failed);
        };
        let Some(place) = self.take_place(event, question.len_bytes()) else {
            return answer(question, in_place_of_backend(event, self.settings.on_failure, false));
        };
        let question = Arc::new(question);
        let future = callback(question.clone());
        let mut asked = Asked {
            event,
            waiting: Some((question, answer)),
            on_failure: self.settings.on_failure,
            metrics: self.metrics.clone(),
            failures: self.failures.clone(),
        };
        let decide = async move {
            let verdict = future.await;
            // Before the answer, which may bring the next question.
            drop(place);
            verdict
        };
        if !event.is_decision() {
            self.spawn(async move { asked.finish(decide.await) });
            return;
        }
        let deadline = Instant::now() + self.settings.timeout;
        if let (Some(task), Some(watch)) = (self.spawn(decide), self.watch.get()) {
            watch.spawn(asked.wait(task, deadline));
        }
    }

    /// Ends the threads of its own, once all places are free, or after `hook_timeout`. Blocks until then, but not for
    /// code that blocks. What is left is dropped at its next `await`.
    pub fn finish(&self) {
        let taken = self.places.lock();
        let is_busy = |taken: &mut Taken| taken.items > 0;
        let wait = self.places.empty.wait_timeout_while(taken, self.settings.timeout, is_busy);
        let left = wait.unwrap_or_else(PoisonError::into_inner).0.items;
        if left > 0 {
            tracing::warn!(count = left, "the server ends before all callbacks of the program have ended");
        }
        self.end();
    }

    /// Ends the threads of its own without waiting.
    fn end(&self) {
        if let Some(runtime) = self.own.lock().unwrap_or_else(PoisonError::into_inner).take() {
            runtime.shutdown_background();
        }
        self.ending.notify_one();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // To drop a runtime is to wait for it, which a thread of a runtime must not do.
        self.end();
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("started", &self.runtime.get().is_some()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn program(queue_max: u32, queue_bytes_max: usize) -> Arc<Program> {
        let timeout = Duration::from_secs(60);
        let settings = HookSettings { queue_max, queue_bytes_max, timeout, ..HookSettings::default() };
        Program::new(&settings, Callbacks::default(), None)
    }

    #[test]
    fn places_are_bounded_in_number_and_in_bytes_and_notices_have_half_of_them() {
        let program = program(4, 1000);
        let take = |event, bytes| program.take_place(event, bytes);
        let notices = [take(HookEvent::Message, 1), take(HookEvent::Disconnect, 1)];
        assert!(notices.iter().all(Option::is_some));
        assert!(take(HookEvent::Message, 1).is_none(), "half of 4");
        let decisions = [take(HookEvent::Join, 1), take(HookEvent::Publish, 1)];
        assert!(decisions.iter().all(Option::is_some) && take(HookEvent::Join, 1).is_none());
        drop((notices, decisions));
        assert!(take(HookEvent::Message, 501).is_none(), "half of 1,000 bytes");
        let all = take(HookEvent::Join, 1000);
        assert!(all.is_some() && take(HookEvent::Join, 1).is_none());
        drop(all);
        let metrics = program.metrics();
        assert_eq!([&metrics.items, &metrics.bytes].map(|gauge| gauge.load(Ordering::Relaxed)), [0, 0]);
        let refused: u64 =
            metrics.outcomes().filter(|(_, outcome, _)| *outcome == "queue_full").map(|(.., n)| n).sum();
        assert_eq!(refused, 4);
    }

    #[test]
    fn the_end_waits_for_what_runs() {
        let program = program(4, 1000);
        program.start().unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let place = program.take_place(HookEvent::Disconnect, 1).unwrap();
        let (release, held) = tokio::sync::oneshot::channel::<()>();
        let task = program.spawn(async move {
            let _ = held.await;
            sender.send(()).unwrap();
            drop(place);
        });
        assert!(task.is_some());
        let other = program.clone();
        let end = std::thread::spawn(move || other.finish());
        drop(release);
        end.join().unwrap();
        assert_eq!(receiver.try_recv(), Ok(()), "it ran to its end first");
    }

    #[test]
    fn the_last_owner_may_be_a_task_of_its_own() {
        let program = program(4, 1000);
        program.start().unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let (release, held) = tokio::sync::oneshot::channel::<()>();
        let owner = program.clone();
        program.spawn(async move {
            let _ = held.await;
            drop(owner);
            sender.send(()).unwrap();
        });
        drop(program);
        drop(release);
        assert_eq!(receiver.recv_timeout(Duration::from_secs(60)), Ok(()), "it does not wait for itself");
    }
}
