//! Objects of a backend that are passed on as they are, but for what they lack.

use super::json::push_time;
use super::json::{push_number, push_string};
use crate::base::{json_field, json_scan};

/// A field that is added where an object does not have it.
#[derive(Clone, Copy)]
pub(super) enum Missing<'a> {
    Text(&'a str),
    Number(u64),
    /// Unix time in milliseconds.
    Time(u64),
}

/// Appends the object `whole`, byte for byte up to its end, where those of `fields` stand that it does not have.
pub(super) fn push_whole<const N: usize>(
    whole: &str,
    fields: [(&str, Option<Missing<'_>>); N],
    out: &mut Vec<u8>,
) {
    let mut has = [false; N];
    let scanned = json_scan(whole, u32::MAX, |key, _| {
        for (has, (name, _)) in has.iter_mut().zip(fields) {
            *has |= name.as_bytes() == key;
        }
        Some(())
    });
    if scanned.is_none() {
        // A key with escapes, or nested deep.
        has = fields.map(|(name, _)| json_field(whole, name).is_some());
    }
    if fields.iter().zip(has).all(|((_, value), has)| has || value.is_none()) {
        return out.extend_from_slice(whole.as_bytes());
    }
    let body = whole.trim_end().strip_suffix('}').unwrap_or(whole).trim_end();
    out.extend_from_slice(body.as_bytes());
    let mut empty = body.ends_with('{');
    for ((name, value), has) in fields.into_iter().zip(has) {
        let Some(value) = value.filter(|_| !has) else { continue };
        if !empty {
            out.push(b',');
        }
        empty = false;
        push_string(name, out);
        out.push(b':');
        match value {
            Missing::Text(text) => push_string(text, out),
            Missing::Number(number) => push_number(number, out),
            Missing::Time(unix_ms) => push_time(unix_ms, out),
        }
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    fn pushed(whole: &str, offset: Option<u64>) -> String {
        let mut out = b"before".to_vec();
        let fields = [
            ("channel", Some(Missing::Text("a\"b"))),
            ("offset", offset.map(Missing::Number)),
            ("timestamp", Some(Missing::Time(0))),
        ];
        push_whole(whole, fields, &mut out);
        String::from_utf8(out).unwrap().strip_prefix("before").unwrap().to_owned()
    }

    #[test]
    fn what_is_there_stays_and_what_is_missing_is_added() {
        const TIME: &str = r#""timestamp":"1970-01-01T00:00:00.000Z"}"#;
        for (whole, offset, expected) in [
            ("{}", None, format!(r#"{{"channel":"a\"b",{TIME}"#)),
            (" { \n} ", Some(7), format!(r#" {{"channel":"a\"b","offset":7,{TIME}"#)),
            (r#"{"a" : 1.0 }"#, None, format!(r#"{{"a" : 1.0,"channel":"a\"b",{TIME}"#)),
            (r#"{"timestamp":1,"channel":null } "#, None, r#"{"timestamp":1,"channel":null } "#.to_owned()),
            (r#"{"x":{"channel":1}}"#, None, format!(r#"{{"x":{{"channel":1}},"channel":"a\"b",{TIME}"#)),
            (r#"{"ch\u0061nnel":"x"}"#, None, format!(r#"{{"ch\u0061nnel":"x",{TIME}"#)),
            (r#"{"x":"{"}"#, None, format!(r#"{{"x":"{{","channel":"a\"b",{TIME}"#)),
        ] {
            assert_eq!(pushed(whole, offset), expected);
        }
        let deep = format!(r#"{{"x":{}{},"timestamp":1}}"#, "[".repeat(100), "]".repeat(100));
        assert!(pushed(&deep, None).ends_with(r#","timestamp":1,"channel":"a\"b"}"#));
    }

    proptest! {
        #[test]
        fn the_rest_of_any_object_is_left_alone(
            keys in prop::collection::vec(
                prop::sample::select(vec!["channel", "timestamp", "offset", "type", "data", "\"", "é", ""]), 0..5,
            ),
            pretty in any::<bool>(),
        ) {
            let object: Map<String, Value> =
                keys.iter().enumerate().map(|(at, key)| ((*key).to_owned(), json!([at, {"channel": "{"}]))).collect();
            let write = if pretty { serde_json::to_string_pretty } else { serde_json::to_string };
            let text = pushed(&write(&object).unwrap(), Some(3));
            let mut expected = object;
            expected.entry("channel").or_insert(json!("a\"b"));
            expected.entry("offset").or_insert(json!(3));
            expected.entry("timestamp").or_insert(json!("1970-01-01T00:00:00.000Z"));
            prop_assert_eq!(serde_json::from_str::<Map<String, Value>>(&text).unwrap(), expected);
        }
    }
}
