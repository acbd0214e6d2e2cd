//! What must hold of everything in Fanwire that reads a stranger's bytes.
//!
//! Each module has one `check`, which panics where a property does not hold; all properties are told in its
//! documentation. libFuzzer calls it (`fuzz_targets/`, which `run` builds and runs), and so does the replay of the
//! corpora (`tests/replay.rs`), which needs no more than cargo.
//!
//! | target | what reads | what it is held against |
//! |---|---|---|
//! | [`frames`] | `wire`: frames and messages | tungstenite, fastwebsockets, and itself in smaller pieces |
//! | [`upgrade`] | `wire`, `auth`: request, handshake, origin, client address | hyper, tungstenite, the `url` crate, a plain reading of the RFC |
//! | [`rooms`] | `dialect`: the native protocol | a grammar of JSON, `serde_json::Value` |
//! | [`dialects`] | `dialect`: `channels`, `topics`, `tenants`, a target each | the same, and what all tell of it |
//! | [`api`] | `api`: routes and bodies | the same, `percent-encoding`, a plain reading |
//! | [`config`] | `config`: file, environment, flags | itself by another way |
//! | [`proxy`] | `wire`: the PROXY header | `ppp`, and itself in smaller pieces |
//! | [`deflate`] | `wire`: compressed messages, both ways | `miniz_oxide` |
//! | [`token`] | `auth`: tokens, from their bytes to who it is | tokens of PyJWT, a plain reading of the claims |
//! | [`receive`] | `shard`: a whole connection | the same bytes in other pieces, the rules of a server's frames, bounds |
//! | [`hook`] | `api`: the answers of a backend | a plain reading of their JSON |
//! | [`access`] | `auth`: names of rooms against the rules for access | a plain reading of the rules |
//!
pub mod access;
pub mod api;
pub mod config;
pub mod deflate;
pub mod dialects;
pub mod frames;
pub mod hook;
mod json;
pub mod mutate;
pub mod proxy;
pub mod receive;
pub mod rooms;
pub mod token;
pub mod upgrade;

/// A property: panics where it does not hold of these bytes.
pub type Check = fn(&[u8]);

/// Every target with its name, which is that of its binary and of its corpus.
pub const TARGETS: &[(&str, Check)] = &[
    ("frames", frames::check),
    ("upgrade", upgrade::check),
    ("rooms", rooms::check),
    ("channels", dialects::channels),
    ("topics", dialects::topics),
    ("tenants", dialects::tenants),
    ("config", config::check),
    ("api", api::check),
    ("proxy", proxy::check),
    ("deflate", deflate::check),
    ("receive", receive::check),
    ("token", token::check),
    ("access", access::check),
    ("hook", hook::check),
];
