//! Who a client is by the backend's word: where its token does not say, and where both do.

use crate::common::{Act, Backend, Client, Server, exchange};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};

const SECRET: &str = "a-secret-of-the-tests-that-is-long-enough";

/// A server that asks this backend who connects.
fn server(backend: &Backend, flags: &[&str]) -> Server {
    let url = format!("--hook-url={}", backend.url());
    let flags = [&[url.as_str(), "--hook-events=connect"], flags].concat();
    Server::start_with(&flags, &[("FANWIRE_HOOK_SECRET", "the-secret-of-the-tests")])
}

fn yes() -> Act {
    Act::Say(r#"{"allow":true}"#.to_owned())
}

/// The answer to a handshake that is not accepted.
fn upgrade(server: &Server, path: &str, headers: &[(&str, &str)]) -> crate::common::Response {
    exchange(server.addr(), &Client::handshake(&server.addr().to_string(), path, headers))
}

/// An endpoint that lets in only who is known, one that asks for a role, and one that tells by closing.
const GUARDED: &str = r#"--endpoints=[{"path":"/ws","dialect":"rooms","auth":"required","rooms":["user:{user}"]},
    {"path":"/staff","dialect":"rooms","auth":"required","role":"staff"},
    {"path":"/told","dialect":"rooms","auth":"required","auth_failure":"close"}]"#;

#[test]
fn the_backend_may_say_who_comes_without_a_token_where_one_is_required() {
    let backend = Backend::start(|heard| match heard.json()["headers"]["cookie"].as_str() {
        Some("sid=ann") => Act::Say(r#"{"allow":true,"userId":"ann"}"#.to_owned()),
        Some("sid=bob") => Act::Say(r#"{"allow":true,"userId":"bob","roles":["staff"]}"#.to_owned()),
        Some("sid=down") => Act::HangUp,
        _ => yes(),
    });
    let secret = format!("--jwt-secret={SECRET}");
    let keys: &[&str] = &[&secret];
    for flags in [&[][..], keys] {
        let fail_open = ["--hook-headers=cookie,origin", "--hook-on-failure=allow", GUARDED];
        let server = server(&backend, &[&fail_open, flags].concat());
        let _ann = Client::connect_with(server.addr(), "/ws", &[("Cookie", "sid=ann")]);
        let reached = server.post("/v1/publish", r#"{"user":"ann","data":1}"#);
        assert_eq!(reached.json()["delivered"], 1, "{}", reached.body);
        // Nobody known stays outside, whatever is allowed; and so does who is known without the role.
        for cookie in ["sid=nobody", "sid=down"] {
            let refused = upgrade(&server, "/ws", &[("Cookie", cookie)]);
            let told = (401, "No authentication token provided\n");
            assert_eq!((refused.status, refused.body.as_str()), told, "{cookie}");
        }
        let refused = upgrade(&server, "/staff", &[("Cookie", "sid=ann")]);
        assert_eq!((refused.status, refused.body.as_str()), (403, "Insufficient permissions\n"));
        let _bob = Client::connect_with(server.addr(), "/staff", &[("Cookie", "sid=bob")]);
        let _told = Client::connect_with(server.addr(), "/told", &[("Cookie", "sid=ann")]);
        let mut closed = Client::ungreeted(server.addr(), "/told", &[("Cookie", "sid=nobody")]);
        closed.expect_close(4401);
        assert_eq!(server.metric_sum("fanwire_token_failures_total"), 4.0);
    }
    // A token that can be checked and is bad is one, whatever the backend would say.
    let server = server(&backend, &[&["--hook-headers=cookie", GUARDED], keys].concat());
    let heard = backend.heard().len();
    assert_eq!(upgrade(&server, "/ws?token=a.b.c", &[("Cookie", "sid=ann")]).status, 401);
    assert_eq!(backend.heard().len(), heard);
}

#[test]
fn who_has_a_role_by_token_alone_has_it_no_more_when_the_backend_names_another() {
    let backend = Backend::start(|heard| match heard.json()["query"].as_str() {
        Some(query) if query.ends_with("as=guest") => {
            Act::Say(r#"{"allow":true,"userId":"guest"}"#.to_owned())
        }
        _ => yes(),
    });
    let endpoints = r#"--endpoints=[{"path":"/ws/admin","dialect":"rooms","auth":"required","role":"admin","admin":true}]"#;
    let server = server(&backend, &[endpoints, &format!("--jwt-secret={SECRET}")]);
    let expires = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 600;
    let claims = json!({ "userId": "root", "roles": ["admin"], "exp": expires });
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let token = jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap();
    let _root = Client::connect_with(server.addr(), &format!("/ws/admin?token={token}"), &[]);
    let refused = upgrade(&server, &format!("/ws/admin?token={token}&as=guest"), &[]);
    assert_eq!((refused.status, refused.body.as_str()), (403, "Insufficient permissions\n"));
}

#[test]
fn a_health_check_needs_nobodys_leave() {
    let backend = Backend::start(|_| Act::Status(500, String::new()));
    let server = server(&backend, &["--preset=none"]);
    let mut check = Client::ungreeted(server.addr(), "/ws/health", &[]);
    check.expect(r#"{"type":"health","status":"ok","timestamp":"*iso"}"#);
    check.expect_close(1000);
    assert!(backend.heard().is_empty());
}
