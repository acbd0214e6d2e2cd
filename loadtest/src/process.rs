//! CPU time and memory of a process or thread, from /proc.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// USER_HZ, the unit of /proc/PID/stat: 100 on every Linux architecture in use.
pub const TICK_NS: u64 = 10_000_000;

/// CPU time of a process since its start, all its threads, in nanoseconds but in steps of 10 ms.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    /// In user space.
    pub user_ns: u64,
    /// In the kernel.
    pub system_ns: u64,
}

impl Cpu {
    /// User and system time together.
    pub fn total_ns(self) -> u64 {
        self.user_ns + self.system_ns
    }

    /// The time since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            user_ns: self.user_ns.saturating_sub(earlier.user_ns),
            system_ns: self.system_ns.saturating_sub(earlier.system_ns),
        }
    }
}

/// CPU time of several processes together; `None` when there is none or one may not be looked at.
pub fn cpu_of(pids: &[u32]) -> Option<Cpu> {
    let all = pids.iter().map(|pid| cpu(*pid).ok());
    all.reduce(|sum, one| {
        let (sum, one) = (sum?, one?);
        Some(Cpu { user_ns: sum.user_ns + one.user_ns, system_ns: sum.system_ns + one.system_ns })
    })?
}

/// Resident memory of several processes together, in bytes, by `look`; pages that they share count
/// for each. `None` when there is none or one may not be looked at.
pub fn rss_of(pids: &[u32], look: impl Fn(u32) -> Result<u64>) -> Option<u64> {
    if pids.is_empty() {
        return None;
    }
    pids.iter().map(|pid| look(*pid).ok()).sum()
}

/// CPU time of process `pid`.
///
/// # Errors
/// When the process is gone or may not be looked at.
pub fn cpu(pid: u32) -> Result<Cpu> {
    let stat =
        fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("no process {pid}"))?;
    let (user, system) = parse_stat(&stat).context("/proc/PID/stat is not as expected")?;
    Ok(Cpu { user_ns: user * TICK_NS, system_ns: system * TICK_NS })
}

/// The processes that `pid` has started, and those that they have; empty where /proc does not tell.
pub fn descendants(pid: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> =
        all_stats().filter_map(|(child, stat)| Some((parse_field(&stat, 4)?, child))).collect();
    let mut found = vec![pid];
    let mut looked_at = 0;
    while let Some(&of) = found.get(looked_at) {
        let children = parents.iter().filter(|(parent, child)| *parent == of && !found.contains(child));
        let children: Vec<u32> = children.map(|(_, child)| *child).collect();
        found.extend(children);
        looked_at += 1;
    }
    found.split_off(1)
}

/// The processes of the group that process `leader` founded, itself among them while it is there.
pub fn group(leader: u32) -> Vec<u32> {
    all_stats().filter(|(_, stat)| parse_field(stat, 5) == Some(leader)).map(|(pid, _)| pid).collect()
}

/// All processes and their /proc/PID/stat.
fn all_stats() -> impl Iterator<Item = (u32, String)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter_map(|pid: u32| Some((pid, fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)))
}

/// CPU time of one task, its directory given.
pub fn task_cpu_ns(task: &Path) -> Option<u64> {
    fs::read_to_string(task.join("schedstat")).ok()?.split(' ').next()?.parse().ok()
}

/// The directory of the calling thread under /proc, readable from every thread of the process.
pub fn own_task() -> Option<PathBuf> {
    Some(Path::new("/proc").join(fs::read_link("/proc/thread-self").ok()?))
}

/// Resident memory of process `pid`, in bytes: smaps_rollup, which is exact, else VmRSS.
///
/// # Errors
/// When the process is gone or may not be looked at.
pub fn rss_bytes(pid: u32) -> Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    if let Some(bytes) = parse_kilobytes(&rollup, "Rss:") {
        return Ok(bytes);
    }
    rss_rough_bytes(pid)
}

/// Resident memory of process `pid`, in bytes, at little cost to the process but some pages off (VmRSS).
///
/// # Errors
/// When the process is gone or may not be looked at.
pub fn rss_rough_bytes(pid: u32) -> Result<u64> {
    let status =
        fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("no process {pid}"))?;
    parse_kilobytes(&status, "VmRSS:").context("no VmRSS in /proc/PID/status")
}

/// User and system ticks; the name in brackets may itself hold spaces and brackets.
fn parse_stat(stat: &str) -> Option<(u64, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    // After the name comes field 3; utime is field 14.
    let user = fields.nth(11)?.parse().ok()?;
    Some((user, fields.next()?.parse().ok()?))
}

/// Field `number` of /proc/PID/stat, counted from 1, of those behind the name and the state.
fn parse_field(stat: &str, number: usize) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(number - 3)?.parse().ok()
}

fn parse_kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_with_an_awkward_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 31 42 0 0 20 0 1 0 55 1 1";
        assert_eq!(parse_stat(stat), Some((31, 42)));
        assert_eq!(parse_stat("nothing"), None);
        assert_eq!((parse_field(stat, 4), parse_field(stat, 5)), (Some(1), Some(7)));
    }

    #[test]
    fn memory_lines() {
        assert_eq!(parse_kilobytes("x\nVmRSS:\t    12 kB\ny", "VmRSS:"), Some(12 * 1024));
        assert_eq!(parse_kilobytes("x", "VmRSS:"), None);
    }

    #[test]
    fn this_process_is_visible() {
        let before = cpu(std::process::id()).unwrap();
        let mut sum = 0_u64;
        let until = std::time::Instant::now() + std::time::Duration::from_millis(60);
        while std::time::Instant::now() < until {
            sum = std::hint::black_box(sum + 1);
        }
        let used = cpu(std::process::id()).unwrap().since(before);
        assert!(used.total_ns() >= TICK_NS, "{used:?} {sum}");
        assert!(rss_bytes(std::process::id()).unwrap() > 100_000);
        let own = std::process::id();
        assert!(cpu_of(&[own, own]).unwrap().total_ns() >= 2 * used.total_ns());
        assert!(rss_of(&[own, own], rss_bytes).unwrap() > 200_000);
        assert!(cpu_of(&[]).is_none() && rss_of(&[], rss_bytes).is_none());
        assert!(cpu_of(&[own, u32::MAX]).is_none() && rss_of(&[own, u32::MAX], rss_bytes).is_none());
        assert!(task_cpu_ns(&own_task().unwrap()).is_some());
    }
}
