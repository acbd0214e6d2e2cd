//! A program that holds the server inside: custom handlers and the handle, from other threads and another runtime.

use crate::common::token::{SECRET, path_of};
use crate::common::{Client, PATIENCE, conversation, eventually, frame, request};
use crate::inside::stop;
use fanwire::api::{UserEntry, UsersCursor};
use fanwire::calls::ClientFilter;
use fanwire::config::{Config, Secret};
use fanwire::model::{ConnectionId, MembersCursor, RoomName, Which};
use fanwire::{Answer, Builder, CustomRequest, HandleError, Server};
use serde_json::json;
use std::collections::HashSet;
use std::sync::mpsc::channel;
use std::time::Duration;

fn builder() -> Builder {
    let mut config = Config { host: [127, 0, 0, 1].into(), port: 0, shards: 2, ..Config::default() };
    config.times.drain_timeout = Duration::from_secs(5);
    Server::builder().config(config)
}

/// The document's handler for "get_user".
fn get_user(request: CustomRequest) {
    let parsed: Option<serde_json::Value> = serde_json::from_str(request.data()).ok();
    match parsed.as_ref().and_then(|data| data["email"].as_str()) {
        Some(email) => request.reply("user_response", &json!({ "email": email })).expect("strings are JSON"),
        None => request.error("invalid request"),
    }
}

#[test]
fn a_custom_handler_answers_messages_of_its_type() {
    let server = builder().on("get_user", get_user).start().unwrap();
    let mut client = Client::connect(server.local_addr().unwrap());
    conversation(
        &mut client,
        r#"
        > {"type":"get_user","data":{"email":"a@example.com"}}
        < {"type":"user_response","data":{"email":"a@example.com"},"timestamp":"*ms"}
        > {"type":"get_user","data":{"email":"b@example.com"},"id":7}
        < {"type":"user_response","data":{"email":"b@example.com"},"id":7,"timestamp":"*ms"}
        > {"type":"get_user","data":{}}
        < {"type":"error","error":"invalid request","timestamp":"*ms"}
        > {"type":"create_order"}
        < {"type":"error","error":"unknown message type","timestamp":"*ms"}
        "#,
    );
    stop(server);
}

