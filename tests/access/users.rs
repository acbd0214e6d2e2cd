//! Users belong to tenants: two of one name in two tenants are two, in rules, in endpoints' rooms and for the API.

use crate::common::token::{SECRET_VARIABLE, path_of, sign, token_of};
use crate::common::{Act, Backend, Client, Response, Server, conversations, eventually, request};
use serde_json::{Value, json};

/// A path with a token of these claims.
fn path_with(path: &str, claims: &Value) -> String {
    format!("{path}?token={}", sign(claims))
}

/// The answer to an upgrade that is refused.
fn refused(server: &Server, path: &str) -> Response {
    let upgrade = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", crate::common::KEY),
    ];
    request(server.addr(), "GET", path, &upgrade, b"")
}

fn connect(server: &Server, path: &str) -> Client {
    Client::connect_with(server.addr(), path, &[])
}

#[test]
fn users_of_one_name_share_no_room() {
    let server = Server::start_with(&[], &[SECRET_VARIABLE]);
    let mut a = connect(&server, &path_of("/ws", "alice", "bank-a"));
    let mut b = connect(&server, &path_of("/ws", "alice", "bank-b"));
    let mut bob = connect(&server, &path_of("/ws", "bob", "bank-a"));
    let mut alone = connect(&server, &path_with("/ws", &json!({"userId": "alice"})));
    conversations(
        &mut [("a", &mut a), ("b", &mut b), ("bob", &mut bob), ("alone", &mut alone)],
        r#"
        a> {"type":"subscribe","room":"user:alice"}
        a< {"type":"error","error":"access denied to this room","timestamp":"*ms"}
        a> {"type":"publish","room":"user:alice:mail","data":1}
        a< {"type":"error","error":"permission denied","timestamp":"*ms"}
        alone> {"type":"subscribe","room":"user:alice"}
        alone< {"type":"subscribed","room":"user:alice","data":{"room":"user:alice","client_count":1},"timestamp":"*ms"}
        a> {"type":"subscribe","room":"tenant:bank-a:user:alice"}
        a< {"type":"subscribed","room":"tenant:bank-a:user:alice","data":{"room":"tenant:bank-a:user:alice","client_count":1},"timestamp":"*ms"}
        a> {"type":"subscribe","room":"tenant:bank-a:user:alice:mail"}
        a< {"type":"subscribed","room":"tenant:bank-a:user:alice:mail","data":{"room":"tenant:bank-a:user:alice:mail","client_count":1},"timestamp":"*ms"}
        b> {"type":"subscribe","room":"tenant:bank-a:user:alice"}
        b< {"type":"error","error":"access denied to this room","timestamp":"*ms"}
        bob> {"type":"subscribe","room":"tenant:bank-a:user:alice:mail"}
        bob< {"type":"error","error":"access denied to this room","timestamp":"*ms"}
        bob> {"type":"subscribe","room":"tenant:bank-a:general"}
        bob< {"type":"subscribed","room":"tenant:bank-a:general","data":{"room":"tenant:bank-a:general","client_count":1},"timestamp":"*ms"}
        alone> {"type":"subscribe","room":"tenant:bank-a:user:alice"}
        alone< {"type":"error","error":"access denied to this room","timestamp":"*ms"}
        "#,
    );
}

#[test]
fn an_endpoints_rooms_are_of_a_user_within_its_tenant() {
    let path = "/api/v1/reports/notifications";
    let server = Server::start_with(&[], &[SECRET_VARIABLE]);
    let members = |room: &str| server.get(&format!("/v1/rooms/{room}")).status == 200;
    let mut of_tenant = Client::ungreeted(server.addr(), &path_of(path, "alice", "bank-a"), &[]);
    of_tenant.expect_text();
    eventually("it is in the room of its tenant", || members("tenant:bank-a:user:alice:reports"));
    assert!(members("reports:alerts") && !members("user:alice:reports"));
    assert_eq!(server.metric_sum("fanwire_refusals_total"), 0.0);
    let mut alone = Client::ungreeted(server.addr(), &path_with(path, &json!({"userId": "alice"})), &[]);
    alone.expect_text();
    eventually("it is in its own room", || members("user:alice:reports"));
    // The document of `topics` knows no tenants, so that none is read from its tokens.
    let server = Server::start_with(&["--preset=topics"], &[SECRET_VARIABLE]);
    let mut of_document = Client::ungreeted(server.addr(), &path_of(path, "alice", "bank-a"), &[]);
    of_document.expect_text();
    eventually("it is in its own room", || server.get("/v1/rooms/user:alice:reports").status == 200);
}

