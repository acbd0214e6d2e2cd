use super::sys;
use crate::base::Key;
use crate::shard::{Sent, Sockets};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use socket2::Socket;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;

/// The sockets of a shard's upgraded connections, by slot: four bytes each.
pub(super) struct SocketTable {
    sockets: Vec<Option<Socket>>,
    /// Tokens carry the slot's generation, so that an event of a closed socket is not taken for its successor's.
    tokens: Vec<Token>,
    registry: Registry,
    epoch: Instant,
}

impl SocketTable {
    pub fn new(registry: Registry, epoch: Instant) -> Self {
        Self { sockets: Vec::new(), tokens: Vec::new(), registry, epoch }
    }

    /// Takes a socket over and watches it for input. Writability is watched only while a write fell short.
    pub fn insert(&mut self, key: Key, socket: Socket) -> io::Result<()> {
        let slot = key.slot as usize;
        if self.sockets.len() <= slot {
            self.sockets.resize_with(slot + 1, || None);
            self.tokens.resize(slot + 1, Token(0));
        }
        let token = Token(key.to_token());
        self.registry.register(&mut SourceFd(&socket.as_raw_fd()), token, Interest::READABLE)?;
        self.tokens[slot] = token;
        self.sockets[slot] = Some(socket);
        Ok(())
    }

    pub fn get(&self, slot: u32) -> Option<&Socket> {
        self.sockets.get(slot as usize)?.as_ref()
    }
}

impl Sockets for SocketTable {
    fn send(&mut self, slot: u32, bytes: &[u8]) -> Sent {
        let Some(socket) = self.get(slot) else { return Sent::Lost };
        loop {
            match socket.send_with_flags(bytes, libc::MSG_NOSIGNAL) {
                Ok(taken) => return Sent::Taken(taken),
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock => return Sent::Taken(0),
                    _ => return Sent::Lost,
                },
            }
        }
    }

    fn watch_writable(&mut self, slot: u32, on: bool) {
        let Some(socket) = self.get(slot) else { return };
        let interest = if on { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        let token = self.tokens[slot as usize];
        if let Err(error) = self.registry.reregister(&mut SourceFd(&socket.as_raw_fd()), token, interest) {
            // Without the event the write deadline ends the connection.
            tracing::error!(%error, "cannot watch a socket");
        }
    }

    fn urge(&mut self, slot: u32) {
        if let Some(socket) = self.get(slot) {
            // Fails on a Unix socket, which has no such bound.
            let _ = sys::set_notsent_lowat(socket.as_fd(), u32::MAX);
        }
    }

    fn finish(&mut self, slot: u32) {
        if let Some(socket) = self.get(slot) {
            // Fails when the peer is gone already.
            let _ = socket.shutdown(std::net::Shutdown::Write);
        }
    }

    fn close(&mut self, slot: u32) {
        if let Some(socket) = self.sockets.get_mut(slot as usize).and_then(Option::take) {
            // Closing takes it out of the poll as well; this shuts it down even if a copy were held elsewhere.
            let _ = socket.shutdown(std::net::Shutdown::Write);
        }
    }

    fn now_us(&self) -> u64 {
        self.epoch.elapsed().as_micros() as u64
    }
}