#[test]
fn a_handler_takes_types_of_every_dialect() {
    let taken = |request: CustomRequest| match request.data() {
        "null" => request.error("no description"),
        _ => request.reply("JOB_TAKEN", &json!({ "type": request.event() })).expect("strings are JSON"),
    };
    let server = builder().on("JOB_DESCRIPTION", taken).start().unwrap();
    for (dialect, greets, stamp, error) in [
        (
            "rooms",
            true,
            r#","timestamp":"*ms"}"#,
            r#"{"type":"error","error":"no description","timestamp":"*ms"}"#,
        ),
        (
            "channels",
            false,
            r#","timestamp":"*iso"}"#,
            r#"{"type":"ERROR","channel":"error","data":{"message":"no description"},"timestamp":"*iso"}"#,
        ),
        (
            "topics",
            true,
            r#","timestamp":"*iso"}"#,
            r#"{"type":"error","message":"no description","timestamp":"*iso"}"#,
        ),
        ("tenants", true, "}", r#"{"type":"error","data":{"error":"no description"}}"#),
    ] {
        let mut client = Client::speaking(server.local_addr().unwrap(), dialect);
        if greets {
            client.expect_text();
        }
        client.send_text(r#"{"type":"JOB_DESCRIPTION","data":{"title":"Software Engineer"}}"#);
        client.expect(&format!(r#"{{"type":"JOB_TAKEN","data":{{"type":"JOB_DESCRIPTION"}}{stamp}"#));
        client.send_text(r#"{"type":"JOB_DESCRIPTION"}"#);
        client.expect(error);
    }
    stop(server);
}

#[test]
fn a_handler_may_answer_later_from_elsewhere() {
    let (sender, requests) = channel::<CustomRequest>();
    let server = builder().on("later", move |request| sender.send(request).unwrap()).start().unwrap();
    let mut client = Client::connect(server.local_addr().unwrap());
    client.send_text(r#"{"type":"later","id":"a"}"#);
    let request = requests.recv_timeout(PATIENCE).unwrap();
    assert_eq!(
        (request.event(), request.data(), request.client().to_string()),
        ("later", "null", client.id.clone())
    );
    conversation(
        &mut client,
        r#"
        > {"type":"ping"}
        < {"type":"pong","timestamp":"*ms"}
        "#,
    );
    std::thread::spawn(move || request.reply("done", &1).unwrap());
    client.expect(r#"{"type":"done","data":1,"id":"a","timestamp":"*ms"}"#);
    stop(server);
}

#[test]
fn a_handler_that_panics_harms_nobody() {
    fn bad(_: CustomRequest) {
        panic!("on purpose");
    }
    let server = builder().on("bad", bad).start().unwrap();
    let mut client = Client::connect(server.local_addr().unwrap());
    conversation(
        &mut client,
        r#"
        > {"type":"bad","id":1}
        < {"type":"error","error":"internal error","id":1,"timestamp":"*ms"}
        > {"type":"ping"}
        < {"type":"pong","timestamp":"*ms"}
        "#,
    );
    stop(server);
}

#[test]
fn the_handle_publishes_broadcasts_and_sends() {
    let server = builder().start().unwrap();
    let handle = server.handle();
    let (mut member, mut other) =
        (Client::connect(server.local_addr().unwrap()), Client::connect(server.local_addr().unwrap()));
    member.subscribe("news");
    assert_eq!(handle.publish("news", "room_update", &json!({"n": 1})).unwrap().wait(), Ok(1));
    member.expect(r#"{"type":"room_update","room":"news","data":{"n":1},"timestamp":"*ms"}"#);
    assert_eq!(handle.publish("empty", "message", &1).unwrap().wait(), Ok(0));
    assert_eq!(handle.broadcast("notification", &"all").unwrap().wait(), Ok(2));
    for client in [&mut member, &mut other] {
        client.expect(r#"{"type":"notification","data":"all","timestamp":"*ms"}"#);
    }
    let to = ConnectionId::parse(&other.id).expect("an id as clients are told it");
    assert_eq!(handle.send(to, "private", &[1, 2]).unwrap().wait(), Ok(true));
    other.expect(r#"{"type":"private","data":[1,2],"timestamp":"*ms"}"#);
    assert_eq!(handle.disconnect(to, None).wait(), Ok(true));
    let reason = other.expect_close(4440);
    assert!(reason.contains("disconnected"), "{reason}");
    drop(other);
    assert_eq!(handle.send(to, "private", &1).unwrap().wait(), Ok(false));
    let wrong = handle.publish("", "message", &1);
    assert!(wrong.is_err_and(|error| error.to_string().contains("room")));
    stop(server);
}

#[test]
fn every_call_of_the_documents_reaches_whom_it_names() {
    let mut config = Config { host: [127, 0, 0, 1].into(), port: 0, shards: 2, ..Config::default() };
    config.tokens.secret = Secret::new(SECRET);
    let server = Server::builder().config(config).start().unwrap();
    let connect = |user: &str, tenant: &str| {
        let mut client =
            Client::connect_with(server.local_addr().unwrap(), &path_of("/ws", user, tenant), &[]);
        client.subscribe("c");
        client
    };
    let mut clients = [connect("u", "t"), connect("u", "t1"), connect("v", "t")];
    let [first, second, _] = clients.each_ref().map(|client| ConnectionId::parse(&client.id).unwrap());
    let handle = server.handle();
    let calls = handle.calls();
    let both = ClientFilter { organization_id: Some("t"), user_id: Some("u") };
    let filter = |organization_id, user_id| ClientFilter { organization_id, user_id };
    let said = |n: u32| json!({"type": "said", "data": n, "more": 1});
    let on_bus = |n: u32| json!({"type": "said", "channel": "c", "data": n, "timestamp": "now"});
    type Call<'a> = &'a dyn Fn() -> Result<Answer<u32>, HandleError>;
    let handed: [(Call<'_>, Vec<usize>); 15] = [
        (&|| calls.broadcast("c", &said(0), None), vec![0, 1, 2]),
        (&|| calls.broadcast("c", &said(1), Some(first)), vec![1, 2]),
        (&|| calls.broadcast_to_channel("c", &said(2), Some(second)), vec![0, 2]),
        (&|| calls.broadcast_to_filtered(both, &said(3)), vec![0]),
        (&|| calls.broadcast_to_filtered(filter(Some("t"), None), &said(4)), vec![0, 2]),
        (&|| calls.broadcast_to_filtered(filter(None, None), &said(5)), vec![0, 1, 2]),
        (&|| calls.broadcast_to_tenant("t", &said(6), Some(first)), vec![2]),
        (&|| calls.send_to_user("u", None, &said(7)), vec![0, 1]),
        (&|| calls.send_to_user("u", Some("t1"), &said(8)), vec![1]),
        (&|| calls.send_to_connection(second, &said(9)), vec![1]),
        (&|| calls.notify_user("t", "v", &10), vec![2]),
        (&|| calls.global_broadcast(&said(11)), vec![0, 1, 2]),
        (&|| calls.event_bus_publish("broadcast_to_channel", &on_bus(12)), vec![0, 1, 2]),
        (&|| calls.room_broadcast("c", &said(13)), vec![0, 1, 2]),
        (&|| calls.send_to_channel("c", &said(14)), vec![0, 1, 2]),
    ];
    for (n, (call, expected)) in handed.into_iter().enumerate() {
        assert_eq!(call().unwrap().wait(), Ok(expected.len() as u32), "{n}");
        for index in expected {
            let message = clients[index].expect_json(|message| message);
            let kind = if n == 10 { "notification" } else { "said" };
            assert_eq!((&message["type"], &message["data"]), (&kind.into(), &n.into()), "{n}");
        }
    }
    let refused = |answer: Result<_, HandleError>, word: &str| {
        let error = answer.expect_err(word).to_string();
        assert!(error.contains(word), "{error}");
    };
    refused(calls.broadcast("", &said(0), None), "room");
    refused(calls.send_to_user("", None, &said(0)), "user");
    refused(calls.global_broadcast(&json!({"data": 1})), "type");
    refused(calls.global_broadcast(&1), "object");
    refused(calls.event_bus_publish("other", &on_bus(0)), "topic");
    refused(calls.event_bus_publish("broadcast_to_channel", &said(0)), "channel");
    stop(server);
}

#[test]
fn the_handle_tells_rooms_and_stats() {
    let server = builder().start().unwrap();
    let handle = server.handle();
    let mut members: Vec<_> = (0..3).map(|_| Client::connect(server.local_addr().unwrap())).collect();
    for (index, member) in members.iter_mut().enumerate() {
        member.subscribe("all");
        member.subscribe(&format!("own-{index}"));
    }
    let names = |prefix, after, limit| -> Vec<_> {
        handle.rooms(prefix, after, limit).into_iter().map(|room| (room.room, room.members)).collect()
    };
    assert_eq!(names("", None, 1), [("all".to_owned(), 3)]);
    assert_eq!(names("own-", Some("own-0"), 9), [("own-1".to_owned(), 1), ("own-2".to_owned(), 1)]);
    let stats = handle.stats();
    assert_eq!((stats.clients, stats.rooms, stats.shards.len()), (3, 4, 2));
    assert_eq!(stats.shards.iter().map(|shard| shard.members).sum::<u64>(), 6);
    stop(server);
}

/// A handler that keeps its shard's thread is seen in the percentiles of turns, and in those of what was published in
/// such a turn.
#[test]
fn a_slow_handler_shows_in_the_percentiles() {
    const SLOW: Duration = Duration::from_millis(50);
    let server = builder()
        .on("slow", |request| {
            std::thread::sleep(SLOW);
            request.reply("done", &())?;
            Ok(())
        })
        .start()
        .unwrap();
    let mut client = Client::connect(server.local_addr().unwrap());
    client.subscribe("news");
    let before = server.handle().stats();
    assert!(before.turn.p50_us < 50_000, "{before:?}");
    // One packet, so that one turn takes both.
    let frames = [r#"{"type":"publish","room":"news","data":1}"#, r#"{"type":"slow"}"#];
    client.send_bytes(&frames.map(|text| frame(0x81, text.as_bytes())).concat());
    client.expect(r#"{"type":"message","room":"news","data":1,"client_id":"*","timestamp":"*ms"}"#);
    client.expect(r#"{"type":"done","data":null,"timestamp":"*ms"}"#);
    let mut stats = server.handle().stats();
    eventually("the turn is over", || {
        stats = server.handle().stats();
        stats.turn.max_us >= 50_000
    });
    assert!(stats.turn.p50_us < 50_000, "{stats:?}");
    assert!(stats.publish_to_write.count == 1 && stats.publish_to_write.p50_us >= 50_000, "{stats:?}");
    let slow: Vec<_> = stats.shards.iter().filter(|shard| shard.turn.max_us >= 50_000).collect();
    assert_eq!(slow.len(), 1, "{stats:?}");
    assert_eq!(slow[0].publish_to_write, stats.publish_to_write);
    stop(server);
}

#[test]
fn the_handle_joins_lists_counts_and_cleans_up() {
    let server = builder().start().unwrap();
    let handle = server.handle();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut clients: Vec<_> = (0..3).map(|_| Client::connect(server.local_addr().unwrap())).collect();
    let ids: Vec<_> = clients.iter().map(|client| ConnectionId::parse(&client.id).unwrap()).collect();
    let room = RoomName::new("news").unwrap();
    assert_eq!(handle.join(ids[0], &room).wait(), Ok(Some(Ok(1))));
    clients[0].expect_json(|told| {
        assert_eq!((&told["type"], &told["room"]), (&"subscribed".into(), &"news".into()))
    });
    let listed = |which: &Which| {
        let page = handle.connections(which, MembersCursor::START, 10);
        let (page, next) = runtime.block_on(page).unwrap();
        assert!(next.is_none());
        page.into_iter().map(|info| info.id.to_string()).collect::<HashSet<_>>()
    };
    let in_room = Which { room: Some("news".to_owned()), ..Which::default() };
    assert_eq!(listed(&in_room), HashSet::from([clients[0].id.clone()]));
    assert_eq!(listed(&Which::default()), clients.iter().map(|client| client.id.clone()).collect());
    assert_eq!(listed(&Which { user: Some("u".to_owned()), ..Which::default() }), HashSet::new());
    assert_eq!(handle.active_connections(), 3);
    let stats = handle.connection_stats();
    assert_eq!((stats.total, stats.by_channel.get("news"), stats.by_tenant.len()), (3, Some(&1), 0));
    assert_eq!(handle.leave(ids[0], &room).wait(), Ok(Some(true)));
    clients[0].expect_json(|told| assert_eq!(told["type"], "unsubscribed"));
    assert_eq!(handle.leave(ids[0], &room).wait(), Ok(Some(false)));
    assert_eq!(handle.publish("news", "message", &1).unwrap().wait(), Ok(0));
    assert_eq!(runtime.block_on(handle.cleanup(Duration::from_secs(300))), Ok(0));
    assert_eq!(runtime.block_on(handle.cleanup(Duration::ZERO)), Ok(3));
    clients[1].expect_close(4408);
    drop(clients);
    eventually("all are gone", || handle.active_connections() == 0);
    assert_eq!(handle.join(ids[0], &room).wait(), Ok(None));
    stop(server);
}

#[test]
fn rooms_and_users_are_counted_on_the_handle() {
    let mut config = Config { host: [127, 0, 0, 1].into(), port: 0, shards: 2, ..Config::default() };
    config.tokens.secret = Secret::new(SECRET);
    let server = Server::builder().config(config).start().unwrap();
    let (addr, handle) = (server.local_addr().unwrap(), server.handle());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let users = |tenant, cursor, limit| runtime.block_on(handle.users(tenant, cursor, limit)).unwrap();
    assert_eq!(users(None, UsersCursor::default(), 9), (Vec::new(), None));
    let by = [("ann", "t"), ("ann", "t"), ("bob", "t"), ("ann", "s")];
    let mut clients: Vec<_> = by
        .iter()
        .map(|(user, tenant)| Client::connect_with(addr, &path_of("/ws", user, tenant), &[]))
        .collect();
    clients.iter_mut().for_each(|client| client.subscribe("news"));
    assert_eq!(handle.publish("news", "message", &1).unwrap().wait(), Ok(4));
    let news = RoomName::new("news").unwrap();
    let stats = runtime.block_on(handle.room_stats(&news)).unwrap().unwrap();
    assert_eq!((stats.members, stats.users, stats.messages), (4, Some(3), 1));
    assert!(stats.created_at.is_some() && stats.created_at <= stats.last_activity);
    let info = handle.room("news").unwrap();
    assert_eq!(
        (info.messages, info.created_at, info.last_activity),
        (1, stats.created_at, stats.last_activity)
    );
    assert_eq!(handle.rooms("", None, 9)[0].messages, 1);
    assert!(runtime.block_on(handle.room_stats(&RoomName::new("none").unwrap())).unwrap().is_none());
    let (mut all, mut next) = (Vec::new(), Some(UsersCursor::default()));
    while let Some(cursor) = next {
        let (page, rest) = users(None, cursor, 1);
        assert!(page.len() <= 1);
        all.extend(page);
        next = rest;
    }
    all.sort_by(|one, other| (&one.user, &one.tenant).cmp(&(&other.user, &other.tenant)));
    let entry = |user: &str, tenant: &str, connections| UserEntry {
        user: user.to_owned(),
        tenant: Some(tenant.to_owned()),
        connections,
    };
    assert_eq!(all, [entry("ann", "s", 1), entry("ann", "t", 2), entry("bob", "t", 1)]);
    assert_eq!(users(Some("s"), UsersCursor::default(), 9), (vec![entry("ann", "s", 1)], None));
    stop(server);
}

#[test]
fn the_documents_other_calls_do_what_they_say() {
    let mut config = Config { host: [127, 0, 0, 1].into(), port: 0, shards: 2, ..Config::default() };
    config.tokens.secret = Secret::new(SECRET);
    let server = Server::builder().config(config).start().unwrap();
    let (handle, addr) = (server.handle(), server.local_addr().unwrap());
    let calls = handle.calls();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let connect = |user: &str, tenant: &str| Client::connect_with(addr, &path_of("/ws", user, tenant), &[]);
    let mut clients = [connect("u", "t"), connect("u", "t1"), connect("v", "t")];
    let ids = clients.each_ref().map(|client| ConnectionId::parse(&client.id).unwrap());

    assert_eq!(calls.subscribe_to_channel(ids[0], "news").unwrap().wait(), Ok(Some(Ok(1))));
    assert_eq!(calls.join_channel(ids[2], "news").unwrap().wait(), Ok(Some(Ok(2))));
    let told = |client: &mut Client, word: &str| client.expect_json(|told| assert_eq!(told["type"], *word));
    told(&mut clients[0], "subscribed");
    told(&mut clients[2], "subscribed");
    let mut in_news = runtime.block_on(calls.get_connections_by_channel("news")).unwrap();
    in_news.sort_by_key(|info| info.user.clone());
    let of = |found: &[fanwire::model::ConnectionInfo]| -> Vec<String> {
        found.iter().map(|info| info.id.clone()).collect()
    };
    assert_eq!(of(&in_news), [&clients[0], &clients[2]].map(|client| client.id.clone()));
    let of_user = |tenant| of(&runtime.block_on(calls.get_connections_by_user("u", tenant)).unwrap());
    assert_eq!((of_user(None).len(), of_user(Some("t1"))), (2, vec![clients[1].id.clone()]));
    let stats = calls.get_connection_stats();
    assert_eq!(
        (stats.total, stats.by_channel.get("news"), stats.by_tenant.get("t")),
        (3, Some(&2), Some(&2))
    );
    assert_eq!(calls.unsubscribe_from_channel(ids[0], "news").unwrap().wait(), Ok(Some(true)));
    assert_eq!(calls.leave_channel(ids[2], "news").unwrap().wait(), Ok(Some(true)));
    told(&mut clients[0], "unsubscribed");
    assert!(runtime.block_on(calls.get_connections_by_channel("news")).unwrap().is_empty());
    assert!(calls.join_channel(ids[0], "").is_err() && calls.leave_channel(ids[0], "\0").is_err());

    calls.register_custom_handler("get_user", get_user);
    clients[0].send_text(r#"{"type":"get_user","data":{"email":"a@example.com"}}"#);
    told(&mut clients[0], "user_response");
    assert_eq!(calls.get_active_connections(), 3);
    assert_eq!(runtime.block_on(calls.cleanup_inactive_connections(Duration::from_secs(300))), Ok(0));
    assert_eq!(runtime.block_on(calls.cleanup_inactive_connections(Duration::ZERO)), Ok(3));
    clients[1].expect_close(4408);
    stop(server);
}

#[test]
fn the_handle_works_from_any_runtime_and_thread() {
    let server = builder().start().unwrap();
    let mut member = Client::connect(server.local_addr().unwrap());
    member.subscribe("room");
    let handle = server.handle();
    let publishers: Vec<_> = (0..4)
        .map(|thread| {
            let handle = handle.clone();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(async {
                    for n in 0..50 {
                        assert_eq!(handle.publish("room", "message", &[thread, n]).unwrap().await, Ok(1));
                    }
                    assert!(handle.slow(10).await.unwrap().is_empty());
                });
            })
        })
        .collect();
    let mut next = [0; 4];
    for _ in 0..200 {
        let [thread, n] = member.expect_json(|m| [0, 1].map(|i| m["data"][i].as_u64().unwrap() as usize));
        assert_eq!(next[thread], n, "of one thread in its order");
        next[thread] += 1;
    }
    publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
    stop(server);
}

#[test]
fn a_shard_that_hangs_makes_the_node_not_ready() {
    let (release, held) = channel::<()>();
    let held = std::sync::Mutex::new(held);
    let (entered, inside) = channel();
    let hang = move |_| {
        entered.send(()).unwrap();
        // What no handler must do: block the shard.
        held.lock().unwrap().recv().ok();
    };
    let server = builder().on("hang", hang).start().unwrap();
    let addr = server.local_addr().unwrap();
    let mut client = Client::connect(addr);
    client.send_text(r#"{"type":"hang"}"#);
    inside.recv_timeout(PATIENCE).unwrap();
    // Only the shard that does not hang can answer, and the kernel chooses the shard: of so many one comes to it.
    let (answered, answers) = channel();
    for _ in 0..20 {
        let (stream, answered) = (std::net::TcpStream::connect(addr).unwrap(), answered.clone());
        std::thread::spawn(move || {
            let request = b"GET /ready HTTP/1.0\r\nHost: localhost\r\n\r\n";
            std::io::Write::write_all(&mut &stream, request).unwrap();
            let mut answer = String::new();
            std::io::Read::read_to_string(&mut &stream, &mut answer).ok();
            answered.send(answer).ok();
        });
    }
    let answer = answers.recv_timeout(PATIENCE).expect("the other shard answers");
    assert!(answer.starts_with("HTTP/1.0 503") && answer.contains("canary"), "{answer}");
    drop(release);
    let ready = || request(addr, "GET", "/ready", &[], b"").status == 200;
    eventually("ready again", ready);
    stop(server);
}

#[test]
fn a_full_mailbox_refuses_publications_for_one_connection() {
    /// Requests at once: about half of them come to the shard that does not hang, and three fill the mailbox.
    const REQUESTS: usize = 40;
    let (release, held) = channel::<()>();
    let held = std::sync::Mutex::new(held);
    let (entered, inside) = channel();
    let hang = move |_| {
        entered.send(()).unwrap();
        held.lock().unwrap().recv().ok();
    };
    let mut config = Config { host: [127, 0, 0, 1].into(), port: 0, shards: 2, ..Config::default() };
    config.times.drain_timeout = Duration::from_secs(5);
    config.limits.mailbox_bytes_max = 1024 * 1024;
    let server = Server::builder().config(config).on("hang", hang).start().unwrap();
    let addr = server.local_addr().unwrap();
    let mut client = Client::connect(addr);
    client.send_text(r#"{"type":"hang"}"#);
    inside.recv_timeout(PATIENCE).unwrap();
    let body = json!({ "connection": client.id, "data": "x".repeat(400_000) }).to_string();
    let (answered, answers) = channel();
    for _ in 0..REQUESTS {
        let (answered, body) = (answered.clone(), body.clone());
        std::thread::spawn(move || {
            answered.send(request(addr, "POST", "/v1/publish", &[], body.as_bytes())).ok();
        });
    }
    // Those that found a place are answered only when the shard goes on.
    let refused = answers.recv_timeout(PATIENCE).expect("a request is refused while the shard hangs");
    refused
        .expect(503, r#"{"error":{"code":"unavailable","message":"the shards are behind with their mail"}}"#);
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    drop(release);
    let served = answers.iter().take(REQUESTS - 1).filter(|answer| answer.status == 200).count();
    assert!((3..REQUESTS).contains(&served), "{served} of {REQUESTS} were served");
    let post = || request(addr, "POST", "/v1/publish", &[], body.as_bytes()).status == 200;
    eventually("publications are taken again", post);
    stop(server);
}

#[test]
fn a_configuration_that_is_none_does_not_start() {
    let mut config = Config { port: 0, ..Config::default() };
    config.times.pong_wait = Duration::from_secs(1);
    let error = Server::builder().config(config).start().unwrap_err();
    assert!(error.to_string().contains("pong_wait"), "{error}");
}
