//! What a comparison found.

use std::collections::BTreeMap;

use super::cores::Split;
use super::metric::{self, Metric};
use super::scenario::Case;
use super::spoilt::Mark;
use super::stats::Spread;

/// All of it.
#[derive(Debug)]
pub struct Comparison {
    /// The machine in a few words, what they are about first.
    pub machine: Vec<(&'static str, String)>,
    /// Rounds asked for.
    pub rounds: usize,
    /// Server whose figures are 1 in ratios.
    pub relative_to: String,
    /// The servers compared.
    pub servers: Vec<Compared>,
    /// Servers left out, and why.
    pub left_out: Vec<(String, String)>,
    /// What the reader must know.
    pub notes: Vec<String>,
    /// In the order of measuring.
    pub cases: Vec<CaseResult>,
}

/// A server compared.
#[derive(Clone, Debug)]
pub struct Compared {
    /// Its name.
    pub name: String,
    /// What it is.
    pub about: String,
    /// The versions of what runs.
    pub version: String,
    /// What a member receives for a message.
    pub bytes: String,
    /// What else to know.
    pub notes: Vec<String>,
}

/// What one case found.
#[derive(Debug)]
pub struct CaseResult {
    /// The case.
    pub case: Case,
    /// Its cores.
    pub split: Split,
    /// Bytes of the bare servers' frames, when they were set.
    pub frame_bytes: Option<u64>,
    /// For each server compared, in the same order.
    pub servers: Vec<ServerResult>,
}

/// What the runs of one server found.
#[derive(Debug, Default)]
pub struct ServerResult {
    /// Its name.
    pub name: String,
    /// One for each round that gave figures.
    pub runs: Vec<Run>,
    /// Runs that were repeated.
    pub repeated: Vec<Run>,
    /// Why it gave no figures.
    pub failure: Option<String>,
}

/// What one run found.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// The round, from 1.
    pub round: usize,
    /// By the key of their metric.
    pub figures: BTreeMap<&'static str, f64>,
    /// What the load tool found wrong with the server.
    pub problems: Vec<String>,
    /// What makes the run doubtful.
    pub marks: Vec<Mark>,
}

impl Run {
    /// Something from outside disturbed it.
    pub fn is_spoilt(&self) -> bool {
        self.marks.iter().any(Mark::is_passing)
    }
}

impl ServerResult {
    /// The runs that count: those that nothing disturbed, or all where there is none.
    pub fn counted(&self) -> impl Iterator<Item = &Run> {
        let all_spoilt = self.runs.iter().all(Run::is_spoilt);
        self.runs.iter().filter(move |run| all_spoilt || !run.is_spoilt())
    }

    /// Median and range of a figure over the runs that count.
    pub fn spread(&self, key: &str) -> Option<Spread> {
        Spread::of(self.counted().filter_map(|run| run.figures.get(key).copied()))
    }

    /// What the reader must know of it, each thing once.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks: Vec<String> = self.failure.iter().cloned().collect();
        let (spoilt, all) = (self.runs.iter().filter(|run| run.is_spoilt()).count(), self.runs.len());
        if spoilt > 0 {
            let kept = if spoilt == all { "counted all the same" } else { "left out" };
            remarks.push(format!("{spoilt} of {all} runs spoilt, {kept}: {}", worst(&self.runs, true)));
        }
        if !self.repeated.is_empty() {
            let (count, why) = (self.repeated.len(), worst(&self.repeated, true));
            let why = if why.is_empty() { worst(&self.repeated, false) } else { why };
            remarks.push(format!("{count} runs repeated: {why}"));
        }
        let limited = self.counted().filter(|run| run.marks.iter().any(|mark| !mark.is_passing())).count();
        if limited > 0 {
            let why = worst(&self.runs, false);
            remarks.push(format!("in {limited} runs the load tool may have been the limit: {why}"));
        }
        let mut problems: Vec<&String> = self.counted().flat_map(|run| &run.problems).collect();
        problems.sort();
        problems.dedup();
        remarks.extend(problems.into_iter().take(PROBLEMS_MAX).cloned());
        remarks
    }
}

/// Problems told of one server and case; the JSON has them all.
const PROBLEMS_MAX: usize = 3;

