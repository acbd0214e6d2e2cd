//! What the machine does to a server: it has no file descriptors left, its peers all vanish at once or without a word.

use crate::common::{
    Client, PATIENCE, Server, cpu_seconds, crowd_alone, eventually, exchange, find_program, left_out,
    rss_kib, upgrade_status,
};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Publishes to a room and hears it.
fn round_trip(member: &mut Client, room: &str) {
    member.send_text(&format!(r#"{{"type":"publish","room":"{room}","data":1}}"#));
    member.expect_json(|message| assert_eq!(message["data"], 1, "{message}"));
}

#[test]
fn without_descriptors_it_serves_on_answers_requests_and_recovers() {
    const LIMIT: usize = 64;
    const ROUNDS: usize = 20;
    let flags = ["--shards=2", "--admin-listen=127.0.0.1:0"];
    let server = Server::start_after(&format!("ulimit -n {LIMIT}"), &flags);
    eventually("the start tells the limit", || server.output().contains("open_files=64"));
    let mut member = server.connect();
    member.subscribe("healthy");
    let handshake = Client::handshake(&server.addr().to_string(), "/ws", &[]);
    let connect = || {
        let mut stream = TcpStream::connect(server.addr()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // It may be refused before it is read.
        stream.write_all(&handshake).ok();
        let mut line = [0; 12];
        let read = stream.read_exact(&mut line);
        (read.ok().and_then(|()| String::from_utf8_lossy(&line[9..]).parse().ok()).unwrap_or(0), stream)
    };
    let crowd: Vec<_> = (0..2 * LIMIT).map(|_| connect()).collect();
    let granted = crowd.iter().take_while(|(status, _)| *status == 101).count();
    assert!((8..LIMIT).contains(&granted), "{granted} came in");
    assert!(crowd[granted..].iter().all(|(status, _)| *status == 503), "all others are told so at once");
    eventually("which is told", || {
        server.output().contains("cannot accept connections: too many open files")
    });
    let (start, cpu) = (Instant::now(), cpu_seconds(server.pid()));
    for _ in 0..ROUNDS {
        round_trip(&mut member, "healthy");
        for addr in [server.admin(), server.addr()] {
            for path in ["/health", "/ready"] {
                let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
                assert_eq!(exchange(addr, request.as_bytes()).status, 200, "{path} of {addr}");
            }
        }
        // Few, so that what they cost is nothing beside a loop that spins.
        thread::sleep(Duration::from_millis(100));
    }
    let cpu = cpu_seconds(server.pid()) - cpu;
    let watched = start.elapsed().as_secs_f64();
    drop(crowd);
    let mut newcomer = None;
    eventually("there is room again", || {
        let (status, stream) = connect();
        newcomer = (status == 101).then_some(stream);
        newcomer.is_some()
    });
    drop(newcomer);
    let mut newcomer = server.connect();
    newcomer.subscribe("healthy");
    let refused = server.metric_sum("fanwire_accept_errors_total");
    let summary = format!(
        "{granted} came in; {cpu:.2} s of processor time in {watched:.1} s without descriptors, {refused} refused"
    );
    println!("{summary}");
    assert!(cpu < watched / 4.0, "it spins: {summary}");
    assert!(refused >= (2 * LIMIT - granted) as f64, "{summary}");
    let lines = server.output().matches("cannot accept connections").count();
    assert!(lines <= 2, "once for each shard and not each time: {lines}");
    assert_eq!(round_trip_of_two(&mut member, &mut newcomer), 2);
}

#[test]
fn silent_connections_do_not_keep_descriptors_from_others() {
    const LIMIT: usize = 64;
    let server = Server::start_after(&format!("ulimit -n {LIMIT}"), &["--admin-listen=127.0.0.1:0"]);
    let silent: Vec<_> = (0..3 * LIMIT).map(|_| TcpStream::connect(server.addr()).unwrap()).collect();
    for _ in 0..3 {
        // A newcomer that comes while silent connections give way can be told to come again.
        eventually("a newcomer is let in", || {
            upgrade_status(TcpStream::connect(server.addr()).unwrap(), b"", &[]) == "101"
        });
    }
    assert_eq!(exchange(server.admin(), b"GET /ready HTTP/1.0\r\nHost: localhost\r\n\r\n").status, 200);
    drop(silent);
}

#[test]
fn silent_connections_of_one_shard_do_not_keep_descriptors_from_another() {
    const LIMIT: usize = 64;
    let flags = ["--admin-listen=127.0.0.1:0", "--shards=2"];
    let server = Server::start_after(&format!("ulimit -n {LIMIT}"), &flags);
    // Asked of the admin listener, as a request to the public one has a place of its own.
    let metrics = || exchange(server.admin(), b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n").body;
    let sample = |name: &str| -> f64 {
        let text = metrics();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name} is missing")).trim().parse().unwrap()
    };
    let places = |shard: u32| sample(&format!(r#"fanwire_places{{shard="{shard}"}}"#));
    let errors = || [0, 1].map(|shard| sample(&format!(r#"fanwire_accept_errors_total{{shard="{shard}"}}"#)));
    let mut silent = Vec::new();
    while errors() == [0.0; 2] {
        assert!(silent.len() < 2 * LIMIT, "the descriptors do not run out");
        let before = (places(0), errors());
        let stream = TcpStream::connect(server.addr()).unwrap();
        eventually("the connection is seen", || places(1) > 0.0 || (places(0), errors()) != before);
        if places(1) > 0.0 {
            drop(stream);
            eventually("the connection is gone", || places(1) == 0.0);
        } else {
            silent.push(stream);
        }
    }
    // Each shard gets some of them; all are granted what only the first one's silent connections can give.
    let mut newcomers = Vec::new();
    let mut come = || {
        newcomers.push(TcpStream::connect(server.addr()).unwrap());
        upgrade_status(newcomers[newcomers.len() - 1].try_clone().unwrap(), b"", &[])
    };
    assert_eq!([(); 12].map(|()| come()), ["101"; 12]);
}

#[test]
fn a_limit_of_open_files_below_the_connections_is_told_at_the_start() {
    let server = Server::start_after("ulimit -n 256", &["--connections-max=1000"]);
    eventually("it is told", || {
        let said = server.output();
        let parts =
            ["allows fewer connections than connections_max", "connections_max=1000", "open_files=256"];
        parts.iter().all(|part| said.contains(part))
    });
}

/// One publishes, both hear it.
fn round_trip_of_two(a: &mut Client, b: &mut Client) -> u32 {
    a.send_text(r#"{"type":"publish","room":"healthy","data":2}"#);
    [a, b].into_iter().map(|client| client.expect_json(|message| u32::from(message["data"] == 2))).sum()
}

#[test]
fn it_starts_whole_or_not_at_all() {
    let (mut refused, mut started) = (0, 0);
    for limit in (4..70).step_by(3) {
        match Server::try_start_after(&format!("ulimit -n {limit}"), &["--shards=3"]) {
            Ok(mut server) => {
                server.signal("TERM");
                // One that had too few for its third shard ends by that instead, as loudly.
                let status = server.wait(PATIENCE).expect("it ends");
                let failed = status.code() == Some(70) && server.output().contains("a shard failed");
                assert!(status.success() || failed, "{limit}: {status}\n{}", server.output());
                started += u32::from(status.success());
            }
            Err((status, said)) => {
                // 101: of tokio, which panics when it cannot watch signals; 127: of the shell.
                assert!(matches!(status.code(), Some(1 | 70 | 101 | 127)), "{limit}: {status}\n{said}");
                assert!(!said.is_empty(), "{limit}: it says why");
                refused += 1;
            }
        }
    }
    println!("{refused} limits too low and told, {started} enough");
    assert!(refused > 2 && started > 2);
}

#[test]
fn ten_thousand_resets_at_once_leave_nothing_behind() {
    const SPARE: u64 = 1000;
    let _alone = crowd_alone();
    let limit = fanwire::io::raise_open_files().unwrap();
    let count = usize::try_from(limit.saturating_sub(SPARE)).unwrap().min(10_000);
    if count < 10_000 {
        left_out("ten_thousand_resets_at_once_leave_nothing_behind (in full)", "11,000 open files");
    }
    let server = Server::start(&["--connections-max=0", "--connections-per-ip-max=0"]);
    let mut member = server.connect();
    member.subscribe("healthy");
    let mut left = Vec::new();
    for _ in 0..2 {
        let crowd = crowd(server.addr(), count);
        assert_eq!(server.metric("websocket_clients_total"), Some(count as f64 + 1.0));
        let peak = rss_kib(&server);
        let over = Arc::new(AtomicBool::new(false));
        let told = over.clone();
        let listening = thread::spawn(move || {
            let mut trips = 0_u32;
            while !told.load(Ordering::Relaxed) {
                round_trip(&mut member, "healthy");
                trips += 1;
            }
            (member, trips)
        });
        let start = Instant::now();
        crowd.into_iter().for_each(Client::reset);
        let sent = start.elapsed();
        eventually("all are gone", || server.metric("websocket_clients_total") == Some(1.0));
        let gone = start.elapsed();
        over.store(true, Ordering::Relaxed);
        let trips;
        (member, trips) = listening.join().unwrap();
        assert_eq!(server.metric("websocket_rooms_total"), Some(1.0));
        left.push(rss_kib(&server));
        println!(
            "{count} resets in {sent:?}, all gone after {gone:?}, {trips} round trips of a member meanwhile; \
             {peak} KiB with them, {} KiB without",
            left.last().unwrap()
        );
    }
    assert_eq!(server.metric_sum("fanwire_closes_total") as usize, 2 * count);
    assert!(left[1] < left[0] + 4 * 1024, "the second time leaves {left:?} KiB");
}

/// So many members of a hundred rooms.
fn crowd(addr: SocketAddr, count: usize) -> Vec<Client> {
    let some = |first: usize| {
        move || {
            let join = |number| {
                let mut client = Client::connect(addr);
                client.subscribe(&format!("crowd:{}", number % 100));
                client
            };
            (first..count).step_by(4).map(join).collect::<Vec<_>>()
        }
    };
    let threads: Vec<_> = (0..4).map(|first| thread::spawn(some(first))).collect();
    threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
}

/// A network namespace that is tied to this one by two links. Removed when dropped, with them.
struct Namespace {
    name: String,
    third: u32,
}

impl Namespace {
    /// `None` where this may not be done.
    fn new() -> Option<Self> {
        find_program("ip")?;
        let pid = std::process::id();
        // Private addresses (RFC 1918) that another run at the same time does not take.
        let namespace = Self { name: format!("fanwire-{pid}"), third: pid % 250 };
        let Self { name, third } = &namespace;
        let mut script = format!("set -e; ip netns add {name}; ip -n {name} link set lo up\n");
        for link in 0..2 {
            script += &format!(
                "ip link add fw{link}h{pid} type veth peer name fw{link}n{pid} netns {name}\n\
                 ip addr add 10.{link}.{third}.1/24 dev fw{link}h{pid}; ip link set fw{link}h{pid} up\n\
                 ip -n {name} addr add 10.{link}.{third}.2/24 dev fw{link}n{pid}\n\
                 ip -n {name} link set fw{link}n{pid} up\n"
            );
        }
        Self::run(&script).then_some(namespace)
    }

    fn run(script: &str) -> bool {
        let output = Command::new("sh").arg("-c").arg(script).output().expect("a shell");
        output.status.success()
    }

    /// The second link goes dark: what is sent into it from either side is lost.
    fn cut(&self) {
        let pid = std::process::id();
        let Self { name, .. } = self;
        let script = format!("ip link set fw1h{pid} down && ip -n {name} neigh flush all");
        assert!(Self::run(&script), "the link can be cut");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let pid = std::process::id();
        // What there is of them, if making them stopped half-way.
        Self::run(&format!("ip link del fw0h{pid}; ip link del fw1h{pid}; ip netns del {}", self.name));
    }
}

#[test]
fn peers_that_vanish_without_a_word_are_ended_and_forgotten() {
    const VANISHING: usize = 200;
    let Some(namespace) = Namespace::new() else {
        return left_out(
            "peers_that_vanish_without_a_word_are_ended_and_forgotten",
            "network namespaces (root)",
        );
    };
    let third = namespace.third;
    let write_wait = Duration::from_secs(120);
    let inside = format!("exec ip netns exec {} \"$0\" \"$@\"", namespace.name);
    // On a busy machine all of them need seconds to come in.
    let flags = ["--host=0.0.0.0", "--port=8081", "--ping-interval=1s", "--pong-wait=10s"];
    let write = format!("--write-wait={}s", write_wait.as_secs());
    let near = SocketAddr::from(([10, 0, third as u8, 2], 8081));
    let far = SocketAddr::from(([10, 1, third as u8, 2], 8081));
    let server = Server::start_at(&inside, &[&flags[..], &[write.as_str()]].concat(), near);
    let mut member = Client::connect(near);
    member.subscribe("room");
    let before = rss_kib(&server);
    let vanishing: Vec<_> = (0..VANISHING)
        .map(|_| {
            let mut client = Client::connect(far);
            client.subscribe("room");
            // The member gives a sign of life, however long the others take.
            member.send_text(r#"{"type":"ping"}"#);
            member.expect_json(|pong| assert_eq!(pong["type"], "pong", "{pong}"));
            client
        })
        .collect();
    namespace.cut();
    let start = Instant::now();
    // What is said to them meanwhile waits in the kernel, and then here.
    let text = format!(r#"{{"type":"publish","room":"room","data":"{}"}}"#, "x".repeat(400));
    let gone = || server.metric("websocket_clients_total") == Some(1.0);
    let mut said = 0;
    while !gone() {
        // Well before write_wait, which would end them too.
        assert!(start.elapsed() < write_wait / 2, "they stay: {}", server.get("/v1/stats").body);
        // Less than an outbox takes: a quick machine would fill it before the peers are found to be silent.
        if said < 1000 {
            member.send_text(&text);
            member.expect_text();
            said += 1;
        } else {
            member.send_text(r#"{"type":"ping"}"#);
            member.expect_text();
        }
    }
    let gone = start.elapsed();
    let closes = ["idle", "slow_consumer"].map(|reason| {
        let of =
            |shard| server.metric(&format!("fanwire_closes_total{{shard=\"{shard}\",reason=\"{reason}\"}}"));
        (0..2).filter_map(of).sum::<f64>() as usize
    });
    let after = rss_kib(&server);
    println!(
        "{VANISHING} vanished peers gone after {gone:?}: {closes:?} idle and slow; {before} KiB before, {after} after"
    );
    assert_eq!(closes.iter().sum::<usize>(), VANISHING);
    assert!(closes[0] > 0);
    assert_eq!(server.metric_sum("fanwire_backlog_bytes"), 0.0);
    assert!(after < before + 8 * 1024, "memory stays");
    drop(vanishing);
}
