use super::sys;
use crate::base::Key;
use crate::shard::{Sent, Sockets};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use smallvec::SmallVec;
use socket2::Socket;
use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;

/// The sockets of a shard's upgraded connections, by slot: four bytes each.
pub(super) struct SocketTable {
    sockets: Vec<Option<Socket>>,
    /// Tokens carry the slot's generation, so that an event of a closed socket is not taken for its successor's.
    tokens: Vec<Token>,
    /// What goes out before anything else, by slot: the answers to handshakes. Each waits for the first frame of its
    /// connection, to go with it in one call, but not beyond the turn.
    greetings: HashMap<u32, Vec<u8>, RandomState>,
    registry: Registry,
    epoch: Instant,
}

impl SocketTable {
    pub fn new(registry: Registry, epoch: Instant) -> Self {
        Self { sockets: Vec::new(), tokens: Vec::new(), greetings: HashMap::default(), registry, epoch }
    }

    /// Takes a socket over and watches it for input; it may have been `watched` by the same poll before. Writability
    /// is watched only while a write fell short.
    pub fn insert(&mut self, key: Key, socket: Socket, watched: bool) -> io::Result<()> {
        let slot = key.slot as usize;
        if self.sockets.len() <= slot {
            self.sockets.resize_with(slot + 1, || None);
            self.tokens.resize(slot + 1, Token(0));
        }
        let token = Token(key.to_token());
        let fd = socket.as_raw_fd();
        match watched {
            true => self.registry.reregister(&mut SourceFd(&fd), token, Interest::READABLE)?,
            false => self.registry.register(&mut SourceFd(&fd), token, Interest::READABLE)?,
        }
        self.tokens[slot] = token;
        self.sockets[slot] = Some(socket);
        Ok(())
    }

    /// Has `bytes` go out before all else that is sent to a slot.
    pub fn greet(&mut self, slot: u32, bytes: Vec<u8>) {
        self.greetings.insert(slot, bytes);
    }

    /// Sends the greetings that no frame has taken along.
    pub fn send_greetings(&mut self) {
        if self.greetings.is_empty() {
            return;
        }
        let slots: SmallVec<[u32; 16]> = self.greetings.keys().copied().collect();
        for slot in slots {
            // An error is also told by the poll.
            self.send_after_greeting(slot, &[]);
            if self.greetings.contains_key(&slot) {
                // The turn after it can be written to comes here again.
                self.watch_writable(slot, true);
            }
        }
    }

    /// Sends a greeting and what follows it. What is not sent of the greeting is kept.
    fn send_after_greeting(&mut self, slot: u32, bytes: &[u8]) -> Sent {
        let Some(mut greeting) = self.greetings.remove(&slot) else { return self.send(slot, bytes) };
        let Some(socket) = self.get(slot) else { return Sent::Lost };
        loop {
            let slices = [IoSlice::new(&greeting), IoSlice::new(bytes)];
            let taken = match socket.send_vectored_with_flags(&slices, libc::MSG_NOSIGNAL) {
                Ok(taken) => taken,
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => continue,
                    ErrorKind::WouldBlock => 0,
                    _ => return Sent::Lost,
                },
            };
            if taken >= greeting.len() {
                return Sent::Taken(taken - greeting.len());
            }
            greeting.drain(..taken);
            self.greetings.insert(slot, greeting);
            return Sent::Taken(0);
        }
    }

    pub fn get(&self, slot: u32) -> Option<&Socket> {
        self.sockets.get(slot as usize)?.as_ref()
    }
}

impl Sockets for SocketTable {
    fn send(&mut self, slot: u32, bytes: &[u8]) -> Sent {
        if !self.greetings.is_empty() && self.greetings.contains_key(&slot) {
            return self.send_after_greeting(slot, bytes);
        }
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
        if self.greetings.contains_key(&slot) {
            self.send_after_greeting(slot, &[]);
        }
        if let Some(socket) = self.get(slot) {
            // Fails when the peer is gone already.
            let _ = socket.shutdown(std::net::Shutdown::Write);
        }
    }

    fn close(&mut self, slot: u32) {
        if self.greetings.contains_key(&slot) {
            self.send_after_greeting(slot, &[]);
            self.greetings.remove(&slot);
        }
        // Closing ends our side, as nobody holds a copy, and takes the socket out of the poll.
        if let Some(socket) = self.sockets.get_mut(slot as usize) {
            *socket = None;
        }
    }

    fn now_us(&self) -> u64 {
        self.epoch.elapsed().as_micros() as u64
    }
}
