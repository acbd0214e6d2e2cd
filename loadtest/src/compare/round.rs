//! Measures the servers of one case: in rounds, each server once in each, spoilt runs again.

use anyhow::{Context as _, Result, bail};
use clap::Parser as _;
use serde_json::Value;

use super::arguments::{self, Times};
use super::cores::{self, Split};
use super::launch::Places;
use super::metric;
use super::result::{CaseResult, Run, ServerResult};
use super::scenario::Case;
use super::server::Server;
use super::spoilt::{Mark, judge};
use super::stats::order;
use crate::cli::Cli;
use crate::machine::CoreUse;
use crate::pattern;
use crate::stage::interrupted;

/// Times of the run that finds out how many bytes a server sends.
const PROBE: Times = Times { warmup: 0.1, duration: 0.4 };

/// How to measure.
#[derive(Clone, Debug)]
pub struct Manner {
    /// Rounds of each case.
    pub rounds: usize,
    /// Seconds of load before measuring.
    pub warmup: f64,
    /// Part of the cores that others may take.
    pub share_max: f64,
    /// Spoilt runs that are repeated, of each case and server.
    pub repeats: u32,
    /// Bytes of the bare servers' frames, when they are given.
    pub frame_bytes: Option<u64>,
}

/// Repeats that are left to one case and server.
struct Repeats {
    left: u32,
    /// A load tool at its limit stays there: once is enough to see whether it was by chance.
    tried_limit: bool,
}

impl Repeats {
    /// Whether a run with these marks is done again.
    fn take(&mut self, marks: &[Mark]) -> bool {
        let passing = marks.iter().any(Mark::is_passing);
        let again = self.left > 0 && !marks.is_empty() && (passing || !self.tried_limit);
        if again {
            self.left -= 1;
            self.tried_limit |= !passing;
        }
        again
    }
}

/// Measures one case.
pub fn measure(
    places: &Places,
    servers: &[Server],
    case: &Case,
    split: Split,
    manner: &Manner,
) -> CaseResult {
    let frame_bytes = frame_bytes(places, servers, case, &split, manner);
    let empty = |server: &Server| ServerResult { name: server.name.clone(), ..ServerResult::default() };
    let mut results: Vec<ServerResult> = servers.iter().map(empty).collect();
    let mut repeats: Vec<Repeats> =
        servers.iter().map(|_| Repeats { left: manner.repeats, tried_limit: false }).collect();
    let times = Times { warmup: manner.warmup, duration: case.seconds };
    for round in 0..manner.rounds {
        for index in order(servers.len(), round) {
            let (server, result) = (&servers[index], &mut results[index]);
            while !interrupted() && result.failure.is_none() {
                let told =
                    format!("{}: round {} of {}: {}", case.title(), round + 1, manner.rounds, server.name);
                let run = run_once(places, server, case, &split, times, frame_bytes.unwrap_or(0))
                    .and_then(|report| read(&report, case, round + 1, &split, manner.share_max));
                let run = match run {
                    // What came in before the interrupt is no run.
                    _ if interrupted() => break,
                    Err(error) => {
                        eprintln!("{told}: {error:#}");
                        result.failure = Some(format!("no figures in round {}: {error:#}", round + 1));
                        break;
                    }
                    Ok(run) => run,
                };
                eprintln!("{told}: {}", tell(&run, case));
                if repeats[index].take(&run.marks) {
                    result.repeated.push(run);
                } else {
                    result.runs.push(run);
                    break;
                }
            }
        }
    }
    CaseResult { case: case.clone(), split, frame_bytes, servers: results }
}

/// How many bytes the bare servers shall send for a message, header included.
fn frame_bytes(
    places: &Places,
    servers: &[Server],
    case: &Case,
    split: &Split,
    manner: &Manner,
) -> Option<u64> {
    if !case.scenario.pattern.delivers() || !servers.iter().any(Server::is_sized) || interrupted() {
        return None;
    }
    if manner.frame_bytes.is_some() {
        return manner.frame_bytes;
    }
    let server = servers.iter().find(|server| !server.is_sized())?;
    let report = run_once(places, server, case, split, PROBE, 0);
    let bytes = report.map(|report| report["deliveries"]["bytes_each"].as_f64().unwrap_or(0.0));
    match bytes {
        Ok(bytes) if bytes >= 1.0 => Some(bytes.round() as u64),
        other => {
            eprintln!("{}: the bytes of {} are not known: {other:?}", case.title(), server.name);
            None
        }
    }
}

