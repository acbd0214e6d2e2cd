//! System calls of the process and its sockets. Where no library in the tree offers one safely there is unsafe code: here,
//! in `ring`, and nowhere else in the server.
#![allow(unsafe_code)]

use rlimit::Resource;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Raises the soft limit of open files to `wanted`, the hard limit too where the process may. Returns the limit in
/// force afterwards.
pub(in crate::io) fn raise_open_files(wanted: u64) -> io::Result<u64> {
    let (soft, hard) = Resource::NOFILE.get()?;
    if soft >= wanted {
        return Ok(soft);
    }
    for hard in [hard.max(wanted), hard] {
        if Resource::NOFILE.set(wanted.min(hard), hard).is_ok() {
            return Ok(wanted.min(hard));
        }
    }
    Ok(soft)
}

/// The user that the process acts as.
pub(super) fn effective_user() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// Lets tokio watch a poll, through a descriptor of its own.
pub(super) fn watch_poll(poll: &mio::Poll) -> io::Result<AsyncFd<OwnedFd>> {
    let descriptor = poll.registry().as_fd().try_clone_to_owned()?;
    // SAFETY: the new descriptor moves into the `AsyncFd` and is closed by it alone, after it is deregistered.
    unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }.map_err(Into::into)
}

/// Makes the kernel give each new connection of a group of SO_REUSEPORT listeners to the listener whose index is
/// the number of the CPU that handles the connection's packets, modulo `listeners` (`SO_ATTACH_REUSEPORT_CBPF`,
/// socket(7)). Called on any one socket of the group; listeners are numbered in the order in which they were bound.
pub(super) fn steer_by_cpu(socket: BorrowedFd<'_>, listeners: u32) -> io::Result<()> {
    // The offsets of ancillary data are negative numbers in an unsigned field.
    let cpu = (libc::SKF_AD_OFF + libc::SKF_AD_CPU) as u32;
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let mut program = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, cpu),
        statement(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, listeners.max(1)),
        statement(libc::BPF_RET | libc::BPF_A, 0),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    let (pointer, bytes): (*const libc::sock_fprog, _) = (&raw const filter, size_of_val(&filter));
    // SAFETY: the filter and its program are valid for reads of their sizes for the whole call, and the kernel checks the
    // sizes and the program.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            pointer.cast(),
            bytes as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_accepts_the_options() {
        let group = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        group.set_reuse_port(true).unwrap();
        group.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
        group.listen(1).unwrap();
        steer_by_cpu(group.as_fd(), 1).unwrap();
        assert!(raise_open_files(256).unwrap() >= 256);
    }
}
