//! Nobody waits long for what others do: floods of a wide room, flat-out publishers, storms of connects. What counts is
//! how much of the one happens between two of the other, not how long that takes: a busy machine slows both.

use crate::common::{Client, Crowd, Server, Stop, crowd_alone, crowd_size, round_trips};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

const ONE_SHARD: [&str; 3] = ["--shards=1", "--connections-per-ip-max=0", "--connections-per-room-max=0"];

/// Messages of one flooder that are under way at once.
const UNDER_WAY: u64 = 64;

const FLOODERS: u64 = 4;

/// Publishes to a room without end, [`UNDER_WAY`] at a time; adds those that have come back to `heard`.
fn flood(server: &Server, room: &str, stop: &AtomicBool, heard: &AtomicU64) {
    let mut client = server.connect();
    client.subscribe(room);
    let marker = format!("{}-", client.id);
    let payload = "x".repeat(100);
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..UNDER_WAY {
            sent += 1;
            client.send_text(&format!(
                r#"{{"type":"publish","room":"{room}","data":["{marker}{sent}","{payload}"]}}"#
            ));
        }
        let last = format!("\"{marker}{sent}\"");
        while !client.expect_text().contains(&last) {}
        heard.fetch_add(UNDER_WAY, Ordering::Relaxed);
    }
}

#[test]
fn a_flooded_room_does_not_delay_another() {
    const ROUND_TRIPS: u64 = 100;
    let _alone = crowd_alone();
    let server = Server::start(&ONE_SHARD);
    let crowd = Crowd::connect(server.addr(), crowd_size(10_000), None, |_| "wide".to_owned());
    let size = crowd.streams().len();
    let _readers = crowd.read_on();
    let (mut publisher, mut member) = (server.connect(), server.connect());
    publisher.subscribe("small");
    member.subscribe("small");
    let (stop, wide) = (AtomicBool::new(false), AtomicU64::new(0));
    let meanwhile = thread::scope(|scope| {
        let _stop = Stop(&stop);
        for _ in 0..FLOODERS {
            scope.spawn(|| flood(&server, "wide", &stop, &wide));
        }
        let under_way = || wide.load(Ordering::Relaxed) >= UNDER_WAY;
        crate::common::eventually("the wide room is under way", under_way);
        let before = wide.load(Ordering::Relaxed);
        round_trips(&mut publisher, &mut member, "small", ROUND_TRIPS as usize);
        wide.load(Ordering::Relaxed) - before
    });
    let summary = format!("{ROUND_TRIPS} round trips beside {meanwhile} publications to {size} members");
    println!("{summary}");
    // A turn without bounds delivers all that is under way, and a round trip takes two turns and more.
    assert!(meanwhile < ROUND_TRIPS * FLOODERS * UNDER_WAY / 4, "{summary}");
}

#[test]
fn a_flat_out_publisher_leaves_others_their_share() {
    const OTHERS: usize = 100;
    const ROUNDS: u64 = 10;
    const BURST: u64 = 500;
    // One read takes 256 KiB at the most, some 1,500 of its messages, and a round takes a few turns: 2,000 to 20,000, as
    // this test has its own pauses on a busy machine. A server that reads on as long as there is something ends no round.
    const LOUD_A_ROUND_MAX: u64 = 100_000;
    let server = Server::start(&ONE_SHARD);
    let _readers = Crowd::connect(server.addr(), 500, None, |_| "loud".to_owned()).read_on();
    let mut others: Vec<Client> = (0..OTHERS).map(|_| server.connect()).collect();
    for (number, client) in others.iter_mut().enumerate() {
        client.subscribe(&format!("other-{number}"));
    }
    let (stop, loud) = (AtomicBool::new(false), AtomicU64::new(0));
    let meanwhile = thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| {
            // Does not wait for its own messages, only for the server to read.
            let mut client = server.connect();
            client.subscribe("loud");
            let reader = client.stream().try_clone().expect("a socket");
            scope.spawn(move || std::io::copy(&mut &reader, &mut std::io::sink()));
            let message = format!(r#"{{"type":"publish","room":"loud","data":"{}"}}"#, "x".repeat(100));
            let burst = crate::common::frame(0x81, message.as_bytes()).repeat(BURST as usize);
            while !stop.load(Ordering::Relaxed) && client.try_send_bytes(&burst) {
                loud.fetch_add(BURST, Ordering::Relaxed);
            }
            client.stream().shutdown(std::net::Shutdown::Both).ok();
        });
        crate::common::eventually("the loud one publishes", || loud.load(Ordering::Relaxed) > 4 * BURST);
        let before = loud.load(Ordering::Relaxed);
        // All at once, again and again: what counts is how soon the last of them is served.
        for round in 0..ROUNDS {
            for (number, client) in others.iter_mut().enumerate() {
                client.send_text(&format!(r#"{{"type":"publish","room":"other-{number}","data":{round}}}"#));
            }
            for client in &mut others {
                client.expect_json(|message| assert_eq!(message["data"], round));
            }
        }
        loud.load(Ordering::Relaxed) - before
    });
    let summary = format!("{ROUNDS} rounds of {OTHERS} messages beside {meanwhile} of the loud one");
    println!("{summary}");
    assert!(meanwhile < ROUNDS * LOUD_A_ROUND_MAX, "{summary}");
}

#[test]
fn a_storm_of_connects_does_not_stall_deliveries() {
    // A turn that accepts whatever waits takes thousands.
    const CONNECTS_A_ROUND_TRIP_MAX: usize = 400;
    let _alone = crowd_alone();
    let server = Server::start(&ONE_SHARD);
    let (mut publisher, mut member) = (server.connect(), server.connect());
    member.subscribe("room");
    publisher.subscribe("room");
    let size = crowd_size(10_000);
    let over = AtomicBool::new(false);
    let trips = thread::scope(|scope| {
        let storm = scope.spawn(|| {
            let _over = Stop(&over);
            Crowd::connect(server.addr(), size, None, |_| "others".to_owned())
        });
        let mut trips = 0;
        while !over.load(Ordering::Relaxed) {
            trips += round_trips(&mut publisher, &mut member, "room", 1).len();
        }
        assert_eq!(storm.join().expect("all connect").streams().len(), size);
        trips
    });
    let summary = format!("{trips} round trips beside {size} connects");
    println!("{summary}");
    assert!(trips >= size / CONNECTS_A_ROUND_TRIP_MAX, "{summary}");
}
