//! One connection of the bare server.

use std::io::{ErrorKind, Write as _};
use std::sync::Arc;

use mio::net::TcpStream;

use super::rooms::Room;

/// One connection.
pub struct Conn {
    /// The socket.
    pub socket: TcpStream,
    /// The upgrade is done.
    pub open: bool,
    /// To be closed at the end of the round.
    pub dead: bool,
    /// A send is in the ring.
    pub sending: bool,
    /// The received beginning of a frame.
    pub carry: Vec<u8>,
    /// Rooms it is a member of.
    pub rooms: Vec<Arc<Room>>,
    /// The room it published to last: saves the directory's lock.
    pub target: Option<Arc<Room>>,
    /// What the kernel has not taken yet.
    backlog: Vec<u8>,
}

impl Conn {
    /// Just accepted.
    pub fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            open: false,
            dead: false,
            sending: false,
            carry: Vec::new(),
            rooms: Vec::new(),
            target: None,
            backlog: Vec::new(),
        }
    }

    /// Something waits for the kernel: new bytes must queue behind it.
    pub fn is_stuck(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Sends at once, or keeps up to `backlog_max` bytes; beyond that the connection is cut off.
    pub fn send(&mut self, bytes: &[u8], backlog_max: usize) {
        if self.dead {
            return;
        }
        let mut taken = 0;
        if !self.is_stuck() {
            match self.socket.write(bytes) {
                Ok(count) => taken = count,
                Err(error) if is_temporary(error.kind()) => {}
                Err(_) => self.dead = true,
            }
        }
        self.keep(&bytes[taken..], backlog_max);
    }

    /// Keeps what the kernel did not take.
    pub fn keep(&mut self, bytes: &[u8], backlog_max: usize) {
        if self.backlog.len() + bytes.len() > backlog_max {
            self.dead = true;
            self.backlog = Vec::new();
        } else {
            self.backlog.extend_from_slice(bytes);
        }
    }

    /// Sends what was kept, as far as the kernel takes it.
    pub fn flush(&mut self) {
        while self.is_stuck() {
            match self.socket.write(&self.backlog) {
                Ok(count) if count == self.backlog.len() => self.backlog = Vec::new(),
                Ok(count) => drop(self.backlog.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.dead = true;
                    return;
                }
            }
        }
    }
}

fn is_temporary(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
