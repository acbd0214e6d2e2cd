//! The connections of one load thread, and what a handler may do to them.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};

use crate::frame::{MaskKeys, opcode, push_masked};
use crate::handshake;
use crate::target::Target;
use crate::token::Tokens;

/// A connection's slot and the slot's generation: an event for a connection that is gone finds nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnId {
    slot: u32,
    generation: u32,
}

impl ConnId {
    /// For connections whose slot is used once.
    pub(crate) fn once(slot: u32) -> Self {
        Self { slot, generation: 0 }
    }

    pub(crate) fn slot(self) -> u32 {
        self.slot
    }

    pub(crate) fn from_token(token: Token) -> Self {
        Self { slot: token.0 as u32, generation: (token.0 >> 32) as u32 }
    }

    fn token(self) -> Token {
        Token(self.slot as usize | (self.generation as usize) << 32)
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The peer sent a Close frame, with this code.
    Closed(Option<u16>),
    /// The stream ended without a Close frame.
    Eof,
    /// A system call failed, the connect included.
    Failed(ErrorKind),
    /// The upgrade was answered with this HTTP status.
    Status(u16),
    /// The peer spoke no HTTP or no WebSocket.
    Invalid,
    /// This side gave up.
    Local,
}

impl fmt::Display for End {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(Some(code)) => write!(out, "{code}"),
            Self::Closed(None) => out.write_str("1005"),
            Self::Eof => out.write_str("eof"),
            Self::Failed(kind) => write!(out, "{kind}"),
            Self::Status(code) => write!(out, "http {code}"),
            Self::Invalid => out.write_str("invalid"),
            Self::Local => out.write_str("local"),
        }
    }
}

/// How often each end came, by its text.
pub type Ends = BTreeMap<String, u64>;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Connecting,
    Upgrading,
    Open,
}

/// One client connection.
pub(crate) struct Conn {
    pub(crate) socket: TcpStream,
    pub(crate) state: State,
    pub(crate) tag: u32,
    /// Nothing is read while set.
    pub(crate) paused: bool,
    pub(crate) doomed: bool,
    /// This side sent a Close frame.
    pub(crate) closing: bool,
    /// The answer to that Close frame.
    pub(crate) ended: Option<End>,
    /// The received beginning of a frame.
    pub(crate) carry: Vec<u8>,
    /// The received fragments of a message.
    pub(crate) partial: Vec<u8>,
    /// What the kernel has not taken yet.
    out: Vec<u8>,
}

impl Conn {
    fn reset_on_drop(&self) {
        // A failure means only that the port is free later.
        let _ = socket2::SockRef::from(&self.socket).set_linger(Some(std::time::Duration::ZERO));
    }
}

/// Header fields that connections send beside those of the upgrade.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    /// All of them.
    pub fixed: Vec<String>,
    /// Each its own.
    pub tokens: Option<Tokens>,
}

impl Fields {
    /// Those of connection number `index`.
    pub(crate) fn of(&self, index: usize) -> Vec<String> {
        let own = self.tokens.as_ref().map(|tokens| tokens.field(index));
        self.fixed.iter().cloned().chain(own).collect()
    }
}

#[derive(Default)]
struct Slot {
    generation: u32,
    conn: Option<Conn>,
}

