//! The checklist of the documents (tests/documents/checklist.md): every row names a test that there is.

mod common;

use common::tests_path;
use std::path::Path;

/// What a row says, and its test.
type Row<'a> = (&'a str, &'a str);

/// The rows of a checklist.
fn rows(text: &str) -> Vec<Row<'_>> {
    let cells =
        text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.rsplit_once(" | "));
    cells.filter(|row| *row != ("what", "test")).collect()
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
    let text = std::fs::read_to_string(tests_path("documents/checklist.md")).unwrap();
    let rows = rows(&text);
    assert!(rows.len() > 60, "{} rows", rows.len());
    let wrong: Vec<_> = rows.into_iter().filter_map(complaint).collect();
    assert!(wrong.is_empty(), "rows without a test:\n{}", wrong.join("\n"));
}

#[test]
fn a_row_without_a_test_is_found() {
    let text = "| what | test |\n|---|---|\n| `a | b` | checklist.rs::every_row_has_a_test |\n\
                | c | checklist.rs::is_test |\n| d | checklist.rs::never |\n| e | never.rs::x |\n| f |  |\n";
    let rows = rows(text);
    assert_eq!(rows.len(), 5);
    assert_eq!(rows[0], ("`a | b`", "checklist.rs::every_row_has_a_test"));
    let wrong: Vec<_> = rows.into_iter().map(|row| complaint(row).is_some()).collect();
    assert_eq!(wrong, [false, true, true, true, true]);
    assert!(!is_test("#[test]\n#[ignore = \"slow\"]\nfn a() {}", "a"));
    assert!(is_test("#[test]\n/// Why.\nfn a() {}", "a"));
}

#[test]
fn every_document_has_rows() {
    let text = std::fs::read_to_string(tests_path("documents/checklist.md")).unwrap();
    for document in ["channels-fastify.md", "topics-aegisx-service.md", "tenants-aegisx-platform.md"] {
        assert!(tests_path("documents").join(document).exists());
        let (_, section) = text.split_once(&format!("\n## {document}\n")).expect(document);
        let section = section.split("\n## ").next().unwrap();
        assert!(rows(section).len() > 10, "{document}");
    }
}
