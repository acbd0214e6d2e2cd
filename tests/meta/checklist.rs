//! The checklist of the documents (tests/documents/checklist.md): every row names a test that there is.

use crate::common::tests_path;
use std::path::Path;

/// What a row says, and its test.
type Row<'a> = (&'a str, &'a str);

/// The rows of a checklist.
fn rows(text: &str) -> Vec<Row<'_>> {
    let cells =
        text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.rsplit_once(" | "));
    cells.filter(|row| *row != ("what", "test")).collect()
}

/// The documents.
const DOCUMENTS: [&str; 3] =
    ["channels-fastify.md", "topics-aegisx-service.md", "tenants-aegisx-platform.md"];

fn read(name: &str) -> String {
    std::fs::read_to_string(tests_path("documents").join(name)).unwrap()
}

/// The rows of a list that are about a document.
fn rows_of<'a>(list: &'a str, document: &str) -> Vec<Row<'a>> {
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
fn complaint((what, test): Row<'_>) -> Option<String> {
    let Some((file, name)) = test.split_once("::") else { return Some(format!("{what}: no test")) };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = if file.starts_with("src/") { root.join(file) } else { tests_path(file) };
    let Ok(text) = std::fs::read_to_string(&path) else { return Some(format!("{what}: no file {file}")) };
    (!is_test(&text, name)).then(|| format!("{what}: no test {name} in {file}"))
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
    let wrong: Vec<_> = rows.into_iter().filter_map(complaint).collect();
    assert!(wrong.is_empty(), "rows without a test:\n{}", wrong.join("\n"));
}

#[test]
fn every_part_of_a_document_has_a_test_or_is_not_ours() {
    let list = read("parts.md");
    for document in DOCUMENTS {
        let rows = rows_of(&list, document);
        // A list has a heading before its code.
        let mut named: Vec<_> = rows.iter().map(|row| row.0.to_owned()).collect();
        named.sort();
        let mut found = parts(&read(document));
        found.sort();
        assert_eq!(named, found, "{document}");
        let is_ours = |row: &Row<'_>| row.1.strip_prefix("not ours: ").is_none_or(|why| why.len() < 10);
        let wrong: Vec<_> = rows.into_iter().filter(is_ours).filter_map(complaint).collect();
        assert!(wrong.is_empty(), "parts without a test:\n{}", wrong.join("\n"));
    }
}

#[test]
fn a_part_is_found_wherever_it_stands() {
    let document = "# A\n\n## B\ntext\nmore\n```js\n# no heading\n```\nafter\n```\n```\n---\n### C\n```\nx\n```\n## D\n---\n";
    assert_eq!(parts(document), ["## B", "## B, code 1", "## B, code 2", "### C, code 1"]);
}

#[test]
fn a_row_without_a_test_is_found() {
    let text = "| what | test |\n|---|---|\n| `a | b` | meta/checklist.rs::every_row_has_a_test |\n\
                | c | meta/checklist.rs::is_test |\n| d | meta/checklist.rs::never |\n| e | never.rs::x |\n| f |  |\n";
    let rows = rows(text);
    assert_eq!(rows.len(), 5);
    assert_eq!(rows[0], ("`a | b`", "meta/checklist.rs::every_row_has_a_test"));
    let wrong: Vec<_> = rows.into_iter().map(|row| complaint(row).is_some()).collect();
    assert_eq!(wrong, [false, true, true, true, true]);
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
