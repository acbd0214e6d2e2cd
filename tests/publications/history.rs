//! Rooms that remember: one order for all, bounds, ages, reads over HTTP.

use crate::common::remembering::{RULES, Seen, join, kept, next, publish, recover, server};
use crate::common::token::{SECRET_VARIABLE, path_of};
use crate::common::{Client, SILENCE, Server, conversation, eventually, request, rss_kib};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn messages_have_offsets_and_answers_tell_them() {
    let server = server();
    let mut client = server.connect();
    conversation(
        &mut client,
        r#"
        > {"type":"subscribe","room":"h:1","id":1}
        < {"type":"subscribed","room":"h:1","data":{"room":"h:1","client_count":1,"epoch":"*","offset":0},"id":1,"timestamp":"*ms"}
        > {"type":"publish","room":"h:1","data":{"a": 1}}
        < {"type":"message","room":"h:1","data":{"a":1},"client_id":"*uuid","offset":1,"timestamp":"*ms"}
        > {"type":"publish","room":"h:1","data":2,"id":"q"}
        < {"type":"published","room":"h:1","offset":2,"id":"q","timestamp":"*ms"}
        < {"type":"message","room":"h:1","data":2,"client_id":"*uuid","offset":2,"timestamp":"*ms"}
        > {"type":"subscribe","room":"h:1"}
        < {"type":"subscribed","room":"h:1","data":{"room":"h:1","client_count":1,"epoch":"*","offset":2},"timestamp":"*ms"}
        > {"type":"unsubscribe","room":"h:1"}
        < {"type":"unsubscribed","room":"h:1","data":{"room":"h:1"},"timestamp":"*ms"}
        "#,
    );
    server
        .post("/v1/publish", r#"{"room":"h:1","data":3}"#)
        .expect(200, r#"{"delivered":0,"offset":3,"epoch":"*"}"#);
    // A room without history stays as the document has it.
    conversation(
        &mut client,
        r#"
        > {"type":"subscribe","room":"plain"}
        < {"type":"subscribed","room":"plain","data":{"room":"plain","client_count":1},"timestamp":"*ms"}
        > {"type":"publish","room":"plain","data":1}
        < {"type":"message","room":"plain","data":1,"client_id":"*uuid","timestamp":"*ms"}
        "#,
    );
    server.post("/v1/publish", r#"{"room":"plain","data":3}"#).expect(200, r#"{"delivered":1}"#);
}

#[test]
fn all_members_see_one_order_under_many_publishers() {
    const PUBLISHERS: u64 = 6;
    const EACH: u64 = 300;
    let server = server();
    let mut members: Vec<_> = (0..16).map(|_| server.connect()).collect();
    for member in &mut members {
        join(member, "h:1");
    }
    let spread =
        (0..4).filter(|shard| server.metric(&format!("fanwire_members{{shard=\"{shard}\"}}")) > Some(0.0));
    assert!(spread.count() > 1, "the members are on several shards");
    let orders: Vec<Vec<Value>> = thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            let server = &server;
            scope.spawn(move || {
                if publisher == 0 {
                    for number in 0..EACH {
                        publish(server, "h:1", &json!([publisher, number]));
                    }
                    return;
                }
                let mut client = server.connect();
                join(&mut client, "h:1");
                for number in 0..EACH {
                    let data = json!([publisher, number]);
                    client.send_text(&json!({"type": "publish", "room": "h:1", "data": data}).to_string());
                }
                // Its own come back in the order in which they were sent.
                let mut own = 0;
                while own < EACH {
                    let (_, data) = next(&mut client);
                    if data[0] == publisher {
                        assert_eq!(data[1], own);
                        own += 1;
                    }
                }
            });
        }
        let readers: Vec<_> = members
            .iter_mut()
            .map(|member| {
                scope.spawn(move || {
                    let read = |offset| {
                        let (got, data) = next(member);
                        assert_eq!(got, offset, "no gap and nothing twice");
                        data
                    };
                    (1..=PUBLISHERS * EACH).map(read).collect()
                })
            })
            .collect();
        readers.into_iter().map(|reader| reader.join().unwrap()).collect()
    });
    assert!(orders.iter().all(|order| *order == orders[0]), "one order for all");
    for publisher in 0..PUBLISHERS {
        let numbers = orders[0].iter().filter(|data| data[0] == publisher).map(|data| data[1].as_u64());
        assert!(numbers.eq((0..EACH).map(Some)), "each publisher's own order");
    }
}

