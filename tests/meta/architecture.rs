//! The laws of the code: which part may import which, where `unsafe` may stand, how long a file may be.

use crate::source::{code_only, is_word};
use std::fs;
use std::path::{Path, PathBuf};

/// Imports run one way: a module imports strictly lower layers and itself, never a sibling. [`NODE`] is one part in
/// several files.
const LAYERS: [&[&str]; 9] = [
    &["base", "guide"],
    &["model", "wire"],
    &["dialect", "metrics"],
    &["config"],
    &["hub", "auth", "broker"],
    &["shard", "api", "webhook"],
    &["io"],
    &["node", "allocator"],
    &["main", "lib"],
];

/// The files of the part `node`.
const NODE: [&str; 6] = ["batch", "callbacks", "calls", "handle", "handler", "node"];

/// The only files that may contain `unsafe`.
const UNSAFE_FILES: [&str; 3] = ["src/allocator.rs", "src/io/turn/ring.rs", "src/io/turn/sys.rs"];

/// Longest file in `src/`.
const LINES_MAX: usize = 600;

/// Everything at top level that is not a dotfile or a build folder.
const TOP_LEVEL: [&str; 10] = [
    "Cargo.toml",
    "Cargo.lock",
    "src",
    "benches",
    "loadtest",
    "tests",
    "tuning.md",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
];

#[test]
fn imports_run_one_way() {
    let wrong: Vec<_> = sources().iter().flat_map(|(path, text)| wrong_edges(path, text)).collect();
    assert!(wrong.is_empty(), "imports that run the wrong way:\n{}", wrong.join("\n"));
}

#[test]
fn the_checker_sees_a_wrong_edge() {
    let wrong = |path: &str, text: &str| wrong_edges(path, text).len();
    assert_eq!(wrong("src/wire/frame.rs", "use crate::hub::Hub;"), 1, "upwards");
    assert_eq!(wrong("src/hub/mod.rs", "use crate::auth::token::Names;"), 1, "sideways");
    assert_eq!(wrong("src/dialect/mod.rs", "use crate::config::Config;"), 1, "upwards by one");
    assert_eq!(wrong("src/model/room.rs", "use crate::wire::Opcode;"), 1, "sideways");
    assert_eq!(wrong("src/base/slab.rs", "fn f() { crate::model::Refusal::text(); }"), 1, "without use");
    assert_eq!(
        wrong("src/hub/mod.rs", "use crate::{\n  base::{Slab, io},\n  io::Clock,\n};"),
        1,
        "in a group"
    );
    assert_eq!(wrong("src/hub/room/list.rs", "use super::super::super::shard::Shard;"), 1, "through super");
    assert_eq!(wrong("src/hub/mod.rs", "use super::shard::Shard;"), 1, "through super of mod.rs");
    assert_eq!(wrong("src/metrics.rs", "use super::hub::Hub;"), 1, "through super of a file");
    assert_eq!(wrong("src/hub/mod.rs", "use crate::Everything;"), 1, "from the root");
    assert_eq!(wrong("src/novel/mod.rs", "use crate::base::Slab;"), 1, "a module without a layer");

    assert_eq!(wrong("src/hub/mod.rs", "use crate::{config::Limits, metrics::Metrics, model::Command};"), 0);
    assert_eq!(wrong("src/hub/mod.rs", "use crate::hub::room::Room;"), 0, "itself");
    assert_eq!(wrong("src/hub/room.rs", "use super::shard::Shard;"), 0, "a child that has a part's name");
    assert_eq!(
        wrong("src/metrics.rs", "#[cfg(test)]\nmod tests { use super::Metrics; }"),
        0,
        "a test module"
    );
    assert_eq!(wrong("src/handle.rs", "use crate::node::Node;"), 0, "one part in two files");
    assert_eq!(wrong("src/base/slab.rs", "// use crate::hub::Hub;\nconst A: &str = \"crate::hub::x\";"), 0);
}

#[test]
fn unsafe_stands_where_it_may_and_says_why() {
    for (path, text) in sources() {
        let code = code_only(&text);
        for (number, line) in code.lines().enumerate() {
            if !has_word(line, "unsafe") {
                continue;
            }
            assert!(
                UNSAFE_FILES.contains(&path.as_str()),
                "{path}:{}: unsafe may not stand here",
                number + 1
            );
            let above: Vec<_> = text.lines().take(number + 1).collect();
            let reason = above.iter().rev().take(6).any(|l| l.contains("SAFETY:") || l.contains("# Safety"));
            assert!(reason, "{path}:{}: unsafe without its reason (SAFETY:)", number + 1);
        }
    }
}

