//! The table of routes, held against a real server: each path is asked with each method, with a key and without one, and
//! a path that is only nearly right does not exist.

use crate::common::{Client, Response, Server, exchange, request};
use fanwire::api::{Access, Line, ROUTES};
use std::collections::BTreeMap;
use std::net::SocketAddr;

const KEY: &str = "the-key-of-the-routes";
/// An id that no connection has.
const ID: &str = "5f64a9c2-8b1d-4e3f-a0b1-c2d3e4f50617";
const ORIGIN: &str = "https://app.example";
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get"];

fn start(flags: &[&str]) -> Server {
    let flags = [&["--echo=true", "--allowed-origins=https://app.example"], flags].concat();
    Server::start_with(&flags, &[("FANWIRE_API_KEY", KEY)])
}

fn with_key(addr: SocketAddr, method: &str, target: &str) -> Response {
    request(addr, method, target, &[("Authorization", &format!("Bearer {KEY}"))], b"")
}

fn without_key(addr: SocketAddr, method: &str, target: &str) -> Response {
    request(addr, method, target, &[], b"")
}

/// The lines of the table by their paths.
fn paths() -> BTreeMap<&'static str, Vec<&'static Line>> {
    let mut paths: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for line in ROUTES {
        paths.entry(line.path).or_default().push(line);
    }
    paths
}

/// A path with these values in place of its `{names}`.
fn target(path: &str, room: &str, id: &str, user: &str) -> String {
    path.replace("{room}", room)
        .replace("{id}", id)
        .replace("{user}", user)
        .replace("{page}", if user.is_empty() { "" } else { "rooms" })
}

fn allow_of(lines: &[&Line]) -> String {
    lines.iter().flat_map(|line| line.methods()).copied().collect::<Vec<_>>().join(", ")
}

