//! All sends of a round in one submission (io_uring).
//!
//! The only file of the load tool with `unsafe` code: the kernel reads the buffers through plain pointers.

#![allow(unsafe_code)]

use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd as _;

use io_uring::{IoUring, opcode, types};

use super::conn::Conn;

/// Sends in one submission; a round with more takes several.
const ENTRIES: u32 = 4096;

/// Some bytes for some members (their slots).
pub type Job<'a> = (&'a [u8], &'a [usize]);

/// The ring of one thread. Nothing is under way in it between two calls.
pub struct Ring {
    ring: IoUring,
    under_way: usize,
}

impl Ring {
    /// # Errors
    /// When the kernel has no io_uring or forbids it.
    pub fn new() -> io::Result<Self> {
        Ok(Self { ring: IoUring::new(ENTRIES)?, under_way: 0 })
    }

    /// Sends every job's bytes to its members and waits until the kernel has taken what it takes at once;
    /// the rest is kept at the connection, up to `backlog_max` bytes. Members that died are added to `dead`.
    pub fn send(
        &mut self,
        jobs: &[Job<'_>],
        conns: &mut [Option<Conn>],
        backlog_max: usize,
        dead: &mut Vec<usize>,
    ) {
        for (number, (bytes, members)) in jobs.iter().enumerate() {
            for slot in *members {
                // A member of two rooms: two sends of one submission could mix if the first was cut short.
                if conns[*slot].as_ref().is_some_and(|conn| conn.sending)
                    || self.under_way == ENTRIES as usize
                {
                    self.complete(jobs, conns, backlog_max, dead);
                }
                let Some(conn) = conns[*slot].as_mut().filter(|conn| !conn.dead) else { continue };
                if conn.is_stuck() {
                    conn.keep(bytes, backlog_max);
                    if conn.dead {
                        dead.push(*slot);
                    }
                    continue;
                }
                let socket = types::Fd(conn.socket.as_raw_fd());
                let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                let entry = opcode::Send::new(socket, bytes.as_ptr(), length)
                    .flags(libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
                    .build()
                    .user_data((number as u64) << 32 | *slot as u64);
                // SAFETY: `jobs` borrows the bytes for longer than this call, and no way out of it passes by
                // `complete`, which returns only when the kernel is done with every entry.
                let pushed = unsafe { self.ring.submission().push(&entry) };
                // The queue has `ENTRIES` places and `under_way` was below that.
                pushed.expect("a place in the submission queue");
                conn.sending = true;
                self.under_way += 1;
            }
        }
        self.complete(jobs, conns, backlog_max, dead);
    }

    /// Submits, waits for all, and keeps what the kernel did not take.
    fn complete(
        &mut self,
        jobs: &[Job<'_>],
        conns: &mut [Option<Conn>],
        backlog_max: usize,
        dead: &mut Vec<usize>,
    ) {
        while self.under_way > 0 {
            match self.ring.submit_and_wait(self.under_way) {
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
                Err(error) => {
                    // The kernel may still hold the buffers: they must not be freed by unwinding.
                    eprintln!("loadtest floor: io_uring: {error}");
                    std::process::abort();
                }
            }
            for done in self.ring.completion() {
                self.under_way -= 1;
                let (number, slot) = ((done.user_data() >> 32) as usize, done.user_data() as u32 as usize);
                let Some(conn) = conns[slot].as_mut() else { continue };
                conn.sending = false;
                let bytes = jobs[number].0;
                match usize::try_from(done.result()) {
                    Ok(taken) => conn.keep(&bytes[taken..], backlog_max),
                    Err(_) if -done.result() == libc::EAGAIN => conn.keep(bytes, backlog_max),
                    Err(_) => conn.dead = true,
                }
                if conn.dead {
                    dead.push(slot);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::net::{TcpListener, TcpStream};

    fn pair() -> (Option<Conn>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let near = listener.accept().unwrap().0;
        near.set_nonblocking(true).unwrap();
        (Some(Conn::new(mio::net::TcpStream::from_std(near))), far)
    }

    /// `None` where the kernel forbids io_uring.
    fn ring() -> Option<Ring> {
        Ring::new().ok()
    }

    #[test]
    fn every_member_gets_every_job_in_order() {
        let Some(mut ring) = ring() else { return };
        let (conns, fars): (Vec<_>, Vec<_>) = (0..3).map(|_| pair()).unzip();
        let (mut conns, mut dead) = (conns, Vec::new());
        // The member in the middle is in both rooms.
        ring.send(&[(b"one ", &[0, 1]), (b"two", &[1, 2])], &mut conns, 1_000, &mut dead);
        drop(conns);
        let texts = fars.into_iter().map(|mut far| {
            let mut text = String::new();
            far.read_to_string(&mut text).unwrap();
            text
        });
        assert_eq!(texts.collect::<Vec<_>>(), ["one ", "one two", "two"]);
        assert_eq!(dead, [] as [usize; 0]);
    }

    #[test]
    fn what_the_kernel_does_not_take_is_kept_in_order_or_cut_off() {
        let Some(mut ring) = ring() else { return };
        let (mut conns, mut far) = pair();
        let (slots, mut dead) = (std::slice::from_mut(&mut conns), Vec::new());
        let mut sent = Vec::new();
        while !slots[0].as_ref().unwrap().is_stuck() {
            let bytes = vec![sent.len() as u8; 100_000];
            ring.send(&[(&bytes, &[0])], slots, 1 << 20, &mut dead);
            sent.extend_from_slice(&bytes);
        }
        ring.send(&[(b"tail", &[0])], slots, 1 << 20, &mut dead);
        sent.extend_from_slice(b"tail");
        assert_eq!(dead, [] as [usize; 0]);
        let mut got = vec![0; sent.len()];
        std::thread::scope(|scope| {
            scope.spawn(|| far.read_exact(&mut got).unwrap());
            let conn = slots[0].as_mut().unwrap();
            while conn.is_stuck() {
                conn.flush();
            }
        });
        assert!(got == sent);
        ring.send(&[(&vec![0; 64 << 20], &[0])], slots, 1 << 20, &mut dead);
        assert_eq!(dead, [0]);
    }
}
