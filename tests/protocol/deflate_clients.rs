//! permessage-deflate with what others wrote: each client publishes and gets back what it published, and a wiretap
//! between it and the server sees that the frames were compressed, both ways.

use crate::common::{
    Browser, Program, Server, Tapped, Wiretap, build_go, client_python, find_program, left_out, npm_package,
    tests_path,
};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// How long a client may take that starts a whole language or browser first, on a busy machine.
const CLIENT_PATIENCE: Duration = Duration::from_secs(60);

/// The first byte of a compressed text that is whole, and the bit that makes it one.
const COMPRESSED: u8 = 0xc1;
const RSV1: u8 = 0x40;

const BARE: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// What every client publishes: a text below `deflate_min_bytes`, and larger ones, one of them twice, since a client
/// or a server that would take its window over could only then refer back to it. The last one is as regular as honest
/// messages can be.
fn values() -> Vec<String> {
    let rows = |count: u32| (0..count).map(|n| format!("row {} é😀 {}; ", n * 7919 % 101, n % 97)).collect();
    let (middle, large): (String, String) = (rows(150), rows(4_000));
    assert!(large.len() > 65_536);
    vec!["short".to_owned(), middle.clone(), large, middle, "0123456789".repeat(20_000)]
}

/// Starts a server and a client and lets it run to its end. `command` is given where to connect to and the file of
/// values. The server's response must have been `extensions`.
fn run(extensions: &str, command: impl FnOnce(SocketAddr, &PathBuf) -> Command) {
    let server = Server::start(&["--deflate=true"]);
    let wiretap = Wiretap::start(server.addr());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("data.json");
    std::fs::write(&file, serde_json::to_string(&values()).unwrap()).unwrap();
    let mut client = Program::start(&mut command(wiretap.addr(), &file));
    let status = client.finish(CLIENT_PATIENCE);
    assert!(status.success(), "{status}\n{}", client.output());
    check(&server, &wiretap, extensions);
}

/// Holds for every client that has published [`values`] through `wiretap`.
fn check(server: &Server, wiretap: &Wiretap, extensions: &str) {
    let conversations = wiretap.conversations("/ws");
    let [conversation] = &conversations[..] else { panic!("one connection: {conversations:?}") };
    assert_eq!(header(&conversation.response()), Some(extensions.to_owned()), "{}", conversation.request());
    let received = conversation.received();
    let texts: Vec<Tapped> = received.into_iter().filter(|frame| frame.head & 0x0f == 1).collect();
    // The greeting, the subscription and the short publication are not compressed, the large publications are.
    let heads: Vec<u8> = texts.iter().map(|frame| frame.head).collect();
    assert_eq!(heads, [0x81, 0x81, 0x81, COMPRESSED, COMPRESSED, COMPRESSED, COMPRESSED]);
    let plain: usize = values().iter().map(String::len).sum();
    let down: usize = texts[3..].iter().map(|frame| frame.len).sum();
    assert!(down < plain / 3, "{down} bytes of {plain}");
    // What the client sent: the first frame of each large publication at least is marked, and all is small.
    let sent = conversation.sent();
    let up: usize = sent.iter().map(|frame| frame.len).sum();
    assert!(up < plain / 3, "{up} bytes of {plain}");
    assert!(sent.iter().filter(|frame| frame.head & RSV1 != 0).count() >= 4, "{sent:?}");
    let metric = |name: &str| server.metric_sum(name);
    assert!(metric("fanwire_inflated_bytes_after_total") > plain as f64);
    assert!(metric("fanwire_inflated_bytes_before_total") < plain as f64 / 3.0);
    assert!(metric("fanwire_deflated_bytes_before_total") > (plain - values()[0].len()) as f64);
    assert_eq!(metric("fanwire_deflated_bytes_after_total"), down as f64);
    assert_eq!(metric("fanwire_protocol_errors_total"), 0.0);
}

fn header(response: &str) -> Option<String> {
    response.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-extensions").then(|| value.trim().to_owned())
    })
}

fn bounded(window_bits: u8) -> String {
    format!("{BARE}; server_max_window_bits={window_bits}")
}

#[test]
fn ws_for_node() {
    let (Some(node), Some(_)) = (find_program("node"), npm_package("ws")) else {
        return left_out("deflate_clients::ws", "node and the npm package ws");
    };
    for (options, extensions) in [
        ("{}", BARE.to_owned()),
        (r#"{"serverMaxWindowBits":9,"clientMaxWindowBits":9}"#, bounded(9)),
        (r#"{"serverMaxWindowBits":14,"clientNoContextTakeover":true,"threshold":0}"#, bounded(12)),
        (r#"{"serverNoContextTakeover":true,"clientMaxWindowBits":15,"threshold":0}"#, BARE.to_owned()),
    ] {
        run(&extensions, |addr, file| {
            let mut command = Command::new(&node);
            command.arg(tests_path("clients/deflate/ws.mjs")).arg(format!("ws://{addr}/ws")).arg(file);
            command.arg(options);
            command
        });
    }
}

/// Runs one of the Python clients with each of the options.
fn run_python(script: &str, variants: &[(&str, String)]) {
    let Some(python) = client_python() else {
        return left_out(&format!("deflate_clients::{script}"), "websockets and aiohttp for Python");
    };
    for (options, extensions) in variants {
        run(extensions, |addr, file| {
            let mut command = Command::new(&python);
            command.arg(tests_path(&format!("clients/deflate/{script}.py")));
            command.arg(format!("ws://{addr}/ws")).arg(file).arg(options);
            command
        });
    }
}

#[test]
fn websockets_for_python() {
    run_python(
        "websockets_client",
        &[
            ("{}", BARE.to_owned()),
            (r#"{"server_max_window_bits":9,"client_max_window_bits":9}"#, bounded(9)),
            (
                r#"{"server_no_context_takeover":true,"client_no_context_takeover":true,"server_max_window_bits":15}"#,
                bounded(15),
            ),
        ],
    );
}

#[test]
fn aiohttp_for_python() {
    run_python("aiohttp_client", &[("15", BARE.to_owned()), ("12", bounded(12)), ("9", bounded(9))]);
}

#[test]
fn gorilla_for_go() {
    let folder = tempfile::tempdir().unwrap();
    let client = match build_go(&tests_path("clients/deflate/gorilla.go"), folder.path()) {
        Ok(client) => client,
        Err(missing) => return left_out("deflate_clients::gorilla", missing),
    };
    run(BARE, |addr, file| {
        let mut command = Command::new(client);
        command.arg(format!("ws://{addr}/ws")).arg(file);
        command
    });
}

#[test]
fn chromium() {
    let server = Server::start(&["--deflate=true"]);
    let wiretap = Wiretap::start(server.addr());
    let page = std::fs::read_to_string(tests_path("clients/deflate/page.html")).unwrap();
    let page = page.replace("{{url}}", &format!("ws://localhost:{}/ws", wiretap.addr().port()));
    let page = page.replace("{{values}}", &serde_json::to_string(&values()).unwrap());
    let Some(browser) = Browser::open(page) else {
        return left_out("deflate_clients::chromium", "chromium");
    };
    let outcome = browser.outcome(CLIENT_PATIENCE);
    assert_eq!(outcome.as_deref(), Some("done"), "{}", browser.output());
    check(&server, &wiretap, BARE);
}
