//! Who a connection is: tokens brought when connecting and later, refused, ended and renewed.

use crate::common::token::{self, SECRET, SECRET_VARIABLE, now_unix_s, sign};
use crate::common::{Client, Response, Server, eventually, request};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

/// Endpoints of each kind.
const ENDPOINTS: &str = r#"[
  {"path":"/ws","dialect":"topics","dialects":["rooms","channels","tenants"]},
  {"path":"/off","dialect":"topics","auth":"off"},
  {"path":"/must","dialect":"topics","auth":"required","rooms":["tenant:{tenant}:user:{user}:alerts","tenant:{tenant}"]},
  {"path":"/admin","dialect":"topics","auth":"required","role":"admin"},
  {"path":"/seen","dialect":"topics","auth":"required","auth_failure":"close","role":"admin"}
]"#;

fn token_of(user: &str) -> String {
    token::token_of(user, "a1")
}

fn server(flags: &[&str], environment: &[(&str, &str)]) -> Server {
    let endpoints = format!("--endpoints={ENDPOINTS}");
    let environment = [environment, &[SECRET_VARIABLE]].concat();
    Server::start_with(&[flags, &[endpoints.as_str()]].concat(), &environment)
}

/// Connects, and reads what the greeting tells.
fn connect(server: &Server, path: &str, headers: &[(&str, &str)]) -> (Client, Value) {
    let stream = TcpStream::connect(server.addr()).unwrap();
    let mut client = Client::upgrade(stream, "localhost", path, headers);
    let mut greeting: Value = serde_json::from_str(&client.expect_text()).unwrap();
    assert!(greeting["data"].get("userId").is_some(), "{greeting}");
    (client, greeting["data"].take())
}

/// Asks for an upgrade that is refused.
fn refused(server: &Server, path: &str, headers: &[(&str, &str)]) -> Response {
    let upgrade = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", crate::common::KEY),
    ];
    request(server.addr(), "GET", path, &[&upgrade, headers].concat(), b"")
}

fn answer(client: &mut Client, message: Value) -> Value {
    client.send_text(&message.to_string());
    serde_json::from_str(&client.expect_text()).unwrap()
}

#[test]
fn a_token_comes_by_query_header_or_cookie() {
    let server = server(&[], &[]);
    let token = token_of("u1");
    let (bearer, cookie) = (format!("Bearer {token}"), format!("a=b; token={token}"));
    for (path, headers) in [
        (format!("/must?token={token}"), vec![]),
        ("/must".to_owned(), vec![("Authorization", bearer.as_str())]),
        ("/ws?x=y".to_owned(), vec![("Cookie", cookie.as_str())]),
    ] {
        let (_, greeting) = connect(&server, &path, &headers);
        assert_eq!(greeting["userId"], "u1", "{path} {greeting}");
    }
    // Who brings none is nobody where that is allowed, and no token is looked at where nobody is asked.
    assert_eq!(connect(&server, "/ws", &[]).1["userId"], Value::Null);
    assert_eq!(connect(&server, "/off?token=garbage", &[]).1["userId"], Value::Null);
    assert_eq!(server.metric_sum("fanwire_token_failures_total"), 0.0);
}

#[test]
fn a_token_comes_by_subprotocol_and_is_never_chosen() {
    let server = server(&["--log-level=trace"], &[]);
    let token = token_of("u1");
    for offer in [format!("fanwire.topics, bearer.{token}"), format!("bearer.{token},fanwire.topics")] {
        let (client, greeting) = connect(&server, "/must", &[("Sec-WebSocket-Protocol", &offer)]);
        assert_eq!(greeting["userId"], "u1", "{greeting}");
        drop(client);
    }
    let answer = |offer: &str| {
        let answer = refused(&server, "/ws", &[("Sec-WebSocket-Protocol", offer)]);
        (answer.status, answer.body)
    };
    let bad = (401, "Invalid authentication token\n".to_owned());
    assert_eq!(answer("fanwire.topics, bearer.a.b.c"), bad);
    assert_eq!(answer(&format!("fanwire.topics, bearer.{token}, bearer.{token}")), bad, "two");
    let (status, body) = answer(&format!("bearer.{token}"));
    assert!(status == 400 && body.contains("fanwire.rooms") && !body.contains(&token), "{status} {body}");
    let signature = token.rsplit_once('.').unwrap().1;
    assert!(!server.output().contains(signature), "no token is logged");
}

