//! Readers that are slow until their backlog is what a test wants, and what the server says of it.

use super::losses::backlog_of;
use super::{Client, Server};

/// Publishes messages of 32 KiB until `enough` says so; the publisher, who is a member, reads each back.
///
/// # Panics
/// When 2,000 are not enough.
pub fn publish_until(publisher: &mut Client, room: &str, mut enough: impl FnMut() -> bool) {
    let padding = "x".repeat(32 * 1024);
    for number in 0..2000 {
        if enough() {
            return;
        }
        publisher
            .send_text(&format!(r#"{{"type":"publish","room":"{room}","data":["{padding}",{number}]}}"#));
        publisher.expect_json(|message| assert_eq!(message["data"][1], number));
    }
    panic!("never enough");
}

/// Bytes that wait for a client, by what the server says of slow ones; 0 where it is none.
///
/// # Panics
/// When what it says besides is not so.
pub fn backlog_bytes(server: &Server, client: &Client) -> u64 {
    backlog_of(server, client).map_or(0, |entry| {
        assert!(entry["ip"] == "127.0.0.1" && entry["rooms"][0].is_string(), "{entry}");
        assert!(entry["since_unix_ms"].as_u64() > Some(1_700_000_000_000), "{entry}");
        entry["backlog_bytes"].as_u64().expect("a number")
    })
}
