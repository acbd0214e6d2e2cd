//! The client for browsers and others (src/client): on sockets and a clock that its tests move, and against the server,
//! in Node and in Chromium.

use crate::common::{
    Browser, PATIENCE, Program, Server, find_program, left_out, npm_package, request, tests_path,
};
use std::process::Command;
use std::time::Duration;

/// Oldest Node whose test runner knows a time limit.
const NODE_MIN: u32 = 20;

/// How long a file of tests may take; a machine with other work to do is slow.
const RUN_MAX: Duration = Duration::from_secs(240);

/// Node, where it is new enough.
fn node() -> Option<std::path::PathBuf> {
    let node = find_program("node")?;
    let version = Command::new(&node).arg("--version").output().ok()?;
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let major = version.trim().strip_prefix('v')?.split('.').next()?.parse::<u32>().ok()?;
    (major >= NODE_MIN).then_some(node)
}

/// Runs a file of Node's tests, of which `least` at the least must pass and none may fail or be skipped.
fn run(name: &str, least: u32, environment: &[(&str, &str)]) {
    let Some(node) = node() else { return left_out(&format!("client_js::{name}"), "node, 20 or later") };
    let mut command = Command::new(node);
    command.args(["--test", "--test-reporter=tap", "--test-timeout=120000"]);
    command.arg(tests_path(&format!("clients/fanwire/{name}.test.mjs"))).envs(environment.iter().copied());
    let mut tests = Program::start(&mut command);
    let status = tests.finish(RUN_MAX);
    let output = tests.output();
    let count = |what: &str| {
        let line = output.lines().rev().find_map(|line| line.strip_prefix(what));
        line.and_then(|count| count.trim().parse::<u32>().ok()).unwrap_or_else(|| panic!("no sum:\n{output}"))
    };
    let failures = output.split("\nnot ok ").skip(1).collect::<Vec<_>>().join("\nnot ok ");
    assert!(status.success(), "{name}: {status}\n{failures}");
    assert_eq!((count("# fail "), count("# skipped "), count("# cancelled ")), (0, 0, 0), "{failures}");
    assert!(count("# pass ") >= least, "{name}: {} passed, {least} are there at the least", count("# pass "));
    println!("{name}: {} passed", count("# pass "));
}

#[test]
fn the_cases_that_clients_get_wrong_are_right() {
    run("corners", 46, &[]);
}

#[test]
fn each_message_comes_once_or_is_told_to_be_missing() {
    run("walk", 1, &[]);
}

#[test]
fn it_survives_what_a_server_goes_through() {
    if npm_package("ws").is_none() {
        return left_out("client_js::server", "the npm package ws");
    }
    run("server", 10, &[("FANWIRE_SERVER", env!("CARGO_BIN_EXE_fanwire"))]);
}

/// A page of another origin that imports the client from the server, and tells each message.
const PAGE: &str = r"<!doctype html>
<meta charset=utf-8>
<script type=module>
  let told = Promise.resolve();
  const tell = (text) => (told = told.then(() => fetch('/outcome', { method: 'POST', body: text })));
  addEventListener('unhandledrejection', ({ reason }) => tell(`failed: ${reason}`));
  const { Fanwire } = await import('{{server}}/fanwire.js');
  const client = new Fanwire('{{server}}/ws', { backoff: { min: 100 } }).connect();
  const room = client.subscribe('news', ({ data }) => tell(`message ${data}`));
  room.on('gap', ({ why }) => tell(`gap ${why}`));
  room.on('state', ({ state }) => tell(state));
</script>";

#[test]
fn a_page_in_a_browser_goes_on_after_a_restart() {
    let rules = r#"--room-rules=[{"pattern":"**","history_messages":100}]"#;
    let opened = Browser::open_for(|port| {
        let origin = format!("--allowed-origins=http://localhost:{port}");
        let server = Server::start(&[rules, &origin]);
        let page = PAGE.replace("{{server}}", &format!("http://localhost:{}", server.addr().port()));
        (page, (server, origin))
    });
    let Some((browser, (server, origin))) = opened else {
        return left_out("client_js::browser", "chromium, chromium-browser or google-chrome");
    };
    let expect = |text: &str| {
        let told = browser.outcome(4 * PATIENCE);
        assert_eq!(told.as_deref(), Some(text), "{}", browser.output());
    };
    let publish = |server: &Server, text: &str| {
        server.post("/v1/publish", &format!(r#"{{"room":"news","data":"{text}"}}"#));
    };
    expect("subscribed");
    publish(&server, "one");
    expect("message one");
    let port = format!("--port={}", server.addr().port());
    drop(server);
    expect("subscribing");
    let server = Server::start(&[rules, &origin, &port]);
    publish(&server, "two");
    expect("gap new-epoch");
    expect("subscribed");
    expect("message two");
}

/// The guide's example in a page, which tells what it would log.
#[test]
fn the_guides_example_runs_in_a_page() {
    let chapter = include_str!("../../src/guide/client.md");
    let (_, block) = chapter.split_once("```js\n").expect("an example");
    let (example, _) = block.split_once("```").expect("its end");
    let opened = Browser::open_for(|port| {
        let server = Server::start(&[&format!("--allowed-origins=http://localhost:{port}")]);
        let at = format!("http://localhost:{}", server.addr().port());
        let example = example.replace("http://localhost:8081", &at);
        let tell = "let told = Promise.resolve();
            console.log = (...words) => (told = told.then(() =>
                fetch('/outcome', { method: 'POST', body: words.join(' ').trim() })));
            const readState = async () => undefined;";
        (format!("<!doctype html><script type=module>{tell}\n{example}</script>"), server)
    });
    let Some((browser, _server)) = opened else {
        return left_out("client_js::example", "chromium, chromium-browser or google-chrome");
    };
    // The room keeps no history here, so the message has no offset.
    for expected in ["connecting", "connected", "Hello!"] {
        assert_eq!(browser.outcome(4 * PATIENCE).as_deref(), Some(expected), "{}", browser.output());
    }
}

#[test]
fn the_package_is_small_and_its_types_are_true() {
    for package in ["terser", "typescript"] {
        if npm_package(package).is_none() {
            return left_out("client_js::package", &format!("the npm package {package}"));
        }
    }
    run("package", 5, &[]);
}

#[test]
fn the_server_hands_the_client_out() {
    let server = Server::start(&[]);
    for (path, kind, text) in [
        ("/fanwire.js", "text/javascript; charset=utf-8", include_str!("../../src/client/fanwire.min.js")),
        (
            "/fanwire.d.ts",
            "application/typescript; charset=utf-8",
            include_str!("../../src/client/fanwire.d.ts"),
        ),
    ] {
        let answer = server.get(path);
        assert_eq!((answer.status, answer.body.as_str()), (200, text));
        assert_eq!(answer.header("content-type"), Some(kind));
        assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        let tag = answer.header("etag").expect("a tag").to_owned();
        for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
            let answer = request(server.addr(), "GET", path, &[("If-None-Match", &known)], b"");
            assert_eq!((answer.status, answer.body.as_str()), (304, ""), "{known}");
            assert_eq!(answer.header("etag"), Some(tag.as_str()));
        }
        for other in ["\"other\"", "", tag.trim_matches('"')] {
            let answer = request(server.addr(), "GET", path, &[("If-None-Match", other)], b"");
            assert_eq!(answer.status, 200, "{other}");
        }
    }
    let prefixed = Server::start(&["--path-prefix=/live"]);
    assert_eq!(prefixed.get("/live/fanwire.js").status, 200);
    assert_eq!(prefixed.get("/fanwire.js").status, 404);
}
