//! Callbacks of a program that holds the server inside: it decides who connects, joins and publishes, and is told who
//! leaves and goes.

use crate::common::{
    Act, Backend, Client, PATIENCE, Response, conversation, conversations, eventually, exchange,
};
use crate::inside::{self, connect, metric, stop};
use fanwire::config::{Config, Secret};
use fanwire::model::{Identity, RoomName};
use fanwire::{Builder, Connect, HandlerError, Join, Publish, Server, blocking};
use serde_json::json;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;

fn config() -> Config {
    let mut config = inside::config();
    // As long as is allowed: what a test holds up must not end by itself on a busy machine.
    (config.hook.timeout, config.http.request_timeout) = (Duration::from_secs(25), Duration::from_secs(25));
    config
}

fn builder() -> Builder {
    Server::builder().config(config())
}

/// The answer to a handshake that is not accepted.
fn refused(server: &Server, path: &str) -> (u16, String) {
    let addr = server.local_addr().unwrap();
    let Response { status, body, .. } = exchange(addr, &Client::handshake(&addr.to_string(), path, &[]));
    (status, body)
}

fn named(user: &str) -> Identity {
    Identity { user: Some(user.into()), ..Identity::default() }
}

/// Who may come in, by the query.
async fn by_query(connect: Connect) -> Result<Option<Identity>, HandlerError> {
    match connect.query().unwrap_or_default() {
        "guest" => Err(HandlerError::told("guests are not\u{7} welcome")),
        "broken" => Err("x".parse::<u8>().expect_err("no number").into()),
        "panic" => panic!("on purpose"),
        "nameless" => Ok(Some(named(""))),
        "headers" => match (connect.header("X-Session"), connect.path(), connect.ip()) {
            (Some("7"), "/ws", Some(ip)) if ip.is_loopback() => Ok(Some(named("seven"))),
            other => Err(HandlerError::told(format!("{other:?}"))),
        },
        _ => Ok(None),
    }
}

