//! Starts the load threads and leads them through a run.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, anyhow, bail};

use crate::cli::{Client, Common, Times};
use crate::clock::{MILLI_NS, SECOND_NS, now_ns, seconds_ns};
use crate::engine::{Engine, Handler, Wake};
use crate::io::Fields;
use crate::pacer;
use crate::process;
use crate::progress::Progress;
use crate::schedule::Schedule;
use crate::second::Second;
use crate::stage::{Stage, interrupted};
use crate::target::Target;
use crate::token::Tokens;
use crate::watch::{Cost, Sample};

/// Files of this process besides its connections.
const OTHER_FILES: u64 = 100;

/// From the moment all is settled to the first message.
const LEAD_NS: u64 = 20 * MILLI_NS;

/// How often a watched server's memory is looked at.
const LOOK_NS: u64 = 100 * MILLI_NS;

/// Memory is steady when it moved less than one part of this ...
const STEADY_PARTS: u64 = 500;

/// ... over this time.
const STEADY_NS: u64 = SECOND_NS;

/// What one load thread does.
pub trait Work: Handler + Send + 'static {
    /// What it saw.
    type Seen: Send + 'static;
    /// Its send times, when they are fixed in advance.
    fn schedule(&self, start_ns: u64) -> Option<Schedule>;
    /// Called once, after the loop.
    fn finish(self) -> Self::Seen;
}

/// The client of one load thread.
enum Carrier {
    Own(Box<Engine>),
    Second(Second),
}

impl Carrier {
    fn new(client: Client, target: Arc<Target>, fields: Fields, thread: u32) -> Result<(Self, Wake)> {
        Ok(match client {
            Client::Own => {
                let engine = Engine::new(target, fields, 0x9e37_79b9 ^ thread)?;
                let wake = engine.waker()?;
                (Self::Own(Box::new(engine)), wake)
            }
            Client::Fastwebsockets => {
                let second = Second::new(target, fields);
                let wake = second.waker();
                (Self::Second(second), wake)
            }
        })
    }

    fn run(self, handler: &mut impl Handler) -> Result<()> {
        match self {
            Self::Own(engine) => engine.run(handler),
            Self::Second(second) => second.run(handler),
        }
    }
}

/// One run.
pub struct Run<'a> {
    /// The options of all patterns.
    pub common: &'a Common,
    /// When to measure.
    pub times: Times,
    /// Connections at once, over all threads.
    pub connections: usize,
    /// Longest wait for steady memory before measuring, in seconds.
    pub steady_s: f64,
    /// The shared state.
    pub stage: Arc<Stage>,
}

/// What the main thread saw.
#[derive(Debug)]
pub struct Led {
    /// All connections joined or failed in time.
    pub settled: bool,
    /// Nanoseconds that took.
    pub settled_after_ns: u64,
    /// The server's memory was steady when measuring began.
    pub steady: bool,
    /// Resident memory of the server before the first connection, in bytes.
    pub rss_before_bytes: Option<u64>,
    /// The same with all connections there.
    pub rss_joined_bytes: Option<u64>,
    /// The largest seen while measuring.
    pub rss_max_bytes: Option<u64>,
    /// When publishing began, in nanoseconds of the run's clock.
    pub start_ns: u64,
    /// CPU and memory of the window.
    pub cost: Cost,
    /// Length of the window in nanoseconds.
    pub window_ns: u64,
    /// Everything owed came before the drain time was up.
    pub drained: bool,
}

