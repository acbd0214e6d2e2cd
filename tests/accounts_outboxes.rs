//! The share of a user or tenant of what waits for slow readers: whoever spends it pays with its own connections.

mod common;

use common::{Client, Server, eventually};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;
use std::net::TcpStream;
use std::time::{SystemTime, UNIX_EPOCH};

const SECRET: &str = "a secret of tests that is long enough";

const FLAGS: [&str; 5] = [
    "--outbox-bytes-max=4MiB",
    "--outbox-messages-max=100000",
    "--outboxes-bytes-max=64MiB",
    "--write-wait=60s",
    "--access-default=allow",
];

fn server(flags: &[&str]) -> Server {
    Server::start_with(&[&FLAGS, flags].concat(), &[("FANWIRE_JWT_SECRET", SECRET)])
}

/// A client of somebody whose kernel buffers hardly anything.
fn slow_client(server: &Server, tenant: &str, user: &str) -> Client {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({"userId": user, "tenantId": tenant, "exp": now + 600});
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let token = encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(8192).unwrap();
    socket.connect(&server.addr().into()).unwrap();
    Client::on(TcpStream::from(socket), &server.addr().to_string(), &format!("/ws?token={token}"), &[])
}

/// Publishes messages of 32 KiB until `enough` says so; the publisher, whom nobody knows, reads each back.
fn publish_until(publisher: &mut Client, room: &str, mut enough: impl FnMut() -> bool) {
    let padding = "x".repeat(32 * 1024);
    for number in 0..2000 {
        if enough() {
            return;
        }
        publisher
            .send_text(&format!(r#"{{"type":"publish","room":"{room}","data":["{padding}",{number}]}}"#));
        publisher.expect_json(|message| assert_eq!(message["data"][1], number));
    }
    panic!("never enough");
}

fn backlog_of(server: &Server, client: &Client) -> u64 {
    let slow = server.get("/v1/slow").json();
    let entries = slow["slow"].as_array().unwrap();
    let own = entries.iter().find(|entry| entry["client_id"] == client.id.as_str());
    own.map_or(0, |entry| entry["backlog_bytes"].as_u64().unwrap())
}

fn dropped(server: &Server, reason: &str) -> f64 {
    let of = |shard: u8| {
        let name = format!("fanwire_dropped_frames_total{{shard=\"{shard}\",reason=\"{reason}\"}}");
        server.metric(&name).unwrap_or(0.0)
    };
    of(0) + of(1)
}

/// Reads all that waits for a client, which is everything that was published to its room.
fn reads_everything(server: &Server, client: &mut Client) -> i64 {
    let mut next = 0;
    while next == 0 || backlog_of(server, client) > 0 {
        client.expect_json(|message| assert_eq!(message["data"][1], next));
        next += 1;
    }
    next
}

#[test]
fn stalled_readers_of_one_tenant_cost_those_of_another_nothing() {
    const SHARE: u64 = 6 * 1024 * 1024;
    let server = server(&["--shards=1", "--outbox-bytes-per-tenant-max=6MiB"]);
    let mut noisy: Vec<_> = (0..4).map(|user| slow_client(&server, "noisy", &user.to_string())).collect();
    let mut quiet = slow_client(&server, "quiet", "0");
    noisy.iter_mut().for_each(|client| client.subscribe("flood"));
    quiet.subscribe("calm");
    let mut publisher = server.connect();
    publisher.subscribe("flood");
    publisher.subscribe("calm");
    publish_until(&mut publisher, "calm", || backlog_of(&server, &quiet) > 2 << 20);
    let quiets = backlog_of(&server, &quiet);
    publish_until(&mut publisher, "flood", || {
        let held = server.metric_sum("fanwire_backlog_bytes") as u64 - quiets;
        assert!(held <= SHARE, "{held} bytes wait for the noisy tenant");
        dropped(&server, "tenant_outboxes") > 0.0
    });
    // One of the noisy one's own was cut; the node has place enough and nobody else felt it.
    let evicted = || count_closed(&server);
    eventually("it is closed", || evicted() >= 1.0);
    assert_eq!((dropped(&server, "node_outboxes"), dropped(&server, "outbox")), (0.0, 0.0));
    assert!(backlog_of(&server, &quiet) >= quiets);
    assert!(reads_everything(&server, &mut quiet) > 60);
    let gone = noisy.iter().position(|client| backlog_of(&server, client) < 1 << 20).unwrap();
    noisy.swap_remove(gone).read_until_close(4430, |_| {});
    drop(noisy);
    eventually("nothing is held any more", || server.metric_sum("fanwire_backlog_bytes") == 0.0);
}

fn count_closed(server: &Server) -> f64 {
    let of = |shard: u8| {
        server.metric(&format!("fanwire_closes_total{{shard=\"{shard}\",reason=\"slow_consumer\"}}"))
    };
    of(0).unwrap_or(0.0) + of(1).unwrap_or(0.0)
}

#[test]
fn of_one_users_connections_the_largest_backlog_gives_way() {
    let server = server(&["--shards=1", "--outbox-bytes-per-user-max=4MiB"]);
    let mut large = slow_client(&server, "t", "u");
    let mut small = slow_client(&server, "t", "u");
    large.subscribe("large");
    small.subscribe("small");
    let mut publisher = server.connect();
    publisher.subscribe("large");
    publisher.subscribe("small");
    publish_until(&mut publisher, "large", || backlog_of(&server, &large) > 5 << 19);
    publish_until(&mut publisher, "small", || dropped(&server, "user_outboxes") > 0.0);
    large.read_until_close(4430, |_| {});
    assert!(
        reads_everything(&server, &mut small) > 10,
        "nothing of what the smaller one was sent is missing"
    );
    assert_eq!(count_closed(&server), 1.0);
}

#[test]
fn the_largest_of_a_tenant_gives_way_whatever_its_shard() {
    let server = server(&["--shards=2", "--outbox-bytes-per-tenant-max=4MiB"]);
    let members = || server.metric(r#"fanwire_members{shard="1"}"#).unwrap();
    let mut on: [Option<Client>; 2] = [None, None];
    while on.iter().any(Option::is_none) {
        let mut client = slow_client(&server, "t", "u");
        let before = members();
        client.subscribe(&format!("only-{}", client.id));
        let shard = usize::from(members() > before);
        on[shard].get_or_insert(client);
    }
    let [Some(mut large), Some(mut small)] = on else { unreachable!("both are there") };
    large.subscribe("large");
    small.subscribe("small");
    let mut publisher = server.connect();
    publisher.subscribe("large");
    publisher.subscribe("small");
    publish_until(&mut publisher, "large", || backlog_of(&server, &large) > 3 << 20);
    publish_until(&mut publisher, "small", || dropped(&server, "tenant_outboxes") > 0.0);
    large.read_until_close(4430, |_| {});
    assert!(reads_everything(&server, &mut small) > 10, "the smaller one stays and gets everything");
    assert_eq!(count_closed(&server), 1.0);
}
