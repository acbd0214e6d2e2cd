//! What publishing over HTTP costs the server, beside an echo that is hyper and nothing else.
//!
//! ```text
//! cargo bench --bench http              # five rounds of a second for each case
//! cargo bench --bench http -- 2 500     # two rounds of 500 ms
//! ```
//!
//! Both servers are processes with one thread, under the same client: 32 connections that are kept alive, each with one
//! request under way. The echo answers with the body that it was sent. Told is the processor time that a server takes
//! for one publication, user and kernel, so that a machine that does other things besides does not matter much; and how
//! many of those a second of one core holds. The room has one member, which
//! reads what it can.
//!
//! After that, what HTTP costs others: the round trip of a WebSocket ping on the same shard, alone, and while
//! [`PIPELINES`] connections send one request after the other without waiting for answers. Told are medians and the
//! 99th percentile, and how many times those without is that; both are taken in turns.

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use std::convert::Infallible;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Says to the child that it is the echo.
const ECHO_VARIABLE: &str = "FANWIRE_BENCH_ECHO";

/// Connections of the client.
const CONNECTIONS: usize = 32;

/// Connections that send requests without waiting for the answers.
const PIPELINES: usize = 64;

/// Pings of one measurement.
const PINGS: usize = 500;

/// Publications in a batch.
const BATCH: usize = 1000;

const ONE: &str = r#"{"room":"chat","data":{"n":1,"text":"hello"}}"#;

fn main() {
    if std::env::var_os(ECHO_VARIABLE).is_some() {
        return echo();
    }
    let numbers: Vec<u64> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let rounds = numbers.first().copied().unwrap_or(5) as usize;
    let time = Duration::from_millis(numbers.get(1).copied().unwrap_or(1000));
    let batch = format!("[{}]", vec![ONE; BATCH].join(","));
    let one = |path: &str, body: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    let this = std::env::current_exe().expect("a bench is a file");
    let echo = Server::start(Command::new(this).env(ECHO_VARIABLE, "1"));
    // So that the member stays, although it cannot read as fast as a batch is published.
    let rules = r#"--room-rules=[{"pattern":"chat","overflow":"drop_oldest"}]"#;
    let fanwire = ["--host=127.0.0.1", "--port=0", "--shards=1", "--pin-threads=false", rules];
    let fanwire = Server::start(Command::new(env!("CARGO_BIN_EXE_fanwire")).args(fanwire));
    member(fanwire.addr);
    let mut taken: Vec<Vec<f64>> = vec![Vec::new(); 3];
    let single = one("/v1/publish", ONE);
    let batched = one("/v1/publish/batch", &batch);
    for _ in 0..rounds {
        taken[0].push(echo.cost(&single, time));
        taken[1].push(fanwire.cost(&single, time));
        taken[2].push(fanwire.cost(&batched, time) / BATCH as f64);
    }
    let medians: Vec<f64> = taken.iter_mut().map(|costs| median(costs)).collect();
    println!("{:<26} {:>12} {:>16} {:>14}", "", "µs for each", "each core, 1/s", "of the echo's");
    let names = ["hyper's echo", "POST /v1/publish", "POST /v1/publish/batch"];
    for (name, cost) in names.into_iter().zip(&medians) {
        let per_second = 1.0 / cost;
        println!("{name:<26} {:>12.2} {per_second:>16.0} {:>13.0}%", cost * 1e6, medians[0] / cost * 100.0);
    }
    pipelined(fanwire.addr);
}

/// Tells of round trips beside pipelined requests.
fn pipelined(addr: SocketAddr) {
    println!(
        "\n{:<26} {:>12} {:>12} {:>18}",
        "ping beside 64 x", "median, ms", "p99, ms", "p99 without, times"
    );
    let mut member = member_stream(addr);
    for path in ["/health", "/metrics", "/openapi.json", "/v1/rooms"] {
        let (_, alone) = round_trips(&mut member);
        let requests = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").repeat(64);
        let stop = Arc::new(AtomicBool::new(false));
        let threads: Vec<_> = (0..PIPELINES).flat_map(|_| pipeline(addr, requests.clone(), &stop)).collect();
        let (median, p99) = round_trips(&mut member);
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().for_each(|thread| thread.join().expect("it ends"));
        println!("{path:<26} {:>12.2} {:>12.2} {:>18.1}", median * 1e3, p99 * 1e3, p99 / alone);
    }
}

/// Sends requests and reads answers on one connection, on two threads, until it is told to stop.
fn pipeline(addr: SocketAddr, requests: String, stop: &Arc<AtomicBool>) -> [JoinHandle<()>; 2] {
    let mut stream = TcpStream::connect(addr).expect("it accepts");
    let mut reader = stream.try_clone().expect("a descriptor");
    let stop = stop.clone();
    let writes = std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) && stream.write_all(requests.as_bytes()).is_ok() {}
        stream.shutdown(std::net::Shutdown::Both).ok();
    });
    let mut buffer = vec![0; 1 << 20];
    [writes, std::thread::spawn(move || while reader.read(&mut buffer).is_ok_and(|read| read > 0) {})]
}

