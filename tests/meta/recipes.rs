//! The page of the recipe for notifications, in a browser.

use crate::blocks::{blocks, file_name, read};
use crate::common::{Browser, PATIENCE, Server, left_out, request, token};
use serde_json::json;

const KEY: &str = "a-key-of-tests-that-nobody-guesses";

/// The file of the chapter with this name.
fn file(name: &str) -> String {
    let all = blocks(&read("src/guide/recipes.md"));
    all.into_iter().find(|block| file_name(block) == Some(name)).expect(name).text
}

/// The page, with a token of ours, telling each line of its list.
fn page(server: &Server) -> String {
    let signed = token::sign(&json!({"sub": "ann", "exp": token::now_unix_s() + 600}));
    let tell = format!(
        "const real = fetch; window.fetch = (path, how) => path === '/token' ? \
         Promise.resolve(new Response('{signed}')) : real(path, how);"
    );
    // One after the other, so that they come in their order.
    let watch = "let last = Promise.resolve(); const post = (body) => real('/outcome', { method: 'POST', body }); \
                 const added = (one) => one.addedNodes.forEach((item) => { last = last.then(() => post(item.textContent)); }); \
                 new MutationObserver((all) => all.forEach(added))\
                 .observe(document.getElementById('feed'), { childList: true });";
    let page = file("feed.html").replace("localhost:8081", &format!("localhost:{}", server.addr().port()));
    let page = page.replacen("<script>", &format!("<script>{tell}\n{watch}"), 1);
    assert!(page.contains("MutationObserver") && page.contains("fetch('/token')"), "{page}");
    page
}

fn publish(server: &Server, text: &str) -> u64 {
    let body = json!({"room": "user:ann", "data": {"text": text}}).to_string();
    let key = format!("Bearer {KEY}");
    let answer = request(server.addr(), "POST", "/v1/publish", &[("Authorization", &key)], body.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["delivered"].as_u64().expect("a number")
}

#[test]
fn the_page_of_notifications_misses_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("feed.yaml");
    std::fs::write(&config, file("feed.yaml")).expect("the folder is ours");
    let flags = ["--config", config.to_str().expect("UTF-8")];
    let server = Server::start_with(&flags, &[token::SECRET_VARIABLE, ("FANWIRE_API_KEY", KEY)]);
    let Some(browser) = Browser::open(page(&server)) else {
        return left_out("the_page_of_notifications_misses_nothing", "chromium");
    };
    let outcome = || browser.outcome(PATIENCE).unwrap_or_else(|| panic!("{}", browser.output()));
    // Until the page is there nobody hears these; it can recover some of them when it comes.
    let mut first = 0;
    crate::common::eventually("the page is there", || {
        first += 1;
        publish(&server, &format!("first, {first}")) == 1
    });
    while outcome() != format!("first, {first}") {}
    for round in 0..3 {
        let key = format!("Bearer {KEY}");
        let answer = request(server.addr(), "DELETE", "/v1/users/ann", &[("Authorization", &key)], b"");
        assert_eq!(answer.status, 200, "{}", answer.body);
        // Some of these are published while the page is away.
        let texts: Vec<_> = (0..5).map(|number| format!("{round}, {number}")).collect();
        texts.iter().for_each(|text| {
            publish(&server, text);
        });
        let told = std::iter::repeat_with(outcome).filter(|text| !text.starts_with("first"));
        let mut shown: Vec<_> = told.take(texts.len()).collect();
        // The page tells of each in a request of its own, and these overtake each other.
        shown.sort();
        assert_eq!(shown, texts);
    }
}
