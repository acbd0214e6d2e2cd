//! Load generator and capacity planner for WebSocket servers.
//!
//! Patterns put load on any `ws://` server through message templates; `floor` is a bare server to
//! compare with, `attack` measures what a client that floods the server costs the others, and `compare` measures
//! several servers beside each other. The exit status is 0 when all
//! connected and nothing was lost, doubled or out of order, 1 when something was, 2 when the run could not
//! begin.

mod accept;
mod attack;
mod churner;
mod cli;
mod clock;
mod compare;
mod engine;
mod floor;
mod frame;
mod handshake;
mod io;
mod joiner;
mod machine;
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
mod second;
mod stage;
mod target;
mod template;
mod token;
mod tracker;
mod watch;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;

use crate::cli::{Cli, Pattern};

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
    match pattern {
        Pattern::Floor(options) => floor::run(options).map(|()| true),
        Pattern::Compare(options) => compare::run(options),
        Pattern::Attack(options) => attack::run(options),
        load => {
            stage::catch_interrupt(|| {})?;
            let report = pattern::run(load)?;
            let json = load.common().is_some_and(|common| common.json);
            let text = if json { format!("{}\n", report.to_json()) } else { report.to_table() };
            std::io::stdout().lock().write_all(text.as_bytes())?;
            Ok(report.is_good())
        }
    }
}