#[test]
fn histories_are_bounded_by_count_and_bytes() {
    let server = server();
    for number in 1..=5 {
        publish(&server, "few:1", &json!(number));
    }
    assert_eq!(kept(&server, "few:1", ""), [3, 4, 5]);
    let padding = "x".repeat(200);
    for _ in 0..20 {
        publish(&server, "small:1", &json!(padding));
    }
    let offsets = kept(&server, "small:1", "");
    assert!((2..=5).contains(&offsets.len()) && offsets.last() == Some(&20), "{offsets:?}");
    publish(&server, "small:1", &json!("x".repeat(2000)));
    let info = server.get("/v1/rooms/small:1").json();
    assert_eq!((&info["history"]["messages"], &info["history"]["offset"]), (&json!(0), &json!(21)), "{info}");
}

#[test]
fn what_is_too_old_goes_though_nobody_publishes_or_asks() {
    let server = server();
    let mut member = server.connect();
    let seen = join(&mut member, "short:1");
    let began = Instant::now();
    for number in 1..=3 {
        assert_eq!(publish(&server, "short:1", &json!(number)), number);
        assert_eq!(next(&mut member).0, number);
    }
    let bytes = server.metric_sum("fanwire_history_bytes");
    assert!(bytes > 0.0 || began.elapsed() > Duration::from_secs(1));
    // `/metrics` alone is looked at: whoever reads a history drops what is too old of it.
    eventually("the publications are gone", || server.metric_sum("fanwire_history_bytes") == 0.0);
    assert_eq!(server.metric_sum("fanwire_history_rooms"), 1.0, "the room has a member");
    assert_eq!(server.get("/v1/rooms/short:1/messages").json()["messages"], json!([]));
    // The order goes on: who has seen all has missed nothing, who has not is told.
    let mut other = server.connect();
    let (now, recovered) = recover(&mut other, "short:1", &Seen { offset: 3, ..seen.clone() });
    assert_eq!((now.offset, recovered), (3, true));
    assert!(!recover(&mut server.connect(), "short:1", &Seen { offset: 2, ..seen }).1);
    assert_eq!(publish(&server, "short:1", &json!(4)), 4);
    assert_eq!((next(&mut member).0, next(&mut other).0), (4, 4));
}

#[test]
fn a_room_without_members_is_forgotten_in_the_end() {
    let server = server();
    let mut client = server.connect();
    let seen = join(&mut client, "short:1");
    publish(&server, "short:1", &json!(1));
    next(&mut client);
    drop(client);
    // Rooms in which nobody ever was, and some that nobody ever published to.
    for number in 2..50 {
        publish(&server, &format!("short:{number}"), &json!(1));
        publish(&server, &format!("brief:{number}"), &json!(1));
        let mut visitor = server.connect();
        join(&mut visitor, &format!("short:quiet:{number}"));
        visitor.subscribe(&format!("brief:quiet:{number}"));
    }
    eventually("all are forgotten", || {
        server.metric_sum("fanwire_history_rooms") == 0.0 && server.metric_sum("fanwire_history_bytes") == 0.0
    });
    for room in ["short:1", "short:quiet:7", "brief:9"] {
        assert_eq!(server.get(&format!("/v1/rooms/{room}")).status, 404, "{room}");
    }
    let mut client = server.connect();
    let (now, recovered) = recover(&mut client, "short:1", &Seen { offset: 1, ..seen.clone() });
    assert_eq!((now.offset, recovered), (0, false));
    assert_ne!(now.epoch, seen.epoch, "another life");
}

#[test]
fn a_history_outlives_its_last_member() {
    let server = server();
    let mut client = server.connect();
    let seen = join(&mut client, "h:1");
    drop(client);
    eventually("the member is gone", || server.get("/health").json()["clients"] == 0);
    assert_eq!(server.get("/health").json()["rooms"], 0);
    assert_eq!(server.get("/v1/rooms").json()["rooms"], json!([]));
    let info = server.get("/v1/rooms/h:1").json();
    assert_eq!((&info["members"], &info["history"]["epoch"]), (&json!(0), &json!(seen.epoch)));
    publish(&server, "h:1", &json!("while nobody was there"));
    let mut client = server.connect();
    let (_, recovered) = recover(&mut client, "h:1", &seen);
    assert!(recovered);
    assert_eq!(next(&mut client), (1, json!("while nobody was there")));
}

