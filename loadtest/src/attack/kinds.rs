//! The kinds of attack: what one attacker does until it is closed. A further kind is one function, its line in
//! [`KINDS`], and its name.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Result, ensure};
use flate2::{Compress, Compression, FlushCompress};

use super::Siege;
use super::link::Link;
use crate::frame::opcode;

/// Longest wait of an attacker for an answer that it needs.
const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes that an attacker sends at once.
const BATCH_BYTES: usize = 256 << 10;

/// Bytes of a compressed message's longest text, below the server's default bound of a message.
const INFLATED_BYTES: usize = 250 << 10;

/// The room that the endpoint of streams takes its history from, and its path.
const ROOM: &str = "reports:data:attack";
const STREAM: &str = "/api/v1/reports/stream/attack";

/// Messages of that history.
const KEPT: usize = 100;

/// One kind.
pub struct Kind {
    name: &'static str,
    /// What the server must have before the attack.
    pub prepare: fn(&Siege) -> Result<()>,
    /// One attacker, from its connecting until the siege ends or it is closed.
    pub attack: fn(&Siege) -> Result<()>,
}

const KINDS: [Kind; 13] = [
    Kind { name: "filters", prepare: fill, attack: filters },
    Kind { name: "snapshots", prepare: fill, attack: snapshots },
    Kind { name: "auth", prepare: nothing, attack: auth },
    Kind { name: "joins", prepare: nothing, attack: joins },
    Kind { name: "status", prepare: nothing, attack: status },
    Kind { name: "long", prepare: nothing, attack: long },
    Kind { name: "pings", prepare: nothing, attack: pings },
    Kind { name: "unknown", prepare: nothing, attack: unknown },
    Kind { name: "deflate", prepare: nothing, attack: deflate },
    Kind { name: "fragments", prepare: nothing, attack: fragments },
    Kind { name: "closing", prepare: nothing, attack: closing },
    Kind { name: "arrivals", prepare: nothing, attack: arrivals },
    Kind { name: "http", prepare: nothing, attack: http },
];

/// The names of all kinds.
pub const NAMES: [&str; KINDS.len()] = {
    let mut names = [""; KINDS.len()];
    let mut at = 0;
    while at < KINDS.len() {
        names[at] = KINDS[at].name;
        at += 1;
    }
    names
};

/// The kind of that name.
pub fn find(name: &str) -> Option<&'static Kind> {
    const ALL: &[Kind] = &KINDS;
    ALL.iter().find(|kind| kind.name == name)
}

fn nothing(_: &Siege) -> Result<()> {
    Ok(())
}