/// What a pattern may do to the connections of its thread, whichever client carries them.
pub trait Connections {
    /// Begins a connection; the handler hears `opened` or `closed` with this tag.
    /// `index` chooses the source address and the token; `receive_bytes` sets SO_RCVBUF, 0 leaves it to the kernel;
    /// `room` is the room of the path, when that has one ([`Connections::wants_room`]).
    fn connect(&mut self, tag: u32, index: usize, receive_bytes: usize, room: Option<&str>)
    -> Option<ConnId>;
    /// The path of the URL names a room.
    fn wants_room(&self) -> bool;
    /// Keeps a text message, its payload given in parts, for the next [`Connections::send_queued`].
    fn queue_text(&mut self, payload: &[&[u8]]);
    /// Sends what was queued to one connection.
    fn send_queued(&mut self, id: ConnId);
    /// Sends one text message.
    fn send_text(&mut self, id: ConnId, payload: &[&[u8]]) {
        self.queue_text(payload);
        self.send_queued(id);
    }
    /// Bytes that wait for the kernel.
    fn backlog_bytes(&mut self, id: ConnId) -> usize;
    /// Stops reading: the peer's bytes stay in the kernel.
    fn pause(&mut self, id: ConnId);
    /// Reads again, what has come meanwhile included.
    fn resume(&mut self, id: ConnId);
    /// Begins the closing handshake; the end is heard as `closed`.
    fn send_close(&mut self, id: ConnId, code: u16);
    /// Ends a connection at once; `closed` follows. A reset (linger 0) leaves no port in TIME_WAIT.
    fn abort(&mut self, id: ConnId);
}

/// The connections of one thread.
pub struct Io {
    registry: Registry,
    target: Arc<Target>,
    request: Vec<u8>,
    fields: Fields,
    slots: Vec<Slot>,
    free: Vec<u32>,
    keys: MaskKeys,
    encode: Vec<u8>,
    /// Frames for the next [`Connections::send_queued`].
    queued: Vec<u8>,
    pub(crate) doomed: Vec<(ConnId, End)>,
    pub(crate) unborn: Vec<(u32, End)>,
    pub(crate) resumed: Vec<ConnId>,
}

impl Io {
    pub(crate) fn new(registry: Registry, target: Arc<Target>, fields: Fields, seed: u32) -> Self {
        let request = handshake::request(&target.host, &target.path, &fields.fixed);
        Self {
            registry,
            target,
            request,
            fields,
            slots: Vec::new(),
            free: Vec::new(),
            keys: MaskKeys::new(seed),
            encode: Vec::new(),
            queued: Vec::new(),
            doomed: Vec::new(),
            unborn: Vec::new(),
            resumed: Vec::new(),
        }
    }

    fn try_connect(
        &mut self,
        tag: u32,
        index: usize,
        receive_bytes: usize,
        room: Option<&str>,
    ) -> io::Result<ConnId> {
        let request = (room.is_some() || self.fields.tokens.is_some()).then(|| {
            handshake::request(&self.target.host, &self.target.path_for(room), &self.fields.of(index))
        });
        let address = self.target.address;
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if receive_bytes > 0 {
            socket.set_recv_buffer_size(receive_bytes)?;
        }
        if let Some(source) = self.target.source(index) {
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        match socket.connect(&address.into()) {
            // EINPROGRESS has no stable kind of its own.
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
            _ => {}
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        let entry = &mut self.slots[slot as usize];
        // Bit 31 stays clear, so that no connection has the waker's token.
        entry.generation = (entry.generation + 1) & 0x7fff_ffff;
        let id = ConnId { slot, generation: entry.generation };
        let mut socket = TcpStream::from_std(socket.into());
        self.registry.register(&mut socket, id.token(), Interest::READABLE | Interest::WRITABLE)?;
        entry.conn = Some(Conn {
            socket,
            state: State::Connecting,
            tag,
            paused: false,
            doomed: false,
            closing: false,
            ended: None,
            carry: Vec::new(),
            partial: Vec::new(),
            // Waits there until the TCP connection stands.
            out: request.unwrap_or_default(),
        });
        Ok(id)
    }

    pub(crate) fn get(&mut self, id: ConnId) -> Option<&mut Conn> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        if slot.generation == id.generation { slot.conn.as_mut() } else { None }
    }

    /// Sends the upgrade request once the TCP connection stands; false while it does not.
    pub(crate) fn finish_connect(&mut self, id: ConnId) -> bool {
        let Some(conn) = self.get(id) else { return false };
        if let Ok(Some(error)) | Err(error) = conn.socket.take_error() {
            self.doom(id, End::Failed(error.kind()));
            return false;
        }
        if conn.socket.peer_addr().is_err() {
            return false;
        }
        conn.state = State::Upgrading;
        if !conn.out.is_empty() {
            self.flush(id);
            return true;
        }
        let request = std::mem::take(&mut self.request);
        self.send(id, &request);
        self.request = request;
        true
    }

    /// Sends ready-made bytes; what the kernel does not take is kept and sent when it can.
    pub fn send(&mut self, id: ConnId, mut bytes: &[u8]) {
        let Some(conn) = self.get(id).filter(|conn| !conn.doomed) else { return };
        if conn.out.is_empty() {
            match write_some(&mut conn.socket, bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) => return self.doom(id, End::Failed(error.kind())),
            }
        }
        conn.out.extend_from_slice(bytes);
    }

