//! Replays every corpus, and for a while mutations of it, on any compiler.
//!
//! `FANWIRE_REPLAY_MS` (1000) is the time for the mutations of each target, `FANWIRE_REPLAY_SEED` (1) their seed. An
//! input that fails is printed in hexadecimal; it belongs into the corpus.

use fanwire_fuzz::mutate::{Random, mutate};
use fanwire_fuzz::{Check, TARGETS};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Most files of one corpus, so that it stays something to look through.
const FILES_MAX: usize = 200;

/// Longest input that a mutation makes, in bytes.
const BYTES_MAX: usize = 4096;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// The files of a corpus, by name, in the order of their names.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = corpora().join(target);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = files
        .map(|file| {
            let path = file.unwrap().path();
            (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap())
        })
        .collect();
    files.sort();
    files
}

fn number(variable: &str, default: u64) -> u64 {
    let given = std::env::var(variable).ok();
    given.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable}: {text:?} is no number")))
}

/// Runs `check`, and tells the input if it fails.
fn run(check: Check, name: &str, data: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| check(data))).is_err() {
        let hex: String = data.iter().map(|byte| format!("{byte:02x}")).collect();
        panic!("{name} failed on {} bytes: {hex}", data.len());
    }
}

fn replay(target: &str) {
    let &(_, check) = TARGETS.iter().find(|(name, _)| *name == target).unwrap();
    let files = corpus(target);
    assert!((1..=FILES_MAX).contains(&files.len()), "{target}: {} files", files.len());
    for (name, data) in &files {
        run(check, &format!("{target}/{name}"), data);
    }
    let seed = number("FANWIRE_REPLAY_SEED", 1);
    let mut random = Random::new(seed);
    let ends = Instant::now() + Duration::from_millis(number("FANWIRE_REPLAY_MS", 1000));
    let mut runs = 0;
    while runs < 100 || Instant::now() < ends {
        let [one, other] = [random.below(files.len()), random.below(files.len())].map(|index| &files[index]);
        let data = mutate(&one.1, &other.1, &mut random, BYTES_MAX);
        run(check, &format!("{target}: a mutation of {} (seed {seed}, number {runs})", one.0), &data);
        runs += 1;
    }
    println!("{target}: {} files and {runs} mutations", files.len());
}

#[test]
fn every_target_has_a_corpus_and_every_corpus_a_target() {
    let folders = std::fs::read_dir(corpora()).unwrap();
    let mut folders: Vec<_> = folders.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    folders.sort();
    let mut targets: Vec<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    targets.sort();
    assert_eq!(folders, targets);
    for target in targets {
        let binary = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz_targets").join(target + ".rs");
        assert!(binary.exists(), "{}", binary.display());
    }
}

#[test]
fn hook() {
    replay("hook");
}

#[test]
fn frames() {
    replay("frames");
}

#[test]
fn upgrade() {
    replay("upgrade");
}

#[test]
fn rooms() {
    replay("rooms");
}

#[test]
fn config() {
    replay("config");
}

#[test]
fn api() {
    replay("api");
}

#[test]
fn proxy() {
    replay("proxy");
}

#[test]
fn deflate() {
    replay("deflate");
}

#[test]
fn receive() {
    replay("receive");
}

#[test]
fn token() {
    replay("token");
}

#[test]
fn access() {
    replay("access");
}

#[test]
fn channels() {
    replay("channels");
}

#[test]
fn topics() {
    replay("topics");
}

#[test]
fn tenants() {
    replay("tenants");
}
