use std::borrow::Cow;

/// The value of the top-level field `name` of the object `raw`, as it is written there; `None` if `raw` is no object
/// or has no such field. Of several fields of that name the first counts.
///
/// One pass up to the field, without recursion and without a tree. `raw` should be valid JSON: for text that is not,
/// the answer means nothing but is still given.
pub fn json_field<'a>(raw: &'a str, name: &str) -> Option<&'a str> {
    let mut found = None;
    json_fields(raw, |key, value| {
        let is_it = json_text(key).is_some_and(|key| key == name);
        found = found.or(is_it.then_some(value));
        !is_it
    });
    found
}

/// Calls `each` with the name and the value of each top-level field of the object `raw`, both as they are written there,
/// until it returns `false`. Calls it for nothing if `raw` is no object.
///
/// One pass, as [`json_field`] makes it, and with the same meaning for text that is not valid JSON.
pub fn json_fields<'a>(raw: &'a str, mut each: impl FnMut(&'a str, &'a str) -> bool) {
    let bytes = raw.as_bytes();
    let mut at = blank(bytes, 0);
    if bytes.get(at) != Some(&b'{') {
        return;
    }
    loop {
        // After the opening brace or a comma.
        at = blank(bytes, at + 1);
        if bytes.get(at) != Some(&b'"') {
            return;
        }
        let colon = string(bytes, at);
        let Some(key) = raw.get(at..colon) else { return };
        at = blank(bytes, colon);
        if bytes.get(at) != Some(&b':') {
            return;
        }
        let start = blank(bytes, at + 1);
        let end = value(bytes, start);
        if !raw.get(start..end).is_some_and(|value| each(key, value)) {
            return;
        }
        at = blank(bytes, end);
        if bytes.get(at) != Some(&b',') {
            return;
        }
    }
}

/// The text that a JSON string stands for; `None` if `raw` is another value, or has an escape that stands for no
/// character (half a surrogate pair).
pub fn json_text(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') { serde_json::from_str(raw).ok().map(Cow::Owned) } else { Some(inner.into()) }
}

/// Where the blanks that start at `at` end.
fn blank(bytes: &[u8], at: usize) -> usize {
    let blanks = bytes.get(at..).unwrap_or_default().iter();
    at + blanks.take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count()
}

/// Where the string that starts at `at` ends.
fn string(bytes: &[u8], at: usize) -> usize {
    let mut end = at + 1;
    while let Some(byte) = bytes.get(end) {
        match byte {
            b'"' => return end + 1,
            b'\\' => end += 2,
            _ => end += 1,
        }
    }
    bytes.len()
}

/// Where the value that starts at `at` ends.
fn value(bytes: &[u8], at: usize) -> usize {
    let mut depth = 0_usize;
    let mut end = at;
    while let Some(byte) = bytes.get(end) {
        match byte {
            b'"' => end = string(bytes, end) - 1,
            b'[' | b'{' => depth += 1,
            // The object's own end, or the next field, after a number or a literal.
            b']' | b'}' if depth == 0 => return end,
            b',' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => return end,
            b']' | b'}' => depth -= 1,
            _ => {}
        }
        end += 1;
        if depth == 0 && matches!(byte, b'"' | b']' | b'}') {
            return end;
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    #[test]
    fn fields_are_found_at_the_top_level_alone() {
        for (raw, found) in [
            (r#"{"k":1}"#, Some("1")),
            (r#" { "a" : [1,{"k":2}] , "k" : -1.5e3 } "#, Some("-1.5e3")),
            (r#"{"a":"\"k\":1","k":"x\"}y"}"#, Some(r#""x\"}y""#)),
            (r#"{"a":"\\","k":{"k":[1,"]"]} ,"b":1}"#, Some(r#"{"k":[1,"]"]}"#)),
            ("{\"\\u006b\":\n\ttrue\n}", Some("true")),
            (r#"{"k":1,"k":2}"#, Some("1")),
            (r#"{"a":{"k":1}}"#, None),
            (r#"["k",1]"#, None),
            ("{}", None),
            ("\"k\"", None),
            ("7", None),
            ("", None),
        ] {
            assert_eq!(json_field(raw, "k"), found, "{raw}");
        }
        assert_eq!(json_field("{\"k\":", "k"), Some(""));
    }

    #[test]
    fn strings_are_read_with_their_escapes() {
        assert_eq!(json_text(r#""a\u00e9""#).unwrap(), "aé");
        assert!(matches!(json_text("\"a\""), Some(Cow::Borrowed("a"))));
        assert_eq!(json_text(r#""\ud800""#), None);
        assert_eq!(json_text("12"), None);
        assert_eq!(json_text("\""), None);
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map("[kl\"\\\\é]{0,2}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_a_tree(value in json(), pretty in any::<bool>(), name in "[kl\"\\\\é]{0,2}") {
            let raw = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
            let raw = raw.unwrap();
            let found = json_field(&raw, &name).map(|raw| serde_json::from_str::<Value>(raw).unwrap());
            prop_assert_eq!(found.as_ref(), value.get(&name));
        }

        #[test]
        fn no_text_makes_it_panic(raw in "[{}\\[\\]\",:k1\\\\ é]{0,20}") {
            json_field(&raw, "k");
        }
    }
}
