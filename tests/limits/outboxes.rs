//! What waits for slow readers is bounded for the node as a whole, and costs those who keep up nothing.

use crate::common::backlog::{backlog_bytes, publish_until};
use crate::common::losses::slow_client;
use crate::common::{Client, Server, eventually};

#[test]
fn when_the_nodes_bound_is_spent_the_largest_backlog_goes() {
    const BOUND: u64 = 6 * 1024 * 1024;
    // One shard: all publications and backlogs in one order.
    let server = Server::start(&[
        "--shards=1",
        "--outboxes-bytes-max=6MiB",
        "--outbox-bytes-max=6MiB",
        "--outbox-messages-max=100000",
        "--write-wait=60s",
    ]);
    let (mut large, mut small) = (slow_client(&server), slow_client(&server));
    large.subscribe("large");
    small.subscribe("small");
    let mut publisher = server.connect();
    publisher.subscribe("large");
    publisher.subscribe("small");
    publish_until(&mut publisher, "large", || backlog_bytes(&server, &large) > BOUND / 2);
    let evicted = || server.metric_sum("fanwire_dropped_frames_total") > 0.0;
    publish_until(&mut publisher, "small", || {
        assert!(server.metric_sum("fanwire_backlog_bytes") <= BOUND as f64);
        evicted()
    });
    // The larger one was cut although it was the smaller one that grew.
    large.read_until_close(4430, |_| {});
    let small_backlog = backlog_bytes(&server, &small);
    assert!(small_backlog > BOUND / 4, "{small_backlog}");
    let dropped = server.metric(r#"fanwire_dropped_frames_total{shard="0",reason="node_outboxes"}"#);
    assert!(dropped > Some(0.0), "{}", server.get("/metrics").body);
    let mut next = None;
    while next < Some(0) || backlog_bytes(&server, &small) > 0 {
        // Nothing of what it was sent is missing.
        let number = small.expect_json(|message| message["data"][1].as_i64());
        assert_eq!(number, next.map_or(Some(0), |n: i64| Some(n + 1)));
        next = number;
    }
    eventually("nothing is held any more", || server.metric_sum("fanwire_backlog_bytes") == 0.0);
}

#[test]
fn the_largest_backlog_goes_whatever_its_shard() {
    // Two slow readers on different shards: fill one's backlog, then let the other's grow.
    let server = Server::start(&[
        "--shards=2",
        "--outboxes-bytes-max=8MiB",
        "--outbox-bytes-max=8MiB",
        "--outbox-messages-max=100000",
        "--write-wait=60s",
    ]);
    let shard_of = |client: &mut Client| {
        let room = format!("only-{}", client.id);
        client.subscribe(&room);
        let members = |shard: u8| server.metric(&format!(r#"fanwire_members{{shard="{shard}"}}"#)).unwrap();
        let before = members(1);
        client.send_text(&format!(r#"{{"type":"unsubscribe","room":"{room}"}}"#));
        client.expect_json(|answer| assert_eq!(answer["type"], "unsubscribed"));
        usize::from(members(1) < before)
    };
    let mut on: [Option<Client>; 2] = [None, None];
    while on.iter().any(Option::is_none) {
        let mut client = slow_client(&server);
        let shard = shard_of(&mut client);
        on[shard].get_or_insert(client);
    }
    let [Some(mut large), Some(mut small)] = on else { unreachable!("both are there") };
    large.subscribe("large");
    small.subscribe("small");
    let mut publisher = server.connect();
    publisher.subscribe("large");
    publisher.subscribe("small");
    publish_until(&mut publisher, "large", || backlog_bytes(&server, &large) > 5 << 20);
    publish_until(&mut publisher, "small", || server.metric_sum("fanwire_dropped_frames_total") > 0.0);
    eventually("the larger one is evicted by its own shard", || backlog_bytes(&server, &large) < 1 << 20);
    large.read_until_close(4430, |_| {});
}
