use super::*;
use crate::base::json_depth_within;
use proptest::prelude::*;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

type Told<'a> = Vec<(&'a str, &'a str, Option<&'a str>)>;

fn scan(text: &str, depth_max: u32) -> Option<Told<'_>> {
    let mut told = Vec::new();
    json_scan(text, depth_max, |key, value| {
        told.push((std::str::from_utf8(key).ok()?, value.raw()?, value.text()));
        Some(())
    })?;
    Some(told)
}

#[test]
fn fields_are_told_as_they_stand() {
    let text = " {\"a\" : \"x\" ,\r\n\t\"b\":[ 1 , {\"c\" : \"]\"} ] ,\"\":\"\\u00e9\",\"é\":-0.5E+10, \"a\":null } ";
    let told = [
        ("a", "\"x\"", Some("x")),
        ("b", "[ 1 , {\"c\" : \"]\"} ]", None),
        ("", "\"\\u00e9\"", None),
        ("é", "-0.5E+10", None),
        ("a", "null", None),
    ];
    assert_eq!(scan(text, 3), Some(told.to_vec()));
    for text in ["{}", " { } ", "\n{\t}\r"] {
        assert_eq!(scan(text, 1), Some(Vec::new()), "{text:?}");
    }
}

#[test]
fn who_is_told_can_end_the_scan() {
    let mut told = 0;
    let outcome = json_scan(r#"{"a":1,"b":2,"c":3}"#, 8, |key, _| {
        told += 1;
        (key != b"b").then_some(())
    });
    assert_eq!((outcome, told), (None, 2));
}

#[test]
fn values_are_held_to_the_grammar() {
    for value in [
        "0",
        "-0",
        "10",
        "1.0",
        "0.00",
        "1e9",
        "1E-09",
        "-1.5e+0",
        "true",
        "false",
        "null",
        "\"\"",
        "[]",
        "{}",
        "[ ]",
        "{ }",
        "[[],{},[{}]]",
        "{\"\":{\"\":[]},\"\":0}",
        r#""\"\\\/\b\f\n\r\t\u0aFf""#,
        r#""\ud800""#,
        "\"\u{7f}\u{80}\u{2028}😀\"",
        "1e999",
        "[1,2 , 3]",
        "{\"\\n\":1}",
    ] {
        let text = format!("{{\"k\":{value}}}");
        let told = scan(&text, 8).expect(value);
        assert_eq!((told.len(), told[0].0, told[0].1), (1, "k", value));
        assert!(serde_json::from_str::<&RawValue>(&text).is_ok(), "{value}");
    }
    for value in [
        "",
        "-",
        "+1",
        "01",
        "00",
        "-01",
        "1.",
        ".5",
        "1.e1",
        "1e",
        "1e+",
        "0x1",
        "1_0",
        "--1",
        "tru",
        "truee",
        "nul",
        "False",
        "NaN",
        "'a'",
        "\"",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\\u123\"",
        "\"\\u12",
        "\"\\",
        "\"\n\"",
        "\"\0\"",
        "\"\u{1f}\"",
        "[",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1",
        "]",
        "[}",
        "[1}",
        "{]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\" 1}",
        "{a:1}",
        "{\"a\":1,}",
        "{,}",
        "{\"a\":1]",
        "{1:1}",
        "1 2",
        "1,",
        "1}",
        "\0",
        "\u{a0}1",
        "\u{feff}1",
        "1//",
        "[1]]",
        "\u{b}1",
        "\u{c}1",
    ] {
        let text = format!("{{\"k\":{value}}}");
        assert_eq!(scan(&text, 8), None, "{value:?}");
    }
}

#[test]
fn only_one_object_passes() {
    for text in [
        "",
        " ",
        "{",
        "}",
        "{\"",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,",
        "[]",
        "1",
        "\"a\"",
        "null",
        "{}x",
        "{}{}",
        "{}\0",
        "{},",
        "\0{}",
        "\u{feff}{}",
        "{\"a\":1}}",
        "{\"a\":1 \"b\":2}",
        "{\"\\u0061\":1}",
    ] {
        assert_eq!(scan(text, 8), None, "{text:?}");
    }
}

#[test]
fn levels_are_bounded() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        // The innermost value is a number, so that objects are whole.
        let nested = |levels: usize| format!("{{\"k\":{}1{}}}", open.repeat(levels), close.repeat(levels));
        for levels in [0, 1, 5, 63, 64] {
            let text = nested(levels);
            let depth = levels as u32 + 1;
            assert!(scan(&text, depth).is_some(), "{levels}");
            assert!(scan(&text, u32::MAX).is_some(), "{levels}");
            assert!(scan(&text, depth - 1).is_none(), "{levels}");
        }
        // Deeper than the scan can follow.
        assert!(scan(&nested(65), u32::MAX).is_none());
        assert!(scan(&nested(100_000), u32::MAX).is_none());
    }
    // The kinds of all levels are kept apart.
    let mixed = |closing: &str| format!("{{\"k\":{}1{closing}}}", "[{\"a\":".repeat(32));
    assert!(scan(&mixed(&"}]".repeat(32)), 65).is_some());
    assert!(scan(&mixed(&("}]".repeat(31) + "]}")), 65).is_none());
}

