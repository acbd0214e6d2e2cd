use super::*;
use crate::model::RoomName;

const ID: &str = "6f9619ff-8b86-4011-b42d-00cf4fc964ff";

fn publish(body: &str) -> Result<PublishRequest<'_>, ApiError> {
    parse_publish(body.as_bytes(), 8)
}

fn request<'a>(to: Selector<'a>, event: &'a str, data: &'a str) -> PublishRequest<'a> {
    PublishRequest { to, event: event.into(), data: Some(data), whole: None }
}

/// The same body with an escape in a key, which the scan leaves to serde.
fn rare(body: &str) -> String {
    body.replacen("\"data\"", "\"d\\u0061ta\"", 1).replacen("\"message\"", "\"mess\\u0061ge\"", 1)
}

#[test]
fn publications_are_read() {
    let read = publish(r#"{"room":"chat","event":"note","data":{ "a" : 1.0 }}"#);
    assert_eq!(read, Ok(request(Selector::room("chat"), "note", r#"{ "a" : 1.0 }"#)));
    let read = publish(" {\"data\":null,\"room\":\"ch\\u0061t\",\"all\":false,\"event\":null}\n");
    assert_eq!(read, Ok(request(Selector::room("chat"), "message", "null")));
    // What is null, but for data, is not given.
    let read = publish(r#"{"room":"chat","all":null,"except":null,"event":null,"data":1,"message":null}"#);
    assert_eq!(read, Ok(request(Selector::room("chat"), "message", "1")));
    let read = publish(r#"{"room":"chat","message": null ,"data":1}"#);
    assert_eq!(read, Ok(request(Selector::room("chat"), "message", "1")));
}

#[test]
fn selectors_are_read() {
    let id = ConnectionId::parse(ID).unwrap();
    for (fields, to) in [
        (r#""all":true"#.to_owned(), Selector::all()),
        (r#""user":"u""#.to_owned(), Selector::user("u")),
        (r#""tenant":"t","room":null"#.to_owned(), Selector::tenant("t")),
        (format!(r#""connection":"{ID}""#), Selector::connection(id)),
        (format!(r#""all":true,"except":["{ID}"]"#), Selector::all().except([id])),
        (r#""room":"r","except":[]"#.to_owned(), Selector::room("r")),
        (
            format!(r#""room":"r","user":"u","tenant":"t","connection":"{ID}""#),
            Selector {
                room: Some("r".into()),
                user: Some("u".into()),
                tenant: Some("t".into()),
                connection: Some(id),
                except: Vec::new(),
            },
        ),
    ] {
        let body = format!("{{{fields},\"data\":[1]}}");
        assert_eq!(publish(&body), Ok(request(to.clone(), "message", "[1]")), "{body}");
        assert_eq!(publish(&rare(&body)), Ok(request(to, "message", "[1]")), "{body}");
    }
}

#[test]
fn a_whole_object_is_kept_as_it_is() {
    let message = r#"{ "level" : 1.0, "type":"alert", "data":[ 2 ], "level":2 }"#;
    let body = format!(r#"{{"room":"r","message":{message}}}"#);
    let escaped = body.replace("alert", "\\u0061lert");
    for body in [&body, &rare(&body), &escaped] {
        let read = publish(body).unwrap();
        assert_eq!((&*read.event, read.data), ("alert", Some("[ 2 ]")));
        assert!(read.whole.unwrap().starts_with("{ \"level\" : 1.0"), "{read:?}");
    }
    let read = publish(r#"{"all":true,"message":{"type":"t"}}"#).unwrap();
    assert_eq!((read.data, read.whole), (None, Some(r#"{"type":"t"}"#)));
}

#[test]
fn a_broadcast_is_this_servers_or_the_documents() {
    let read = |body: &'static str| parse_broadcast(body.as_bytes(), 8);
    assert_eq!(read(r#"{"data":[1]}"#), Ok(request(Selector::all(), "message", "[1]")));
    assert_eq!(read(r#"{"event":"e","data":[1]}"#), Ok(request(Selector::all(), "e", "[1]")));
    let document = r#"{"channel":"notifications","type":"SYSTEM_ALERT","data":{"message":"m"}}"#;
    let expected = request(Selector::room("notifications"), "SYSTEM_ALERT", r#"{"message":"m"}"#);
    assert_eq!(read(document), Ok(expected));
    let document = r#"{"organizationId":"company123","type":"T","data":1}"#;
    assert_eq!(read(document), Ok(request(Selector::tenant("company123"), "T", "1")));
    let to = Selector { room: Some("c".into()), user: Some("u".into()), ..Selector::tenant("o") };
    let document = r#"{"channel":"c","organizationId":"o","userId":"u","type":"T","data":1}"#;
    assert_eq!(read(document), Ok(request(to, "T", "1")));
    for (body, word) in [
        (r#"{"type":"a","event":"b","data":1}"#, "either"),
        (r#"{"room":"r","data":1}"#, "`room`"),
        (r#"{"userId":"","data":1}"#, "user"),
        (r#"{"organizationId":7,"data":1}"#, "string"),
        (r#"{"channel":"","data":1}"#, "room"),
        (r#"{"type":"T"}"#, "data"),
    ] {
        let error = read(body).expect_err(body);
        assert!(error.status == 400 && error.text.contains(word), "{body}: {error}");
    }
}

/// Bodies that are refused, and a word of why.
const REFUSED: [(&str, &str); 38] = [
    (r#"{"room":"r","data":1,"excep":[]}"#, "`excep`"),
    (r#"{"room":"r"}"#, "data"),
    (r#"{"data":1}"#, "room"),
    (r#"{"all":false,"data":1}"#, "room"),
    (r#"{"room":null,"data":1}"#, "room"),
    (r#"{"except":[],"data":1}"#, "room"),
    (r#"{"room":"","data":1}"#, "room"),
    (r#"{"room":"r","all":true,"data":1}"#, "either"),
    (r#"{"user":"u","all":true,"data":1}"#, "either"),
    (r#"{"room":"a\u0000","data":1}"#, "control"),
    (r#"{"room":"\u0001u","data":1}"#, "control"),
    (r#"{"user":"","data":1}"#, "user"),
    (r#"{"tenant":"\n","data":1}"#, "tenant"),
    (r#"{"user":["u"],"data":1}"#, "string"),
    (r#"{"connection":"c","data":1}"#, "UUID"),
    (r#"{"connection":7,"data":1}"#, "string"),
    (r#"{"all":true,"except":"c","data":1}"#, "sequence"),
    (r#"{"all":true,"except":["c"],"data":1}"#, "UUID"),
    (r#"{"all":true,"except":[null],"data":1}"#, "string"),
    (r#"{"room":"\ud800","data":1}"#, "hex escape"),
    (r#"{"room":5,"data":1}"#, "string"),
    (r#"{"room":"r","all":1,"data":1}"#, "boolean"),
    (r#"{"room":"r","room":"s","data":1}"#, "duplicate"),
    (r#"{"room":"r","data":1,"data":2}"#, "duplicate"),
    (r#"{"room":"r","event":"","data":1}"#, "event"),
    (r#"{"room":"r","event":"a\nb","data":1}"#, "event"),
    (r#"{"room":"r","event":7,"data":1}"#, "string"),
    (r#"{"room":"r","message":{"type":"x"},"data":1}"#, "either"),
    (r#"{"room":"r","message":{"type":"x"},"event":"x"}"#, "either"),
    (r#"{"room":"r","message":{}}"#, "type"),
    (r#"{"room":"r","message":{"type":7}}"#, "string"),
    (r#"{"room":"r","message":{"type":"x","type":"y"}}"#, "duplicate"),
    (r#"{"room":"r","message":["x"]}"#, "object"),
    (r#"{"room":"r","message":null}"#, "data is required"),
    (r#"{"all":null,"data":1}"#, "room is required"),
    (r#"{"room":"r","data":1"#, "EOF"),
    (r#"{"room":"r","data":1}}"#, "trailing"),
    (r#"["r",false,"e",1]"#, "object"),
];

#[test]
fn refusals_name_what_is_wrong() {
    for (body, word) in REFUSED {
        let error = publish(body).expect_err(body);
        assert_eq!(error.status, 400);
        assert!(error.text.contains(word), "{body}: {error}");
    }
    assert!(["", "null"].iter().all(|body| publish(body).unwrap_err().text.contains("object")));
    assert!(parse_publish(b"{\"room\":\"\xff\",\"data\":1}", 8).unwrap_err().text.contains("UTF-8"));
}

#[test]
fn refusals_do_not_grow_with_the_body() {
    let body = format!(r#"{{"{}":1}}"#, "x".repeat(100_000));
    assert!(publish(&body).unwrap_err().text.len() <= 300);
    let body = format!(r#"{{"room":"{}","data":1}}"#, "x".repeat(256));
    assert!(publish(&body).unwrap_err().text.contains(&RoomName::BYTES_MAX.to_string()));
    let body = format!(r#"{{"room":"r","event":"{}","data":1}}"#, "x".repeat(256));
    assert!(publish(&body).unwrap_err().text.contains("event"));
    let ids = vec![format!("\"{ID}\""); Selector::EXCEPT_MAX + 1].join(",");
    let body = format!(r#"{{"room":"r","except":[{ids}],"data":1}}"#);
    assert!(publish(&body).unwrap_err().text.contains("1000"));
}

#[test]
fn nesting_is_bounded_and_costs_no_stack() {
    let nested = |levels: usize| {
        format!(r#"{{"room":"r[[[\"[[[[","data":{}{}}}"#, "[".repeat(levels), "]".repeat(levels))
    };
    assert!(publish(&nested(7)).is_ok());
    assert!(publish(&nested(8)).unwrap_err().text.contains("nested"));
    assert!(publish(&nested(100_000)).unwrap_err().text.contains("nested"));
    assert_eq!(publish(&"[".repeat(100_000)).unwrap_err().status, 400);
    assert_eq!(publish(&r#"{"data":"#.repeat(100_000)).unwrap_err().status, 400);
    let message = |levels: usize| {
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        format!(r#"{{"room":"r","message":{{"type":"t","x":{open}{close}}}}}"#)
    };
    assert!(publish(&message(6)).is_ok());
    assert!(publish(&message(7)).unwrap_err().text.contains("nested"));
    assert!(parse_whole(&format!(r#"{{"type":"t","x":{}"#, "[".repeat(100_000)), 8).is_err());
    // Each of a batch by itself.
    let batch = format!("[{},{}]", nested(7), nested(7));
    assert_eq!(parse_batch(batch.as_bytes(), 8).unwrap().len(), 2);
    let batch = format!("[{},{}]", nested(7), nested(8));
    let error = parse_batch(batch.as_bytes(), 8).unwrap_err();
    assert!(error.text.starts_with("[1]: ") && error.text.contains("nested"), "{error}");
}

#[test]
fn a_batch_is_what_its_items_are() {
    let items = [
        r#"{"room":"r","data":{ "a" : 1.0 }}"#,
        r#"{"user":"u","event":"e","data":null}"#,
        r#"{"all":true,"message":{"type":"t","data":"é"}}"#,
    ];
    let batch = format!(" [ {} ] ", items.join(" , "));
    let rare = batch.replacen("\"room\"", "\"r\\u006fom\"", 1);
    let expected: Vec<_> = items.iter().map(|item| publish(item).unwrap()).collect();
    for batch in [&batch, &rare] {
        assert_eq!(parse_batch(batch.as_bytes(), 8).as_ref(), Ok(&expected), "{batch}");
    }
    for (body, word) in REFUSED.iter().filter(|(_, word)| !["EOF", "trailing"].contains(word)) {
        let batch = format!(r#"[{},{body},{{}}]"#, items[0]);
        let error = parse_batch(batch.as_bytes(), 8).expect_err(body);
        assert!(error.text.starts_with("[1]: ") && error.text.contains(word), "{body}: {error}");
    }
}

#[test]
fn a_batch_has_a_length() {
    let batch = |items: usize| format!("[{}]", vec![r#"{"room":"r","data":1}"#; items].join(","));
    assert_eq!(parse_batch(batch(BATCH_MAX).as_bytes(), 8).unwrap().len(), BATCH_MAX);
    for items in [0, BATCH_MAX + 1, 20_000] {
        let error = parse_batch(batch(items).as_bytes(), 8).unwrap_err();
        assert!(error.text.contains("1 to 1000"), "{error}");
    }
    for body in ["", "{}", "null", "[", "[1]", "[{}", "[[]]", "[],[]", r#"[{"room":"r","data":1},]"#] {
        assert_eq!(parse_batch(body.as_bytes(), 8).unwrap_err().status, 400, "{body}");
    }
    assert!(parse_batch(b"[\"\xff\"]", 8).unwrap_err().text.contains("UTF-8"));
}
