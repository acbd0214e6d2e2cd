//! The figures that are compared, for each pattern: where the load tool's report holds them, and how they
//! are shown.

use serde_json::Value;

use super::scenario::Pattern;
use crate::report::Unit;

/// What tables show of a figure; the JSON has it all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Median and range.
    Range,
    /// The median.
    Median,
    /// Nothing.
    Nothing,
}

/// One figure.
#[derive(Debug)]
pub struct Metric {
    /// Its name in the JSON; times end in `_us`.
    pub key: &'static str,
    /// Its name in tables.
    pub label: &'static str,
    /// What it counts; times are kept in microseconds.
    pub unit: Unit,
    /// What tables show of it.
    pub shown: Shown,
    /// Reads it from a report.
    pub read: Read,
}

impl Metric {
    /// As people read it.
    pub fn show(&self, value: f64) -> String {
        match self.unit {
            Unit::Nanos => crate::report::show(value * 1_000.0, Unit::Nanos),
            unit => crate::report::show(value, unit),
        }
    }
}

/// The figures of a pattern; the first is the one that matters most, unless the scenario says otherwise.
pub fn of(pattern: Pattern) -> &'static [Metric] {
    match pattern {
        Pattern::Fanout => FANOUT,
        Pattern::Idle => IDLE,
        Pattern::Churn => CHURN,
        Pattern::Slow => SLOW,
    }
}

