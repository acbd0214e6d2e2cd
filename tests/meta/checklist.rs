//! The checklist of the documents (tests/documents/checklist.md): every row names a test that there is, and what that
//! test asserts.

use crate::common::tests_path;
use crate::source::is_word;
use fanwire::base::Mutation;
use std::collections::BTreeMap;
use std::path::Path;

/// A row of a list.
#[derive(Debug, PartialEq)]
struct Row {
    what: String,
    test: String,
    /// What stands in the test, each in backticks; empty where the list has no such column.
    asserted: String,
}

/// The rows of a list.
fn rows(text: &str) -> Vec<Row> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let row = |line: &str| {
        // The other cells may hold the sign between cells, but the test is one word.
        let cells: Vec<_> = line.split(" | ").collect();
        let is_test = |cell: &str| cell.contains(".rs::") && !cell.contains([' ', '`']);
        let at = cells.iter().position(|cell| is_test(cell)).unwrap_or(cells.len() - 1);
        let [what, asserted] = [&cells[..at], &cells[at + 1..]].map(|cells| cells.join(" | "));
        Row { what, test: cells[at].to_owned(), asserted }
    };
    lines.filter(|line| !line.starts_with("what | test")).map(row).collect()
}

/// The documents.
const DOCUMENTS: [&str; 4] =
    ["rooms-go-module.md", "channels-fastify.md", "topics-aegisx-service.md", "tenants-aegisx-platform.md"];

fn read(name: &str) -> String {
    std::fs::read_to_string(tests_path("documents").join(name)).unwrap()
}

/// The rows of a list that are about a document.
fn rows_of(list: &str, document: &str) -> Vec<Row> {
    let (_, section) = list.split_once(&format!("\n## {document}\n")).expect(document);
    rows(section.split("\n## ").next().unwrap())
}

/// The parts of a document in its order: headings with text of their own, and code blocks.
fn parts(document: &str) -> Vec<String> {
    let (mut parts, mut heading, mut blocks) = (Vec::new(), "", 0);
    let mut in_code = false;
    for line in document.lines().map(str::trim_end) {
        if line.starts_with("```") {
            in_code = !in_code;
            if in_code {
                blocks += 1;
                parts.push(format!("{heading}, code {blocks}"));
            }
        } else if in_code {
        } else if line.starts_with('#') {
            (heading, blocks) = (line, 0);
        } else if !line.is_empty() && line != "---" && !parts.iter().any(|part| part == heading) {
            parts.push(heading.to_owned());
        }
    }
    parts
}

/// What is wrong about a row, if anything is.
fn complaint(row: &Row) -> Option<String> {
    let Row { what, test, asserted } = row;
    let Some((file, name)) = test.split_once("::") else { return Some(format!("{what}: no test")) };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = if file.starts_with("src/") { root.join(file) } else { tests_path(file) };
    let Ok(text) = std::fs::read_to_string(&path) else { return Some(format!("{what}: no file {file}")) };
    if !is_test(&text, name) {
        return Some(format!("{what}: no test {name} in {file}"));
    }
    let body = squeezed(&body_of(&text, name));
    let quotes = asserted.split('`').skip(1).step_by(2);
    let missing = quotes.into_iter().find(|quote| !body.contains(&squeezed(quote)));
    missing.map(|quote| format!("{what}: {file}::{name} does not hold {quote}"))
}

/// The text without blanks and line breaks, which the formatter moves.
fn squeezed(text: &str) -> String {
    text.split_whitespace().collect()
}

/// The functions and constants of a file by name, each up to where its indentation comes back.
fn items(text: &str) -> BTreeMap<&str, &str> {
    let mut found = BTreeMap::new();
    let mut at = 0;
    let indent = |line: &str| line.len() - line.trim_start().len();
    for line in text.split_inclusive('\n') {
        let words = line.trim_start().trim_start_matches("pub ");
        let named =
            ["fn ", "const ", "static "].iter().find_map(|kind| Some((*kind, words.strip_prefix(kind)?)));
        if let Some((kind, named)) = named {
            let name = &named[..named.find(|c| !is_word(c)).unwrap_or(named.len())];
            let end = if kind == "fn " { '}' } else { ';' };
            let is_last = |(number, it): (usize, &str)| {
                it.trim_end().ends_with(end) && (number == 0 || indent(it) <= indent(line))
            };
            let lines = text[at..].split_inclusive('\n');
            let last = lines.clone().enumerate().position(is_last).unwrap_or(0);
            let length = lines.take(last + 1).map(str::len).sum::<usize>();
            found.entry(name).or_insert(&text[at..at + length]);
        }
        at += line.len();
    }
    found
}

/// A test with the functions and constants of its file that it names, and those that these name.
fn body_of(text: &str, name: &str) -> String {
    let items = items(text);
    let names = |item: &str, other: &str| {
        item.match_indices(other).any(|(at, _)| {
            let before = item[..at].chars().next_back().is_some_and(is_word);
            !before && !item[at + other.len()..].chars().next().is_some_and(is_word)
        })
    };
    let mut known = vec![name];
    let mut body = String::new();
    let mut next = 0;
    while let Some(item) = known.get(next).map(|name| items.get(name).copied().unwrap_or_default()) {
        body.push_str(item);
        known.extend(
            items
                .keys()
                .filter(|other| !known.contains(other) && names(item, other))
                .copied()
                .collect::<Vec<_>>(),
        );
        next += 1;
    }
    body
}

