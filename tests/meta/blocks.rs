//! The documents as the tests read them: their blocks of code, and text with gaps.

use crate::common::tests_path;

/// A block of code in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The first word after the fence; empty where there is none.
    pub language: String,
    pub text: String,
    /// Line of the fence in the document, from 1.
    pub line: usize,
}

/// The text of a file of the project.
pub fn read(path: &str) -> String {
    let path = tests_path("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The chapters of the guide as `src/guide/NAME.md`, in the order of their names.
pub fn chapters() -> Vec<String> {
    let folder = std::fs::read_dir(tests_path("../src/guide")).expect("the guide is there");
    let names = folder.map(|entry| entry.expect("it can be read").file_name().into_string().expect("a name"));
    let mut chapters: Vec<_> =
        names.filter(|name| name.ends_with(".md")).map(|name| format!("src/guide/{name}")).collect();
    chapters.sort();
    chapters
}

/// The documents for users: the README, the chapters of the guide, and the page on tuning.
pub fn documents() -> Vec<String> {
    let others = ["README.md", "tuning.md"].map(str::to_owned);
    others.into_iter().chain(chapters()).collect()
}

/// The blocks of code of a document in their order.
pub fn blocks(document: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in document.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        match (&mut open, fence) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => {
                block.text += line;
                block.text.push('\n');
            }
            (None, Some(words)) => {
                let language = words.split([',', ' ']).next().unwrap_or_default().to_owned();
                open = Some(Block { language, text: String::new(), line: number + 1 });
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block without an end: {open:?}");
    blocks
}

/// The blocks of a language in all documents for users.
pub fn blocks_of(language: &str) -> Vec<(String, Block)> {
    let of_document = |name: String| {
        let blocks = blocks(&read(&name)).into_iter().filter(|block| block.language == language);
        blocks.map(|block| (name.clone(), block)).collect::<Vec<_>>()
    };
    documents().into_iter().flat_map(of_document).collect()
}

/// The name of the file that a block is, from the comment in its first line: `# rooms.yaml`, `// publish.mjs`,
/// `<!-- feed.html -->`.
pub fn file_name(block: &Block) -> Option<&str> {
    let first = block.text.lines().find(|line| *line != "<?php" && *line != "<!doctype html>")?;
    let comment = ["# ", "// ", "<!-- "].iter().find_map(|sign| first.strip_prefix(sign))?;
    let name = comment.trim_end_matches("-->").trim();
    let is_name =
        name.contains('.') && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    is_name.then_some(name)
}

#[test]
fn blocks_are_found_with_their_language() {
    let document = "text\n```yaml\na: 1\n```\n  ```sh,ignore\n  x\n  ```\n```\nplain\n```\n";
    let found: Vec<_> = blocks(document).into_iter().map(|b| (b.language, b.text, b.line)).collect();
    let expected = [("yaml", "a: 1\n", 2), ("sh", "  x\n", 5), ("", "plain\n", 8)];
    assert_eq!(found, expected.map(|(language, text, line)| (language.to_owned(), text.to_owned(), line)));
}

#[test]
fn a_block_says_which_file_it_is() {
    let name = |text: &str| {
        let block = Block { language: String::new(), text: text.to_owned(), line: 1 };
        file_name(&block).map(str::to_owned)
    };
    assert_eq!(name("# chat.yaml\nroom_rules: []\n").as_deref(), Some("chat.yaml"));
    assert_eq!(name("<!doctype html>\n<!-- feed.html -->\n").as_deref(), Some("feed.html"));
    assert_eq!(name("<?php\n// publish.php\n").as_deref(), Some("publish.php"));
    assert_eq!(name("# a comment.\n"), None);
    assert_eq!(name("room_rules: []\n"), None);
}
