//! Publishing from a backend: to users, tenants, connections and what they have in common; whole objects; batches; and
//! requests that are made once.

use crate::common::token::{SECRET_VARIABLE, path_of};
use crate::common::{Client, Response, Server, request};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const RULES: &str = r#"[{"pattern":"kept:*","history_messages":100}]"#;

fn server() -> Server {
    let rules = format!("--room-rules={RULES}");
    Server::start_with(&["--shards=3", &rules], &[SECRET_VARIABLE])
}

/// Connections by name.
struct Crowd {
    server: Server,
    clients: BTreeMap<&'static str, Client>,
    published: u32,
}

impl Crowd {
    /// Users of several tenants, some of which are called the same or begin the same, and somebody unknown.
    fn new() -> Self {
        let server = server();
        let known = [
            ("ann a", "ann", "a"),
            ("ann a too", "ann", "a"),
            ("ann a1", "ann", "a1"),
            ("ann1 a", "ann1", "a"),
            ("a a", "a", "a"),
            ("bob b", "bob", "b"),
        ];
        let mut clients: BTreeMap<_, _> = known
            .into_iter()
            .map(|(name, user, tenant)| {
                (name, Client::connect_with(server.addr(), &path_of("/ws", user, tenant), &[]))
            })
            .collect();
        clients.insert("nobody", server.connect());
        for name in ["ann a", "ann a1", "bob b", "nobody"] {
            clients.get_mut(name).unwrap().subscribe("chat");
            clients.get_mut(name).unwrap().subscribe("kept:chat");
        }
        Self { server, clients, published: 0 }
    }

    fn id(&self, name: &str) -> &str {
        &self.clients[name].id
    }

    /// Who hears what is published with these fields, and the answer. Nobody hears it twice.
    fn publish(&mut self, fields: &Value) -> (Vec<&'static str>, Response) {
        self.published += 1;
        let mut body = fields.clone();
        body["data"] = self.published.into();
        let answer = self.server.post("/v1/publish", &body.to_string());
        let expected = self.published;
        let heard = self.heard(|message| message["data"] == expected);
        (heard, answer)
    }

    /// Who has heard a message by now, and nothing else.
    fn heard(&mut self, is: impl Fn(&Value) -> bool) -> Vec<&'static str> {
        // What was answered is in all mailboxes, so this comes after it.
        self.server.post("/v1/broadcast", r#"{"event":"end","data":0}"#);
        let mut heard = Vec::new();
        for (name, client) in &mut self.clients {
            loop {
                let message = client.expect_json(|message| message);
                if message["type"] == "end" {
                    break;
                }
                assert!(is(&message), "{name}: {message}");
                heard.push(*name);
            }
        }
        heard
    }

    fn check(&mut self, fields: Value, expected: &[&str]) -> Value {
        let (heard, answer) = self.publish(&fields);
        assert_eq!(heard, expected, "{fields}: {}", answer.body);
        assert_eq!((answer.status, &answer.json()["delivered"]), (200, &expected.len().into()), "{fields}");
        answer.json()
    }
}

#[test]
fn those_and_only_those_who_are_meant_are_reached() {
    let mut crowd = Crowd::new();
    let all = ["a a", "ann a", "ann a too", "ann a1", "ann1 a", "bob b", "nobody"];
    crowd.check(json!({"all": true}), &all);
    crowd.check(json!({"user": "ann"}), &["ann a", "ann a too", "ann a1"]);
    crowd.check(json!({"tenant": "a"}), &["a a", "ann a", "ann a too", "ann1 a"]);
    crowd.check(json!({"user": "ann", "tenant": "a"}), &["ann a", "ann a too"]);
    crowd.check(json!({"user": "ann", "tenant": "b"}), &[]);
    crowd.check(json!({"user": "a"}), &["a a"]);
    crowd.check(json!({"user": "nobody"}), &[]);
    crowd.check(json!({"tenant": "A"}), &[]);
    crowd.check(json!({"room": "chat", "tenant": "a"}), &["ann a"]);
    crowd.check(json!({"room": "chat", "user": "ann"}), &["ann a", "ann a1"]);
    crowd.check(json!({"room": "chat", "user": "ann", "tenant": "a1"}), &["ann a1"]);
    crowd.check(json!({"room": "empty", "user": "ann"}), &[]);
    let (ann, bob) = (crowd.id("ann a").to_owned(), crowd.id("bob b").to_owned());
    crowd.check(json!({"connection": ann}), &["ann a"]);
    crowd.check(json!({"connection": ann, "room": "chat", "tenant": "a"}), &["ann a"]);
    crowd.check(json!({"connection": ann, "tenant": "b"}), &[]);
    crowd.check(json!({"connection": bob, "room": "empty"}), &[]);
    crowd.check(json!({"connection": "6f9619ff-8b86-4011-b42d-00cf4fc964ff"}), &[]);
}

