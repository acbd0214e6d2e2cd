//! Parts that the reports and runs of several patterns share.

use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use hdrhistogram::Histogram;
use serde_json::json;

use crate::cli::{Common, Times};
use crate::clock::SECOND_NS;
use crate::machine::CoreUse;
use crate::members::Members;
use crate::outcome::ThreadOutcome;
use crate::plan::Plan;
use crate::process::Cpu;
use crate::report::{Report, Unit};
use crate::run::{Led, Run};
use crate::seats::Seat;
use crate::stage::{Stage, interrupted};
use crate::watch::BUSY_LIMIT;

/// Runs members on their seats.
///
/// # Errors
/// As [`Run::run`] and [`Members::new`].
pub fn run_members(
    common: &Common,
    times: Times,
    steady_s: f64,
    plan: Plan,
    seats: Vec<Vec<Seat>>,
) -> Result<(Led, ThreadOutcome)> {
    check_times(times)?;
    let plan = Arc::new(plan);
    let stage = Arc::new(Stage::new(plan.publishers_total, seats.len()));
    let connections = seats.iter().map(Vec::len).sum();
    let workers = seats.into_iter().enumerate();
    let workers = workers
        .map(|(thread, seats)| Members::new(plan.clone(), stage.clone(), thread, seats))
        .collect::<Result<Vec<_>>>()?;
    let run = Run { common, times, connections, steady_s, stage };
    let (led, seen) = run.run(workers)?;
    let mut seen = seen.into_iter();
    let Some(mut all) = seen.next() else { bail!("no load thread") };
    seen.for_each(|outcome| all.merge(outcome));
    Ok((led, all))
}

/// # Errors
/// When the times make no run.
pub fn check_times(times: Times) -> Result<()> {
    ensure!(times.duration > 0.0 && times.duration.is_finite(), "--duration must be more than 0");
    ensure!(times.warmup >= 0.0 && times.warmup.is_finite(), "--warmup must not be negative");
    Ok(())
}

/// Connections wanted, joined, failed.
pub fn connections(report: &mut Report, led: &Led, out: &ThreadOutcome) {
    const SECTION: &str = "connections";
    let joined = out.was_joined.iter().filter(|joined| **joined).count();
    report.add(SECTION, "wanted", "wanted", out.was_joined.len() as f64, Unit::Count);
    report.add(SECTION, "joined", "joined", joined as f64, Unit::Count);
    report.add(SECTION, "failed", "failed", out.failed as f64, Unit::Count);
    report.add(SECTION, "join_time_us", "time to join all", led.settled_after_ns as f64, Unit::Nanos);
    report.add_ends(SECTION, "failures", "why they failed", &out.failures);
    report.add_ends(SECTION, "ends", "ended early", &out.ends);
    if out.failed > 0 {
        report.problem(format!("{} connections did not join", out.failed));
    }
    if !out.ends.is_empty() {
        report.problem(format!("{} connections ended early", out.ends.values().sum::<u64>()));
    }
    if interrupted() {
        report.note("interrupted: the run is shorter than asked for".into());
    }
}

/// Copies owed, received, lost, doubled, out of order; rates in the window.
pub fn deliveries(report: &mut Report, led: &Led, out: &ThreadOutcome) {
    const SECTION: &str = "deliveries";
    let seconds = led.window_ns as f64 / SECOND_NS as f64;
    let lost = out.healthy.missing() + out.gone.missing();
    report.add(SECTION, "published_per_s", "published", out.window_sent as f64 / seconds, Unit::PerSecond);
    report.add(SECTION, "per_s", "delivered", out.window_deliveries as f64 / seconds, Unit::PerSecond);
    let bytes = out.window_bytes as f64 / out.window_deliveries.max(1) as f64;
    report.add(SECTION, "bytes_each", "bytes per delivery", (bytes * 10.0).round() / 10.0, Unit::Bytes);
    let expected = out.healthy.expected + out.gone.expected;
    report.add(SECTION, "expected", "expected, whole run", expected as f64, Unit::Count);
    let received = out.healthy.received + out.gone.received;
    report.add(SECTION, "received", "received, whole run", received as f64, Unit::Count);
    for (key, count, what) in [
        ("lost", lost, "lost"),
        ("duplicates", out.tally.duplicates, "duplicates"),
        ("reordered", out.tally.reordered, "out of order"),
        ("strays", out.strays, "at the wrong connection"),
        ("unsent", out.unsent, "never sent: publisher gone"),
    ] {
        report.add(SECTION, key, what, count as f64, Unit::Count);
        if count > 0 {
            report.problem(format!("{count} messages: {what}"));
        }
    }
    if out.window_deliveries == 0 && expected > 0 {
        report.problem("nothing was delivered while measuring".into());
    }
}

