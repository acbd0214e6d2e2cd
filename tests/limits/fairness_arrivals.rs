//! Thousands of connections that come at once do not keep a shard from those that are there.

use crate::common::{Client, Server, Stop, crowd_alone, crowd_size, round_trips};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const FLAGS: [&str; 3] = ["--shards=1", "--connections-per-ip-max=0", "--http-connections-max=10000"];

#[test]
fn connections_that_come_at_once_share_the_turns_with_deliveries() {
    let _alone = crowd_alone();
    let server = Server::start(&FLAGS);
    let (mut publisher, mut member) = (server.connect(), server.connect());
    publisher.subscribe("room");
    member.subscribe("room");
    let queue = std::fs::read_to_string("/proc/sys/net/core/somaxconn").expect("the kernel tells its bound");
    let queue: usize = queue.trim().parse().expect("a number");
    let size = crowd_size(4000).min(queue - queue / 16);
    // While the server stands still, the kernel connects them all and takes what they say.
    server.signal("STOP");
    let (upgrade, health) =
        (Client::handshake("localhost", "/ws", &[]), b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut streams: Vec<TcpStream> = (0..size)
        .map(|number| {
            let mut stream = TcpStream::connect(server.addr()).expect("the kernel connects");
            // Some of each kind: those that the shard opens itself and those that are for hyper.
            stream.write_all(if number % 4 == 0 { health } else { &upgrade }).expect("the kernel takes it");
            stream
        })
        .collect();
    let over = AtomicBool::new(false);
    server.signal("CONT");
    let trips = thread::scope(|scope| {
        scope.spawn(|| {
            let _over = Stop(&over);
            for stream in &mut streams {
                stream.set_read_timeout(Some(crate::common::PATIENCE)).expect("a timeout can be set");
                stream.read_exact(&mut [0; 12]).expect("an answer");
            }
        });
        let mut trips = 0;
        while !over.load(Ordering::Relaxed) {
            trips += round_trips(&mut publisher, &mut member, "room", 1).len();
        }
        trips
    });
    let summary = format!("{trips} round trips beside {size} connections at once");
    println!("{summary}");
    // Each turn takes some dozens of them at the most, and a round trip takes a few turns.
    assert!(trips >= size / 400, "{summary}");
}
