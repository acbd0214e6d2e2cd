use super::ring::Ring;
use crate::base::Key;
use crate::shard::{Sent, Sockets};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use smallvec::SmallVec;
use socket2::Socket;
use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Instant;

/// The sockets of a shard's upgraded connections, by slot: eight bytes each.
pub(super) struct SocketTable {
    sockets: Vec<Option<Socket>>,
    /// Tokens carry the slot's generation, so that an event of a closed socket is not taken for its successor's.
    generations: Vec<u32>,
    /// How the next send differs from others, by slot. All of it is over by the end of a turn, but for sockets that
    /// take nothing.
    special: HashMap<u32, Special, RandomState>,
    /// `None` where the kernel, or the configuration, does not let us.
    ring: Option<Ring>,
    /// Descriptors of one submission, kept for its allocation.
    descriptors: Vec<RawFd>,
    registry: Registry,
    epoch: Instant,
}

/// Sockets from which on they are sent the same bytes in one submission. With 100 it gains nothing.
const TOGETHER_MIN: usize = 128;

/// How a send differs from others.
#[derive(Default)]
struct Special {
    /// The answer to the handshake, which goes before anything else: with the first frame in one call.
    greeting: Vec<u8>,
    /// The bytes are the last ones, to go in one packet with the end of our side.
    last: bool,
}

impl SocketTable {
    /// An empty table. `together`: whether many sockets may be sent the same bytes in one submission.
    pub fn new(registry: Registry, epoch: Instant, together: bool) -> Self {
        let ring = together.then(Ring::new).and_then(|ring| {
            ring.inspect_err(|error| tracing::debug!(%error, "no io_uring: sends go one by one")).ok()
        });
        Self {
            sockets: Vec::new(),
            generations: Vec::new(),
            special: HashMap::default(),
            ring,
            descriptors: Vec::new(),
            registry,
            epoch,
        }
    }

    /// Takes a socket over and watches it for input; it may have been `watched` by the same poll before. Writability
    /// is watched only while a write fell short.
    pub fn insert(&mut self, key: Key, socket: Socket, watched: bool) -> io::Result<()> {
        let slot = key.slot as usize;
        if self.sockets.len() <= slot {
            self.sockets.resize_with(slot + 1, || None);
            self.generations.resize(slot + 1, 0);
        }
        let token = Token(key.to_token());
        let fd = socket.as_raw_fd();
        match watched {
            true => self.registry.reregister(&mut SourceFd(&fd), token, Interest::READABLE)?,
            false => self.registry.register(&mut SourceFd(&fd), token, Interest::READABLE)?,
        }
        self.generations[slot] = key.generation;
        self.sockets[slot] = Some(socket);
        Ok(())
    }

    /// Has `bytes` go out before all else that is sent to a slot.
    pub fn greet(&mut self, slot: u32, bytes: Vec<u8>) {
        self.special.insert(slot, Special { greeting: bytes, last: false });
    }

    /// Sends the greetings that no frame has taken along.
    pub fn send_greetings(&mut self) {
        if self.special.is_empty() {
            return;
        }
        let slots: SmallVec<[u32; 16]> = self.special.keys().copied().collect();
        for slot in slots {
            self.send_greeting(slot);
            if self.special.get(&slot).is_some_and(|special| !special.greeting.is_empty()) {
                // The turn after it can be written to comes here again.
                self.watch_writable(slot, true);
            }
        }
    }

    fn send_greeting(&mut self, slot: u32) {
        if self.special.get(&slot).is_some_and(|special| !special.greeting.is_empty()) {
            // An error is also told by the poll.
            self.send_special(slot, &[]);
        }
    }

