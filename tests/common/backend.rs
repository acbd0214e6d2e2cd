//! A small HTTP backend that can also be slow, fail, lie and die.

use super::PATIENCE;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Heard {
    /// Request line and fields.
    pub head: String,
    pub body: String,
    /// Which of the backend's connections it came on, from 0.
    pub connection: usize,
}

impl Heard {
    /// A field's value, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(':'));
        fields.into_iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The name of what happened.
    pub fn event(&self) -> String {
        self.json()["event"].as_str().unwrap_or_default().to_owned()
    }
}

/// What the backend does with a request.
#[derive(Debug, Clone)]
pub enum Act {
    /// 200 with this body.
    Say(String),
    /// A status with a body.
    Status(u16, String),
    /// These bytes, and the end of the connection.
    Raw(Vec<u8>),
    /// 200 and the beginning of an answer that never ends, a byte at a time.
    Drip,
    /// Nothing at all.
    Silence,
    /// The end of the connection.
    HangUp,
    /// The end of the connection by a reset.
    Reset,
    /// These bytes, and the end of the connection by a reset.
    RawAndReset(Vec<u8>),
    /// 200 with this body, and then the end of the connection, unannounced.
    SayAndLeave(String),
}

/// What is shared with the threads.
#[derive(Default)]
struct Shared {
    heard: Mutex<Vec<Heard>>,
    more: Condvar,
    /// Handles of its connections, by their number.
    streams: Mutex<HashMap<usize, TcpStream>>,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
    dead: AtomicBool,
    /// Time after which it closes a connection that brings no further request.
    idle_timeout: Option<Duration>,
}

/// A backend that runs until it is dropped.
pub struct Backend {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

impl Backend {
    /// Starts one that does what `act` says.
    pub fn start(act: impl Fn(&Heard) -> Act + Send + Sync + 'static) -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into(), act)
    }

    /// Starts one at an address, where one has died, say.
    pub fn start_at(addr: SocketAddr, act: impl Fn(&Heard) -> Act + Send + Sync + 'static) -> Self {
        Self::start_sharing(addr, Shared::default(), act)
    }

    /// Starts one that closes a connection when no further request comes on it for a time.
    pub fn start_impatient(
        idle_timeout: Duration,
        act: impl Fn(&Heard) -> Act + Send + Sync + 'static,
    ) -> Self {
        let shared = Shared { idle_timeout: Some(idle_timeout), ..Shared::default() };
        Self::start_sharing(([127, 0, 0, 1], 0).into(), shared, act)
    }

    fn start_sharing(
        addr: SocketAddr,
        shared: Shared,
        act: impl Fn(&Heard) -> Act + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(addr).expect("the address is free");
        let addr = listener.local_addr().expect("an address");
        let shared = Arc::new(shared);
        let (of_thread, act) = (shared.clone(), Arc::new(act));
        thread::spawn(move || {
            for (connection, stream) in listener.incoming().enumerate() {
                if of_thread.dead.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let handle = stream.try_clone().expect("a second handle");
                of_thread.streams.lock().unwrap().insert(connection, handle);
                let (shared, act) = (of_thread.clone(), act.clone());
                thread::spawn(move || {
                    serve(stream, connection, &shared, &*act);
                    // The last handle: with it the connection ends.
                    shared.streams.lock().unwrap().remove(&connection);
                });
            }
        });
        Self { addr, shared }
    }

