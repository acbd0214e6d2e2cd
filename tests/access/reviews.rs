//! What a token was accepted for ends where the configuration does not accept it any more, and with the time it was given.

use crate::common::token::{SECRET, now_unix_s, sign};
use crate::common::{Client, Response, Server, eventually, request};
use serde_json::{Value, json};
use std::path::PathBuf;

/// A server whose configuration is a file that can be changed.
struct Changing {
    server: Server,
    file: PathBuf,
    _folder: tempfile::TempDir,
    reloads: usize,
}

impl Changing {
    fn start(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("fanwire.yaml");
        std::fs::write(&file, text).unwrap();
        let server = Server::start(&["--config", file.to_str().unwrap()]);
        Self { server, file, _folder: folder, reloads: 0 }
    }

    /// Changes the file and has it read again.
    fn change(&mut self, text: &str) {
        std::fs::write(&self.file, text).unwrap();
        self.server.signal("HUP");
        self.reloads += 1;
        let reloads = self.reloads;
        eventually("it is read again", || {
            self.server.output().matches("configuration read again").count() == reloads
        });
    }

    fn connect(&self, claims: &Value) -> Client {
        Client::connect_with(self.server.addr(), &format!("/ws?token={}", sign(claims)), &[])
    }

    fn refused(&self, claims: &Value) -> Response {
        let upgrade = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", crate::common::KEY),
        ];
        request(self.server.addr(), "GET", &format!("/ws?token={}", sign(claims)), &upgrade, b"")
    }
}

fn who(user: &str, tenant: &str) -> Value {
    json!({"userId": user, "tenantId": tenant, "iss": "me", "exp": now_unix_s() + 600})
}

/// Whether it goes on.
fn lives(client: &mut Client) {
    client.send_text(r#"{"type":"ping"}"#);
    client.expect(r#"{"type":"pong","timestamp":"*ms"}"#);
}

#[test]
fn a_tenant_that_is_not_active_any_more_is_closed() {
    let text = format!("jwt_secret: {SECRET}\ntenants: [bank-a, bank-b]\n");
    let mut node = Changing::start(&text);
    let (mut a, mut b) = (node.connect(&who("u", "bank-a")), node.connect(&who("u", "bank-b")));
    let mut nobody = node.server.connect();
    // The same again ends nothing.
    node.change(&text);
    [&mut a, &mut b, &mut nobody].into_iter().for_each(lives);
    node.change(&format!("jwt_secret: {SECRET}\ntenants: [bank-a]\n"));
    assert_eq!(b.expect_close(4403), "Invalid or inactive tenant");
    [&mut a, &mut nobody].into_iter().for_each(lives);
    let page = node.server.get("/metrics").body;
    let counted = |line: &&str| {
        line.starts_with("fanwire_token_failures_total")
            && line.contains("tenant_inactive")
            && line.ends_with(" 1")
    };
    assert!(page.lines().any(|line| counted(&line)), "it is not counted");
}

#[test]
fn a_key_that_is_gone_ends_what_it_has_signed() {
    let mut node = Changing::start(&format!("jwt_secret: {SECRET}\n"));
    let (mut a, mut nobody) = (node.connect(&who("u", "a")), node.server.connect());
    node.change("jwt_secret: another secret of tests that is long enough\n");
    assert_eq!(a.expect_close(4401), "Invalid authentication token");
    lives(&mut nobody);
    node.change(&format!("jwt_secret: {SECRET}\njwt_algorithms: HS256\n"));
    let mut a = node.connect(&who("u", "a"));
    node.change(&format!("jwt_secret: {SECRET}\njwt_algorithms: HS512\n"));
    assert_eq!(a.expect_close(4401), "Invalid authentication token");
}

#[test]
fn an_issuer_that_is_trusted_no_more_ends_what_it_has_issued() {
    let mut node = Changing::start(&format!("jwt_secret: {SECRET}\n"));
    let mut mine = node.connect(&who("u", "a"));
    let mut theirs = node.connect(&json!({"userId": "u", "iss": "them"}));
    let mut nameless = node.connect(&json!({"userId": "u"}));
    node.change(&format!("jwt_secret: {SECRET}\njwt_issuer: [me, you]\n"));
    for client in [&mut theirs, &mut nameless] {
        assert_eq!(client.expect_close(4401), "Invalid authentication token");
    }
    lives(&mut mine);
}

#[test]
fn a_token_without_an_end_may_be_refused() {
    let mut node = Changing::start(&format!("jwt_secret: {SECRET}\njwt_session_max: 1h\n"));
    let endless = json!({"userId": "u"});
    let (mut ends, mut not) = (node.connect(&who("u", "a")), node.connect(&endless));
    node.change(&format!("jwt_secret: {SECRET}\njwt_session_max: 1h\njwt_require_exp: true\n"));
    assert_eq!(not.expect_close(4401), "Invalid authentication token");
    lives(&mut ends);
    let answer = node.refused(&endless);
    assert_eq!((answer.status, answer.body.as_str()), (401, "Invalid authentication token\n"));
    ends.send_text(
        &json!({"type": "auth", "token": sign(&json!({"userId": "u", "tenantId": "a"}))}).to_string(),
    );
    ends.expect(r#"{"type":"error","error":"Invalid authentication token","timestamp":"*ms"}"#);
}

#[test]
fn a_session_ends_unless_a_new_token_is_brought() {
    let mut node = Changing::start(&format!("jwt_secret: {SECRET}\njwt_session_max: 4s\n"));
    let mut endless = node.connect(&json!({"userId": "u"}));
    let mut long = node.connect(&who("u", "a"));
    for client in [&mut endless, &mut long] {
        client.expect_json(|warning| assert_eq!(warning["type"], "identity_ends", "{warning}"));
        client.expect_close(4401);
    }
    // Those that are there when it is set end so long after that.
    node.change(&format!("jwt_secret: {SECRET}\n"));
    let (mut nobody, mut long) = (node.server.connect(), node.connect(&who("u", "a")));
    node.change(&format!("jwt_secret: {SECRET}\njwt_session_max: 4s\n"));
    long.expect_json(|warning| assert_eq!(warning["type"], "identity_ends", "{warning}"));
    long.expect_close(4401);
    lives(&mut nobody);
    // One that brings a new token goes on.
    node.change(&format!("jwt_secret: {SECRET}\njwt_session_max: 30s\n"));
    let mut renewed = node.connect(&who("u", "a"));
    node.change(&format!("jwt_secret: {SECRET}\njwt_session_max: 1h\n"));
    renewed.send_text(&json!({"type": "auth", "token": sign(&who("u", "a"))}).to_string());
    renewed.expect_json(|answer| assert_eq!(answer["type"], "authenticated", "{answer}"));
    let mut other = node.connect(&who("u", "a"));
    lives(&mut other);
    lives(&mut renewed);
}