#[test]
fn where_there_are_tenants_the_api_names_a_user_with_its_tenant() {
    let words = "user needs tenant beside it";
    for (flags, asks) in [
        (&["--tenants=bank-a,bank-b"][..], true),
        (&["--preset=tenants", "--endpoints", r#"[{"path":"/ws","dialect":"rooms"}]"#], true),
        (&[], false),
    ] {
        let server = Server::start_with(flags, &[SECRET_VARIABLE]);
        let _a = connect(&server, &path_of("/ws", "alice", "bank-a"));
        let _b = connect(&server, &path_of("/ws", "alice", "bank-b"));
        let user = "/v1/users/alice";
        let answers = [
            server.post("/v1/publish", r#"{"user":"alice","data":1}"#),
            server.post("/v1/publish", r#"{"user":"alice","room":"r","data":1}"#),
            server.post("/v1/broadcast", r#"{"userId":"alice","type":"x","data":1}"#),
            server.post("/v1/publish/batch", r#"[{"room":"r","data":1},{"user":"alice","data":1}]"#),
            server.get(user),
            request(server.addr(), "DELETE", user, &[], b""),
        ];
        for (index, answer) in answers.iter().enumerate() {
            assert_eq!(answer.status, if asks { 400 } else { 200 }, "{index}: {}", answer.body);
            assert_eq!(answer.body.contains(words), asks, "{index}: {}", answer.body);
        }
        assert_eq!(answers[3].body.contains("[1]: "), asks, "{}", answers[3].body);
    }
    let server = Server::start_with(&["--tenants=bank-a,bank-b"], &[SECRET_VARIABLE]);
    let _a = connect(&server, &path_of("/ws", "alice", "bank-a"));
    let _b = connect(&server, &path_of("/ws", "alice", "bank-b"));
    let body = r#"{"user":"alice","tenant":"bank-a","data":1}"#;
    assert_eq!(server.post("/v1/publish", body).json()["delivered"], 1);
    let of_tenant = server.get("/v1/users/alice?tenant=bank-b");
    assert_eq!(of_tenant.json()["connections"].as_array().map(Vec::len), Some(1), "{}", of_tenant.body);
    let closed = request(server.addr(), "DELETE", "/v1/users/alice?tenant=bank-b", &[], b"");
    assert_eq!(closed.json()["closed"], 1, "{}", closed.body);
}

#[test]
fn tenants_let_in_nobody_without_a_user_and_a_tenant() {
    let open = r#"[{"path":"/ws","dialect":"tenants"},{"path":"/ws/admin","dialect":"tenants","auth":"required","role":"admin","admin":true}]"#;
    for flags in
        [&["--preset=tenants"][..], &["--endpoints", open], &["--preset=tenants", "--endpoints", open]]
    {
        let server = Server::start_with(flags, &[SECRET_VARIABLE]);
        for claims in [
            json!({"exp": 4_000_000_000_u64}),
            json!({"userId": "u"}),
            json!({"tenantId": "t"}),
            json!({"roles": ["admin"]}),
            json!({"userId": "u", "roles": ["admin"]}),
        ] {
            for path in ["/ws", "/ws/admin"] {
                let answer = refused(&server, &path_with(path, &claims));
                let told = (answer.status, answer.body.as_str());
                assert_eq!(told, (401, "Invalid authentication token\n"), "{flags:?} {path} {claims}");
            }
        }
        assert_eq!(server.metric_sum("fanwire_token_failures_total"), 10.0);
        Client::ungreeted(server.addr(), &path_of("/ws", "u", "t"), &[]).expect_text();
        let admin = json!({"userId": "u", "tenantId": "t", "roles": ["admin"]});
        Client::ungreeted(server.addr(), &path_with("/ws/admin", &admin), &[]).expect_text();
        assert_eq!(refused(&server, &path_of("/ws/admin", "u", "t")).status, 403);
    }
    let server = Server::start_with(&["--preset=tenants", "--tenants=t"], &[SECRET_VARIABLE]);
    assert_eq!(refused(&server, &path_with("/ws", &json!({"userId": "u"}))).status, 401);
    let inactive = refused(&server, &path_of("/ws", "u", "other"));
    assert_eq!((inactive.status, inactive.body.as_str()), (403, "Invalid or inactive tenant\n"));
    // Elsewhere a token may name a user alone, or nobody.
    let server = Server::start_with(&[], &[SECRET_VARIABLE]);
    let _nobody = connect(&server, &path_with("/ws", &json!({"roles": ["reader"]})));
}

#[test]
fn nor_does_one_come_in_there_by_a_later_token_or_the_backend() {
    let open =
        r#"[{"path":"/ws","dialect":"tenants"},{"path":"/must","dialect":"tenants","auth":"required"}]"#;
    let server = Server::start_with(&["--endpoints", open], &[SECRET_VARIABLE]);
    let mut client = Client::ungreeted(server.addr(), "/ws", &[]);
    client.expect_text();
    for (token, answer) in [
        (
            sign(&json!({"userId": "u"})),
            r#"{"type":"error","data":{"error":"Invalid authentication token"}}"#,
        ),
        (
            sign(&json!({"tenantId": "t"})),
            r#"{"type":"error","data":{"error":"Invalid authentication token"}}"#,
        ),
        (token_of("u", "t"), r#"{"type":"authenticated","data":{"userId":"u"}}"#),
    ] {
        client.send_text(&json!({"type": "auth", "data": {"token": token}}).to_string());
        client.expect(answer);
    }
    let backend = Backend::start(|heard| {
        let named = heard.json()["query"].as_str().unwrap_or_default().contains("whole");
        let tenant = if named { r#","tenantId":"t""# } else { "" };
        Act::Say(format!(r#"{{"allow":true,"userId":"u"{tenant}}}"#))
    });
    let url = format!("--hook-url={}", backend.url());
    let secret = ("FANWIRE_HOOK_SECRET", "the-secret-of-the-tests");
    let flags = [url.as_str(), "--hook-events=connect", "--endpoints", open];
    let server = Server::start_with(&flags, &[SECRET_VARIABLE, secret]);
    for path in ["/must", "/ws"] {
        assert_eq!(refused(&server, path).status, 401, "{path}");
        Client::ungreeted(server.addr(), &format!("{path}?whole=1"), &[]).expect_text();
    }
}

#[test]
fn settings_that_mix_tenants_are_told() {
    let secret = "--jwt-secret=a secret of tests that is long enough";
    let check = |flags: &[&str]| Server::run_bare(&[&["check-config", secret], flags].concat(), &[]);
    let (status, told) = check(&["--preset=topics", "--tenants=a"]);
    assert_eq!(status.code(), Some(2), "{told}");
    assert!(told.contains("tenants: no claim of a token names a tenant"), "{told}");
    for (flags, warned) in [
        (
            &["--access-rules", r#"[{"room":"user:{user}:**"}]"#][..],
            Some("access_rules: the rule for user:{user}:**"),
        ),
        (&["--access-rules", r#"[{"room":"user:{user}","who":"without_tenant"}]"#], None),
        (&["--access-rules", r#"[{"room":"{tenant}:{user}"}]"#], None),
        (
            &["--endpoints", r#"[{"path":"/a","dialect":"rooms","rooms":["of:{user}"]}]"#],
            Some("endpoints: the room of:{user} of /a"),
        ),
        (&[], None),
        (&["--preset=topics"], None),
        (&["--preset=tenants"], None),
    ] {
        let (status, told) = check(flags);
        assert!(status.success(), "{flags:?}: {told}");
        assert_eq!(told.contains("tenant"), warned.is_some(), "{flags:?}: {told}");
        assert!(told.contains(warned.unwrap_or_default()), "{flags:?}: {told}");
    }
    let rules = r#"[{"room":"user:{user}:**"}]"#;
    let server = Server::start_with(&["--access-rules", rules], &[SECRET_VARIABLE]);
    eventually("it is in the log", || server.output().contains("the rule for user:{user}:**"));
}
