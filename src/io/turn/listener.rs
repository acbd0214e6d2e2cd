//! Listening TCP sockets, one for each shard.

use super::sys;
use crate::config::{Config, FlowAffinity};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

/// Binds one listener for each shard to the same port; none where `tcp` is off. With port 0 the kernel chooses the
/// port.
///
/// The kernel spreads connections over all listeners of a port that have SO_REUSEPORT, whichever process they belong
/// to (socket(7)). So the first listener does without it until it listens: the kernel then refuses a port that another
/// server has, and of two servers that start at the same moment only one gets the port. Afterwards the first listener
/// takes the option and the others join it. With `reuse_port` it has the option from the start.
///
/// # Errors
/// Of the system calls; the text has the address and, where another server has the port, what to do.
pub fn bind_tcp(config: &Config, shards: usize) -> io::Result<Vec<std::net::TcpListener>> {
    if !config.tcp {
        return Ok(Vec::new());
    }
    let mut address = SocketAddr::new(config.host, config.port);
    let mut listeners = Vec::with_capacity(shards);
    for shard in 0..shards {
        let exclusive = shard == 0 && !config.reuse_port;
        let socket = bind_one(config, address, shard, exclusive)
            .and_then(|socket| {
                if exclusive && shards > 1 {
                    socket.set_reuse_port(true)?;
                }
                Ok(socket)
            })
            .map_err(|error| cannot_listen(address, &error))?;
        let listener = std::net::TcpListener::from(socket);
        if address.port() == 0 {
            address = listener.local_addr()?;
        }
        listeners.push(listener);
    }
    if config.flow_affinity == FlowAffinity::Cbpf
        && let [first, _, ..] = &listeners[..]
    {
        sys::steer_by_cpu(first.as_fd(), shards as u32)?;
    }
    Ok(listeners)
}

fn cannot_listen(address: SocketAddr, error: &io::Error) -> io::Error {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => {
            ": another server has this port; stop it, choose another --port, or start both with --reuse-port to share it"
        }
        io::ErrorKind::AddrNotAvailable => ": this machine does not have the address; choose another --host",
        io::ErrorKind::PermissionDenied => ": a port below 1024 needs CAP_NET_BIND_SERVICE",
        _ => "",
    };
    io::Error::new(error.kind(), format!("cannot listen on {address}: {error}{hint}"))
}

/// Connections that wait in the kernel to be accepted by a listener for few.
const SMALL_BACKLOG: i32 = 128;

/// Binds a listener that shares its address with no other.
///
/// # Errors
/// Of the system calls; the address is in the text of the error.
pub(in crate::io) fn bind_alone(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let bind = || -> io::Result<_> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_tcp_nodelay(true)?;
        socket.bind(&address.into())?;
        socket.listen(SMALL_BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    };
    bind().map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {address} (admin_listen): {error}"))
    })
}

fn bind_one(config: &Config, address: SocketAddr, shard: usize, exclusive: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of an earlier server that are in TIME_WAIT do not keep the port.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(!exclusive)?;
    // Options that accepted sockets inherit are set here once instead of on each of them.
    socket.set_tcp_nodelay(true)?;
    let options = &config.socket;
    if options.notsent_lowat_bytes != 0 {
        socket.set_tcp_notsent_lowat(options.notsent_lowat_bytes)?;
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
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    fn config(host: impl Into<IpAddr>, port: u16) -> Config {
        Config { host: host.into(), port, ..Config::default() }
    }

    /// What each of `hosts` gets that asks for the port of a server on `first`.
    fn refused(first: impl Into<IpAddr>, hosts: &[IpAddr]) -> Vec<bool> {
        let server = bind_tcp(&config(first, 0), 2).unwrap();
        let port = server[0].local_addr().unwrap().port();
        let refused = |host: &IpAddr| match bind_tcp(&config(*host, port), 2) {
            Ok(_) => false,
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{error}");
                assert!(error.to_string().contains("--reuse-port"), "{error}");
                true
            }
        };
        hosts.iter().map(refused).collect()
    }

    #[test]
    fn a_port_that_a_server_has_is_refused_to_the_next() {
        let local = IpAddr::from(Ipv4Addr::LOCALHOST);
        let all = IpAddr::from(Ipv4Addr::UNSPECIFIED);
        assert_eq!(refused(local, &[local, all]), [true, true]);
        assert_eq!(refused(all, &[local, all]), [true, true]);
    }

    #[test]
    fn a_port_of_ipv6_is_refused_too() {
        let hosts = [Ipv6Addr::LOCALHOST.into(), Ipv6Addr::UNSPECIFIED.into()];
        if bind_tcp(&config(Ipv6Addr::LOCALHOST, 0), 1).is_err() {
            println!("left out: there is no IPv6");
            return;
        }
        for host in hosts {
            assert_eq!(refused(host, &hosts), [true, true], "{host}");
        }
        // A listener on `::` takes IPv4 as well.
        let all = [Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::LOCALHOST.into()];
        assert_eq!(refused(Ipv6Addr::UNSPECIFIED, &all), [true, true]);
    }

    #[test]
    fn servers_that_all_say_so_share_a_port() {
        let shared = |port| Config { reuse_port: true, ..config(Ipv4Addr::LOCALHOST, port) };
        let first = bind_tcp(&shared(0), 2).unwrap();
        let port = first[0].local_addr().unwrap().port();
        bind_tcp(&shared(port), 2).unwrap();
        assert!(bind_tcp(&config(Ipv4Addr::LOCALHOST, port), 2).is_err(), "the next one does not say so");
        drop(first);
        let _first = bind_tcp(&config(Ipv4Addr::LOCALHOST, port), 1).unwrap();
        assert!(bind_tcp(&shared(port), 2).is_err(), "the first one, of one shard, does not say so");
    }

    #[test]
    fn of_servers_that_start_at_once_one_gets_the_port() {
        for _ in 0..20 {
            let port = bind_tcp(&config(Ipv4Addr::LOCALHOST, 0), 1).unwrap()[0].local_addr().unwrap().port();
            let start = std::sync::Barrier::new(4);
            let bound = std::thread::scope(|scope| {
                let bind = || {
                    start.wait();
                    bind_tcp(&config(Ipv4Addr::LOCALHOST, port), 3)
                };
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(bind)).collect();
                // The listeners are kept until all have tried.
                threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
            });
            assert_eq!(bound.iter().filter(|listeners| listeners.is_ok()).count(), 1, "{bound:?}");
        }
    }

    #[test]
    fn connections_go_to_all_listeners() {
        let listeners = bind_tcp(&config(Ipv4Addr::LOCALHOST, 0), 3).unwrap();
        let address = listeners[0].local_addr().unwrap();
        let clients: Vec<_> = (0..200).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        let accepted = listeners.iter().map(|listener| listener.incoming().map_while(Result::ok).count());
        let accepted: Vec<_> = accepted.collect();
        assert_eq!(accepted.iter().sum::<usize>(), clients.len());
        assert!(accepted.iter().all(|count| *count > 20), "{accepted:?}");
    }

    #[test]
    fn without_tcp_there_is_no_listener() {
        let off = Config { tcp: false, ..config(Ipv4Addr::LOCALHOST, 0) };
        assert!(bind_tcp(&off, 2).unwrap().is_empty());
    }
}
