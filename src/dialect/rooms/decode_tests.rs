use super::*;
use proptest::prelude::*;

const LIMITS: DecodeLimits = DecodeLimits { json_depth_max: 32 };

fn read(text: &str) -> Result<Command<'_>, Rejected<'_>> {
    decode(text, &LIMITS)
}

fn refused(text: &str) -> (Refusal, RequestId<'_>) {
    let rejected = read(text).expect_err(text);
    (rejected.refusal, rejected.id)
}

#[test]
fn the_documents_messages_are_commands() {
    let room = || Cow::Borrowed("room-name");
    let event = || Cow::Borrowed("message");
    let data = Some(r#"{ "any": "payload" }"#);
    let cases = [
        (
            r#"{"type": "subscribe", "room": "room-name"}"#,
            Command::Subscribe { room: room(), recover: None, id: None },
        ),
        (r#"{"type": "unsubscribe", "room": "room-name"}"#, Command::Unsubscribe { room: room(), id: None }),
        (
            r#"{"type": "publish", "room": "room-name", "data": { "any": "payload" }}"#,
            Command::Publish { room: room(), event: event(), data, id: None },
        ),
        (
            r#"{"type": "broadcast", "data": { "any": "payload" }}"#,
            Command::Broadcast { event: event(), data, id: None },
        ),
        ("{\n  \"type\": \"ping\"\n}\n", Command::Ping { id: None }),
        (
            r#"{"type":"get_user","data":{"email":"test@example.com"}}"#,
            Command::Custom {
                event: "get_user".into(),
                data: Some(r#"{"email":"test@example.com"}"#),
                id: None,
            },
        ),
    ];
    for (text, command) in cases {
        assert_eq!(read(text), Ok(command), "{text}");
    }
}

#[test]
fn who_brings_a_token_says_who_it_is() {
    let token = |token: &'static str, id| Ok(Command::Authenticate { token: token.into(), id });
    assert_eq!(read(r#"{"type":"auth","token":"a.b.c","id":7}"#), token("a.b.c", Some("7")));
    assert_eq!(read(r#"{"token":"a\u002eb.c","type":"auth","data":[1]}"#), token("a.b.c", None));
    assert_eq!(refused(r#"{"type":"auth","token":5,"id":7}"#), (Refusal::InvalidJson, Some("7")));
    // Without one, and in other messages, nothing is meant by it.
    let custom = Command::Custom { event: "auth".into(), data: Some("5"), id: None };
    assert_eq!(read(r#"{"type":"auth","data":5}"#), Ok(custom));
    assert_eq!(read(r#"{"type":"ping","token":5}"#), Ok(Command::Ping { id: None }));
}

#[test]
fn plain_names_are_borrowed_and_escaped_ones_decoded() {
    let Ok(Command::Subscribe { room, .. }) = read(r#"{"type":"subscribe","room":"chat"}"#) else { panic!() };
    assert!(matches!(room, Cow::Borrowed("chat")));
    let text = r#"{"type":"sub\u0073cribe","room":"\ud83d\ude00/\u00e9"}"#;
    let Ok(Command::Subscribe { room, .. }) = read(text) else { panic!() };
    assert_eq!(room, "😀/é");
}

#[test]
fn data_passes_byte_for_byte() {
    for data in
        ["null", "1.0e+2", "\"\\ud800\"", "[ 1 ,\n\t{\"a\" :2}]", "9007199254740993", r#"{"a":1,"a":2}"#]
    {
        let text = format!(r#"{{"type":"publish","room":"r","data": {data} }}"#);
        let Ok(Command::Publish { data: Some(read), .. }) = read(&text) else { panic!("{text}") };
        assert_eq!(read, data);
    }
    let Ok(Command::Publish { data: None, .. }) = read(r#"{"type":"publish","room":"r"}"#) else { panic!() };
}

#[test]
fn unknown_fields_are_skipped() {
    let text =
        r#"{"v":[1,{"room":"x"}],"type":"ping","timestamp":1,"timestamp":2,"event":"error","x":"\ud800"}"#;
    assert_eq!(read(text), Ok(Command::Ping { id: None }));
    let text = r#"{"type":"publish","room":"r","event":"error"}"#;
    let Ok(Command::Publish { event, .. }) = read(text) else { panic!() };
    assert_eq!(event, "message");
}

#[test]
fn presence_is_asked_for_with_a_limit_or_without() {
    let asked = |limit| Ok(Command::Presence { room: "r".into(), limit, id: None });
    assert_eq!(read(r#"{"type":"presence","room":"r"}"#), asked(PRESENCE_LIMIT_MAX));
    assert_eq!(read(r#"{"type":"presence","room":"r","limit":null}"#), asked(PRESENCE_LIMIT_MAX));
    assert_eq!(read(r#"{"limit":1,"type":"presence","room":"r"}"#), asked(1));
    for limit in ["0", "1001", "-1", "1.5", "\"1\"", "[1]", "99999999999", "1,\"limit\":2"] {
        let text = format!(r#"{{"type":"presence","room":"r","id":1,"limit":{limit}}}"#);
        assert_eq!(refused(&text), (Refusal::InvalidJson, Some("1")), "{limit}");
    }
    assert_eq!(refused(r#"{"type":"presence","limit":5}"#), (Refusal::RoomRequired, None));
    // The field means nothing elsewhere.
    assert_eq!(read(r#"{"type":"ping","limit":"many"}"#), Ok(Command::Ping { id: None }));
}

#[test]
fn an_id_is_a_short_string_or_number() {
    for id in ["1", "-2.5e3", "\"a\\\"b\"", "\"\""] {
        let text = format!(r#"{{"type":"ping","id":{id}}}"#);
        assert_eq!(read(&text), Ok(Command::Ping { id: Some(id) }));
    }
    assert_eq!(read(r#"{"type":"ping","id":null}"#), Ok(Command::Ping { id: None }));
    let longest = format!("\"{}\"", "x".repeat(126));
    let text = format!(r#"{{"type":"ping","id":{longest}}}"#);
    assert_eq!(read(&text), Ok(Command::Ping { id: Some(&longest) }));
    let huge_string = format!("\"{}\"", "x".repeat(127));
    let huge_number = "9".repeat(100_000);
    for id in ["true", "{}", "[1]", &huge_string, &huge_number] {
        let text = format!(r#"{{"type":"ping","id":{id}}}"#);
        assert_eq!(refused(&text), (Refusal::InvalidJson, None), "{id:.20}");
    }
}

#[test]
fn broken_messages_are_refused() {
    let cases = [
        "",
        " ",
        "{",
        "nonsense",
        "null",
        "1",
        "\"ping\"",
        "[]",
        r#"["ping","r",1,2]"#,
        r#"{"type":"ping"}x"#,
        r#"{"type":"ping"}{"type":"ping"}"#,
        r#"{"type":"ping",}"#,
        r#"{type:"ping"}"#,
        r#"{"type":"ping","type":"ping"}"#,
        r#"{"type":"subscribe","room":"a","room":"b"}"#,
        r#"{"type":"publish","room":"a","data":1,"data":2}"#,
        r#"{"type":"publish","room":"a","data":}"#,
        r#"{"type":"publish","room":"a","data":01}"#,
        r#"{"type":"ping","id":1,"id":2}"#,
        r#"{"type":1}"#,
        r#"{"type":"subscribe","room":5}"#,
        r#"{"type":"subscribe","room":["r"]}"#,
        r#"{"type":"subscribe","room":"\ud800"}"#,
        r#"{"type":"subscribe","room":"\udc00\ud800"}"#,
        r#"{"type":"\ud800"}"#,
        "{\"type\":\"subscribe\",\"room\":\"a\0b\"}",
        "\u{feff}{\"type\":\"ping\"}",
        "{\"type\":\"ping\",\"x\":NaN}",
    ];
    for text in cases {
        assert_eq!(refused(text), (Refusal::InvalidJson, None), "{text}");
    }
}

#[test]
fn rooms_must_be_named_and_names_valid() {
    for kind in ["subscribe", "unsubscribe", "publish"] {
        for room in ["", r#","room":"""#, r#","room":null"#] {
            let text = format!(r#"{{"type":"{kind}"{room},"id":7}}"#);
            assert_eq!(refused(&text), (Refusal::RoomRequired, Some("7")));
        }
        for room in [r"a\u0000b", r"\n", r"a\u0085", &"x".repeat(256)] {
            let text = format!(r#"{{"type":"{kind}","room":"{room}","id":7}}"#);
            assert_eq!(refused(&text), (Refusal::RoomInvalid, Some("7")));
        }
    }
    assert!(matches!(read(r#"{"type":"broadcast","room":""}"#), Ok(Command::Broadcast { .. })));
}

#[test]
fn a_type_is_needed() {
    for text in [r#"{"id":"q"}"#, r#"{"type":"","id":"q"}"#, r#"{"type":null,"id":"q"}"#] {
        assert_eq!(refused(text), (Refusal::UnknownType, Some("\"q\"")));
    }
}

#[test]
fn the_id_of_a_wrong_message_is_echoed() {
    for text in [
        r#"{"id":"q","type":1}"#,
        r#"{"type":"subscribe","room":5,"id":"q"}"#,
        r#"{"type":"ping","type":"ping","id":"q"}"#,
        r#"{"type":"\ud800","id":"q"}"#,
    ] {
        assert_eq!(refused(text), (Refusal::InvalidJson, Some("\"q\"")), "{text}");
    }
    assert_eq!(refused(r#"{"id":"q","type":"ping""#), (Refusal::InvalidJson, None));
}

#[test]
fn nesting_is_bounded_and_costs_no_stack() {
    let nested = |levels: usize| {
        format!(r#"{{"type":"publish","room":"r","data":{}{}}}"#, "[".repeat(levels), "]".repeat(levels))
    };
    assert!(read(&nested(31)).is_ok());
    assert_eq!(refused(&nested(32)), (Refusal::TooDeep, None));
    assert_eq!(refused(&nested(100_000)), (Refusal::TooDeep, None));
    assert_eq!(refused(&"[".repeat(100_000)), (Refusal::TooDeep, None));
    // Where the bound is set far up, the parser itself must not recurse either.
    assert!(decode(&nested(100_000), &DecodeLimits { json_depth_max: u32::MAX }).is_ok());
}

proptest! {
    #[test]
    fn any_text_is_a_command_or_a_refusal(text in any::<String>()) {
        // Text that opens no object is never a command.
        let outcome = read(&text);
        let opens = text.trim_ascii_start().starts_with('{');
        prop_assert!(opens || outcome.is_err());
    }

    #[test]
    fn text_near_a_message_is_a_command_or_a_refusal(
        parts in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", "\"type\"", "\"room\"", "\"data\"", "\"id\"", ":", ",", "\"publish\"", "\"", "\\",
            "null", "1", "\\ud800", " ", "é", "\0",
        ]), 0..24),
    ) {
        let text = parts.concat();
        let is_object = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text).is_ok();
        // Data and unknown fields are not decoded, so what passes may be laxer than serde_json only by surrogates.
        prop_assert!(is_object || text.contains("\\ud800") || read(&text).is_err());
    }
}

/// That the scan tells of `text` what serde does, or nothing; whether it told anything.
fn scans_as_parsed(text: &str, limits: &DecodeLimits) -> bool {
    let scanned = scanned(text, limits);
    if let Some(fields) = &scanned {
        assert_eq!(Ok(fields), parsed(text, limits).as_ref(), "{text}");
    }
    scanned.is_some()
}

#[test]
fn plain_messages_are_read_by_the_scan_and_rare_ones_are_not() {
    for text in [
        "{}",
        r#"{"type":"publish","room":"chat","data":{"a":["\u00e9",1.5e3,null]},"id":"q\n"}"#,
        r#" { "room" : "é" , "x" : 1 , "x" : 2 , "data" : null , "type" : "publish" } "#,
        r#"{"type":"subscribe","room":"r","recover":{"epoch":"x","offset":1}}"#,
        r#"{"type":"presence","room":"r","limit":1,"limit":2}"#,
        r#"{"type":"","room":"","id":{},"recover":1}"#,
    ] {
        assert!(scans_as_parsed(text, &LIMITS), "{text}");
    }
    for text in [
        r#"{"type":"p\u0069ng"}"#,
        r#"{"t\u0079pe":"ping"}"#,
        r#"{"\u0078":1}"#,
        r#"{"type":null}"#,
        r#"{"type":1}"#,
        r#"{"room":null}"#,
        r#"{"room":["r"]}"#,
        r#"{"id":null}"#,
        r#"{"recover":null}"#,
        r#"{"type":"a","type":"a"}"#,
        r#"{"room":"a","room":"a"}"#,
        r#"{"data":null,"data":1}"#,
        r#"{"id":1,"id":1}"#,
        r#"{"recover":1,"recover":1}"#,
        r#"{"type":"ping"},"#,
    ] {
        assert!(!scans_as_parsed(text, &LIMITS), "{text}");
    }
}

proptest! {
    #[test]
    fn what_the_scan_reads_is_what_serde_does(
        fields in prop::collection::vec(
            (
                prop::sample::select(vec![
                    "type", "room", "data", "id", "recover", "limit", "x", "", "ty\\u0070e", "\\ud800", "Type",
                ]),
                prop::sample::select(vec![
                    "\"publish\"", "\"subscribe\"", "\"presence\"", "\"chat\"", "\"\"", "\"\\u0061\"", "\"é😀\"",
                    "\"\\ud800\"", "null", "true", "0", "-1.5e3", "01", "{}", "[]", "[[[]]]", "{\"a\":[{\"b\":\"[\"}]}",
                    "{\"epoch\":\"1\",\"offset\":2}", "\"a text longer than a few words of eight bytes, at last\"",
                ]),
            ),
            0..6,
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