/// The figure whose curve over the points of a scenario is drawn, `main` being what matters most there.
pub fn curve(pattern: Pattern, main: &'static Metric) -> &'static Metric {
    let held = of(pattern).iter().find(|metric| metric.key == "held_bytes");
    held.unwrap_or(main)
}

/// Percentiles of the latency, for plots: label and key.
pub const PERCENTILES: [(&str, &str); 5] =
    [("p50", "p50_us"), ("p90", "p90_us"), ("p99", "p99_us"), ("p99.9", "p999_us"), ("max", "max_us")];

/// What the server's cores did for each delivery, threads of the kernel included: a server whose calls are long has
/// some of the network's work done there, where it does not count as its own.
pub const CORES_EACH_KEY: &str = "cores_us_per_delivery";

type Read = fn(&Value) -> Option<f64>;

const fn ranged(key: &'static str, label: &'static str, unit: Unit, read: Read) -> Metric {
    Metric { key, label, unit, shown: Shown::Range, read }
}

const fn plain(key: &'static str, label: &'static str, unit: Unit, read: Read) -> Metric {
    Metric { key, label, unit, shown: Shown::Median, read }
}

const fn hidden(key: &'static str, label: &'static str, unit: Unit, read: Read) -> Metric {
    Metric { key, label, unit, shown: Shown::Nothing, read }
}

const CPU: Metric =
    plain("cpu_cores", "server's CPU", Unit::Cores, |report| report["server"]["cpu_cores"].as_f64());
const CPU_EACH: Metric = ranged("cpu_us_per_delivery", "CPU per delivery", Unit::Nanos, |report| {
    report["server"]["cpu_us_per_delivery"].as_f64()
});
const CORES_EACH: Metric =
    plain(CORES_EACH_KEY, "its cores' CPU", Unit::Nanos, |report| report["server"][CORES_EACH_KEY].as_f64());
const PER_S: Metric =
    ranged("per_s", "deliveries", Unit::PerSecond, |report| report["deliveries"]["per_s"].as_f64());
const BYTES: Metric =
    plain("bytes_each", "bytes each", Unit::Bytes, |report| report["deliveries"]["bytes_each"].as_f64());
const LOST: Metric = plain("lost", "lost", Unit::Count, |report| report["deliveries"]["lost"].as_f64());
const P50: Metric = plain("p50_us", "p50", Unit::Nanos, |report| latency(report, "p50_us"));
const P90: Metric = hidden("p90_us", "p90", Unit::Nanos, |report| latency(report, "p90_us"));
const P99: Metric = ranged("p99_us", "p99", Unit::Nanos, |report| latency(report, "p99_us"));
const P999: Metric = hidden("p999_us", "p99.9", Unit::Nanos, |report| latency(report, "p999_us"));
const MAX: Metric = hidden("max_us", "max", Unit::Nanos, |report| latency(report, "max_us"));

const FANOUT: &[Metric] = &[CPU_EACH, CORES_EACH, PER_S, BYTES, P50, P90, P99, P999, MAX, LOST, CPU];

const IDLE: &[Metric] = &[
    ranged("bytes_per_connection", "memory each", Unit::Bytes, |report| {
        report["server"]["bytes_per_connection"].as_f64()
    }),
    plain("held_bytes", "memory of all", Unit::Bytes, |report| {
        Some(memory(report, "rss_joined_bytes")? - memory(report, "rss_before_bytes")?)
    }),
    hidden("rss_before_bytes", "memory before", Unit::Bytes, |report| memory(report, "rss_before_bytes")),
    plain("joined", "joined", Unit::Count, |report| report["connections"]["joined"].as_f64()),
    CPU,
];

const CHURN: &[Metric] = &[
    ranged("cpu_us_per_cycle", "CPU per cycle", Unit::Nanos, |report| {
        report["server"]["cpu_us_per_cycle"].as_f64()
    }),
    ranged("cycles_per_s", "cycles", Unit::PerSecond, |report| report["cycles"]["per_s"].as_f64()),
    plain("join_p50_us", "join p50", Unit::Nanos, |report| report["connect_and_join"]["p50_us"].as_f64()),
    plain("join_p99_us", "join p99", Unit::Nanos, |report| report["connect_and_join"]["p99_us"].as_f64()),
    plain("failed", "failed", Unit::Count, |report| report["cycles"]["failed"].as_f64()),
    CPU,
];

const SLOW: &[Metric] = &[
    P99,
    P50,
    P90,
    P999,
    MAX,
    CPU_EACH,
    BYTES,
    LOST,
    ranged("grown_bytes_each", "memory each stalled", Unit::Bytes, |report| {
        let stalled = report["stalled_members"]["members"].as_f64().filter(|stalled| *stalled > 0.0)?;
        Some((memory(report, "rss_max_bytes")? - memory(report, "rss_joined_bytes")?) / stalled)
    }),
    plain("cut", "cut off", Unit::Count, |report| {
        report["stalled_members"]["members"].as_f64().filter(|stalled| *stalled > 0.0)?;
        let ends = report["stalled_members"]["ends"].as_object()?;
        Some(ends.values().filter_map(Value::as_f64).sum())
    }),
    plain("last_cut_us", "last cut after", Unit::Nanos, |report| {
        report["stalled_members"]["last_cut_us"].as_f64()
    }),
];

fn latency(report: &Value, key: &str) -> Option<f64> {
    report["latency"][key].as_f64()
}

fn memory(report: &Value, key: &str) -> Option<f64> {
    report["server"][key].as_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn figures_are_read_or_absent() {
        let report = json!({
            "server": { "rss_before_bytes": 1_000, "rss_joined_bytes": 3_000, "rss_max_bytes": 9_000 },
            "stalled_members": { "members": 2, "ends": { "eof": 1, "4430": 1 } },
        });
        let read = |metrics: &[Metric], key: &str| {
            (metrics.iter().find(|metric| metric.key == key).unwrap().read)(&report)
        };
        assert_eq!(read(IDLE, "held_bytes"), Some(2_000.0));
        assert_eq!(read(SLOW, "grown_bytes_each"), Some(3_000.0));
        assert_eq!(read(SLOW, "cut"), Some(2.0));
        assert_eq!(read(SLOW, "last_cut_us"), None);
        assert_eq!(read(FANOUT, "p99_us"), None);
    }

    #[test]
    fn nobody_stalled_is_nobody_cut() {
        let report = json!({ "stalled_members": { "members": 0, "ends": {} } });
        for key in ["grown_bytes_each", "cut"] {
            let metric = SLOW.iter().find(|metric| metric.key == key).unwrap();
            assert_eq!((metric.read)(&report), None);
        }
    }

    #[test]
    fn plots_find_their_figures() {
        for (_, key) in PERCENTILES {
            assert!(FANOUT.iter().any(|metric| metric.key == key), "{key}");
            assert!(SLOW.iter().any(|metric| metric.key == key), "{key}");
        }
        assert_eq!(curve(Pattern::Idle, &IDLE[0]).key, "held_bytes");
        assert_eq!(curve(Pattern::Fanout, &P99).key, "p99_us");
        assert_eq!(CPU_EACH.show(0.34), "0.34 us");
    }
}
