//! The YAML file: its scalars as they are written, with their place, before it is known what they mean.

use super::error::ConfigError;
use super::list::source_of;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{NonFiniteFloatPolicy, Spanned};
use std::fmt;
use std::io::Read;
use std::path::Path;

/// Most bytes of a file: a mistaken path must not fill the memory.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Deepest nesting that any key has: `websocket.limits.max_connections`, and a list.
const DEPTH_MAX: usize = 4;

/// A value of the file.
#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    /// Its keys from the top, joined by dots.
    pub path: String,
    pub value: Value,
    /// Whether it is written as a list.
    pub is_list: bool,
    /// Its line, from 1.
    pub line: u64,
}

/// What a key has in the file.
#[derive(Debug, PartialEq)]
pub(super) enum Value {
    /// A scalar; the items of a list joined by commas.
    Text(String),
    /// A list with mappings in it, which the key reads itself.
    Mappings,
}

/// Reads a configuration file.
///
/// # Errors
/// If it cannot be read, is longer than 1 MiB, or is not UTF-8.
pub fn read_file(path: &Path) -> Result<String, Vec<ConfigError>> {
    let error = |what: String| vec![ConfigError::new(path.display().to_string(), what)];
    let file = std::fs::File::open(path).map_err(|e| error(format!("cannot be read: {e}")))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| error(format!("cannot be read: {e}")))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(error(format!("is longer than {FILE_BYTES_MAX} bytes")));
    }
    String::from_utf8(bytes).map_err(|e| error(format!("is not UTF-8: {e}")))
}

/// The values of a file, in its order.
///
/// # Errors
/// If it is not YAML, has a key twice, is no mapping, or nests where no key does.
pub(super) fn entries(text: &str) -> Result<Vec<Entry>, String> {
    // `log_level: off` is a text: only true and false are truth values, as YAML 1.2 has it. Numbers that are none, and
    // those that are too large, are texts as well. Errors tell the place and show nothing of the text around it, where
    // a key of the API may stand.
    let options = serde_saphyr::options! {
        strict_booleans: true,
        with_snippet: false,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
    };
    // A file of comments alone is a file without values.
    let root: Option<Spanned<Node>> =
        serde_saphyr::from_str_with_options(text, options).map_err(|e| e.to_string())?;
    let mut entries = Vec::new();
    match root.map(|root| root.value) {
        None | Some(Node::Null) => {}
        Some(Node::Map(pairs)) => flatten(text, "", pairs, 1, &mut entries)?,
        Some(_) => return Err("the file is no mapping of keys to values".to_owned()),
    }
    Ok(entries)
}

fn flatten(
    source: &str,
    prefix: &str,
    pairs: Vec<(String, Spanned<Node>)>,
    depth: usize,
    into: &mut Vec<Entry>,
) -> Result<(), String> {
    for (name, node) in pairs {
        let path = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        let line = node.referenced.line();
        let is_list = matches!(node.value, Node::List(_));
        if depth > DEPTH_MAX {
            return Err(format!("line {line}: {path}: no key is nested that deep"));
        }
        let value = match node.value {
            Node::Map(pairs) => {
                flatten(source, &path, pairs, depth + 1, into)?;
                continue;
            }
            Node::List(items) if items.iter().any(|item| matches!(item.value, Node::Map(_))) => {
                Value::Mappings
            }
            Node::List(items) => {
                let scalars = items.into_iter().map(|item| match text_of(source, item) {
                    Some(text) if !text.is_empty() && !text.contains(',') => Ok(text),
                    _ => Err(format!("line {line}: {path}: a list must hold plain values")),
                });
                Value::Text(scalars.collect::<Result<Vec<_>, _>>()?.join(","))
            }
            Node::Null | Node::Text(_) | Node::Other => {
                Value::Text(text_of(source, node).unwrap_or_default())
            }
        };
        into.push(Entry { path, value, is_list, line });
    }
    Ok(())
}

/// The text of a scalar, as it is written: `0x1F`, `1_000` and `1.10` are no other texts, whatever numbers they are.
fn text_of(source: &str, node: Spanned<Node>) -> Option<String> {
    match node.value {
        Node::Null => Some(String::new()),
        Node::Text(text) => Some(text),
        Node::Other => source_of(source, node.defined).map(str::to_owned),
        Node::List(_) | Node::Map(_) => None,
    }
}