/// CPU and memory of the server; the CPU is divided by what was delivered, named by `each`.
pub fn server(report: &mut Report, led: &Led, each: Option<&str>) {
    const SECTION: &str = "server";
    let cost = &led.cost;
    if let Some(cpu) = cost.server {
        let wall = cost.wall_ns.max(1) as f64;
        report.add(SECTION, "cpu_cores", "CPU", cpu.total_ns() as f64 / wall, Unit::Cores);
        report.add(SECTION, "user_cores", "CPU, user", cpu.user_ns as f64 / wall, Unit::Cores);
        report.add(SECTION, "system_cores", "CPU, system", cpu.system_ns as f64 / wall, Unit::Cores);
        per_delivery(report, SECTION, cpu, led, each);
    }
    for (key, label, bytes) in [
        ("rss_before_bytes", "memory before", led.rss_before_bytes),
        ("rss_joined_bytes", "memory, all connected", led.rss_joined_bytes),
        ("rss_max_bytes", "memory, largest", led.rss_max_bytes),
        ("rss_after_bytes", "memory at the end", led.cost.rss_last_bytes),
    ] {
        report.add_some(SECTION, key, label, bytes, Unit::Bytes);
    }
}

fn per_delivery(report: &mut Report, section: &'static str, cpu: Cpu, led: &Led, each: Option<&str>) {
    if let Some(each) = each.filter(|_| led.cost.delivered > 0) {
        let (key, label) = (format!("cpu_us_per_{each}"), format!("CPU per {each}"));
        report.add(section, &key, &label, cpu.total_ns() as f64 / led.cost.delivered as f64, Unit::Nanos);
    }
}

/// What the load tool itself used.
pub fn load_tool(report: &mut Report, led: &Led, each: Option<&str>, lateness: Option<&Histogram<u64>>) {
    const SECTION: &str = "load tool";
    let cost = &led.cost;
    let wall = cost.wall_ns.max(1) as f64;
    report.add(SECTION, "threads", "threads", cost.threads_busy.len() as f64, Unit::Count);
    if let Some(cpu) = cost.own {
        report.add(SECTION, "cpu_cores", "CPU", cpu.total_ns() as f64 / wall, Unit::Cores);
        per_delivery(report, SECTION, cpu, led, each);
    }
    report.add(SECTION, "busiest_cores", "CPU, busiest thread", cost.busiest(), Unit::Cores);
    report.add_json("machine", "window_us", json!(cost.wall_ns / 1_000));
    report.add_json("machine", "cores", cost.cores.iter().copied().map(CoreUse::to_json).collect());
    if let Some(lateness) = lateness.filter(|lateness| !lateness.is_empty()) {
        let p99 = lateness.value_at_quantile(0.99) as f64;
        report.add(SECTION, "lateness_p99_us", "sent late, p99", p99, Unit::Nanos);
    }
    if cost.busiest() > BUSY_LIMIT {
        report.note(format!(
            "a load thread was {:.0} % busy: the load tool may be the bottleneck; give it more --threads",
            cost.busiest() * 100.0
        ));
    }
}
