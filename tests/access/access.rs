//! Who may do what in which rooms: joining, publishing, who is there and what is past, as the rules say and for who
//! the connection is at the time.

use crate::common::{Client, Server, conversation, conversations, eventually};
use fanwire::config::{Config, Preset, Sources, load};
use fanwire::model::{ConnectionId, Identity};
use serde_json::json;
use std::time::Duration;

/// A server in this process, with an identity for whoever is to have one.
struct Inside(Option<fanwire::Server>);

impl Inside {
    fn start(preset: Preset, keys: &[(&str, &str)]) -> Self {
        let flags: Vec<_> = keys.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect();
        let given = load(&Sources { file: None, env: &[], flags: &flags }).unwrap();
        let mut config = Config::of_preset(preset);
        if keys.iter().any(|(key, _)| *key == "access-rules") {
            config.access = given.access;
        }
        let mut config = Config {
            host: [127, 0, 0, 1].into(),
            port: 0,
            shards: 2,
            room_rules: given.room_rules,
            endpoints: Config::of_preset(Preset::Rooms).endpoints,
            ..config
        };
        config.times.drain_timeout = Duration::from_secs(5);
        Self(Some(fanwire::Server::builder().config(config).start().unwrap()))
    }

    fn server(&self) -> &fanwire::Server {
        self.0.as_ref().expect("it runs until it is dropped")
    }

    fn connect(&self) -> Client {
        Client::connect(self.server().local_addr().unwrap())
    }

    /// A client that the server knows as this user of this tenant.
    fn connect_as(&self, user: &str, tenant: &str, roles: &[&str]) -> Client {
        let client = self.connect();
        self.identify(&client, Some(identity(user, tenant, roles)));
        client
    }

    fn identify(&self, client: &Client, identity: Option<Identity>) {
        let id = ConnectionId::parse(&client.id).unwrap();
        assert_eq!(self.server().handle().identify(id, identity).wait(), Ok(true));
    }

    fn publish(&self, room: &str, data: u32) -> u32 {
        self.server().handle().publish(room, "message", &data).unwrap().wait().unwrap()
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let server = self.0.take().expect("it is dropped once");
        server.handle().shutdown();
        let ended = server.wait();
        assert!(ended.is_ok() || std::thread::panicking(), "{ended:?}");
    }
}

fn identity(user: &str, tenant: &str, roles: &[&str]) -> Identity {
    let roles = roles.iter().map(|role| Box::from(*role)).collect();
    Identity { user: Some(user.into()), tenant: Some(tenant.into()), roles, ..Identity::default() }
}

/// Joins a room, which must be answered like this.
fn join(client: &mut Client, room: &str, allowed: bool) {
    client.send_text(&json!({"type": "subscribe", "room": room, "id": 1}).to_string());
    let answer = client.expect_json(|answer| answer);
    let expected = if allowed { &json!("subscribed") } else { &json!("error") };
    assert_eq!(&answer["type"], expected, "{room:?}: {answer}");
    assert!(allowed || answer["error"] == "access denied to this room", "{answer}");
}

