//! `floor`: a bare epoll server, the yardstick.
//!
//! One thread per core, frames made once, no protocol beyond join, leave and publish: what remains is what
//! the kernel asks for handing the bytes to every member. It speaks a real WebSocket upgrade, so that the
//! same load patterns drive it. The first thread accepts and deals connections in turn; each thread owns
//! its connections, and a publication goes to the threads that hold members of its room.

mod conn;
mod protocol;
mod ring;
mod rooms;
mod shard;
mod writer;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use mio::net::TcpListener;
use socket2::{Domain, Protocol, Socket, Type};

use crate::cli::Floor;
use crate::floor::rooms::Directory;
use crate::floor::shard::{Mailbox, Shard};

/// Connections that may wait to be accepted.
const ACCEPT_BACKLOG: i32 = 4096;

/// Runs until the process is ended.
///
/// # Errors
/// When the port is taken or a thread fails.
pub fn run(options: &Floor) -> Result<()> {
    rlimit::increase_nofile_limit(u64::MAX).context("the limit of open files")?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let count = options.threads.unwrap_or(cores).max(1);

    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
    socket.bind(&address.into()).with_context(|| format!("port {}", options.port))?;
    socket.listen(ACCEPT_BACKLOG)?;
    let listener = TcpListener::from_std(socket.into());
    let port = listener.local_addr()?.port();

    let directory = Arc::new(Directory::new(count));
    let (mut polls, mut mailboxes) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let poll = mio::Poll::new()?;
        mailboxes.push(Mailbox::new(&poll)?);
        polls.push(poll);
    }
    let mailboxes = Arc::new(mailboxes);
    let mut listener = Some(listener);
    let mut handles = Vec::new();
    for (number, poll) in polls.into_iter().enumerate() {
        let shard = Shard::new(number, poll, listener.take(), mailboxes.clone(), directory.clone(), options)?;
        let pins = &options.pin;
        let core = if pins.is_empty() { number % cores } else { pins[number % pins.len()] };
        handles.push(std::thread::spawn(move || -> Result<()> {
            if !core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
                bail!("cannot pin to core {core}");
            }
            shard.run()
        }));
    }
    println!("listening on 127.0.0.1:{port}, process {}", std::process::id());
    for handle in handles {
        handle.join().map_err(|_| anyhow!("a thread of the bare server panicked"))??;
    }
    Ok(())
}
