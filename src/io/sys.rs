//! System calls that no library in the tree offers safely. Beside `ring`, the only unsafe code of the server.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Raises the soft limit of open files to `wanted`, the hard limit too where the process may. Returns the limit in
/// force afterwards.
pub(super) fn raise_open_files(wanted: u64) -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for one rlimit.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if limit.rlim_cur >= wanted {
        return Ok(limit.rlim_cur);
    }
    for hard in [limit.rlim_max.max(wanted), limit.rlim_max] {
        let raised = libc::rlimit { rlim_cur: wanted.min(hard), rlim_max: hard };
        // SAFETY: `raised` is a valid rlimit.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) } == 0 {
            return Ok(raised.rlim_cur);
        }
    }
    Ok(limit.rlim_cur)
}

/// The user that the process acts as.
pub(super) fn effective_user() -> u32 {
    // SAFETY: the call has no arguments and always succeeds (geteuid(2)).
    unsafe { libc::geteuid() }
}

/// Lets tokio watch a poll, through a descriptor of its own.
pub(super) fn watch_poll(poll: &mio::Poll) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the poll owns its descriptor and is borrowed for the whole call.
    let descriptor = unsafe { BorrowedFd::borrow_raw(poll.as_raw_fd()) }.try_clone_to_owned()?;
    // SAFETY: the new descriptor moves into the `AsyncFd` and is closed by it alone, after it is deregistered.
    unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }.map_err(Into::into)
}

/// Limits the bytes not yet sent that the kernel takes on top of those in flight (`TCP_NOTSENT_LOWAT`, tcp(7)).
pub(super) fn set_notsent_lowat(socket: BorrowedFd<'_>, bytes: u32) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, &bytes)
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
    set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF, &filter)
}

fn set_option<T>(socket: BorrowedFd<'_>, level: i32, name: i32, value: &T) -> io::Result<()> {
    let pointer: *const T = value;
    // SAFETY: `value` is valid for reads of its size for the whole call, and the kernel checks the size.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, pointer.cast(), size_of::<T>() as libc::socklen_t)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::fd::AsFd;

    #[test]
    fn the_kernel_accepts_the_options() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        set_notsent_lowat(listener.as_fd(), 16384).unwrap();
        let group = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        group.set_reuse_port(true).unwrap();
        group.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
        group.listen(1).unwrap();
        steer_by_cpu(group.as_fd(), 1).unwrap();
        assert!(raise_open_files(256).unwrap() >= 256);
    }
}
