//! What one client that floods the server costs the others: round trips of quiet clients, without it and with it.

mod kinds;
mod link;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use hdrhistogram::Histogram;
use serde_json::json;
use thread_priority::{
    NormalThreadSchedulePolicy, RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

use crate::cli::Attack;
use crate::clock::{MILLI_NS, now_ns, seconds_ns};
use crate::target::Target;

pub use kinds::NAMES;
use link::Link;

/// Time between two round trips of one quiet client.
const PACE_NS: u64 = 10 * MILLI_NS;

/// Longest time that a quiet client waits for an answer before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(20);

/// How the kernel schedules attackers: any thread that becomes ready takes the processor from them at once. The lowest
/// priority of `nice` is not enough: a thread that wakes up waits for the end of the present time slice.
const ATTACKERS: ThreadSchedulePolicy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);

/// How the kernel schedules quiet clients: they take the processor from the server at once.
const QUIET_CLIENTS: ThreadSchedulePolicy =
    ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);

/// An attack that is under way, for those who make it.
pub struct Siege {
    pub target: Target,
    stop: AtomicBool,
    /// Messages, or whatever the kind counts, that the attackers have sent.
    pub sent: AtomicU64,
    /// Connections of the attackers that the server has refused or closed.
    pub closed: AtomicU64,
}

impl Siege {
    /// Whether the attackers go on.
    pub fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }
}

/// What the quiet clients saw, in nanoseconds.
struct Seen {
    round_trips: Histogram<u64>,
    /// The p99 of the client that waited longest: the shard that the attack reaches has some of the clients only.
    worst_p99_ns: u64,
    /// Round trips that did not come to an end, and connections that were refused.
    failures: u64,
}

impl Seen {
    fn new() -> Result<Self> {
        let round_trips = Histogram::new_with_bounds(1, 60 * 1000 * MILLI_NS, 3)?;
        Ok(Self { round_trips, worst_p99_ns: 0, failures: 0 })
    }
}

/// Measures without and with the attack, and prints both. True when the others hardly feel it.
///
/// # Errors
/// If the server cannot be reached.
pub fn run(options: &Attack) -> Result<bool> {
    let siege = Siege {
        target: Target::parse(&options.url)?,
        stop: AtomicBool::new(false),
        sent: AtomicU64::new(0),
        closed: AtomicU64::new(0),
    };
    let Some(kind) = kinds::find(&options.kind) else { bail!("--kind must be one of {}", NAMES.join(", ")) };
    (kind.prepare)(&siege).context("the attack cannot be prepared")?;
    let without = measure(&siege.target, options)?;
    let with = thread::scope(|scope| {
        for _ in 0..options.attackers {
            scope.spawn(|| {
                schedule(ATTACKERS);
                while siege.goes_on() {
                    // One that was closed comes again: that is what an attacker does.
                    let ended = (kind.attack)(&siege);
                    if siege.goes_on() {
                        siege.closed.fetch_add(1, Ordering::Relaxed);
                        thread::sleep(Duration::from_millis(if ended.is_ok() { 1 } else { 20 }));
                    }
                }
            });
        }
        // They are at it before anything is measured.
        thread::sleep(Duration::from_millis(200));
        let with = measure(&siege.target, options);
        siege.stop.store(true, Ordering::Relaxed);
        with
    })?;
    let ms = |seen: &Seen, share: f64| seen.round_trips.value_at_quantile(share) as f64 / MILLI_NS as f64;
    let worst_ms = |seen: &Seen| seen.worst_p99_ns as f64 / MILLI_NS as f64;
    let most = (options.ratio_max * worst_ms(&without)).min(options.p99_max_ms);
    let is_good = worst_ms(&with) <= most && with.failures == 0;
    let tell = |seen: &Seen| {
        json!({
            "round_trips": seen.round_trips.len(), "failures": seen.failures,
            "p50_ms": ms(seen, 0.5), "p99_ms": ms(seen, 0.99),
            "worst_p99_ms": worst_ms(seen), "max_ms": ms(seen, 1.0),
        })
    };
    let (sent, closed) = (siege.sent.into_inner(), siege.closed.into_inner());
    if options.json {
        let report = json!({
            "kind": options.kind, "sent": sent, "closed": closed, "good": is_good,
            "without": tell(&without), "with": tell(&with),
        });
        println!("{report}");
        return Ok(is_good);
    }
    println!(
        "{:<10} {:>12} {:>9} {:>9} {:>9} {:>13} {:>9}",
        "", "round trips", "failures", "p50 ms", "p99 ms", "worst p99 ms", "max ms"
    );
    for (name, seen) in [("without", &without), ("with", &with)] {
        let (count, failures) = (seen.round_trips.len(), seen.failures);
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| ms(seen, share));
        let worst = worst_ms(seen);
        println!("{name:<10} {count:>12} {failures:>9} {p50:>9.2} {p99:>9.2} {worst:>13.2} {max:>9.2}");
    }
    println!("{}: {sent} sent, {closed} connections closed; the worst p99 may be {most:.2} ms", options.kind);
    Ok(is_good)
}

/// Gives the calling thread a policy: it stands for another machine, so it must neither keep the server from the
/// processors of this one, nor wait for the server to leave them.
fn schedule(policy: ThreadSchedulePolicy) {
    // Only root may have what quiet clients ask for. For others the wait for the server's time slice is part of what
    // they measure.
    let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy);
}

/// Round trips of the quiet clients for the time of the options.
fn measure(target: &Target, options: &Attack) -> Result<Seen> {
    let end_ns = now_ns() + seconds_ns(options.duration);
    let mut all = Seen::new()?;
    let seen: Vec<Result<Seen>> = thread::scope(|scope| {
        let clients: Vec<_> = (0..options.clients)
            .map(|number| scope.spawn(move || round_trips(target, number, end_ns)))
            .collect();
        clients.into_iter().map(|client| client.join().expect("a client that does not panic")).collect()
    });
    for seen in seen {
        let seen = seen?;
        ensure!(seen.failures == 0 || !seen.round_trips.is_empty(), "a quiet client is not let in");
        all.worst_p99_ns = all.worst_p99_ns.max(seen.round_trips.value_at_quantile(0.99));
        all.round_trips.add(&seen.round_trips)?;
        all.failures += seen.failures;
    }
    Ok(all)
}

/// One quiet client: a ping at each of its times, and how long after that the answer came, however late it was sent.
fn round_trips(target: &Target, number: u32, end_ns: u64) -> Result<Seen> {
    let mut seen = Seen::new()?;
    schedule(QUIET_CLIENTS);
    let Ok(mut link) = Link::open(target, PATIENCE) else {
        seen.failures += 1;
        return Ok(seen);
    };
    let mut next_ns = now_ns() + u64::from(number) * MILLI_NS % PACE_NS;
    while next_ns < end_ns {
        thread::sleep(Duration::from_nanos(next_ns.saturating_sub(now_ns())));
        // What the server says of its own accord comes in between.
        let answered = link.say(r#"{"type":"ping"}"#).and_then(|()| link.wait_for("\"pong\""));
        if answered.is_err() {
            seen.failures += 1;
            break;
        }
        seen.round_trips.saturating_record(now_ns() - next_ns);
        next_ns += PACE_NS;
    }
    Ok(seen)
}