#[test]
fn special_bytes_are_found_wherever_they_are() {
    // Any byte that is not special must not be taken for one either, beside a special one or not.
    for filler in [b' ', b'!', b'#', b'[', b']', b'x', 0x7f, 0x80, 0xa2, 0xdc, 0xff] {
        for len in 0..150 {
            let mut bytes = vec![filler; len];
            assert_eq!(json_special(&bytes, 0), len, "{filler}");
            for at in 0..len {
                for mark in [b'"', b'\\', 0, 0x1f] {
                    bytes[at] = mark;
                    assert_eq!(json_special(&bytes, 0), at, "{mark} in {len} of {filler}");
                }
                assert_eq!(json_special(&bytes, at + 1), len);
                bytes[at] = filler;
            }
        }
    }
    for byte in 0..=u8::MAX {
        for len in 1..30 {
            for at in 0..len {
                let mut bytes = vec![b'x'; len];
                bytes[at] = byte;
                assert_eq!(
                    is_short_and_plain(&bytes),
                    len <= 16 && !is_special(byte),
                    "{byte} at {at} of {len}"
                );
            }
        }
        let expected = if is_special(byte) { 3 } else { 8 };
        assert_eq!(json_special(&[b'x', b'x', b'x', byte, b'x', b'x', b'x', b'x'], 0), expected, "{byte}");
    }
}

/// JSON values as text, some with blanks and escapes.
fn json() -> impl Strategy<Value = String> {
    let string = prop::collection::vec(
        prop_oneof![
            8 => any::<char>().prop_map(|c| serde_json::to_string(&c).unwrap().trim_matches('"').to_owned()),
            8 => "[ -!#-\\[\\]-~]{0,40}",
            1 => prop::sample::select(vec!["\\\"", "\\\\", "\\/", "\\ud83d\\ude00", "\\ud800", "\\u0000"])
                .prop_map(str::to_owned),
        ],
        0..6,
    )
    // A quote or backslash that the trimming left alone would break the string; those come from the list.
    .prop_map(|parts| parts.into_iter().filter(|part| part != "\\").collect::<String>())
    .prop_map(|inner| format!("\"{inner}\""));
    let scalar = prop_oneof![
        string.clone(),
        any::<i64>().prop_map(|n| n.to_string()),
        "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,3})?",
        prop::sample::select(vec!["true", "false", "null"]).prop_map(str::to_owned),
    ];
    scalar.prop_recursive(6, 32, 5, move |inner| {
        let blank = "[ \t\r\n]{0,2}";
        prop_oneof![
            (prop::collection::vec(inner.clone(), 0..5), blank)
                .prop_map(|(items, blank)| format!("[{blank}{}{blank}]", items.join(&format!("{blank},")))),
            (prop::collection::vec((string.clone(), inner), 0..5), blank).prop_map(|(items, blank)| {
                let items: Vec<_> =
                    items.iter().map(|(k, v)| format!("{k}{blank}:{blank}{v}{blank}")).collect();
                format!("{{{blank}{}{blank}}}", items.join(","))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn all_json_objects_pass(value in json(), key in "[a-z]{0,20}", blank in "[ \t\r\n]{0,2}") {
        let text = format!("{blank}{{{blank}\"{key}\"{blank}:{blank}{value}{blank}}}{blank}");
        let told = scan(&text, 64).expect(&text);
        prop_assert_eq!(told.len(), 1);
        prop_assert_eq!((told[0].0, told[0].1), (&*key, &*value));
        let said = value.strip_prefix('"').filter(|_| !value.contains('\\')).map(|rest| &rest[..rest.len() - 1]);
        prop_assert_eq!(told[0].2, said);
    }

    #[test]
    fn what_passes_is_json_for_serde_too(
        value in json(), at in any::<prop::sample::Index>(), len in 0..3_usize,
        put in prop::sample::select(vec![
            "", "{", "}", "[", "]", ":", ",", "\"", "\\", "\\u", "0", "-", ".", "e", "t", " ", "\0", "\n", "é",
        ]),
        depth_max in 0..6_u32,
    ) {
        let mut text = format!("{{\"k\":{value},\"l\":1}}");
        let start = text.floor_char_boundary(at.index(text.len()));
        let end = text.floor_char_boundary((start + len).min(text.len())).max(start);
        text.replace_range(start..end, put);
        if let Some(told) = scan(&text, depth_max) {
            prop_assert!(json_depth_within(&text, depth_max));
            let read: BTreeMap<String, &RawValue> = serde_json::from_str(&text).expect(&text);
            let last: BTreeMap<&str, &str> = told.iter().map(|&(key, raw, _)| (key, raw)).collect();
            let read: BTreeMap<&str, &str> = read.iter().map(|(key, raw)| (&**key, raw.get())).collect();
            prop_assert_eq!(read, last);
        } else if let Ok(read) = serde_json::from_str::<BTreeMap<String, &RawValue>>(&text) {
            // What is declined is no object, too deep, or has escapes in a key.
            let escapes = read.len() < 2 || read.keys().any(|key| !text.contains(&format!("\"{key}\"")));
            prop_assert!(escapes || !json_depth_within(&text, depth_max), "{}", text);
        }
    }
}