    /// Sends where there is something special about it. What is not sent of a greeting is kept.
    fn send_special(&mut self, slot: u32, bytes: &[u8]) -> Sent {
        let Some(mut special) = self.special.remove(&slot) else { return self.send(slot, bytes) };
        let Some(socket) = self.get(slot) else { return Sent::Lost };
        // The kernel holds these bytes back for the end that follows: see `close`.
        let flags = libc::MSG_NOSIGNAL | if special.last { libc::MSG_MORE } else { 0 };
        loop {
            let slices = [IoSlice::new(&special.greeting), IoSlice::new(bytes)];
            let taken = match socket.send_vectored_with_flags(&slices, flags) {
                Ok(taken) => taken,
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => continue,
                    ErrorKind::WouldBlock => 0,
                    _ => return Sent::Lost,
                },
            };
            let greeted = taken.min(special.greeting.len());
            special.greeting.drain(..greeted);
            if special.last || !special.greeting.is_empty() {
                self.special.insert(slot, special);
            }
            return Sent::Taken(taken - greeted);
        }
    }

    /// Sends in one submission what can be: `sent` then lacks those for whom that failed, from one of them on.
    fn submit(&mut self, slots: &[u32], bytes: &[u8], sent: &mut Vec<Sent>) {
        let Some(ring) = &mut self.ring else { return };
        let sockets = slots.iter().map_while(|slot| self.sockets.get(*slot as usize)?.as_ref());
        self.descriptors.clear();
        self.descriptors.extend(sockets.map(AsRawFd::as_raw_fd));
        if let Err(error) = ring.send(&self.descriptors, bytes, sent) {
            tracing::warn!(%error, "io_uring fails: sends go one by one from now on");
            self.ring = None;
        }
    }

    pub fn get(&self, slot: u32) -> Option<&Socket> {
        self.sockets.get(slot as usize)?.as_ref()
    }
}

