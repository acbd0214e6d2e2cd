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
    texts: Texts,
    /// A bit for each first byte of the texts, as [`bit`] has it: most segments that are no text are told by theirs.
    heads: u32,
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

/// Where segments of one text lead.
#[derive(Debug)]
enum Texts {
    /// At most [`FEW`], which are compared one by one: nearly always their lengths tell them apart.
    Few(Vec<(Box<str>, u32)>),
    Many(HashMap<Box<str>, u32, FixedState>),
}

/// Texts that are compared in less time than one is hashed.
const FEW: usize = 8;

impl Texts {
    /// Where a text leads; `next` if it is new.
    fn add(&mut self, text: &str, next: u32) -> u32 {
        if let Some(known) = self.get(text) {
            return known;
        }
        match self {
            Self::Few(few) if few.len() < FEW => few.push((text.into(), next)),
            Self::Few(few) => {
                let mut many: HashMap<_, _, _> = few.drain(..).collect();
                many.insert(text.into(), next);
                *self = Self::Many(many);
            }
            Self::Many(many) => {
                many.insert(text.into(), next);
            }
        }
        next
    }

    #[inline]
    fn get(&self, text: &str) -> Option<u32> {
        match self {
            Self::Few(few) => few.iter().find(|known| *known.0 == *text).map(|known| known.1),
            Self::Many(many) => many.get(text).copied(),
        }
    }
}

/// Splits the first segment off. The rest is what follows the colon, if there is one.
#[inline]
pub(super) fn head(name: &str) -> (&str, Option<&str>) {
    match colon(name.as_bytes()) {
        Some(colon) => (&name[..colon], Some(&name[colon + 1..])),
        None => (name, None),
    }
}

/// Where the first colon is, if there is one: eight bytes at a time, as names are longer than their segments.
#[inline]
fn colon(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let others = u64::from_le_bytes(*word) ^ (ONES * b':' as u64);
        // The highest bit of each byte that is 0; above the first one, of others too.
        let zeros = others.wrapping_sub(ONES) & !others & (ONES << 7);
        if zeros != 0 {
            return Some(8 * index + (zeros.trailing_zeros() / 8) as usize);
        }
    }
    rest.iter().position(|byte| *byte == b':').map(|at| 8 * words.len() + at)
}

/// The first byte of the first segment of a name, that of an empty segment taken as a colon.
#[inline]
fn first_byte(name: &str) -> u8 {
    name.as_bytes().first().copied().unwrap_or(b':')
}

/// The bit of a first byte, which others may share.
const fn bit(byte: u8) -> u32 {
    1 << (byte % u32::BITS as u8)
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
                let (word, bit) = place(first_byte(text));
                self.heads[word] |= bit;
            }
            _ => self.headless = true,
        }
        let mut at = 0;
        for segment in segments {
            let next = self.nodes.len() as u32;
            let node = &mut self.nodes[at as usize];
            node.first = node.first.min(number);
            let child = |place: &mut u32| {
                if *place == NONE {
                    *place = next;
                }
                *place
            };
            at = match segment {
                Segment::Rest => {
                    node.rest = node.rest.min(number);
                    return;
                }
                Segment::Text(text) => {
                    node.heads |= bit(first_byte(text));
                    node.texts.add(text, next)
                }
                Segment::One => child(&mut node.one),
                Segment::Capture(_) => child(&mut node.any),
            };
            if at == next {
                self.nodes.push(Node::new());
            }
        }
        let node = &mut self.nodes[at as usize];
        (node.first, node.ends) = (node.first.min(number), node.ends.min(number));
    }

    /// The number of the first pattern that a name is of, whatever stands for its captures; or [`NONE`].
    pub fn first(&self, name: &str) -> u32 {
        let (word, bit) = place(first_byte(name));
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
        let may_be_text = node.heads & bit(first_byte(name)) != 0;
        if !may_be_text && node.one == NONE && node.any == NONE {
            return;
        }
        let (segment, rest) = head(name);
        if may_be_text && let Some(text) = node.texts.get(segment) {
            self.visit(text, rest, first);
        }
        if node.one != NONE && !segment.is_empty() {
            self.visit(node.one, rest, first);
        }
        if node.any != NONE {
            self.visit(node.any, rest, first);
        }
    }
}

impl Node {
    fn new() -> Self {
        let texts = Texts::Few(Vec::new());
        Self { texts, heads: 0, one: NONE, any: NONE, ends: NONE, rest: NONE, first: NONE }
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
    fn the_first_colon_is_found_wherever_it_is() {
        for name in ["", ":", "a", "a:", "::", "é:ü", ";:", ";;;;;;;;:;", "\u{ba}\u{3a}", "\u{1}:9;:"] {
            for before in 0..20 {
                let name = format!("{}{name}{}", "x".repeat(before), "y:z".repeat(before % 4));
                assert_eq!(colon(name.as_bytes()), name.find(':'), "{name:?}");
            }
        }
    }

    #[test]
    fn few_and_many_texts_are_found_alike() {
        for count in [1, FEW, FEW + 1, 5 * FEW] {
            let patterns: Vec<_> = (0..count).map(|number| format!("a:{number}")).collect();
            let tree = tree(&patterns.iter().map(String::as_str).collect::<Vec<_>>());
            for number in 0..count {
                assert_eq!(tree.first(&format!("a:{number}")), number as u32, "of {count}");
            }
            assert_eq!(tree.first(&format!("a:{count}")), NONE, "of {count}");
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
