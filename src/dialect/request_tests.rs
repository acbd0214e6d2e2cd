use super::*;
use proptest::prelude::*;

const LIMITS: DecodeLimits = DecodeLimits { json_depth_max: 32 };

fn place(key: &[u8]) -> Option<usize> {
    [&b"id"[..], b"type", b"data"].into_iter().position(|known| known == key)
}

/// That the scan tells of `text` what serde does, or nothing; whether it told anything.
fn scans_as_parsed(text: &str, limits: &DecodeLimits) -> bool {
    let scanned: Option<Fields<'_, 3>> = scanned(text, limits, &place);
    if let Some(fields) = &scanned {
        assert_eq!(Ok(fields), parsed(text, limits, &place).as_ref(), "{text}");
    }
    scanned.is_some()
}

#[test]
fn plain_messages_are_read_by_the_scan_and_rare_ones_are_not() {
    for text in [
        "{}",
        r#"{"type":"x","data":{"a":["\u00e9",1.5e3,null]},"id":"q\n"}"#,
        r#" { "x" : 1 , "x" : 2 , "data" : null , "type" : "p\u0069ng" } "#,
        r#"{"type":5,"id":null}"#,
    ] {
        assert!(scans_as_parsed(text, &LIMITS), "{text}");
    }
    for text in [
        r#"{"t\u0079pe":"ping"}"#,
        r#"{"type":"a","type":"a"}"#,
        r#"{"data":null,"data":1}"#,
        r#"{"type":"ping"},"#,
        "[]",
    ] {
        assert!(!scans_as_parsed(text, &LIMITS), "{text}");
    }
}

#[test]
fn fields_stand_at_their_places() {
    let text = r#"{"data": [1 ] ,"x":2,"t\u0079pe":"ping"}"#;
    assert_eq!(fields(text, &LIMITS, place), Ok([None, Some("\"ping\""), Some("[1 ]")]));
    let refused = |text| fields::<3>(text, &LIMITS, place).unwrap_err();
    let invalid = |id| Rejected { refusal: Refusal::InvalidJson, id };
    assert_eq!(refused(r#"{"type":1,"type":2,"id":7}"#), invalid(Some("7")));
    assert_eq!(refused(r#"{"id":7,"type":1,"type":2,"id":7,"data":1,"data":2}"#), invalid(None));
    assert_eq!(refused(r#"{"type":1,"type":2,"id":{}}"#), invalid(None));
    assert_eq!(refused(r#"{"type":1,"id":7"#), invalid(None));
    let deep = "[".repeat(33);
    assert_eq!(refused(&deep), Rejected { refusal: Refusal::TooDeep, id: None });
}

#[test]
fn what_a_field_holds_is_read() {
    assert_eq!(text(Some(r#""a\n""#)), Ok(Some("a\n".into())));
    assert_eq!([text(None), text(Some("null"))], [Ok(None), Ok(None)]);
    for other in ["1", "{}", "[\"a\"]", "\"\\ud800\"", "true"] {
        assert_eq!(text(Some(other)), Err(Refusal::InvalidJson), "{other}");
    }
    assert_eq!(
        [limit(None), limit(Some("1")), limit(Some("1000"))],
        [Ok(PRESENCE_LIMIT_MAX), Ok(1), Ok(1000)]
    );
    for other in ["0", "1001", "-1", "1.0", "1e1", "\"1\"", "99999999999"] {
        assert_eq!(limit(Some(other)), Err(Refusal::InvalidJson), "{other}");
    }
    assert_eq!(token(None), Err(Refusal::InvalidJson));
    assert_eq!(recover(Some("null")), Ok(None));
}

#[test]
fn events_are_names_that_the_server_does_not_use() {
    assert!(is_event("CHAT_MESSAGE") && is_event("Error") && is_event(&"x".repeat(EVENT_BYTES_MAX)));
    assert!(!is_event("a\u{7f}") && !is_event(&"x".repeat(EVENT_BYTES_MAX + 1)));
    for reserved in all().flat_map(|dialect| dialect.reserved) {
        assert!(!is_event(reserved), "{reserved}");
    }
}

proptest! {
    #[test]
    fn what_the_scan_reads_is_what_serde_does(
        fields in prop::collection::vec(
            (
                prop::sample::select(vec!["type", "data", "id", "x", "", "ty\\u0070e", "\\ud800", "Type"]),
                prop::sample::select(vec![
                    "\"publish\"", "\"\"", "\"\\u0061\"", "\"é😀\"", "\"\\ud800\"", "null", "true", "0", "-1.5e3", "01",
                    "{}", "[]", "[[[]]]", "{\"a\":[{\"b\":\"[\"}]}", "\"a text longer than a few words of eight bytes\"",
                ]),
            ),
            0..5,
        ),
        blank in prop::sample::select(vec!["", " ", "\r\n", "\t", "\u{c}"]),
        cut in prop::option::weighted(0.5, (any::<prop::sample::Index>(), 0..3_usize)),
        put in prop::sample::select(vec!["", "{", "}", "[", "]", ":", ",", "\"", "\\", "0", "e", " ", "\0", "é"]),
        json_depth_max in 0..6_u32,
    ) {
        let fields: Vec<_> =
            fields.iter().map(|(key, value)| format!("{blank}\"{key}\"{blank}:{blank}{value}{blank}")).collect();
        let mut text = format!("{blank}{{{}}}{blank}", fields.join(","));
        if let Some((at, len)) = cut {
            let start = text.floor_char_boundary(at.index(text.len()));
            let end = text.floor_char_boundary((start + len).min(text.len())).max(start);
            text.replace_range(start..end, put);
        }
        scans_as_parsed(&text, &DecodeLimits { json_depth_max });
    }
}
