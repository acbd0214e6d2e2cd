//! Runs seeds, on all cores, and tells of the first that fails.

use super::trace::Trace;
use super::world::World;
use std::any::Any;
use std::cell::Cell;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Seeds run where nothing else is asked for: on two cores with nothing else to do, about twenty seconds.
const SEEDS: u64 = 3000;

/// A run that takes longer than that never ends. Most take a hundredth of a second.
const RUN_TIME_MAX: Duration = Duration::from_secs(120);

const AGAIN: &str = "cargo test --test simulation every_seed_holds";

thread_local! {
    /// A panic here is an outcome that is told later, once, with all that belongs to it.
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// What a run ends with, as a panic, where two things that differ in what follows cannot be told apart from outside.
pub struct Undecided;

/// Runs something whose panic is an outcome: that and where it was.
pub fn outcome_of(run: impl FnOnce()) -> Result<(), (Box<dyn Any + Send>, String)> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if EXPECTED.get() {
                PLACE.with_borrow_mut(|place| {
                    *place = info.location().map_or(String::new(), ToString::to_string)
                });
            } else {
                usual(info);
            }
        }));
    });
    EXPECTED.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(run));
    EXPECTED.set(false);
    outcome.map_err(|panic| (panic, PLACE.with_borrow(Clone::clone)))
}

/// What a panic says.
pub fn words(panic: &(dyn Any + Send)) -> &str {
    let what = panic.downcast_ref::<String>().map(String::as_str);
    what.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words")
}

/// Runs one seed: the number of lines of its trace and their hash, or what failed.
pub fn run(seed: u64) -> Result<(u64, u64), String> {
    let _watched = Watched::new(seed);
    let trace = Arc::new(Mutex::new(Trace::default()));
    let mut plan = String::new();
    let outcome = outcome_of(|| {
        let mut world = World::new(seed, trace.clone());
        plan = world.plan.to_string();
        world.run();
    });
    let trace = trace.lock().unwrap_or_else(PoisonError::into_inner);
    let Err((panic, place)) = outcome else { return Ok(trace.fingerprint) };
    if panic.is::<Undecided>() {
        return Ok(trace.fingerprint);
    }
    let what = words(&*panic);
    Err(format!(
        "{plan}\n{}\nseed {seed}: {what}\n  at {place}\nagain: FANWIRE_SIMULATION_SEED={seed} {AGAIN}",
        trace.tail()
    ))
}

thread_local! {
    static PLACE: std::cell::RefCell<String> = const { std::cell::RefCell::new(String::new()) };
}

/// The runs under way, and when they began. A shard that never returns cannot be stopped from outside, so that the
/// whole process is ended then, with the seed in its last words.
static UNDER_WAY: Mutex<Vec<(u64, Instant)>> = Mutex::new(Vec::new());

struct Watched(u64);

impl Watched {
    fn new(seed: u64) -> Self {
        static WATCH: Once = Once::new();
        WATCH.call_once(|| drop(std::thread::spawn(watch)));
        UNDER_WAY.lock().unwrap().push((seed, Instant::now()));
        Self(seed)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut under_way = UNDER_WAY.lock().unwrap();
        if let Some(at) = under_way.iter().position(|(seed, _)| *seed == self.0) {
            under_way.swap_remove(at);
        }
    }
}

fn watch() {
    loop {
        std::thread::sleep(RUN_TIME_MAX / 10);
        let endless =
            UNDER_WAY.lock().unwrap().iter().find(|(_, began)| began.elapsed() > RUN_TIME_MAX).copied();
        if let Some((seed, _)) = endless {
            // Not `eprintln`, which the test runner would keep for a test that ends.
            let _ = writeln!(
                std::io::stderr(),
                "seed {seed}: does not end\nagain: FANWIRE_SIMULATION_SEED={seed} {AGAIN}"
            );
            std::process::exit(101);
        }
    }
}

/// Runs what the environment asks for.
///
/// # Panics
/// If a seed fails.
pub fn run_as_asked() {
    let number = |name: &str| {
        let value = std::env::var(name).ok()?;
        Some(value.parse::<u64>().unwrap_or_else(|_| panic!("{name}={value} is no number")))
    };
    let forever = Duration::from_secs(1 << 40);
    let (first, count, time) = if let Some(seed) = number("FANWIRE_SIMULATION_SEED") {
        (seed, 1, forever)
    } else if let Some(seconds) = number("FANWIRE_SIMULATION_SECONDS") {
        // Every night its own seeds, far from those that are always run.
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        (since.as_nanos() as u64, u64::MAX, Duration::from_secs(seconds))
    } else {
        (0, number("FANWIRE_SIMULATION_SEEDS").unwrap_or(SEEDS), forever)
    };
    let began = Instant::now();
    let next = AtomicU64::new(0);
    let failed = AtomicBool::new(false);
    let failure = Mutex::new(None);
    let work = || {
        while began.elapsed() < time && !failed.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                break;
            }
            if let Err(text) = run(first.wrapping_add(index)) {
                failed.store(true, Ordering::Relaxed);
                failure.lock().unwrap().get_or_insert(text);
            }
        }
    };
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        (0..cores).for_each(|_| drop(scope.spawn(work)));
    });
    let done = next.load(Ordering::Relaxed).min(count);
    let rate = done as f64 / began.elapsed().as_secs_f64();
    if let Some(failure) = failure.into_inner().unwrap() {
        panic!("{failure}");
    }
    println!("{done} seeds from {first} on hold ({rate:.0} a second)");
}
