//! `slow`: publish while some members do not read.

use anyhow::{Result, ensure};

use super::parts;
use crate::cli::{Client, Slow};
use crate::clock::{SECOND_NS, now_ns};
use crate::plan::{Pace, Plan};
use crate::report::{Report, Unit};
use crate::seats::Layout;

/// Runs it.
///
/// # Errors
/// When the run cannot begin.
pub fn run(options: &Slow) -> Result<Report> {
    let common = &options.common;
    ensure!(options.publishers > 0, "--publishers must be at least 1");
    ensure!(common.client == Client::Own, "only --client own tells of a hang-up while it does not read");
    ensure!(options.rate > 0.0 && options.rate.is_finite(), "--rate must be more than 0");
    let layout = Layout {
        rooms: 1,
        members: options.members,
        publishers: options.publishers,
        separate: false,
        publishers_join: false,
        stalled: options.stalled,
    };
    layout.check()?;
    let plan = Plan {
        publishers: options.publishers,
        publishers_total: options.publishers as usize,
        echo: !options.no_echo,
        size_bytes: options.size,
        pace: Pace::Rate(options.rate),
        stalled_receive_bytes: options.stalled_rcvbuf,
        ..Plan::quiet(common)?
    };
    let seats = layout.deal(common.threads());
    let (led, mut out) = parts::run_members(common, options.times, 0.0, plan, seats)?;

    let title = format!(
        "slow {}: {} members, {} of them stalled, {} bytes, {} messages/s, {} s",
        common.url, options.members, options.stalled, options.size, options.rate, options.times.duration
    );
    let mut report = Report::new("slow", title);
    parts::connections(&mut report, &led, &out);
    parts::deliveries(&mut report, &led, &out);
    report.add_times("latency", &out.latency_ns);

    const STALLED: &str = "stalled members";
    let stalled = out.stalled;
    report.add(STALLED, "members", "joined", stalled.members as f64, Unit::Count);
    report.add(STALLED, "expected", "expected", stalled.expected as f64, Unit::Count);
    report.add(STALLED, "received", "received after the stall", stalled.received as f64, Unit::Count);
    report.add(STALLED, "duplicates", "duplicates", out.stalled_tally.duplicates as f64, Unit::Count);
    report.add(STALLED, "reordered", "out of order", out.stalled_tally.reordered as f64, Unit::Count);
    report.add_ends(STALLED, "ends", "closed by the server", &out.stalled_ends);
    // A hang-up is seen at once; without one only the end that is read after the stall tells.
    let mut cut_ns: Vec<u64> = out.hang_ups_ns.values().copied().collect();
    if cut_ns.is_empty() {
        cut_ns.append(&mut out.stalled_closes_ns);
    }
    let start_ns = led.start_ns;
    if let (Some(first), Some(last)) = (cut_ns.iter().min(), cut_ns.iter().max()) {
        let after = |at: &u64| at.saturating_sub(start_ns).min(now_ns()) as f64;
        report.add(STALLED, "first_cut_us", "first closed after", after(first), Unit::Nanos);
        report.add(STALLED, "last_cut_us", "last closed after", after(last), Unit::Nanos);
    }
    if out.stalled_tally.duplicates + out.stalled_tally.reordered > 0 {
        report.problem("stalled members got duplicates or messages out of order".into());
    }
    parts::server(&mut report, &led, Some("delivery"));
    parts::load_tool(&mut report, &led, Some("delivery"), Some(&out.lateness_ns));
    if led.window_ns < SECOND_NS {
        report.note("less than a second: too short for a stalled member's buffers to fill".into());
    }
    Ok(report)
}
