//! Which cores the server gets and which the load.

use std::fs;

use anyhow::{Context as _, Result, bail, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The calling thread.
const THIS_THREAD: Pid = Pid::from_raw(0);

/// Cores of one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Those of the server.
    pub server: Vec<usize>,
    /// Those of the load; the same as the server's where the machine has but one.
    pub load: Vec<usize>,
}

/// Deals `count` of `cores` to the server and the others to the load; `None` when no core would be left for
/// the load. A single core they share.
pub fn split(cores: &[usize], count: usize) -> Option<Split> {
    match cores {
        [] => None,
        [only] => (count == 1).then(|| Split { server: vec![*only], load: vec![*only] }),
        _ => {
            let (server, load) = cores.split_at_checked(count)?;
            (!load.is_empty()).then(|| Split { server: server.into(), load: load.into() })
        }
    }
}

impl Split {
    /// Server and load have no core to themselves.
    pub fn is_shared(&self) -> bool {
        self.server == self.load
    }

    /// A core of the load that is a hardware thread of a server's core: it slows the server down unseen.
    pub fn sibling(&self) -> Option<usize> {
        let of = |core: &usize| {
            let path = format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list");
            read_list(&fs::read_to_string(path).unwrap_or_default())
        };
        let siblings: Vec<usize> = self.server.iter().flat_map(of).collect();
        self.load.iter().copied().find(|core| siblings.contains(core) && !self.server.contains(core))
    }
}

/// The cores to use, those for the server first: `wanted`, or all that this process may use, from the last
/// on, since the first ones have the most interrupts.
///
/// # Errors
/// When a wanted core may not be used.
pub fn usable(wanted: &[usize]) -> Result<Vec<usize>> {
    let allowed = sched_getaffinity(THIS_THREAD).context("the cores of this process")?;
    let allowed: Vec<usize> =
        (0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap_or(false)).rev().collect();
    if wanted.is_empty() {
        return Ok(allowed);
    }
    for (i, core) in wanted.iter().enumerate() {
        ensure!(allowed.contains(core), "--cores: core {core} may not be used, only {allowed:?}");
        if wanted[..i].contains(core) {
            bail!("--cores: core {core} is there twice");
        }
    }
    Ok(wanted.to_vec())
}

/// Keeps the calling thread, and the threads and processes that it starts, on these cores.
///
/// # Errors
/// When the kernel refuses.
pub fn stay_on(cores: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core).with_context(|| format!("core {core}"))?;
    }
    sched_setaffinity(THIS_THREAD, &set).with_context(|| format!("staying on the cores {cores:?}"))
}

/// Reads `0-2,5`.
fn read_list(text: &str) -> Vec<usize> {
    let part = |part: &str| {
        let (first, last) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
        Some(first.parse::<usize>().ok()?..=last.parse().ok()?)
    };
    text.split(',').filter_map(part).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_gets_the_other_cores() {
        let of = |cores: &[usize], count| split(cores, count).map(|split| (split.server, split.load));
        assert_eq!(of(&[3, 2, 1, 0], 1), Some((vec![3], vec![2, 1, 0])));
        assert_eq!(of(&[3, 2, 1, 0], 2), Some((vec![3, 2], vec![1, 0])));
        assert_eq!(of(&[1, 0], 1), Some((vec![1], vec![0])));
        assert_eq!(of(&[1, 0], 2), None);
        assert_eq!(of(&[1, 0], 3), None);
        assert_eq!(of(&[], 1), None);
    }

    #[test]
    fn a_single_core_is_shared() {
        let only = split(&[0], 1).unwrap();
        assert!(only.is_shared() && only.sibling().is_none());
        assert_eq!(split(&[0], 2), None);
        assert!(!split(&[1, 0], 1).unwrap().is_shared());
    }

    #[test]
    fn a_thread_stays_where_it_is_put() {
        let cores = usable(&[]).unwrap();
        std::thread::spawn(move || {
            stay_on(&cores[..1]).unwrap();
            assert_eq!(usable(&[]).unwrap(), cores[..1]);
            assert_eq!(usable(&cores[..1]).unwrap(), cores[..1]);
            assert!(usable(&[cores[0], cores[0]]).is_err());
            assert!(usable(&[100_000]).is_err() && stay_on(&[100_000]).is_err());
        })
        .join()
        .unwrap();
    }

    #[test]
    fn lists_of_cores() {
        assert_eq!(read_list("0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(read_list(""), Vec::<usize>::new());
    }
}