#[test]
fn histories_are_read_over_http() {
    let server = server();
    let mut client = server.connect();
    let seen = join(&mut client, "h:a b");
    client.send_text(r#"{"type":"publish","room":"h:a b","data":{ "n" : 1.0 }}"#);
    client.expect_text();
    for number in 2..=10 {
        publish(&server, "h:a b", &json!(number));
    }
    let page = server.get("/v1/rooms/h:a%20b/messages?offset=0&limit=2");
    page.expect(
        200,
        &format!(
            r#"{{"room":"h:a b","epoch":"{}","offset":10,"messages":[
            {{"offset":1,"event":"message","data":{{"n":1.0}},"client_id":"{}","timestamp":"*ms"}},
            {{"offset":2,"event":"message","data":2,"timestamp":"*ms"}}]}}"#,
            seen.epoch, client.id
        ),
    );
    assert!(page.body.contains(r#""data":{ "n" : 1.0 },"#), "{}", page.body);
    for (query, offsets) in [
        ("", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10][..]),
        ("?limit=3", &[8, 9, 10]),
        ("?offset=8", &[9, 10]),
        ("?offset=3&limit=2", &[4, 5]),
        ("?offset=10", &[]),
        ("?offset=99999", &[]),
    ] {
        assert_eq!(kept(&server, "h:a%20b", query), offsets, "{query}");
    }
    let info = server.get("/v1/rooms/h:a%20b").json();
    assert_eq!(info["history"]["messages"], 10, "{info}");
    let mut member = server.connect();
    member.subscribe("plain");
    for path in ["plain", "nobody", "h:nobody"] {
        let answer = server.get(&format!("/v1/rooms/{path}/messages"));
        answer
            .expect(404, r#"{"error":{"code":"not_found","message":"no such room, or it has no history"}}"#);
    }
    for query in [
        "?limit=0",
        "?limit=1001",
        "?limit=18446744073709551617",
        "?limit=x",
        "?limit=",
        "?limit=1&limit=1",
        "?offset=-1",
        "?offset=1.5",
        "?offset=18446744073709551616",
        "?offset=x",
        "?offset=1&offset=2",
        "?after=1",
    ] {
        let answer = server.get(&format!("/v1/rooms/h:a%20b/messages{query}"));
        assert!(
            answer.status == 400 && answer.json()["error"]["code"] == "bad_request",
            "{query}: {answer:?}"
        );
    }
    for path in ["h:a%2/messages", "%00/messages", "%ff/messages"] {
        assert_eq!(server.get(&format!("/v1/rooms/{path}")).status, 400, "{path}");
    }
    for path in ["h:a%20b/messages/", "h:a%20b/messages/1", "h:a%20b/message", "/messages"] {
        assert_eq!(server.get(&format!("/v1/rooms/{path}")).status, 404, "{path}");
    }
    let answer = server.post("/v1/rooms/h:a%20b/messages", r#"{"data":1}"#);
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")));
}

#[test]
fn histories_are_read_with_the_key_alone() {
    let server = Server::start_with(&["--shards=2", RULES], &[("FANWIRE_API_KEY", "correct-horse")]);
    let mut client = server.connect();
    join(&mut client, "h:1");
    client.send_text(r#"{"type":"publish","room":"h:1","data":1}"#);
    next(&mut client);
    let status = |headers: &[(&str, &str)]| {
        request(server.addr(), "GET", "/v1/rooms/h:1/messages", headers, b"").status
    };
    assert_eq!(status(&[]), 401);
    assert_eq!(status(&[("Authorization", "Bearer wrong")]), 401);
    assert_eq!(status(&[("Authorization", "Bearer correct-horse")]), 200);
    for path in ["/v1/rooms/h:nobody/messages", "/v1/rooms/h:1"] {
        assert_eq!(server.get(path).status, 401, "{path}: who has no key learns nothing");
    }
}

#[test]
fn pages_follow_each_other_while_publishers_publish() {
    const EACH: u64 = 200;
    let server = server();
    let mut reader = server.connect();
    let epoch = join(&mut reader, "h:1").epoch;
    thread::scope(|scope| {
        for publisher in 0..3_u64 {
            let server = &server;
            scope.spawn(move || {
                for number in 0..EACH {
                    publish(server, "h:1", &json!([publisher, number]));
                }
            });
        }
        let (mut offset, mut numbers) = (0, [0; 3]);
        while offset < 3 * EACH {
            let page = server.get(&format!("/v1/rooms/h:1/messages?offset={offset}&limit=7")).json();
            assert_eq!(page["epoch"], epoch.as_str());
            for message in page["messages"].as_array().unwrap() {
                offset += 1;
                assert_eq!(message["offset"], offset, "no gap and nothing twice");
                assert_eq!(next(&mut reader), (offset, message["data"].clone()), "as the members see it");
                let number = &mut numbers[message["data"][0].as_u64().unwrap() as usize];
                assert_eq!(message["data"][1], *number, "each publisher's own order");
                *number += 1;
            }
        }
        assert_eq!(numbers, [EACH; 3]);
    });
}

#[test]
fn a_page_is_bounded_in_bytes() {
    let server = server();
    let large = json!("x".repeat(300_000));
    for _ in 0..3 {
        publish(&server, "h:1", &large);
    }
    let small =
        Server::start(&[r#"--room-rules=[{"pattern":"**","history_messages":9,"history_bytes":"8MiB"}]"#]);
    for _ in 0..8 {
        publish(&small, "r", &large);
    }
    assert_eq!(kept(&small, "r", "?offset=0"), [1, 2, 3]);
    assert_eq!(kept(&small, "r", "?offset=3"), [4, 5, 6]);
    assert_eq!(kept(&small, "r", ""), [6, 7, 8]);
}

#[test]
fn all_histories_together_are_bounded() {
    const BOUND: f64 = 1024.0 * 1024.0;
    let server = Server::start(&[
        "--history-bytes-max=1MiB",
        r#"--room-rules=[{"pattern":"h:*","history_messages":100,"history_bytes":"256KiB"}]"#,
    ]);
    let mut member = server.connect();
    join(&mut member, "h:member");
    let before_kib = rss_kib(&server);
    let data = json!("x".repeat(4000));
    for number in 0..3000 {
        publish(&server, &format!("h:{number}"), &data);
        if number % 500 == 0 {
            assert!(server.metric_sum("fanwire_history_bytes") <= BOUND);
        }
    }
    // 12 MB were published, and as many rooms as that made.
    let grown_kib = rss_kib(&server).saturating_sub(before_kib);
    assert!(grown_kib < 8 * 1024, "{grown_kib} KiB");
    let (bytes, rooms) =
        (server.metric_sum("fanwire_history_bytes"), server.metric_sum("fanwire_history_rooms"));
    assert!(bytes > BOUND / 2.0 && bytes <= BOUND, "{bytes}");
    assert!((100.0..=BOUND / 5000.0 + 1.0).contains(&rooms), "{rooms}");
    // Each of the 3000 and the member's own were made; what is not there any more was evicted.
    assert_eq!(server.metric_sum("fanwire_history_evictions_total"), 3001.0 - rooms);
    assert_eq!(kept(&server, "h:2999", ""), [1], "the last is kept");
    assert_eq!(server.get("/v1/rooms/h:0/messages").status, 404, "the first is forgotten");
    // The member's room was never filled, and never forgotten.
    assert_eq!(publish(&server, "h:member", &json!(1)), 1);
    assert_eq!(next(&mut member), (1, json!(1)));
    let seen = Seen { epoch: "0000000000000001".to_owned(), offset: 1 };
    let (now, recovered) = recover(&mut server.connect(), "h:0", &seen);
    assert_eq!((now.offset, recovered), (0, false), "forgotten: another epoch");
}

#[test]
fn a_member_who_floods_empties_no_other_tenants_history() {
    let server = Server::start_with(
        &[
            "--preset=tenants",
            "--history-bytes-max=4MiB",
            r#"--room-rules=[{"pattern":"tenant:{tenant}:**","history_messages":100,"history_bytes":"512KiB"}]"#,
        ],
        &[SECRET_VARIABLE],
    );
    let say = |tenant: &str, room: &str, count: usize, bytes: usize| {
        let mut client = Client::ungreeted(server.addr(), &path_of("/ws", "u", tenant), &[]);
        client.expect_text();
        client.send_text(&json!({"type": "join_channel", "data": {"channel": room}}).to_string());
        client.expect_text();
        let message = json!({"channel": room, "message": "x".repeat(bytes)});
        for _ in 0..count {
            client.send_text(&json!({"type": "send_message", "data": message}).to_string());
        }
        // Its own messages do not come back: an answer says that they have been taken.
        client.send_text(&json!({"type": "join_channel", "data": {"channel": room}}).to_string());
        client.expect_text();
    };
    say("victim", "tenant:victim:x", 2, 10);
    for number in 0..40 {
        say("mallory", &format!("tenant:mallory:{number}"), 2, 200_000);
    }
    let messages = |room: &str| server.get(&format!("/v1/rooms/{room}/messages"));
    assert_eq!(messages("tenant:victim:x").json()["messages"].as_array().unwrap().len(), 2);
    assert_eq!(messages("tenant:mallory:0").status, 404, "its own go");
    assert!(messages("tenant:mallory:39").status == 200);
    assert!(server.metric_sum("fanwire_history_bytes") <= 1024.0 * 1024.0 + 2000.0, "a quarter for each");
    assert!(server.metric_sum("fanwire_history_share_evictions_total") > 0.0);
}

#[test]
fn own_messages_may_stay_away_and_are_numbered_all_the_same() {
    let server = Server::start(&["--deliver-to-sender=false", "--shards=4", RULES]);
    let mut members: BTreeMap<usize, Client> = (0..6).map(|index| (index, server.connect())).collect();
    members.values_mut().for_each(|member| drop(join(member, "h:1")));
    for (sender, offset) in [(0, 1), (3, 2), (0, 3)] {
        let member = members.get_mut(&sender).unwrap();
        member.send_text(r#"{"type":"publish","room":"h:1","data":1,"id":1}"#);
        member.expect(&format!(
            r#"{{"type":"published","room":"h:1","offset":{offset},"id":1,"timestamp":"*ms"}}"#
        ));
        for (index, member) in &mut members {
            if *index != sender {
                assert_eq!(next(member).0, offset);
            }
        }
    }
    members.values_mut().for_each(|member| member.expect_nothing(SILENCE / 10));
}

#[test]
fn a_rule_over_the_nodes_bound_stops_the_start() {
    let rules = r#"--room-rules=[{"pattern":"a","history_messages":1,"history_bytes":"2MiB"}]"#;
    let (status, output) = Server::run(&["--history-bytes-max=1MiB", rules], &[]);
    assert!(!status.success() && output.contains("history_bytes_max"), "{output}");
}

#[test]
fn a_smaller_bound_holds_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fanwire.yaml");
    let write = |bound: &str| {
        let rules =
            "room_rules:\n  - pattern: \"h:*\"\n    history_messages: 100\n    history_bytes: 32KiB\n";
        let more = "  - pattern: \"2024\"\n    history_messages: 1\n    history_bytes: 32KiB\n  - {pattern: \"true\", last_value: true}\n";
        std::fs::write(&file, format!("{rules}{more}history_bytes_max: {bound}\n")).unwrap();
    };
    write("4MiB");
    let server = Server::start(&["--config", file.to_str().unwrap()]);
    publish(&server, "2024", &json!(1));
    assert_eq!(kept(&server, "2024", ""), [1], "a name of digits is a name");
    assert_eq!(server.get("/v1/rooms/true").status, 404);
    publish(&server, "true", &json!(1));
    assert_eq!(server.get("/v1/rooms/true").status, 200);
    let data = json!("x".repeat(1000));
    for number in 0..200 {
        publish(&server, &format!("h:{number}"), &data);
    }
    assert!(server.metric_sum("fanwire_history_bytes") > 200_000.0);
    assert_eq!(server.metric_sum("fanwire_history_evictions_total"), 0.0);
    write("64KiB");
    server.signal("HUP");
    eventually("the bound holds", || server.metric_sum("fanwire_history_bytes") <= 65_536.0);
    assert_eq!(kept(&server, "h:199", ""), [1], "the last is kept");
    assert_eq!(server.get("/v1/rooms/h:0/messages").status, 404, "the first is forgotten");
}
