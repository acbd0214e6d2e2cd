//! Rooms with presence tell who is there and who comes and goes, and a storm of joins is a few notices.

use crate::common::token::{SECRET_VARIABLE, now_unix_s, sign};
use crate::common::{Client, Server, conversation, conversations, eventually, request};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const RULES: &str = r#"--room-rules=[{"pattern":"chat:*","presence":true}]"#;

/// A server that tells joins and leaves of a room `interval` apart.
fn start(interval: &str) -> Server {
    Server::start(&[RULES, "--presence-interval", interval, "--connections-per-ip-max=0"])
}

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().map(|id| id.as_str().expect("an id")).collect()
}

/// What notices have told of one room.
#[derive(Debug, Default)]
struct Seen {
    notices: usize,
    joined: BTreeSet<String>,
    left: BTreeSet<String>,
    counted: u64,
}

impl Seen {
    fn take(&mut self, message: &Value) {
        assert_eq!(message["type"], "presence_change", "{message}");
        self.notices += 1;
        let data = &message["data"];
        self.joined.extend(ids(&data["joined"]).into_iter().map(str::to_owned));
        self.left.extend(ids(&data["left"]).into_iter().map(str::to_owned));
        let all = |name: &str, count: &str| {
            data[count].as_u64().unwrap_or_else(|| data[name].as_array().map_or(0, Vec::len) as u64)
        };
        self.counted += all("joined", "joined_count") + all("left", "left_count");
    }

    /// Reads notices until as many joins and leaves were told.
    fn until(client: &mut Client, count: u64) -> Self {
        let mut seen = Self::default();
        while seen.counted < count {
            client.expect_json(|message| seen.take(&message));
        }
        assert_eq!(seen.counted, count, "{seen:?}");
        seen
    }
}