/// The worst mark of each kind, passing ones or the others.
fn worst(runs: &[Run], passing: bool) -> String {
    let mut marks: Vec<&Mark> = runs.iter().flat_map(|run| &run.marks).collect();
    marks.retain(|mark| mark.is_passing() == passing);
    marks.sort_by(|a, b| b.size().total_cmp(&a.size()));
    let mut texts: Vec<String> = Vec::new();
    let mut kinds = Vec::new();
    for mark in marks {
        let kind = std::mem::discriminant(mark);
        if !kinds.contains(&kind) {
            kinds.push(kind);
            texts.push(mark.to_string());
        }
    }
    texts.join(", ")
}

impl CaseResult {
    /// The figures of its pattern.
    pub fn metrics(&self) -> &'static [Metric] {
        metric::of(self.case.scenario.pattern)
    }

    /// The figure that matters most.
    pub fn main(&self) -> &'static Metric {
        self.case.scenario.main_figure()
    }

    /// A server's figure that matters most as multiple of that of server `base`.
    pub fn ratio(&self, server: &ServerResult, base: &str) -> Option<f64> {
        let key = self.main().key;
        let base = self.servers.iter().find(|other| other.name == base)?.spread(key)?.median;
        Some(server.spread(key)?.median / base).filter(|ratio| ratio.is_finite())
    }

    /// Every server gave figures.
    pub fn is_whole(&self) -> bool {
        let key = self.main().key;
        self.servers.iter().all(|server| server.failure.is_none() && server.spread(key).is_some())
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::compare::scenario;

    /// A run with one figure.
    pub fn run(round: usize, key: &'static str, figure: f64, marks: Vec<Mark>) -> Run {
        Run { round, figures: BTreeMap::from([(key, figure)]), problems: Vec::new(), marks }
    }

    /// A case of a shipped scenario with these servers and the first figure of each of their runs.
    pub fn case(name: &str, servers: &[(&str, &[f64])]) -> CaseResult {
        let scenarios = scenario::parse("scenarios.json", scenario::SHIPPED).unwrap();
        let scenario = scenarios.into_iter().find(|scenario| scenario.name == name).unwrap();
        let case = scenario.cases(scenario::Wish::default()).swap_remove(0);
        let key = metric::of(case.scenario.pattern)[0].key;
        let servers = servers.iter().map(|(name, figures)| ServerResult {
            name: (*name).to_owned(),
            runs: figures.iter().enumerate().map(|(i, figure)| run(i + 1, key, *figure, vec![])).collect(),
            ..ServerResult::default()
        });
        CaseResult {
            servers: servers.collect(),
            case,
            split: Split { server: vec![3], load: vec![2, 1, 0] },
            frame_bytes: Some(244),
        }
    }

    #[test]
    fn spoilt_runs_do_not_count_while_there_are_others() {
        let spoilt = || vec![Mark::Stolen(0.3)];
        let runs = vec![run(1, "x", 1.0, vec![]), run(2, "x", 9.0, spoilt()), run(3, "x", 2.0, vec![])];
        let mut server = ServerResult { runs, ..ServerResult::default() };
        assert_eq!(server.spread("x").unwrap().max, 2.0);
        assert_eq!(server.remarks(), ["1 of 3 runs spoilt, left out: the host took 30.0 %"]);
        server.runs.retain(Run::is_spoilt);
        assert_eq!(server.spread("x").unwrap().median, 9.0);
        server.runs[0].marks.push(Mark::OtherOnServer(0.2));
        server.runs.push(run(4, "x", 9.0, vec![Mark::OtherOnServer(0.4)]));
        let told = "2 of 2 runs spoilt, counted all the same: other load on the server's cores: 40.0 %, the host took 30.0 %";
        assert_eq!(server.remarks(), [told]);
    }

    #[test]
    fn a_load_at_its_limit_counts_and_is_told() {
        let runs = vec![run(1, "x", 1.0, vec![Mark::Saturated(0.99)])];
        let server = ServerResult { runs, ..ServerResult::default() };
        assert_eq!(server.spread("x").unwrap().median, 1.0);
        assert!(server.remarks()[0].contains("a load thread was 99.0 % busy"));
    }

    #[test]
    fn ratios_and_gaps() {
        let mut case = case("wide16", &[("ours", &[0.2, 0.3, 0.4]), ("floor", &[0.2])]);
        assert!((case.ratio(&case.servers[0], "floor").unwrap() - 1.5).abs() < 1e-9);
        assert_eq!(case.ratio(&case.servers[0], "bun"), None);
        assert!(case.is_whole());
        case.servers[1].runs.clear();
        assert!(!case.is_whole() && case.ratio(&case.servers[0], "floor").is_none());
    }
}
