//! Patterns as a tree of segments: which of very many has a room's name, at the cost of the name.

use crate::base::{Pattern, Segment};
use foldhash::fast::FixedState;
use hashbrown::HashMap;

/// No pattern: behind all others.
pub(super) const NONE: u32 = u32::MAX;

/// Patterns by their segments, numbered in the order in which they were added.
///
/// A look-up visits a node for each segment of the name and each way to read what came before (as text, `*` or
/// capture), and of these only such as can lead to an earlier pattern than the one found.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    /// The first bytes of names that patterns begin with as text: most names that no rule speaks of are told by theirs.
    heads: [u64; 4],
    /// Whether there are patterns that do not begin with text.
    headless: bool,
}

#[derive(Debug)]
struct Node {
    texts: HashMap<Box<str>, u32, FixedState>,
    /// Where a segment that is not empty leads.
    one: u32,
    /// Where any segment leads.
    any: u32,
    /// The first pattern that ends here.
    ends: u32,
    /// The first pattern that is `**` from here on.
    rest: u32,
    /// The first pattern of this node and those below.
    first: u32,
}

/// Splits the first segment off. The rest is what follows the colon, if there is one.
#[inline]
pub(super) fn head(name: &str) -> (&str, Option<&str>) {
    match name.bytes().position(|byte| byte == b':') {
        Some(colon) => (&name[..colon], Some(&name[colon + 1..])),
        None => (name, None),
    }
}

/// Where the bit of a byte is.
const fn place(byte: u8) -> (usize, u64) {
    (byte as usize / 64, 1 << (byte % 64))
}

impl Tree {
    pub fn new<'p>(patterns: impl Iterator<Item = &'p Pattern>) -> Self {
        let mut tree = Self { nodes: vec![Node::new()], heads: [0; 4], headless: false };
        for (number, pattern) in (0..).zip(patterns) {
            tree.add(number, pattern.segments());
        }
        tree
    }

    fn add(&mut self, number: u32, segments: &[Segment]) {
        match segments.first() {
            Some(Segment::Text(text)) => {
                let (word, bit) = place(text.bytes().next().unwrap_or(b':'));
                self.heads[word] |= bit;
            }
            _ => self.headless = true,
        }
        let mut at = 0;
        for segment in segments {
            let next = self.nodes.len() as u32;
            let node = &mut self.nodes[at as usize];
            node.first = node.first.min(number);
            let child = match segment {
                Segment::Rest => {
                    node.rest = node.rest.min(number);
                    return;
                }
                Segment::Text(text) => node.texts.entry(text.clone()).or_insert(next),
                Segment::One => &mut node.one,
                Segment::Capture(_) => &mut node.any,
            };
            if *child == NONE {
                *child = next;
            }
            at = *child;
            if at == next {
                self.nodes.push(Node::new());
            }
        }
        let node = &mut self.nodes[at as usize];
        (node.first, node.ends) = (node.first.min(number), node.ends.min(number));
    }

    /// The number of the first pattern that a name is of, whatever stands for its captures; or [`NONE`].
    pub fn first(&self, name: &str) -> u32 {
        let (word, bit) = place(name.bytes().next().unwrap_or(b':'));
        if !self.headless && self.heads[word] & bit == 0 {
            return NONE;
        }
        let mut first = NONE;
        self.visit(0, Some(name), &mut first);
        first
    }

    /// As deep as patterns have segments.
    fn visit(&self, at: u32, name: Option<&str>, first: &mut u32) {
        let Some(node) = self.nodes.get(at as usize).filter(|node| node.first < *first) else { return };
        let Some(name) = name else {
            *first = node.ends.min(*first);
            return;
        };
        *first = node.rest.min(*first);
        if node.is_leaf() {
            return;
        }
        let (segment, rest) = head(name);
        if let Some(text) = node.texts.get(segment) {
            self.visit(*text, rest, first);
        }
        if !segment.is_empty() {
            self.visit(node.one, rest, first);
        }
        self.visit(node.any, rest, first);
    }
}

impl Node {
    fn new() -> Self {
        let texts = HashMap::with_hasher(FixedState::default());
        Self { texts, one: NONE, any: NONE, ends: NONE, rest: NONE, first: NONE }
    }

    fn is_leaf(&self) -> bool {
        self.one == NONE && self.any == NONE && self.texts.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(patterns: &[&str]) -> Tree {
        let parse = |text: &&str| Pattern::parse_capturing(text, &["user"]).unwrap();
        Tree::new(patterns.iter().map(parse).collect::<Vec<_>>().iter())
    }

    #[test]
    fn the_first_pattern_of_a_name_is_found() {
        let tree = tree(&["a:b:c", "a:*:c", "a:{user}:**", "*:b:**", "a", "a:**", "{user}:x"]);
        for (name, first) in [
            ("a:b:c", 0),
            ("a:x:c", 1),
            ("a::c", 2),
            ("a:b:d", 2),
            ("x:b:", 3),
            ("a:b", 5),
            ("a", 4),
            ("a:x", 5),
            (":x", 6),
            ("a::", 2),
            ("x", NONE),
            ("", NONE),
            (":", NONE),
            ("x:b", NONE),
            ("x:x:x", NONE),
        ] {
            assert_eq!(tree.first(name), first, "{name}");
        }
    }

    #[test]
    fn deep_names_end_with_the_patterns() {
        let deep = tree(&[&["a:"; 15].concat()]);
        assert_eq!(deep.first(&"a:".repeat(15)), 0);
        assert_eq!(deep.first(&"a:".repeat(120)), NONE);
        assert_eq!(tree(&[]).first("a"), NONE);
        let heads = tree(&["é:a", ":b", "x"]);
        let found = ["é:a", ":b", "x", "è:a", "", "b", "xx"].map(|name| heads.first(name));
        assert_eq!(found, [0, 1, 2, NONE, NONE, NONE, NONE]);
        // Every segment can be read in two ways, and yet there are as many visits as nodes.
        let both: Vec<_> = (0..256u32)
            .map(|bits| {
                (0..8).map(|bit| if bits >> bit & 1 == 0 { "*" } else { "a" }).collect::<Vec<_>>().join(":")
            })
            .collect();
        let both = tree(&both.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(both.first("a:a:a:a:a:a:a:a"), 0);
        assert_eq!(both.first("a:a:a:a:a:a:a"), NONE);
    }
}