#[test]
fn each_path_answers_each_method_as_the_table_says() {
    let server = start(&[r#"--room-rules=[{"pattern":"**","history_messages":10}]"#]);
    let addr = server.addr();
    for (path, lines) in paths() {
        // Closed by one of the routes, and another one for the next path.
        let mut member = server.connect();
        member.subscribe("a/b");
        let body = br#"{"room":"a/b","data":1}"#;
        let bearer = format!("Bearer {KEY}");
        let kept = request(addr, "POST", "/v1/publish", &[("Authorization", &bearer)], body);
        assert_eq!(kept.status, 200, "{}", kept.body);
        let target = target(path, "a%2Fb", &member.id, "nobody");
        for method in METHODS {
            let Some(line) = lines.iter().find(|line| line.methods().contains(&method)) else {
                let answer = without_key(addr, method, &target);
                assert_eq!(answer.status, 405, "{method} {target}: {}", answer.body);
                assert_eq!(answer.header("allow"), Some(allow_of(&lines).as_str()), "{method} {target}");
                continue;
            };
            let answer = with_key(addr, method, &target);
            if line.access == Access::Upgrade {
                assert!(matches!(answer.status, 400 | 426), "{method} {target} is no handshake: {answer:?}");
                continue;
            }
            let told: Vec<u16> = line.answers.iter().map(|(status, _)| *status).collect();
            let is_told = told.contains(&answer.status) || (line.body.is_some() && answer.status == 400);
            assert!(is_told, "{method} {target}: {} is not of {told:?}", answer.status);
            if line.body.is_none() || method == "PUT" {
                assert!(answer.status < 300, "{method} {target}: {} {}", answer.status, answer.body);
            }
            assert_eq!(answer.body.is_empty(), method == "HEAD", "{method} {target}");
            let refused = without_key(addr, method, &target).status == 401;
            assert_eq!(refused, line.access == Access::Key, "{method} {target} without a key");
        }
    }
}

#[test]
fn a_preflight_is_told_the_methods_of_the_table() {
    let server = start(&[]);
    let asks = [("Origin", ORIGIN), ("Access-Control-Request-Method", "PUT")];
    for (path, lines) in paths() {
        let target = target(path, "r", "none", "u");
        let answer = request(server.addr(), "OPTIONS", &target, &asks, b"");
        assert_eq!(answer.status, 204, "{target}");
        let methods = answer.header("access-control-allow-methods");
        assert_eq!(methods, Some(allow_of(&lines).as_str()), "{target}");
    }
    let answer = request(server.addr(), "OPTIONS", "/v1/nothing", &asks, b"");
    assert_eq!(answer.status, 404, "a path that is not there has no methods");
}

#[test]
fn a_query_has_the_parameters_of_the_table() {
    let server = start(&[]);
    for line in ROUTES.iter().filter(|line| line.access == Access::Key) {
        let method = line.methods()[0];
        let target = target(line.path, "r", ID, "u");
        let answer = with_key(server.addr(), method, &format!("{target}?nothing=1"));
        if line.query == fanwire::api::Query::Ignored {
            assert_eq!(answer.status, 200, "{method} {target}");
            continue;
        }
        assert_eq!(answer.status, 400, "{method} {target}");
        assert!(answer.body.contains("unknown parameter"), "{method} {target}: {}", answer.body);
        for param in line.query.params() {
            let twice = format!("{target}?{0}=1&{0}=1", param.name);
            let answer = with_key(server.addr(), method, &twice);
            assert!(answer.status == 400 && answer.body.contains("twice"), "{twice}: {answer:?}");
        }
    }
}

#[test]
fn what_is_nearly_a_path_is_none() {
    let server = start(&[]);
    for path in paths().into_keys() {
        let target = target(path, "r", ID, "u");
        let first = target.as_bytes()[1];
        let encoded = format!("/%{first:02x}{}", &target[2..]);
        let upper = target.to_uppercase();
        for near in
            [&format!("{target}/"), &format!("/{target}"), &format!("{target}/x/y/z"), &encoded, &upper]
        {
            let answer = with_key(server.addr(), "GET", near);
            assert_eq!(answer.status, 404, "{near}: {}", answer.body);
        }
        if path.contains('{') {
            let empty = self::target(path, "", "", "");
            assert_eq!(with_key(server.addr(), "GET", &empty).status, 404, "{empty}");
        }
    }
}

#[test]
fn values_in_a_path_are_checked() {
    let server = start(&[]);
    for line in ROUTES.iter().filter(|line| line.path.contains("{room}") || line.path.contains("{user}")) {
        let (method, long) = (line.methods()[0], "%61".repeat(256));
        for value in ["%", "%zz", "%f", "%ff", "%00", "a%0Ab", "%C2%85", &long] {
            let target = target(line.path, value, ID, value);
            let answer = with_key(server.addr(), method, &target);
            assert_eq!(answer.status, 400, "{method} {target:.60}: {}", answer.body);
            assert!(answer.body.len() < 400, "{target:.60}: a refusal is short");
        }
    }
    for line in ROUTES.iter().filter(|line| line.path.contains("{id}")) {
        let long = "a".repeat(4000);
        for value in ["none", "%35f64a9c2", ID, &long] {
            let target = target(line.path, "r", value, "");
            let answer = with_key(server.addr(), line.methods()[0], &target);
            assert_eq!(answer.status, 404, "{target:.60}: {}", answer.body);
        }
    }
    for target in ["/v1/rooms/".to_owned() + &"a".repeat(100_000), "/".repeat(100_000)] {
        let answer = exchange(server.addr(), format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
        assert!(matches!(answer.status, 414 | 431), "{answer:?}");
    }
    assert_eq!(without_key(server.addr(), "GET", "/health").status, 200);
}

#[test]
fn a_listener_has_the_paths_that_it_offers() {
    let server = start(&["--admin-listen=127.0.0.1:0", "--admin-only=true"]);
    for (path, lines) in paths() {
        let target = target(path, "r", "none", "u");
        let access = lines[0].access;
        for method in ["PATCH", "OPTIONS"] {
            let of_clients = matches!(access, Access::Probe | Access::Upgrade);
            let status = with_key(server.addr(), method, &target).status;
            assert_eq!(status, if of_clients { 405 } else { 404 }, "clients: {method} {target}");
            let status = with_key(server.admin(), method, &target).status;
            let of_operators = access != Access::Upgrade;
            assert_eq!(status, if of_operators { 405 } else { 404 }, "operators: {method} {target}");
        }
    }
    // Without `echo` that path does not exist, whatever the method.
    let server = Server::start(&[]);
    for method in METHODS {
        assert_eq!(without_key(server.addr(), method, "/echo").status, 404, "{method}");
    }
    let upgrade = Client::handshake(&server.addr().to_string(), "/echo", &[]);
    assert_eq!(exchange(server.addr(), &upgrade).status, 404);
}