#[test]
fn the_program_decides_who_connects_and_as_whom() {
    let server = builder().on_connect(by_query).start().unwrap();
    let addr = server.local_addr().unwrap();
    for (query, status, body) in [
        ("guest", 403, "guests are not welcome\n"),
        ("broken", 502, "the backend answered with an error\n"),
        ("panic", 502, "the backend answered with an error\n"),
        ("nameless", 502, "the backend answered with an error\n"),
    ] {
        assert_eq!(refused(&server, &format!("/ws?{query}")), (status, body.to_owned()), "{query}");
    }
    let mut client = Client::connect_with(addr, "/ws?headers", &[("x-session", "7")]);
    client.subscribe("room");
    assert_eq!(
        server.handle().publish_to(fanwire::model::Selector::user("seven"), "hello", &1).unwrap().wait(),
        Ok(1)
    );
    client.expect(r#"{"type":"hello","data":1,"timestamp":"*ms"}"#);
    // Where clients can be known they do not broadcast, unless that is configured.
    conversation(
        &mut client,
        r#"
        > {"type":"broadcast","data":1}
        < {"type":"error","error":"broadcast is disabled","timestamp":"*ms"}
        "#,
    );
    let _anonymous = connect(&server);
    let of = |outcome| {
        metric(&server, &format!(r#"fanwire_program_total{{event="connect",outcome="{outcome}"}}"#))
    };
    assert_eq!(["ok", "refused", "failed"].map(of), [Some(2.0), Some(1.0), Some(3.0)]);
    stop(server);
}

async fn may_join(join: Join) -> Result<(), HandlerError> {
    match join.room() {
        "staff" => Err(HandlerError::told("staff only")),
        "broken" => Err("x".parse::<u8>().expect_err("no number").into()),
        "panic" => panic!("on purpose"),
        _ => Ok(()),
    }
}

async fn may_publish(publish: Publish) -> Result<(), HandlerError> {
    let words: Vec<String> = publish.json()?;
    match words.iter().find(|word| word.starts_with("bad")) {
        Some(word) => {
            Err(HandlerError::told(format!("{word} in {:?} as {}", publish.room(), publish.event())))
        }
        None => Ok(()),
    }
}

#[test]
fn the_program_decides_who_joins_and_what_is_published() {
    let server = builder().on_join(may_join).on_publish(may_publish).start().unwrap();
    let [mut a, mut b] = [connect(&server), connect(&server)];
    conversations(
        &mut [("a", &mut a), ("b", &mut b)],
        r#"
        a> {"type":"subscribe","room":"staff","id":1}
        a< {"type":"error","error":"staff only","id":1,"timestamp":"*ms"}
        a> {"type":"subscribe","room":"broken"}
        a< {"type":"error","error":"the backend answered with an error","timestamp":"*ms"}
        a> {"type":"subscribe","room":"panic"}
        a< {"type":"error","error":"the backend answered with an error","timestamp":"*ms"}
        a> {"type":"subscribe","room":"chat"}
        a< {"type":"subscribed","room":"chat","data":{"room":"chat","client_count":1},"timestamp":"*ms"}
        b> {"type":"subscribe","room":"chat"}
        b< {"type":"subscribed","room":"chat","data":{"room":"chat","client_count":2},"timestamp":"*ms"}
        a> {"type":"publish","room":"chat","data":["good"]}
        a< {"type":"message","room":"chat","data":["good"],"client_id":"*uuid","timestamp":"*ms"}
        b< {"type":"message","room":"chat","data":["good"],"client_id":"*uuid","timestamp":"*ms"}
        a> {"type":"publish","room":"chat","data":["good","badness"]}
        a< {"type":"error","error":"badness in Some(\"chat\") as message","timestamp":"*ms"}
        a> {"type":"publish","room":"chat","data":7}
        a< {"type":"error","error":"data is invalid: invalid type: integer `7`, expected a sequence at line 1 column 1","timestamp":"*ms"}
        a> {"type":"broadcast","data":["bad"]}
        a< {"type":"error","error":"bad in None as message","timestamp":"*ms"}
        a> {"type":"publish","room":"elsewhere","data":["good"]}
        a< {"type":"error","error":"not subscribed to this room","timestamp":"*ms"}
        b< nothing
        "#,
    );
    stop(server);
}

#[test]
fn a_refusal_has_the_programs_words_in_every_dialect() {
    let server = builder().on_join(may_join).start().unwrap();
    for (dialect, greets, join, error) in [
        (
            "rooms",
            true,
            r#"{"type":"subscribe","room":"staff"}"#,
            r#"{"type":"error","error":"staff only","timestamp":"*ms"}"#,
        ),
        (
            "channels",
            false,
            r#"{"type":"JOIN_CHANNEL","channel":"staff"}"#,
            concat!(
                r#"{"type":"ERROR","channel":"error","data":{"message":"staff only","#,
                r#""originalMessage":{"type":"JOIN_CHANNEL","channel":"staff"}},"timestamp":"*iso"}"#
            ),
        ),
        (
            "topics",
            true,
            r#"{"type":"subscribe","channel":"staff"}"#,
            r#"{"type":"error","message":"staff only","timestamp":"*iso"}"#,
        ),
        (
            "tenants",
            true,
            r#"{"type":"join_channel","data":{"channel":"staff"}}"#,
            r#"{"type":"error","data":{"error":"staff only"}}"#,
        ),
    ] {
        let mut client = Client::speaking(server.local_addr().unwrap(), dialect);
        if greets {
            client.expect_text();
        }
        client.send_text(join);
        client.expect(error);
    }
    stop(server);
}

/// What the program is told, in its order.
fn listening() -> (Builder, Receiver<String>) {
    let (told, heard) = channel();
    let ended = told.clone();
    let builder = builder()
        .on_leave(move |leave| {
            let told = told.clone();
            async move {
                told.send(format!("{} left {}", leave.client(), leave.room())).ok();
            }
        })
        .on_disconnect(move |gone| {
            let ended = ended.clone();
            async move {
                ended.send(format!("{} went: {}", gone.client(), gone.reason()))?;
                Ok(())
            }
        });
    (builder, heard)
}

#[test]
fn the_program_is_told_who_leaves_and_who_goes() {
    let (builder, heard) = listening();
    let server = builder.start().unwrap();
    let (handle, mut client) = (server.handle(), connect(&server));
    let id = client.id.clone();
    let next = || heard.recv_timeout(PATIENCE).unwrap();
    for room in ["own", "put-out", "removed", "last"] {
        client.subscribe(room);
    }
    conversation(
        &mut client,
        r#"
        > {"type":"unsubscribe","room":"own"}
        < {"type":"unsubscribed","room":"own","data":{"room":"own"},"timestamp":"*ms"}
        > {"type":"unsubscribe","room":"never"}
        < {"type":"unsubscribed","room":"never","data":{"room":"never"},"timestamp":"*ms"}
        "#,
    );
    assert_eq!(next(), format!("{id} left own"));
    let of_client = fanwire::model::ConnectionId::parse(&id).unwrap();
    assert_eq!(handle.leave(of_client, &RoomName::new("put-out").unwrap()).wait(), Ok(Some(true)));
    assert_eq!(next(), format!("{id} left put-out"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(handle.remove_room(&RoomName::new("removed").unwrap())).unwrap();
    assert_eq!(next(), format!("{id} left removed"));
    drop(client);
    let mut last = [next(), next()];
    last.sort();
    assert_eq!(last, [format!("{id} left last"), format!("{id} went: transport_lost")]);
    // The end waits for what is still to be told.
    let client = connect(&server);
    drop(handle);
    stop(server);
    assert_eq!(heard.iter().collect::<Vec<_>>(), [format!("{} went: shutting_down", client.id)]);
}

#[test]
fn while_a_decision_is_awaited_its_connection_waits_and_no_other_does() {
    let gate = Arc::new(Semaphore::new(0));
    let of_callback = gate.clone();
    let server = builder()
        .on_join(move |join| {
            let gate = of_callback.clone();
            async move {
                if join.room().starts_with("slow") {
                    gate.acquire().await?.forget();
                }
                Ok(())
            }
        })
        .start()
        .unwrap();
    let [mut slow, mut gone, mut other] = [connect(&server), connect(&server), connect(&server)];
    slow.send_text(r#"{"type":"subscribe","room":"slow"}"#);
    slow.send_text(r#"{"type":"ping"}"#);
    gone.send_text(r#"{"type":"subscribe","room":"slow for another"}"#);
    let waiting = || metric(&server, "fanwire_program_items");
    eventually("both wait", || waiting() == Some(2.0));
    conversation(
        &mut other,
        r#"
        > {"type":"subscribe","room":"quick"}
        < {"type":"subscribed","room":"quick","data":{"room":"quick","client_count":1},"timestamp":"*ms"}
        "#,
    );
    // That a connection ends meanwhile is seen afterwards.
    drop(gone);
    gate.add_permits(2);
    conversation(
        &mut slow,
        r#"
        < {"type":"subscribed","room":"slow","data":{"room":"slow","client_count":1},"timestamp":"*ms"}
        < {"type":"pong","timestamp":"*ms"}
        "#,
    );
    eventually("none waits", || waiting() == Some(0.0));
    eventually("one has gone", || server.handle().active_connections() == 2);
    assert!(server.handle().room("slow for another").is_none());
    stop(server);
}

#[test]
fn a_callback_that_blocks_or_never_ends_costs_its_own_client_a_refusal() {
    let (release, held) = channel::<()>();
    let held = Arc::new(Mutex::new(held));
    let mut config = config();
    config.hook.timeout = Duration::from_millis(200);
    let server = Server::builder()
        .config(config)
        .on_join(move |join| {
            let held = held.clone();
            async move {
                match join.room() {
                    // What it must not do.
                    "block" => drop(held.lock().unwrap().recv()),
                    "never" => std::future::pending().await,
                    _ => {}
                }
                Ok(())
            }
        })
        .start()
        .unwrap();
    const FAILED: &str =
        r#"{"type":"error","error":"the backend cannot be asked: try again later","timestamp":"*ms"}"#;
    let mut never = connect(&server);
    never.send_text(r#"{"type":"subscribe","room":"never"}"#);
    never.expect(FAILED);
    eventually("it has ended", || metric(&server, "fanwire_program_items") == Some(0.0));
    // As many as there are threads.
    let mut blocked: Vec<_> = (0..4).map(|_| connect(&server)).collect();
    for client in &mut blocked {
        client.send_text(r#"{"type":"subscribe","room":"block"}"#);
        client.expect(FAILED);
    }
    // No thread is left for others, but they are told so, and nothing else of theirs waits.
    let mut other = connect(&server);
    other.send_text(r#"{"type":"subscribe","room":"quick"}"#);
    other.expect(FAILED);
    conversation(&mut other, "> {\"type\":\"ping\"}\n< {\"type\":\"pong\",\"timestamp\":\"*ms\"}");
    let timeouts = metric(&server, r#"fanwire_program_total{event="join",outcome="timeout"}"#);
    assert_eq!(timeouts, Some(6.0));
    drop(release);
    eventually("the threads are free", || {
        other.send_text(r#"{"type":"subscribe","room":"quick"}"#);
        other.expect_json(|told| told["type"] == "subscribed")
    });
    stop(server);
}

#[test]
fn decisions_that_have_no_place_are_refused_at_once() {
    const PLACES: usize = 100;
    let gate = Arc::new(Semaphore::new(0));
    let of_callback = gate.clone();
    let mut config = config();
    config.hook.queue_max = PLACES as u32;
    let server = Server::builder()
        .config(config)
        .on_join(move |_| {
            let gate = of_callback.clone();
            async move {
                gate.acquire().await?.forget();
                Ok(())
            }
        })
        .start()
        .unwrap();
    let mut clients: Vec<_> = (0..PLACES + 10).map(|_| connect(&server)).collect();
    for client in &mut clients {
        client.send_text(r#"{"type":"subscribe","room":"room"}"#);
    }
    let full = || metric(&server, r#"fanwire_program_total{event="join",outcome="queue_full"}"#);
    eventually("those that have no place are refused", || full() == Some(10.0));
    assert_eq!(metric(&server, "fanwire_program_items"), Some(PLACES as f64));
    gate.add_permits(PLACES);
    let refused = "the backend cannot be asked: try again later";
    let joins = |client: &mut Client| {
        client.expect_json(|told| {
            assert!(told["type"] == "subscribed" || told["error"] == refused, "{told}");
            told["type"] == "subscribed"
        })
    };
    assert_eq!(clients.iter_mut().map(joins).filter(|joined| *joined).count(), PLACES);
    stop(server);
}

#[test]
fn a_callback_that_has_to_block_has_threads_for_that() {
    let (release, held) = channel::<()>();
    let held = Mutex::new(held);
    let may_join = move |join: Join| match join.room() {
        "block" => {
            held.lock().unwrap().recv().ok();
            Err(HandlerError::told("not any more"))
        }
        "panic" => panic!("on purpose"),
        _ => Ok(()),
    };
    let server = builder().on_join(blocking(may_join)).start().unwrap();
    let mut blocked: Vec<_> = (0..8).map(|_| connect(&server)).collect();
    for client in &mut blocked {
        client.send_text(r#"{"type":"subscribe","room":"block"}"#);
    }
    eventually("all block", || metric(&server, "fanwire_program_items") == Some(8.0));
    let mut other = connect(&server);
    other.subscribe("quick");
    conversation(
        &mut other,
        r#"
        > {"type":"subscribe","room":"panic"}
        < {"type":"error","error":"the backend answered with an error","timestamp":"*ms"}
        "#,
    );
    drop(release);
    for client in &mut blocked {
        client.expect(r#"{"type":"error","error":"not any more","timestamp":"*ms"}"#);
    }
    stop(server);
}

#[test]
fn the_backend_is_asked_after_the_program_and_any_no_is_a_no() {
    let backend = Backend::start(|heard| {
        let heard = heard.json();
        match (heard["event"].as_str(), heard["query"].as_str(), heard["room"].as_str()) {
            (Some("connect"), Some("renamed"), _) => Act::Say(r#"{"allow":true,"userId":"bob"}"#.to_owned()),
            (Some("join"), _, Some("theirs")) => {
                Act::Say(r#"{"allow":false,"reason":"the backend says no"}"#.to_owned())
            }
            _ => Act::Say(r#"{"allow":true}"#.to_owned()),
        }
    });
    let mut config = config();
    config.hook.url = backend.url();
    config.hook.secrets = vec![Secret::new("the-secret-of-the-tests")];
    config.hook.headers = vec!["x-shown".to_owned()];
    let (told, heard) = channel();
    let server = Server::builder()
        .config(config)
        .on_connect(async |connect: Connect| match connect.header("x-hidden") {
            Some(user) => Ok(Some(named(user))),
            None => Err(HandlerError::told("the program says no")),
        })
        .on_join(async |join: Join| match join.room() {
            "ours" => Err(HandlerError::told("the program says no")),
            _ => Ok(()),
        })
        .on_disconnect(move |gone| {
            let told = told.clone();
            async move {
                told.send(gone.identity().and_then(|identity| identity.user.clone())).ok();
            }
        })
        .start()
        .unwrap();
    let addr = server.local_addr().unwrap();
    assert_eq!(refused(&server, "/ws"), (403, "the program says no\n".to_owned()));
    assert!(backend.heard().is_empty(), "what is refused already is not asked about");
    let headers = [("X-Hidden", "ann"), ("X-Shown", "1")];
    let mut ann = Client::connect_with(addr, "/ws", &headers);
    let bob = Client::connect_with(addr, "/ws?renamed", &headers);
    conversation(
        &mut ann,
        r#"
        > {"type":"subscribe","room":"ours"}
        < {"type":"error","error":"the program says no","timestamp":"*ms"}
        > {"type":"subscribe","room":"theirs"}
        < {"type":"error","error":"the backend says no","timestamp":"*ms"}
        > {"type":"subscribe","room":"both"}
        < {"type":"subscribed","room":"both","data":{"room":"both","client_count":1},"timestamp":"*ms"}
        "#,
    );
    let asked: Vec<_> = backend.heard_of("connect").iter().map(|heard| heard.json()).collect();
    assert_eq!(asked.len(), 2);
    assert_eq!((&asked[0]["headers"], &asked[0]["userId"]), (&json!({"x-shown": "1"}), &json!("ann")));
    let rooms: Vec<_> = backend.heard_of("join").iter().map(|heard| heard.json()["room"].clone()).collect();
    assert_eq!(rooms, ["theirs", "both"]);
    drop(ann);
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap().as_deref(), Some("ann"));
    drop(bob);
    assert_eq!(
        heard.recv_timeout(PATIENCE).unwrap().as_deref(),
        Some("bob"),
        "the backend has the last word"
    );
    eventually("the backend is told of both", || backend.heard_of("disconnect").len() == 2);
    stop(server);
}

#[test]
fn a_backend_hears_who_leaves_if_it_asks_for_that() {
    for (events, hears) in [("join,disconnect,leave", true), ("", false)] {
        let backend = Backend::friendly();
        let (url, flag) = (format!("--hook-url={}", backend.url()), format!("--hook-events={events}"));
        let flags = if hears { vec![url.as_str(), &flag] } else { vec![url.as_str()] };
        let secret = [("FANWIRE_HOOK_SECRET", "the-secret-of-the-tests")];
        let server = crate::common::Server::start_with(&flags, &secret);
        let mut client = server.connect();
        client.subscribe("room");
        drop(client);
        let disconnect = backend.wait_for("disconnect").json();
        if hears {
            let leave = backend.wait_for("leave").json();
            assert_eq!(
                (&leave["room"], &leave["connectionId"]),
                (&json!("room"), &disconnect["connectionId"])
            );
        } else {
            assert!(backend.heard_of("leave").is_empty());
        }
    }
}
