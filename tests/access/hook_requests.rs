//! The hook's requests against a real backend that is slow, fails, lies and dies: what is sent, how it is signed, and
//! that every answer or silence ends in time in one of a few outcomes.

use crate::common::{Act, Backend, Heard, PATIENCE, eventually, find_program, left_out};
use fanwire::config::{HookSettings, OnFailure};
use fanwire::io::Hook;
use fanwire::model::hook::{Decision, HookMessage, Question, Subject, Verdict, What};
use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

const SECRET: &str = "a-secret-of-the-tests";

/// Settings for a backend, with times that suit tests.
fn settings(url: String) -> HookSettings {
    HookSettings {
        url,
        secrets: vec![SECRET.into()],
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
    question(What::Join { room: room.to_owned(), publishes: None })
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

/// State of a breaker (0: closed, 1: probing, 2: open), and how often it opened.
fn breaker(hook: &Hook, of: &str) -> (u64, u64) {
    let [decisions, notices] = hook.metrics().breakers();
    let (_, state, opened) = if of == "decisions" { decisions } else { notices };
    (state, opened)
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

/// The reason of a no that has none of its own.
const REFUSED: &str = "refused by the backend";

fn no(reason: &str) -> Verdict {
    Verdict::Decided(Decision::Refuse { reason: reason.to_owned() })
}

/// Everything that a backend can do instead of deciding, what is made of it, and the outcome that is counted.
fn wrong() -> Vec<(&'static str, Act, Verdict, &'static str)> {
    use Verdict::{Failed, Unusable};
    let head = |more: &str| format!("HTTP/1.1 200 OK\r\n{more}\r\n").into_bytes();
    let large = [head("Content-Length: 10000000\r\n"), vec![b' '; 10_000_000]].concat();
    let large_no =
        [b"HTTP/1.1 403 No\r\nContent-Length: 1000000\r\n\r\n".to_vec(), vec![b' '; 1_000_000]].concat();
    let endless =
        [head("Transfer-Encoding: chunked\r\n"), b"FFFFFF\r\n".to_vec(), vec![b'['; 1_000_000]].concat();
    let broken_off = [head("Content-Length: 14\r\n"), br#"{"allow":"#.to_vec()].concat();
    let many_fields = head(&"X: y\r\n".repeat(1000));
    let long_field = head(&format!("X: {}\r\n", "y".repeat(100_000)));
    let say = |text: &str| Act::Say(text.to_owned());
    let status = |status, text: &str| Act::Status(status, text.to_owned());
    let yes = r#"{"allow":true}"#;
    vec![
        ("garbage", say("OK"), Unusable, "garbage"),
        ("nothing", say(""), Unusable, "garbage"),
        ("another type", say(r#"{"allow":"yes"}"#), Unusable, "garbage"),
        ("no decision", say(r#"{"ok":true}"#), Unusable, "garbage"),
        ("a list", say("[true,null,null,null,null]"), Unusable, "garbage"),
        ("a user that is invalid", say(r#"{"allow":true,"userId":[1]}"#), Unusable, "garbage"),
        ("deep", say(&format!("{{\"allow\":true,\"a\":{}", "[".repeat(60_000))), Unusable, "garbage"),
        ("not UTF-8", Act::Raw([head("Content-Length: 3\r\n"), vec![0xff; 3]].concat()), Unusable, "garbage"),
        ("10 MB", Act::Raw(large), Unusable, "garbage"),
        ("a chunk of 16 MB", Act::Raw(endless), Unusable, "garbage"),
        ("a redirect", status(302, yes), Unusable, "status"),
        ("a permanent redirect", status(308, yes), Unusable, "status"),
        ("a bad request", status(400, yes), Unusable, "status"),
        ("too large a request", status(413, ""), Unusable, "status"),
        ("an error", status(500, yes), Unusable, "status"),
        ("not logged in", status(401, r#"{"reason":"log in"}"#), no("log in"), "refused"),
        ("forbidden", status(403, yes), no(REFUSED), "refused"),
        ("forbidden in HTML", status(403, "<html>Forbidden</html>"), no(REFUSED), "refused"),
        ("forbidden in 1 MB", Act::Raw(large_no), no(REFUSED), "refused"),
        ("not found", status(404, ""), no(REFUSED), "refused"),
        ("too many requests", status(429, yes), Failed, "status"),
        ("a gateway without a backend", status(502, yes), Failed, "status"),
        ("a balancer without a backend", status(503, yes), Failed, "status"),
        ("a gateway with a slow backend", status(504, yes), Failed, "status"),
        ("no HTTP", Act::Raw(b"SSH-2.0-x\r\n\r\n".to_vec()), Failed, "unreachable"),
        ("broken off", Act::Raw(broken_off), Failed, "unreachable"),
        ("a thousand fields", Act::Raw(many_fields), Failed, "unreachable"),
        ("a field of 100 KB", Act::Raw(long_field), Failed, "unreachable"),
        ("the end", Act::HangUp, Failed, "unreachable"),
        ("a reset", Act::Reset, Failed, "unreachable"),
        ("a drip", Act::Drip, Failed, "timeout"),
        ("silence", Act::Silence, Failed, "timeout"),
    ]
}

#[test]
fn whatever_a_backend_does_instead_of_deciding_is_a_no() {
    for (name, act, expected, outcome) in wrong() {
        let backend = Backend::start(move |_| act.clone());
        let hook = start(&backend);
        assert_eq!(verdict(&hook, join("a")), expected, "{name}");
        assert_eq!(counted(&hook, "join", outcome), 1, "{name}");
        assert_eq!(
            backend.heard().len(),
            1,
            "{name}: a decision is asked for once, and no redirect followed"
        );
    }
}

#[test]
fn silence_alone_is_a_yes_where_that_is_configured() {
    for (name, act, expected, outcome) in wrong() {
        let backend = Backend::start(move |_| act.clone());
        let allow = HookSettings { on_failure: OnFailure::Allow, ..settings(backend.url()) };
        let hook = Hook::start(&allow).unwrap();
        let is_silent = ["unreachable", "timeout"].contains(&outcome);
        let expected = if is_silent { YES } else { expected };
        assert_eq!(verdict(&hook, join("a")), expected, "{name}");
        if name == "silence" {
            backend.die();
            assert_eq!(verdict(&hook, join("a")), YES);
        }
    }
}

#[test]
fn a_yes_needs_no_words() {
    let backend = Backend::start(|heard| match heard.json()["room"].as_str() {
        Some("quiet") => Act::Raw(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
        Some("marked") => Act::Say("\u{feff}{\"allow\":true}".to_owned()),
        _ => Act::Status(201, r#"{"allow":true}"#.to_owned()),
    });
    let hook = start(&backend);
    for room in ["quiet", "marked", "created"] {
        assert_eq!(verdict(&hook, join(room)), YES, "{room}");
    }
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

/// Whether a request is a further one on its connection.
fn comes_later(seen: &Mutex<HashSet<usize>>, heard: &Heard) -> bool {
    !seen.lock().unwrap().insert(heard.connection)
}

#[test]
fn a_kept_connection_that_is_reset_is_replaced_and_the_request_is_sent_again_once() {
    let seen = Mutex::default();
    let backend = Backend::start(move |heard| match comes_later(&seen, heard) {
        true => Act::Reset,
        false => Act::Say(r#"{"allow":true}"#.to_owned()),
    });
    let hook = start(&backend);
    for n in 0..20 {
        assert_eq!(verdict(&hook, join(&n.to_string())), YES, "{n}");
    }
    let heard = backend.heard();
    assert_eq!(heard.len(), 39, "all but the first came twice");
    let again = heard[1..].chunks(2).all(|pair| pair[0].body == pair[1].body);
    assert!(again, "with the same id: {heard:?}");
    assert_eq!(counted(&hook, "join", "ok"), 20);
}

#[test]
fn a_request_is_not_sent_again_once_an_answer_has_begun() {
    let seen = Mutex::default();
    let backend = Backend::start(move |heard| match comes_later(&seen, heard) {
        true => Act::RawAndReset(b"HTTP/1.1 200 OK\r\nContent-Le".to_vec()),
        false => Act::Say(r#"{"allow":true}"#.to_owned()),
    });
    let hook = start(&backend);
    assert_eq!(verdict(&hook, join("a")), YES);
    assert_eq!(verdict(&hook, join("b")), Verdict::Failed);
    assert_eq!(backend.heard().len(), 2);
}

#[test]
fn a_kept_connection_that_is_given_up_for_want_of_a_request_is_replaced() {
    let seen = Mutex::default();
    let backend = Backend::start(move |heard| match comes_later(&seen, heard) {
        true => Act::Status(408, String::new()),
        false => Act::Say(r#"{"allow":true}"#.to_owned()),
    });
    let hook = start(&backend);
    for n in 0..3 {
        assert_eq!(verdict(&hook, join(&n.to_string())), YES, "{n}");
    }
}

#[test]
fn no_decision_is_lost_to_a_backend_that_closes_connections_when_it_likes() {
    const IDLE: Duration = Duration::from_millis(3);
    let backend = Backend::start_impatient(IDLE, |_| Act::Say(r#"{"allow":true}"#.to_owned()));
    let hook = start(&backend);
    for n in 0..400_u32 {
        assert_eq!(verdict(&hook, join(&n.to_string())), YES, "{n}");
        // The race itself: the next request leaves about when the backend closes.
        std::thread::sleep(IDLE * 9 / 10 + Duration::from_micros(u64::from(n % 40) * 25));
    }
}

#[test]
fn an_answer_before_the_body_was_read_arrives() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let mut line = String::new();
            while line != "\r\n" {
                line.clear();
                reader.read_line(&mut line).unwrap();
            }
            let answer = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            reader.get_mut().write_all(answer).unwrap();
            // Read until the client goes, as a server that closes in stages does.
            std::io::copy(&mut reader, &mut std::io::sink()).ok();
        }
    });
    let hook = Hook::start(&HookSettings { timeout: PATIENCE, ..settings(url) }).unwrap();
    let data = Some(format!("\"{}\"", "x".repeat(4_000_000)));
    let publish = question(What::Publish { room: None, event: "m".to_owned(), data });
    assert_eq!(verdict(&hook, publish), Verdict::Unusable);
    assert_eq!(counted(&hook, "publish", "status"), 1);
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
    let answers: Vec<_> = (0..5).map(|n| ask(&hook, join(&n.to_string()))).collect();
    for answer in answers {
        assert_eq!(answer.recv_timeout(PATIENCE), Ok(Verdict::Failed));
    }
    // Those that waited behind the first were due with it: hardly one of them was still worth a request.
    assert!(backend.heard().len() < 4, "{} requests", backend.heard().len());
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
fn a_notice_waits_as_long_as_the_backend_asks() {
    let times: &'static Mutex<Vec<Instant>> = Box::leak(Box::default());
    let backend = Backend::start(|_| {
        let mut times = times.lock().unwrap();
        times.push(Instant::now());
        match times.len() {
            1 => Act::Raw(b"HTTP/1.1 429 Slow\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n".to_vec()),
            _ => Act::Status(200, String::new()),
        }
    });
    let hook = start(&backend);
    assert_eq!(verdict(&hook, notice()), Verdict::Replied(Default::default()));
    let times = times.lock().unwrap();
    assert!(times[1] - times[0] >= Duration::from_secs(1), "{:?}", times[1] - times[0]);
}

#[test]
fn a_notice_that_is_not_wanted_is_not_sent_again_and_one_that_never_arrives_is_given_up() {
    let backend = Backend::start(|heard| match heard.event().as_str() {
        "disconnect" => Act::Status(404, String::new()),
        _ => Act::Status(500, String::new()),
    });
    let hook = Hook::start(&HookSettings { retries: 1, ..settings(backend.url()) }).unwrap();
    assert_eq!(verdict(&hook, notice()), Verdict::Unusable);
    assert_eq!(counted(&hook, "disconnect", "refused"), 1);
    let message = || What::Message { event: "x".to_owned(), data: None, rooms: Vec::new() };
    assert_eq!(verdict(&hook, question(message())), Verdict::Unusable);
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
        breaker_pause: Duration::from_secs(2),
        ..settings(backend.url())
    };
    let hook = Hook::start(&settings).unwrap();
    assert_eq!(verdict(&hook, join("a")), YES);
    backend.die();
    for n in 0..3 {
        assert_eq!(verdict(&hook, join(&n.to_string())), Verdict::Failed);
    }
    assert_eq!((breaker(&hook, "decisions"), counted(&hook, "join", "unreachable")), ((2, 1), 3));
    assert_eq!(verdict(&hook, join("open")), Verdict::Failed);
    assert_eq!(counted(&hook, "join", "breaker_open"), 1, "the backend was not asked");
    let told: Vec<_> = (0..3).map(|_| ask(&hook, notice())).collect();
    eventually("the breaker of notices opens", || breaker(&hook, "notices") == (2, 1));
    let second = Backend::start_at(backend.addr(), |_| Act::Say(r#"{"allow":true}"#.to_owned()));
    for told in told {
        let arrived = Ok(Verdict::Replied(Default::default()));
        assert_eq!(told.recv_timeout(PATIENCE), arrived, "the notice has waited");
    }
    eventually("a probe finds it alive", || verdict(&hook, join("closed")) == YES);
    assert!(second.heard().len() >= 4);
    assert_eq!((breaker(&hook, "decisions").0, breaker(&hook, "notices").0), (0, 0));
}

#[test]
fn notices_that_fail_leave_decisions_alone() {
    let backend = Backend::start(|heard| match heard.event().as_str() {
        "disconnect" => Act::Status(503, String::new()),
        _ => Act::Say(r#"{"allow":true}"#.to_owned()),
    });
    let one = HookSettings { breaker_failures: 1, retries: 0, ..settings(backend.url()) };
    let hook = Hook::start(&HookSettings { breaker_pause: Duration::from_secs(3600), ..one }).unwrap();
    assert_eq!(verdict(&hook, notice()), Verdict::Failed);
    assert_eq!((breaker(&hook, "notices"), breaker(&hook, "decisions")), ((2, 1), (0, 0)));
    assert_eq!(verdict(&hook, join("a")), YES);
    assert_eq!(breaker(&hook, "notices"), (2, 1), "a decision says nothing of notices");
}

#[test]
fn a_notice_that_is_sent_again_and_again_counts_once() {
    let backend = Backend::start(|_| Act::HangUp);
    let two = HookSettings { breaker_failures: 2, retries: 2, ..settings(backend.url()) };
    let hook = Hook::start(&HookSettings { breaker_pause: Duration::from_secs(3600), ..two }).unwrap();
    assert_eq!(verdict(&hook, notice()), Verdict::Failed);
    assert_eq!((backend.heard().len(), breaker(&hook, "notices")), (3, (0, 0)));
    let second = ask(&hook, notice());
    eventually("another one opens it", || breaker(&hook, "notices") == (2, 1));
    drop(second);
}

#[test]
fn a_breaker_that_answers_opened_is_never_a_yes() {
    let backend = Backend::start(|_| Act::Status(503, String::new()));
    let two = HookSettings { breaker_failures: 2, ..settings(backend.url()) };
    let hook = Hook::start(&HookSettings { on_failure: OnFailure::Allow, ..two }).unwrap();
    for n in 0..2 {
        assert_eq!(verdict(&hook, join(&n.to_string())), Verdict::Failed);
    }
    assert_eq!(breaker(&hook, "decisions"), (2, 1));
    assert_eq!(verdict(&hook, join("staff")), Verdict::Failed);
    assert_eq!(counted(&hook, "join", "breaker_open"), 1);
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
    hook.finish();
    assert_eq!(told.try_recv(), Ok(Verdict::Failed));
}
