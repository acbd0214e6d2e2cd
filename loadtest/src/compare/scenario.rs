//! The table of scenarios, and the cases that it makes: one scenario, a number of cores, a point of a curve.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use clap::Parser as _;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::metric::{self, Metric};
use crate::cli::Cli;

/// The scenarios there are.
pub const SHIPPED: &str = include_str!("scenarios.json");

/// Subcommand of the load tool.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Pattern {
    /// Members get what publishers send.
    Fanout,
    /// Quiet connections.
    Idle,
    /// Connections that come and go.
    Churn,
    /// Some members do not read.
    Slow,
}

impl Pattern {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fanout => "fanout",
            Self::Idle => "idle",
            Self::Churn => "churn",
            Self::Slow => "slow",
        }
    }

    /// Members get messages, whose bytes the bare servers can match.
    pub fn delivers(self) -> bool {
        matches!(self, Self::Fanout | Self::Slow)
    }
}

/// The value of an option.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(untagged)]
pub enum Setting {
    /// A number, for most options.
    Number(serde_json::Number),
    /// A text.
    Text(String),
}

impl std::fmt::Display for Setting {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => write!(out, "{number}"),
            Self::Text(text) => out.write_str(text),
        }
    }
}

/// Options without their dashes, with their values.
pub type Options = BTreeMap<String, Setting>;

/// One scenario; the fields are told in `scenarios.json`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    pub name: String,
    pub about: String,
    pub pattern: Pattern,
    pub cores: Vec<usize>,
    pub seconds: f64,
    pub figure: Option<String>,
    pub options: Options,
    #[serde(default)]
    pub quick: Options,
    pub vary: Option<Vary>,
}

/// An option that takes several values.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vary {
    /// Its name without the dashes.
    pub option: String,
    /// Its values, ascending.
    pub values: Vec<u64>,
    /// Those of a quick comparison.
    pub quick: Vec<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "fields", default)]
    _fields: IgnoredAny,
    scenarios: Vec<Scenario>,
}

/// What is measured of every server.
#[derive(Clone, Debug)]
pub struct Case {
    /// The scenario.
    pub scenario: Scenario,
    /// Cores of the server.
    pub cores: usize,
    /// The varied option and its value.
    pub point: Option<(String, u64)>,
    /// Measured time in seconds.
    pub seconds: f64,
    /// Options of the load tool, without their dashes.
    pub options: Options,
}

impl Case {
    /// What tables call it, such as `sizes, 100 members, 2 cores`.
    pub fn title(&self) -> String {
        let point = self.point.as_ref().map(|(option, value)| format!(", {value} {option}"));
        let cores = if self.cores == 1 { "1 core".to_owned() } else { format!("{} cores", self.cores) };
        format!("{}{}, {cores}", self.scenario.name, point.unwrap_or_default())
    }
}

/// How the table is used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish {
    /// A short run.
    pub quick: bool,
    /// Measured time in seconds instead of the table's.
    pub seconds: Option<f64>,
    /// The largest number of connections where that is varied; the others shrink or grow with it.
    pub connections: Option<u64>,
}

/// Measured time of a quick comparison, in seconds.
const QUICK_SECONDS: f64 = 0.5;

impl Scenario {
    /// # Errors
    /// Names the field that no run can be made of.
    fn check(&self) -> Result<()> {
        ensure!(!self.name.is_empty() && !self.name.contains([',', ' ']), "`name` must be one word");
        ensure!(!self.cores.is_empty() && !self.cores.contains(&0), "`cores` must be numbers from 1");
        ensure!(self.seconds > 0.0 && self.seconds.is_finite(), "`seconds` must be more than 0");
        let metrics = metric::of(self.pattern);
        if let Some(figure) = &self.figure {
            let keys: Vec<&str> = metrics.iter().map(|metric| metric.key).collect();
            ensure!(keys.contains(&figure.as_str()), "`figure` is none of {}", keys.join(", "));
        }
        if let Some(Vary { values, quick, option }) = &self.vary {
            ensure!(!values.is_empty() && !quick.is_empty(), "`vary` has no values");
            ensure!(values.is_sorted() && quick.is_sorted(), "the values of `vary` must ascend");
            ensure!(!self.options.contains_key(option), "`vary` and `options` both set `{option}`");
        }
        // The load tool's own parser knows best which options there are.
        for quick in [false, true] {
            for case in self.cases(Wish { quick, ..Wish::default() }) {
                let mut line = vec!["loadtest".to_owned(), self.pattern.name().into(), "ws://host/".into()];
                line.extend(arguments(&case.options));
                Cli::try_parse_from(line).context("`options`")?;
            }
        }
        Ok(())
    }

    /// The figure that matters most.
    pub fn main_figure(&self) -> &'static Metric {
        let metrics = metric::of(self.pattern);
        let wanted = metrics.iter().find(|metric| self.figure.as_deref() == Some(metric.key));
        wanted.unwrap_or(&metrics[0])
    }

    /// Its cases.
    pub fn cases(&self, wish: Wish) -> Vec<Case> {
        let mut options = self.options.clone();
        if wish.quick {
            options.extend(self.quick.clone());
        }
        let quick = wish.quick.then_some(QUICK_SECONDS);
        let seconds = wish.seconds.or(quick).unwrap_or(self.seconds);
        let mut cases = Vec::new();
        for &cores in &self.cores {
            for point in self.points(wish) {
                let mut options = options.clone();
                if let Some((option, value)) = &point {
                    options.insert(option.clone(), Setting::Number((*value).into()));
                }
                cases.push(Case { scenario: self.clone(), cores, point, seconds, options });
            }
        }
        cases
    }

    fn points(&self, wish: Wish) -> Vec<Option<(String, u64)>> {
        let Some(vary) = &self.vary else { return vec![None] };
        let values = if wish.quick { &vary.quick } else { &vary.values };
        let largest = values.last().copied().unwrap_or(1).max(1);
        let wanted = wish.connections.filter(|_| vary.option == "connections").unwrap_or(largest);
        // A value may shrink to 1, but not to 0, which most often means something else.
        let scaled = |value: &u64| (value * wanted / largest).max((*value).min(1));
        let mut scaled: Vec<u64> = values.iter().map(scaled).collect();
        scaled.dedup();
        scaled.into_iter().map(|value| Some((vary.option.clone(), value))).collect()
    }
}

