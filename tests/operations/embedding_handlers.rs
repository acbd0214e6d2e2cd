//! Handlers of a program that holds the server inside: what they return, where they run, how they come and go; and
//! batches.

use crate::common::{PATIENCE, conversation, eventually, request};
use crate::inside::{config, connect, metric, stop};
use fanwire::model::{ConnectionId, Selector};
use fanwire::{Batch, Builder, CustomRequest, HandleError, HandlerError, Server};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::sync::mpsc::channel;
use tokio::sync::Semaphore;

/// Requests of one connection that async handlers have at the same time.
const OF_ONE_MAX: usize = 16;

fn builder() -> Builder {
    Server::builder().config(config())
}

#[derive(Deserialize)]
struct Rename {
    name: String,
}

fn rename(request: CustomRequest) -> Result<(), HandlerError> {
    let Rename { name } = request.json()?;
    if name.is_empty() {
        return Err(HandlerError::told("the name is empty"));
    }
    let number: u8 = name.parse()?;
    request.reply("renamed", &number)?;
    Ok(())
}

const RENAMING: &str = r#"
    > {"type":"rename","data":{"name":"7"},"id":1}
    < {"type":"renamed","data":7,"id":1,"timestamp":"*ms"}
    > {"type":"rename","data":{"name":""}}
    < {"type":"error","error":"the name is empty","timestamp":"*ms"}
    > {"type":"rename","data":{"name":"seven"},"id":"a"}
    < {"type":"error","error":"internal error","id":"a","timestamp":"*ms"}
    > {"type":"rename","data":{"nam":1}}
    < {"type":"error","error":"data is invalid: missing field `name` at line 1 column 9","timestamp":"*ms"}
    > {"type":"rename"}
    < {"type":"error","error":"data is invalid: invalid type: null, expected struct Rename at line 1 column 4","timestamp":"*ms"}
    "#;

#[test]
fn an_error_of_a_handler_is_told_if_it_is_meant_for_the_client() {
    let server = builder().on("rename", rename).start().unwrap();
    conversation(&mut connect(&server), RENAMING);
    stop(server);
}

