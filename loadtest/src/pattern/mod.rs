//! The load patterns: what each runs and what it reports.

pub mod churn;
pub mod fanout;
pub mod idle;
pub mod parts;
pub mod slow;

use anyhow::{Result, bail};

use crate::cli::Pattern;
use crate::report::Report;

/// Runs a pattern of load.
///
/// # Errors
/// When the run cannot begin, or the subcommand is no load.
pub fn run(pattern: &Pattern) -> Result<Report> {
    match pattern {
        Pattern::Fanout(options) => fanout::run(options),
        Pattern::Idle(options) => idle::run(options),
        Pattern::Churn(options) => churn::run(options),
        Pattern::Slow(options) => slow::run(options),
        Pattern::Attack(_) | Pattern::Floor(_) | Pattern::Compare(_) => {
            bail!("this subcommand puts no load on a server")
        }
    }
}
