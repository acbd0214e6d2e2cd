//! The user that owns the other end of a connection, where that is on this machine.
//!
//! Of a Unix socket the kernel tells the user that connected (`SO_PEERCRED`, unix(7)). The other end of a loopback
//! connection is a socket of this machine too, and the kernel's socket diagnostics (sock_diag(7)) tell its owner: one
//! question about one known socket, which costs the same however many there are. `/proc/net/tcp` would be a text of all
//! of them.

use super::sys;
use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{
    AF_INET, AF_INET6, IPPROTO_TCP, TCP_CLOSE_WAIT, TCP_ESTABLISHED, TCP_FIN_WAIT1, TCP_FIN_WAIT2,
};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Once;

/// `ANY_SOCKET` of linux/inet_diag.h for each half of the cookie: whichever socket has these addresses.
const ANY_COOKIE: [u8; 8] = [0xff; 8];

/// Longest answer about one socket without extensions; more is cut off and not needed.
const ANSWER_BYTES: usize = 1024;

/// The user that owns what no user owns, and stands for users that the kernel cannot name here (user_namespaces(7)).
/// Many a daemon runs as it, so that it names nobody.
const NOBODY: u32 = 65_534;

/// That the kernel does not tell: the log says it once.
static TOLD: Once = Once::new();

/// The other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(in crate::io) enum FarEnd {
    /// Of a TCP connection: the addresses of our end and of the other.
    Tcp { here: SocketAddr, there: SocketAddr },
    /// Of a Unix socket: the user who connected.
    Unix { user: u32 },
    /// It went before it could be asked about.
    Unknown,
}

impl FarEnd {
    /// Whether it belongs to the user that the server runs as, or to root. `false` where the kernel does not tell: for a
    /// peer on another machine, for one that has closed its socket, and without socket diagnostics.
    pub fn is_of_same_user(&self) -> bool {
        let user = match *self {
            Self::Tcp { here, there } if there.ip().to_canonical().is_loopback() => {
                match owner(there, here) {
                    Ok(user) => user,
                    Err(error) => {
                        TOLD.call_once(|| {
                            tracing::warn!(%error, "cannot tell whose local connections are: the API needs a key");
                        });
                        return false;
                    }
                }
            }
            Self::Unix { user } => Some(user),
            Self::Tcp { .. } | Self::Unknown => None,
        };
        user.is_some_and(|user| is_trusted(user, sys::effective_user()))
    }
}

fn is_trusted(user: u32, server: u32) -> bool {
    user == 0 || (user == server && user != NOBODY)
}

/// The owner of this machine's TCP socket that is bound to `local` and connected to `remote`. `None` if no process holds
/// such a socket.
fn owner(local: SocketAddr, remote: SocketAddr) -> io::Result<Option<u32>> {
    let mut socket = Socket::new(
        Domain::from(libc::AF_NETLINK),
        Type::DGRAM,
        Some(Protocol::from(libc::NETLINK_SOCK_DIAG)),
    )?;
    // The kernel answers before the call returns that asks.
    socket.set_nonblocking(true)?;
    socket.write_all(&question(local, remote))?;
    let mut answer = [0; ANSWER_BYTES];
    let len = socket.read(&mut answer)?;
    let answer = NetlinkMessage::<SockDiagMessage>::deserialize(&answer[..len])
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    match answer.payload {
        NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(found)) => {
            Ok(is_held(&found).then_some(found.header.uid))
        }
        NetlinkPayload::Error(error) if error.raw_code() == -libc::ENOENT => Ok(None),
        NetlinkPayload::Error(error) => Err(error.to_io()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn question(local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
    let (source_address, destination_address) = (local.ip().to_canonical(), remote.ip().to_canonical());
    let family = match source_address {
        IpAddr::V4(_) => AF_INET,
        IpAddr::V6(_) => AF_INET6,
    };
    let request = InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::all(),
        socket_id: SocketId {
            source_port: local.port(),
            destination_port: remote.port(),
            source_address,
            destination_address,
            interface_id: 0,
            cookie: ANY_COOKIE,
        },
    };
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// Whether a process holds this socket, connected. The kernel calls root the owner of one that its process has closed,
/// which anybody can do right after a request: such a one has no inode. Where there is no socket with these addresses
/// the kernel may find one that listens on the port.
fn is_held(found: &InetResponse) -> bool {
    let connected = [TCP_ESTABLISHED, TCP_FIN_WAIT1, TCP_FIN_WAIT2, TCP_CLOSE_WAIT];
    connected.contains(&found.header.state) && found.header.inode != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Shutdown, TcpListener, TcpStream};

    fn far_end(stream: &TcpStream) -> FarEnd {
        FarEnd::Tcp { here: stream.local_addr().unwrap(), there: stream.peer_addr().unwrap() }
    }

    #[test]
    fn a_connection_of_ours_is_ours_until_it_is_closed() {
        for (listens, asks) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1"), ("[::]:0", "127.0.0.1")] {
            let listener = TcpListener::bind(listens).unwrap();
            let port = listener.local_addr().unwrap().port();
            let client = TcpStream::connect((asks, port)).unwrap();
            let (server, _) = listener.accept().unwrap();
            let far_end = far_end(&server);
            let FarEnd::Tcp { here, there } = far_end else { unreachable!() };
            assert_eq!(owner(there, here).unwrap(), Some(sys::effective_user()), "{listens} {asks}");
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(owner(there, here).unwrap(), Some(sys::effective_user()), "half closed");
            // The kernel gives what is left of it to root.
            drop(client);
            assert_eq!(owner(there, here).unwrap(), None, "{listens} {asks}: closed");
            assert!(!far_end.is_of_same_user());
        }
    }

    #[test]
    fn a_listener_on_the_port_is_not_the_other_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let there = listener.local_addr().unwrap();
        assert_eq!(owner(there, "127.0.0.1:9".parse().unwrap()).unwrap(), None);
    }

    #[test]
    fn other_machines_have_no_users() {
        let [here, there] = ["192.0.2.1:80", "192.0.2.2:5000"].map(|address| address.parse().unwrap());
        assert!(!FarEnd::Tcp { here, there }.is_of_same_user());
        assert!(!FarEnd::Unknown.is_of_same_user());
        assert!(!FarEnd::Unix { user: sys::effective_user() + 1 }.is_of_same_user());
        assert!(FarEnd::Unix { user: 0 }.is_of_same_user());
    }

    #[test]
    fn nobody_is_nobodys_name() {
        assert!(is_trusted(0, 0) && is_trusted(0, 1000) && is_trusted(1000, 1000));
        assert!(!is_trusted(1000, 0) && !is_trusted(33, 1000) && !is_trusted(NOBODY, NOBODY));
    }
}