#[test]
fn who_is_excepted_hears_nothing() {
    let mut crowd = Crowd::new();
    let ids =
        |crowd: &Crowd, names: &[&str]| json!(names.iter().map(|name| crowd.id(name)).collect::<Vec<_>>());
    let two = ids(&crowd, &["bob b", "nobody"]);
    crowd.check(json!({"room": "chat", "except": two}), &["ann a", "ann a1"]);
    crowd.check(json!({"tenant": "a", "except": ids(&crowd, &["ann a"])}), &["a a", "ann a too", "ann1 a"]);
    crowd.check(json!({"user": "bob", "except": two}), &[]);
    crowd.check(json!({"all": true, "except": two}), &["a a", "ann a", "ann a too", "ann a1", "ann1 a"]);
    crowd.check(json!({"connection": crowd.id("bob b"), "except": two}), &[]);
    let stranger = json!(["6f9619ff-8b86-4011-b42d-00cf4fc964ff"]);
    crowd.check(json!({"user": "bob", "except": stranger}), &["bob b"]);
}

#[test]
fn a_history_keeps_what_all_members_may_see() {
    let mut crowd = Crowd::new();
    assert_eq!(
        crowd.check(json!({"room": "kept:chat"}), &["ann a", "ann a1", "bob b", "nobody"])["offset"],
        1
    );
    let except = json!([crowd.id("bob b")]);
    let answer = crowd.check(json!({"room": "kept:chat", "except": except}), &["ann a", "ann a1", "nobody"]);
    assert_eq!(answer["offset"], 2);
    // For one tenant alone: no other may find it later.
    let answer = crowd.check(json!({"room": "kept:chat", "tenant": "a"}), &["ann a"]);
    assert!(answer.get("offset").is_none(), "{answer}");
    let kept = crowd.server.get("/v1/rooms/kept%3Achat/messages").json();
    let kept: Vec<_> = kept["messages"].as_array().unwrap().iter().map(|it| it["data"].clone()).collect();
    assert_eq!(kept, [1, 2]);
    crowd.check(json!({"room": "kept:nobody", "except": except}), &[]);
    assert_eq!(crowd.server.get("/v1/rooms/kept%3Anobody/messages").json()["offset"], 1);
}

#[test]
fn audiences_follow_those_who_leave() {
    let mut crowd = Crowd::new();
    crowd.clients.remove("ann a too");
    crowd.clients.remove("bob b");
    let gone = || crowd.server.get("/health").json()["clients"] == 5;
    crate::common::eventually("they have left", gone);
    crowd.check(json!({"user": "ann"}), &["ann a", "ann a1"]);
    crowd.check(json!({"tenant": "b"}), &[]);
    crowd.check(json!({"room": "chat", "tenant": "b"}), &[]);
    // No room that somebody could name, list or count has come of it.
    assert_eq!(crowd.server.get("/health").json()["rooms"], 2);
    let rooms = crowd.server.get("/v1/rooms").json();
    let names: Vec<_> = rooms["rooms"].as_array().unwrap().iter().map(|room| &room["room"]).collect();
    assert_eq!(names, ["chat", "kept:chat"]);
    let stats = crowd.server.get("/v1/stats").json();
    let members = stats["shards"].as_array().unwrap().iter().map(|shard| shard["members"].as_u64().unwrap());
    assert_eq!(members.sum::<u64>(), 6);
}

