//! One thread of the bare server.

use std::io::{ErrorKind, Read as _};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};

use super::conn::Conn;
use super::protocol::{self, Request};
use super::rooms::{Directory, LocalRooms};
use super::writer::{Publication, Writer};
use crate::cli::Floor;
use crate::frame::{self, Frame, apply_mask, opcode, push_unmasked};
use crate::handshake::{self, Asked};

const WAKE: Token = Token(usize::MAX);
const LISTEN: Token = Token(usize::MAX - 1);

const RECEIVE_BYTES: usize = 256 << 10;
const EVENTS_MAX: usize = 1024;

enum Mail {
    Conn(TcpStream),
    Publication(Publication),
}

/// What other threads leave for a thread.
pub struct Mailbox {
    mail: Mutex<Vec<Mail>>,
    waker: Waker,
}

impl Mailbox {
    /// Wakes `poll`.
    ///
    /// # Errors
    /// When the kernel gives no eventfd.
    pub fn new(poll: &Poll) -> Result<Self> {
        Ok(Self { mail: Mutex::default(), waker: Waker::new(poll.registry(), WAKE)? })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Mail>> {
        self.mail.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Empties `mail` into the box.
    fn post(&self, mail: &mut Vec<Mail>) -> Result<()> {
        if mail.is_empty() {
            return Ok(());
        }
        let mut inside = self.lock();
        // Whoever finds it filled knows that the thread is already being woken.
        let first = inside.is_empty();
        inside.append(mail);
        drop(inside);
        if first {
            self.waker.wake()?;
        }
        Ok(())
    }
}

/// One thread's connections and its loop.
pub struct Shard {
    number: usize,
    poll: Poll,
    listener: Option<TcpListener>,
    mailboxes: Arc<Vec<Mailbox>>,
    directory: Arc<Directory>,
    rooms: LocalRooms,
    conns: Vec<Option<Conn>>,
    free: Vec<usize>,
    /// Connections that may have died in this round.
    suspects: Vec<usize>,
    /// Frames of this round for the own members.
    round: Vec<Publication>,
    /// Mail of this round for each thread.
    outgoing: Vec<Vec<Mail>>,
    accepted: usize,
    writer: Writer,
    frame_bytes: usize,
    backlog_max: usize,
    buffer: Vec<u8>,
    text: Vec<u8>,
}

impl Shard {
    /// Thread `number`; the one with the listener accepts for all.
    ///
    /// # Errors
    /// When the listener cannot be watched, or the kernel has no io_uring for the modes that need it.
    pub fn new(
        number: usize,
        poll: Poll,
        mut listener: Option<TcpListener>,
        mailboxes: Arc<Vec<Mailbox>>,
        directory: Arc<Directory>,
        options: &Floor,
    ) -> Result<Self> {
        if let Some(listener) = listener.as_mut() {
            poll.registry().register(listener, LISTEN, Interest::READABLE)?;
        }
        Ok(Self {
            number,
            poll,
            listener,
            outgoing: mailboxes.iter().map(|_| Vec::new()).collect(),
            mailboxes,
            directory,
            rooms: LocalRooms::new(number),
            conns: Vec::new(),
            free: Vec::new(),
            suspects: Vec::new(),
            round: Vec::new(),
            accepted: 0,
            writer: Writer::new(options.mode, options.backlog_bytes)?,
            frame_bytes: options.frame_bytes,
            backlog_max: options.backlog_bytes,
            buffer: vec![0; RECEIVE_BYTES],
            text: Vec::new(),
        })
    }

    /// Serves until something fails that no connection is to blame for.
    ///
    /// # Errors
    /// A failed poll, wake or registration.
    pub fn run(mut self) -> Result<()> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        let mut mail = Vec::new();
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                match event.token() {
                    WAKE => {}
                    LISTEN => self.accept(),
                    Token(slot) => {
                        if event.is_writable()
                            && let Some(conn) = self.conns[slot].as_mut()
                        {
                            conn.flush();
                        }
                        let ended = event.is_read_closed() || event.is_error();
                        if event.is_readable() || ended {
                            self.receive(slot, ended);
                        }
                        self.suspects.push(slot);
                    }
                }
            }
            for (mailbox, mail) in self.mailboxes.iter().zip(&mut self.outgoing) {
                mailbox.post(mail)?;
            }
            std::mem::swap(&mut *self.mailboxes[self.number].lock(), &mut mail);
            for letter in mail.drain(..) {
                match letter {
                    Mail::Conn(socket) => self.adopt(socket)?,
                    Mail::Publication(publication) => self.round.push(publication),
                }
            }
            self.writer.write(&mut self.round, &self.rooms, &mut self.conns, &mut self.suspects);
            self.reap();
        }
    }

    fn accept(&mut self) {
        while let Some(listener) = self.listener.as_ref() {
            match listener.accept() {
                Ok((socket, _)) => {
                    let thread = self.accepted % self.outgoing.len();
                    self.accepted += 1;
                    self.outgoing[thread].push(Mail::Conn(socket));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    eprintln!("loadtest floor: accept: {error}");
                    return;
                }
            }
        }
    }

    fn adopt(&mut self, mut socket: TcpStream) -> Result<()> {
        // A connection that is gone already is found out by its first read.
        let _ = socket.set_nodelay(true);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.conns.push(None);
            self.conns.len() - 1
        });
        self.poll.registry().register(&mut socket, Token(slot), Interest::READABLE | Interest::WRITABLE)?;
        self.conns[slot] = Some(Conn::new(socket));
        Ok(())
    }

    /// Reads until the kernel has no more; `to_end` when the end of the stream has come already.
    fn receive(&mut self, slot: usize, to_end: bool) {
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Some(conn) = self.conns[slot].as_mut().filter(|conn| !conn.dead) {
            let kept = conn.carry.len();
            if buffer.len() < kept + RECEIVE_BYTES / 2 {
                buffer.resize(kept + RECEIVE_BYTES, 0);
            }
            let room = buffer.len() - kept;
            match conn.socket.read(&mut buffer[kept..]) {
                Ok(0) => conn.dead = true,
                Ok(read) => {
                    buffer[..kept].copy_from_slice(&conn.carry);
                    conn.carry = Vec::new();
                    let done = self.digest(slot, &mut buffer[..kept + read]);
                    if let Some(conn) = self.conns[slot].as_mut() {
                        conn.carry.extend_from_slice(&buffer[done..kept + read]);
                    }
                    if read < room && !to_end {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => conn.dead = true,
            }
        }
        self.buffer = buffer;
    }

    /// How many bytes were whole frames.
    fn digest(&mut self, slot: usize, bytes: &mut [u8]) -> usize {
        let mut done = 0;
        let Some(conn) = self.conns[slot].as_mut() else { return done };
        if !conn.open {
            match handshake::read_request(bytes) {
                Asked::NeedMore => return done,
                Asked::Invalid => {
                    conn.dead = true;
                    return done;
                }
                Asked::Upgrade { length, response } => {
                    done = length;
                    conn.open = true;
                    conn.send(&response, self.backlog_max);
                }
            }
        }
        loop {
            match frame::scan(&bytes[done..]) {
                Ok(Some(frame)) => {
                    let start = done + frame.header_len;
                    done += frame.total_len();
                    self.frame(slot, frame, &mut bytes[start..done]);
                }
                Ok(None) => return done,
                Err(_) => {
                    if let Some(conn) = self.conns[slot].as_mut() {
                        conn.dead = true;
                    }
                    return bytes.len();
                }
            }
        }
    }

    fn frame(&mut self, slot: usize, frame: Frame, payload: &mut [u8]) {
        let Some(conn) = self.conns[slot].as_mut() else { return };
        if let Some(key) = frame.mask {
            apply_mask(payload, key);
        }
        match frame.opcode {
            opcode::TEXT if frame.fin => match protocol::read(payload) {
                Some(Request::Publish(name)) => {
                    let known = conn.target.take().filter(|room| *room.name == *name);
                    let room = known.unwrap_or_else(|| self.directory.room(name));
                    conn.target = Some(room.clone());
                    self.text.clear();
                    self.text.extend_from_slice(payload);
                    protocol::fit(&mut self.text, self.frame_bytes);
                    let mut bytes = Vec::with_capacity(self.text.len() + 10);
                    push_unmasked(&mut bytes, opcode::TEXT, &self.text);
                    let publication = Publication { room, frame: bytes.into() };
                    for (thread, members) in publication.room.members.iter().enumerate() {
                        if thread == self.number {
                            self.round.push(publication.clone());
                        } else if members.load(Relaxed) > 0 {
                            self.outgoing[thread].push(Mail::Publication(publication.clone()));
                        }
                    }
                }
                Some(Request::Join(name)) => {
                    let room = self.directory.room(name);
                    if self.rooms.join(&room, slot) {
                        conn.rooms.push(room);
                    }
                    reply(conn, "subscribed", name, self.backlog_max);
                }
                Some(Request::Leave(name)) => {
                    let room = self.directory.room(name);
                    self.rooms.leave(&room, slot);
                    conn.rooms.retain(|joined| joined.number != room.number);
                    reply(conn, "unsubscribed", name, self.backlog_max);
                }
                None => {}
            },
            opcode::PING => send_frame(conn, opcode::PONG, payload, self.backlog_max),
            opcode::CLOSE => {
                send_frame(conn, opcode::CLOSE, &payload[..payload.len().min(2)], self.backlog_max);
                conn.dead = true;
            }
            _ => {}
        }
    }

    /// Closes what died in this round; only now, so that no slot changes hands within a round.
    fn reap(&mut self) {
        let Self { suspects, conns, rooms, free, .. } = self;
        for slot in suspects.drain(..) {
            if let Some(conn) = conns[slot].take_if(|conn| conn.dead) {
                conn.rooms.iter().for_each(|room| rooms.leave(room, slot));
                free.push(slot);
            }
        }
    }
}

fn reply(conn: &mut Conn, kind: &str, room: &[u8], backlog_max: usize) {
    send_frame(conn, opcode::TEXT, &protocol::acknowledge(kind, room), backlog_max);
}

fn send_frame(conn: &mut Conn, opcode: u8, payload: &[u8], backlog_max: usize) {
    let mut bytes = Vec::with_capacity(payload.len() + 10);
    push_unmasked(&mut bytes, opcode, payload);
    conn.send(&bytes, backlog_max);
}
