//! Text of a document that stands for what a server says: `…` is anything, and what differs from run to run (a time, an
//! epoch) is shown by a sample.

use std::collections::BTreeMap;

/// A part of a template.
#[derive(Debug, PartialEq, Eq)]
enum Part<'t> {
    Literal(&'t str),
    /// `…`
    Anything,
    /// Unix milliseconds, or a time as ISO 8601 has it: any other of this shape.
    Time(&'t str),
    /// 16 hexadecimal digits: what the server says in their place stands for them from then on.
    Named(&'t str),
}

/// What the server has said in place of samples.
#[derive(Debug, Default)]
pub struct Samples {
    named: BTreeMap<String, String>,
}

impl Samples {
    /// Whether `said` is what the template shows. What it says in place of samples is remembered.
    pub fn match_with(&mut self, template: &str, said: &str) -> bool {
        let parts = parts(template);
        let mut found = self.named.clone();
        let fits = fits(&parts, said, &mut found);
        if fits {
            self.named = found;
        }
        fits
    }

    /// Text to send, with what the server has said in place of samples.
    pub fn fill(&self, text: &str) -> String {
        self.named.iter().fold(text.to_owned(), |text, (sample, said)| text.replace(sample, said))
    }
}

/// Whether the parts are the whole of the text.
fn fits(parts: &[Part<'_>], text: &str, named: &mut BTreeMap<String, String>) -> bool {
    let Some((part, rest)) = parts.split_first() else { return text.is_empty() };
    match part {
        Part::Literal(literal) => text.strip_prefix(literal).is_some_and(|text| fits(rest, text, named)),
        Part::Anything => {
            (0..=text.len()).filter(|at| text.is_char_boundary(*at)).any(|at| fits(rest, &text[at..], named))
        }
        Part::Time(sample) => {
            let Some(value) = text.get(..sample.len()).filter(|value| shape(value) == shape(sample)) else {
                return false;
            };
            fits(rest, &text[value.len()..], named)
        }
        Part::Named(sample) => {
            let Some(value) = text.get(..sample.len()).filter(|value| is_named(value)) else { return false };
            let known = named.entry((*sample).to_owned()).or_insert_with(|| value.to_owned());
            *known == value && fits(rest, &text[value.len()..], named)
        }
    }
}

fn shape(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect()
}

fn is_named(word: &str) -> bool {
    word.len() == 16 && word.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn is_time(word: &str) -> bool {
    ["0000000000000", "0000-00-00T00:00:00.000Z"].contains(&shape(word).as_str())
}

/// Cuts a template into its parts.
fn parts(template: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    for (number, text) in template.split('…').enumerate() {
        if number > 0 {
            parts.push(Part::Anything);
        }
        let is_end = |c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == ':' || c == '.');
        let mut literal = 0;
        let mut at = 0;
        for word in text.split(is_end) {
            // A bare number has the colon of its field before it.
            let start = at + word.len() - word.trim_start_matches(':').len();
            let word = &text[start..at + word.len()];
            let sample = if is_time(word) {
                Some(Part::Time(word))
            } else {
                is_named(word).then_some(Part::Named(word))
            };
            let end = start + word.len();
            if let Some(sample) = sample {
                parts.extend([Part::Literal(&text[literal..start]), sample]);
                literal = end;
            }
            at = end + text[end..].chars().next().map_or(0, char::len_utf8);
        }
        parts.push(Part::Literal(&text[literal..]));
    }
    parts
}

#[test]
fn gaps_and_samples_stand_for_what_comes() {
    let mut samples = Samples::default();
    assert!(samples.match_with(r#"{"a":"…","b":1}"#, r#"{"a":"x","b":1}"#));
    assert!(!samples.match_with(r#"{"a":"…","b":1}"#, r#"{"a":"x","b":2}"#));
    assert!(samples.match_with(r#"{"timestamp":1700000000000}"#, r#"{"timestamp":1812345678901}"#));
    assert!(!samples.match_with(r#"{"timestamp":1700000000000}"#, r#"{"timestamp":18}"#));
    assert!(samples.match_with(r#"["2024-01-15T10:30:00.000Z"]"#, r#"["2031-11-05T00:00:01.250Z"]"#));
    assert!(!samples.match_with(r#"["2024-01-15T10:30:00.000Z"]"#, r#"["2031-11-05"]"#));
}

#[test]
fn an_epoch_stands_for_the_one_that_came() {
    let mut samples = Samples::default();
    assert!(samples.match_with(r#"{"epoch":"5f64a9c28b1d4e3f"}"#, r#"{"epoch":"00000000000000ab"}"#));
    assert_eq!(samples.fill("recover 5f64a9c28b1d4e3f"), "recover 00000000000000ab");
    assert!(samples.match_with(r#"{"epoch":"5f64a9c28b1d4e3f"}"#, r#"{"epoch":"00000000000000ab"}"#));
    assert!(!samples.match_with(r#"{"epoch":"5f64a9c28b1d4e3f"}"#, r#"{"epoch":"00000000000000ac"}"#));
}
