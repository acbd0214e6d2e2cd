//! What the cores of the machine do, from /proc/stat: it tells whether a run had them to itself.
//!
//! Read here and not by `procfs` (`KernelStats`), which numbers cores by their place in the file: it is wrong about all
//! cores behind one that is offline.

use std::fs;

use serde_json::{Value, json};

use crate::process::tick_ns;

/// Time that one core spent since the start of the machine, in steps of 10 ms. What it did is found out by looking at it
/// some hundred times a second, so that work in step with those looks is seen far too seldom or too often; when it had
/// nothing to do is measured (on kernels without a tick for idle cores, which nearly all are).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoreTimes {
    /// Number of the core.
    pub core: usize,
    /// In processes, in user space and in the kernel.
    pub used_ns: u64,
    /// In interrupts, the network's work after them included. Some kernels count it for the process that
    /// was interrupted as well.
    pub interrupts_ns: u64,
    /// Taken away by the host of a virtual machine.
    pub stolen_ns: u64,
    /// With nothing to do.
    pub idle_ns: u64,
}

/// What one core did in a window, as parts of the window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CoreUse {
    /// Number of the core.
    pub core: usize,
    /// See [`CoreTimes::used_ns`].
    pub used: f64,
    /// See [`CoreTimes::interrupts_ns`].
    pub interrupts: f64,
    /// See [`CoreTimes::stolen_ns`].
    pub stolen: f64,
    /// See [`CoreTimes::idle_ns`].
    pub idle: f64,
}

impl CoreUse {
    /// For the report; [`CoreUse::from_json`] reads it.
    pub fn to_json(self) -> Value {
        let Self { core, used, interrupts, stolen, idle } = self;
        json!({ "core": core, "used": used, "interrupts": interrupts, "stolen": stolen, "idle": idle })
    }

    /// What [`CoreUse::to_json`] wrote.
    pub fn from_json(value: &Value) -> Option<Self> {
        let share = |key: &str| value[key].as_f64();
        let core = usize::try_from(value["core"].as_u64()?).ok()?;
        let [used, interrupts, stolen, idle] = ["used", "interrupts", "stolen", "idle"].map(share);
        Some(Self { core, used: used?, interrupts: interrupts?, stolen: stolen?, idle: idle? })
    }

    /// Those of a report of the load tool that a machine told.
    pub fn of_report(report: &Value) -> Vec<Self> {
        report["machine"]["cores"].as_array().into_iter().flatten().filter_map(Self::from_json).collect()
    }

    /// The part of the window in which it did anything.
    pub fn busy(&self) -> f64 {
        (1.0 - self.idle - self.stolen).max(0.0)
    }
}

/// All cores now; empty where /proc/stat is not as expected.
pub fn core_times() -> Vec<CoreTimes> {
    parse(&fs::read_to_string("/proc/stat").unwrap_or_default())
}

/// The difference of two looks that are `wall_ns` apart.
pub fn core_use(first: &[CoreTimes], last: &[CoreTimes], wall_ns: u64) -> Vec<CoreUse> {
    let part = |last: u64, first: u64| last.saturating_sub(first) as f64 / wall_ns.max(1) as f64;
    let one = |last: &CoreTimes| {
        let first = first.iter().find(|first| first.core == last.core)?;
        Some(CoreUse {
            core: last.core,
            used: part(last.used_ns, first.used_ns),
            interrupts: part(last.interrupts_ns, first.interrupts_ns),
            stolen: part(last.stolen_ns, first.stolen_ns),
            idle: part(last.idle_ns, first.idle_ns),
        })
    };
    last.iter().filter_map(one).collect()
}

/// Lines `cpu3 user nice system idle iowait irq softirq steal guest guest_nice`; guests count as user.
fn parse(stat: &str) -> Vec<CoreTimes> {
    let tick_ns = tick_ns();
    let line = |line: &str| {
        let mut fields = line.strip_prefix("cpu")?.split_ascii_whitespace();
        // The sum of all cores has no number.
        let core = fields.next().filter(|_| !line.starts_with("cpu "))?.parse().ok()?;
        let ticks: Vec<u64> = fields.map_while(|field| field.parse().ok()).collect();
        let [user, nice, system, idle, iowait, irq, softirq, steal, ..] = ticks[..] else { return None };
        Some(CoreTimes {
            core,
            used_ns: (user + nice + system) * tick_ns,
            interrupts_ns: (irq + softirq) * tick_ns,
            stolen_ns: steal * tick_ns,
            idle_ns: (idle + iowait) * tick_ns,
        })
    };
    stat.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_read_and_the_sum_is_not() {
        let stat =
            "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 1 2 3 100 0 4 5 6 0 0\ncpu12 7 0 0 1 0 0 0 0 0 0\nintr 5\n";
        let cores = parse(stat);
        let first = CoreTimes {
            core: 0,
            used_ns: 6 * tick_ns(),
            interrupts_ns: 9 * tick_ns(),
            stolen_ns: 6 * tick_ns(),
            idle_ns: 100 * tick_ns(),
        };
        assert_eq!((cores.len(), cores[0], cores[1].core), (2, first, 12));
        assert_eq!(parse("cpu0 1 2 x"), []);
    }

    #[test]
    fn shares_are_parts_of_the_window() {
        let at = |core, used_ns, stolen_ns, idle_ns| CoreTimes {
            core,
            used_ns,
            interrupts_ns: 0,
            stolen_ns,
            idle_ns,
        };
        let seen = core_use(&[at(0, 100, 0, 0), at(1, 5, 5, 5)], &[at(1, 55, 15, 45), at(2, 9, 9, 9)], 100);
        assert_eq!(seen, [CoreUse { core: 1, used: 0.5, interrupts: 0.0, stolen: 0.1, idle: 0.4 }]);
        assert_eq!(seen[0].busy(), 0.5);
        assert_eq!(CoreUse::from_json(&seen[0].to_json()), Some(seen[0]));
        assert_eq!(CoreUse::from_json(&Value::Null), None);
    }

    #[test]
    fn this_machine_has_cores() {
        assert!(core_times().iter().any(|core| core.used_ns > 0));
    }
}