/// Starts a server, puts the load on it, and stops it; the load tool's report.
///
/// # Errors
/// When the server does not come up or ends, or the load cannot begin.
fn run_once(
    places: &Places,
    server: &Server,
    case: &Case,
    split: &Split,
    times: Times,
    frame_bytes: u64,
) -> Result<Value> {
    let start = || places.start(server, split, frame_bytes);
    // Another process may have taken the port: a second try has another one.
    let mut running = start().or_else(|_| start())?;
    let line = arguments::line(server, &running, case, split, times);
    let pattern = Cli::try_parse_from(line).context("the options of the load tool")?.pattern;
    cores::stay_on(&split.load)?;
    let mut report = pattern::run(&pattern)?.to_value();
    if let Some(figure) = cores_us_per_delivery(&report, split) {
        report["server"][metric::CORES_EACH_KEY] = figure.into();
    }
    if let Some(end) = running.ended() {
        bail!(end);
    }
    Ok(report)
}

/// See [`metric::CORES_EACH_KEY`].
fn cores_us_per_delivery(report: &Value, split: &Split) -> Option<f64> {
    let per_s = report["deliveries"]["per_s"].as_f64().filter(|per_s| *per_s > 0.0)?;
    let cores = Some(CoreUse::of_report(report)).filter(|cores| !cores.is_empty())?;
    let busy: f64 = cores.iter().filter(|core| split.server.contains(&core.core)).map(CoreUse::busy).sum();
    Some(busy * 1e6 / per_s)
}

/// # Errors
/// When the report lacks the figure that matters most.
fn read(report: &Value, case: &Case, round: usize, split: &Split, share_max: f64) -> Result<Run> {
    let metrics = metric::of(case.scenario.pattern);
    let main = case.scenario.main_figure();
    let problems: Vec<String> = report["problems"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    if (main.read)(report).is_none() {
        let why = if problems.is_empty() { "nothing was measured".into() } else { problems.join("; ") };
        bail!("{why}");
    }
    let figures = metrics.iter().filter_map(|metric| Some((metric.key, (metric.read)(report)?))).collect();
    Ok(Run { round, figures, problems, marks: judge(report, split, share_max) })
}

/// One run in a line.
fn tell(run: &Run, case: &Case) -> String {
    let metric = case.scenario.main_figure();
    let figure = run.figures.get(metric.key).map(|figure| metric.show(*figure)).unwrap_or_default();
    let marks: Vec<String> = run.marks.iter().map(Mark::to_string).collect();
    let doubts = if marks.is_empty() { String::new() } else { format!(" ({})", marks.join(", ")) };
    let problems = run.problems.first().map(|problem| format!("; {problem}")).unwrap_or_default();
    format!("{} {figure}{doubts}{problems}", metric.label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_end() {
        let mut repeats = Repeats { left: 2, tried_limit: false };
        assert!(!repeats.take(&[]));
        let spoilt = [Mark::Stolen(0.5)];
        assert!(repeats.take(&spoilt) && repeats.take(&spoilt));
        assert!(!repeats.take(&spoilt));
    }

    #[test]
    fn a_load_at_its_limit_is_tried_once_more() {
        let mut repeats = Repeats { left: 5, tried_limit: false };
        let limit = [Mark::Saturated(0.99)];
        assert!(repeats.take(&limit));
        assert!(!repeats.take(&limit));
        assert!(repeats.take(&[Mark::Saturated(0.99), Mark::OtherOnServer(0.2)]));
    }

    #[test]
    fn the_time_of_the_servers_cores_is_that_of_all_that_ran_there() {
        let core = |core, idle, stolen| CoreUse { core, used: 0.0, interrupts: 0.0, stolen, idle }.to_json();
        let mut report = serde_json::json!({
            "deliveries": { "per_s": 100_000 },
            "machine": { "cores": [core(2, 0.5, 0.0), core(3, 0.25, 0.25), core(0, 0.0, 0.0)] },
        });
        let split = Split { server: vec![2, 3], load: vec![0] };
        assert_eq!(cores_us_per_delivery(&report, &split), Some(10.0));
        report["deliveries"]["per_s"] = 0.into();
        assert_eq!(cores_us_per_delivery(&report, &split), None);
    }

    #[test]
    fn a_report_without_the_main_figure_is_no_run() {
        let case = super::super::result::tests::case("wide16", &[]);
        let mut report = serde_json::json!({ "problems": ["3 connections did not join"] });
        let error = read(&report, &case.case, 1, &case.split, 0.05).unwrap_err();
        assert_eq!(error.to_string(), "3 connections did not join");
        report["server"] = serde_json::json!({ "cpu_us_per_delivery": 0.5 });
        let run = read(&report, &case.case, 1, &case.split, 0.05).unwrap();
        assert_eq!(run.figures.get("cpu_us_per_delivery"), Some(&0.5));
        assert_eq!(run.problems.len(), 1);
        assert!(tell(&run, &case.case).contains("0.50 us; 3 connections"));
    }
}