#[test]
fn no_client_can_join_an_audience() {
    let mut crowd = Crowd::new();
    let client = crowd.clients.get_mut("nobody").unwrap();
    for room in [r"\u0001ann", r"\u0002a"] {
        for kind in ["subscribe", "publish", "presence", "unsubscribe"] {
            client.send_text(&format!(r#"{{"type":"{kind}","room":"{room}","data":1}}"#));
            assert_eq!(client.expect_json(|answer| answer["type"].clone()), "error", "{kind} {room}");
        }
    }
    assert_eq!(crowd.server.get("/v1/rooms/%01ann").status, 400);
    crowd.check(json!({"user": "ann"}), &["ann a", "ann a too", "ann a1"]);
}

#[test]
fn a_whole_object_is_delivered_as_it_is() {
    let server = server();
    let mut native = server.connect();
    native.subscribe("news");
    let mut topics = Client::speaking(server.addr(), "topics");
    topics.expect_text();
    topics.send_text(r#"{"type":"subscribe","channel":"news"}"#);
    topics.expect_text();
    let message = r#"{ "type":"alert","level" : 1.0,"data":{"n": 1e2},"level":2}"#;
    let answer = server.post("/v1/publish", &format!(r#"{{"room":"news","message":{message}}}"#));
    answer.expect(200, r#"{"delivered":2}"#);
    let text = topics.expect_text();
    assert!(text.starts_with(r#"{ "type":"alert","level" : 1.0,"data":{"n": 1e2},"level":2"#), "{text}");
    let text = native.expect_text();
    assert!(text.starts_with(r#"{"type":"alert","room":"news","data":{"n": 1e2},"timestamp":"#), "{text}");
}

#[test]
fn the_channels_documents_broadcasts_work() {
    let mut crowd = Crowd::new();
    let document = [
        (
            r#"{"channel":"chat","type":"SYSTEM_ALERT","data":{"message":"System maintenance in 10 minutes"}}"#,
            vec!["ann a", "ann a1", "bob b", "nobody"],
        ),
        (
            r#"{"organizationId":"a","type":"ORG_ANNOUNCEMENT","data":{"message":"New policy"}}"#,
            vec!["a a", "ann a", "ann a too", "ann1 a"],
        ),
        (r#"{"userId":"ann","type":"T","data":1}"#, vec!["ann a", "ann a too", "ann a1"]),
        (r#"{"channel":"chat","organizationId":"a","userId":"ann","type":"T","data":1}"#, vec!["ann a"]),
    ];
    for (body, expected) in document {
        let answer = crowd.server.post("/v1/broadcast", body);
        assert_eq!((answer.status, &answer.json()["delivered"]), (200, &expected.len().into()), "{body}");
        let kind = serde_json::from_str::<Value>(body).unwrap()["type"].clone();
        assert_eq!(crowd.heard(|message| message["type"] == kind), expected, "{body}");
    }
}

#[test]
fn a_batch_is_published_in_its_order_or_not_at_all() {
    let mut crowd = Crowd::new();
    let except = crowd.id("nobody").to_owned();
    let item = |n: usize| match n % 4 {
        0 => json!({"room": "chat", "data": n}),
        1 => json!({"user": "bob", "data": n}),
        2 => json!({"room": "chat", "tenant": "b", "data": n}),
        _ => json!({"room": "chat", "except": [except], "data": n}),
    };
    let batch = Value::from_iter((0..1000).map(item));
    let answer = crowd.server.post("/v1/publish/batch", &batch.to_string());
    let told = answer.json();
    assert_eq!((answer.status, &told["delivered"]), (200, &(250 * (4 + 1 + 1 + 3)).into()));
    let results: Vec<_> = told["results"].as_array().unwrap().iter().map(|it| &it["delivered"]).collect();
    assert!(results.chunks(4).all(|chunk| chunk == [4, 1, 1, 3]) && results.len() == 1000);
    let bob = crowd.clients.get_mut("bob b").unwrap();
    (0..1000).for_each(|n| assert_eq!(bob.expect_json(|message| message["data"].clone()), n));
    let ann = crowd.clients.get_mut("ann a").unwrap();
    for n in (0..1000).filter(|n| [0, 3].contains(&(n % 4))) {
        assert_eq!(ann.expect_json(|message| message["data"].clone()), n);
    }
    for name in ["ann a1", "nobody"] {
        crowd.clients.remove(name);
    }

    let mut wrong = batch;
    wrong[999] = json!({"room": "chat"});
    let answer = crowd.server.post("/v1/publish/batch", &wrong.to_string());
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("[999]: data is required"), "{}", answer.body);
    let long = Value::from_iter((0..1001).map(item)).to_string();
    for body in ["[]", "{}", "[1]", "", "[", &long, &format!("[{}", "[".repeat(100_000))] {
        assert_eq!(crowd.server.post("/v1/publish/batch", body).status, 400, "{body:.40}");
    }
    let latin1 = request(crowd.server.addr(), "POST", "/v1/publish/batch", &[], b"[\"\xe9\"]");
    assert_eq!(latin1.status, 400);
    assert!(crowd.heard(|_| false).is_empty(), "something of a refused batch was published");
}

fn once(server: &Server, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
    request(server.addr(), "POST", path, headers, body.as_bytes())
}

#[test]
fn what_has_a_key_is_published_once() {
    let server = server();
    let mut member = server.connect();
    member.subscribe("kept:r");
    let key = &[("Idempotency-Key", "k-1")];
    let body = r#"{"room":"kept:r","data":1}"#;
    let first = once(&server, "/v1/publish", key, body);
    assert_eq!(
        (first.status, first.json()["offset"].as_u64(), first.header("idempotent-replayed")),
        (200, Some(1), None)
    );
    // From whichever shard it is asked.
    for _ in 0..8 {
        let again = once(&server, "/v1/publish", key, body);
        assert_eq!(
            (again.status, &again.body, again.header("idempotent-replayed")),
            (200, &first.body, Some("true"))
        );
    }
    let other = once(&server, "/v1/publish", key, r#"{"room":"kept:r","data":2}"#);
    assert_eq!((other.status, &other.json()["error"]["code"]), (422, &"unprocessable".into()));
    assert_eq!(once(&server, "/v1/publish/batch", key, &format!("[{body}]")).status, 422);
    // What was refused was not made.
    let key = &[("Idempotency-Key", "k-2")];
    assert_eq!(once(&server, "/v1/publish", key, r#"{"room":"kept:r"}"#).status, 400);
    assert_eq!(once(&server, "/v1/publish", key, r#"{"room":"kept:r","data":3}"#).json()["offset"], 2);
    for _ in 0..2 {
        let batch =
            once(&server, "/v1/publish/batch", &[("Idempotency-Key", "k-3")], &format!("[{body},{body}]"));
        assert_eq!(batch.json()["results"][1]["offset"], 4);
    }
    for key in ["", "a b", &"k".repeat(256)] {
        assert_eq!(once(&server, "/v1/publish", &[("Idempotency-Key", key)], body).status, 400, "{key:?}");
    }
    let twice = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")];
    assert_eq!(once(&server, "/v1/publish", &twice, body).status, 400);
    for data in [1, 3, 1, 1] {
        assert_eq!(member.expect_json(|message| message["data"].clone()), data);
    }
}

#[test]
fn a_key_of_the_api_is_one_caller_however_it_is_written() {
    let rules = r#"--room-rules=[{"pattern":"**","history_messages":9}]"#;
    let server = Server::start_with(&[rules], &[("FANWIRE_API_KEY", "the-one,the-other")]);
    for (authorization, offset) in [("Bearer the-one", 1), ("bearer  the-one", 1), ("Bearer the-other", 2)] {
        let headers = [("Authorization", authorization), ("Idempotency-Key", "k")];
        let answer = once(&server, "/v1/publish", &headers, r#"{"room":"r","data":1}"#);
        assert_eq!(answer.json()["offset"], offset, "{authorization}: {}", answer.body);
    }
    // Where no key is asked for, none makes a difference.
    let server = Server::start(&[rules]);
    for headers in
        [&[("Idempotency-Key", "k")][..], &[("Idempotency-Key", "k"), ("Authorization", "Bearer x")]]
    {
        let answer = once(&server, "/v1/publish", headers, r#"{"room":"r","data":1}"#);
        assert_eq!(answer.json()["offset"], 1, "{}", answer.body);
    }
}

#[test]
fn the_same_at_once_is_published_once() {
    let server = server();
    let addr = server.addr();
    let body = r#"{"room":"kept:r","except":["6f9619ff-8b86-4011-b42d-00cf4fc964ff"],"data":1}"#;
    let threads: Vec<_> = (0..16)
        .map(|_| {
            std::thread::spawn(move || {
                request(addr, "POST", "/v1/publish", &[("Idempotency-Key", "k")], body.as_bytes())
            })
        })
        .collect();
    for answer in threads.into_iter().map(|thread| thread.join().unwrap()) {
        match answer.status {
            200 => assert_eq!(answer.json()["offset"], 1),
            status => assert_eq!((status, &answer.json()["error"]["code"]), (409, &"conflict".into())),
        }
    }
    assert_eq!(server.get("/v1/rooms/kept%3Ar/messages").json()["offset"], 1);
}