/// Fills the history of [`ROOM`] by the server's API, which needs no key from this machine.
fn fill(siege: &Siege) -> Result<()> {
    let fields: Vec<String> = (0..200).map(|field| format!("\"field{field}\":{field}")).collect();
    let body = format!(r#"{{"room":"{ROOM}","event":"data_update","data":{{{}}}}}"#, fields.join(","));
    for _ in 0..KEPT {
        let mut stream = TcpStream::connect_timeout(&siege.target.address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let head = format!(
            "POST /v1/publish HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.lines().next().unwrap_or_default();
        ensure!(status.contains(" 200"), "publishing to {ROOM}: {status}");
    }
    Ok(())
}

/// A connection to `path`, or to the path of the target.
fn open(siege: &Siege, path: Option<&str>) -> Result<Link> {
    let mut target = siege.target.clone();
    if let Some(path) = path {
        target.path = path.to_owned();
    }
    Link::open(&target, PATIENCE)
}

/// Sends what `texts` makes of a rising number, as fast as the server takes it, and reads all answers.
fn flood(siege: &Siege, mut link: Link, texts: impl Fn(u64) -> Vec<String>) -> Result<()> {
    let reader = link.drain()?;
    let mut number = 0;
    let sent = loop {
        let mut batch = Vec::new();
        let mut count = 0;
        while batch.len() < BATCH_BYTES {
            for text in texts(number) {
                batch.extend(link.frame(&text));
                count += 1;
            }
            number += 1;
        }
        let sent = link.send(&batch);
        siege.sent.fetch_add(count, Ordering::Relaxed);
        if sent.is_err() || !siege.goes_on() {
            break sent;
        }
    };
    link.close();
    let _ = reader.join();
    sent
}

/// A new filter and a recovery, again and again.
fn filters(siege: &Siege) -> Result<()> {
    let mut link = open(siege, Some(STREAM))?;
    link.say(&format!(r#"{{"type":"subscribe","channel":"{ROOM}"}}"#))?;
    let joined = link.wait_for("\"epoch\"")?;
    let epoch =
        joined.split("\"epoch\":\"").nth(1).and_then(|rest| rest.get(..16)).unwrap_or_default().to_owned();
    flood(siege, link, move |number| {
        vec![
            format!(r#"{{"type":"apply_filter","filter":{{"none":{number}}}}}"#),
            format!(
                r#"{{"type":"subscribe","channel":"{ROOM}","recover":{{"epoch":"{epoch}","offset":0}}}}"#
            ),
        ]
    })
}

/// Snapshots, as fast as they come.
fn snapshots(siege: &Siege) -> Result<()> {
    let link = open(siege, Some(STREAM))?;
    flood(siege, link, |_| vec![r#"{"type":"request_update"}"#.to_owned()])
}

/// Tokens whose signature is wrong.
fn auth(siege: &Siege) -> Result<()> {
    let link = open(siege, None)?;
    // {"alg":"ES256"}, {"sub":"a"}, 64 bytes of a signature.
    let token = format!("eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.{}", "A".repeat(86));
    flood(siege, link, move |_| vec![format!(r#"{{"type":"auth","token":"{token}"}}"#)])
}

/// Joins and leaves.
fn joins(siege: &Siege) -> Result<()> {
    let link = open(siege, None)?;
    flood(siege, link, |number| {
        let room = format!("attack-{}", number % 1000);
        vec![
            format!(r#"{{"type":"subscribe","room":"{room}"}}"#),
            format!(r#"{{"type":"unsubscribe","room":"{room}"}}"#),
        ]
    })
}

/// Lists of a thousand rooms with long names.
fn status(siege: &Siege) -> Result<()> {
    let mut link = open(siege, None)?;
    for number in 0..1000 {
        link.say(&format!(r#"{{"type":"subscribe","room":"{number:0250}"}}"#))?;
    }
    flood(siege, link, |_| vec![r#"{"type":"status"}"#.to_owned()])
}

/// Long messages, as deep as the server reads them.
fn long(siege: &Siege) -> Result<()> {
    let link = open(siege, None)?;
    let deep = format!("{}{}", "[".repeat(60), "]".repeat(60));
    let text = format!(r#"{{"type":"publish","room":"attack","data":[{}]}}"#, vec![deep; 4000].join(","));
    flood(siege, link, move |_| vec![text.clone()])
}

/// Messages of a few hundred bytes that become some 250 KiB.
fn deflate(siege: &Siege) -> Result<()> {
    let mut link = Link::open_compressed(&siege.target, PATIENCE)?;
    let text = format!(r#"{{"type":"publish","room":"attack","data":"{}"}}"#, "a".repeat(INFLATED_BYTES));
    let mut compressed = Vec::with_capacity(text.len());
    let mut compressor = Compress::new(Compression::best(), false);
    compressor.compress_vec(text.as_bytes(), &mut compressed, FlushCompress::Sync)?;
    // The end of each flush is left out (RFC 7692, section 7.2.1).
    compressed.truncate(compressed.len() - 4);
    let message = link.compressed_frame(&compressed);
    pour(siege, link, &message)
}

/// The cheapest message.
fn pings(siege: &Siege) -> Result<()> {
    let link = open(siege, None)?;
    flood(siege, link, |_| vec![r#"{"type":"ping"}"#.to_owned()])
}

/// Messages in pieces of a byte each.
fn fragments(siege: &Siege) -> Result<()> {
    let mut link = open(siege, None)?;
    let (first, rest) = br#"{"type":"ping"}"#.split_at(1);
    let (middle, last) = rest.split_at(rest.len() - 1);
    let mut message = link.part_of(opcode::TEXT, first);
    for byte in middle {
        message.extend(link.part_of(opcode::CONTINUATION, &[*byte]));
    }
    message.extend(link.frame_of(opcode::CONTINUATION, last));
    pour(siege, link, &message)
}

/// What no server can do anything with, on a connection that the server has told that it is closed.
fn closing(siege: &Siege) -> Result<()> {
    let mut link = open(siege, None)?;
    let refused = link.frame_of(opcode::BINARY, b"x");
    link.send(&refused)?;
    let empty = link.frame_of(opcode::TEXT, b"");
    pour(siege, link, &empty)
}

/// Connections that come, are let in and go.
fn arrivals(siege: &Siege) -> Result<()> {
    while siege.goes_on() {
        open(siege, None)?;
        siege.sent.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Requests on one connection, none of which waits for the answer to the one before.
fn http(siege: &Siege) -> Result<()> {
    let stream = TcpStream::connect_timeout(&siege.target.address, PATIENCE)?;
    let link = Link::over(stream);
    let request = format!("GET /health HTTP/1.1\r\nHost: {}\r\n\r\n", siege.target.host);
    pour(siege, link, request.as_bytes())
}

/// Sends the same bytes, as fast as the server takes them, and reads all that comes.
fn pour(siege: &Siege, mut link: Link, bytes: &[u8]) -> Result<()> {
    let reader = link.drain()?;
    let count = (BATCH_BYTES / bytes.len()).max(1);
    let batch = bytes.repeat(count);
    let sent = loop {
        let sent = link.send(&batch);
        siege.sent.fetch_add(count as u64, Ordering::Relaxed);
        if sent.is_err() || !siege.goes_on() {
            break sent;
        }
    };
    link.close();
    let _ = reader.join();
    sent
}

/// Messages that are refused.
fn unknown(siege: &Siege) -> Result<()> {
    let link = open(siege, None)?;
    flood(siege, link, |number| vec![format!(r#"{{"type":"what","number":{number}}}"#)])
}