impl Sockets for SocketTable {
    fn send(&mut self, slot: u32, bytes: &[u8]) -> Sent {
        if !self.special.is_empty() && self.special.contains_key(&slot) {
            return self.send_special(slot, bytes);
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

    fn send_to_each(&mut self, slots: &[u32], bytes: &[u8], sent: &mut Vec<Sent>) {
        let before = sent.len();
        let is_special = |slot| self.special.contains_key(slot);
        if slots.len() >= TOGETHER_MIN && !slots.iter().any(is_special) {
            self.submit(slots, bytes, sent);
        }
        let submitted = sent.len() - before;
        sent.extend(slots[submitted..].iter().map(|slot| self.send(*slot, bytes)));
    }

    fn watch_writable(&mut self, slot: u32, on: bool) {
        let Some(socket) = self.get(slot) else { return };
        let interest = if on { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        let token = Token(Key { slot, generation: self.generations[slot as usize] }.to_token());
        if let Err(error) = self.registry.reregister(&mut SourceFd(&socket.as_raw_fd()), token, interest) {
            // Without the event the write deadline ends the connection.
            tracing::error!(%error, "cannot watch a socket");
        }
    }

    fn urge(&mut self, slot: u32) {
        if let Some(socket) = self.get(slot) {
            // Fails on a Unix socket, which has no such bound.
            let _ = socket.set_tcp_notsent_lowat(u32::MAX);
        }
    }

    fn closes_after(&mut self, slot: u32) {
        self.special.entry(slot).or_default().last = true;
    }

    fn finish(&mut self, slot: u32) {
        self.send_greeting(slot);
        if let Some(socket) = self.get(slot) {
            // Fails when the peer is gone already.
            let _ = socket.shutdown(std::net::Shutdown::Write);
        }
    }

    fn close(&mut self, slot: u32) {
        self.send_greeting(slot);
        self.special.remove(&slot);
        if let Some(socket) = self.sockets.get_mut(slot as usize).and_then(Option::take) {
            // Closing alone would end it with a reset, ahead of what was sent last, if there is input that nobody has
            // read.
            let _ = socket.shutdown(std::net::Shutdown::Write);
        }
    }

    fn now_us(&self) -> u64 {
        self.epoch.elapsed().as_micros() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    fn table() -> (mio::Poll, SocketTable, Key, UnixStream) {
        let poll = mio::Poll::new().unwrap();
        let mut table = SocketTable::new(poll.registry().try_clone().unwrap(), Instant::now(), true);
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let key = Key::from_token(3);
        table.insert(key, ours.into(), false).unwrap();
        (poll, table, key, theirs)
    }

    fn read(mut stream: &UnixStream) -> Vec<u8> {
        let mut bytes = vec![0; 1 << 20];
        let len = stream.read(&mut bytes).unwrap();
        bytes.truncate(len);
        bytes
    }

    #[test]
    fn a_greeting_goes_with_the_first_frame_or_at_the_end_of_the_turn() {
        let (_poll, mut table, key, theirs) = table();
        table.greet(key.slot, b"101 ".to_vec());
        assert_eq!(table.send(key.slot, b"frame"), Sent::Taken(5));
        assert_eq!(read(&theirs), b"101 frame");
        table.greet(key.slot, b"101 ".to_vec());
        table.send_greetings();
        assert_eq!(read(&theirs), b"101 ");
        assert_eq!(table.send(key.slot, b"frame"), Sent::Taken(5));
        assert_eq!(read(&theirs), b"frame");
        table.greet(key.slot, b"101 ".to_vec());
        table.closes_after(key.slot);
        table.close(key.slot);
        assert_eq!(read(&theirs), b"101 ");
        assert_eq!(read(&theirs), b"", "the end");
        assert!(table.special.is_empty());
    }

    #[test]
    fn what_is_left_of_a_greeting_goes_before_all_else() {
        let (_poll, mut table, key, theirs) = table();
        let greeting: Vec<u8> = (0..1 << 20).map(|number: u32| number as u8).collect();
        table.greet(key.slot, greeting.clone());
        let mut received = Vec::new();
        let sent = loop {
            match table.send(key.slot, b"frame") {
                Sent::Taken(0) => received.extend(read(&theirs)),
                sent => break sent,
            }
        };
        assert_eq!(sent, Sent::Taken(5));
        while received.len() < greeting.len() + 5 {
            received.extend(read(&theirs));
        }
        assert!(received[..greeting.len()] == greeting && received.ends_with(b"frame"));
        assert!(table.special.is_empty());
    }

    #[test]
    fn many_sockets_are_sent_the_same_together_or_one_by_one() {
        for together in [true, false] {
            let poll = mio::Poll::new().unwrap();
            let registry = poll.registry().try_clone().unwrap();
            let mut table = SocketTable::new(registry, Instant::now(), together);
            let count = TOGETHER_MIN as u32 + 20;
            let add = |slot| {
                let (ours, theirs) = UnixStream::pair().unwrap();
                ours.set_nonblocking(true).unwrap();
                theirs.set_nonblocking(true).unwrap();
                table.insert(Key::from_token(slot as usize), ours.into(), false).unwrap();
                theirs
            };
            let theirs: Vec<UnixStream> = (0..count).map(add).collect();
            let slots: Vec<u32> = (0..count).rev().collect();
            let mut sent = Vec::new();
            table.send_to_each(&slots, b"one ", &mut sent);
            // A greeting goes before all else, and a slot without a socket is told of.
            table.greet(5, b"101 ".to_vec());
            table.close(TOGETHER_MIN as u32 / 2);
            table.send_to_each(&slots, b"two", &mut sent);
            table.send_to_each(&slots, b"", &mut sent);
            let lost = sent.iter().filter(|sent| **sent == Sent::Lost).count();
            assert_eq!((sent.len(), lost), (3 * slots.len(), 2), "{together}");
            for (slot, theirs) in theirs.iter().enumerate() {
                let expected: &[u8] = match slot {
                    5 => b"one 101 two",
                    slot if slot == TOGETHER_MIN / 2 => b"one ",
                    _ => b"one two",
                };
                assert_eq!(read(theirs), expected, "{slot} {together}");
            }
        }
    }
}
