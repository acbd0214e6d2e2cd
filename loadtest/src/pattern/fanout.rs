//! `fanout`: publish to rooms, measure every copy at every member.

use anyhow::{Result, ensure};

use super::parts;
use crate::cli::Fanout;
use crate::plan::{Pace, Plan};
use crate::report::Report;
use crate::seats::Layout;

/// Runs it.
///
/// # Errors
/// When the run cannot begin.
pub fn run(options: &Fanout) -> Result<Report> {
    let common = &options.common;
    ensure!(options.publishers > 0, "--publishers must be at least 1");
    let layout = Layout {
        rooms: options.rooms,
        members: options.members,
        publishers: options.publishers,
        separate: options.separate_publishers,
        publishers_join: options.publishers_join,
        stalled: 0,
    };
    layout.check()?;
    let pace = match options.in_flight {
        Some(under_way) => Pace::Window(under_way.div_ceil(options.publishers)),
        None => {
            ensure!(options.rate > 0.0 && options.rate.is_finite(), "--rate must be more than 0");
            Pace::Rate(options.rate)
        }
    };
    let plan = Plan {
        publishers: options.publishers,
        publishers_total: (options.rooms * options.publishers) as usize,
        echo: !options.no_echo,
        size_bytes: options.size,
        pace,
        ..Plan::quiet(common)?
    };
    let seats = layout.deal(common.threads());
    let (led, out) = parts::run_members(common, options.times, 0.0, plan, seats)?;

    let drive = match options.in_flight {
        Some(under_way) => format!("{under_way} under way in each room"),
        None => format!("{} messages/s", options.rate),
    };
    let title = format!(
        "fanout {}: {} rooms x {} members, {} bytes, {drive}, {} s",
        common.url, options.rooms, options.members, options.size, options.times.duration
    );
    let mut report = Report::new("fanout", title);
    parts::connections(&mut report, &led, &out);
    parts::deliveries(&mut report, &led, &out);
    report.add_times("latency", &out.latency_ns);
    parts::server(&mut report, &led, Some("delivery"));
    parts::load_tool(&mut report, &led, Some("delivery"), Some(&out.lateness_ns));
    Ok(report)
}