#[test]
fn without_a_preset_nobody_unknown_gets_into_what_is_somebodys() {
    let server =
        Server::start(&["--room-rules", r#"[{"pattern":"**","history_messages":10,"presence":true}]"#]);
    let mut client = server.connect();
    let refused = r#"
        > {"type":"subscribe","room":"tenant:a1:general","id":1}
        < {"type":"error","error":"access denied to this room","id":1,"timestamp":"*ms"}
        > {"type":"publish","room":"tenant:a1:general","data":1,"id":2}
        < {"type":"error","error":"permission denied","id":2,"timestamp":"*ms"}
        > {"type":"presence","room":"tenant:a1:general","id":3}
        < {"type":"error","error":"permission denied","id":3,"timestamp":"*ms"}
        > {"type":"subscribe","room":"tenant:a1:general","recover":{"epoch":"5f64a9c28b1d4e3f","offset":0},"id":4}
        < {"type":"error","error":"access denied to this room","id":4,"timestamp":"*ms"}
        > {"type":"unsubscribe","room":"tenant:a1:general","id":5}
        < {"type":"unsubscribed","room":"tenant:a1:general","data":{"room":"tenant:a1:general"},"id":5,"timestamp":"*ms"}
    "#;
    conversation(&mut client, refused);
    // The answers are the same once there is such a room, with a past.
    assert_eq!(server.post("/v1/publish", r#"{"room":"tenant:a1:general","data":"secret"}"#).status, 200);
    assert_eq!(server.get("/v1/rooms/tenant:a1:general").status, 200);
    conversation(&mut client, refused);
    assert_eq!(server.metric_sum("fanwire_refusals_total"), 8.0);
    for room in [
        "admin:x",
        "user:",
        "tenant::x",
        "user:1",
        "tenant:*",
        "notifications:a1:1:alerts",
        "tenant:{tenant}",
    ] {
        join(&mut client, room, false);
    }
    for room in ["chat", "Tenant:a1", "tenant：a1", "*", "**", ":", "tenant"] {
        join(&mut client, room, true);
    }
    assert_eq!(server.get("/v1/rooms/tenant:*").status, 404, "who is refused makes no room");
}

#[test]
fn who_a_connection_is_opens_its_own_rooms() {
    let server = Inside::start(Preset::None, &[]);
    let mut one = server.connect_as("1", "a1", &[]);
    let mut ten = server.connect_as("10", "a12", &["admin"]);
    for (room, first, second) in [
        ("tenant:a1", true, false),
        ("tenant:a1:x", true, false),
        ("tenant:a12", false, true),
        ("tenant:a1:user:1:", true, false),
        ("tenant:a12:user:10:", false, true),
        ("tenant:a1:user:10", false, false),
        ("user:1:", false, false),
        ("notifications:a1:1", true, false),
        ("notifications:a12:10:x", false, true),
        ("notifications:a1:10", false, false),
        ("admin:x", false, true),
        ("tenant:ａ1", false, false),
        ("tenant:A1", false, false),
        ("chat", true, true),
    ] {
        join(&mut one, room, first);
        join(&mut ten, room, second);
    }
    // What is published in the one's rooms is not heard by the other, whatever it tries.
    conversations(
        &mut [("one", &mut one), ("ten", &mut ten)],
        r#"
        ten> {"type":"publish","room":"tenant:a1:x","data":1,"id":1}
        ten< {"type":"error","error":"permission denied","id":1,"timestamp":"*ms"}
        one> {"type":"publish","room":"tenant:a1:x","data":"own"}
        one< {"type":"message","room":"tenant:a1:x","data":"own","client_id":"*uuid","timestamp":"*ms"}
        ten< nothing
        one< nothing
        "#,
    );
}

const RULES: &str = r#"[
    {"room": "news:*", "who": "any", "allow": ["subscribe"]},
    {"room": "news:*", "who": "role:editor", "text": "only editors write the news"},
    {"room": "staff:**", "who": ["role:editor", "role:chief"], "text": "staff only"},
    {"room": "diary:{user}", "deny": "presence"},
    {"room": "**", "who": "any", "allow": []}
]"#;

#[test]
fn each_act_has_its_own_answer_in_the_rules_words() {
    let rooms = r#"[{"pattern":"**","history_messages":10,"last_value":true,"presence":true}]"#;
    let server = Inside::start(Preset::None, &[("access-rules", RULES), ("room-rules", rooms)]);
    assert_eq!(server.publish("news:a", 1), 0);
    let mut reader = server.connect_as("1", "a1", &[]);
    let mut editor = server.connect_as("2", "a1", &["editor"]);
    conversations(
        &mut [("reader", &mut reader), ("editor", &mut editor)],
        r#"
        reader> {"type":"subscribe","room":"news:a","recover":{"epoch":"5f64a9c28b1d4e3f","offset":0}}
        reader< {"type":"subscribed","room":"news:a","data":{"room":"news:a","client_count":1,"epoch":"*","offset":1,"recovered":false},"timestamp":"*ms"}
        reader> {"type":"unsubscribe","room":"news:a"}
        reader< {"type":"unsubscribed","room":"news:a","data":{"room":"news:a"},"timestamp":"*ms"}
        reader> {"type":"subscribe","room":"news:a"}
        reader< {"type":"subscribed","room":"news:a","data":{"room":"news:a","client_count":1,"epoch":"*","offset":1},"timestamp":"*ms"}
        reader> {"type":"publish","room":"news:a","data":2,"id":7}
        reader< {"type":"error","error":"only editors write the news","id":7,"timestamp":"*ms"}
        reader> {"type":"presence","room":"news:a"}
        reader< {"type":"error","error":"only editors write the news","timestamp":"*ms"}
        reader> {"type":"subscribe","room":"staff:x"}
        reader< {"type":"error","error":"staff only","timestamp":"*ms"}
        reader> {"type":"subscribe","room":"other"}
        reader< {"type":"error","error":"access denied to this room","timestamp":"*ms"}
        editor> {"type":"subscribe","room":"news:a"}
        editor< {"type":"subscribed","room":"news:a","data":{"room":"news:a","client_count":2,"epoch":"*","offset":1},"timestamp":"*ms"}
        editor< {"type":"message","room":"news:a","data":1,"offset":1,"timestamp":"*ms"}
        editor> {"type":"presence","room":"diary:2"}
        editor< {"type":"error","error":"permission denied","timestamp":"*ms"}
        editor> {"type":"presence","room":"staff:never-made"}
        editor< {"type":"error","error":"not subscribed to this room","timestamp":"*ms"}
        "#,
    );
}

#[test]
fn a_changed_identity_counts_at_once_and_ends_memberships() {
    let server = Inside::start(Preset::None, &[]);
    let mut client = server.connect_as("1", "a1", &["admin"]);
    for room in ["tenant:a1:x", "tenant:a1:user:1", "chat", "admin:x"] {
        join(&mut client, room, true);
    }
    // As the same user, but no administrator.
    server.identify(&client, Some(identity("1", "a1", &[])));
    conversation(
        &mut client,
        r#"
        < {"type":"unsubscribed","room":"admin:x","data":{"room":"admin:x"},"timestamp":"*ms"}
        < {"type":"error","error":"access denied to this room","timestamp":"*ms"}
        > {"type":"publish","room":"admin:x","data":1}
        < {"type":"error","error":"permission denied","timestamp":"*ms"}
        "#,
    );
    assert_eq!(server.publish("admin:x", 7), 0);
    for room in ["tenant:a1:x", "tenant:a1:user:1", "chat"] {
        // One after the other: publications of different rooms may change places.
        assert_eq!(server.publish(room, 7), 1);
        client.expect_json(|message| assert_eq!(message["room"], room));
    }
    // As nobody.
    server.identify(&client, None);
    let mut left = Vec::new();
    for _ in 0..2 {
        client.expect_json(|told| left.push(told["room"].as_str().unwrap().to_owned()));
        client.expect(r#"{"type":"error","error":"access denied to this room","timestamp":"*ms"}"#);
    }
    left.sort();
    assert_eq!(left, ["tenant:a1:user:1", "tenant:a1:x"]);
    assert_eq!(["tenant:a1:x", "tenant:a1:user:1", "chat"].map(|room| server.publish(room, 8)), [0, 0, 1]);
    // And as another tenant's.
    server.identify(&client, Some(identity("2", "a2", &[])));
    client.expect_json(|message| assert_eq!(message["room"], "chat"));
    join(&mut client, "tenant:a1:x", false);
    join(&mut client, "tenant:a2:x", true);
}

#[test]
fn tenants_cannot_reach_each_other_by_another_dialect() {
    let server = Inside::start(Preset::Tenants, &[]);
    let mut one = server.connect_as("1", "a1", &[]);
    let mut two = server.connect_as("2", "a2", &[]);
    join(&mut one, "tenant:a1:general", true);
    join(&mut two, "public:news", true);
    for room in ["tenant:a1:general", "chat", "admin:x", "notifications:a1:1:alerts", "notifications:a2:2"] {
        join(&mut two, room, false);
    }
    conversations(
        &mut [("one", &mut one), ("two", &mut two)],
        r#"
        two> {"type":"broadcast","data":"to all tenants"}
        two< {"type":"error","error":"broadcast is disabled","timestamp":"*ms"}
        two> {"type":"publish","room":"tenant:a1:general","data":1}
        two< {"type":"error","error":"permission denied","timestamp":"*ms"}
        two> {"type":"subscribe","room":"notifications:a2:2:alerts"}
        two< {"type":"subscribed","room":"notifications:a2:2:alerts","data":{"room":"notifications:a2:2:alerts","client_count":1},"timestamp":"*ms"}
        two> {"type":"publish","room":"notifications:a2:2:alerts","data":1}
        two< {"type":"error","error":"permission denied","timestamp":"*ms"}
        one< nothing
        "#,
    );
}

/// A client that speaks a dialect, its greeting read.
fn connect_in(server: &Server, dialect: &str) -> Client {
    let stream = std::net::TcpStream::connect(server.addr()).unwrap();
    let protocol = format!("fanwire.{dialect}");
    let headers = [("Sec-WebSocket-Protocol", protocol.as_str())];
    let mut client = Client::upgrade(stream, &server.addr().to_string(), "/ws", &headers);
    if dialect != "channels" {
        client.expect_text();
    }
    client
}

/// For each dialect: how a room is joined and published to, with `R` for its name, and where an error has its text.
const DIALECTS: [(&str, &str, &str, &str); 3] = [
    (
        "channels",
        r#"{"type":"JOIN_CHANNEL","channel":"R"}"#,
        r#"{"type":"CHAT_MESSAGE","channel":"R","data":1}"#,
        "/data/message",
    ),
    (
        "topics",
        r#"{"type":"subscribe","channel":"R"}"#,
        r#"{"type":"publish","channel":"R","data":1}"#,
        "/message",
    ),
    (
        "tenants",
        r#"{"type":"join_channel","data":{"channel":"R"}}"#,
        r#"{"type":"send_message","data":{"channel":"R","message":1}}"#,
        "/data/error",
    ),
];

#[test]
fn every_dialect_refuses_in_its_own_shape() {
    let rules =
        r#"[{"room":"tenant:{tenant}:**"},{"room":"staff:*","who":"role:staff","text":"staff only"}]"#;
    let rooms = r#"[{"pattern":"**","history_messages":10}]"#;
    let server = Server::start(&["--access-rules", rules, "--room-rules", rooms]);
    let mut clients = DIALECTS.map(|(dialect, ..)| connect_in(&server, dialect));
    for exists in [false, true] {
        for (client, (dialect, join, publish, place)) in clients.iter_mut().zip(DIALECTS) {
            let mut refusal = |message: &str, room: &str| {
                client.send_text(&message.replace('R', room));
                client.expect_json(|error| {
                    let kind = error["type"].as_str().unwrap().to_owned();
                    assert!(kind.eq_ignore_ascii_case("error"), "{dialect}: {error}");
                    error
                        .pointer(place)
                        .unwrap_or_else(|| panic!("{dialect}: {error}"))
                        .as_str()
                        .unwrap()
                        .to_owned()
                })
            };
            assert_eq!(refusal(join, "tenant:a1:x"), "Access denied to channel", "{dialect} {exists}");
            assert_eq!(refusal(publish, "tenant:a1:x"), "Permission denied", "{dialect} {exists}");
            assert_eq!(
                [join, publish].map(|message| refusal(message, "staff:a")),
                ["staff only"; 2],
                "{dialect}"
            );
        }
        for room in ["tenant:a1:x", "staff:a"] {
            let body = json!({"room": room, "data": "secret"}).to_string();
            assert_eq!(server.post("/v1/publish", &body).status, 200);
        }
    }
    // What no rule speaks of is open in all of them.
    for (client, (_, join, ..)) in clients.iter_mut().zip(DIALECTS) {
        client.send_text(&join.replace('R', "open"));
        client.expect_text();
    }
}

#[test]
fn the_preset_topics_refuses_in_its_documents_words() {
    let server = Server::start(&["--preset", "topics"]);
    let mut client = connect_in(&server, "topics");
    for (room, text) in [
        ("user:1", "Authentication required for user channels"),
        ("user:user-uuid:alerts", "Authentication required for user channels"),
        ("user:", "Authentication required for user channels"),
        ("admin:system", "Insufficient permissions for admin channels"),
    ] {
        client.send_text(&json!({"type": "subscribe", "channel": room}).to_string());
        client.expect_json(|error| {
            assert_eq!((&error["type"], &error["message"]), (&json!("error"), &json!(text)))
        });
    }
    client.send_text(r#"{"type":"subscribe","channel":"reports:progress"}"#);
    client.expect_json(|answer| assert_eq!(answer["type"], "subscribed"));
}

#[test]
fn what_the_preset_topics_offers_in_its_greeting_can_be_subscribed_to() {
    let server = Inside::start(Preset::Topics, &[]);
    let mut user = server.connect_as("1", "a1", &[]);
    let mut nobody = server.connect();
    for room in ["reports:progress", "reports:data-updates", "system:notifications", "user:alerts"] {
        join(&mut user, room, true);
    }
    conversations(
        &mut [("user", &mut user), ("nobody", &mut nobody)],
        r#"
        nobody> {"type":"subscribe","room":"user:alerts"}
        nobody< {"type":"error","error":"Authentication required for user channels","timestamp":"*ms"}
        user> {"type":"subscribe","room":"user:2:alerts"}
        user< {"type":"error","error":"Authentication required for user channels","timestamp":"*ms"}
        user> {"type":"publish","room":"user:alerts","data":"no user speaks to all of them"}
        user< {"type":"error","error":"Authentication required for user channels","timestamp":"*ms"}
        "#,
    );
    assert_eq!(server.publish("user:alerts", 1), 1);
}

/// Members of rooms that a change of the rules closes: more than one turn looks at.
#[test]
fn a_reload_holds_at_once_and_ends_memberships() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fanwire.yaml");
    let write = |rules: &str| std::fs::write(&file, format!("connections_per_ip_max: 0\n{rules}")).unwrap();
    write("access_rules:\n  - room: \"**\"\n    who: any\n");
    let server = Server::start(&[
        "--config",
        file.to_str().unwrap(),
        "--shards=1",
        "--rooms-per-connection-max=5000",
        // All is told at once, which a test on a busy machine does not read at once.
        "--outbox-bytes-max=8MiB",
    ]);
    let mut member = server.connect();
    join(&mut member, "open", true);
    for number in 0..4500 {
        join(&mut member, &format!("closed:{number}"), true);
    }
    let mut other = server.connect();
    join(&mut other, "closed:1", true);

    write(concat!(
        "access_rules:\n  - room: \"closed:*\"\n    who: [role:admin, \"role:b c\"]\n    text: closed now\n",
        "  - room: read:**\n    who: any\n    allow: [subscribe, history]\naccess_default: allow\n"
    ));
    server.signal("HUP");
    let mut left = std::collections::BTreeSet::new();
    for _ in 0..4500 {
        let room = member.expect_json(|told| {
            assert_eq!(told["type"], "unsubscribed", "{told}");
            told["room"].as_str().unwrap().to_owned()
        });
        assert!(room.starts_with("closed:") && left.insert(room));
        member.expect(r#"{"type":"error","error":"closed now","timestamp":"*ms"}"#);
    }
    conversation(
        &mut other,
        r#"
        < {"type":"unsubscribed","room":"closed:1","data":{"room":"closed:1"},"timestamp":"*ms"}
        < {"type":"error","error":"closed now","timestamp":"*ms"}
        > {"type":"subscribe","room":"closed:1"}
        < {"type":"error","error":"closed now","timestamp":"*ms"}
        "#,
    );
    for (room, members) in [("closed:1", 0), ("closed:4000", 0), ("open", 1)] {
        let body = json!({"room": room, "data": 1}).to_string();
        server.post("/v1/publish", &body).expect(200, &format!(r#"{{"delivered":{members}}}"#));
    }
    member.expect(r#"{"type":"message","room":"open","data":1,"timestamp":"*ms"}"#);

    // A file with a mistake changes nothing, and says which rule it is.
    write("access_rules:\n  - room: a\n    who: any\n  - room: \"b:{tennant}\"\n");
    server.signal("HUP");
    eventually("the mistake is named", || server.output().contains("rule 2: room: braces"));
    other.send_text(r#"{"type":"subscribe","room":"closed:2"}"#);
    other.expect(r#"{"type":"error","error":"closed now","timestamp":"*ms"}"#);
}

#[test]
fn rules_that_are_none_stop_the_start() {
    for (rules, word) in [
        ("[{\"room\":\"a\"}]", "rule 1: who"),
        ("[{\"room\":\"a*\",\"who\":\"any\"}]", "rule 1: room: a star"),
        (
            "[{\"room\":\"**\",\"who\":\"any\"},{\"room\":\"b\",\"who\":\"user\"}]",
            "rule 2: room: the rule never counts, as rule 1",
        ),
    ] {
        let (status, output) = Server::run(&["--access-rules", rules], &[]);
        assert!(!status.success() && output.contains(word), "{rules}: {output}");
    }
    let (status, output) = Server::run(&["--access-default", "denied"], &[]);
    assert!(!status.success() && output.contains("allow, deny"), "{output}");
}