/// YAML of any shape.
#[derive(Debug)]
enum Node {
    Null,
    Text(String),
    /// A number or a truth value, whose text only the source has.
    Other,
    List(Vec<Spanned<Node>>),
    Map(Vec<(String, Spanned<Node>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Node::Map(pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String, u64)> {
        let text_of = |value| match value {
            Value::Text(text) => text,
            Value::Mappings => "mappings".to_owned(),
        };
        entries(text).unwrap().into_iter().map(|e| (e.path, text_of(e.value), e.line)).collect()
    }

    #[test]
    fn values_are_found_with_path_and_line() {
        let text =
            "# a comment\nport: 9000\nwebsocket:\n  limits:\n    max_connections: 5\nhost: \"::1\"\nx:\n";
        assert_eq!(read("log_level: off\n")[0].1, "off");
        let value = |path: &str, text: &str, line| (path.to_owned(), text.to_owned(), line);
        let expected = [
            value("port", "9000", 2),
            value("websocket.limits.max_connections", "5", 5),
            value("host", "::1", 6),
            value("x", "", 7),
        ];
        assert_eq!(read(text), expected);
    }

    #[test]
    fn lists_are_joined() {
        assert_eq!(read("a: [x, y]\nb:\n  - 1\n  - true\n")[0].1, "x,y");
        assert_eq!(read("a: [x, y]\nb:\n  - 1\n  - true\n")[1].1, "1,true");
        assert!(entries("a: [[x]]").is_err());
        assert!(entries("a: ['x,y']").is_err(), "would be read as two");
    }

    #[test]
    fn scalars_keep_their_text() {
        for text in [
            "0x1F",
            "0o17",
            "0b11",
            "1_000",
            "1.10",
            "+5",
            "-0",
            "007",
            "1e3",
            "9e99999",
            ".inf",
            "-.INF",
            ".NaN",
            "True",
            "FALSE",
            "yes",
            "12345678901234567890123456789012",
            "2024-01-15",
            "12:30:45",
            "0660",
        ] {
            assert_eq!(read(&format!("k: {text}\n"))[0].1, text);
            assert_eq!(read(&format!("k:   {text}   # a comment\n"))[0].1, text);
            assert_eq!(read(&format!("é: ü\nk: [ {text} , {text}]\n"))[1].1, format!("{text},{text}"));
            assert_eq!(read(&format!("{{k: {text}}}"))[0].1, text);
            assert_eq!(read(&format!("k: '{text}'\n"))[0].1, text);
            assert_eq!(read(&format!("a: &a {text}\nk: *a\n"))[1].1, text, "by an alias");
            assert_eq!(read(&format!("\u{feff}k:\r\n  {text}\r\n"))[0].1, text, "after a mark of order");
        }
        assert_eq!(read("k: !!str 0x1F\n")[0].1, "0x1F");
        assert_eq!(read("k: !!int 0x1F\n")[0].1, "0x1F");
        assert_eq!([read("k: ~\n"), read("k: null\n"), read("k:\n")].map(|k| k[0].1.clone()), ["", "", ""]);
    }

    #[test]
    fn a_file_without_values_has_none() {
        for text in ["", "\n", "# only a comment\n", "---\n", "~"] {
            assert_eq!(read(text), [], "{text:?}");
        }
    }

    #[test]
    fn what_is_no_configuration_is_refused() {
        let deep = "{a: ".repeat(100_000);
        let bomb =
            "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n";
        for text in [
            "port: 1\nport: 2\n",
            "- a\n- b\n",
            "just text",
            "a: {b: {c: {d: {e: 1}}}}",
            "a: [",
            "\0",
            &deep,
            bomb,
        ] {
            let shown = &text[..text.len().min(40)];
            assert!(entries(text).is_err(), "{shown:?}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = read_file(&folder.path().join("missing.yaml")).unwrap_err();
        assert!(missing[0].to_string().contains("missing.yaml"), "{missing:?}");
        assert!(read_file(folder.path()).is_err(), "a folder");
        let binary = folder.path().join("binary.yaml");
        std::fs::write(&binary, [0xff, 0xfe, 0x00]).unwrap();
        assert!(read_file(&binary).unwrap_err()[0].to_string().contains("UTF-8"));
        assert!(read_file(Path::new("/dev/zero")).unwrap_err()[0].to_string().contains("longer"));
    }
}
