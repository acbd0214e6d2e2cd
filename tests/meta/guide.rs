//! Every example of the guide and of the README is run: conversations and commands by [`crate::stage`], Rust by
//! `cargo test --doc`.

use crate::blocks::{blocks, chapters, documents, read};
use crate::stage::play;
use fanwire::model::{CloseReason, Refusal};

#[test]
fn what_the_documents_show_happens() {
    let documents = documents();
    let failed: Vec<_> = std::thread::scope(|scope| {
        let played: Vec<_> = documents.iter().map(|name| (name, scope.spawn(|| play(name)))).collect();
        let failed = played.into_iter().filter_map(|(name, thread)| thread.join().is_err().then_some(name));
        failed.collect()
    });
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn every_chapter_is_in_the_guide() {
    let module = read("src/guide/mod.rs");
    for chapter in chapters() {
        let name = chapter.trim_start_matches("src/guide/").trim_end_matches(".md");
        assert!(module.split_whitespace().any(|word| word == name), "src/guide/mod.rs does not have {name}");
    }
}

#[test]
fn the_chapter_on_errors_has_every_text_and_code() {
    let chapter = read("src/guide/errors.md");
    for refusal in Refusal::ALL {
        assert!(chapter.contains(&format!("`{}`", refusal.text())), "{}", refusal.text());
    }
    for reason in CloseReason::ALL {
        // A connection that ends without a close frame has no code that anybody sends.
        let code =
            if *reason == CloseReason::TransportLost { String::new() } else { reason.code().to_string() };
        let row = chapter.lines().find(|row| {
            row.starts_with(&format!("| {code}")) && row.contains(&format!("`{}`", reason.label()))
        });
        let row = row.unwrap_or_else(|| panic!("no row with {code} and {}", reason.label()));
        assert!(row.contains(reason.text()), "{row}: {:?}", reason.text());
    }
}

/// What a document shows of a sample stands in the sample, but for comments.
#[test]
fn what_the_chapter_on_operating_shows_of_samples_stands_in_them() {
    let chapter = read("src/guide/operating.md");
    let bare = |line: &str| line.split(" #").next().unwrap_or_default().trim().to_owned();
    let samples = [("nginx", "nginx.conf"), ("haproxy", "haproxy.cfg"), ("ini", "fanwire.service")];
    for (language, file) in samples {
        let sample: Vec<_> = read(&format!("tests/deploy/{file}")).lines().map(bare).collect();
        let shown: Vec<_> = blocks(&chapter).into_iter().filter(|block| block.language == language).collect();
        assert!(!shown.is_empty(), "{language}");
        for line in shown.iter().flat_map(|block| block.text.lines().map(bare)) {
            assert!(line.is_empty() || sample.contains(&line), "{file} does not have {line}");
        }
    }
}