#[test]
fn files_are_short_and_finished() {
    for (path, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{path} has {lines} lines, at most {LINES_MAX} may be");
        let code = code_only(&text);
        for unfinished in ["dbg!", "todo!", "unimplemented!"] {
            assert!(!code.contains(unfinished), "{path} contains {unfinished}");
        }
        for unfinished in ["TODO", "FIXME", "XXX"] {
            assert!(!has_word(&text, unfinished), "{path} contains {unfinished}");
        }
    }
}

#[test]
fn unwrap_is_for_tests() {
    for (path, text) in sources() {
        if path.ends_with("tests.rs") || path.contains("tests/") {
            continue;
        }
        let code = code_only(&text);
        let tests = ["#[cfg(test)]", "#[cfg(all(test"].iter().filter_map(|mark| code.find(mark)).min();
        let shipped = &code[..tests.unwrap_or(code.len())];
        assert!(!shipped.contains(".unwrap()"), "{path}: unwrap() outside tests");
    }
}

#[test]
fn the_top_level_is_the_list() {
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let listed = TOP_LEVEL.contains(&name.as_str());
        // Build folders are ignored by git, see .gitignore.
        let ignored = name.starts_with('.') || name == "target" || name.starts_with("target-");
        assert!(listed || ignored, "{name} does not belong at top level");
    }
}

#[test]
fn literals_and_comments_are_no_code() {
    let code = code_only("a /* b /* c */ d */ e // f\n\"g\\\"h\" i 'j' '\\'' k<'l> r#\"m \" n\"# \"o\np\" q");
    assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a", "e", "i", "k<'l>", "q"]);
    assert_eq!(code.lines().count(), 3);
    assert!(has_word("pub unsafe fn", "unsafe") && !has_word("#![deny(unsafe_code)]", "unsafe"));
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of `src/`, as its path from the root and its text.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect(&root().join("src"), &mut found);
    assert!(!found.is_empty());
    found
}

fn collect(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            found.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The part a file belongs to, and how many `super` lead from its module to the crate's root.
fn part_of(path: &str) -> (String, usize) {
    let inner = path.strip_prefix("src/").unwrap_or(path).trim_end_matches(".rs");
    let mut steps: Vec<_> = inner.split('/').collect();
    if steps.len() > 1 && steps.last() == Some(&"mod") {
        steps.pop();
    }
    let depth = if ["main", "lib"].contains(&steps[0]) { 0 } else { steps.len() };
    (part_name(steps[0]), depth)
}

fn part_name(module: &str) -> String {
    if NODE.contains(&module) { "node" } else { module }.to_owned()
}

fn layer(part: &str) -> Option<usize> {
    LAYERS.iter().position(|parts| parts.contains(&part))
}

/// The imports in `text` that a file at `path` may not make, one line each.
fn wrong_edges(path: &str, text: &str) -> Vec<String> {
    let (from, depth) = part_of(path);
    let Some(from_layer) = layer(&from) else {
        return vec![format!("{path}: the part `{from}` has no layer")];
    };
    let mut wrong = Vec::new();
    for name in imports(&code_only(text), depth) {
        let to = part_name(&name);
        let allowed = to == from || layer(&to).is_some_and(|to_layer| to_layer < from_layer);
        if !allowed {
            wrong.push(format!("{path}: `{from}` may not import `{name}`"));
        }
    }
    wrong
}

/// The names right below the crate's root that `code` refers to, through `crate::` or through `depth` `super`s.
fn imports(code: &str, depth: usize) -> Vec<String> {
    let mut found = Vec::new();
    let supers = "super::".repeat(depth);
    let roots = [Some("crate::"), (depth > 0).then_some(supers.as_str())];
    // In a test module below the file, `super::` leads to the file itself.
    let shipped = code.find("#[cfg(test)]").unwrap_or(code.len());
    for prefix in roots.into_iter().flatten() {
        let searched = if prefix == "crate::" { code } else { &code[..shipped] };
        for (at, _) in searched.match_indices(prefix) {
            let before = code[..at].chars().next_back();
            if before.is_none_or(|c| !is_word(c) && c != ':') {
                first_names(&code[at + prefix.len()..], &mut found);
            }
        }
    }
    found.retain(|name| name != "super" && name != "self" && name != "*");
    found
}

/// The first names of a path or of a `{...}` group of paths.
fn first_names(text: &str, found: &mut Vec<String>) {
    let text = text.trim_start();
    let Some(group) = text.strip_prefix('{') else {
        let name: String = text.chars().take_while(|c| is_word(*c)).collect();
        found.push(if name.is_empty() { "*".into() } else { name });
        return;
    };
    let (mut depth, mut start) = (0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                first_names(&group[start..at], found);
                return;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                first_names(&group[start..at], found);
                start = at + 1;
            }
            _ => {}
        }
    }
}

fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back().is_some_and(is_word);
        let after = text[at + word.len()..].chars().next().is_some_and(is_word);
        !before && !after
    })
}
