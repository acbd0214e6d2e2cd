//! Which cores the shards' threads stay on.

use crate::config::PinThreads;
use core_affinity::CoreId;

/// The cores that the threads of `shards` shards are pinned to, in turn; none: the kernel places them.
pub fn cores_to_pin(pin: PinThreads, shards: usize) -> Vec<CoreId> {
    let allowed = core_affinity::get_core_ids().unwrap_or_default();
    // The standard library takes the quota of the control group off what sched_getaffinity(2) says.
    let usable = std::thread::available_parallelism().map_or(1, usize::from);
    if is_pinned(pin, shards, allowed.len(), usable) { allowed } else { Vec::new() }
}

/// Whether threads are pinned, where the process may use `allowed` cores, and by its quota as much time as `usable`
/// of them have.
fn is_pinned(pin: PinThreads, shards: usize, allowed: usize, usable: usize) -> bool {
    match pin {
        PinThreads::Always => true,
        PinThreads::Never => false,
        PinThreads::Auto => shards == allowed && usable >= allowed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_server_that_has_all_cores_pins_its_threads() {
        let auto = |shards, allowed, usable| is_pinned(PinThreads::Auto, shards, allowed, usable);
        assert!(auto(4, 4, 4) && auto(1, 1, 1));
        assert!(!auto(1, 4, 4), "another server may take the other cores");
        assert!(!auto(8, 4, 4), "two shards of one core would wait for each other");
        assert!(!auto(1, 4, 1), "a quota of one core");
        assert!(!auto(4, 4, 2), "a quota of two cores");
        assert!(is_pinned(PinThreads::Always, 1, 4, 1) && !is_pinned(PinThreads::Never, 4, 4, 4));
    }
}
