//! The hook's requests against a real backend that is slow, fails, lies and dies: what is sent, how it is signed, and
//! that every answer or silence ends in time in one of a few outcomes.

use crate::common::{Act, Backend, PATIENCE, find_program, left_out};
use fanwire::api::hook::{Decision, HookMessage, Question, Subject, Verdict, What};
use fanwire::config::{HookSettings, OnFailure};
use fanwire::io::Hook;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

const SECRET: &str = "a-secret-of-the-tests";

/// Settings for a backend, with times that suit tests.
fn settings(url: String) -> HookSettings {
    HookSettings {
        url,
        secrets: vec![SECRET.to_owned()],
        timeout: Duration::from_millis(500),
        breaker_failures: 0,
        ..HookSettings::default()
    }
}

fn start(backend: &Backend) -> Arc<Hook> {
    Hook::start(&settings(backend.url())).expect("it starts")
}

fn question(what: What) -> Question {
    Question { subject: Subject { dialect: "rooms", ..Subject::default() }, what }
}

fn join(room: &str) -> Question {
    question(What::Join { room: room.to_owned() })
}

fn notice() -> Question {
    question(What::Disconnect { reason: "idle" })
}

/// Asks, and gives what comes of it.
fn ask(hook: &Hook, question: Question) -> Receiver<Verdict> {
    let (sender, receiver) = channel();
    hook.ask(question, Box::new(move |_, verdict| drop(sender.send(verdict))));
    receiver
}

fn verdict(hook: &Hook, question: Question) -> Verdict {
    ask(hook, question).recv_timeout(PATIENCE).expect("an answer")
}

const YES: Verdict = Verdict::Decided(Decision::Allow { identity: None });

/// How often an event had an outcome.
fn counted(hook: &Hook, event: &str, outcome: &str) -> u64 {
    let found = hook.metrics().outcomes().find(|(e, o, _)| (*e, *o) == (event, outcome));
    found.expect("such a counter").2
}

