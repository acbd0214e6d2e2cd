//! `idle`: hold many quiet connections, measure their memory.

use anyhow::Result;

use super::parts;
use crate::cli::Idle;
use crate::plan::Plan;
use crate::report::{Report, Unit};
use crate::seats::deal_quiet;

/// Runs it.
///
/// # Errors
/// When the run cannot begin.
pub fn run(options: &Idle) -> Result<Report> {
    let common = &options.common;
    let seats = deal_quiet(options.connections, options.rooms, common.threads());
    let plan = Plan::quiet(common)?;
    let (led, out) = parts::run_members(common, options.times, options.steady, plan, seats)?;

    let title = format!(
        "idle {}: {} connections in {} rooms, {} s",
        common.url, options.connections, options.rooms, options.times.duration
    );
    let mut report = Report::new("idle", title);
    parts::connections(&mut report, &led, &out);
    parts::server(&mut report, &led, None);
    let joined = out.was_joined.iter().filter(|joined| **joined).count();
    if let (Some(before), Some(with), 1..) = (led.rss_before_bytes, led.rss_joined_bytes, joined) {
        let each = (with as f64 - before as f64) / joined as f64;
        report.add("server", "bytes_per_connection", "memory per connection", each.round(), Unit::Bytes);
    }
    if led.settled && !led.steady {
        report.note("the server's memory was not steady within --steady: the figure is a snapshot".into());
    }
    parts::load_tool(&mut report, &led, None, None);
    Ok(report)
}
