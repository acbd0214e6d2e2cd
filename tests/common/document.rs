use super::{Browser, Program, Server, find_program, left_out, npm_package, tests_path};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A document that the server keeps to, `tests/documents/NAME.md`.
pub struct Document {
    text: String,
}

impl Document {
    pub fn read(name: &str) -> Self {
        let path = tests_path("documents").join(name).with_extension("md");
        Self { text: std::fs::read_to_string(path).expect("the document is there") }
    }

    /// The code block number `index` (from 0 on) of a section, to which those within it belong.
    ///
    /// # Panics
    /// When there is none.
    pub fn code(&self, heading: &str, index: usize) -> &str {
        let (_, section) = self.text.split_once(&format!("\n{heading}\n")).expect("the heading is there");
        let level = heading.bytes().take_while(|byte| *byte == b'#').count();
        let mut blocks = Vec::new();
        let mut rest = section;
        while let Some((before, block)) = rest.split_once("```") {
            let ends = |line: &str| {
                let own = line.bytes().take_while(|byte| *byte == b'#').count();
                (1..=level).contains(&own) && line.as_bytes().get(own) == Some(&b' ')
            };
            if before.lines().any(ends) {
                break;
            }
            let (_, block) = block.split_once('\n').expect("a line with the language");
            let (code, after) = block.split_once("```").expect("an end of the block");
            blocks.push(code);
            rest = after;
        }
        blocks.get(index).copied().unwrap_or_else(|| panic!("{heading}: {} code blocks", blocks.len()))
    }
}

/// Code of a document for a server that listens on another port than the document's.
pub fn at_port(code: &str, server: &Server) -> String {
    code.replace("localhost:3000", &format!("localhost:{}", server.addr().port()))
}

/// Runs a browser's code under node with the class `WebSocket` of npm's `ws`; what is missing where it cannot.
pub fn run_javascript(code: &str, folder: &Path) -> Result<Program, &'static str> {
    let node = find_program("node").ok_or("node")?;
    npm_package("ws").ok_or("the npm package ws")?;
    let script = folder.join("client.js");
    std::fs::write(&script, code).expect("the folder is ours");
    let mut command = Command::new(node);
    // For `require('ws')` in a folder that has no packages.
    command.env("NODE_PATH", tests_path("clients/node_modules"));
    Ok(Program::start(command.arg("--import").arg(tests_path("clients/websocket-global.mjs")).arg(script)))
}

/// Loads code of a document in a browser, which tells what the code logs until `done` is among it.
///
/// # Panics
/// When it does not come.
pub fn in_the_browser(test: &str, code: &str, done: &str) {
    const PATIENCE: Duration = Duration::from_secs(60);
    // Before the document's own code: what it logs goes to this test.
    let tell = "console.log = (...all) => fetch('/outcome', { method: 'POST', body: all.map((it) => \
                typeof it === 'string' ? it : JSON.stringify(it)).join(' ') });";
    let page = format!("<!doctype html><meta charset=utf-8><script>{tell}</script><script>{code}</script>");
    let Some(browser) = Browser::open(page) else { return left_out(test, "chromium") };
    let mut heard = String::new();
    while !heard.contains(done) {
        let line = browser.outcome(PATIENCE);
        let line = line.unwrap_or_else(|| panic!("no {done} in {heard:?}: {}", browser.output()));
        heard += &line;
        heard.push('\n');
    }
}
