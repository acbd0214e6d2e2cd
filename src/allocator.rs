//! The allocator of the binary, set to give memory back soon and to take it in small pages. A program that embeds the
//! server has its own.

#![allow(unsafe_code)]

use libmimalloc_sys::{mi_collect, mi_option_set, mi_option_t};
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// `mi_option_purge_delay` of `mimalloc.h`, version 3, which the binding does not name.
const PURGE_DELAY: mi_option_t = 15;

/// How long pages stay after their last block was freed, in milliseconds. The second that is mimalloc's own choice keeps
/// what a burst of handshakes needed, some 100 bytes for each of 10,000 connections, until something is freed again.
const PURGE_DELAY_MS: std::ffi::c_long = 10;

/// Sets the allocator. To be called first.
pub fn set_up() {
    // SAFETY: sets a number in a table of the allocator's, atomically; the index is within the table.
    unsafe { mi_option_set(PURGE_DELAY, PURGE_DELAY_MS) }
    // Where transparent huge pages are on for all (Debian's default), tables that grow by some KiB would be given
    // 2 MiB at a time. The allocator's own setting for it is read before `main`. A kernel without it has no such pages.
    // SAFETY: sets a flag of this process; the unused arguments must be zero (PR_SET_THP_DISABLE(2const)).
    let _ = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}

/// Gives free memory of the calling thread back to the system. Without it the pages of small blocks stay with the thread,
/// and those of large ones until something is freed again.
pub fn give_back() {
    // SAFETY: frees what nothing points to; any thread may call it at any time.
    unsafe { mi_collect(true) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_is_the_one_that_is_meant() {
        // SAFETY: reads a number in a table of the allocator's, atomically; the index is within the table.
        let get = || unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        assert_eq!(get(), 1000, "mimalloc 3 has this default for the purge delay alone");
        set_up();
        assert_eq!(get(), PURGE_DELAY_MS);
        let status = std::fs::read_to_string("/proc/self/status").expect("a process can read its own status");
        // Kernels before 5.0 do not tell.
        if let Some(line) = status.lines().find(|line| line.starts_with("THP_enabled:")) {
            assert_eq!(line.split_whitespace().last(), Some("0"));
        }
    }
}