#[test]
fn an_async_handler_answers_in_the_same_words() {
    let server = builder().on_async("rename", async |request| rename(request)).start().unwrap();
    conversation(&mut connect(&server), RENAMING);
    assert_eq!(metric(&server, r#"fanwire_program_total{event="message",outcome="ok"}"#), Some(1.0));
    assert_eq!(metric(&server, r#"fanwire_program_total{event="message",outcome="failed"}"#), Some(4.0));
    stop(server);
}

#[test]
fn handlers_come_and_go_while_the_server_runs() {
    let server = builder().start().unwrap();
    let (handle, mut client) = (server.handle(), connect(&server));
    let unknown = r#"
        > {"type":"now"}
        < {"type":"error","error":"unknown message type","timestamp":"*ms"}
        "#;
    conversation(&mut client, unknown);
    handle.on("now", |request| Ok(request.reply("then", &1)?));
    conversation(&mut client, "> {\"type\":\"now\"}\n< {\"type\":\"then\",\"data\":1,\"timestamp\":\"*ms\"}");
    handle.on_async("now", |request| async move { Ok(request.reply("then", &2)?) }).unwrap();
    conversation(&mut client, "> {\"type\":\"now\"}\n< {\"type\":\"then\",\"data\":2,\"timestamp\":\"*ms\"}");
    assert!(handle.off("now") && !handle.off("now"));
    conversation(&mut client, unknown);
    stop(server);
}

#[test]
fn a_handler_has_the_server_in_its_hand() {
    let forward = |request: CustomRequest| {
        let (handle, from) = (request.handle(), request.client());
        handle.publish_to(Selector::room("news").except([from]), "forwarded", &request.event())?;
        // It can end itself.
        handle.off("forward");
        Ok(())
    };
    let server = builder().on("forward", forward).start().unwrap();
    let [mut member, mut sender] = [connect(&server), connect(&server)];
    member.subscribe("news");
    sender.subscribe("news");
    sender.send_text(r#"{"type":"forward"}"#);
    member.expect(r#"{"type":"forwarded","room":"news","data":"forward","timestamp":"*ms"}"#);
    conversation(
        &mut sender,
        r#"
        > {"type":"forward"}
        < {"type":"error","error":"unknown message type","timestamp":"*ms"}
        "#,
    );
    stop(server);
}

#[test]
fn what_a_handler_holds_is_dropped_with_the_server() {
    let canary = Arc::new(());
    let server = builder().start().unwrap();
    let (handle, held) = (server.handle(), canary.clone());
    // The server holds the handler, and the handler holds the server.
    server.handle().on("held", move |_| {
        let _ = (&handle, &held);
    });
    assert_eq!(Arc::strong_count(&canary), 2);
    stop(server);
    assert_eq!(Arc::strong_count(&canary), 1);
}

/// A handler that tells when it has begun and waits for a permit.
async fn wait_for(gate: Arc<Semaphore>, request: CustomRequest) -> Result<(), HandlerError> {
    gate.acquire().await?.forget();
    request.reply("done", &())?;
    Ok(())
}

#[test]
fn an_async_handler_that_panics_or_blocks_harms_nobody() {
    let (release, held) = channel::<()>();
    let held = Arc::new(std::sync::Mutex::new(held));
    let (entered, inside) = channel();
    let server = builder()
        .on_async("panic", async |request: CustomRequest| {
            assert_eq!(request.data(), "1", "on purpose");
            Ok(())
        })
        .on_async("block", move |_| {
            let (held, entered) = (held.clone(), entered.clone());
            async move {
                entered.send(()).unwrap();
                // What it must not do.
                held.lock().unwrap().recv().ok();
            }
        })
        .start()
        .unwrap();
    let mut client = connect(&server);
    conversation(
        &mut client,
        r#"
        > {"type":"panic","id":1}
        < {"type":"error","error":"internal error","id":1,"timestamp":"*ms"}
        "#,
    );
    for _ in 0..8 {
        client.send_text(r#"{"type":"block"}"#);
    }
    // As many as there are threads.
    for _ in 0..4 {
        inside.recv_timeout(PATIENCE).unwrap();
    }
    let mut other = connect(&server);
    other.subscribe("room");
    client.subscribe("room");
    conversation(&mut client, "> {\"type\":\"ping\"}\n< {\"type\":\"pong\",\"timestamp\":\"*ms\"}");
    assert_eq!(server.handle().publish("room", "message", &1).unwrap().wait(), Ok(2));
    other.expect(r#"{"type":"message","room":"room","data":1,"timestamp":"*ms"}"#);
    drop(release);
    stop(server);
}

#[test]
fn a_connection_has_a_bound_of_requests_under_way_and_one_that_is_removed_is_answered() {
    let gate = Arc::new(Semaphore::new(0));
    let of_handler = gate.clone();
    let server =
        builder().on_async("wait", move |request| wait_for(of_handler.clone(), request)).start().unwrap();
    let mut client = connect(&server);
    let limited = r#"
        > {"type":"wait","id":1}
        < {"type":"error","error":"rate limit exceeded","id":1,"timestamp":"*ms"}
        "#;
    for _ in 0..OF_ONE_MAX {
        client.send_text(r#"{"type":"wait"}"#);
    }
    conversation(&mut client, limited);
    assert!(server.handle().off("wait"));
    gate.add_permits(OF_ONE_MAX);
    for _ in 0..OF_ONE_MAX {
        client.expect(r#"{"type":"done","data":null,"timestamp":"*ms"}"#);
    }
    let again = gate.clone();
    server.handle().on_async("wait", move |request| wait_for(again.clone(), request)).unwrap();
    gate.add_permits(OF_ONE_MAX);
    for _ in 0..OF_ONE_MAX {
        client.send_text(r#"{"type":"wait"}"#);
        client.expect(r#"{"type":"done","data":null,"timestamp":"*ms"}"#);
    }
    stop(server);
}

#[test]
fn a_thousand_requests_wait_at_once_and_no_more_than_have_places() {
    const CLIENTS: usize = 70;
    let gate = Arc::new(Semaphore::new(0));
    let of_handler = gate.clone();
    let mut config = config();
    config.hook.queue_max = 2000;
    let server = Server::builder()
        .config(config)
        .on_async("wait", move |request| wait_for(of_handler.clone(), request))
        .start()
        .unwrap();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| connect(&server)).collect();
    for client in &mut clients {
        for _ in 0..OF_ONE_MAX {
            client.send_text(r#"{"type":"wait"}"#);
        }
    }
    let items = || metric(&server, "fanwire_program_items");
    let full = || metric(&server, r#"fanwire_program_total{event="message",outcome="queue_full"}"#);
    let more = (CLIENTS * OF_ONE_MAX - 1000) as f64;
    eventually("all have come", || (items(), full()) == (Some(1000.0), Some(more)));
    gate.add_permits(1000);
    let (mut done, mut refused) = (0, 0);
    for client in &mut clients {
        for _ in 0..OF_ONE_MAX {
            client.expect_json(|told| match told["type"].as_str() {
                Some("done") => done += 1,
                _ => {
                    assert_eq!(told["error"], "the backend cannot be asked: try again later");
                    refused += 1;
                }
            });
        }
    }
    assert_eq!((done, refused), (1000, CLIENTS * OF_ONE_MAX - 1000));
    eventually("all places are free", || items() == Some(0.0));
    stop(server);
}

#[test]
fn async_handlers_can_run_where_the_program_says() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("mine").build().unwrap();
    let named =
        |request: CustomRequest| async move { Ok(request.reply("thread", &std::thread::current().name())?) };
    let server = builder().runtime(runtime.handle().clone()).on_async("where", named).start().unwrap();
    let elsewhere = builder().on_async("where", named).start().unwrap();
    for (server, name) in [(server, "mine"), (elsewhere, "program")] {
        let mut client = connect(&server);
        client.send_text(r#"{"type":"where"}"#);
        client.expect(&format!(r#"{{"type":"thread","data":"{name}","timestamp":"*ms"}}"#));
        stop(server);
    }
}

#[test]
fn a_batch_is_published_whole_or_not_at_all() {
    let server = builder().start().unwrap();
    let (handle, mut member) = (server.handle(), connect(&server));
    member.subscribe("a");
    member.subscribe("b");
    let id = ConnectionId::parse(&member.id).unwrap();
    let batch = Batch::new()
        .add(Selector::room("a"), "one", &1)
        .and_then(|batch| batch.add_whole(Selector::room("a"), &json!({"type": "two", "data": 2})))
        .and_then(|batch| batch.add(Selector::connection(id), "three", &3))
        .and_then(|batch| batch.add(Selector::room("empty"), "four", &4))
        .unwrap();
    assert_eq!(handle.publish_batch(batch.clone()).unwrap().wait(), Ok(vec![1, 1, 1, 0]));
    let mut heard: Vec<_> =
        (0..3).map(|_| member.expect_json(|told| told["type"].as_str().unwrap().to_owned())).collect();
    assert!(heard.iter().position(|it| it == "one") < heard.iter().position(|it| it == "two"), "{heard:?}");
    heard.sort();
    assert_eq!(heard, ["one", "three", "two"]);
    let refused = |batch: Result<Batch, HandleError>, text: &str| {
        let error = batch.and_then(|batch| handle.publish_batch(batch).map(drop)).expect_err(text);
        assert!(error.to_string().contains(text), "{error}");
    };
    refused(batch.clone().add(Selector::room(""), "five", &5), "[4]: room");
    refused(batch.clone().add(Selector::room("a"), "", &5), "[4]: event must have 1 to 255 bytes");
    refused(batch.clone().add_whole(Selector::all(), &5), "object");
    refused(Ok(Batch::new()), "not 0");
    let many = (0..1001).try_fold(Batch::new(), |batch, n| batch.add(Selector::room("a"), "many", &n));
    refused(many, "not 1001");
    assert_eq!(handle.publish("b", "last", &()).unwrap().wait(), Ok(1));
    member.expect(r#"{"type":"last","room":"b","data":null,"timestamp":"*ms"}"#);
    stop(server);
}

#[test]
fn a_batch_with_a_key_is_published_once() {
    let server = builder().start().unwrap();
    let (handle, mut member) = (server.handle(), connect(&server));
    member.subscribe("a");
    let batch = |n: u32| Batch::new().add(Selector::room("a"), "paid", &n).unwrap();
    for _ in 0..3 {
        assert_eq!(handle.publish_once("order-7", batch(7)).unwrap().wait(), Ok(vec![1]));
    }
    assert_eq!(handle.publish_once("order-8", batch(8)).unwrap().wait(), Ok(vec![1]));
    for n in [7, 8] {
        member.expect(&format!(r#"{{"type":"paid","room":"a","data":{n},"timestamp":"*ms"}}"#));
    }
    assert!(matches!(handle.publish_once("order-7", batch(8)), Err(HandleError::OtherBatch)));
    for key in ["", "a b", &"k".repeat(256)] {
        assert!(matches!(handle.publish_once(key, batch(9)), Err(HandleError::Message(_))), "{key}");
    }
    // What was refused can be tried again, and keys that come over HTTP are others.
    assert!(handle.publish_once("again", Batch::new()).is_err());
    assert_eq!(handle.publish_once("again", batch(10)).unwrap().wait(), Ok(vec![1]));
    let body = br#"{"room":"a","event":"paid","data":11}"#;
    let over_http =
        request(server.local_addr().unwrap(), "POST", "/v1/publish", &[("Idempotency-Key", "again")], body);
    over_http.expect(200, r#"{"delivered":1}"#);
    for n in [10, 11] {
        member.expect(&format!(r#"{{"type":"paid","room":"a","data":{n},"timestamp":"*ms"}}"#));
    }
    stop(server);
}
