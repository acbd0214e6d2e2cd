//! Load generator and capacity planner for WebSocket servers.
//!
//! Patterns put load on any `ws://` server through message templates; `floor` is a bare server to
//! compare with. The exit status is 0 when all connected and nothing was lost, doubled or out of order,
//! 1 when something was, 2 when the run could not begin.

mod accept;
mod churner;
mod cli;
mod clock;
mod engine;
mod floor;
mod frame;
mod handshake;
mod io;
mod members;
mod outcome;
mod pacer;
mod pattern;
mod plan;
mod process;
mod progress;
mod publish;
mod report;
mod run;
mod schedule;
mod seats;
mod stage;
mod target;
mod template;
mod tracker;
mod watch;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;

use crate::cli::{Cli, Pattern};
use crate::report::Report;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match carry_out(&cli.pattern) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("loadtest: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// True when the run was good.
fn carry_out(pattern: &Pattern) -> Result<bool> {
    if let Pattern::Floor(options) = pattern {
        return floor::run(options).map(|()| true);
    }
    stage::catch_interrupt()?;
    let (report, json) = match pattern {
        Pattern::Fanout(options) => (pattern::fanout::run(options)?, options.common.json),
        Pattern::Idle(options) => (pattern::idle::run(options)?, options.common.json),
        Pattern::Churn(options) => (pattern::churn::run(options)?, options.common.json),
        Pattern::Slow(options) => (pattern::slow::run(options)?, options.common.json),
        Pattern::Floor(_) => unreachable!("served above"),
    };
    print(&report, json)?;
    Ok(report.is_good())
}

fn print(report: &Report, json: bool) -> Result<()> {
    let text = if json { format!("{}\n", report.to_json()) } else { report.to_table() };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}
