use super::*;
use crate::api::ClientFile;
use crate::model::MembersCursor;

fn found(method: &str, target: &str) -> Result<Route, ApiError> {
    match target.split_once('?') {
        Some((path, query)) => route(method, path, Some(query)),
        None => route(method, target, None),
    }
}

#[test]
fn every_route_is_found() {
    let room = |name: &str| Route::Room { name: RoomName::new(name).unwrap() };
    let members_after = |name: &str, cursor, limit| {
        let name = RoomName::new(name).unwrap();
        Route::Members { name, cursor, limit }
    };
    let members = |name, limit| members_after(name, MembersCursor::START, limit);
    let cursor = MembersCursor { shard: 1, encoding: 0, before: 9 };
    let page =
        |name: &str, offset, limit| Route::Messages { name: RoomName::new(name).unwrap(), offset, limit };
    let all = Route::Rooms { prefix: None, cursor: None, limit: ROOMS_LIMIT_DEFAULT };
    for (method, target, expected, key) in [
        ("GET", "/echo?x=1", Route::Echo, false),
        ("GET", "/health", Route::Health, false),
        ("HEAD", "/health?probe=1", Route::Health, false),
        ("GET", "/ready", Route::Ready, false),
        ("GET", "/metrics", Route::Metrics, false),
        ("GET", "/openapi.json", Route::OpenApi, false),
        ("GET", "/fanwire.js?v=1", Route::Client(ClientFile::Script), false),
        ("HEAD", "/fanwire.d.ts", Route::Client(ClientFile::Types), false),
        ("GET", "/docs", Route::Docs { page: String::new() }, false),
        ("GET", "/docs/rooms?x=1", Route::Docs { page: "rooms".to_owned() }, false),
        ("POST", "/v1/publish", Route::Publish, true),
        ("POST", "/v1/publish/batch", Route::PublishBatch, true),
        ("POST", "/v1/broadcast", Route::Broadcast, true),
        ("GET", "/v1/stats", Route::Stats, true),
        ("GET", "/v1/slow", Route::Slow { limit: SLOW_LIMIT_DEFAULT }, true),
        ("GET", "/v1/slow?limit=1000", Route::Slow { limit: 1000 }, true),
        ("GET", "/v1/rooms", all.clone(), true),
        ("GET", "/v1/rooms?prefix=&cursor=", all, true),
        (
            "GET",
            "/v1/rooms?prefix=a%3A&cursor=a%3Ab&limit=7",
            Route::Rooms { prefix: Some("a:".into()), cursor: Some("a:b".into()), limit: 7 },
            true,
        ),
        ("GET", "/v1/rooms/chat", room("chat"), true),
        ("GET", "/v1/rooms/a%2Fb%20c+d%C3%A9", room("a/b c+dé"), true),
        ("HEAD", "/v1/rooms/..", room(".."), true),
        ("GET", "/v1/rooms/members", room("members"), true),
        ("GET", "/v1/rooms/a%2Fb/members", members("a/b", MEMBERS_LIMIT_DEFAULT), true),
        ("GET", "/v1/rooms/members/members?limit=1000&cursor=", members("members", 1000), true),
        ("GET", "/v1/rooms/a/members?limit=5&cursor=1-0-9", members_after("a", cursor, 5), true),
        ("GET", "/v1/rooms/a%2Fb/messages", page("a/b", None, MESSAGES_LIMIT_DEFAULT), true),
        ("HEAD", "/v1/rooms/messages/messages?offset=0&limit=1", page("messages", Some(0), 1), true),
        ("GET", "/v1/rooms/messages", room("messages"), true),
        ("GET", "/v1/rooms/stats/stats", Route::RoomStats { name: RoomName::new("stats").unwrap() }, true),
        ("GET", "/v1/rooms/stats", room("stats"), true),
        ("PUT", "/v1/rooms/a%2Fb", Route::PutRoom { name: RoomName::new("a/b").unwrap() }, true),
        ("DELETE", "/v1/rooms/a", Route::RemoveRoom { name: RoomName::new("a").unwrap() }, true),
    ] {
        let route = found(method, target).unwrap();
        assert_eq!(route, expected, "{method} {target}");
        let path = target.split('?').next().unwrap();
        assert_eq!(find(path).unwrap().access() == Access::Key, key, "{target}");
    }
}

#[test]
fn unknown_paths_are_404() {
    for target in [
        "/",
        "",
        "*",
        "/ws/",
        "/WS",
        "/healthz",
        "/v1",
        "/v1/",
        "/v1/users/",
        "/v1/connections/",
        "/v1/rooms/",
        "/v1/rooms/a/",
        "/v1/rooms/a/member",
        "/v1/rooms/a/members/",
        "/v1/rooms//members",
        "/v1/rooms//",
        "/v1/rooms//messages",
        "/v1/rooms//stats",
        "/v1/rooms/a/stats/",
        "/v1/rooms/a/messages/",
        "/v1/rooms/a/b/messages",
        "//v1/rooms",
        "/v1/publish/",
        "/v1/publish/batch/",
        "/v1/%70ublish",
        "/v2/rooms",
    ] {
        assert_eq!(found("GET", target).unwrap_err().status, 404, "{target}");
    }
}

