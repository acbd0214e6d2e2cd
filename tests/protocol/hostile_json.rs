//! JSON that is wrong, deep, doubled or half: each message has its error text and its counter, each body its status,
//! and the connection stays open.

use crate::common::{Siege, eventually, says};

const INVALID: (&str, &str) = ("invalid JSON format", "refusals invalid_json");
const DEEP: (&str, &str) = ("JSON is nested too deep", "refusals too_deep");
const UNKNOWN: (&str, &str) = ("unknown message type", "refusals unknown_type");
const REQUIRED: (&str, &str) = ("room name is required", "refusals room_required");
const NAME: (&str, &str) =
    ("room name is invalid: at most 255 bytes and no control characters", "refusals room_invalid");
const STRANGER: (&str, &str) = ("not subscribed to this room", "refusals not_subscribed");

fn nested(open: &str, close: &str, depth: usize) -> String {
    format!(r#"{{"type":"broadcast","data":{}1{}}}"#, open.repeat(depth), close.repeat(depth))
}

#[test]
fn messages_that_are_wrong_are_told_why() {
    let mut siege = Siege::start(&[]);
    let mut client = siege.server().connect();
    let long = format!(r#"{{"type":"subscribe","room":"{}"}}"#, "é".repeat(128));
    let long_id = format!(r#"{{"type":"ping","id":"{}"}}"#, "x".repeat(127));
    let cases: Vec<(&str, String, (&str, &str))> = [
        ("nothing", "", INVALID),
        ("white space", " \t\r\n", INVALID),
        ("a word", "subscribe", INVALID),
        ("half an object", r#"{"type":"ping""#, INVALID),
        ("more after the object", r#"{"type":"ping"}x"#, INVALID),
        ("two objects", r#"{"type":"ping"}{"type":"ping"}"#, INVALID),
        ("a comma too many", r#"{"type":"ping",}"#, INVALID),
        ("single quotes", "{'type':'ping'}", INVALID),
        ("a comment", r#"{"type":"ping"/**/}"#, INVALID),
        ("a byte order mark", "\u{feff}{\"type\":\"ping\"}", INVALID),
        ("an array", r#"["ping"]"#, INVALID),
        ("an array that serde takes for a struct", r#"["ping",null,null,null]"#, INVALID),
        ("a text", r#""ping""#, INVALID),
        ("null", "null", INVALID),
        ("NaN", r#"{"type":"ping","x":NaN}"#, INVALID),
        ("a number with a leading zero", r#"{"type":"ping","x":01}"#, INVALID),
        ("a bare control character", "{\"type\":\"ping\",\"x\":\"\n\"}", INVALID),
        ("a bare NUL", "{\"type\":\"ping\0\"}", INVALID),
        ("a wrong escape", r#"{"type":"ping","x":"\x"}"#, INVALID),
        ("half an escape", r#"{"type":"pi\u00"}"#, INVALID),
        ("the same key twice", r#"{"type":"ping","type":"ping"}"#, INVALID),
        ("two rooms", r#"{"type":"subscribe","room":"a","room":"b"}"#, INVALID),
        ("the same key, escaped", r#"{"type":"subscribe","room":"a","\u0072oom":"b"}"#, INVALID),
        ("data twice", r#"{"type":"broadcast","data":1,"data":2}"#, INVALID),
        ("a type that is a number", r#"{"type":1}"#, INVALID),
        ("a type that is an object", r#"{"type":{"type":"ping"}}"#, INVALID),
        ("a room that is a number", r#"{"type":"subscribe","room":1}"#, INVALID),
        ("a room that is a list", r#"{"type":"subscribe","room":["a"]}"#, INVALID),
        ("a room that is true", r#"{"type":"subscribe","room":true}"#, INVALID),
        ("an id that is an object", r#"{"type":"ping","id":{}}"#, INVALID),
        ("an id that is true", r#"{"type":"ping","id":true}"#, INVALID),
        ("an id of 129 bytes", &long_id, INVALID),
        ("a lone surrogate for a room", r#"{"type":"subscribe","room":"\ud800"}"#, INVALID),
        ("a low surrogate first", r#"{"type":"subscribe","room":"\udc00\ud800"}"#, INVALID),
        ("a lone surrogate in the type", r#"{"type":"ping\udfff"}"#, INVALID),
        ("no type", "{}", UNKNOWN),
        ("an empty type", r#"{"type":""}"#, UNKNOWN),
        ("a null type", r#"{"type":null}"#, UNKNOWN),
        ("another case", r#"{"type":"Ping"}"#, UNKNOWN),
        ("a type with NUL", r#"{"type":"ping\u0000"}"#, UNKNOWN),
        ("an answer of the server", r#"{"type":"message","room":"healthy","data":1}"#, UNKNOWN),
        ("no room", r#"{"type":"subscribe"}"#, REQUIRED),
        ("a null room", r#"{"type":"publish","room":null,"data":1}"#, REQUIRED),
        ("an empty room", r#"{"type":"unsubscribe","room":""}"#, REQUIRED),
        ("NUL in a room", r#"{"type":"subscribe","room":"a\u0000b"}"#, NAME),
        ("a line break in a room", r#"{"type":"publish","room":"a\nb","data":1}"#, NAME),
        ("a C1 control in a room", r#"{"type":"unsubscribe","room":"a\u0085b"}"#, NAME),
        ("a room of 256 bytes", &long, NAME),
        ("another's room", r#"{"type":"publish","room":"healthy","data":1}"#, STRANGER),
        ("a room that is not", r#"{"type":"publish","room":"nowhere","data":1}"#, STRANGER),
    ]
    .into_iter()
    .map(|(what, text, refusal)| (what, text.to_owned(), refusal))
    .chain([
        ("65 levels", nested("[", "]", 64), DEEP),
        ("65 levels of objects", nested(r#"{"a":"#, "}", 64), DEEP),
        ("100,000 levels", nested("[", "]", 100_000), DEEP),
        ("100,000 levels that never end", "[".repeat(100_000), DEEP),
        ("100,000 objects that never end", r#"{"a":"#.repeat(100_000), DEEP),
        ("100,000 levels in a field that nobody knows", nested("[", "]", 100_000).replace("data", "x"), DEEP),
        ("100,000 closing brackets", "]".repeat(100_000), INVALID),
        ("half a megabyte of text", format!("\"{}\"", "x".repeat(500_000)), INVALID),
    ])
    .collect();
    for (what, text, (error, counter)) in &cases {
        siege.counts(what, &[(*counter, 1)], |_| {
            client.send_text(text);
            client.expect(&format!(r#"{{"type":"error","error":"{error}","timestamp":"*ms"}}"#));
        });
    }
    // After all that the connection is as good as any.
    client.subscribe("healthy");
    siege.nothing_more_is_counted();
}

#[test]
fn a_refusal_echoes_the_id_that_could_be_read() {
    let mut siege = Siege::start(&[]);
    let mut client = siege.server().connect();
    for (text, id) in [
        (r#"{"id":7,"type":1}"#, "7"),
        (r#"{"id":"a\ud800","room":[]}"#, r#""a\ud800""#),
        (r#"{"id":-1e999,"type":"ping","type":"ping"}"#, "-1e999"),
    ] {
        siege.counts(text, &[("refusals invalid_json", 1)], |_| {
            client.send_text(text);
            // Byte for byte: the harness itself would not read what some of these are.
            let answer = client.expect_text();
            assert!(answer.contains(&format!(r#""id":{id},"#)), "{answer}");
            assert!(answer.starts_with(r#"{"type":"error","#), "{answer}");
        });
    }
}

#[test]
fn odd_data_is_passed_on_byte_for_byte() {
    let mut siege = Siege::start(&[]);
    let mut client = siege.server().connect();
    client.subscribe("odd");
    let deep = format!("{}1{}", "[".repeat(63), "]".repeat(63));
    for data in [
        r#""\ud800""#,
        r#""\u0000""#,
        r#"{"a":1,"a":2}"#,
        r#"{"a":{"b":1,"b":[]},"":null,"":null}"#,
        "1e999",
        "-0.0",
        "123456789012345678901234567890.000000000000000000001",
        r#"{ "white" :	"space" }"#,
        r#""</script>\u2028\/""#,
        "null",
        &deep,
    ] {
        siege.counts(data, &[], |_| {
            client.send_text(&format!(r#"{{"type":"publish","room":"odd","data":{data}}}"#));
            let message = client.expect_text();
            assert!(message.contains(&format!(r#""data":{data},"client_id""#)), "{message}");
        });
    }
}

#[test]
fn bodies_that_are_wrong_are_told_why() {
    let mut siege = Siege::start(&[]);
    let mut member = siege.server().connect();
    member.subscribe("a");
    let deep = format!(r#"{{"room":"a","data":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let endless = "[".repeat(100_000);
    let endless_objects = r#"{"data":"#.repeat(100_000);
    let long = format!(r#"{{"room":"{}","data":1}}"#, "x".repeat(256));
    let cases = [
        ("nothing", "", "not a JSON object"),
        ("an array", r#"["a",false,null,1]"#, "not a JSON object"),
        ("a form", "room=a&data=1", "not a JSON object"),
        ("endless", &endless, "not a JSON object"),
        ("endless objects", &endless_objects, "not as it should be"),
        ("100,000 levels", &deep, "nested deeper than 64"),
        ("half", r#"{"room":"a","data":1"#, "not as it should be"),
        ("more after it", r#"{"room":"a","data":1} 2"#, "trailing characters"),
        ("a room twice", r#"{"room":"a","room":"a","data":1}"#, "duplicate field `room`"),
        ("data twice", r#"{"room":"a","data":1,"data":1}"#, "duplicate field `data`"),
        ("an unknown key", r#"{"room":"a","date":1}"#, "unknown field `date`"),
        ("a room that is a number", r#"{"room":1,"data":1}"#, "invalid type"),
        ("a room that is null", r#"{"room":null,"data":1}"#, "room is required"),
        ("all that is a text", r#"{"all":"true","data":1}"#, "invalid type"),
        ("a room and all", r#"{"room":"a","all":true,"data":1}"#, "either all, or room"),
        ("a lone surrogate", r#"{"room":"\ud800","data":1}"#, "not as it should be"),
        ("an empty room", r#"{"room":"","data":1}"#, "room name is required"),
        ("NUL in a room", r#"{"room":"a\u0000","data":1}"#, "control character"),
        ("a long room", &long, "longer than 255 bytes"),
        ("NUL in the event", r#"{"room":"a","event":"\u0000","data":1}"#, "event must have"),
        ("an empty event", r#"{"room":"a","event":"","data":1}"#, "event must have"),
        ("no data", r#"{"room":"a"}"#, "data is required"),
        ("a bare NUL", "{\"room\":\"a\",\"data\":\"\0\"}", "not as it should be"),
    ];
    for (what, body, part) in cases {
        let answer = siege.counts(what, &[("http_errors 400", 1)], |server| server.post("/v1/publish", body));
        says(&answer, 400, part, what);
        assert!(answer.body.len() < 500, "{what}: {} bytes", answer.body.len());
    }
    let not_utf8 = siege.counts("no UTF-8", &[("http_errors 400", 1)], |server| {
        crate::common::request(server.addr(), "POST", "/v1/publish", &[], b"{\"room\":\"\xff\",\"data\":1}")
    });
    says(&not_utf8, 400, "not UTF-8", "no UTF-8");
    // Nothing of it came to the room.
    let right = siege
        .counts("right", &[], |server| server.post("/v1/publish", r#"{"room":"a","data":"\ud800"}"#).body);
    assert_eq!(right, r#"{"delivered":1}"#);
    let message = member.expect_text();
    assert!(message.contains(r#""data":"\ud800""#), "{message}");
    siege.nothing_more_is_counted();
}

#[test]
fn who_is_refused_by_the_rate_again_and_again_is_closed() {
    let mut siege = Siege::start(&["--messages-per-s=100", "--messages-burst=100"]);
    let mut client = siege.server().connect();
    // The bucket drips in while it is emptied, so that how many pass is not known; 32 refusals in a row end it.
    let refused = |server: &crate::common::Server| server.metric_sum("fanwire_rate_limited_total");
    client.send_bytes(&crate::common::frame(0x81, b"no JSON").repeat(20_000));
    let mut answers = 0;
    assert_eq!(client.read_until_close(4429, |_| answers += 1), "rate limit exceeded: send more slowly");
    assert!(answers >= 100 + 31, "{answers}");
    assert!(refused(siege.server()) >= 32.0);
    let closed = || siege.server().get("/metrics").body.contains("reason=\"rate_limited\"} 1");
    eventually("it is counted", closed);
    siege.member_hears();
}

#[test]
fn bad_json_leaves_the_memory_where_it_was() {
    let mut siege = Siege::start(&[]);
    let inputs = [
        "[".repeat(100_000),
        r#"{"a":"#.repeat(100_000),
        nested("[", "]", 10_000),
        r#"{"type":"subscribe","room":"a\u0000"}"#.to_owned(),
        format!(r#"{{"type":"{}"}}"#, "x".repeat(10_000)),
        format!(r#"{{"type":"subscribe","room":"{}"}}"#, "x".repeat(10_000)),
        format!(r#"{{"type":"ping","id":"{}"}}"#, "x".repeat(10_000)),
    ];
    let frames: Vec<_> = inputs.iter().map(|text| crate::common::frame(0x81, text.as_bytes())).collect();
    let (mut turn, mut bodies) = (0, 0);
    siege.leaves_memory("every kind in turn", 2000, |server| {
        let mut client = server.connect();
        client.send_bytes(&frames[turn % frames.len()]);
        turn += 1;
        client.expect_json(|answer| assert_eq!(answer["type"], "error"));
        client.send_frame(0x88, b"");
        while client.read_frame().is_some() {}
        if turn % 10 == 0 {
            bodies += 1;
            assert_eq!(server.post("/v1/publish", &inputs[bodies % 3]).status, 400);
        }
    });
}