/// Options as words of a command line.
pub fn arguments(options: &Options) -> impl Iterator<Item = String> {
    options.iter().map(|(option, value)| format!("--{option}={value}"))
}

/// The scenarios of a table; `name` is what errors call it.
///
/// # Errors
/// Names the table and the line or the scenario and field that is wrong.
pub fn parse(name: &str, text: &str) -> Result<Vec<Scenario>> {
    let file: File = serde_json::from_str(text).with_context(|| format!("the table {name}"))?;
    let mut scenarios: Vec<Scenario> = Vec::new();
    for scenario in file.scenarios {
        let place = || format!("the table {name}, scenario `{}`", scenario.name);
        scenario.check().with_context(place)?;
        ensure!(
            scenarios.iter().all(|other| other.name != scenario.name),
            "{}: the name is there twice",
            place()
        );
        scenarios.push(scenario);
    }
    Ok(scenarios)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped() -> Vec<Scenario> {
        parse("scenarios.json", SHIPPED).unwrap()
    }

    fn named(name: &str) -> Scenario {
        shipped().into_iter().find(|scenario| scenario.name == name).unwrap()
    }

    #[test]
    fn the_shipped_scenarios_are_good() {
        let names: Vec<String> = shipped().into_iter().map(|scenario| scenario.name).collect();
        for name in
            ["wide16", "wide128", "rooms", "calm", "paced", "rooms-paced", "idle", "churn", "slow", "sizes"]
        {
            assert!(names.iter().any(|known| known == name), "{name}");
        }
    }

    #[test]
    fn points_and_cores_make_cases() {
        let cases = named("sizes").cases(Wish::default());
        assert_eq!(cases.len(), 2 * 4);
        assert_eq!(cases[5].title(), "sizes, 100 members, 2 cores");
        assert!(arguments(&cases[5].options).any(|word| word == "--members=100"));
        assert_eq!(named("wide16").cases(Wish::default())[0].title(), "wide16, 1 core");
        let stalled = |case: &Case| case.point.as_ref().map(|(_, value)| *value);
        let slow: Vec<Option<u64>> = named("slow").cases(Wish::default()).iter().map(stalled).collect();
        assert_eq!(slow, [Some(0), Some(10)]);
    }

    #[test]
    fn a_scenario_names_the_figure_that_matters_most() {
        assert_eq!(named("wide16").main_figure().key, "cpu_us_per_delivery");
        assert_eq!(named("paced").main_figure().key, "p99_us");
    }

    #[test]
    fn a_quick_comparison_is_smaller_and_shorter() {
        let quick = &named("wide16").cases(Wish { quick: true, ..Wish::default() })[0];
        assert_eq!(quick.seconds, QUICK_SECONDS);
        assert!(arguments(&quick.options).any(|word| word == "--members=50"));
        let timed = Wish { quick: true, seconds: Some(2.0), ..Wish::default() };
        assert_eq!(named("wide16").cases(timed)[0].seconds, 2.0);
    }

    #[test]
    fn the_number_of_connections_scales_its_curve() {
        let wish = Wish { connections: Some(100_000), ..Wish::default() };
        let points: Vec<u64> = named("idle")
            .cases(wish)
            .iter()
            .filter_map(|case| case.point.as_ref().map(|point| point.1))
            .collect();
        assert_eq!(points, [10_000, 25_000, 50_000, 100_000]);
        assert_eq!(named("sizes").cases(wish).len(), 8);
        let few = Wish { connections: Some(2), ..Wish::default() };
        assert_eq!(named("idle").cases(few).len(), 2);
    }

    #[test]
    fn what_is_wrong_with_a_table_is_named() {
        for (field, value, word) in [
            ("options", serde_json::json!({ "membres": 5 }), "membres"),
            ("options", serde_json::json!({ "members": "many" }), "members"),
            ("pattern", serde_json::json!("flood"), "flood"),
            ("cores", serde_json::json!([0]), "`cores`"),
            ("seconds", serde_json::json!(0), "`seconds`"),
            ("colour", serde_json::json!(1), "colour"),
            ("figure", serde_json::json!("speed"), "`figure` is none of cpu_us_per_delivery"),
            ("vary", serde_json::json!({ "option": "members", "values": [1], "quick": [1] }), "both set"),
            ("vary", serde_json::json!({ "option": "size", "values": [], "quick": [1] }), "no values"),
            ("vary", serde_json::json!({ "option": "size", "values": [2, 1], "quick": [1] }), "ascend"),
            ("name", serde_json::json!("wide128"), "twice"),
        ] {
            let mut table: serde_json::Value = serde_json::from_str(SHIPPED).unwrap();
            table["scenarios"][0][field] = value;
            let error = format!("{:#}", parse("x.json", &table.to_string()).unwrap_err());
            assert!(error.contains("x.json") && error.contains(word), "{field}: {error}");
        }
    }
}