/// HMAC-SHA256 by somebody else: Python's, or that of openssl.
fn independent_hmac(message: &str) -> Option<String> {
    let python =
        format!("import sys,hmac;print(hmac.new(b'{SECRET}',sys.stdin.buffer.read(),'sha256').hexdigest())");
    let (program, arguments) = if find_program("python3").is_some() {
        ("python3", vec!["-c", &python])
    } else if find_program("openssl").is_some() {
        ("openssl", vec!["dgst", "-sha256", "-r", "-hmac", SECRET])
    } else {
        return None;
    };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    child.stdin.take().expect("a pipe").write_all(message.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends").stdout;
    String::from_utf8(output).expect("text").split_whitespace().next().map(str::to_owned)
}

#[test]
fn a_question_is_signed_so_that_others_can_verify_it() {
    let backend = Backend::friendly();
    let hook = start(&backend);
    assert_eq!(verdict(&hook, join("räume \"1\"")), YES);
    let heard = &backend.heard()[0];
    assert!(heard.head.starts_with("POST /hook HTTP/1.1\r\n"), "{}", heard.head);
    assert_eq!(heard.header("host"), Some(backend.addr().to_string().as_str()));
    assert_eq!(heard.header("content-type"), Some("application/json"));
    assert_eq!(heard.header("fanwire-event"), Some("join"));
    assert_eq!(heard.header("fanwire-delivery"), heard.json()["id"].as_str());
    let body = heard.json();
    assert_eq!((&body["event"], &body["room"]), (&"join".into(), &"räume \"1\"".into()));
    assert!(!heard.head.contains(SECRET) && !heard.body.contains(SECRET));
    let signature = heard.header("fanwire-signature").expect("it is signed");
    let (time, hex) =
        signature.strip_prefix("t=").and_then(|rest| rest.split_once(",v1=")).expect("its form");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!((now - 60..=now).contains(&time.parse().expect("seconds")), "{signature}");
    match independent_hmac(&format!("{time}.{}", heard.body)) {
        Some(expected) => assert_eq!(hex, expected),
        None => left_out("the signature is verified by another program", "python3 or openssl"),
    }
}

#[test]
fn no_is_said_with_its_reason_and_yes_with_who_it_is() {
    let backend = Backend::start(|heard| match heard.event().as_str() {
        "join" => Act::Say(r#"{"allow":false,"reason":"members only"}"#.to_owned()),
        _ => Act::Say(r#"{"allow":true,"userId":"ann","roles":["admin"]}"#.to_owned()),
    });
    let hook = start(&backend);
    let no = Verdict::Decided(Decision::Refuse { reason: "members only".to_owned() });
    assert_eq!(verdict(&hook, join("a")), no);
    let connect = What::Connect { path: "/ws".to_owned(), query: None, headers: Vec::new() };
    let Verdict::Decided(Decision::Allow { identity: Some(identity) }) = verdict(&hook, question(connect))
    else {
        panic!("an identity");
    };
    assert_eq!(identity.user.as_deref(), Some("ann"));
    assert!(identity.has_role("admin"));
    assert_eq!((counted(&hook, "join", "refused"), counted(&hook, "connect", "ok")), (1, 1));
    assert_eq!(hook.metrics().items.load(Ordering::Relaxed), 0, "nothing waits any more");
    assert_eq!(hook.metrics().bytes.load(Ordering::Relaxed), 0);
}

/// Everything that a backend can do wrong, and the outcome that is counted.
fn wrong() -> Vec<(&'static str, Act, &'static str)> {
    let head = |more: &str| format!("HTTP/1.1 200 OK\r\n{more}\r\n").into_bytes();
    let large = [head("Content-Length: 10000000\r\n"), vec![b' '; 10_000_000]].concat();
    let endless =
        [head("Transfer-Encoding: chunked\r\n"), b"FFFFFF\r\n".to_vec(), vec![b'['; 1_000_000]].concat();
    let broken_off = [head("Content-Length: 14\r\n"), br#"{"allow":"#.to_vec()].concat();
    let many_fields = head(&"X: y\r\n".repeat(1000));
    let long_field = head(&format!("X: {}\r\n", "y".repeat(100_000)));
    let say = |text: &str| Act::Say(text.to_owned());
    vec![
        ("garbage", say("OK"), "garbage"),
        ("nothing", say(""), "garbage"),
        ("another type", say(r#"{"allow":"yes"}"#), "garbage"),
        ("no decision", say(r#"{"ok":true}"#), "garbage"),
        ("a user that is none", say(r#"{"allow":true,"userId":[1]}"#), "garbage"),
        ("deep", say(&format!("{{\"allow\":true,\"a\":{}", "[".repeat(60_000))), "garbage"),
        ("not UTF-8", Act::Raw([head("Content-Length: 3\r\n"), vec![0xff; 3]].concat()), "garbage"),
        ("10 MB", Act::Raw(large), "garbage"),
        ("a chunk of 16 MB", Act::Raw(endless), "garbage"),
        ("a redirect", Act::Status(302, r#"{"allow":true}"#.to_owned()), "status"),
        ("a permanent redirect", Act::Status(308, r#"{"allow":true}"#.to_owned()), "status"),
        ("not allowed to ask", Act::Status(403, r#"{"allow":true}"#.to_owned()), "status"),
        ("an error", Act::Status(500, r#"{"allow":true}"#.to_owned()), "status"),
        ("no HTTP", Act::Raw(b"SSH-2.0-x\r\n\r\n".to_vec()), "unreachable"),
        ("broken off", Act::Raw(broken_off), "unreachable"),
        ("a thousand fields", Act::Raw(many_fields), "unreachable"),
        ("a field of 100 KB", Act::Raw(long_field), "unreachable"),
        ("the end", Act::HangUp, "unreachable"),
        ("a drip", Act::Drip, "timeout"),
        ("silence", Act::Silence, "timeout"),
    ]
}

#[test]
fn whatever_a_backend_does_wrong_is_a_no_in_time() {
    for (name, act, outcome) in wrong() {
        let backend = Backend::start(move |_| act.clone());
        let hook = start(&backend);
        let began = Instant::now();
        assert_eq!(verdict(&hook, join("a")), Verdict::Failed, "{name}");
        assert!(began.elapsed() < Duration::from_secs(3), "{name} took {:?}", began.elapsed());
        assert_eq!(counted(&hook, "join", outcome), 1, "{name}");
        assert_eq!(
            backend.heard().len(),
            1,
            "{name}: a decision is asked for once, and no redirect followed"
        );
    }
}

#[test]
fn a_failure_is_a_yes_where_that_is_configured_and_a_no_stays_one() {
    let backend = Backend::start(|heard| match heard.json()["room"].as_str() {
        Some("refused") => Act::Say(r#"{"allow":false}"#.to_owned()),
        _ => Act::Status(500, String::new()),
    });
    let hook =
        Hook::start(&HookSettings { on_failure: OnFailure::Allow, ..settings(backend.url()) }).unwrap();
    assert_eq!(verdict(&hook, join("a")), YES);
    assert!(matches!(verdict(&hook, join("refused")), Verdict::Decided(Decision::Refuse { .. })));
    backend.die();
    assert_eq!(verdict(&hook, join("a")), YES);
    assert_eq!(counted(&hook, "join", "unreachable"), 1);
}

#[test]
fn no_more_is_asked_at_once_than_may_be_and_connections_are_kept() {
    const AT_ONCE: usize = 4;
    const ROUNDS: usize = 10;
    // Each request waits until as many are there as may be: fewer, or one after the other, would never end.
    let barrier = Barrier::new(AT_ONCE);
    let backend = Backend::start(move |_| {
        barrier.wait();
        Act::Say(r#"{"allow":true}"#.to_owned())
    });
    let settings = HookSettings { concurrency: AT_ONCE as u32, timeout: PATIENCE, ..settings(backend.url()) };
    let hook = Hook::start(&settings).unwrap();
    let answers: Vec<_> = (0..AT_ONCE * ROUNDS).map(|n| ask(&hook, join(&n.to_string()))).collect();
    for answer in answers {
        assert_eq!(answer.recv_timeout(PATIENCE).expect("an answer"), YES);
    }
    assert_eq!(backend.most_at_once(), AT_ONCE);
    let connections = backend.heard().iter().map(|heard| heard.connection).max().expect("requests") + 1;
    assert_eq!(connections, AT_ONCE, "of {} requests", AT_ONCE * ROUNDS);
}

#[test]
fn a_connection_that_was_closed_meanwhile_is_replaced() {
    let backend = Backend::start(|_| Act::SayAndLeave(r#"{"allow":true}"#.to_owned()));
    let hook = start(&backend);
    for n in 0..20 {
        assert_eq!(verdict(&hook, join(&n.to_string())), YES);
    }
    assert_eq!(counted(&hook, "join", "ok"), 20);
}

#[test]
fn what_waits_is_bounded_in_number_and_in_bytes() {
    let backend = Backend::start(|_| Act::Silence);
    let few = HookSettings { queue_max: 10, timeout: PATIENCE, ..settings(backend.url()) };
    let hook = Hook::start(&few).unwrap();
    let waiting: Vec<_> = (0..10).map(|n| ask(&hook, join(&n.to_string()))).collect();
    let full = ask(&hook, join("one more"));
    assert_eq!(full.try_recv(), Ok(Verdict::Failed), "at once");
    assert_eq!(counted(&hook, "join", "queue_full"), 1);
    assert_eq!(hook.metrics().items.load(Ordering::Relaxed), 10);
    assert!(waiting.iter().all(|answer| answer.try_recv().is_err()), "the others wait");

    let small = HookSettings { queue_bytes_max: 1_000_000, timeout: PATIENCE, ..settings(backend.url()) };
    let hook = Hook::start(&small).unwrap();
    let data = Some(format!("\"{}\"", "x".repeat(200_000)));
    let publish = || question(What::Publish { room: None, event: "m".to_owned(), data: data.clone() });
    // Each counts twice, as itself and as the request made of it.
    let answers: Vec<_> = (0..5).map(|_| ask(&hook, publish())).collect();
    let failed: Vec<_> = answers.iter().map(|answer| answer.try_recv().is_ok()).collect();
    assert_eq!(failed, [false, false, true, true, true]);
    assert!(hook.metrics().bytes.load(Ordering::Relaxed) <= 1_000_000);
}

#[test]
fn a_decision_is_due_from_when_it_was_asked_for() {
    let backend = Backend::start(|_| Act::Silence);
    let hook = Hook::start(&HookSettings { concurrency: 1, ..settings(backend.url()) }).unwrap();
    let began = Instant::now();
    let answers: Vec<_> = (0..5).map(|n| ask(&hook, join(&n.to_string()))).collect();
    for answer in answers {
        assert_eq!(answer.recv_timeout(PATIENCE), Ok(Verdict::Failed));
    }
    assert!(began.elapsed() < Duration::from_millis(1500), "all within one timeout: {:?}", began.elapsed());
    assert_eq!(counted(&hook, "join", "timeout"), 5);
}

#[test]
fn a_notice_is_sent_until_it_has_arrived() {
    let count = AtomicUsize::new(0);
    let backend = Backend::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Act::Status(503, String::new()),
        1 => Act::Status(500, String::new()),
        _ => Act::Status(204, String::new()),
    });
    let hook = start(&backend);
    assert_eq!(verdict(&hook, notice()), Verdict::Replied(Default::default()));
    let heard = backend.heard();
    assert_eq!(heard.len(), 3);
    assert!(heard.iter().all(|again| again.body == heard[0].body), "the same delivery: {heard:?}");
    assert_eq!(counted(&hook, "disconnect", "ok"), 1);
    assert_eq!(hook.metrics().retries().find(|(event, _)| *event == "disconnect"), Some(("disconnect", 2)));
}

#[test]
fn a_notice_that_is_not_wanted_is_not_sent_again_and_one_that_never_arrives_is_given_up() {
    let backend = Backend::start(|heard| match heard.event().as_str() {
        "disconnect" => Act::Status(404, String::new()),
        _ => Act::Status(500, String::new()),
    });
    let hook = Hook::start(&HookSettings { retries: 1, ..settings(backend.url()) }).unwrap();
    assert_eq!(verdict(&hook, notice()), Verdict::Failed);
    assert_eq!(counted(&hook, "disconnect", "refused"), 1);
    let message = || What::Message { event: "x".to_owned(), data: None, rooms: Vec::new() };
    assert_eq!(verdict(&hook, question(message())), Verdict::Failed);
    assert_eq!(counted(&hook, "message", "status"), 1);
    assert_eq!((backend.heard_of("disconnect").len(), backend.heard_of("message").len()), (1, 2));
}

#[test]
fn a_message_may_be_answered_with_messages() {
    let backend = Backend::start(|_| {
        Act::Say(r#"{"messages":[{"type":"report_cancelled","data":{"id": 7}}]}"#.to_owned())
    });
    let hook = start(&backend);
    let what = What::Message {
        event: "cancel_report".to_owned(),
        data: Some(r#"{"why": "late"}"#.to_owned()),
        rooms: vec!["reports:progress:7".to_owned()],
    };
    let Verdict::Replied(reply) = verdict(&hook, question(what)) else { panic!("a reply") };
    let data = Some(r#"{"id": 7}"#.to_owned());
    assert_eq!(reply.messages, [HookMessage { event: "report_cancelled".to_owned(), data }]);
    let body = backend.heard()[0].json();
    assert_eq!(body["data"], serde_json::json!({ "why": "late" }));
    assert_eq!(body["rooms"], serde_json::json!(["reports:progress:7"]));
}

#[test]
fn a_dead_backend_is_left_alone_until_a_probe_finds_it_alive() {
    let backend = Backend::friendly();
    let settings = HookSettings {
        breaker_failures: 3,
        breaker_pause: Duration::from_millis(300),
        ..settings(backend.url())
    };
    let hook = Hook::start(&settings).unwrap();
    assert_eq!(verdict(&hook, join("a")), YES);
    backend.die();
    for n in 0..3 {
        assert_eq!(verdict(&hook, join(&n.to_string())), Verdict::Failed);
    }
    assert_eq!(
        (hook.metrics().breaker.load(Ordering::Relaxed), counted(&hook, "join", "unreachable")),
        (2, 3)
    );
    let told = ask(&hook, notice());
    assert_eq!(verdict(&hook, join("open")), Verdict::Failed);
    assert_eq!(counted(&hook, "join", "breaker_open"), 1, "nobody was asked");
    let second = Backend::start_at(backend.addr(), |_| Act::Say(r#"{"allow":true}"#.to_owned()));
    assert_eq!(
        told.recv_timeout(PATIENCE),
        Ok(Verdict::Replied(Default::default())),
        "the notice has waited"
    );
    assert_eq!(verdict(&hook, join("closed")), YES);
    assert_eq!(second.heard().len(), 2);
    assert_eq!(hook.metrics().breaker_opened.load(Ordering::Relaxed), 1);
    assert_eq!(hook.metrics().breaker.load(Ordering::Relaxed), 0);
}

#[test]
fn the_end_waits_for_what_is_still_to_be_told_but_not_for_a_dead_backend() {
    let backend = Backend::friendly();
    let hook =
        Hook::start(&HookSettings { timeout: PATIENCE, concurrency: 2, ..settings(backend.url()) }).unwrap();
    let told: Vec<_> = (0..50).map(|_| ask(&hook, notice())).collect();
    hook.finish();
    assert!(told.iter().all(|told| told.try_recv() == Ok(Verdict::Replied(Default::default()))));
    assert_eq!(backend.heard().len(), 50);
    assert_eq!(verdict(&hook, join("late")), Verdict::Failed, "who asks after the end is answered too");

    let silent = Backend::start(|_| Act::Silence);
    let hook = start(&silent);
    let told = ask(&hook, notice());
    let began = Instant::now();
    hook.finish();
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(told.try_recv(), Ok(Verdict::Failed));
}
