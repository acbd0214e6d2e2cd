//! The documents name what there is: every flag they mention is one of the binary's or of the load tool's,
//! every file is in the tree.

use crate::common::{Server, tests_path};
use fanwire::config::{Sources, load};
use std::collections::BTreeSet;

const DOCUMENTS: [&str; 5] =
    ["../README.md", "../tuning.md", "deploy/nginx.conf", "deploy/haproxy.cfg", "deploy/fanwire.service"];

/// Flags of other programs.
const FOREIGN: [&str; 5] = ["--release", "--workspace", "--features", "--test", "--bench"];

/// The `--flags` in `text`.
fn flags(text: &str) -> BTreeSet<&str> {
    let ends = |c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    let all = text.match_indices("--").map(|(at, _)| {
        let rest = &text[at..];
        &rest[..rest.find(ends).unwrap_or(rest.len())]
    });
    // Rules of tables are dashes alone.
    all.filter(|flag| flag.len() > 3 && flag.as_bytes()[2].is_ascii_lowercase()).collect()
}

/// The flags of the load tool, from the fields that its parsers are made of: its binary may not have been built.
fn load_tool_flags() -> BTreeSet<String> {
    let sources = ["../loadtest/src/cli.rs", "../loadtest/src/compare/options.rs"];
    let text: String = sources.map(|path| std::fs::read_to_string(tests_path(path)).unwrap()).concat();
    let fields = text.lines().filter_map(|line| line.trim().trim_start_matches("pub ").split_once(": "));
    fields.map(|(field, _)| format!("--{}", field.replace('_', "-"))).collect()
}

#[test]
fn flags_that_documents_name_exist() {
    let (status, help) = Server::run_bare(&["--help"], &[]);
    assert!(status.success(), "{help}");
    let known = flags(&help);
    let load_tool = load_tool_flags();
    assert!(load_tool.len() > 10, "{load_tool:?}");
    for document in DOCUMENTS {
        let text = std::fs::read_to_string(tests_path(document)).unwrap();
        let named = flags(&text);
        let is_known = |f: &str| known.contains(f) || load_tool.contains(f) || FOREIGN.contains(&f);
        let unknown: Vec<_> = named.iter().filter(|f| !is_known(f)).collect();
        assert!(unknown.is_empty(), "{document} names {unknown:?}");
    }
}

#[test]
fn links_of_the_readme_lead_to_files() {
    let readme = std::fs::read_to_string(tests_path("../README.md")).unwrap();
    let links: Vec<_> = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(links.len() >= 4, "{links:?}");
    for link in links {
        assert!(tests_path("..").join(link).exists(), "{link}");
    }
}

#[test]
fn flags_are_found_in_text() {
    let text = "| `--host`, `--port 8081` |\n|---|---|\n--proxy-protocol=true and a -- dash, --x";
    assert_eq!(Vec::from_iter(flags(text)), ["--host", "--port", "--proxy-protocol"]);
}

/// The blocks of code of a language in the README.
fn blocks(language: &str) -> Vec<String> {
    let readme = std::fs::read_to_string(tests_path("../README.md")).unwrap();
    let fence = format!("```{language}\n");
    let starts = readme.split(&fence).skip(1);
    starts.filter_map(|rest| rest.split("```").next()).map(str::to_owned).collect()
}

#[test]
fn configurations_in_the_readme_are_right_and_meant() {
    let blocks = blocks("yaml");
    assert!(blocks.len() >= 3, "{blocks:?}");
    for block in blocks {
        let sources = Sources { file: Some(("README.md", &block)), env: &[], flags: &[] };
        let config = load(&sources).unwrap_or_else(|errors| panic!("{errors:?}\n{block}"));
        assert_eq!(config.warnings(), [""; 0], "{block}");
    }
}

#[test]
fn the_token_made_by_the_readme_is_good() {
    let block =
        blocks("sh").into_iter().find(|block| block.contains("TOKEN=$SIGNED")).expect("the README has it");
    let script = format!("{block}printf '%s %s' \"$FANWIRE_JWT_SECRET\" \"$TOKEN\"");
    let run = std::process::Command::new("sh").arg("-ec").arg(script).output().unwrap();
    let said = String::from_utf8(run.stdout).unwrap();
    let Some((secret, token)) = said.split_once(' ').filter(|_| run.status.success()) else {
        return crate::common::left_out("the_token_made_by_the_readme_is_good", "openssl");
    };
    let server = Server::start_with(&["--preset", "tenants"], &[("FANWIRE_JWT_SECRET", secret)]);
    let mut client = crate::common::Client::ungreeted(server.addr(), &format!("/ws?token={token}"), &[]);
    client.expect_json(|message| assert_eq!(message["type"], "connection", "{message}"));
    client.send_text(r#"{"type":"join_channel","data":{"channel":"tenant:a1"}}"#);
    client.expect_json(|message| assert_eq!(message["type"], "channel_joined", "{message}"));
}
