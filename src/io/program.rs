//! Where code of the embedding program runs that may take its time: on threads of its own, never on a shard's.
//!
//! What runs there has places, in number and in bytes, which it holds until it has really ended: code that blocks or
//! never ends keeps its own places and nothing else.

use crate::config::{HookEvent, HookSettings};
use crate::metrics::{HookMetrics, HookOutcome};
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::runtime::{self, Runtime};
use tokio::task::JoinHandle;

/// Threads of the program's own runtime: several, so that code which blocks by mistake leaves others to run. Code that
/// has to block belongs to `spawn_blocking`, which has [`BLOCKING_THREADS`].
const THREADS: usize = 4;

/// Threads for code that blocks. They start when they are needed and end when they are not.
const BLOCKING_THREADS: usize = 64;

/// The program's place to run.
pub struct Program {
    settings: HookSettings,
    metrics: Arc<HookMetrics>,
    places: Arc<Places>,
    /// The way to [`Program::own`], or a runtime that the program has given.
    runtime: OnceLock<runtime::Handle>,
    own: Mutex<Option<Runtime>>,
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
    pub fn new(settings: &HookSettings, runtime: Option<runtime::Handle>) -> Arc<Self> {
        let metrics = Arc::new(HookMetrics::new(&HookEvent::LABELS));
        let places = Places { metrics: metrics.clone(), taken: Mutex::default(), empty: Condvar::new() };
        Arc::new(Self {
            settings: settings.clone(),
            metrics,
            places: Arc::new(places),
            runtime: runtime.map_or_else(OnceLock::new, OnceLock::from),
            own: Mutex::default(),
        })
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
    }

    /// How long a decision may take.
    pub fn timeout(&self) -> Duration {
        self.settings.timeout
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

    fn program(queue_max: u32, queue_bytes_max: usize) -> Arc<Program> {
        let timeout = Duration::from_secs(60);
        let settings = HookSettings { queue_max, queue_bytes_max, timeout, ..HookSettings::default() };
        Program::new(&settings, None)
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