#[test]
fn wrong_methods_are_405_and_name_the_right_ones() {
    for (method, target, allow) in [
        ("POST", "/echo", "GET"),
        ("HEAD", "/echo", "GET"),
        ("POST", "/health", "GET, HEAD"),
        ("get", "/health", "GET, HEAD"),
        ("", "/health", "GET, HEAD"),
        ("GET,", "/health", "GET, HEAD"),
        ("GET", "/v1/publish", "POST"),
        ("PUT", "/v1/broadcast", "POST"),
        ("GET", "/v1/publish/batch", "POST"),
        ("POST", "/v1/rooms/chat", "GET, HEAD, PUT, DELETE"),
        ("POST", "/v1/rooms/chat/messages", "GET, HEAD"),
        ("DELETE", "/v1/rooms/chat/stats", "GET, HEAD"),
        ("PATCH", "/v1/rooms/%zz", "GET, HEAD, PUT, DELETE"),
        ("OPTIONS", "/v1/rooms", "GET, HEAD"),
    ] {
        let error = found(method, target).unwrap_err();
        assert_eq!((error.status, error.allow), (405, Some(allow)), "{method} {target}");
    }
}

#[test]
fn bad_names_and_parameters_are_400() {
    let long = format!("/v1/rooms/{}", "%61".repeat(256));
    let longest = format!("/v1/rooms/{}", "%61".repeat(255));
    assert!(found("GET", &longest).is_ok());
    let long_prefix = format!("/v1/rooms?prefix={}", "a".repeat(256));
    for target in [
        &long,
        &long_prefix,
        "/v1/rooms/%00",
        "/v1/rooms/a%0Ab",
        "/v1/rooms/%C2%85",
        "/v1/rooms/%",
        "/v1/rooms/%ff",
        "/v1/rooms?limit=0",
        "/v1/rooms?limit=1001",
        "/v1/rooms?limit=10&limit=10",
        "/v1/rooms?prefix=%0A",
        "/v1/rooms?page=2",
        "/v1/rooms/chat?x",
        "/v1/rooms/chat/members?limit=1001",
        "/v1/rooms/%00/members",
        "/v1/rooms/chat/members?cursor=chat",
        "/v1/rooms/chat/members?cursor=1-2-3-4",
        "/v1/rooms/chat/messages?x",
        "/v1/rooms/chat/messages?limit=0",
        "/v1/rooms/chat/messages?limit=1001",
        "/v1/rooms/chat/messages?offset=-1",
        "/v1/rooms/%00/messages",
        "/v1/slow?limit=-1",
        "/v1/stats?x=1",
    ] {
        let error = found("GET", target).unwrap_err();
        assert_eq!(error.status, 400, "{target:.60}");
        assert!(error.text.len() <= 300);
    }
    assert_eq!(found("POST", "/v1/publish?room=a").unwrap_err().status, 400);
}

#[test]
fn the_table_has_no_two_lines_for_one_request() {
    for (index, line) in ROUTES.iter().enumerate() {
        assert!(!line.methods().is_empty(), "{} {}", line.method, line.path);
        assert!(!line.summary.is_empty() && !line.operation.is_empty(), "{}", line.path);
        for other in &ROUTES[..index] {
            let is_same = other.path == line.path;
            assert!(!is_same || other.method != line.method, "{} {} is there twice", line.method, line.path);
            assert!(!is_same || other.access == line.access, "{}: for whom?", line.path);
        }
    }
}

#[test]
fn the_guide_has_the_routes_of_the_table() {
    let chapter = include_str!("../../guide/http.md");
    let (_, section) = chapter.split_once("\n## Routes\n").unwrap();
    let (table, _) = section.trim_start().split_once("\n\n").unwrap();
    let rows = table.lines().skip(2).map(|row| {
        let mut cells = row.split('|').skip(1).map(str::trim);
        (cells.next().unwrap().to_owned(), cells.next().unwrap())
    });
    let routes = ROUTES.iter().map(|line| {
        let names: Vec<String> = line.query.params().iter().map(|param| format!("{}=", param.name)).collect();
        let query = if names.is_empty() { String::new() } else { format!("?{}", names.join("&")) };
        let key = if line.access == Access::Key { "yes" } else { "" };
        (format!("`{} {}{query}`", line.method, line.path), key)
    });
    assert_eq!(rows.collect::<Vec<_>>(), routes.collect::<Vec<_>>());
}