#[test]
fn the_names_of_parameter_and_cookie_are_configured() {
    let server = server(&["--jwt-query-parameters=access_token,jwt", "--jwt-cookies=__Host-jwt"], &[]);
    let token = token_of("u1");
    for name in ["access_token", "jwt"] {
        assert_eq!(connect(&server, &format!("/must?{name}={token}"), &[]).1["userId"], "u1", "{name}");
    }
    let cookie = format!("token=abc123; __Host-jwt={token}");
    assert_eq!(connect(&server, "/must", &[("Cookie", &cookie)]).1["userId"], "u1");
    assert_eq!(connect(&server, &format!("/ws?token={token}"), &[]).1["userId"], Value::Null);
    assert_eq!(connect(&server, "/ws", &[("Cookie", "token=abc123")]).1["userId"], Value::Null);
}

#[test]
fn a_cookie_of_another_program_keeps_nobody_out() {
    let server = server(&[], &[]);
    let token = token_of("u1");
    let cookie = [("Cookie", "token=abc123")];
    assert_eq!(connect(&server, "/ws", &cookie).1["userId"], Value::Null);
    let both = format!("token=abc123; token={token}");
    assert_eq!(connect(&server, "/must", &[("Cookie", &both)]).1["userId"], "u1");
    assert_eq!(refused(&server, "/must", &cookie).status, 401);
    // What was put there for this server is a bad token, and so is one of ours that is over.
    let expired = sign(&json!({"userId": "u1", "exp": now_unix_s() - 60}));
    let over = format!("token={expired}");
    for (path, headers) in [
        ("/ws?token=abc123", ("X-Other", "x")),
        ("/ws", ("Authorization", "Bearer abc123")),
        ("/ws", ("Sec-WebSocket-Protocol", "fanwire.topics, bearer.abc123")),
        ("/ws", ("Cookie", over.as_str())),
    ] {
        assert_eq!(refused(&server, path, &[headers]).status, 401, "{path} {headers:?}");
    }
}

