//! What a client may do hangs on the endpoint and the room, and never on the dialect that it asks for.

use crate::common::token::{SECRET_VARIABLE, path_of, sign};
use crate::common::{Act, Backend, Client, SILENCE, Server, conversations, exchange};
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpStream;

const DIALECTS: [&str; 4] = ["rooms", "channels", "topics", "tenants"];

/// For each dialect how a client publishes to the room `R`, and what it is told where it is no member of an open room.
const PUBLISHES: [(&str, &str, &str); 4] = [
    ("rooms", r#"{"type":"publish","room":"R","data":1,"id":1}"#, "not subscribed to this room"),
    ("channels", r#"{"type":"SAID","channel":"R","data":1,"id":1}"#, "Not a member of this channel"),
    ("topics", r#"{"type":"publish","channel":"R","data":1,"id":1}"#, "published"),
    ("tenants", r#"{"type":"send_message","data":{"channel":"R","message":1},"id":1}"#, "published"),
];

/// The status with which an upgrade is answered that asks for a dialect, and the text.
fn ask_for(server: &Server, path: &str, dialect: &str) -> (u16, String) {
    let protocol = format!("fanwire.{dialect}");
    let handshake = Client::handshake("localhost", path, &[("Sec-WebSocket-Protocol", &protocol)]);
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    stream.write_all(&handshake).unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).unwrap();
    if first.ends_with(b"101") {
        return (101, String::new());
    }
    let answer = exchange(server.addr(), &handshake);
    (answer.status, answer.body)
}

fn speaks(server: &Server, path: &str, dialect: &str) -> bool {
    let (status, text) = ask_for(server, path, dialect);
    let told = text.contains("is not spoken here, only fanwire.");
    assert!(matches!((status, told), (101, false) | (400, true)), "{path} {dialect}: {status} {text}");
    status == 101
}

/// A client that asks for a dialect, its greeting read.
fn speaker(server: &Server, dialect: &str, path: &str) -> Client {
    let protocol = format!("fanwire.{dialect}");
    let mut client = Client::ungreeted(server.addr(), path, &[("Sec-WebSocket-Protocol", &protocol)]);
    if dialect != "channels" {
        client.expect_text();
    }
    client
}

#[test]
fn an_endpoint_speaks_its_own_dialect_and_those_that_it_lists() {
    for (preset, all) in
        [("none", true), ("rooms", false), ("channels", false), ("topics", false), ("tenants", false)]
    {
        let server = Server::start(&[&format!("--preset={preset}")]);
        // Nobody comes in there without a token, so that another dialect is refused in words of its own.
        let needs_token = preset == "tenants";
        for dialect in DIALECTS.into_iter().filter(|_| !needs_token) {
            assert_eq!(speaks(&server, "/ws", dialect), all || dialect == preset, "{preset}: {dialect}");
        }
    }
    let endpoints =
        r#"[{"path":"/ws","dialect":"topics","dialects":["tenants"]},{"path":"/one","dialect":"rooms"}]"#;
    let server = Server::start(&["--endpoints", endpoints]);
    for dialect in DIALECTS {
        assert_eq!(speaks(&server, "/ws", dialect), ["topics", "tenants"].contains(&dialect), "{dialect}");
        assert_eq!(speaks(&server, "/one", dialect), dialect == "rooms", "{dialect}");
    }
    let (_, text) = ask_for(&server, "/ws", "rooms");
    assert_eq!(
        text,
        "subprotocol \"fanwire.rooms\" is not spoken here, only fanwire.topics, fanwire.tenants (dialects)\n"
    );
    // The first of those asked for that is spoken counts.
    let several = [("Sec-WebSocket-Protocol", "fanwire.rooms, fanwire.tenants, fanwire.topics")];
    let mut client = Client::ungreeted(server.addr(), "/ws", &several);
    client.expect(r#"{"type":"connection","data":{"connectionId":"*uuid","timestamp":"*iso"}}"#);
}

#[test]
fn the_backend_is_asked_about_a_publish_without_membership_as_about_joining() {
    let backend = Backend::start(|heard| match heard.json()["room"].as_str() {
        Some("staff") => Act::Say(r#"{"allow":false,"reason":"staff only"}"#.to_owned()),
        _ => Act::Say(r#"{"allow":true}"#.to_owned()),
    });
    let url = format!("--hook-url={}", backend.url());
    let secret = [("FANWIRE_HOOK_SECRET", "the-secret-of-the-tests")];
    let server = Server::start_with(&[&url, "--hook-events=join"], &secret);
    for (dialect, publish, told) in PUBLISHES {
        let mut client = speaker(&server, dialect, "/ws");
        let asked = backend.heard().len();
        client.send_text(&publish.replace('R', "staff"));
        let unjoined = told == "published";
        let text = client.expect_text();
        assert!(text.contains(if unjoined { "staff only" } else { told }), "{dialect}: {text}");
        client.send_text(&publish.replace('R', "open"));
        let text = client.expect_text();
        assert!(text.contains(told), "{dialect}: {text}");
        let asked: Vec<_> = backend.heard()[asked..].iter().map(|it| (it.event(), it.json())).collect();
        let rooms: Vec<_> = asked.iter().map(|(event, it)| (event.as_str(), &it["room"])).collect();
        let both = [("join", &json!("staff")), ("join", &json!("open"))];
        assert_eq!(rooms, if unjoined { &both[..] } else { &[] }, "{dialect}");
    }
}

#[test]
fn who_may_not_join_may_not_publish_in_any_dialect() {
    let rules = r#"[{"room":"inbox:**","who":"any","allow":["publish"],"text":"closed to you"}]"#;
    let server = Server::start(&["--access-rules", rules]);
    for (dialect, publish, told) in PUBLISHES {
        let mut client = speaker(&server, dialect, "/ws");
        client.send_text(&publish.replace('R', "inbox:a"));
        let text = client.expect_text();
        assert!(text.contains(if told == "published" { "closed to you" } else { told }), "{dialect}: {text}");
    }
}

/// Everybody who may hear a broadcast: one of each tenant, and two of none.
struct All {
    a: Client,
    a2: Client,
    b: Client,
    user: Client,
    nobody: Client,
}

impl All {
    fn connect(server: &Server) -> Self {
        let token = sign(&json!({"userId": "alice"}));
        let of = |user, tenant| speaker(server, "rooms", &path_of("/ws", user, tenant));
        Self {
            a: of("alice", "bank-a"),
            a2: of("bob", "bank-a"),
            b: of("alice", "bank-b"),
            user: speaker(server, "rooms", &format!("/ws?token={token}")),
            nobody: speaker(server, "rooms", "/ws"),
        }
    }

    fn hold(&mut self, script: &str) {
        let Self { a, a2, b, user, nobody } = self;
        conversations(&mut [("a", a), ("a2", a2), ("b", b), ("user", user), ("nobody", nobody)], script);
    }
}

const REFUSED: &str = r#"{"type":"error","error":"broadcast is disabled","timestamp":"*ms"}"#;

#[test]
fn a_broadcast_stays_within_the_tenant_of_its_sender() {
    for rules in ["[]", r#"[{"pattern":"**","history_messages":5}]"#] {
        let server =
            Server::start_with(&["--client-broadcast=true", "--room-rules", rules], &[SECRET_VARIABLE]);
        let mut all = All::connect(&server);
        all.hold(
            r#"
            a> {"type":"broadcast","data":"of bank a"}
            a< {"type":"message","data":"of bank a","client_id":"*uuid","timestamp":"*ms"}
            a2< {"type":"message","data":"of bank a","client_id":"*uuid","timestamp":"*ms"}
            b> {"type":"broadcast","data":"of bank b"}
            b< {"type":"message","data":"of bank b","client_id":"*uuid","timestamp":"*ms"}
            nobody> {"type":"broadcast","data":"of nobody"}
            nobody< {"type":"message","data":"of nobody","client_id":"*uuid","timestamp":"*ms"}
            user< {"type":"message","data":"of nobody","client_id":"*uuid","timestamp":"*ms"}
            user> {"type":"broadcast","data":"of a user"}
            nobody< {"type":"message","data":"of a user","client_id":"*uuid","timestamp":"*ms"}
            user< {"type":"message","data":"of a user","client_id":"*uuid","timestamp":"*ms"}
            a< nothing
            "#,
        );
        for client in [&mut all.a2, &mut all.b, &mut all.user, &mut all.nobody] {
            client.expect_nothing(SILENCE);
        }
    }
}

#[test]
fn a_broadcast_of_who_joins_a_tenant_later_follows_it() {
    let server = Server::start_with(&["--client-broadcast=true"], &[SECRET_VARIABLE]);
    let mut all = All::connect(&server);
    let token = crate::common::token::token_of("carol", "bank-a");
    all.nobody.send_text(&json!({"type": "auth", "token": token}).to_string());
    all.nobody.expect_json(|answer| assert_eq!(answer["type"], "authenticated"));
    all.hold(
        r#"
        nobody> {"type":"broadcast","data":"hello"}
        a< {"type":"message","data":"hello","client_id":"*uuid","timestamp":"*ms"}
        a2< {"type":"message","data":"hello","client_id":"*uuid","timestamp":"*ms"}
        nobody< {"type":"message","data":"hello","client_id":"*uuid","timestamp":"*ms"}
        user> {"type":"broadcast","data":"alone"}
        user< {"type":"message","data":"alone","client_id":"*uuid","timestamp":"*ms"}
        nobody< nothing
        b< nothing
        "#,
    );
}

#[test]
fn clients_broadcast_only_where_nobody_can_be_known_unless_that_is_set() {
    let heard = r#"{"type":"message","data":1,"client_id":"*uuid","timestamp":"*ms"}"#;
    let backend = Backend::friendly();
    let url = format!("--hook-url={}", backend.url());
    let (secret, hook) = (SECRET_VARIABLE, ("FANWIRE_HOOK_SECRET", "the-secret-of-the-tests"));
    for (flags, environment, expected) in [
        (&["--preset=none"][..], &[][..], heard),
        (&["--preset=rooms"], &[], heard),
        (&["--preset=rooms"], &[secret], heard),
        (&["--preset=rooms", "--client-broadcast=false"], &[], REFUSED),
        (&["--preset=none"], &[secret], REFUSED),
        (&["--preset=none", "--tenants=a"], &[], REFUSED),
        (&["--preset=none", &url, "--hook-events=connect"], &[hook], REFUSED),
        (&["--preset=none", &url, "--hook-events=join"], &[hook], heard),
        (&["--preset=none", "--client-broadcast=true"], &[secret], heard),
        (&["--preset=none", "--client-broadcast=auto"], &[secret], REFUSED),
    ] {
        let server = Server::start_with(flags, environment);
        let mut client = server.connect();
        client.send_text(r#"{"type":"broadcast","data":1}"#);
        client.expect(expected);
    }
    // A preset whose document has no broadcast has none, whatever its endpoints speak.
    for preset in ["channels", "topics", "tenants"] {
        let endpoints = r#"[{"path":"/ws","dialect":"rooms"}]"#;
        let server = Server::start(&[&format!("--preset={preset}"), "--endpoints", endpoints]);
        let mut client = server.connect();
        client.send_text(r#"{"type":"broadcast","data":1}"#);
        client.expect(REFUSED);
    }
    let (status, told) = Server::run_bare(&["check-config", "--client-broadcast=maybe"], &[]);
    assert!(status.code() == Some(2) && told.contains("true, false or auto"), "{told}");
}
