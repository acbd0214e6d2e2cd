//! Limits are exact and messages whole when many clients do the same thing at the same moment on several shards.

use crate::common::{Client, Server, eventually};
use std::sync::Barrier;
use std::thread;

const CLIENTS: usize = 40;

#[test]
fn a_room_takes_exactly_as_many_as_it_may() {
    const PLACES: usize = 11;
    let server = Server::start(&["--shards=4", &format!("--connections-per-room-max={PLACES}")]);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
    for round in 0..5 {
        let barrier = Barrier::new(CLIENTS);
        let room = format!("round-{round}");
        let joined = thread::scope(|scope| {
            let joins: Vec<_> = clients
                .iter_mut()
                .map(|client| {
                    let (barrier, room) = (&barrier, &room);
                    scope.spawn(move || {
                        barrier.wait();
                        client.send_text(&format!(r#"{{"type":"subscribe","room":"{room}"}}"#));
                        client.expect_json(|answer| match answer["type"].as_str() {
                            Some("subscribed") => answer["data"]["client_count"].as_u64(),
                            _ => {
                                assert_eq!(answer["error"], "room is at maximum capacity");
                                None
                            }
                        })
                    })
                })
                .collect();
            joins.into_iter().map(|join| join.join().unwrap()).collect::<Vec<_>>()
        });
        let mut counts: Vec<_> = joined.into_iter().flatten().collect();
        counts.sort_unstable();
        // Each saw its own count, so nobody was counted twice.
        assert_eq!(counts, Vec::from_iter(1..=PLACES as u64));
    }
    drop(clients);
    eventually("all rooms are empty", || server.get("/health").body.contains("\"rooms\":0"));
}

#[test]
fn a_node_takes_exactly_as_many_as_it_may() {
    const PLACES: usize = 13;
    let server = Server::start(&["--shards=4", &format!("--connections-max={PLACES}")]);
    for _ in 0..3 {
        let barrier = Barrier::new(CLIENTS);
        let admitted: Vec<Client> = thread::scope(|scope| {
            let joins: Vec<_> = (0..CLIENTS)
                .map(|_| {
                    scope.spawn(|| {
                        use std::io::Write;
                        let mut stream = std::net::TcpStream::connect(server.addr()).unwrap();
                        stream.set_read_timeout(Some(crate::common::PATIENCE)).unwrap();
                        barrier.wait();
                        let host = server.addr().to_string();
                        stream.write_all(&Client::handshake(&host, "/ws", &[])).unwrap();
                        let mut head = [0; 12];
                        stream.peek(&mut head).unwrap();
                        if head.starts_with(b"HTTP/1.1 503") {
                            return None;
                        }
                        let mut client = Client::upgraded(stream);
                        client.subscribe("all");
                        Some(client)
                    })
                })
                .collect();
            joins.into_iter().filter_map(|join| join.join().unwrap()).collect()
        });
        assert_eq!(admitted.len(), PLACES);
        assert!(server.get("/health").body.contains(&format!("\"clients\":{PLACES}")));
        drop(admitted);
        eventually("all places are free", || server.get("/health").body.contains("\"clients\":0"));
    }
}

#[test]
fn many_publishers_reach_all_members_in_order() {
    const PUBLISHERS: usize = 8;
    const MESSAGES: u64 = 200;
    for affinity in ["off", "incoming-cpu", "cbpf"] {
        let server = Server::start(&["--shards=4", &format!("--flow-affinity={affinity}")]);
        let mut clients: Vec<_> = (0..PUBLISHERS).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(|client| client.subscribe("room"));
        thread::scope(|scope| {
            for (index, client) in clients.iter_mut().enumerate() {
                scope.spawn(move || {
                    for n in 0..MESSAGES {
                        client.send_text(&format!(
                            r#"{{"type":"publish","room":"room","data":[{index},{n}]}}"#
                        ));
                    }
                    let mut next = [0; PUBLISHERS];
                    for _ in 0..MESSAGES * PUBLISHERS as u64 {
                        let (from, n) = client.expect_json(|message| {
                            (
                                message["data"][0].as_u64().unwrap() as usize,
                                message["data"][1].as_u64().unwrap(),
                            )
                        });
                        assert_eq!(next[from], n, "of publisher {from}");
                        next[from] += 1;
                    }
                });
            }
        });
        let expected = (PUBLISHERS * PUBLISHERS) as f64 * MESSAGES as f64;
        // Greetings and answers to the joins are deliveries too.
        let answers = (2 * PUBLISHERS) as f64;
        assert_eq!(server.metric_sum("fanwire_deliveries_total"), expected + answers);
        assert_eq!(server.metric_sum("fanwire_publications_total"), (PUBLISHERS as u64 * MESSAGES) as f64);
    }
}