impl Run<'_> {
    /// Runs one worker on each thread, from the first connection to the last.
    ///
    /// # Errors
    /// When the run cannot begin: a bad URL, a process id that is none, too few files.
    pub fn run<W: Work>(&self, workers: Vec<W>) -> Result<(Led, Vec<W::Seen>)> {
        let mut target = Target::parse(&self.common.url)?;
        target.spread(self.connections, self.common.sources)?;
        for pid in &self.common.pid {
            process::cpu(*pid)?;
        }
        let wanted = self.connections as u64 + OTHER_FILES;
        let granted = rlimit::increase_nofile_limit(wanted).context("the limit of open files")?;
        if granted < wanted {
            bail!("{} connections need {wanted} open files, the limit is {granted}", self.connections);
        }

        let target = Arc::new(target);
        let tokens = self.common.token_secret.as_deref().map(Tokens::new).transpose()?;
        let rss_before_bytes = self.rss();
        let (mut wakers, mut threads) = (Vec::new(), Vec::new());
        for (i, worker) in workers.into_iter().enumerate() {
            let fields = Fields { fixed: self.common.header.clone(), tokens: tokens.clone() };
            let (carrier, wake) = Carrier::new(self.common.client, target.clone(), fields, i as u32)?;
            wakers.push(wake);
            threads.push((carrier, worker));
        }
        // The schedules are made from copies of what the workers know, since those move away.
        let plans: Vec<_> = threads.iter().map(|(_, worker)| worker.schedule(0)).collect();
        let handles: Vec<_> = threads
            .into_iter()
            .enumerate()
            .map(|(i, (carrier, worker))| self.spawn(i, carrier, worker))
            .collect();
        let led = self.lead(rss_before_bytes, plans, wakers, || handles.iter().any(JoinHandle::is_finished));
        self.stage.finish.store(true, Relaxed);
        let mut seen = Vec::new();
        for handle in handles {
            seen.push(handle.join().map_err(|_| anyhow!("a load thread panicked"))??);
        }
        Ok((led, seen))
    }

    fn spawn<W: Work>(&self, thread: usize, carrier: Carrier, mut worker: W) -> JoinHandle<Result<W::Seen>> {
        let stage = self.stage.clone();
        let pins = &self.common.pin;
        let core = (!pins.is_empty()).then(|| pins[thread % pins.len()]);
        std::thread::spawn(move || {
            if let Some(id) = core
                && !core_affinity::set_for_current(core_affinity::CoreId { id })
            {
                bail!("cannot pin to core {id}");
            }
            stage.threads.register();
            carrier.run(&mut worker)?;
            Ok(worker.finish())
        })
    }

    fn rss(&self) -> Option<u64> {
        process::rss_of(&self.common.pid, process::rss_bytes)
    }

    /// `broken` tells that a load thread ended too soon, which only its join explains.
    fn lead(
        &self,
        rss_before_bytes: Option<u64>,
        plans: Vec<Option<Schedule>>,
        wakers: Vec<Wake>,
        broken: impl Fn() -> bool,
    ) -> Led {
        let (stage, threads) = (&self.stage, wakers.len());
        let progress = Progress::new(self.connections as u64);
        let began = now_ns();
        let deadline = began.saturating_add(seconds_ns(self.common.join_timeout));
        stage.wait(deadline, |stage| {
            progress.joining(stage.joined.load(Relaxed));
            stage.settled.load(Acquire) == threads || broken()
        });
        let settled = stage.settled.load(Acquire) == threads;
        let settled_after_ns = now_ns() - began;
        let steady = settled && self.wait_steady(&progress);
        let rss_joined_bytes = self.rss();
        let mut led = Led {
            settled,
            settled_after_ns,
            steady,
            rss_before_bytes,
            rss_joined_bytes,
            rss_max_bytes: None,
            start_ns: 0,
            cost: Cost::default(),
            window_ns: 0,
            drained: false,
        };
        if settled && !broken() {
            self.measure(&mut led, &progress, plans, wakers, broken);
        }
        led
    }

    fn measure(
        &self,
        led: &mut Led,
        progress: &Progress,
        plans: Vec<Option<Schedule>>,
        wakers: Vec<Wake>,
        broken: impl Fn() -> bool,
    ) {
        let (stage, threads) = (&self.stage, wakers.len());
        let start_ns = now_ns() + LEAD_NS;
        let (warmup_ns, duration_ns) = (seconds_ns(self.times.warmup), seconds_ns(self.times.duration));
        led.start_ns = start_ns;
        stage.set_start(start_ns, warmup_ns, duration_ns);
        for (plan, waker) in plans.into_iter().zip(wakers) {
            if let Some(schedule) = plan {
                pacer::spawn(schedule.starting_at(start_ns), stage.clone(), waker);
            }
        }
        let watch = |stage: &Stage| {
            progress.running(stage.delivered.load(Relaxed));
            broken()
        };
        stage.wait(start_ns + warmup_ns, watch);
        let first = Sample::take(&self.common.pid, stage);
        let mut looked_ns = 0;
        stage.wait(start_ns + warmup_ns + duration_ns, |stage| {
            if now_ns() > looked_ns + LOOK_NS {
                looked_ns = now_ns();
                let rough = process::rss_of(&self.common.pid, process::rss_rough_bytes);
                led.rss_max_bytes = led.rss_max_bytes.max(rough);
            }
            watch(stage)
        });
        let last = Sample::take(&self.common.pid, stage);
        if interrupted() {
            stage.window_end_ns.fetch_min(now_ns(), Relaxed);
        }
        let window = stage.window();
        led.window_ns = window.end.saturating_sub(window.start).max(1);
        led.cost = Cost::between(&first, &last);
        led.rss_max_bytes = led.rss_max_bytes.max(last.rss_bytes);

        let drain_ns = || now_ns().saturating_add(seconds_ns(self.common.drain));
        stage.wait_always(drain_ns(), |stage| stage.published.load(Acquire) == threads || broken());
        stage.drain.store(true, Release);
        led.drained = stage.wait_always(drain_ns(), |stage| {
            progress.draining();
            broken() || stage.missing.iter().all(|missing| missing.load(Acquire) == 0)
        });
    }

    /// Waits until the server's memory stays where it is.
    fn wait_steady(&self, progress: &Progress) -> bool {
        let deadline = now_ns().saturating_add(seconds_ns(self.steady_s));
        let Some(mut held) = self.rss().filter(|_| self.steady_s > 0.0) else { return true };
        let (mut since, mut looked_ns) = (now_ns(), now_ns());
        self.stage.wait(deadline, |_| {
            progress.settling();
            if now_ns() > looked_ns + LOOK_NS {
                looked_ns = now_ns();
                let rss = self.rss().unwrap_or(held);
                if rss.abs_diff(held) > held / STEADY_PARTS {
                    (held, since) = (rss, now_ns());
                }
            }
            now_ns() > since + STEADY_NS
        })
    }
}
