//! Rooms that a backend registers, describes and removes.

use crate::common::{Response, Server, request};
use serde_json::{Value, json};

fn call(server: &Server, method: &str, path: &str, body: &str) -> Response {
    request(server.addr(), method, path, &[("Content-Type", "application/json")], body.as_bytes())
}

#[test]
fn a_room_is_registered_described_and_removed() {
    let server = Server::start(&["--shards=2", r#"--room-rules=[{"pattern":"kept","history_messages":5}]"#]);
    let put = call(&server, "PUT", "/v1/rooms/kept", r#"{"metadata":{"title":"The  room"}}"#);
    assert_eq!((put.status, put.json()), (201, json!({"created": true})));
    let room = server.get("/v1/rooms/kept").json();
    assert_eq!((&room["members"], &room["metadata"]), (&0.into(), &json!({"title": "The  room"})));
    assert!(room["created_at"].as_u64().is_some());
    let again = call(&server, "PUT", "/v1/rooms/kept", "");
    assert_eq!((again.status, again.json()), (200, json!({"created": false})));
    assert_eq!(server.get("/v1/rooms/kept").json()["metadata"], json!({}));
    let mut members: Vec<_> = (0..5).map(|_| server.connect()).collect();
    members.iter_mut().for_each(|member| member.subscribe("kept"));
    let first = server.post("/v1/publish", r#"{"room":"kept","data":1}"#).json();
    let removed = call(&server, "DELETE", "/v1/rooms/kept", "");
    assert_eq!(removed.json(), json!({"registered": true, "members": 5}), "{}", removed.body);
    for member in &mut members {
        member.expect_json(|message| assert_eq!(message["type"], "message"));
        member.expect(r#"{"type":"unsubscribed","room":"kept","data":{"room":"kept"},"timestamp":"*ms"}"#);
    }
    for below in ["", "/members", "/messages"] {
        assert_eq!(server.get(&format!("/v1/rooms/kept{below}")).status, 404, "{below}");
    }
    // Its name begins anew, and is no longer what somebody may remember of it.
    let published = server.post("/v1/publish", r#"{"room":"kept","data":2}"#).json();
    assert_eq!(published["offset"], 1);
    assert_ne!(published["epoch"], first["epoch"]);
    let member = &mut members[0];
    let recover =
        json!({"type": "subscribe", "room": "kept", "recover": {"epoch": first["epoch"], "offset": 1}});
    member.send_text(&recover.to_string());
    member.expect_json(|answer| assert_eq!(answer["data"]["recovered"], false, "{answer}"));
    assert_eq!(
        call(&server, "DELETE", "/v1/rooms/none", "").json(),
        json!({"registered": false, "members": 0})
    );
}

#[test]
fn registered_rooms_are_listed_among_the_others() {
    let server = Server::start(&[]);
    for name in ["b", "d"] {
        assert_eq!(call(&server, "PUT", &format!("/v1/rooms/{name}"), "{}").status, 201);
    }
    let mut client = server.connect();
    ["a", "b", "c"].iter().for_each(|room| client.subscribe(room));
    let page = |path: &str| -> (Vec<Value>, Value) {
        let body = server.get(path).json();
        let rooms = body["rooms"].as_array().unwrap().iter();
        (rooms.map(|room| json!([room["room"], room["members"]])).collect(), body["cursor"].clone())
    };
    let (first, cursor) = page("/v1/rooms?limit=3");
    assert_eq!((first, cursor), (vec![json!(["a", 1]), json!(["b", 1]), json!(["c", 1])], json!("c")));
    assert_eq!(page("/v1/rooms?limit=3&cursor=c").0, [json!(["d", 0])]);
}

#[test]
fn what_is_wrong_is_told() {
    let server = Server::start(&[]);
    let long = format!(r#"{{"metadata":{{"a":"{}"}}}}"#, "x".repeat(4096));
    let deep = format!(r#"{{"metadata":{}{}}}"#, r#"{"a":"#.repeat(100), "1}".repeat(100));
    for body in
        ["[]", "{", r#"{"metadata":[]}"#, r#"{"metadata":1}"#, r#"{"meta":{}}"#, "\u{0}", &long, &deep]
    {
        let answer = call(&server, "PUT", "/v1/rooms/a", body);
        assert_eq!(answer.status, 400, "{body:.60}: {}", answer.body);
    }
    assert_eq!(call(&server, "PUT", "/v1/rooms/%00", "").status, 400);
    assert_eq!(call(&server, "PATCH", "/v1/rooms/a", "").status, 405);
    assert_eq!(server.get("/v1/rooms/a").status, 404);
}
