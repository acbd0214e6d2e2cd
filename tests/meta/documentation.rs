//! The documents name what there is: every flag they mention is one of the binary's or of the load tool's,
//! every file is in the tree.

use crate::blocks::{blocks_of, chapters, documents, read};
use crate::common::{Server, tests_path};
use fanwire::config::{Sources, load};
use std::collections::BTreeSet;

/// Samples for programs around the server.
const SAMPLES: [&str; 3] =
    ["tests/deploy/nginx.conf", "tests/deploy/haproxy.cfg", "tests/deploy/fanwire.service"];

/// Flags of other programs.
const FOREIGN: [&str; 8] =
    ["--release", "--workspace", "--features", "--test", "--bench", "--path", "--locked", "--open"];

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
    for document in documents().into_iter().chain(SAMPLES.map(str::to_owned)) {
        let text = read(&document);
        let named = flags(&text);
        let is_known = |f: &str| known.contains(f) || load_tool.contains(f) || FOREIGN.contains(&f);
        let unknown: Vec<_> = named.iter().filter(|f| !is_known(f)).collect();
        assert!(unknown.is_empty(), "{document} names {unknown:?}");
    }
}

/// The links of a document that lead to a file, with the label where it is apart from the text.
fn links(text: &str) -> Vec<(Option<&str>, &str)> {
    let inline = text.split("](").skip(1).filter_map(|rest| Some((None, rest.split(')').next()?)));
    let apart = text.lines().filter_map(|line| {
        let (label, target) = line.strip_prefix('[')?.split_once("]: ")?;
        Some((Some(label), target))
    });
    inline.chain(apart).filter(|(_, target)| !target.contains("://")).collect()
}

#[test]
fn links_lead_to_files() {
    let mut found = 0;
    for document in documents() {
        let text = read(&document);
        let folder = tests_path("..").join(&document);
        for (_, link) in links(&text) {
            let (file, _) = link.split_once('#').unwrap_or((link, ""));
            assert!(folder.parent().expect("a folder").join(file).exists(), "{document}: {link}");
            found += 1;
        }
    }
    assert!(found > 20, "{found} links");
}

#[test]
fn the_readme_is_a_short_door() {
    assert!(read("README.md").len() <= 12 * 1024);
}

#[test]
fn links_between_chapters_are_by_name() {
    // Only so do they lead somewhere in the documentation of the crate as well, see src/guide/mod.rs.
    for chapter in chapters() {
        let text = read(&chapter);
        for (label, link) in links(&text).into_iter().filter(|(_, link)| !link.contains('/')) {
            let label = label.unwrap_or_else(|| panic!("{chapter}: the link to {link} has no label"));
            assert_eq!(format!("{label}.md"), link, "{chapter}");
        }
        let used = text.split("][").skip(1).filter_map(|rest| rest.split(']').next());
        for label in used {
            assert!(text.contains(&format!("\n[{label}]: ")), "{chapter}: {label} leads nowhere");
        }
    }
}

#[test]
fn flags_are_found_in_text() {
    let text = "| `--host`, `--port 8081` |\n|---|---|\n--proxy-protocol=true and a -- dash, --x";
    assert_eq!(Vec::from_iter(flags(text)), ["--host", "--port", "--proxy-protocol"]);
}

#[test]
fn configurations_in_the_documents_are_right_and_meant() {
    let blocks = blocks_of("yaml");
    assert!(blocks.len() >= 3, "{blocks:?}");
    // Keys are no part of a file that is shown to others.
    let env = [("FANWIRE_JWT_SECRET".to_owned(), "a secret of tests that nobody guesses".to_owned())];
    for (document, block) in blocks {
        let place = format!("{document}:{}", block.line);
        let sources = Sources { file: Some((&document, &block.text)), env: &env, flags: &[] };
        let config = load(&sources).unwrap_or_else(|errors| panic!("{place}: {errors:?}\n{}", block.text));
        assert_eq!(config.warnings(), [""; 0], "{place}\n{}", block.text);
    }
}

/// JSON that a document shows, with something in place of what it leaves out.
fn without_gaps(line: &str) -> String {
    let gaps = [("{…}", "{}"), (",…", ""), ("…,", ""), (":…", ":0")];
    gaps.iter().fold(line.to_owned(), |line, (gap, whole)| line.replace(gap, whole))
}

#[test]
fn json_in_the_documents_is_json() {
    for (document, block) in blocks_of("json") {
        for line in block.text.lines().map(without_gaps) {
            let parsed = serde_json::from_str::<serde_json::Value>(&line);
            assert!(parsed.is_ok(), "{document}:{}: {parsed:?}\n{line}", block.line);
        }
    }
}
