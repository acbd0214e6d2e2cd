//! CPU time and memory of a process or thread, from /proc.

use anyhow::{Context as _, Result};
use procfs::process::{Process, Stat, Task, all_processes};

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
    let stat = look(pid)?.stat().with_context(|| format!("process {pid}"))?;
    let tick_ns = tick_ns();
    Ok(Cpu { user_ns: stat.utime * tick_ns, system_ns: stat.stime * tick_ns })
}

/// The unit of times in /proc, in nanoseconds: 10 ms on every Linux architecture in use.
pub fn tick_ns() -> u64 {
    1_000_000_000 / procfs::ticks_per_second()
}

fn look(pid: u32) -> Result<Process> {
    let pid = i32::try_from(pid).context("no process has such a number")?;
    Process::new(pid).with_context(|| format!("no process {pid}"))
}

/// The processes that `pid` has started, and those that they have; empty where /proc does not tell.
pub fn descendants(pid: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> =
        all_stats().map(|stat| (stat.ppid.cast_unsigned(), stat.pid.cast_unsigned())).collect();
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
    let of_group = all_stats().filter(|stat| stat.pgrp.cast_unsigned() == leader);
    of_group.map(|stat| stat.pid.cast_unsigned()).collect()
}

/// What /proc tells of each process that may be looked at.
fn all_stats() -> impl Iterator<Item = Stat> {
    let processes = all_processes().into_iter().flatten();
    // One that ends meanwhile is left out.
    processes.filter_map(|process| process.ok()?.stat().ok())
}

/// CPU time of one thread, in nanoseconds.
pub fn task_cpu_ns(task: &Task) -> Option<u64> {
    Some(task.schedstat().ok()?.sum_exec_runtime)
}

/// The calling thread, to be looked at by any thread of the process.
pub fn own_task() -> Option<Task> {
    Process::myself().ok()?.task_from_tid(nix::unistd::gettid().as_raw()).ok()
}

/// Resident memory of process `pid`, in bytes: smaps_rollup, which is exact, else VmRSS.
///
/// # Errors
/// When the process is gone or may not be looked at.
pub fn rss_bytes(pid: u32) -> Result<u64> {
    let exact = look(pid)?.smaps_rollup().ok().and_then(|rollup| {
        rollup.memory_map_rollup.iter().find_map(|map| map.extension.map.get("Rss").copied())
    });
    exact.map_or_else(|| rss_rough_bytes(pid), Ok)
}

/// Resident memory of process `pid`, in bytes, at little cost to the process but some pages off (VmRSS).
///
/// # Errors
/// When the process is gone or may not be looked at.
pub fn rss_rough_bytes(pid: u32) -> Result<u64> {
    let status = look(pid)?.status().with_context(|| format!("process {pid}"))?;
    Ok(status.vmrss.context("no VmRSS in /proc/PID/status")? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    #[test]
    fn this_process_is_visible() {
        let before = cpu(std::process::id()).unwrap();
        let mut sum = 0_u64;
        let until = Instant::now() + Duration::from_millis(60);
        while Instant::now() < until {
            sum = std::hint::black_box(sum + 1);
        }
        let used = cpu(std::process::id()).unwrap().since(before);
        assert!(used.total_ns() >= tick_ns(), "{used:?} {sum}");
        let (exact, rough) =
            (rss_bytes(std::process::id()).unwrap(), rss_rough_bytes(std::process::id()).unwrap());
        assert!(exact > 100_000 && exact.abs_diff(rough) < exact, "{exact} {rough}");
        let own = std::process::id();
        assert!(cpu_of(&[own, own]).unwrap().total_ns() >= 2 * used.total_ns());
        assert!(rss_of(&[own, own], rss_bytes).unwrap() > 200_000);
        assert!(cpu_of(&[]).is_none() && rss_of(&[], rss_bytes).is_none());
        for none in [u32::MAX, i32::MAX.cast_unsigned()] {
            assert!(cpu_of(&[own, none]).is_none() && rss_of(&[own, none], rss_bytes).is_none());
        }
    }

    #[test]
    fn a_thread_is_seen_by_others() {
        let (task, used_ns) = std::thread::spawn(|| {
            let task = own_task().unwrap();
            let mut sum = 0_u64;
            while task_cpu_ns(&task).unwrap() < 1_000_000 {
                sum = std::hint::black_box(sum + 1);
            }
            let used_ns = task_cpu_ns(&task).unwrap();
            (task, used_ns)
        })
        .join()
        .unwrap();
        assert!(used_ns >= 1_000_000);
        assert_ne!(task.tid, own_task().unwrap().tid);
        let mine = own_task().unwrap();
        assert!(std::thread::spawn(move || task_cpu_ns(&mine)).join().unwrap().is_some());
    }

    #[test]
    fn children_are_found() {
        let mut child = Command::new("sh")
            // A name with brackets and spaces does not matter; the second command keeps `sh` as the parent.
            .args(["-c", "cat; true", "a) (b"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let (own, child_pid) = (std::process::id(), child.id());
        while descendants(child_pid).is_empty() {
            std::thread::yield_now();
        }
        let grandchild = descendants(child_pid)[0];
        let found = descendants(own);
        assert!(found.contains(&child_pid) && found.contains(&grandchild) && !found.contains(&own));
        let leader = nix::unistd::getpgrp().as_raw().cast_unsigned();
        let group = group(leader);
        assert!(group.contains(&own) && group.contains(&child_pid) && group.contains(&grandchild));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(!descendants(own).contains(&child_pid));
    }
}