    /// One that allows everything and has nothing to say.
    pub fn friendly() -> Self {
        Self::start(|_| Act::Say(r#"{"allow":true}"#.to_owned()))
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The URL to configure.
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.addr)
    }

    /// All requests so far.
    pub fn heard(&self) -> Vec<Heard> {
        self.shared.heard.lock().unwrap().clone()
    }

    /// Those of an event.
    pub fn heard_of(&self, event: &str) -> Vec<Heard> {
        self.heard().into_iter().filter(|heard| heard.event() == event).collect()
    }

    /// Waits until `wanted` holds of all requests so far; these.
    ///
    /// # Panics
    /// If that is not within [`PATIENCE`].
    pub fn wait(&self, what: &str, wanted: impl Fn(&[Heard]) -> bool) -> Vec<Heard> {
        let end = Instant::now() + PATIENCE;
        let mut heard = self.shared.heard.lock().unwrap();
        while !wanted(&heard) {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the backend did not hear {what}: {heard:?}");
            heard = self.shared.more.wait_timeout(heard, left).unwrap().0;
        }
        heard.clone()
    }

    /// Waits for the first request of an event.
    pub fn wait_for(&self, event: &str) -> Heard {
        let heard = self.wait(event, |all| all.iter().any(|heard| heard.event() == event));
        heard.into_iter().find(|heard| heard.event() == event).expect("it was waited for")
    }

    /// Most requests that it had at once.
    pub fn most_at_once(&self) -> usize {
        self.shared.most_at_once.load(Ordering::SeqCst)
    }

    /// Ends it: its connections break and nobody listens any more.
    pub fn die(&self) {
        self.shared.dead.store(true, Ordering::SeqCst);
        // The listener learns of it by one more connection, and goes.
        drop(TcpStream::connect(self.addr));
        for (_, stream) in self.shared.streams.lock().unwrap().drain() {
            stream.shutdown(Shutdown::Both).ok();
        }
        super::eventually("nobody listens", || match TcpStream::connect(self.addr) {
            Ok(stream) => stream.local_addr().ok() == stream.peer_addr().ok(),
            Err(_) => true,
        });
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.die();
    }
}

fn serve(stream: TcpStream, connection: usize, shared: &Shared, act: &dyn Fn(&Heard) -> Act) {
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut stream = stream;
    while let Some(heard) = read_request(&mut reader, connection) {
        shared.heard.lock().unwrap().push(heard.clone());
        shared.more.notify_all();
        let at_once = shared.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        shared.most_at_once.fetch_max(at_once, Ordering::SeqCst);
        let act = act(&heard);
        // Before the answer, which may bring the next one.
        shared.at_once.fetch_sub(1, Ordering::SeqCst);
        let is_reset = matches!(act, Act::Reset | Act::RawAndReset(_));
        if !perform(&mut stream, &mut reader, act) {
            if !is_reset {
                stream.shutdown(Shutdown::Both).ok();
            }
            return;
        }
        reader.get_ref().set_read_timeout(shared.idle_timeout).expect("a time that is not zero");
    }
}

/// Does what is to be done; whether the connection goes on.
fn perform(stream: &mut TcpStream, reader: &mut impl Read, act: Act) -> bool {
    let answer = |status: u16, body: &str| {
        let location = if status / 100 == 3 { "Location: /elsewhere\r\n" } else { "" };
        format!("HTTP/1.1 {status} Status\r\n{location}Content-Length: {}\r\n\r\n{body}", body.len())
    };
    match act {
        Act::Say(body) => stream.write_all(answer(200, &body).as_bytes()).is_ok(),
        Act::Status(status, body) => stream.write_all(answer(status, &body).as_bytes()).is_ok(),
        Act::Raw(bytes) => {
            stream.write_all(&bytes).ok();
            false
        }
        Act::Drip => {
            let mut drop = b"HTTP/1.1 200 OK\r\nContent-Length: 30000\r\n\r\n ".as_slice();
            while stream.write_all(drop).is_ok() {
                drop = b" ";
                thread::sleep(Duration::from_millis(20));
            }
            false
        }
        Act::Silence => {
            // Until the other side gives up.
            reader.read_to_end(&mut Vec::new()).ok();
            false
        }
        Act::HangUp => false,
        Act::Reset => reset(stream),
        Act::RawAndReset(bytes) => {
            stream.write_all(&bytes).ok();
            reset(stream)
        }
        Act::SayAndLeave(body) => {
            stream.write_all(answer(200, &body).as_bytes()).ok();
            false
        }
    }
}

/// Resets a connection, which goes on no more.
fn reset(stream: &TcpStream) -> bool {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).expect("a TCP socket");
    false
}

fn read_request(reader: &mut impl BufRead, connection: usize) -> Option<Heard> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let mut heard = Heard { head, body: String::new(), connection };
    let mut body = vec![0; heard.header("content-length")?.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    heard.body = String::from_utf8(body).ok()?;
    Some(heard)
}
