//! The share of a user or tenant of what waits for slow readers: whoever spends it pays with its own connections.

use crate::common::backlog::{backlog_bytes, publish_until};
use crate::common::token::{SECRET_VARIABLE, path_of};
use crate::common::{Client, Server, eventually};

const FLAGS: [&str; 5] = [
    "--outbox-bytes-max=4MiB",
    "--outbox-messages-max=100000",
    "--outboxes-bytes-max=64MiB",
    "--write-wait=60s",
    "--access-default=allow",
];

fn server(flags: &[&str]) -> Server {
    Server::start_with(&[&FLAGS, flags].concat(), &[SECRET_VARIABLE])
}

/// A client of somebody whose kernel buffers hardly anything.
fn slow_client(server: &Server, tenant: &str, user: &str) -> Client {
    Client::connect_with_buffer(server.addr(), 8192, &path_of("/ws", user, tenant), &[])
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
    while next == 0 || backlog_bytes(server, client) > 0 {
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
    publish_until(&mut publisher, "calm", || backlog_bytes(&server, &quiet) > 2 << 20);
    let quiets = backlog_bytes(&server, &quiet);
    publish_until(&mut publisher, "flood", || {
        let held = server.metric_sum("fanwire_backlog_bytes") as u64 - quiets;
        assert!(held <= SHARE, "{held} bytes wait for the noisy tenant");
        dropped(&server, "tenant_outboxes") > 0.0
    });
    // One of the noisy one's own was cut; the node has place enough and nobody else felt it.
    let evicted = || count_closed(&server);
    eventually("it is closed", || evicted() >= 1.0);
    assert_eq!((dropped(&server, "node_outboxes"), dropped(&server, "outbox")), (0.0, 0.0));
    assert!(backlog_bytes(&server, &quiet) >= quiets);
    assert!(reads_everything(&server, &mut quiet) > 60);
    let gone = noisy.iter().position(|client| backlog_bytes(&server, client) < 1 << 20).unwrap();
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
    publish_until(&mut publisher, "large", || backlog_bytes(&server, &large) > 5 << 19);
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
    publish_until(&mut publisher, "large", || backlog_bytes(&server, &large) > 3 << 20);
    publish_until(&mut publisher, "small", || dropped(&server, "tenant_outboxes") > 0.0);
    large.read_until_close(4430, |_| {});
    assert!(reads_everything(&server, &mut small) > 10, "the smaller one stays and gets everything");
    assert_eq!(count_closed(&server), 1.0);
}
