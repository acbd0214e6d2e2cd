//! One load thread: an epoll loop over many client connections.
//!
//! All connections of a thread share one receive buffer; a connection owns heap memory only while a
//! frame is cut in two or the kernel does not take what it sends. The pattern's [`Handler`] is called
//! from the loop and answers through [`Connections`]; it never blocks.

use std::io::{ErrorKind, Read as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use mio::event::Event;
use mio::{Events, Poll, Token, Waker};

use crate::clock::now_ns;
use crate::frame::{self, BadFrame, opcode};
use crate::handshake::{self, Answer};
use crate::io::{ConnId, Connections, End, Fields, Io, State};
use crate::target::Target;

/// Bytes read by one call: large enough that a busy connection needs one call per wake-up.
const RECEIVE_BYTES: usize = 256 << 10;

/// Events taken by one poll.
const EVENTS_MAX: usize = 1024;

pub(crate) const WAKE: Token = Token(usize::MAX);

/// What the loop does after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Wait for events, at most this many nanoseconds.
    Wait(u64),
    /// Leave the loop.
    Stop,
}

/// Ends the wait of a load thread's loop, from any thread.
pub type Wake = Box<dyn Fn() + Send>;

/// A load pattern's side of one thread. `tag` is what the pattern gave to [`Connections::connect`].
pub trait Handler {
    /// The upgrade succeeded.
    fn opened(&mut self, io: &mut dyn Connections, id: ConnId, tag: u32, now_ns: u64);
    /// A message arrived.
    fn message(&mut self, io: &mut dyn Connections, id: ConnId, tag: u32, payload: &[u8], now_ns: u64);
    /// All messages of one read were handed over; `bytes` came off the wire.
    fn batch_done(&mut self, _io: &mut dyn Connections, _tag: u32, _bytes: usize, _now_ns: u64) {}
    /// The peer hung up on a paused connection, whose bytes stay unread.
    fn hung_up(&mut self, _tag: u32, _now_ns: u64) {}
    /// The connection is gone, or never came to be.
    fn closed(&mut self, io: &mut dyn Connections, tag: u32, end: End, now_ns: u64);
    /// Called once for each round of the loop.
    fn turn(&mut self, io: &mut dyn Connections, now_ns: u64) -> Turn;
}

/// The loop.
pub struct Engine {
    poll: Poll,
    io: Io,
    buffer: Vec<u8>,
}

impl Engine {
    /// A loop for connections to `target`.
    ///
    /// # Errors
    /// When the kernel gives no epoll instance.
    pub fn new(target: Arc<Target>, fields: Fields, seed: u32) -> Result<Self> {
        let poll = Poll::new()?;
        let io = Io::new(poll.registry().try_clone()?, target, fields, seed);
        Ok(Self { poll, io, buffer: vec![0; RECEIVE_BYTES] })
    }

    /// Something that ends the loop's wait from another thread.
    ///
    /// # Errors
    /// When the kernel gives no eventfd.
    pub fn waker(&self) -> Result<Wake> {
        let waker = Waker::new(self.poll.registry(), WAKE)?;
        // A loop that is gone needs no waking.
        Ok(Box::new(move || drop(waker.wake())))
    }

