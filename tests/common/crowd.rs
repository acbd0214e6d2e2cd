use super::{PATIENCE, frame, opcode};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Threads that connect a crowd.
const THREADS: usize = 4;

/// Descriptors that a test and a server need beside those of a crowd.
const SPARE: usize = 1000;

/// Very many connections, each a member of one room, that read everything or nothing.
pub struct Crowd {
    streams: Vec<TcpStream>,
}

/// Held by a test with thousands of connections. Tests may be threads of one process, and two crowds may be more
/// descriptors than a process can have.
pub fn crowd_alone() -> MutexGuard<'static, ()> {
    static CROWD: Mutex<()> = Mutex::new(());
    CROWD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many connections a test can have, `wanted` at the most: this process and the server have one descriptor each.
pub fn crowd_size(wanted: usize) -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("the kernel tells the limits");
    let files = limits.lines().find(|line| line.starts_with("Max open files")).expect("that one too");
    let soft: usize = files.split_whitespace().nth(3).and_then(|n| n.parse().ok()).unwrap_or(1024);
    let size = wanted.min(soft.saturating_sub(SPARE));
    if size < wanted {
        println!("{size} connections instead of {wanted}: only {soft} open files are allowed");
    }
    size
}

impl Crowd {
    /// Connects so many, all at once as far as a few threads can, each to the room that `room` names. With `buffer`,
    /// the system keeps hardly more than that many bytes for each that does not read.
    pub fn connect(
        addr: SocketAddr,
        count: usize,
        buffer: Option<usize>,
        room: impl Fn(usize) -> String + Sync,
    ) -> Self {
        let room = &room;
        let share = |thread: usize| (0..count).skip(thread).step_by(THREADS);
        let streams = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    scope.spawn(move || {
                        let asked: Vec<_> =
                            share(thread).map(|number| ask(addr, buffer, &room(number))).collect();
                        asked.into_iter().map(joined).collect::<Vec<_>>()
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("all connect")).collect()
        });
        Self { streams }
    }

    /// The members' sockets.
    pub fn streams(&self) -> &[TcpStream] {
        &self.streams
    }

    /// Reads everything that comes, in a thread of its own, and looks at nothing.
    pub fn read_on(self) -> Reading {
        let stop = Arc::new(AtomicBool::new(false));
        let bytes = Arc::new(AtomicU64::new(0));
        let thread = {
            let (stop, bytes) = (stop.clone(), bytes.clone());
            thread::spawn(move || read_all(&self.streams, &stop, &bytes))
        };
        Reading { stop, bytes, thread: Some(thread) }
    }
}

/// A crowd that reads.
pub struct Reading {
    stop: Arc<AtomicBool>,
    bytes: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Reading {
    /// Bytes read so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// Connects, and sends the handshake and the wish to join in one.
fn ask(addr: SocketAddr, buffer: Option<usize>, room: &str) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    if let Some(bytes) = buffer {
        socket.set_recv_buffer_size(bytes).expect("a size that the system takes");
    }
    socket.connect(&addr.into()).expect("the server accepts");
    let mut stream = TcpStream::from(socket);
    let mut bytes = super::Client::handshake("localhost", "/ws", &[]);
    let join = serde_json::json!({"type": "subscribe", "room": room}).to_string();
    bytes.extend(frame(opcode::FIN | opcode::TEXT, join.as_bytes()));
    stream.write_all(&bytes).expect("the server reads");
    stream
}

/// Waits until the answer to joining is there.
fn joined(mut stream: TcpStream) -> TcpStream {
    const ANSWER: &[u8] = b"\"type\":\"subscribed\"";
    stream.set_read_timeout(Some(6 * PATIENCE)).expect("a timeout can be set");
    let (mut buffer, mut received) = ([0; 1024], Vec::new());
    while !received.windows(ANSWER.len()).any(|part| part == ANSWER) {
        let count = stream.read(&mut buffer).expect("the server answers");
        assert!(count > 0, "ended after {:?}", String::from_utf8_lossy(&received));
        received.extend_from_slice(&buffer[..count]);
    }
    stream
}

fn read_all(streams: &[TcpStream], stop: &AtomicBool, bytes: &AtomicU64) {
    let mut poll = Poll::new().expect("a poll");
    for (index, stream) in streams.iter().enumerate() {
        stream.set_nonblocking(true).expect("a socket");
        let fd = stream.as_raw_fd();
        poll.registry().register(&mut SourceFd(&fd), Token(index), Interest::READABLE).expect("a socket");
    }
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; 256 * 1024];
    while !stop.load(Ordering::Relaxed) {
        poll.poll(&mut events, Some(Duration::from_millis(20))).ok();
        for event in &events {
            loop {
                match (&streams[event.token().0]).read(&mut buffer) {
                    Ok(count) => {
                        bytes.fetch_add(count as u64, Ordering::Relaxed);
                        // Edge-triggered: a read that falls short has emptied the socket.
                        if count < buffer.len() {
                            break;
                        }
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
        }
    }
}

/// The times of `count` round trips of a message from `publisher` to `member`, in order of size.
pub fn round_trips(
    publisher: &mut super::Client,
    member: &mut super::Client,
    room: &str,
    count: usize,
) -> Vec<Duration> {
    let mut times: Vec<_> = (0..count)
        .map(|number| {
            let began = Instant::now();
            publisher.send_text(&format!(r#"{{"type":"publish","room":"{room}","data":{number}}}"#));
            member.expect_json(|message| assert_eq!(message["data"], number, "{message}"));
            let time = began.elapsed();
            publisher.expect_json(|message| assert_eq!(message["data"], number, "{message}"));
            time
        })
        .collect();
    times.sort_unstable();
    times
}