/// Whether source text has a test of this name that runs.
fn is_test(text: &str, name: &str) -> bool {
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let head = format!("fn {name}(");
    lines.iter().enumerate().any(|(at, line)| {
        let attributes =
            lines[..at].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("//"));
        let mut attributes = attributes.filter(|line| line.starts_with("#["));
        line.starts_with(&head)
            && attributes.clone().any(|it| *it == "#[test]")
            && !attributes.any(|it| it.contains("ignore"))
    })
}

#[test]
fn every_row_has_a_test() {
    let text = read("checklist.md");
    let rows = rows(&text);
    assert!(rows.len() > 100, "{} rows", rows.len());
    let wrong: Vec<_> = rows.iter().filter_map(complaint).collect();
    assert!(wrong.is_empty(), "rows without a test or an assertion:\n{}", wrong.join("\n"));
    let bare: Vec<_> = rows.iter().filter(|row| row.asserted.matches('`').count() < 2).collect();
    assert!(bare.is_empty(), "rows that name no assertion: {bare:?}");
}

#[test]
fn every_part_of_a_document_has_a_test_or_is_not_ours() {
    let list = read("parts.md");
    for document in DOCUMENTS {
        let rows = rows_of(&list, document);
        // A list has a heading before its code.
        let mut named: Vec<_> = rows.iter().map(|row| row.what.clone()).collect();
        named.sort();
        let mut found = parts(&read(document));
        found.sort();
        assert_eq!(named, found, "{document}");
        let is_ours = |row: &&Row| row.test.strip_prefix("not ours: ").is_none_or(|why| why.len() < 10);
        let wrong: Vec<_> = rows.iter().filter(is_ours).filter_map(complaint).collect();
        assert!(wrong.is_empty(), "parts without a test:\n{}", wrong.join("\n"));
    }
}

#[test]
fn a_part_is_found_wherever_it_stands() {
    let document = "# A\n\n## B\ntext\nmore\n```js\n# no heading\n```\nafter\n```\n```\n---\n### C\n```\nx\n```\n## D\n---\n";
    assert_eq!(parts(document), ["## B", "## B, code 1", "## B, code 2", "### C, code 1"]);
}

#[test]
fn a_row_without_a_test_or_an_assertion_is_found() {
    let text = "| what | test | asserted |\n|---|---|---|\n\
                | `a | b` | meta/checklist.rs::every_row_has_a_test | `rows.len() > 100` and `is_empty()` |\n\
                | b | meta/checklist.rs::every_row_has_a_test | `fn squeezed(text: &str)` |\n\
                | c | meta/checklist.rs::is_test |\n| d | meta/checklist.rs::never |\n| e | never.rs::x |\n| f |  |\n\
                | g | meta/checklist.rs::every_row_has_a_test | `rows.len() > 1_000_000` |\n";
    let rows = rows(text);
    assert_eq!(rows.len(), 7);
    assert_eq!(
        (rows[0].what.as_str(), rows[0].test.as_str()),
        ("`a | b`", "meta/checklist.rs::every_row_has_a_test")
    );
    let wrong: Vec<_> = rows.iter().map(|row| complaint(row).is_some()).collect();
    // The second one is held by a function that the test comes to through another.
    assert_eq!(wrong, [false, false, true, true, true, true, true]);
    assert!(!is_test("#[test]\n#[ignore = \"slow\"]\nfn a() {}", "a"));
    assert!(is_test("#[test]\n/// Why.\nfn a() {}", "a"));
}

#[test]
fn every_document_has_rows() {
    let text = read("checklist.md");
    for document in DOCUMENTS {
        assert!(rows_of(&text, document).len() > 10, "{document}");
    }
}

/// The rows of mistakes.md: a mistake, and the test that finds it.
fn mistakes(text: &str) -> Vec<(&str, &str)> {
    let cells =
        text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | "));
    cells.filter(|row| *row != ("mistake", "test")).collect()
}

#[test]
fn every_broken_feature_has_a_row_that_turns_red() {
    let (text, checklist) = (read("mistakes.md"), read("checklist.md"));
    let named = mistakes(&text);
    let known: Vec<_> = Mutation::ALL.iter().chain(Mutation::FEATURES).map(|it| format!("{it:?}")).collect();
    for (mistake, test) in &named {
        assert!(known.iter().any(|it| it == mistake), "there is no mistake {mistake}");
        let row = Row { what: (*mistake).to_owned(), test: (*test).to_owned(), asserted: String::new() };
        assert_eq!(complaint(&row), None);
        assert!(!test.starts_with("src/"), "{test} runs no server");
        assert!(rows(&checklist).iter().any(|row| row.test == *test), "{test} is no test of the checklist");
    }
    for mistake in Mutation::FEATURES.iter().map(|it| format!("{it:?}")) {
        assert!(named.iter().any(|(name, _)| *name == mistake), "no test finds {mistake}");
    }
}