    /// Sends one frame, its payload given in parts.
    pub fn send_frame(&mut self, id: ConnId, opcode: u8, payload: &[&[u8]]) {
        let mut encode = std::mem::take(&mut self.encode);
        encode.clear();
        push_masked(&mut encode, opcode, self.keys.next_key(), payload);
        self.send(id, &encode);
        self.encode = encode;
    }

    pub(crate) fn flush(&mut self, id: ConnId) {
        let Some(conn) = self.get(id).filter(|conn| !conn.out.is_empty()) else { return };
        match write_some(&mut conn.socket, &conn.out) {
            Ok(written) if written == conn.out.len() => conn.out = Vec::new(),
            Ok(written) => drop(conn.out.drain(..written)),
            Err(error) => self.doom(id, End::Failed(error.kind())),
        }
    }

    /// Makes the end of the run leave no port in TIME_WAIT, so that the next run finds them all.
    pub(crate) fn reset_all(&mut self) {
        for conn in self.slots.iter().filter_map(|slot| slot.conn.as_ref()) {
            conn.reset_on_drop();
        }
    }

    pub(crate) fn doom(&mut self, id: ConnId, end: End) {
        if let Some(conn) = self.get(id).filter(|conn| !conn.doomed) {
            conn.doomed = true;
            self.doomed.push((id, end));
        }
    }

    pub(crate) fn remove(&mut self, id: ConnId) -> Option<u32> {
        self.get(id)?;
        let conn = self.slots[id.slot as usize].conn.take()?;
        self.free.push(id.slot);
        Some(conn.tag)
    }
}

impl Connections for Io {
    fn connect(
        &mut self,
        tag: u32,
        index: usize,
        receive_bytes: usize,
        room: Option<&str>,
    ) -> Option<ConnId> {
        self.try_connect(tag, index, receive_bytes, room)
            .map_err(|error| self.unborn.push((tag, End::Failed(error.kind()))))
            .ok()
    }

    fn wants_room(&self) -> bool {
        self.target.wants_room()
    }

    fn queue_text(&mut self, payload: &[&[u8]]) {
        push_masked(&mut self.queued, opcode::TEXT, self.keys.next_key(), payload);
    }

    fn send_queued(&mut self, id: ConnId) {
        let mut queued = std::mem::take(&mut self.queued);
        self.send(id, &queued);
        queued.clear();
        self.queued = queued;
    }

    fn backlog_bytes(&mut self, id: ConnId) -> usize {
        self.get(id).map_or(0, |conn| conn.out.len())
    }

    fn pause(&mut self, id: ConnId) {
        if let Some(conn) = self.get(id) {
            conn.paused = true;
        }
    }

    fn resume(&mut self, id: ConnId) {
        if let Some(conn) = self.get(id).filter(|conn| conn.paused) {
            conn.paused = false;
            self.resumed.push(id);
        }
    }

    fn send_close(&mut self, id: ConnId, code: u16) {
        self.send_frame(id, opcode::CLOSE, &[&code.to_be_bytes()]);
        if let Some(conn) = self.get(id) {
            conn.closing = true;
        }
    }

    fn abort(&mut self, id: ConnId) {
        if let Some(conn) = self.get(id) {
            conn.reset_on_drop();
        }
        self.doom(id, End::Local);
    }
}

/// Writes until the kernel takes no more; how many bytes it took.
fn write_some(socket: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match socket.write(&bytes[written..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}
