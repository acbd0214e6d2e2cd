//! Whether a run can be believed: what else ran on its cores, and whether the load kept up.

use std::fmt;

use serde_json::Value;

use super::cores::Split;
use crate::machine::CoreUse;
use crate::watch::BUSY_LIMIT;

/// Figures of /proc come in steps of 10 ms and are sampled: this much is nothing, in microseconds.
const UNSEEN_US: f64 = 30_000.0;

/// Messages sent later than this, in microseconds, ...
const LATE_US: f64 = 5_000.0;

/// ... and than this part of the latency's p99 make the latency the load tool's own.
const LATE_SHARE: f64 = 0.25;

/// Something that makes a run doubtful.
#[derive(Clone, Debug, PartialEq)]
pub enum Mark {
    /// Other processes on the server's cores, as part of them.
    OtherOnServer(f64),
    /// Other processes on the load's cores, as part of them.
    OtherOnLoad(f64),
    /// The host took this part of the cores away.
    Stolen(f64),
    /// A load thread was busy for this part of the time: the server may have waited for it.
    Saturated(f64),
    /// The load came late: microseconds at the 99th percentile.
    Late(f64),
}

impl Mark {
    /// It came from outside: another run may do without it.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::OtherOnServer(_) | Self::OtherOnLoad(_) | Self::Stolen(_) => true,
            Self::Saturated(_) | Self::Late(_) => false,
        }
    }

    /// How bad it is: a part of the cores, or of a second.
    pub fn size(&self) -> f64 {
        match self {
            Self::OtherOnServer(share)
            | Self::OtherOnLoad(share)
            | Self::Stolen(share)
            | Self::Saturated(share) => *share,
            Self::Late(us) => us / 1e6,
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherOnServer(share) => {
                write!(out, "other load on the server's cores: {}", percent(*share))
            }
            Self::OtherOnLoad(share) => {
                write!(out, "other load on the load tool's cores: {}", percent(*share))
            }
            Self::Stolen(share) => write!(out, "the host took {}", percent(*share)),
            Self::Saturated(share) => write!(out, "a load thread was {} busy", percent(*share)),
            Self::Late(us) => write!(out, "messages went out {:.1} ms late", us / 1_000.0),
        }
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Judges the load tool's report of a run. More than `share_max` of the cores taken by others spoils it.
pub fn judge(report: &Value, split: &Split, share_max: f64) -> Vec<Mark> {
    let figure = |section: &str, key: &str| report[section][key].as_f64();
    let cores = CoreUse::of_report(report);
    let window_us = figure("machine", "window_us").unwrap_or(0.0).max(1.0);
    let own = figure("load_tool", "cpu_cores").unwrap_or(0.0);
    let server = figure("server", "cpu_cores").unwrap_or(0.0);

    let mut marks = Vec::new();
    // Shares of all the cores given; what is too little to be seen counts as nothing.
    let share = |of: &[usize], know: f64, take: fn(&CoreUse) -> f64| {
        let taken: f64 = cores.iter().filter(|core| of.contains(&core.core)).map(take).sum();
        let others = taken - know - UNSEEN_US / window_us;
        Some(others / of.len().max(1) as f64).filter(|share| *share > share_max)
    };
    if split.is_shared() {
        marks.extend(share(&split.server, server + own, |core| core.used).map(Mark::OtherOnServer));
    } else {
        marks.extend(share(&split.server, server, |core| core.used).map(Mark::OtherOnServer));
        marks.extend(share(&split.load, own, |core| core.used).map(Mark::OtherOnLoad));
    }
    let stolen = [&split.server, &split.load].into_iter().filter_map(|of| share(of, 0.0, |core| core.stolen));
    marks.extend(stolen.max_by(f64::total_cmp).map(Mark::Stolen));
    let busiest = figure("load_tool", "busiest_cores").unwrap_or(0.0);
    if busiest > BUSY_LIMIT {
        marks.push(Mark::Saturated(busiest));
    }
    let (late, latency) = (figure("load_tool", "lateness_p99_us"), figure("latency", "p99_us"));
    if let (Some(late), Some(latency)) = (late, latency)
        && late > LATE_US
        && late > latency * LATE_SHARE
    {
        marks.push(Mark::Late(late));
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SHARE: f64 = 0.05;

    /// A second on a machine of four cores: the server on core 3 used 0.9 of it, the load 1.5 of the others.
    fn quiet() -> Value {
        let core = |core, used| CoreUse { core, used, interrupts: 0.2, stolen: 0.0, idle: 0.0 }.to_json();
        json!({
            "machine": { "window_us": 1_000_000, "cores": [core(0, 0.5), core(1, 0.5), core(2, 0.51), core(3, 0.91)] },
            "server": { "cpu_cores": 0.9 },
            "load_tool": { "cpu_cores": 1.5, "busiest_cores": 0.6, "lateness_p99_us": 90.0 },
            "latency": { "p99_us": 400.0 },
        })
    }

    fn judged(change: impl FnOnce(&mut Value)) -> Vec<Mark> {
        let mut report = quiet();
        change(&mut report);
        judge(&report, &Split { server: vec![3], load: vec![2, 1, 0] }, SHARE)
    }

    #[test]
    fn a_quiet_run_has_no_mark() {
        assert_eq!(judged(|_| {}), []);
        // Too little to be told from the way it is counted.
        assert_eq!(judged(|report| report["server"]["cpu_cores"] = json!(0.84)), []);
        // Less used than the process says: interrupts are counted elsewhere.
        assert_eq!(judged(|report| report["machine"]["cores"][3]["used"] = json!(0.2)), []);
    }

    #[test]
    fn other_load_is_seen_on_either_side() {
        let marks = judged(|report| report["machine"]["cores"][3]["used"] = json!(1.0));
        assert!(
            matches!(marks[..], [Mark::OtherOnServer(share)] if (0.06..0.08).contains(&share)),
            "{marks:?}"
        );
        let marks = judged(|report| report["machine"]["cores"][0]["used"] = json!(1.0));
        assert!(
            matches!(marks[..], [Mark::OtherOnLoad(share)] if (0.15..0.17).contains(&share)),
            "{marks:?}"
        );
        assert!(marks[0].is_passing() && marks[0].to_string().contains("load tool's cores: 16.0 %"));
    }

    #[test]
    fn stolen_time_is_seen() {
        let marks = judged(|report| report["machine"]["cores"][3]["stolen"] = json!(0.2));
        assert!(matches!(marks[..], [Mark::Stolen(share)] if (0.16..0.18).contains(&share)), "{marks:?}");
    }

    #[test]
    fn a_load_that_does_not_keep_up_is_seen() {
        let marks = judged(|report| report["load_tool"]["busiest_cores"] = json!(0.97));
        assert_eq!(marks, [Mark::Saturated(0.97)]);
        assert!(!marks[0].is_passing());
        let late = |latency_us: f64| {
            judged(|report| {
                report["load_tool"]["lateness_p99_us"] = json!(6_000.0);
                report["latency"]["p99_us"] = json!(latency_us);
            })
        };
        assert_eq!(late(7_000.0), [Mark::Late(6_000.0)]);
        assert_eq!(late(70_000.0), []);
    }

    #[test]
    fn on_one_core_the_load_is_no_stranger() {
        let mut report = quiet();
        let core = CoreUse { core: 0, used: 1.0, interrupts: 0.0, stolen: 0.0, idle: 0.0 };
        report["machine"]["cores"] = json!([core.to_json()]);
        report["server"]["cpu_cores"] = json!(0.5);
        report["load_tool"]["cpu_cores"] = json!(0.5);
        let split = Split { server: vec![0], load: vec![0] };
        assert_eq!(judge(&report, &split, SHARE), []);
        report["load_tool"]["cpu_cores"] = json!(0.3);
        assert!(matches!(judge(&report, &split, SHARE)[..], [Mark::OtherOnServer(_)]));
    }

    #[test]
    fn a_report_without_figures_has_no_mark() {
        assert_eq!(judge(&Value::Null, &Split { server: vec![0], load: vec![1] }, SHARE), []);
    }
}
