//! What reading JSON takes by the clock where a whole text is read at once: serde_json, which the server uses, beside
//! simd-json.
//!
//! ```text
//! cargo bench --bench json
//! ```
//!
//! The texts are of the kinds that Fanwire reads whole: answers of a backend, a set of keys, what an administrator asks
//! for, and a report of the load tool. simd-json unescapes in place, so it is given a copy, which is part of its time; its
//! buffers are kept from one text to the next, which is the best for it. It has no `RawValue`: where the server passes
//! `data` on byte for byte it would be read into a tree and written anew, which changes numbers and escapes. That case is
//! measured too, for what it would cost. Each figure is the least of many short rounds, taken in turn.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::hint::black_box;
use std::time::Instant;

const ROUNDS: usize = 300;

/// Bytes that a round reads at least.
const ROUND_BYTES: usize = 256 * 1024;

/// A decision of the backend.
#[derive(Deserialize)]
#[expect(dead_code, reason = "read and thrown away")]
struct Decision {
    allow: bool,
    user: Option<String>,
    tenant: Option<String>,
    #[serde(default)]
    roles: Vec<String>,
    reason: Option<String>,
}

/// Messages of the backend to a client, `data` as it came.
#[derive(Deserialize)]
#[expect(dead_code, reason = "read and thrown away")]
struct Reply<'b> {
    #[serde(borrow)]
    messages: Vec<Message<'b>>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "read and thrown away")]
struct Message<'b> {
    #[serde(rename = "type")]
    event: String,
    #[serde(borrow)]
    data: &'b RawValue,
}

/// The same, `data` as a tree.
#[derive(Deserialize)]
struct Trees {
    messages: Vec<Tree>,
}

#[derive(Deserialize)]
struct Tree {
    #[serde(rename = "type")]
    #[expect(dead_code, reason = "read and thrown away")]
    event: String,
    data: Value,
}

/// What an administrator says.
#[derive(Deserialize)]
#[expect(dead_code, reason = "read and thrown away")]
struct Broadcast {
    event: String,
    message: String,
    tenant: Option<String>,
}

/// What simd-json works in.
#[derive(Default)]
struct Scratch {
    copy: Vec<u8>,
    buffers: simd_json::Buffers,
}

impl Scratch {
    fn read<T: for<'de> Deserialize<'de>>(&mut self, text: &[u8]) -> T {
        self.copy.clear();
        self.copy.extend_from_slice(text);
        simd_json::serde::from_slice_with_buffers(&mut self.copy, &mut self.buffers).expect("good JSON")
    }

    fn tree(&mut self, text: &[u8]) -> simd_json::OwnedValue {
        self.copy.clear();
        self.copy.extend_from_slice(text);
        simd_json::value::owned::to_value_with_buffers(&mut self.copy, &mut self.buffers).expect("good JSON")
    }
}

struct Case {
    name: &'static str,
    text: String,
    ours: fn(&[u8]),
    simd: fn(&mut Scratch, &[u8]),
}

fn serde<T: for<'de> Deserialize<'de>>(text: &[u8]) {
    drop(black_box(serde_json::from_slice::<T>(text).expect("good JSON")));
}

fn simd<T: for<'de> Deserialize<'de>>(scratch: &mut Scratch, text: &[u8]) {
    drop(black_box(scratch.read::<T>(text)));
}

fn cases() -> Vec<Case> {
    let decision =
        json!({"allow": true, "user": "a-user", "tenant": "acme-corporation", "roles": ["editor"]});
    let message = |number: usize| {
        json!({"type": "order_updated", "data": {
            "id": number, "state": "paid", "total": 129.95, "lines": [{"sku": "A-1", "count": 2}], "note": "a\nb"
        }})
    };
    let reply = |messages: usize| json!({"messages": (0..messages).map(message).collect::<Vec<_>>()});
    let broadcast =
        json!({"event": "notice", "message": "maintenance at noon", "tenant": "acme-corporation"});
    let figures = |name: &str| {
        let keys = ["p50_us", "p90_us", "p99_us", "p999_us", "max_us", "mean_us", "count", "sum"];
        let figures: serde_json::Map<String, Value> =
            keys.iter().enumerate().map(|(at, key)| ((*key).to_owned(), json!(at as f64 * 1234.5))).collect();
        (name.to_owned(), Value::Object(figures))
    };
    let sections =
        ["connections", "deliveries", "latency", "server", "load_tool", "machine", "lateness", "cost"];
    let report = Value::Object(sections.iter().map(|name| figures(name)).collect());
    let keys = include_str!("../tests/tokens/jwks.json");
    vec![
        Case {
            name: "decision of a backend",
            text: decision.to_string(),
            ours: serde::<Decision>,
            simd: simd::<Decision>,
        },
        Case {
            name: "reply of one message, data kept as it came",
            text: reply(1).to_string(),
            ours: |text| drop(black_box(serde_json::from_slice::<Reply<'_>>(text).expect("good JSON"))),
            simd: read_and_written,
        },
        Case {
            name: "reply of 100 messages, data kept as it came",
            text: reply(100).to_string(),
            ours: |text| drop(black_box(serde_json::from_slice::<Reply<'_>>(text).expect("good JSON"))),
            simd: read_and_written,
        },
        Case {
            name: "broadcast of an administrator",
            text: broadcast.to_string(),
            ours: serde::<Broadcast>,
            simd: simd::<Broadcast>,
        },
        Case { name: "set of keys", text: keys.to_owned(), ours: serde::<Value>, simd: simd::<Value> },
        Case {
            name: "report of the load tool",
            text: report.to_string(),
            ours: serde::<Value>,
            simd: simd::<Value>,
        },
        Case {
            name: "the same, into the tree of either",
            text: report.to_string(),
            ours: serde::<Value>,
            simd: |scratch, text| drop(black_box(scratch.tree(text))),
        },
    ]
}

/// What simd-json needs where `data` is passed on: a tree, written anew.
fn read_and_written(scratch: &mut Scratch, text: &[u8]) {
    let reply: Trees = scratch.read(text);
    let written: Vec<String> = reply.messages.iter().map(|message| message.data.to_string()).collect();
    drop(black_box(written));
}

fn main() {
    println!("{:<46} {:>8} {:>14} {:>14} {:>7}", "", "bytes", "serde_json, ns", "simd-json, ns", "ratio");
    for Case { name, text, ours, simd } in cases() {
        let (text, mut scratch) = (text.as_bytes(), Scratch::default());
        let [serde_ns, simd_ns] =
            least(text.len(), [&mut || ours(black_box(text)), &mut || simd(&mut scratch, black_box(text))]);
        let ratio = simd_ns / serde_ns;
        println!("{name:<46} {:>8} {serde_ns:>14.0} {simd_ns:>14.0} {ratio:>7.2}", text.len());
    }
}

/// The least time of each, in nanoseconds for a text: what disturbs only ever adds.
fn least(bytes: usize, mut works: [&mut dyn FnMut(); 2]) -> [f64; 2] {
    let texts = ROUND_BYTES.div_ceil(bytes);
    let mut least = [f64::INFINITY; 2];
    for _ in 0..ROUNDS {
        for (work, least) in works.iter_mut().zip(&mut least) {
            let start = Instant::now();
            (0..texts).for_each(|_| work());
            *least = least.min(start.elapsed().as_secs_f64() * 1e9 / texts as f64);
        }
    }
    least
}