/// The answer to a request for who is in `room`: how many, and whom it names.
fn who_is_here(client: &mut Client, room: &str) -> (u64, BTreeSet<String>) {
    client.send_text(&format!(r#"{{"type":"presence","room":"{room}","id":"who"}}"#));
    loop {
        let answer = client.expect_json(|message| message);
        if answer["id"] == "who" {
            assert_eq!((&answer["type"], &answer["room"]), (&"presence".into(), &room.into()));
            let named = ids(&answer["data"]["clients"]).into_iter().map(str::to_owned).collect();
            return (answer["data"]["client_count"].as_u64().expect("a count"), named);
        }
    }
}

#[test]
fn members_are_told_who_comes_and_goes() {
    let server = start("10ms");
    let (mut a, mut b) = (server.connect(), server.connect());
    let (id_a, id_b) = (a.id.clone(), b.id.clone());
    let joined = |id: &str, count: u32| {
        format!(
            r#"{{"type":"presence_change","room":"chat:x","data":{{"joined":["{id}"],"left":[],"client_count":{count}}},"timestamp":"*ms"}}"#
        )
    };
    let (a_joined, b_joined) = (joined(&id_a, 1), joined(&id_b, 2));
    let b_left = format!(
        r#"{{"type":"presence_change","room":"chat:x","data":{{"joined":[],"left":["{id_b}"],"client_count":1}},"timestamp":"*ms"}}"#
    );
    let script = format!(
        r#"
        a> {{"type":"subscribe","room":"chat:x"}}
        a< {{"type":"subscribed","room":"chat:x","data":{{"room":"chat:x","client_count":1}},"timestamp":"*ms"}}
        a< {a_joined}
        b> {{"type":"subscribe","room":"chat:x"}}
        b< {{"type":"subscribed","room":"chat:x","data":{{"room":"chat:x","client_count":2}},"timestamp":"*ms"}}
        a< {b_joined}
        b< {b_joined}
        b> {{"type":"unsubscribe","room":"chat:x"}}
        b< {{"type":"unsubscribed","room":"chat:x","data":{{"room":"chat:x"}},"timestamp":"*ms"}}
        a< {b_left}
        b< nothing
        b> {{"type":"subscribe","room":"chat:x"}}
        b< {{"type":"subscribed","room":"chat:x","data":{{"room":"chat:x","client_count":2}},"timestamp":"*ms"}}
        a< {b_joined}
        b< {b_joined}
        "#
    );
    conversations(&mut [("a", &mut a), ("b", &mut b)], &script);
    // However a connection ends, it has left.
    b.reset();
    a.expect(&b_left);
    a.expect_nothing(crate::common::SILENCE);
}

#[test]
fn who_asks_is_told_who_is_here() {
    let server = start("10ms");
    let mut members: Vec<_> = (0..5).map(|_| server.connect()).collect();
    members.iter_mut().for_each(|member| member.subscribe("chat:x"));
    let expected: BTreeSet<_> = members.iter().map(|member| member.id.clone()).collect();
    assert_eq!(who_is_here(&mut members[0], "chat:x"), (5, expected.clone()));
    let gone = members.pop().expect("there are five").id;
    let left = expected.into_iter().filter(|id| *id != gone).collect();
    eventually("the one is gone", || who_is_here(&mut members[0], "chat:x").0 == 4);
    assert_eq!(who_is_here(&mut members[0], "chat:x"), (4, left));
    // Of many some are named, and all are counted.
    members[1].send_text(r#"{"type":"presence","room":"chat:x","limit":2,"id":1}"#);
    let answer = loop {
        let answer = members[1].expect_json(|message| message);
        if answer["type"] == "presence" {
            break answer;
        }
    };
    assert_eq!((ids(&answer["data"]["clients"]).len(), &answer["data"]["client_count"]), (2, &4.into()));
    assert_eq!(answer["id"], 1);
}

#[test]
fn what_is_no_request_for_presence_is_refused() {
    let server = start("1h");
    conversation(
        &mut server.connect(),
        r#"
        > {"type":"presence","room":"chat:x"}
        < {"type":"error","error":"not subscribed to this room","timestamp":"*ms"}
        > {"type":"subscribe","room":"chat:x"}
        < {"type":"subscribed","room":"chat:x","data":{"room":"chat:x","client_count":1},"timestamp":"*ms"}
        > {"type":"subscribe","room":"plain"}
        < {"type":"subscribed","room":"plain","data":{"room":"plain","client_count":1},"timestamp":"*ms"}
        > {"type":"presence","room":"plain","id":3}
        < {"type":"error","error":"presence is not enabled for this room","id":3,"timestamp":"*ms"}
        > {"type":"presence","room":"chat:y"}
        < {"type":"error","error":"not subscribed to this room","timestamp":"*ms"}
        > {"type":"presence"}
        < {"type":"error","error":"room name is required","timestamp":"*ms"}
        > {"type":"presence","room":""}
        < {"type":"error","error":"room name is required","timestamp":"*ms"}
        > {"type":"presence","room":["chat:x"]}
        < {"type":"error","error":"invalid JSON format","timestamp":"*ms"}
        > {"type":"presence","room":"chat:x","limit":0,"id":4}
        < {"type":"error","error":"invalid JSON format","id":4,"timestamp":"*ms"}
        > {"type":"presence","room":"chat:x","limit":1001}
        < {"type":"error","error":"invalid JSON format","timestamp":"*ms"}
        > {"type":"presence","room":"chat:x","limit":"2"}
        < {"type":"error","error":"invalid JSON format","timestamp":"*ms"}
        > {"type":"presence","room":"chat:x","limit":1.5}
        < {"type":"error","error":"invalid JSON format","timestamp":"*ms"}
        > {"type":"presence","room":"chat:x","limit":-1}
        < {"type":"error","error":"invalid JSON format","timestamp":"*ms"}
        > {"type":"presence","room":"chat:x","limit":1000}
        < {"type":"presence","room":"chat:x","data":{"client_count":1,"clients":["*uuid"]},"timestamp":"*ms"}
        > {"type":"unsubscribe","room":"chat:x"}
        < {"type":"unsubscribed","room":"chat:x","data":{"room":"chat:x"},"timestamp":"*ms"}
        > {"type":"presence","room":"chat:x"}
        < {"type":"error","error":"not subscribed to this room","timestamp":"*ms"}
        < nothing
        "#,
    );
    let refused = |reason| {
        let of_shard =
            |shard| server.metric(&format!(r#"fanwire_refusals_total{{shard="{shard}",reason="{reason}"}}"#));
        of_shard(0).unwrap_or(0.0) + of_shard(1).unwrap_or(0.0)
    };
    assert_eq!((refused("presence_disabled"), refused("not_subscribed")), (1.0, 3.0));
}

#[test]
fn a_storm_is_a_few_notices() {
    const CLIENTS: u64 = 300;
    let server = start("2s");
    let mut watcher = server.connect();
    watcher.subscribe("chat:x");
    Seen::until(&mut watcher, 1);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
    let begun = std::time::Instant::now();
    clients.iter_mut().for_each(|client| client.subscribe("chat:x"));
    let joined = Seen::until(&mut watcher, CLIENTS);
    let took = begun.elapsed().as_secs() as usize;
    // One notice for each interval that the storm has touched.
    let most = |seconds: usize| seconds / 2 + 2;
    assert!(joined.notices <= most(took), "{} notices in {took} s", joined.notices);
    assert!(!joined.joined.is_empty() && joined.joined.len() <= 100 * joined.notices);
    let begun = std::time::Instant::now();
    drop(clients);
    let left = Seen::until(&mut watcher, CLIENTS);
    assert!(left.notices <= most(begun.elapsed().as_secs() as usize), "{} notices", left.notices);
    assert!(left.joined.is_empty());
}

#[test]
fn who_comes_and_goes_within_an_interval_is_not_told() {
    let server = start("1s");
    let (mut a, mut b, mut c) = (server.connect(), server.connect(), server.connect());
    a.subscribe("chat:x");
    b.subscribe("chat:x");
    let seen = Seen::until(&mut a, 2);
    assert_eq!(seen.joined, BTreeSet::from([a.id.clone(), b.id.clone()]));
    // Both at once, so in one interval but for the rarest of pauses, in which both would be told.
    let script = r#"{"type":"unsubscribe","room":"chat:x"}"#;
    let frames = [script, r#"{"type":"subscribe","room":"chat:x"}"#].map(|text| {
        crate::common::frame(crate::common::opcode::FIN | crate::common::opcode::TEXT, text.as_bytes())
    });
    b.send_bytes(&frames.concat());
    // One who stays, so that there is something to wait for.
    c.subscribe("chat:x");
    let seen = Seen::until(&mut a, 1);
    assert_eq!((seen.joined, seen.left), (BTreeSet::from([c.id.clone()]), BTreeSet::new()));
    assert_eq!(who_is_here(&mut a, "chat:x").0, 3);
}

#[test]
fn every_count_continues_the_one_before() {
    const CLIENTS: usize = 24;
    let server = start("10ms");
    let mut watcher = server.connect();
    watcher.subscribe("chat:x");
    // On both shards, and all the time some that come and go between two notices.
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
    let [subscribe, unsubscribe] = ["subscribe", "unsubscribe"].map(|kind| {
        let text = format!(r#"{{"type":"{kind}","room":"chat:x"}}"#);
        crate::common::frame(crate::common::opcode::FIN | crate::common::opcode::TEXT, text.as_bytes())
    });
    for round in 0..40 {
        for (index, client) in clients.iter_mut().enumerate() {
            client.send_bytes(if (round + index) % 2 == 0 { &subscribe } else { &unsubscribe });
        }
    }
    for client in clients.iter_mut().take(CLIENTS / 2) {
        client.send_bytes(&[&subscribe[..], &unsubscribe, &subscribe].concat());
    }
    let others_leave = |client: &mut Client| client.send_bytes(&unsubscribe);
    clients.iter_mut().skip(CLIENTS / 2).for_each(others_leave);
    let mut present = BTreeSet::new();
    let expected: BTreeSet<_> =
        clients[..CLIENTS / 2].iter().map(|client| client.id.clone()).chain([watcher.id.clone()]).collect();
    while present != expected {
        let notice = watcher.expect_json(|message| message);
        let before = present.len();
        let data = &notice["data"];
        ids(&data["joined"])
            .into_iter()
            .for_each(|id| assert!(present.insert(id.to_owned()), "{id} joins twice"));
        ids(&data["left"]).into_iter().for_each(|id| assert!(present.remove(id), "{id} leaves twice"));
        assert_eq!(data["client_count"], present.len(), "{before} before: {data}");
    }
}

/// A server whose rooms name members by `mode`, with tokens that tell a name.
fn start_naming(mode: &str, grace: &str) -> Server {
    let rules = format!(r#"--room-rules=[{{"pattern":"chat:*","presence":"{mode}"}}]"#);
    let flags = [
        &rules,
        "--presence-interval=10ms",
        "--presence-grace",
        grace,
        "--presence-claims=profile.name,team,none",
    ];
    Server::start_with(&flags, &[SECRET_VARIABLE])
}

/// A token of a user with information, a part of which is for others.
fn named(user: &str) -> String {
    let profile = json!({"name": user.to_uppercase(), "email": "secret"});
    sign(&json!({"sub": user, "exp": now_unix_s() + 600, "profile": profile, "team": [1, "a"]}))
}

fn connect_as(server: &Server, user: &str) -> Client {
    Client::connect_with(server.addr(), &format!("/ws?token={}", named(user)), &[])
}

#[test]
fn users_are_named_once_with_what_their_token_allows() {
    let server = start_naming("users", "1h");
    let (mut first, mut second) = (connect_as(&server, "alice"), connect_as(&server, "alice"));
    let mut nobody = server.connect();
    let anonymous = format!(r#"{{"client_id":"{}"}}"#, nobody.id);
    let alice = r#"{"user":"alice","info":{"name":"ALICE","team":[1,"a"]}}"#;
    let script = format!(
        r#"
        1> {{"type":"subscribe","room":"chat:x"}}
        1< {{"type":"subscribed","room":"chat:x","data":{{"room":"chat:x","client_count":1}},"timestamp":"*ms"}}
        1< {{"type":"presence_change","room":"chat:x","data":{{"joined":[{alice}],"left":[],"user_count":1}},"timestamp":"*ms"}}
        2> {{"type":"subscribe","room":"chat:x"}}
        2< {{"type":"subscribed","room":"chat:x","data":{{"room":"chat:x","client_count":2}},"timestamp":"*ms"}}
        2> {{"type":"presence","room":"chat:x"}}
        2< {{"type":"presence","room":"chat:x","data":{{"user_count":1,"users":[{alice}]}},"timestamp":"*ms"}}
        2> {{"type":"unsubscribe","room":"chat:x"}}
        2< {{"type":"unsubscribed","room":"chat:x","data":{{"room":"chat:x"}},"timestamp":"*ms"}}
        3> {{"type":"subscribe","room":"chat:x"}}
        3< {{"type":"subscribed","room":"chat:x","data":{{"room":"chat:x","client_count":2}},"timestamp":"*ms"}}
        1< {{"type":"presence_change","room":"chat:x","data":{{"joined":[{anonymous}],"left":[],"user_count":2}},"timestamp":"*ms"}}
        3< {{"type":"presence_change","room":"chat:x","data":{{"joined":[{anonymous}],"left":[],"user_count":2}},"timestamp":"*ms"}}
        1> {{"type":"unsubscribe","room":"chat:x"}}
        1< {{"type":"unsubscribed","room":"chat:x","data":{{"room":"chat:x"}},"timestamp":"*ms"}}
        2> {{"type":"subscribe","room":"chat:x"}}
        2< {{"type":"subscribed","room":"chat:x","data":{{"room":"chat:x","client_count":2}},"timestamp":"*ms"}}
        3< nothing
        "#
    );
    // The page of `1` was loaded again as `2` within the time of grace: nobody hears of it.
    conversations(&mut [("1", &mut first), ("2", &mut second), ("3", &mut nobody)], &script);
}

#[test]
fn a_user_that_is_gone_for_longer_than_grace_has_left() {
    let server = start_naming("users", "0");
    let (mut alice, mut nobody) = (connect_as(&server, "alice"), server.connect());
    nobody.subscribe("chat:x");
    nobody.expect_json(|notice| assert_eq!(notice["data"]["user_count"], 1, "{notice}"));
    alice.subscribe("chat:x");
    nobody.expect_json(|notice| assert_eq!(notice["data"]["user_count"], 2, "{notice}"));
    alice.reset();
    nobody.expect(
        r#"{"type":"presence_change","room":"chat:x","data":{"joined":[],"left":[{"user":"alice","info":{"name":"ALICE","team":[1,"a"]}}],"user_count":1},"timestamp":"*ms"}"#,
    );
}

#[test]
fn connections_are_named_with_their_users_and_told_anew_when_they_say_who_they_are() {
    let server = start_naming("connections", "1h");
    let (mut client, mut other) = (server.connect(), server.connect());
    let token = named("alice");
    let id = client.id.clone();
    let alice = format!(r#"{{"client_id":"{id}","user":"alice","info":{{"name":"ALICE","team":[1,"a"]}}}}"#);
    let script = format!(
        r#"
        a> {{"type":"subscribe","room":"chat:x"}}
        a< {{"type":"subscribed","room":"chat:x","data":{{"room":"chat:x","client_count":1}},"timestamp":"*ms"}}
        a< {{"type":"presence_change","room":"chat:x","data":{{"joined":[{{"client_id":"{id}"}}],"left":[],"client_count":1}},"timestamp":"*ms"}}
        a> {{"type":"auth","token":"{token}"}}
        a< {{"type":"authenticated","user_id":"alice","timestamp":"*ms"}}
        a< {{"type":"presence_change","room":"chat:x","data":{{"joined":[{alice}],"left":[],"client_count":1}},"timestamp":"*ms"}}
        a> {{"type":"presence","room":"chat:x"}}
        a< {{"type":"presence","room":"chat:x","data":{{"client_count":1,"clients":[{alice}]}},"timestamp":"*ms"}}
        a> {{"type":"auth","token":"{token}"}}
        a< {{"type":"authenticated","user_id":"alice","timestamp":"*ms"}}
        a< nothing
        b> {{"type":"presence","room":"chat:x"}}
        b< {{"type":"error","error":"not subscribed to this room","timestamp":"*ms"}}
        "#
    );
    conversations(&mut [("a", &mut client), ("b", &mut other)], &script);
}

#[test]
fn rooms_without_presence_tell_nothing() {
    let server = start("10ms");
    let (mut a, mut b) = (server.connect(), server.connect());
    a.subscribe("plain");
    b.subscribe("plain");
    drop(b);
    eventually("the other is gone", || server.get("/v1/rooms/plain").json()["members"] == 1);
    a.expect_nothing(crate::common::SILENCE);
}

#[test]
fn the_api_pages_through_members_of_any_room() {
    let server = start("1h");
    for room in ["chat:x", "plain"] {
        let mut members: Vec<_> = (0..25).map(|_| server.connect()).collect();
        members.iter_mut().for_each(|member| member.subscribe(room));
        let (mut found, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let page = server.get(&format!("/v1/rooms/{room}/members?limit=4&cursor={cursor}"));
            assert_eq!(page.status, 200, "{}", page.body);
            let page = page.json();
            assert_eq!((&page["room"], &page["client_count"]), (&room.into(), &25.into()));
            let named = ids(&page["members"]);
            assert!((1..=4).contains(&named.len()), "{page}");
            found.extend(named.into_iter().map(str::to_owned));
            pages += 1;
            match page["cursor"].as_str() {
                Some(next) => cursor = next.to_owned(),
                None => break,
            }
            // Somebody comes and goes between the pages, and is no reason to miss those who stay.
            server.connect().subscribe(room);
            eventually("it is gone", || server.get(&format!("/v1/rooms/{room}")).json()["members"] == 25);
        }
        let expected: BTreeSet<_> = members.iter().map(|member| member.id.clone()).collect();
        assert!(found.iter().all(|id| expected.contains(id)) && pages >= 7);
        assert_eq!((found.len(), found.into_iter().collect::<BTreeSet<_>>()), (25, expected));
        let all = server.get(&format!("/v1/rooms/{room}/members")).json();
        assert_eq!((ids(&all["members"]).len(), &all["cursor"]), (25, &Value::Null));
    }
    assert_eq!(server.get("/v1/rooms/nobody/members").status, 404);
    // A cursor beyond all there is: no more members, and no room once nobody is left.
    let beyond = || server.get("/v1/rooms/plain/members?cursor=9-0-5");
    eventually("nobody is left", || beyond().status == 404);
    for wrong in ["limit=0", "limit=1001", "limit=x", "cursor=x", "cursor=1-2", "page=1"] {
        assert_eq!(server.get(&format!("/v1/rooms/plain/members?{wrong}")).status, 400, "{wrong}");
    }
    assert_eq!(server.post("/v1/rooms/plain/members", "{}").status, 405);
}

#[test]
fn members_are_read_with_the_key_alone() {
    let server = Server::start(&[RULES, "--api-keys=secret-of-16-bytes"]);
    let mut client = server.connect();
    client.subscribe("chat:x");
    assert_eq!(server.get("/v1/rooms/chat:x/members").status, 401);
    let key = [("Authorization", "Bearer secret-of-16-bytes")];
    let answer = request(server.addr(), "GET", "/v1/rooms/chat:x/members", &key, b"");
    assert_eq!((answer.status, ids(&answer.json()["members"])), (200, vec![client.id.as_str()]));
}

#[test]
fn rules_that_contradict_each_other_stop_the_start() {
    for (rules, says) in [
        (r#"[{"pattern":"a","presence":7}]"#, "presence"),
        (r#"[{"pattern":"a","presence":"everybody"}]"#, "true, false, ids, connections or users"),
        (r#"[{"pattern":"a","overflow":"conflate","conflate_key":""}]"#, "conflate_key"),
        (r#"[{"pattern":"a","overflow":"drop_oldest","conflate_key":"k"}]"#, "overflow: it must be conflate"),
        (r#"[{"pattern":"a","overflow":"none"}]"#, "overflow: it must be"),
        (r#"[{"pattern":"a","presence":true},{"pattern":"a"}]"#, "rule 2"),
        (r#"[{"pattern":"**"},{"pattern":"chat:*","presence":true}]"#, "rule 2"),
        (r#"[{"presence":true}]"#, "pattern"),
    ] {
        let (status, output) = Server::run(&[&format!("--room-rules={rules}")], &[]);
        assert!(!status.success() && output.contains(says), "{rules}: {output}");
        assert!(output.contains("room_rules") || output.contains("room-rules"), "{rules}: {output}");
    }
}
