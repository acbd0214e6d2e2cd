//! Listening sockets: one per shard on the TCP port, one for the node on a Unix socket.

use super::sys;
use crate::config::{Config, FlowAffinity};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::Path;

/// Binds one SO_REUSEPORT listener per shard. With port 0 the kernel chooses one, the same for all.
///
/// # Errors
/// Of the system calls; the address is in the text of the error.
pub fn bind_tcp(config: &Config, shards: usize) -> io::Result<Vec<std::net::TcpListener>> {
    let mut address = SocketAddr::new(config.host, config.port);
    let mut listeners = Vec::with_capacity(shards);
    for shard in 0..shards {
        let listener = bind_one(config, address, shard)
            .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))?;
        if address.port() == 0 {
            address = listener.local_addr()?;
        }
        listeners.push(listener);
    }
    if config.flow_affinity == FlowAffinity::Cbpf
        && let Some(first) = listeners.first()
    {
        sys::steer_by_cpu(first.as_fd(), shards as u32)?;
    }
    Ok(listeners)
}

fn bind_one(config: &Config, address: SocketAddr, shard: usize) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    // Options that accepted sockets inherit are set here once instead of on each of them.
    socket.set_tcp_nodelay(true)?;
    let options = &config.socket;
    if options.notsent_lowat_bytes != 0 {
        sys::set_notsent_lowat(socket.as_fd(), options.notsent_lowat_bytes)?;
    }
    if options.send_buffer_bytes != 0 {
        socket.set_send_buffer_size(options.send_buffer_bytes as usize)?;
    }
    if options.receive_buffer_bytes != 0 {
        socket.set_recv_buffer_size(options.receive_buffer_bytes as usize)?;
    }
    if !options.user_timeout.is_zero() {
        socket.set_tcp_user_timeout(Some(options.user_timeout))?;
    }
    if config.flow_affinity == FlowAffinity::IncomingCpu {
        socket.set_cpu_affinity(shard)?;
    }
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(config.listen_backlog).unwrap_or(i32::MAX))?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Binds a Unix socket. A socket file that nobody listens on any more is replaced; one in use is an error.
///
/// # Errors
/// Of the system calls; the path is in the text of the error.
pub fn bind_unix(path: &Path, backlog: u32) -> io::Result<std::os::unix::net::UnixListener> {
    let bind = || -> io::Result<_> {
        if path.exists() {
            let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            if probe.connect(&SockAddr::unix(path)?).is_ok() {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens on it"));
            }
            std::fs::remove_file(path)?;
        }
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    };
    bind().map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {}: {error}", path.display())))
}
