//! `/docs`: each chapter is a page, its links lead somewhere, and the search works under the strict policy of the pages.

use crate::common::{PATIENCE, Program, Response, Server, chromium, left_out, request};
use std::collections::BTreeSet;

/// The values of an attribute in HTML.
fn values<'h>(html: &'h str, attribute: &str) -> Vec<&'h str> {
    let start = format!(" {attribute}=\"");
    html.split(start.as_str()).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

fn page(server: &Server, path: &str) -> Response {
    let answer = server.get(path);
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    let policy = answer.header("content-security-policy").unwrap_or_default();
    assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{path}: {policy}");
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
    answer
}

#[test]
fn each_link_of_the_guide_leads_to_a_page() {
    let server = Server::start(&[]);
    let index = page(&server, "/docs").body;
    let chapters: BTreeSet<_> =
        values(&index, "href").into_iter().filter(|link| link.starts_with("docs/")).collect();
    assert!(
        chapters.len() > 20 && chapters.contains("docs/rooms") && chapters.contains("docs/tuning"),
        "{chapters:?}"
    );
    for link in values(&index, "src").into_iter().chain(chapters.iter().copied()) {
        page(&server, &format!("/{link}"));
    }
    for chapter in chapters.into_iter().filter(|name| !name.ends_with(".css")) {
        let html = page(&server, &format!("/{chapter}")).body;
        assert!(html.starts_with("<!doctype html>") && html.contains("<h1 id="), "{chapter}");
        assert!(!html.contains("<script") && !html.contains("style="), "{chapter}");
        for link in values(&html, "href").into_iter().filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let path = match file.strip_prefix("../") {
                Some(outer) => format!("/{outer}"),
                None if file.is_empty() => format!("/{chapter}"),
                None => format!("/docs/{file}"),
            };
            let there = page(&server, &path).body;
            assert!(anchor.is_empty() || values(&there, "id").contains(&anchor), "{chapter}: {link}");
        }
    }
}

#[test]
fn no_other_page_is_there() {
    let server = Server::start(&[]);
    for path in
        ["/docs/", "/docs/nothing", "/docs/rooms.md", "/docs/rooms/x", "/docs/..%2Fhealth", "/docs/%00"]
    {
        assert_eq!(server.get(path).status, 404, "{path}");
    }
    assert_eq!(server.post("/docs", "{}").status, 405);
}

#[test]
fn a_page_is_packed_for_clients_that_take_it() {
    let server = Server::start(&[]);
    let of = |method: &str, encoding: &str| {
        request(server.addr(), method, "/docs/rooms", &[("Accept-Encoding", encoding)], b"")
    };
    let length = |answer: &Response| answer.header("content-length").unwrap().parse::<usize>().unwrap();
    let (packed, plain) = (of("HEAD", "gzip"), of("GET", "identity"));
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert_eq!(plain.header("content-encoding"), None);
    assert_eq!(length(&plain), plain.body.len());
    assert_eq!(length(&packed), fanwire::guide::page("rooms").unwrap().packed.len());
    assert!(length(&packed) * 2 < length(&plain));
}

#[test]
fn the_guide_is_where_the_prefix_and_the_operators_are() {
    let server =
        Server::start(&["--path-prefix=/realtime", "--admin-listen=127.0.0.1:0", "--admin-only=true"]);
    assert_eq!(server.get("/realtime/docs").status, 404, "admin_only");
    assert_eq!(request(server.admin(), "GET", "/realtime/docs/rooms", &[], b"").status, 200);
    let server = Server::start(&["--path-prefix=/realtime"]);
    assert_eq!(server.get("/realtime/docs/rooms").status, 200);
}

#[test]
fn a_browser_finds_the_sections_that_have_the_words() {
    let profile = tempfile::tempdir().unwrap();
    if chromium(profile.path()).is_none() {
        return left_out("a_browser_finds_the_sections_that_have_the_words", "chromium");
    }
    let server = Server::start(&[]);
    let found = |query: &str| {
        let mut command = chromium(profile.path()).unwrap();
        // The time of the page goes on only while it waits for nothing.
        command.args(["--virtual-time-budget=10000", "--dump-dom"]);
        command.arg(format!("http://localhost:{}/docs?q={query}", server.addr().port()));
        let mut program = Program::start(&mut command);
        assert!(program.finish(4 * PATIENCE).success(), "{}", program.output());
        program.output()
    };
    let html = found("conflate+symbol");
    assert!(values(&html, "href").iter().any(|link| link.starts_with("docs/room_rules")), "{html}");
    assert!(html.contains("sections have “conflate symbol”"), "{html}");
    // Words of a stranger are text.
    let html = found("%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E");
    assert!(html.contains("Nothing has “&lt;img src=x onerror=alert(1)&gt;”"), "{html}");
}
