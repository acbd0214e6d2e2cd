//! The admin listener: health, readiness, metrics and the API for operators, apart from the door through which clients
//! come. It has places of its own, takes no PROXY header, and uses the file descriptors that are kept from clients.
//! Its connections are served on the first shard's thread, so that an answer says that the thread lives.

use super::server::{Http, Via};
use super::stream::ShardStream;
use crate::config::{Config, ListenAddress};
use crate::io::client::outage::Outage;
use crate::io::turn::listener;
use crate::io::turn::places::{Caller, Places, Stage, Terms};
use crate::io::turn::seat::{self, Holder, Seat, SharedPlaces};
use crate::io::turn::unix_listener::{self, SocketFile};
use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};

/// Connections to all admin listeners together; the oldest that asks nothing gives way to the next.
const CONNECTIONS_MAX: u32 = 64;

/// Pause after an accept failed for want of something, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound admin listener.
#[derive(Debug)]
pub enum AdminListener {
    /// On a TCP address.
    Tcp(std::net::TcpListener),
    /// On a Unix socket.
    Unix(std::os::unix::net::UnixListener),
}

impl AdminListener {
    /// Where it listens, by TCP.
    ///
    /// # Errors
    /// Of the system call.
    pub fn address(&self) -> io::Result<Option<SocketAddr>> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Some),
            Self::Unix(_) => Ok(None),
        }
    }
}

/// Binds the admin listeners of a configuration: these, and the files of those that are Unix sockets.
///
/// # Errors
/// Of the system calls; the address is in the text of the error.
pub fn bind_admin(config: &Config) -> io::Result<(Vec<AdminListener>, Vec<SocketFile>)> {
    let (mut listeners, mut files) = (Vec::new(), Vec::new());
    for address in &config.admin_listen {
        listeners.push(match address {
            ListenAddress::Tcp(address) => AdminListener::Tcp(listener::bind_alone(*address)?),
            ListenAddress::Unix(path) => {
                let (listener, file) = unix_listener::bind_at(path, config)?;
                files.push(file);
                AdminListener::Unix(listener)
            }
        });
    }
    Ok((listeners, files))
}

/// A listener that tokio watches.
enum Watched {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

/// What is accepted.
enum Stream {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

impl Watched {
    fn new(listener: AdminListener) -> io::Result<Self> {
        Ok(match listener {
            AdminListener::Tcp(listener) => Self::Tcp(tokio::net::TcpListener::from_std(listener)?),
            AdminListener::Unix(listener) => Self::Unix(tokio::net::UnixListener::from_std(listener)?),
        })
    }

    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, peer)| Stream::Tcp(stream, peer)),
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| Stream::Unix(stream)),
        }
    }
}

/// Serves some admin listeners for as long as the thread lives.
pub(in crate::io) struct AdminDoor {
    listeners: Vec<Watched>,
    places: SharedPlaces,
    http: Http,
}

impl AdminDoor {
    /// A door for these listeners; `http` is of the shard that serves them.
    ///
    /// # Errors
    /// If the runtime does not take a listener.
    pub fn new(listeners: Vec<AdminListener>, http: Http) -> io::Result<Self> {
        let listeners = listeners.into_iter().map(Watched::new).collect::<io::Result<_>>()?;
        let patience_us = http.config().times.handshake_timeout.as_micros() as u64;
        let places = Places::new(Terms { max: CONNECTIONS_MAX, patience_us });
        Ok(Self { listeners, places: Rc::new(RefCell::new(places)), http: Http { via: Via::Admin, ..http } })
    }

    /// Accepts and serves.
    pub async fn serve(self) {
        let door = Rc::new(self);
        let tasks = (0..door.listeners.len()).map(|index| {
            let door = door.clone();
            tokio::task::spawn_local(async move { door.accept_from(index).await })
        });
        for task in tasks.collect::<Vec<_>>() {
            if let Err(error) = task.await
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }

    async fn accept_from(&self, index: usize) {
        let mut outage = Outage::default();
        loop {
            match self.listeners[index].accept().await {
                Ok(stream) => {
                    if let Some(failures) = outage.is_over() {
                        tracing::info!(failures, "connections to the admin listener are accepted again");
                    }
                    match stream {
                        Stream::Tcp(stream, peer) => self.admit(stream, Some(peer)),
                        Stream::Unix(stream) => self.admit(stream, None),
                    }
                }
                // That connection's own fault: the next one may be there and well.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted
                    ) => {}
                Err(error) => {
                    if outage.fails() {
                        tracing::error!(
                            "cannot accept connections to the admin listener: {error}; still trying"
                        );
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Serves a connection, if there is a place for it.
    fn admit(&self, stream: impl ShardStream, peer: Option<SocketAddr>) {
        let (node, shard) = (&self.http.node, self.http.shard);
        let now_us = node.clock.now().us;
        let taken = self.places.borrow_mut().take(now_us, Caller::EXEMPT, Stage::Silent, Holder::Handed);
        // All are busy: each of them ends in time, and the client tries again.
        let Ok((key, evicted)) = taken else { return };
        if let Some(evicted) = evicted {
            seat::end(node, evicted.holder);
        }
        let seat = Seat::new(self.places.clone(), key, node.clone(), shard, None, Caller::EXEMPT, false);
        let http = Http { seat: Some(Rc::new(seat)), ..self.http.clone() };
        let deadline = tokio::time::Instant::now() + http.config().times.handshake_timeout;
        let task = tokio::task::spawn_local(http.serve(stream, Vec::new(), peer, deadline));
        Seat::held_by(&self.places, key, task.abort_handle());
    }
}
