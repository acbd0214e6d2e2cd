//! What is counted of rooms and of users: asked for over HTTP while clients come, speak and go.

use crate::common::token::{SECRET_VARIABLE, path_of, sign};
use crate::common::{Client, Response, Server, conversations, eventually, request};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const RULES: &str = r#"--room-rules=[{"pattern":"kept:*","history_messages":5}]"#;

fn server() -> Server {
    Server::start_with(&["--shards=2", RULES], &[SECRET_VARIABLE])
}

fn connect(server: &Server, user: &str, tenant: &str) -> Client {
    Client::connect_with(server.addr(), &path_of("/ws", user, tenant), &[])
}

/// A connection of a user of no tenant.
fn connect_alone(server: &Server, user: &str) -> Client {
    let token = sign(&json!({"userId": user, "exp": u32::MAX}));
    Client::connect_with(server.addr(), &format!("/ws?token={token}"), &[])
}

fn publish(server: &Server, body: &str) {
    let answer = server.post("/v1/publish", body);
    assert_eq!(answer.status, 200, "{}", answer.body);
}

fn call(server: &Server, method: &str, path: &str) -> Response {
    request(server.addr(), method, path, &[], b"")
}

#[test]
fn a_room_tells_how_many_messages_were_published_to_it() {
    let server = server();
    let (mut a, mut b) = (server.connect(), server.connect());
    let watcher = connect(&server, "u", "t");
    a.subscribe("chat");
    b.subscribe("chat");
    server.get("/v1/rooms/chat/stats").expect(
        200,
        r#"{"room":"chat","members":2,"users":0,"messages":0,"created_at":"*ms","last_activity":"*ms"}"#,
    );
    // By a member, by a backend, in a batch, and without one of the members.
    conversations(
        &mut [("a", &mut a), ("b", &mut b)],
        r#"
        a> {"type":"publish","room":"chat","data":1}
        a< {"type":"message","room":"chat","data":1,"client_id":"*uuid","timestamp":"*ms"}
        b< {"type":"message","room":"chat","data":1,"client_id":"*uuid","timestamp":"*ms"}
        "#,
    );
    publish(&server, r#"{"room":"chat","data":2}"#);
    let batch = r#"[{"room":"chat","data":3},{"room":"other","data":3},{"room":"chat","data":4}]"#;
    assert_eq!(server.post("/v1/publish/batch", batch).status, 200);
    publish(&server, &format!(r#"{{"room":"chat","data":5,"except":["{}"]}}"#, a.id));
    // None of these is a message of the room.
    publish(&server, r#"{"all":true,"data":6}"#);
    publish(&server, r#"{"room":"chat","tenant":"t","data":7}"#);
    publish(&server, &format!(r#"{{"room":"chat","connection":"{}","data":8}}"#, watcher.id));
    publish(&server, r#"{"tenant":"t","data":9}"#);
    let page = r#"{"rooms":[{"room":"chat","members":2,"messages":5,"created_at":"*ms","last_activity":"*ms"}],"cursor":null}"#;
    server.get("/v1/rooms").expect(200, page);
    // Reading changes nothing.
    assert_eq!(server.get("/v1/rooms/chat/stats").json(), server.get("/v1/rooms/chat/stats").json());
    server.get("/v1/rooms").expect(200, page);
}

#[test]
fn a_room_tells_when_it_began_and_when_something_happened_last() {
    let server = server();
    let mut client = server.connect();
    client.subscribe("chat");
    let stats = || server.get("/v1/rooms/chat/stats").json();
    let first = stats();
    assert_eq!(first["created_at"], first["last_activity"], "{first}");
    let mut last = first.clone();
    for what in ["a message", "a join"] {
        let mut others = Vec::new();
        eventually(&format!("{what} is activity"), || {
            match what {
                "a message" => publish(&server, r#"{"room":"chat","data":1}"#),
                _ => {
                    others.push(server.connect());
                    others.last_mut().unwrap().subscribe("chat");
                }
            }
            stats()["last_activity"].as_u64() > last["last_activity"].as_u64()
        });
        last = stats();
        assert_eq!(last["created_at"], first["created_at"], "it began once");
    }
}

#[test]
fn a_room_that_is_forgotten_begins_anew_and_one_that_is_kept_goes_on() {
    let server = server();
    for (room, messages) in [("chat", 0), ("kept:a", 2)] {
        let mut client = server.connect();
        client.subscribe(room);
        let stats = format!("/v1/rooms/{room}/stats");
        for _ in 0..2 {
            publish(&server, &format!(r#"{{"room":"{room}","data":1}}"#));
        }
        let before = server.get(&stats).json();
        assert_eq!((&before["members"], &before["messages"]), (&json!(1), &json!(2)), "{room}");
        drop(client);
        eventually("the member is gone", || server.get(&stats).json()["members"] != json!(1));
        let mut next = server.connect();
        next.subscribe(room);
        let after = server.get(&stats).json();
        assert_eq!(after["messages"], messages, "{room}");
        let is_same = after["created_at"] == before["created_at"];
        assert!(is_same || messages == 0, "{room}: {before} {after}");
    }
    // A history may begin before the first member comes.
    publish(&server, r#"{"room":"kept:b","data":1}"#);
    server.get("/v1/rooms/kept:b/stats").expect(
        200,
        r#"{"room":"kept:b","members":0,"users":0,"messages":1,"created_at":"*ms","last_activity":"*ms"}"#,
    );
}

#[test]
fn a_registered_room_is_as_old_as_its_registration() {
    let server = server();
    let put = |room: &str| {
        let headers = [("Content-Type", "application/json")];
        request(server.addr(), "PUT", &format!("/v1/rooms/{room}"), &headers, b"{}").status
    };
    assert_eq!(put("chat"), 201);
    let bare = r#"{"room":"chat","members":0,"users":0,"messages":0,"created_at":"*ms"}"#;
    server.get("/v1/rooms/chat/stats").expect(200, bare);
    let created = server.get("/v1/rooms/chat").json()["created_at"].clone();
    let mut client = server.connect();
    client.subscribe("chat");
    for path in ["/v1/rooms/chat/stats", "/v1/rooms/chat"] {
        assert_eq!(server.get(path).json()["created_at"], created, "{path}");
    }
    assert_eq!(server.get("/v1/rooms").json()["rooms"][0]["created_at"], created);
    // One that is registered while it has members is older than that.
    client.subscribe("older");
    let began = server.get("/v1/rooms/older/stats").json()["created_at"].clone();
    assert_eq!(put("older"), 201);
    assert_eq!(server.get("/v1/rooms/older").json()["created_at"], began);
}

#[test]
fn a_room_tells_how_many_users_are_in_it() {
    let server = server();
    let mut members = vec![
        connect(&server, "ann", "t1"),
        connect(&server, "ann", "t1"),
        connect(&server, "ann", "t2"),
        connect_alone(&server, "ann"),
        connect(&server, "bob", "t1"),
        server.connect(),
        server.connect(),
    ];
    members.iter_mut().for_each(|member| member.subscribe("chat"));
    let stats = server.get("/v1/rooms/chat/stats").json();
    assert_eq!((&stats["members"], &stats["users"]), (&json!(7), &json!(4)), "{stats}");
    // Who goes is not counted any more; a user with another connection is.
    members.swap_remove(0);
    members.pop();
    eventually("two are gone", || server.get("/v1/rooms/chat/stats").json()["members"] == json!(5));
    assert_eq!(server.get("/v1/rooms/chat/stats").json()["users"], 4);
}

/// All pages of a list of users: each user of each tenant with its connections. None may be told twice.
fn users(server: &Server, query: &str, limit: usize) -> BTreeMap<(String, Option<String>), u64> {
    let (mut found, mut cursor) = (BTreeMap::new(), String::new());
    loop {
        let path = format!("/v1/users?{query}limit={limit}&cursor={}", encoded(&cursor));
        let page = server.get(&path).json();
        let here = page["users"].as_array().unwrap_or_else(|| panic!("{path}: {page}"));
        assert!(here.len() <= limit, "{page}");
        for entry in here {
            let text = |name: &str| entry[name].as_str().map(str::to_owned);
            let before =
                found.insert((text("user").unwrap(), text("tenant")), entry["connections"].as_u64().unwrap());
            assert_eq!(before, None, "{entry} is told twice");
        }
        match page["cursor"].as_str() {
            Some(next) => assert_ne!(std::mem::replace(&mut cursor, next.to_owned()), next, "it goes on"),
            None => return found,
        }
    }
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn users_are_listed_once_with_their_connections() {
    let server = server();
    server.get("/v1/users").expect(200, r#"{"users":[],"cursor":null}"#);
    let _stranger = server.connect();
    let (mut expected, mut clients) = (BTreeMap::new(), Vec::new());
    let mut add = |clients: &mut Vec<_>, user: &str, tenant: &str| {
        clients.push(match tenant {
            "" => connect_alone(&server, user),
            tenant => connect(&server, user, tenant),
        });
        let tenant = Some(tenant.to_owned()).filter(|tenant| !tenant.is_empty());
        *expected.entry((user.to_owned(), tenant)).or_default() += 1;
    };
    for number in 0..20 {
        add(&mut clients, &format!("user {number}/é"), ["", "t1", "t2"][number % 3]);
    }
    for tenant in ["", "", "t1", "t1", "t1", "t2", "t3", "t4", "t5", "-:", "é"] {
        add(&mut clients, "admin", tenant);
    }
    for limit in [1, 3, 1000] {
        assert_eq!(users(&server, "", limit), expected, "in pages of {limit}");
    }
    let of = |tenant: &str| {
        let own = expected.iter().filter(|((_, own), _)| own.as_deref() == Some(tenant));
        own.map(|(user, count)| (user.clone(), *count)).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(of("t1").len(), 8);
    for (query, tenant) in [("t1", "t1"), ("t5", "t5"), ("-%3A", "-:"), ("none", "none")] {
        assert_eq!(users(&server, &format!("tenant={query}&"), 2), of(tenant), "{tenant}");
    }
    // The list rests on no limits: those of users and tenants are off, and with them this gauge.
    assert_eq!(server.metric("fanwire_users"), Some(0.0));
    drop(clients);
    eventually("all are gone", || users(&server, "", 1000).is_empty());
}

#[test]
fn who_comes_and_goes_between_pages_hides_nobody_else() {
    let server = server();
    let names =
        |prefix: &str, count| (0..count).map(|number| format!("{prefix}{number}")).collect::<Vec<_>>();
    let stay = names("stays", 15);
    let _staying: Vec<_> = stay.iter().map(|user| connect(&server, user, "t")).collect();
    let mut going: Vec<_> = names("goes", 15).iter().map(|user| connect(&server, user, "t")).collect();
    let (mut found, mut cursor, mut coming) = (Vec::new(), String::new(), Vec::new());
    loop {
        let page = server.get(&format!("/v1/users?limit=2&cursor={}", encoded(&cursor))).json();
        let here = page["users"].as_array().unwrap().iter();
        found.extend(here.map(|entry| entry["user"].as_str().unwrap().to_owned()));
        let Some(next) = page["cursor"].as_str() else { break };
        cursor = next.to_owned();
        drop(going.pop());
        coming.push(connect(&server, &format!("comes{}", coming.len()), "t"));
        assert!(coming.len() < 100, "the list has an end");
    }
    let stayed: Vec<_> = found.iter().filter(|user| user.starts_with("stays")).cloned().collect();
    assert_eq!(stayed.len(), stay.len(), "each once: {stayed:?}");
    assert_eq!(stayed.into_iter().collect::<BTreeSet<_>>(), stay.into_iter().collect());
}

#[test]
fn who_a_connection_is_now_counts() {
    let server = server();
    let mut client = server.connect();
    client.subscribe("chat");
    assert_eq!(users(&server, "", 9), BTreeMap::new());
    assert_eq!(server.get("/v1/rooms/chat/stats").json()["users"], 0);
    let token = crate::common::token::token_of("bob", "t");
    client.send_text(&json!({"type": "auth", "token": token}).to_string());
    client.expect_json(|answer| assert_ne!(answer["type"], "error", "{answer}"));
    let bob = ("bob".to_owned(), Some("t".to_owned()));
    assert_eq!(users(&server, "", 9), BTreeMap::from([(bob, 1)]));
    assert_eq!(server.get("/v1/rooms/chat/stats").json()["users"], 1);
}

#[test]
fn what_is_wrong_is_told() {
    let server = server();
    let long = "a".repeat(2401);
    let longest = format!("0/{0}/{0}", "é".repeat(298));
    for (method, path, status) in [
        ("GET", "/v1/rooms/none/stats", 404),
        ("GET", "/v1/rooms/%00/stats", 400),
        ("GET", "/v1/rooms/none/stats?limit=1", 400),
        ("POST", "/v1/rooms/none/stats", 405),
        ("GET", "/v1/rooms/%01u/stats", 400),
        ("GET", "/v1/users?limit=0", 400),
        ("GET", "/v1/users?limit=1001", 400),
        ("GET", "/v1/users?limit=1&limit=2", 400),
        ("GET", "/v1/users?tenant=%00", 400),
        ("GET", &format!("/v1/users?tenant={long}"), 400),
        ("GET", &format!("/v1/users?cursor={long}"), 400),
        ("GET", "/v1/users?cursor=0/", 400),
        ("GET", "/v1/users?cursor=0/a~", 400),
        ("GET", "/v1/users?cursor=65536", 400),
        ("GET", "/v1/users?cursor=%FF", 400),
        ("POST", "/v1/users", 405),
    ] {
        let answer = call(&server, method, path);
        assert_eq!(answer.status, status, "{method} {path:.80}: {}", answer.body);
    }
    // A cursor that somebody makes up is a place like any other, or the end.
    let _client = connect(&server, "ann", "t");
    for cursor in ["63", "64", "65535", "0/ann", "65535/ann/t", &longest] {
        let page = server.get(&format!("/v1/users?cursor={cursor}"));
        assert_eq!(page.status, 200, "{cursor:.80}: {}", page.body);
        assert_eq!(page.json()["cursor"], Value::Null, "{cursor:.80}");
    }
    let far = call(&server, "GET", "/v1/users").status;
    let remote = request(server.addr(), "GET", "/v1/users", &[("X-Forwarded-For", "192.0.2.1")], b"").status;
    assert_eq!((far, remote), (200, 401), "the list is for those with a key");
}
