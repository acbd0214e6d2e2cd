//! The backend's say in each of the client protocols.

use crate::common::{Act, Backend, Client, Server, conversation};
use std::net::TcpStream;

/// A server with this backend, asked about `events`, that has all dialects.
fn server(backend: &Backend, events: &str) -> Server {
    let flags = [&format!("--hook-url={}", backend.url()), &format!("--hook-events={events}")];
    let flags = [flags[0].as_str(), flags[1].as_str(), "--preset=none"];
    Server::start_with(&flags, &[("FANWIRE_HOOK_SECRET", "the-secret-of-the-tests")])
}

fn no(reason: &str) -> Act {
    Act::Say(format!(r#"{{"allow":false,"reason":"{reason}"}}"#))
}

/// A client that speaks a dialect.
fn speaker(server: &Server, dialect: &str) -> Client {
    let protocol = format!("fanwire.{dialect}");
    let stream = TcpStream::connect(server.addr()).expect("it accepts");
    Client::upgrade(stream, "localhost", "/ws", &[("Sec-WebSocket-Protocol", &protocol)])
}

/// The next message with a word in it, after a greeting perhaps.
fn until(client: &mut Client, word: &str) -> String {
    let mut texts = std::iter::repeat_with(|| client.expect_text()).take(3);
    texts.find(|text| text.contains(word)).unwrap_or_else(|| panic!("no {word}"))
}

#[test]
fn every_dialect_has_the_backends_words_in_its_own_shape() {
    let backend = Backend::start(|heard| match heard.event().as_str() {
        "join" => no("not yours"),
        _ => Act::Say(r#"{"messages":[{"type":"JOB_TAKEN","data":{"id":7}}]}"#.to_owned()),
    });
    let server = server(&backend, "join,message");
    let dialects = [
        ("channels", r#"{"type":"JOIN_CHANNEL","channel":"jobs"}"#),
        ("topics", r#"{"type":"subscribe","channel":"jobs"}"#),
        ("tenants", r#"{"type":"join_channel","data":{"channel":"public:jobs"}}"#),
    ];
    for (name, join) in dialects {
        let mut client = speaker(&server, name);
        client.send_text(join);
        client.send_text(r#"{"type":"JOB_DESCRIPTION","data":{"n":1}}"#);
        assert!(until(&mut client, "not yours").to_lowercase().contains("error"), "{name}");
        assert!(until(&mut client, "JOB_TAKEN").contains(r#""id":7"#), "{name}");
    }
    let asked: Vec<_> =
        backend.heard_of("message").iter().map(|heard| heard.json()["dialect"].clone()).collect();
    assert_eq!(asked, ["channels", "topics", "tenants"]);
}

#[test]
fn the_topics_documents_cancel_report_goes_to_the_backend() {
    let backend = Backend::start(|_| {
        Act::Say(r#"{"messages":[{"type":"report_cancelled","data":{"reportId":"report-uuid"}}]}"#.to_owned())
    });
    let hook = format!("--hook-url={}", backend.url());
    let flags = [hook.as_str(), "--hook-events=message", "--preset=topics"];
    let server = Server::start_with(&flags, &[("FANWIRE_HOOK_SECRET", "the-secret-of-the-tests")]);
    let mut client = Client::ungreeted(server.addr(), "/api/v1/reports/progress/report-uuid", &[]);
    client.expect_json(|welcome| assert_eq!(welcome["type"], "welcome"));
    conversation(
        &mut client,
        r#"
        > {"type":"cancel_report","reportId":"report-uuid"}
        < {"type":"report_cancelled","data":{"reportId":"report-uuid"},"timestamp":"*iso"}
        < nothing
        "#,
    );
    let asked: Vec<_> = backend.heard_of("message").iter().map(|heard| heard.json()).collect();
    assert_eq!(asked.len(), 1);
    assert_eq!((&asked[0]["type"], &asked[0]["dialect"]), (&"cancel_report".into(), &"topics".into()));
    assert_eq!(asked[0]["rooms"], serde_json::json!(["reports:progress:report-uuid"]));
}

#[test]
fn who_publishes_without_being_a_member_is_asked_about_as_well() {
    let backend = Backend::start(|_| no("read only"));
    let server = server(&backend, "publish");
    let mut member = server.connect();
    member.subscribe("news");
    for (name, publish) in [
        ("topics", r#"{"type":"publish","channel":"news","data":1}"#),
        ("tenants", r#"{"type":"send_message","data":{"channel":"news","message":1}}"#),
    ] {
        let mut client = speaker(&server, name);
        client.send_text(publish);
        until(&mut client, "read only");
    }
    // Where members alone may publish, others are refused without a question.
    let mut client = speaker(&server, "rooms");
    client.send_text(r#"{"type":"publish","room":"news","data":1}"#);
    until(&mut client, "not subscribed to this room");
    let rooms: Vec<_> =
        backend.heard_of("publish").iter().map(|heard| heard.json()["room"].clone()).collect();
    assert_eq!(rooms, ["news", "news"]);
    // All that a member of the room has got is what the backend says itself.
    assert_eq!(server.post("/v1/publish", r#"{"room":"news","data":"from the backend"}"#).status, 200);
    member.expect_json(|message| assert_eq!(message["data"], "from the backend"));
}
