//! JSON as its grammar says (RFC 8259), written plainly: the oracle of those who read and write JSON.
//!
//! `serde_json::Value` alone will not do: it refuses numbers that no float holds and escapes that are half a
//! surrogate pair, both of which the grammar allows and a server passes through.

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Depth of nesting of a JSON text, 0 for a scalar; `None` where it is no JSON.
pub fn depth(text: &str) -> Option<u32> {
    let mut reader = Reader { bytes: text.as_bytes(), at: 0, deepest: 0 };
    reader.document().then_some(reader.deepest)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    deepest: u32,
}

impl Reader<'_> {
    /// A loop with a stack of its own: what is read may nest deeper than any thread's.
    fn document(&mut self) -> bool {
        let mut open = Vec::new();
        loop {
            // A value is due.
            self.blank();
            match self.next() {
                Some(b'[') => {
                    open.push(b']');
                    self.deepest = self.deepest.max(open.len() as u32);
                    self.blank();
                    if self.peek() != Some(b']') {
                        continue;
                    }
                }
                Some(b'{') => {
                    open.push(b'}');
                    self.deepest = self.deepest.max(open.len() as u32);
                    self.blank();
                    if self.peek() != Some(b'}') {
                        if !self.key() {
                            return false;
                        }
                        continue;
                    }
                }
                Some(b'"') => {
                    if !self.string() {
                        return false;
                    }
                }
                Some(b't') if self.word(b"rue") => {}
                Some(b'f') if self.word(b"alse") => {}
                Some(b'n') if self.word(b"ull") => {}
                Some(first @ (b'-' | b'0'..=b'9')) if self.number(first) => {}
                _ => return false,
            }
            // A value has ended: close what it was the last of.
            loop {
                self.blank();
                let Some(&bracket) = open.last() else { return self.peek().is_none() };
                match self.next() {
                    Some(b',') if bracket == b']' => break,
                    Some(b',') => {
                        self.blank();
                        if !self.key() {
                            return false;
                        }
                        break;
                    }
                    Some(byte) if byte == bracket => open.pop(),
                    _ => return false,
                };
            }
        }
    }

    fn key(&mut self) -> bool {
        let quoted = self.next() == Some(b'"') && self.string();
        self.blank();
        quoted && self.next() == Some(b':')
    }

    /// A string whose first quote is read. The text is a `str`, so it is UTF-8.
    fn string(&mut self) -> bool {
        loop {
            match self.next() {
                Some(b'"') => return true,
                Some(b'\\') => match self.next() {
                    Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {}
                    Some(b'u') if (0..4).all(|_| self.next().is_some_and(|b| b.is_ascii_hexdigit())) => {}
                    _ => return false,
                },
                Some(0..0x20) | None => return false,
                Some(_) => {}
            }
        }
    }

    fn number(&mut self, first: u8) -> bool {
        let first = if first == b'-' { self.next() } else { Some(first) };
        match first {
            Some(b'0') => {}
            Some(b'1'..=b'9') => {
                self.digits();
            }
            _ => return false,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return false;
            }
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            return self.digits() > 0;
        }
        true
    }

    fn digits(&mut self) -> usize {
        let count = self.bytes[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        count
    }

    fn word(&mut self, rest: &[u8]) -> bool {
        let found = self.bytes[self.at..].starts_with(rest);
        self.at += rest.len();
        found
    }

    fn blank(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek();
        self.at += usize::from(byte.is_some());
        byte
    }
}

/// The pairs of an object in their order, doubles included, the values as they stand. `None` where the text is no
/// object, or a key is no Unicode text.
pub fn pairs(text: &str) -> Option<Pairs<'_>> {
    serde_json::from_str(text).ok()
}

/// Keys and raw values.
pub struct Pairs<'a>(Vec<(String, &'a RawValue)>);

/// What an object says for a key.
pub enum Field<'a> {
    /// Nothing.
    Absent,
    /// One value, as it stands.
    Once(&'a str),
    /// Several.
    Repeated,
}

impl<'a> Pairs<'a> {
    /// What stands for `key`.
    pub fn get(&self, key: &str) -> Field<'a> {
        let mut found = self.0.iter().filter(|(name, _)| name == key).map(|(_, value)| value.get());
        match (found.next(), found.next()) {
            (None, _) => Field::Absent,
            (Some(value), None) => Field::Once(value),
            _ => Field::Repeated,
        }
    }

    /// Every key.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, _)| key.as_str())
    }
}

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// A field that holds a text or null, or is not there: what it says, or that it is something else.
pub fn text_or_null(field: &Field<'_>) -> Result<Option<String>, ()> {
    match field {
        Field::Absent => Ok(None),
        Field::Once(raw) => serde_json::from_str::<Option<String>>(raw).map_err(drop),
        Field::Repeated => Err(()),
    }
}

/// That `text` is one JSON value, by the grammar and, as far as it goes, by serde's.
pub fn assert_valid(text: &str) -> u32 {
    let Some(depth) = depth(text) else { panic!("no JSON: {text}") };
    assert!(serde_json::from_str::<&RawValue>(text).is_ok(), "serde has it otherwise: {text}");
    depth
}

/// That `part` is a piece of `whole`'s own memory: borrowed and not a copy.
pub fn assert_within(part: &str, whole: &str) {
    let (part, whole) = (part.as_bytes().as_ptr_range(), whole.as_bytes().as_ptr_range());
    assert!(whole.start <= part.start && part.end <= whole.end, "not a slice of what came");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_that_of_the_rfc() {
        for (text, levels) in [
            ("1", 0),
            (" -0.5E+10 ", 0),
            ("1e999", 0),
            ("\"\\ud800\\u00e9\u{7f}\"", 0),
            ("[]", 1),
            ("{ }", 1),
            ("[1,{\"a\":[true , false,null]},\"[[[\"]", 3),
            ("{\"a\":{},\"a\":[[]]}", 3),
        ] {
            assert_eq!(depth(text), Some(levels), "{text}");
        }
        for text in [
            "",
            " ",
            "01",
            "1.",
            ".5",
            "-",
            "+1",
            "1e",
            "tru",
            "nul",
            "\"",
            "\"\n\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "[",
            "[1,]",
            "[,1]",
            "[1 2]",
            "]",
            "{",
            "{\"a\"}",
            "{\"a\":}",
            "{a:1}",
            "{\"a\":1,}",
            "[}",
            "1 2",
            "\u{a0}1",
            "'a'",
            "NaN",
            "[1]]",
        ] {
            assert_eq!(depth(text), None, "{text}");
        }
    }
}