#[test]
fn an_endpoint_puts_its_clients_into_their_own_rooms() {
    let server = server(&[], &[]);
    let (mut client, _) = connect(&server, &format!("/must?token={}", token_of("u1")), &[]);
    let (_other, _) = connect(&server, &format!("/must?token={}", token_of("u10")), &[]);
    let delivered = server.post("/v1/publish", r#"{"room":"tenant:a1:user:u1:alerts","data":{"n":1}}"#);
    assert_eq!(delivered.json()["delivered"], 1, "{}", delivered.body);
    let got: Value = serde_json::from_str(&client.expect_text()).unwrap();
    assert_eq!(got["channel"], "tenant:a1:user:u1:alerts");
    assert_eq!(server.post("/v1/publish", r#"{"room":"tenant:a1","data":1}"#).json()["delivered"], 2);
}

#[test]
fn who_may_not_come_in_is_told_little() {
    let server = server(&[], &[("FANWIRE_TENANTS", "a1,a2")]);
    let good = token_of("u1");
    let expired = sign(&json!({"userId": "u1", "tenantId": "a1", "exp": now_unix_s() - 60}));
    let early = sign(&json!({"userId": "u1", "tenantId": "a1", "nbf": now_unix_s() + 60}));
    let inactive = sign(&json!({"userId": "u1", "tenantId": "a12"}));
    let unsigned = format!("{}.", good.rsplit_once('.').unwrap().0);
    let huge = "x".repeat(9000);
    for (path, token, status, text, reason) in [
        ("/must", "", 401, "No authentication token provided", "missing"),
        ("/must", "garbage", 401, "Invalid authentication token", "parts"),
        ("/ws", "garbage", 401, "Invalid authentication token", "parts"),
        ("/must", &huge, 401, "Invalid authentication token", "too_long"),
        ("/must", &unsigned, 401, "Invalid authentication token", "signature"),
        ("/must", &early, 401, "Invalid authentication token", "not_yet_valid"),
        ("/must", &expired, 401, "Authentication token expired", "expired"),
        ("/must", &inactive, 403, "Invalid or inactive tenant", "tenant_inactive"),
        ("/admin", &good, 403, "Insufficient permissions", "role_missing"),
    ] {
        let count = || {
            (0..2)
                .filter_map(|shard| {
                    server.metric(&format!(
                        "fanwire_token_failures_total{{shard=\"{shard}\",reason=\"{reason}\"}}"
                    ))
                })
                .sum::<f64>()
        };
        let before = count();
        let response = refused(&server, &format!("{path}?token={token}"), &[]);
        assert_eq!((response.status, response.body.trim()), (status, text), "{path} {reason}");
        let challenge = response.header("www-authenticate");
        assert_eq!(challenge.is_some(), status == 401, "{reason}");
        assert_eq!(count() - before, 1.0, "{reason}");
    }
    let admin = sign(&json!({"userId": "u1", "tenantId": "a1", "roles": ["admin"]}));
    assert_eq!(connect(&server, &format!("/admin?token={admin}"), &[]).1["userId"], "u1");
    assert!(server.metric_sum("fanwire_handshake_failures_total") >= 9.0);
}

#[test]
fn an_endpoint_may_tell_by_closing() {
    let server = server(&[], &[]);
    for (query, code, text) in [
        ("", 4401, "No authentication token provided"),
        ("?token=garbage", 4401, "Invalid authentication token"),
        (&format!("?token={}", token_of("u1")), 4403, "Insufficient permissions"),
    ] {
        let stream = TcpStream::connect(server.addr()).unwrap();
        let mut client = Client::upgrade(stream, "localhost", &format!("/seen{query}"), &[]);
        // What it says at once is not heard.
        client.send_text(r#"{"type":"subscribe","channel":"secrets"}"#);
        assert_eq!(client.expect_close(code), text);
    }
    eventually("they are gone", || server.get("/health").body.contains("\"clients\":0"));
    assert_eq!(server.metric_sum("fanwire_members"), 0.0);
}

#[test]
fn a_connection_ends_with_its_token_after_a_warning() {
    let server = server(&["--jwt-leeway=0s", "--jwt-expiry-warning=1h"], &[]);
    let ends = now_unix_s() + 2;
    let short = sign(&json!({"userId": "u1", "exp": ends}));
    let (mut client, _) = connect(&server, &format!("/must?token={short}"), &[]);
    let warning: Value = serde_json::from_str(&client.expect_text()).unwrap();
    assert_eq!(warning["type"], "identity_ends", "{warning}");
    assert!(now_unix_s() <= ends, "warned before");
    let text = client.expect_close(4401);
    assert!(text.contains("expired"), "{text}");
    assert!(now_unix_s() >= ends, "and not before its end");
}

#[test]
fn a_token_is_renewed_in_place_by_the_same_person_alone() {
    let server = server(&["--jwt-leeway=0s", "--jwt-expiry-warning=0s", "--auths-per-s=0"], &[]);
    let ends = now_unix_s() + 2;
    let claims = |user: &str, roles: Value, exp: u64| {
        sign(&json!({"userId": user, "tenantId": "a1", "roles": roles, "exp": exp}))
    };
    let first = claims("u1", json!(["admin"]), ends);
    let (mut client, _) = connect(&server, &format!("/admin?token={first}"), &[]);
    for (wrong, text) in [
        (claims("u2", json!(["admin"]), ends + 600), "Authentication token of another user or tenant"),
        (claims("u1", json!([]), ends + 600), "Insufficient permissions"),
        (claims("u1", json!(["admin"]), ends - 600), "Authentication token expired"),
        (String::new(), "Invalid authentication token"),
        ("garbage".to_owned(), "Invalid authentication token"),
    ] {
        let answer = answer(&mut client, json!({"type": "auth", "token": wrong}));
        assert_eq!(answer["type"], "error", "{answer}");
        assert_eq!(answer["message"], text, "{answer}");
        assert!(wrong.is_empty() || !answer.to_string().contains(&wrong), "a token is echoed");
    }
    let renewed = claims("u1", json!(["admin", "editor"]), ends + 600);
    let said = answer(&mut client, json!({"type": "auth", "token": renewed}));
    assert_eq!((&said["type"], &said["data"]["userId"]), (&json!("authenticated"), &json!("u1")));
    // One that is not renewed ends, and the renewed one is still there.
    let (mut other, _) = connect(&server, &format!("/must?token={}", claims("u3", json!([]), ends + 1)), &[]);
    other.expect_close(4401);
    let pong = answer(&mut client, json!({"type": "ping"}));
    assert_eq!(pong["type"], "pong");
}

#[test]
fn a_client_is_not_warned_before_half_of_its_time_is_over() {
    // As long as the warning comes before the end, by default.
    let server = server(&["--jwt-leeway=0s"], &[]);
    let short = || sign(&json!({"userId": "u1", "exp": now_unix_s() + 60}));
    let (mut client, _) = connect(&server, &format!("/must?token={}", short()), &[]);
    for _ in 0..3 {
        assert_eq!(answer(&mut client, json!({"type": "ping"}))["type"], "pong");
        let renewed = answer(&mut client, json!({"type": "auth", "token": short()}));
        assert_eq!(renewed["type"], "authenticated", "{renewed}");
    }
    // One that is half over when it comes is warned of by its own half.
    let shorter = sign(&json!({"userId": "u1", "exp": now_unix_s() + 3}));
    answer(&mut client, json!({"type": "auth", "token": shorter}));
    let warning: Value = serde_json::from_str(&client.expect_text()).unwrap();
    assert_eq!(warning["type"], "identity_ends", "{warning}");
    let at = warning["data"]["expiresAt"].as_str().unwrap();
    assert!(at.ends_with("00Z"), "{warning}");
}

#[test]
fn a_node_whose_keys_never_came_is_not_ready() {
    let url = format!("--jwt-jwks-url=http://127.0.0.1:{}/jwks", crate::common::free_port());
    let server = Server::start(&[&url, &format!("--endpoints={ENDPOINTS}")]);
    let ready = server.get("/ready");
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json()["reason"], "the keys of tokens have not been fetched yet");
    eventually("it is logged", || server.output().contains("there are none from before"));
    // One that has another key, or asks nobody for a token, serves.
    assert_eq!(self::server(&[&url], &[]).get("/ready").status, 200);
    assert_eq!(Server::start(&[&url]).get("/ready").status, 200);
}

#[test]
fn keys_of_a_set_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let faulty = r#"{"kty":"RSA","kid":"worn","n":"AQAB","e":"AQAB"}"#;
    let foreign = r#"{"kty":"RSA","kid":"sealed","use":"enc","n":"AQAB","e":"AQAB"}"#;
    let good = r#"{"kty":"oct","k":"c2VjcmV0"}"#;
    std::fs::write(&path, format!(r#"{{"keys":[{faulty},{foreign},{good}]}}"#)).unwrap();
    let file = format!("--jwt-jwks-file={}", path.display());
    let server = server(&[&file], &[]);
    let told = || server.output().lines().find(|line| line.contains("is not used")).map(str::to_owned);
    eventually("it is logged", || told().is_some());
    assert!(
        told().is_some_and(|line| line.contains("worn") && line.contains("17 bits")),
        "{}",
        server.output()
    );
    assert!(!server.output().contains("sealed"), "a key for something else is nothing to tell of");
}

#[test]
fn an_anonymous_connection_says_later_who_it_is() {
    let server = server(&[], &[]);
    let (mut client, greeting) = connect(&server, "/ws", &[]);
    assert_eq!(greeting["userId"], Value::Null);
    let said = answer(&mut client, json!({"type": "auth", "token": token_of("u7")}));
    assert_eq!(said["data"]["userId"], "u7", "{said}");
    assert_eq!(answer(&mut client, json!({"type": "get_status"}))["data"]["userId"], "u7");
    // It is somebody now, and stays so.
    let said = answer(&mut client, json!({"type": "auth", "token": token_of("u8")}));
    assert_eq!(said["type"], "error", "{said}");
    // Where nobody is asked, nobody is heard.
    let (mut client, _) = connect(&server, "/off", &[]);
    let said = answer(&mut client, json!({"type": "auth", "token": token_of("u7")}));
    assert_eq!(said["type"], "error", "{said}");
    // In the other dialects.
    let token = token_of("u7");
    for (dialect, message, said) in [
        ("rooms", json!({"type": "auth", "token": token}), "authenticated"),
        ("channels", json!({"type": "AUTH", "token": token}), "AUTHENTICATED"),
        ("tenants", json!({"type": "auth", "data": {"token": token}}), "authenticated"),
    ] {
        let stream = TcpStream::connect(server.addr()).unwrap();
        let subprotocol = format!("fanwire.{dialect}");
        let headers = [("Sec-WebSocket-Protocol", subprotocol.as_str())];
        let mut client = Client::upgrade(stream, "localhost", "/ws", &headers);
        let mut first = answer(&mut client, message);
        if dialect != "channels" {
            // That was the greeting.
            first = serde_json::from_str(&client.expect_text()).unwrap();
        }
        assert_eq!(first["type"], said, "{dialect}: {first}");
        assert!(first.to_string().contains("\"u7\""), "{dialect}: {first}");
    }
}

#[test]
fn without_keys_nobody_is_asked_and_nobody_comes_in_where_that_is_required() {
    let endpoints = format!("--endpoints={ENDPOINTS}");
    let server = Server::start(&[&endpoints]);
    // As the document of the rooms module connects.
    let document = [("Authorization", "Bearer token")];
    assert_eq!(connect(&server, "/ws", &document).1["userId"], Value::Null);
    assert_eq!(refused(&server, "/must", &document).status, 401);
    assert_eq!(refused(&server, &format!("/must?token={}", token_of("u")), &[]).status, 401);
}

#[test]
fn no_token_and_no_key_reaches_the_log() {
    let server = server(&["--log-level=trace"], &[]);
    let good = token_of("u1");
    let forged = good.replace('.', ".x");
    let secrets: Vec<_> = good.split('.').chain(forged.split('.')).chain([SECRET]).collect();
    let (bearer, cookie) = (format!("Bearer {good}"), format!("token={good}"));
    let mut clients = vec![
        connect(&server, &format!("/must?token={good}"), &[]).0,
        connect(&server, "/must", &[("Authorization", &bearer)]).0,
        connect(&server, "/must", &[("Cookie", &cookie)]).0,
    ];
    for path in ["/must", "/seen", "/nowhere", "/health", "/v1/stats", "/must/%zz", "/echo"] {
        refused(&server, &format!("{path}?token={forged}"), &[]);
        refused(&server, path, &[("Authorization", &format!("Bearer {forged}")), ("Origin", "x")]);
        // No HTTP at all, and an upgrade that breaks off.
        let mut stream = TcpStream::connect(server.addr()).unwrap();
        stream.write_all(format!("GET {path}?token={good} HTTP/9.9\r\n{good}\r\n\r\n").as_bytes()).unwrap();
        let mut stream = TcpStream::connect(server.addr()).unwrap();
        stream.write_all(format!("GET {path}?token={good} HTTP/1.1\r\nAuth").as_bytes()).unwrap();
    }
    let client = &mut clients[0];
    for token in [&good, &forged] {
        answer(client, json!({"type": "auth", "token": token}));
        answer(client, json!({"type": "auth", "token": [token]}));
        answer(client, json!({"type": "unheard_of", "token": token}));
    }
    client.send_bytes(&[0x81, 0x01, b'a']);
    client.expect_close(1002);
    drop(clients);
    eventually("all are gone", || server.get("/health").body.contains("\"clients\":0"));
    server.signal("HUP");
    eventually("the configuration is read again", || server.output().contains("configuration read again"));
    let output = server.output();
    // The parts of a header and of one signature are not secret, but nothing of a token has a place in a log.
    for secret in secrets.iter().filter(|secret| secret.len() > 8) {
        assert!(!output.contains(*secret), "{secret} is in the log:\n{output}");
    }
    for said in ["token refused", "signature", "disconnected"] {
        assert!(output.contains(said), "the log says too little to mean anything: {said}\n{output}");
    }
}

#[test]
fn keys_are_read_again_by_a_hangup_and_wrong_ones_end_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let other = r#"{"keys":[{"kty":"oct","k":"c29tZXRoaW5nIGVsc2U"}]}"#;
    std::fs::write(&path, other).unwrap();
    let file = format!("--jwt-jwks-file={}", path.display());
    let endpoints = format!("--endpoints={ENDPOINTS}");
    let server = Server::start(&[&endpoints, &file]);
    let path_with_token = format!("/must?token={}", token_of("u1"));
    assert_eq!(refused(&server, &path_with_token, &[]).status, 401);
    use base64::Engine;
    let key = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(SECRET);
    std::fs::write(&path, json!({"keys": [{"kty": "oct", "k": key, "alg": "HS256"}]}).to_string()).unwrap();
    server.signal("HUP");
    eventually("the new key is in force", || server.output().contains("configuration read again"));
    assert_eq!(connect(&server, &path_with_token, &[]).1["userId"], "u1");
    // What is wrong changes nothing.
    std::fs::write(&path, "{}").unwrap();
    server.signal("HUP");
    eventually("it is told", || server.output().contains("no JSON Web Key Set"));
    assert_eq!(connect(&server, &path_with_token, &[]).1["userId"], "u1");
    let (status, said) = Server::run_bare(&["check-config", &file], &[]);
    assert!(!status.success() && said.contains("no JSON Web Key Set"), "{said}");
    let (status, said) = Server::run(&[&file], &[]);
    assert!(
        !status.success() && said.contains("jwt_jwks_file") && said.contains("no JSON Web Key Set"),
        "{said}"
    );
}

#[test]
fn keys_are_fetched_before_the_first_client_comes() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("--jwt-jwks-url=http://{}/jwks", listener.local_addr().unwrap());
    let made = crate::common::tests_path("tokens/jwks.json");
    let body = std::fs::read_to_string(made).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).unwrap();
            let length = body.len();
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
        }
    });
    let endpoints = format!("--endpoints={ENDPOINTS}");
    let server = Server::start(&[&endpoints, &url]);
    let made: Value = serde_json::from_str(
        &std::fs::read_to_string(crate::common::tests_path("tokens/tokens.json")).unwrap(),
    )
    .unwrap();
    let case =
        made["cases"].as_array().unwrap().iter().find(|case| case["name"] == "another ES256 key").unwrap();
    // A forged one is found out by the key that was fetched.
    refused(&server, &format!("/must?token={}", case["token"].as_str().unwrap()), &[]);
    let failures = server.get("/metrics").body;
    let of_signature = |line: &&str| line.contains("reason=\"signature\"") && line.ends_with(" 1");
    assert_eq!(failures.lines().filter(of_signature).count(), 1, "{failures}");
    assert_eq!(server.metric("fanwire_jwks_fetches_total"), Some(1.0));
}