/// The median and the 99th percentile of the round trips of pings, in seconds.
fn round_trips(stream: &mut TcpStream) -> (f64, f64) {
    let ping = [0x89, 0x80, 0, 0, 0, 0];
    let mut taken: Vec<f64> = (0..PINGS)
        .map(|_| {
            let start = Instant::now();
            stream.write_all(&ping).expect("it reads");
            stream.read_exact(&mut [0; 2]).expect("it answers");
            start.elapsed().as_secs_f64()
        })
        .collect();
    taken.sort_by(f64::total_cmp);
    (taken[PINGS / 2], taken[PINGS * 99 / 100])
}

fn median(costs: &mut [f64]) -> f64 {
    costs.sort_by(f64::total_cmp);
    costs[costs.len() / 2]
}

/// A server in a process of its own, killed when dropped.
struct Server {
    child: Child,
    addr: SocketAddr,
}

impl Server {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut lines = BufReader::new(stdout).lines();
        let listening =
            |line: String| line.strip_prefix("listening on http://")?.split('/').next()?.parse().ok();
        let addr =
            lines.by_ref().map_while(Result::ok).find_map(listening).expect("it says where it listens");
        Self { child, addr }
    }

    /// Processor time for one request, in seconds.
    fn cost(&self, request: &str, time: Duration) -> f64 {
        let mut streams: Vec<_> = (0..CONNECTIONS).map(|_| Stream::new(self.addr)).collect();
        let before = self.cpu_seconds();
        let (start, mut done) = (Instant::now(), 0);
        while start.elapsed() < time {
            streams.iter_mut().for_each(|stream| stream.0.write_all(request.as_bytes()).expect("it reads"));
            streams.iter_mut().for_each(Stream::answer);
            done += CONNECTIONS;
        }
        (self.cpu_seconds() - before) / done as f64
    }

    /// Processor time of its threads so far, by the scheduler's own count in nanoseconds.
    fn cpu_seconds(&self) -> f64 {
        let tasks = format!("/proc/{}/task", self.child.id());
        let of_task = |task: std::fs::DirEntry| {
            let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<f64>().ok()
        };
        let tasks = std::fs::read_dir(tasks).expect("it runs").filter_map(Result::ok);
        tasks.filter_map(of_task).sum::<f64>() / 1e9
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// One connection of the client.
struct Stream(TcpStream, Vec<u8>);

impl Stream {
    fn new(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).expect("it accepts");
        stream.set_nodelay(true).expect("a TCP socket");
        Self(stream, vec![0; 256 * 1024])
    }

    /// Reads one whole answer, which must be a 200 with a length.
    fn answer(&mut self) {
        let Self(stream, buffer) = self;
        let (mut len, mut whole) = (0, usize::MAX);
        while len < whole {
            let read = stream.read(&mut buffer[len..]).expect("it answers");
            assert!(read > 0, "closed: {}", String::from_utf8_lossy(&buffer[..len]));
            len += read;
            let text = String::from_utf8_lossy(&buffer[..len.min(1024)]);
            if whole == usize::MAX
                && let Some(head) = text.find("\r\n\r\n")
            {
                assert!(text.starts_with("HTTP/1.1 200"), "{text}");
                let length = text[..head].lines().find_map(|line| line.strip_prefix("content-length: "));
                whole = head + 4 + length.and_then(|length| length.parse::<usize>().ok()).expect("a length");
            }
        }
    }
}

/// A member of the room that reads all it is sent.
fn member(addr: SocketAddr) {
    let (mut stream, mut buffer) = (member_stream(addr), vec![0; 1 << 20]);
    std::thread::spawn(move || while stream.read(&mut buffer).is_ok_and(|read| read > 0) {});
}

/// A member of the room that has read its answer.
fn member_stream(addr: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(addr).expect("it accepts");
    let upgrade = "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(upgrade.as_bytes()).expect("it reads");
    let join = r#"{"type":"subscribe","room":"chat"}"#;
    let mut frame = vec![0x81, 0x80 | join.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(join.as_bytes());
    let mut buffer = vec![0; 1 << 20];
    let mut seen = Vec::new();
    let mut joined = false;
    while !String::from_utf8_lossy(&seen).contains("subscribed") {
        let read = stream.read(&mut buffer).expect("it answers");
        assert!(read > 0, "{}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&buffer[..read]);
        if !joined && seen.windows(4).any(|end| end == b"\r\n\r\n") {
            joined = true;
            stream.write_all(&frame).expect("it reads");
        }
    }
    stream
}

/// hyper and nothing else.
fn echo() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a socket");
    println!("listening on http://{}/", listener.local_addr().expect("an address"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let serve = async move {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        loop {
            let (stream, _) = listener.accept().await.expect("it accepts");
            stream.set_nodelay(true).expect("a TCP socket");
            let service = service_fn(|request: Request<Incoming>| async {
                Ok::<_, Infallible>(Response::new(request.into_body()))
            });
            let io = hyper_util::rt::TokioIo::new(stream);
            tokio::task::spawn_local(
                hyper::server::conn::http1::Builder::new().serve_connection(io, service),
            );
        }
    };
    tokio::task::LocalSet::new().block_on(&runtime, serve);
}