    /// Runs until the handler says stop; every connection is closed then.
    ///
    /// # Errors
    /// When polling fails.
    pub fn run(mut self, handler: &mut impl Handler) -> Result<()> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        loop {
            let turn = handler.turn(&mut self.io, now_ns());
            self.settle(handler);
            let Turn::Wait(wait_ns) = turn else {
                self.io.reset_all();
                return Ok(());
            };
            match self.poll.poll(&mut events, Some(Duration::from_nanos(wait_ns))) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in events.iter().filter(|event| event.token() != WAKE) {
                self.handle(handler, event);
                self.settle(handler);
            }
        }
    }

    fn handle(&mut self, handler: &mut impl Handler, event: &Event) {
        let id = ConnId::from_token(event.token());
        let Some(conn) = self.io.get(id) else { return };
        if conn.state == State::Connecting && !self.io.finish_connect(id) {
            return;
        }
        if event.is_writable() {
            self.io.flush(id);
        }
        let Some(conn) = self.io.get(id) else { return };
        if !(event.is_readable() || event.is_read_closed() || event.is_error()) {
            return;
        }
        if conn.paused {
            if event.is_read_closed() || event.is_error() {
                handler.hung_up(conn.tag, now_ns());
            }
            return;
        }
        self.receive(handler, id, event.is_read_closed() || event.is_error());
    }

    /// Carries out what the handler asked for during its callbacks.
    fn settle(&mut self, handler: &mut impl Handler) {
        loop {
            if let Some((id, end)) = self.io.doomed.pop() {
                if let Some(tag) = self.io.remove(id) {
                    handler.closed(&mut self.io, tag, end, now_ns());
                }
            } else if let Some((tag, end)) = self.io.unborn.pop() {
                handler.closed(&mut self.io, tag, end, now_ns());
            } else if let Some(id) = self.io.resumed.pop() {
                self.resume(handler, id);
            } else {
                return;
            }
        }
    }

    fn resume(&mut self, handler: &mut impl Handler, id: ConnId) {
        let Some(conn) = self.io.get(id) else { return };
        let carry = std::mem::take(&mut conn.carry);
        self.buffer[..carry.len()].copy_from_slice(&carry);
        self.digest(handler, id, carry.len(), 0);
        self.receive(handler, id, true);
    }

    /// Reads until the kernel has no more. A read that does not fill the buffer emptied the socket, and
    /// a later arrival raises a new edge; but when the end of the stream has come already (or its edge
    /// may have been passed over), only the read that returns it tells: `to_end`.
    fn receive(&mut self, handler: &mut impl Handler, id: ConnId, to_end: bool) {
        loop {
            let Some(conn) = self.io.get(id) else { return };
            if conn.paused || conn.doomed {
                return;
            }
            let kept = conn.carry.len();
            if self.buffer.len() < kept + RECEIVE_BYTES / 2 {
                self.buffer.resize(kept + RECEIVE_BYTES, 0);
            }
            let room = self.buffer.len() - kept;
            match conn.socket.read(&mut self.buffer[kept..]) {
                Ok(0) => {
                    let end = conn.ended.unwrap_or(End::Eof);
                    return self.io.doom(id, end);
                }
                Ok(read) => {
                    self.buffer[..kept].copy_from_slice(&conn.carry);
                    conn.carry = Vec::new();
                    self.digest(handler, id, kept + read, read);
                    if read < room && !to_end {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    let end = conn.ended.unwrap_or(End::Failed(error.kind()));
                    return self.io.doom(id, end);
                }
            }
        }
    }

    /// Takes whole frames off the front of the buffer and keeps the rest for the next read.
    fn digest(&mut self, handler: &mut impl Handler, id: ConnId, filled: usize, read: usize) {
        let now = now_ns();
        let bytes = &self.buffer[..filled];
        let mut pos = 0;
        let Some(conn) = self.io.get(id) else { return };
        let tag = conn.tag;
        if conn.state == State::Upgrading {
            match handshake::read_answer(bytes) {
                Answer::NeedMore => {}
                Answer::Open(length) => {
                    pos = length;
                    conn.state = State::Open;
                    handler.opened(&mut self.io, id, tag, now);
                }
                Answer::Status(code) => return self.io.doom(id, End::Status(code)),
                Answer::Invalid => return self.io.doom(id, End::Invalid),
            }
        }
        loop {
            let Some(conn) = self.io.get(id) else { return };
            if conn.doomed {
                return;
            }
            if conn.state != State::Open || conn.paused {
                break;
            }
            match frame::scan(&bytes[pos..]) {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    let payload = &bytes[pos + frame.header_len..pos + frame.total_len()];
                    pos += frame.total_len();
                    dispatch(&mut self.io, handler, id, tag, frame, payload, now);
                }
                Err(BadFrame::ReservedBit | BadFrame::Opcode | BadFrame::TooLong) => {
                    return self.io.doom(id, End::Invalid);
                }
            }
        }
        if let Some(conn) = self.io.get(id)
            && pos < filled
        {
            conn.carry = bytes[pos..].to_vec();
        }
        handler.batch_done(&mut self.io, tag, read, now);
    }
}

fn dispatch(
    io: &mut Io,
    handler: &mut impl Handler,
    id: ConnId,
    tag: u32,
    frame: frame::Frame,
    payload: &[u8],
    now: u64,
) {
    match frame.opcode {
        opcode::TEXT | opcode::BINARY if frame.fin => handler.message(io, id, tag, payload, now),
        opcode::TEXT | opcode::BINARY | opcode::CONTINUATION => {
            let Some(conn) = io.get(id) else { return };
            conn.partial.extend_from_slice(payload);
            if conn.partial.len() as u64 > frame::PAYLOAD_BYTES_MAX {
                io.doom(id, End::Invalid);
            } else if frame.fin {
                let whole = std::mem::take(&mut conn.partial);
                handler.message(io, id, tag, &whole, now);
            }
        }
        opcode::PING => io.send_frame(id, opcode::PONG, &[payload]),
        opcode::CLOSE => {
            let end = End::Closed(payload.first_chunk::<2>().map(|code| u16::from_be_bytes(*code)));
            let Some(conn) = io.get(id) else { return };
            if conn.closing {
                // The server ends the stream first (RFC 6455, section 7.1.1), which also keeps this
                // side's port out of TIME_WAIT.
                conn.ended = Some(end);
            } else {
                io.send_frame(id, opcode::CLOSE, &[&payload[..payload.len().min(2)]]);
                io.doom(id, end);
            }
        }
        _ => {}
    }
}
