//! The preset `tenants` with its document's rules: who a client is, which channels are its own, and its own code.

use crate::common::token::{SECRET_VARIABLE, path_of, token_of};
use crate::common::{
    Client, Document, Server, at_port, conversations, eventually, in_the_browser, left_out, run_javascript,
};
use serde_json::Value;

/// With two active tenants, which have to be named.
fn start() -> Server {
    Server::start_with(&["--preset=tenants"], &[SECRET_VARIABLE, ("FANWIRE_TENANTS", "a1,a12")])
}

fn connect(server: &Server, user: &str, tenant: &str) -> Client {
    let path = path_of("/ws", user, tenant);
    let mut client = Client::ungreeted(server.addr(), &path, &[]);
    client.expect(r#"{"type":"connection","data":{"connectionId":"*uuid","timestamp":"*iso"}}"#);
    client
}

#[test]
fn a_client_is_in_its_tenants_channels_and_in_no_others() {
    let server = start();
    let (mut a, mut b, mut c) =
        (connect(&server, "u1", "a1"), connect(&server, "u2", "a1"), connect(&server, "u3", "a12"));
    conversations(
        &mut [("a", &mut a), ("b", &mut b), ("c", &mut c)],
        r#"
        a> {"type":"join_channel","data":{"channel":"tenant:a1:general"}}
        a< {"type":"channel_joined","data":{"channel":"tenant:a1:general"}}
        c> {"type":"join_channel","data":{"channel":"tenant:a1:general"}}
        c< {"type":"error","data":{"error":"Access denied to channel"}}
        c> {"type":"send_message","data":{"channel":"tenant:a1:general","message":1}}
        c< {"type":"error","data":{"error":"Permission denied"}}
        c> {"type":"join_channel","data":{"channel":"anything"}}
        c< {"type":"error","data":{"error":"Access denied to channel"}}
        b> {"type":"send_message","data":{"channel":"tenant:a1:general","message":{"text":"Hi"}}}
        a< {"type":"channel_message","data":{"channel":"tenant:a1:general","message":{"text":"Hi"},"sender":{"id":"u2","connectionId":"*uuid"},"timestamp":"*iso"}}
        b< nothing
        c> {"type":"join_channel","data":{"channel":"public:news"}}
        c< {"type":"channel_joined","data":{"channel":"public:news"}}
        a> {"type":"send_message","data":{"channel":"public:news","message":2}}
        c< {"type":"channel_message","data":{"channel":"public:news","message":2,"sender":{"id":"u1","connectionId":"*uuid"},"timestamp":"*iso"}}
        "#,
    );
}

#[test]
fn notifications_are_a_users_own() {
    let server = start();
    let (mut a, mut b) = (connect(&server, "u1", "a1"), connect(&server, "u2", "a1"));
    conversations(
        &mut [("a", &mut a), ("b", &mut b)],
        r#"
        a> {"type":"subscribe_notifications","data":{"types":["orders","all"]}}
        a< {"type":"notifications_subscribed","data":{"types":["orders","all"]}}
        b> {"type":"join_channel","data":{"channel":"notifications:a1:u1:orders"}}
        b< {"type":"error","data":{"error":"Access denied to channel"}}
        a> {"type":"get_status"}
        a< {"type":"status","data":{"connectionId":"*uuid","userId":"u1","channels":["notifications:a1:u1:orders","notifications:a1:u1:all"],"lastActivity":"*iso","connectedAt":"*iso"}}
        "#,
    );
    let body = r#"{"room":"notifications:a1:u1:orders","event":"notification","data":{"order":7}}"#;
    assert_eq!(server.post("/v1/publish", body).json()["delivered"], 1);
    a.expect(r#"{"type":"notification","data":{"order":7}}"#);
}

#[test]
fn notifications_are_joined_all_or_none() {
    let flags = ["--preset=tenants", "--rooms-per-connection-max=2"];
    let server = Server::start_with(&flags, &[SECRET_VARIABLE, ("FANWIRE_TENANTS", "a1")]);
    let mut a = connect(&server, "u1", "a1");
    conversations(
        &mut [("a", &mut a)],
        r#"
        a> {"type":"subscribe_notifications","data":{"types":["kept"]}}
        a< {"type":"notifications_subscribed","data":{"types":["kept"]}}
        a> {"type":"subscribe_notifications","data":{"types":["kept","orders","all"]}}
        a< {"type":"error","data":{"error":"*"}}
        a> {"type":"get_status"}
        a< {"type":"status","data":{"connectionId":"*uuid","userId":"u1","channels":["notifications:a1:u1:kept"],"lastActivity":"*iso","connectedAt":"*iso"}}
        a> {"type":"subscribe_notifications","data":{"types":["kept","orders"]}}
        a< {"type":"notifications_subscribed","data":{"types":["kept","orders"]}}
        "#,
    );
}

#[test]
fn what_the_server_says_to_try_works() {
    for preset in ["none", "rooms", "channels", "topics", "tenants"] {
        // The document of `topics` has no tenants.
        let tenants = if preset == "topics" { "" } else { "a1,a12" };
        let environment = [SECRET_VARIABLE, ("FANWIRE_TENANTS", tenants)];
        let server = Server::start_with(&[&format!("--preset={preset}")], &environment);
        eventually("it has said what to try", || server.output().contains("/v1/publish\n"));
        let output = server.output();
        let (_, hint) = output.split_once("wscat -c ws://").unwrap();
        let (url, hint) = hint.split_once("   and then   ").unwrap();
        let (join, hint) = hint.split_once('\n').unwrap();
        let (body, _) = hint.split_once("curl -d '").unwrap().1.split_once('\'').unwrap();
        let path = &url[url.find('/').unwrap()..];
        let path = path.replace("TOKEN", &token_of("u1", "a1"));
        let mut client = Client::ungreeted(server.addr(), &path, &[]);
        if preset != "channels" {
            client.expect_text();
        }
        client.send_text(join);
        client.expect_json(|answer: Value| {
            let kind = answer["type"].as_str().unwrap().to_lowercase();
            assert!(kind == "subscribed" || kind == "channel_joined", "{preset}: {answer}");
        });
        assert_eq!(server.post("/v1/publish", body).json()["delivered"], 1, "{preset}: {body}");
    }
}

/// The document's client with a token, in a page that shows what comes.
fn frontend(server: &Server) -> String {
    let page = format!(
        "const authToken = '{}', tenantId = 'a1';\n\
         const showNotification = (data) => console.log('notification', data);\n\
         const displayMessage = (channel, message) => console.log('message', channel, message);\n",
        token_of("u1", "a1")
    );
    let document = Document::read("tenants-aegisx-platform");
    let code = at_port(document.code("### Frontend Integration", 0), server);
    let more = "wsClient.on('channel_joined', () => wsClient.subscribeToNotifications());\n\
                wsClient.on('notifications_subscribed', (data) => console.log('subscribed', data));\n\
                wsClient.on('error', (data) => console.log('error', data));\n";
    page + &code + more
}

#[test]
fn the_documents_client_runs_in_a_browser() {
    let server = start();
    in_the_browser(
        "tenants_preset::the_documents_client_runs_in_a_browser",
        &frontend(&server),
        r#"subscribed {"types":["all"]}"#,
    );
}

#[test]
fn the_documents_client_runs() {
    let server = start();
    let folder = tempfile::tempdir().unwrap();
    let mut client = match run_javascript(&frontend(&server), folder.path()) {
        Ok(client) => client,
        Err(missing) => return left_out("tenants_preset::client", missing),
    };
    client.expect("Connected to WebSocket");
    client.expect("subscribed { types: [ 'all' ] }");
    let mut other = connect(&server, "u2", "a1");
    other.send_text(r#"{"type":"send_message","data":{"channel":"tenant:a1:general","message":"Hi"}}"#);
    client.expect("message tenant:a1:general Hi");
    let body = r#"{"room":"notifications:a1:u1:all","event":"notification","data":{"title":"News"}}"#;
    assert_eq!(server.post("/v1/publish", body).json()["delivered"], 1);
    client.expect("notification { title: 'News' }");
}
