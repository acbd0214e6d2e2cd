//! `churn`: connect, join, leave and close, over and over.

use std::sync::Arc;

use anyhow::{Result, bail, ensure};

use super::parts;
use crate::churner::{ChurnPlan, Churner};
use crate::cli::Churn;
use crate::clock::{SECOND_NS, seconds_ns};
use crate::report::{Report, Unit};
use crate::run::Run;
use crate::stage::{Stage, interrupted};

/// Runs it.
///
/// # Errors
/// When the run cannot begin.
pub fn run(options: &Churn) -> Result<Report> {
    let common = &options.common;
    parts::check_times(options.times)?;
    ensure!(options.concurrency > 0, "--concurrency must be at least 1");
    ensure!(options.rate.is_none_or(|rate| rate > 0.0 && rate.is_finite()), "--rate must be more than 0");
    // A thread without a place for a cycle would leave its share of the schedule undone.
    let threads = common.threads().min(options.concurrency);
    let plan = Arc::new(ChurnPlan {
        templates: common.templates(),
        room_prefix: common.room_prefix.clone(),
        rooms: options.rooms,
        rate: options.rate,
        concurrency: options.concurrency.div_ceil(threads),
        timeout_ns: seconds_ns(options.cycle_timeout),
        threads,
    });
    let stage = Arc::new(Stage::new(0, threads));
    let workers = (0..threads).map(|thread| Churner::new(plan.clone(), stage.clone(), thread)).collect();
    let run =
        Run { common, times: options.times, connections: plan.concurrency * threads, steady_s: 0.0, stage };
    let (led, seen) = run.run(workers)?;
    let mut seen = seen.into_iter();
    let Some(mut out) = seen.next() else { bail!("no load thread") };
    seen.for_each(|churned| out.merge(churned));

    let drive = options.rate.map_or("flat out".to_owned(), |rate| format!("{rate} cycles/s"));
    let title = format!(
        "churn {}: {} at once, {drive}, {} rooms, {} s",
        common.url, options.concurrency, options.rooms, options.times.duration
    );
    let mut report = Report::new("churn", title);
    const CYCLES: &str = "cycles";
    let failed: u64 = out.failures.values().sum();
    let seconds = led.window_ns as f64 / SECOND_NS as f64;
    report.add(CYCLES, "per_s", "rate", out.window_cycles as f64 / seconds, Unit::PerSecond);
    report.add(CYCLES, "completed", "completed, whole run", out.cycles as f64, Unit::Count);
    report.add(CYCLES, "failed", "failed", failed as f64, Unit::Count);
    report.add(CYCLES, "missed", "due but not begun", out.missed as f64, Unit::Count);
    report.add_ends(CYCLES, "failures", "why they failed", &out.failures);
    report.add_ends(CYCLES, "ends", "closed by the server", &out.ends);
    report.add_times("cycle time", &out.cycle_ns);
    report.add_times("connect and join", &out.join_ns);
    parts::server(&mut report, &led, Some("cycle"));
    parts::load_tool(&mut report, &led, Some("cycle"), options.rate.map(|_| &out.lateness_ns));
    if failed > 0 {
        report.problem(format!("{failed} cycles failed"));
    }
    if out.missed > 0 {
        report.note(format!("{} cycles were due but not begun: all --concurrency was taken", out.missed));
    }
    if out.window_cycles == 0 {
        report.problem("no cycle was completed while measuring".into());
    }
    if interrupted() {
        report.note("interrupted: the run is shorter than asked for".into());
    }
    Ok(report)
}
