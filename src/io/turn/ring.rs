//! The same bytes for many sockets in one submission (io_uring(7)).
//!
//! Beside `sys`, the only file of the server with `unsafe` code: the kernel reads the bytes through a plain pointer.
#![allow(unsafe_code)]

use crate::shard::Sent;
use io_uring::{IoUring, Probe, opcode, types};
use std::io::{self, ErrorKind};
use std::os::fd::RawFd;

/// Sends in one submission; more take several. 64 bytes each, and 16 for its answer.
const ENTRIES: u32 = 256;

/// A ring of one thread. Nothing is under way in it between two calls.
pub(super) struct Ring(IoUring);

impl Ring {
    /// # Errors
    /// Where the kernel has no io_uring that sends (before 5.6), or forbids it (`kernel.io_uring_disabled`, seccomp).
    pub fn new() -> io::Result<Self> {
        let ring = IoUring::new(ENTRIES)?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        if !probe.is_supported(opcode::Send::CODE) {
            return Err(ErrorKind::Unsupported.into());
        }
        Ok(Self(ring))
    }

    /// Sends `bytes` to each socket as far as it takes them at once, and adds how it went with each to `sent`, in
    /// order. The sockets must be open, and none be there twice.
    ///
    /// # Errors
    /// If the kernel takes no more submissions: the rest of the sockets, for which `sent` says nothing, got nothing.
    pub fn send(&mut self, sockets: &[RawFd], bytes: &[u8], sent: &mut Vec<Sent>) -> io::Result<()> {
        sockets.chunks(ENTRIES as usize).try_for_each(|sockets| self.send_some(sockets, bytes, sent))
    }

    fn send_some(&mut self, sockets: &[RawFd], bytes: &[u8], sent: &mut Vec<Sent>) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        for (number, socket) in sockets.iter().enumerate() {
            let entry = opcode::Send::new(types::Fd(*socket), bytes.as_ptr(), length)
                .flags(libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
                .build()
                .user_data(number as u64);
            // SAFETY: `bytes` is borrowed for longer than this function runs, which does not end before the kernel is
            // done with every entry that it took.
            let pushed = unsafe { self.0.submission().push(&entry) };
            pushed.expect("the queue is empty between two calls and has a place for each of a chunk");
        }
        let first = sent.len();
        sent.resize(first + sockets.len(), Sent::Lost);
        let (mut submitted, mut done) = (0, 0);
        while done < sockets.len() {
            let outcome = self.0.submit_and_wait(sockets.len() - done);
            for answer in self.0.completion() {
                done += 1;
                sent[first + answer.user_data() as usize] = match usize::try_from(answer.result()) {
                    Ok(taken) => Sent::Taken(taken),
                    // Whoever was interrupted can be written to at once, and is told so by the poll.
                    Err(_) if [libc::EAGAIN, libc::EINTR].contains(&-answer.result()) => Sent::Taken(0),
                    Err(_) => Sent::Lost,
                };
            }
            match outcome {
                Ok(count) => submitted += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Sends that wait for nothing are done when the call that submits them returns, in order.
                Err(error) if done == submitted => {
                    sent.truncate(first + done);
                    return Err(error);
                }
                Err(_) => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsRawFd as _;
    use std::os::unix::net::UnixStream;

    fn pairs(count: usize) -> (Vec<UnixStream>, Vec<UnixStream>) {
        let pair = |_| {
            let (near, far) = UnixStream::pair().unwrap();
            near.set_nonblocking(true).unwrap();
            (near, far)
        };
        (0..count).map(pair).unzip()
    }

    #[test]
    fn each_socket_gets_the_bytes_and_is_answered_for() {
        let Ok(mut ring) = Ring::new() else {
            return println!("left out: submissions: the kernel has no io_uring, or forbids it");
        };
        // More than go into one submission.
        let (nears, mut fars) = pairs(ENTRIES as usize + 50);
        let (full, gone) = (7, ENTRIES as usize + 3);
        while (&nears[full]).write(&[0; 65536]).is_ok() {}
        drop(fars.remove(gone));
        let sockets: Vec<RawFd> = nears.iter().map(|near| near.as_raw_fd()).collect();
        for round in 0..3 {
            let mut sent = vec![Sent::Taken(99)];
            ring.send(&sockets, b"hello", &mut sent).unwrap();
            assert_eq!(sent.len(), 1 + sockets.len());
            for (at, sent) in sent[1..].iter().enumerate() {
                let expected = match at {
                    at if at == full => Sent::Taken(0),
                    at if at == gone => Sent::Lost,
                    _ => Sent::Taken(5),
                };
                assert_eq!(*sent, expected, "socket {at}, round {round}");
            }
        }
        drop(nears);
        for (at, far) in fars.iter_mut().enumerate().filter(|(at, _)| *at != full) {
            let mut text = String::new();
            far.read_to_string(&mut text).unwrap();
            assert_eq!(text, "hellohellohello", "socket {at}");
        }
    }

    #[test]
    fn what_a_socket_does_not_take_is_told() {
        let Ok(mut ring) = Ring::new() else { return };
        let (nears, mut fars) = pairs(1);
        let bytes: Vec<u8> = (0..8 << 20).map(|at: u32| (at >> 8) as u8).collect();
        let mut sent = Vec::new();
        ring.send(&[nears[0].as_raw_fd()], &bytes, &mut sent).unwrap();
        let Sent::Taken(taken) = sent[0] else { panic!("{sent:?}") };
        assert!((1..bytes.len()).contains(&taken));
        drop(nears);
        let mut got = Vec::new();
        fars[0].read_to_end(&mut got).unwrap();
        assert!(got == bytes[..taken]);
    }
}
