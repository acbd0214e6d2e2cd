//! Instruction counts of the hot path, by callgrind: the same on every run, however busy the machine is.
//!
//! ```text
//! cargo bench --bench instructions             # measure all, compare with the kept counts, fail over the tolerance
//! cargo bench --bench instructions -- publish  # only those whose name has `publish` in it
//! cargo bench --bench instructions -- --save   # measure all and keep the counts in benches/instructions.json
//! ```
//!
//! The bench runs itself under valgrind once per case; only what happens inside [`measured`] is counted. Counts are
//! of one pass over the case's work and are told per unit of it: a frame, a delivery, a message, a cycle. The cases of
//! `worst` have a bound besides: what one connection may make the others wait for.

#[path = "instructions/cases.rs"]
mod cases;
#[path = "instructions/world.rs"]
mod world;
#[path = "instructions/worst.rs"]
mod worst;

use cases::Case;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How far a count may be over the kept one, in percent. The library's own `memcpy` differs between processors, and
/// the compiler's choices between its versions; what costs users something is more than this.
const TOLERANCE_PERCENT: f64 = 5.0;

/// Says to the child which case it is to run.
const CASE_VARIABLE: &str = "FANWIRE_BENCH_CASE";

fn main() -> ExitCode {
    if let Ok(name) = std::env::var(CASE_VARIABLE) {
        let case = all().find(|case| case.name == name).expect("the parent knows the names");
        (case.run)();
        return ExitCode::SUCCESS;
    }
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let save = args.iter().any(|arg| arg == "--save");
    let filter = args.iter().find(|arg| !arg.starts_with("--"));
    if Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("left out: instruction counts: needs valgrind");
        return ExitCode::SUCCESS;
    }
    let kept = kept_counts();
    let mut counts = BTreeMap::new();
    let mut over = 0;
    println!("{:<28} {:>14} {:>12} {:>9}", "case", "instructions", "kept", "change");
    let chosen: Vec<_> =
        all().filter(|case| filter.is_none_or(|filter| case.name.contains(filter.as_str()))).collect();
    for (case, count) in chosen.iter().zip(count_all(&chosen)) {
        let count = count / case.units as f64;
        counts.insert(case.name.to_owned(), (count * 10.0).round() / 10.0);
        let change = kept.get(case.name).map(|kept| (count / kept - 1.0) * 100.0);
        let shown = |value: Option<f64>, unit: &str| {
            value.map_or_else(|| "-".to_owned(), |v| format!("{v:.1}{unit}"))
        };
        let is_too_long = case.name.starts_with("worst_") && count > worst::MOST;
        let is_over = change.is_some_and(|change| change > TOLERANCE_PERCENT) || is_too_long;
        let mark = if is_over { "  OVER" } else { "" };
        over += usize::from(!mark.is_empty());
        let (kept, change) = (shown(kept.get(case.name).copied(), ""), shown(change, " %"));
        println!("{:<28} {count:>14.1} {kept:>12} {change:>9}  per {}{mark}", case.name, case.unit);
    }
    if save {
        let text = serde_json::to_string_pretty(&counts).expect("names and numbers are JSON");
        std::fs::write(kept_path(), text + "\n").expect("the folder is ours");
        println!("kept in {}", kept_path().display());
    } else if over > 0 {
        println!(
            "{over} over the tolerance of {TOLERANCE_PERCENT} %, or over the bound of {:.0}",
            worst::MOST
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn all() -> impl Iterator<Item = &'static Case> {
    cases::CASES.iter().chain(worst::CASES)
}

/// Runs `work` where callgrind counts.
#[inline(never)]
pub fn measured<T>(work: impl FnOnce() -> T) -> T {
    std::hint::black_box(work())
}

/// The instructions of each case, counted on every processor at once: what else is busy changes no count.
fn count_all(cases: &[&Case]) -> Vec<f64> {
    let next = AtomicUsize::new(0);
    let counts: Vec<OnceLock<f64>> = cases.iter().map(|_| OnceLock::new()).collect();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(index) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&i| i < cases.len())
                {
                    counts[index].get_or_init(|| count(cases[index].name));
                }
            });
        }
    });
    counts.into_iter().map(|count| count.into_inner().expect("a thread took each")).collect()
}

/// Runs this very program under callgrind with one case; the instructions inside [`measured`].
fn count(case: &str) -> f64 {
    let this = std::env::current_exe().expect("a bench is a file");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*measured*"])
        .arg(this)
        .env(CASE_VARIABLE, case)
        .output()
        .expect("valgrind was there a moment ago");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{case}: {said}");
    let collected =
        said.lines().find_map(|line| line.split_once("Collected : ")).expect("callgrind tells a sum");
    let count: f64 = collected.1.trim().parse().expect("a number");
    assert!(count > 0.0, "{case}: nothing was measured");
    count
}

fn kept_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions.json")
}

fn kept_counts() -> BTreeMap<String, f64> {
    let text = std::fs::read_to_string(kept_path()).unwrap_or_else(|_| "{}".to_owned());
    serde_json::from_str(&text).expect("benches/instructions.json maps names to numbers")
}
