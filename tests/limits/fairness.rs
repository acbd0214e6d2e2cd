//! Nobody waits long for what others do: floods of a wide room, flat-out publishers, storms of connects.

use crate::common::{Client, Crowd, Server, crowd_alone, crowd_size, round_trips};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What a machine that others keep busy may take off a thread for a while: far above the bound of a tick, far below
/// what a turn without bounds would come to.
const SLACK: Duration = Duration::from_millis(500);

const ONE_SHARD: [&str; 3] = ["--shards=1", "--connections-per-ip-max=0", "--connections-per-room-max=0"];

/// Publishes to a room without end, so many messages under way.
fn flood(server: &Server, room: &str, under_way: usize, bytes: usize, stop: &AtomicBool) -> u64 {
    let mut client = server.connect();
    client.subscribe(room);
    let marker = format!("{}-", client.id);
    let payload = "x".repeat(bytes);
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..under_way {
            sent += 1;
            client.send_text(&format!(
                r#"{{"type":"publish","room":"{room}","data":["{marker}{sent}","{payload}"]}}"#
            ));
        }
        let last = format!("\"{marker}{sent}\"");
        while !client.expect_text().contains(&last) {}
    }
    sent
}

#[test]
fn a_flooded_room_does_not_delay_another() {
    let _alone = crowd_alone();
    let server = Server::start(&ONE_SHARD);
    let crowd = Crowd::connect(server.addr(), crowd_size(10_000), None, |_| "wide".to_owned());
    let size = crowd.streams().len();
    let readers = crowd.read_on();
    let (mut publisher, mut member) = (server.connect(), server.connect());
    publisher.subscribe("small");
    member.subscribe("small");
    let idle = round_trips(&mut publisher, &mut member, "small", 100);
    let stop = AtomicBool::new(false);
    let (flooded, sent) = thread::scope(|scope| {
        let flooders: Vec<_> =
            (0..4).map(|_| scope.spawn(|| flood(&server, "wide", 64, 100, &stop))).collect();
        let before = readers.bytes();
        let moving = || readers.bytes() > before + 100 * size as u64;
        crate::common::eventually("the wide room is under way", moving);
        let flooded = round_trips(&mut publisher, &mut member, "small", 100);
        stop.store(true, Ordering::Relaxed);
        let sent: u64 = flooders.into_iter().map(|flooder| flooder.join().expect("nobody is cut off")).sum();
        (flooded, sent)
    });
    println!(
        "{size} members, {sent} messages: idle {:?}, flooded {:?}, 90th {:?}, longest {:?}",
        idle[50], flooded[50], flooded[90], flooded[99]
    );
    assert!(sent >= 256);
    assert!(flooded[50] < 10 * idle[50] + SLACK / 3, "{flooded:?}");
    assert!(flooded[90] < 10 * idle[90] + SLACK, "{flooded:?}");
}

#[test]
fn a_flat_out_publisher_leaves_others_their_share() {
    const OTHERS: usize = 100;
    let server = Server::start(&ONE_SHARD);
    let _readers = Crowd::connect(server.addr(), 500, None, |_| "loud".to_owned()).read_on();
    let mut others: Vec<Client> = (0..OTHERS).map(|_| server.connect()).collect();
    for (number, client) in others.iter_mut().enumerate() {
        client.subscribe(&format!("other-{number}"));
    }
    let stop = AtomicBool::new(false);
    let loud = AtomicU64::new(0);
    let shares = thread::scope(|scope| {
        scope.spawn(|| {
            // Does not wait for its own messages, only for the server to read.
            let mut client = server.connect();
            client.subscribe("loud");
            let reader = client.stream().try_clone().expect("a socket");
            scope.spawn(move || std::io::copy(&mut &reader, &mut std::io::sink()));
            let message = format!(r#"{{"type":"publish","room":"loud","data":"{}"}}"#, "x".repeat(100));
            let burst = crate::common::frame(0x81, message.as_bytes()).repeat(500);
            while !stop.load(Ordering::Relaxed) && client.try_send_bytes(&burst) {
                loud.fetch_add(500, Ordering::Relaxed);
            }
            client.stream().shutdown(std::net::Shutdown::Both).ok();
        });
        crate::common::eventually("the loud one publishes", || loud.load(Ordering::Relaxed) > 2000);
        let until = Instant::now() + Duration::from_secs(3);
        let mut shares = vec![0; OTHERS];
        // All at once, again and again: what counts is how soon the last of them is served.
        let mut longest = Duration::ZERO;
        while Instant::now() < until {
            let began = Instant::now();
            for (number, client) in others.iter_mut().enumerate() {
                client.send_text(&format!(r#"{{"type":"publish","room":"other-{number}","data":1}}"#));
            }
            for (client, share) in others.iter_mut().zip(&mut shares) {
                client.expect_json(|message| assert_eq!(message["data"], 1));
                *share += 1;
            }
            longest = longest.max(began.elapsed());
        }
        stop.store(true, Ordering::Relaxed);
        println!(
            "beside {} loud ones {} rounds, the longest {longest:?}",
            loud.load(Ordering::Relaxed),
            shares[0]
        );
        shares
    });
    assert!(shares.iter().all(|share| *share >= 6), "{shares:?}");
}

#[test]
fn a_storm_of_connects_does_not_stall_deliveries() {
    const EVERY: Duration = Duration::from_millis(5);
    let _alone = crowd_alone();
    let server = Server::start(&ONE_SHARD);
    let (mut publisher, mut member) = (server.connect(), server.connect());
    member.subscribe("room");
    publisher.subscribe("room");
    let size = crowd_size(10_000);
    let over = AtomicBool::new(false);
    let began = Instant::now();
    let (mut delays, took) = thread::scope(|scope| {
        let storm = scope.spawn(|| {
            let began = Instant::now();
            let crowd = Crowd::connect(server.addr(), size, None, |_| "others".to_owned());
            over.store(true, Ordering::Relaxed);
            (crowd, began.elapsed())
        });
        scope.spawn(|| {
            // 200 messages a second, whether or not they are delivered; each says when it was sent.
            let mut number = 0;
            while !over.load(Ordering::Relaxed) {
                let sent = began.elapsed().as_micros();
                publisher.send_text(&format!(r#"{{"type":"publish","room":"room","data":{sent}}}"#));
                number += 1;
                thread::sleep((began + EVERY * number).saturating_duration_since(Instant::now()));
            }
            publisher.send_text(r#"{"type":"publish","room":"room","data":"end"}"#);
        });
        let mut delays = Vec::new();
        while let Some(sent) = member.expect_json(|message| message["data"].as_u64()) {
            delays.push(began.elapsed().saturating_sub(Duration::from_micros(sent)));
        }
        let (crowd, took) = storm.join().expect("all connect");
        assert_eq!(crowd.streams().len(), size);
        (delays, took)
    });
    delays.sort();
    let count = delays.len();
    let (median, ninth, longest) = (delays[count / 2], delays[count * 9 / 10], delays[count - 1]);
    println!(
        "{size} connects in {took:?}: {count} messages delivered after {median:?}, 90th {ninth:?}, longest \
         {longest:?}"
    );
    // On a machine with too few cores for both, the storm lasts longer and so do its delays; a stall lasts all of it.
    assert!(longest < 2 * SLACK + took / 2, "{delays:?}");
    assert!(median < SLACK / 5 + took / 20, "{delays:?}");
}
