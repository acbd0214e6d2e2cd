//! Fanwire is a sharded WebSocket edge server: it holds very many connections on one machine and fans small messages
//! out to rooms of them. This crate is the server; the binary `fanwire` only adds the command line, the log and the
//! signals.
//!
//! ```
//! use fanwire::{Server, config::Config};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config { host: [127, 0, 0, 1].into(), port: 0, shards: 1, ..Config::default() };
//! let server = Server::builder()
//!     .config(config)
//!     // Messages of a type that the protocol does not have.
//!     .on("get_user", |request| {
//!         let email: String = request.json()?; // the client is told what is wrong
//!         request.reply("user_response", &serde_json::json!({ "email": email }))?;
//!         Ok(())
//!     })
//!     .start()?;
//! let handle = server.handle();
//! let members = handle.publish("chat", "message", &"Hello!")?.wait()?;
//! assert_eq!(members, 0, "nobody is in that room yet");
//! handle.shutdown();
//! server.wait()?;
//! # Ok(())
//! # }
//! ```
//!
//! # The map of the house
//!
//! Imports run one way, from the bottom of this table to its top; modules of one row do not know each other. The test
//! `tests/meta/architecture.rs` holds this.
//!
//! | module | what it is | what it never does |
//! |---|---|---|
//! | [`base`] | slab, timer wheel, rates, depth of JSON | know anything of the rest |
//! | [`model`] | the nouns: command, publication, answer, ids, room names, reasons to close, questions to a backend | know a protocol's syntax |
//! | [`wire`] | bytes and frames: handshake, parser, builder, compression, PROXY header | keep a connection's state |
//! | [`dialect`] | messages of one client protocol to commands, publications to messages | know a connection |
//! | [`config`] | file, environment and flags become one checked value | |
//! | [`metrics`] | counters that one thread writes and any reads | lock |
//! | [`hub`] | rooms, membership, interest, limits of the node, of users and of tenants | I/O, ask for the time |
//! | [`auth`] | origins, keys of the API, rules for access | keep a connection's state |
//! | [`shard`] | connections, outboxes, ticks, timers: the state machine | a system call, ask for the time |
//! | [`api`] | HTTP request to what is asked, answers to JSON | know hyper |
//! | [`webhook`] | what a backend is asked, how its answers read, when requests go again | send anything |
//! | [`io`] | sockets, poll, mailboxes, HTTP, clock | decide anything about rooms |
//! | [`Server`], [`Handle`] | start and stop the shards; ask something of them from anywhere; code of the program | |
//!
//! # One publish, from A on shard 1 to B on shard 3
//!
//! 1. A's socket is readable: [`io`] receives into the shard's one scratch buffer and calls `Shard::receive`.
//! 2. [`wire`] parses frames in that buffer and unmasks them there. Only the start of a frame that has not come whole
//!    is copied, into a buffer that A has for that long.
//! 3. The connection's [`dialect`] turns the text into `Command::Publish`. `data` stays a slice of what A sent.
//! 4. The shard checks A's rate, the rules for access and A's membership, then encodes the publication once for each dialect with members, and
//!    compresses it once for each window that members keep, frame header and payload together, into the tick's palette.
//! 5. The room's shared part tells which shards have members, by one atomic word each. For each of those the frame is
//!    added to the batch that goes to its mailbox at the end of the turn; a mailbox wakes its shard only if it may sleep.
//! 6. Shard 3 copies the batch into its own palette and walks its members of the room. What a connection is owed is one
//!    number, the id of a list of frames that all who are owed the same share.
//! 7. Each connection that is owed something gets one `send` of bytes that were put together once per list. A turn of
//!    the shard writes to 256 of them and then reads what has come: that goes out to the next ones in the same call,
//!    and to those before them in the next round. The tick ends when nobody is owed anything. What the kernel does not take becomes B's backlog, bounded in bytes and messages, for itself and for the
//!    node; nothing is written past a backlog, and a backlog that would pass its bound costs B the connection (4430),
//!    unless the rule of a room lets it lose publications instead: then the oldest make place, or those of the same key
//!    (found once, in step 4), and a notice tells B how many. Answers go before publications that wait.
//!
//! Who comes is let in by the same turns (`io/turn/door.rs`): accepted, read, and opened where the first bytes are a plain
//! request for WebSocket that is granted; all other HTTP goes to hyper. Both ways ask `io/http/upgrade.rs` who may come in.
//! Until a connection is a WebSocket it holds one of the shard's places (`io/turn/places.rs`), of which each address has a
//! share. Operators have a listener of their own (`io/http/admin_listener.rs`).
//!
//! What a turn takes in is bounded, so that its end is near for everybody: one that has enough leaves the rest in the
//! mailbox, in the sockets, or with the connection that it came from, which then goes behind all others. One connection's
//! input has a share of its own, counted by what it makes the shard look at, and is left in its middle when that is spent;
//! those that have more get as much of a turn's time as all others together. A room with
//! thousands of members on a shard gets its publications in steps: they wait in a line of the room's own, each turn
//! owes them to the next thousand members, and the room's publishers are not read while the line is long. So neither
//! the size of a room nor its traffic is felt in others.
//!
//! In a room that remembers, the publication is numbered and kept under the room's lock before step 4, and step 5 posts it
//! to the mailboxes of all shards with members, shard 1's own among them, in the order of the numbers: a shard that has
//! encoded before the one with an earlier number leaves its post for that one, and none waits. So all mailboxes have the
//! publications of the room in one order.
//!
//! # Several nodes
//!
//! All publications come in by `Shard::accept`, with where they come from. Where a node has a [`hub::Cluster`], that is the
//! one place which hands what was not heard from another node to the [`hub::Broker`], behind the own connections; in a
//! room that remembers the broker numbers instead, and brings it back to all. What a broker brings is one kind of mail. The
//! directory tells the broker of the node's first and last member of each room.
//!
//! # Invariants
//!
//! - A connection lives and dies on one shard. Shards talk only through mailboxes; what they share are the counters of
//!   rooms, of admission, and of users and tenants where these have limits, touched when somebody comes, joins, leaves
//!   or goes, those of a room once for each publication to it, and the last for a message or for bytes that a socket did
//!   not take, never for a delivery; and the filters
//!   of clients, touched for one publication once for each different filter among a shard's members.
//! - Messages of one publisher to one room arrive in the order sent, at each member once.
//! - Members of a room that remembers all see its publications in the order of their offsets, without gaps but those that
//!   a notice tells, from where the answer to their joining says. A recovery tells exactly what was missed, or says that
//!   it cannot.
//! - What a client does in a room is allowed by the rules for access at the time, and refused in the same words whether
//!   the room exists or not. Memberships that they do not allow any more end. No right hangs on the dialect: a client that
//!   publishes without joining might have joined, and no broadcast of a client crosses the border of a tenant.
//! - What a history keeps is the end of the room's order. All histories and the rooms that only they keep are in one
//!   sum, which is bounded before anything is added to a history; a room without members or use is forgotten in time.
//! - Users of one name in two tenants are two users. No connection is known by a token that the configuration in force
//!   would refuse for its key, its issuer or its tenant, but for the turns that a review after a change takes.
//! - Locks are taken in one order: a stripe of the directory, a room's history, the filters of clients. Nothing blocks
//!   under them. What a reader needs of a history is taken out under its lock; JSON is read and frames are made after
//!   it. A stripe of the accounts of users and tenants is taken by itself.
//! - What a filter of clients says of a publication is found out once for the node, while it is remembered. A publication
//!   that a history keeps is read for filters once. A request that needs more of them read than its share waits, as it
//!   came, until that is done: it is carried out at one moment.
//! - No input of one connection holds a shard for longer than its share and one message: `shard::turn` has the bounds.
//! - Every buffer that a peer can make grow has a bound in bytes that is checked before the bytes are added. What all
//!   unfinished messages of the node hold is bounded after each read: the largest of the node goes.
//! - While a place is held by a connection whose request is not whole, a newcomer is not refused: of the address with the
//!   most places, the oldest such connection gives way.
//! - A peer can cause an error message or a close, never a panic, a stall or somebody else's data.
//! - A connection gets all that it was owed, or is told how many publications of a room it did not get, in their place,
//!   or is closed with a reason. Only publications of rooms whose rule says so are lost, never answers.
//! - `unsafe` stands in `io/turn/sys.rs` and `io/turn/ring.rs` alone, each block with its reason; and the binary sets its
//!   allocator.
//! - No code of the embedding program runs on a shard's thread but handlers of [`Handle::on`]. What else it decides or
//!   handles runs on other threads, within bounds in number and bytes; a decision comes in time whatever that code does,
//!   and comes back to its shard by mail. The handlers of the program are read under a lock of their own, which is taken
//!   by itself, for messages that no dialect defines alone.
//! - Code outside [`dialect`] never asks which protocol a connection speaks.
//!
//! # Simulation
//!
//! A shard makes no system call and asks for no time, so `tests/simulation` runs whole nodes on one thread: real
//! shards, hub and dialect, clients that join, publish, stall, break the rules, vanish and come back at random, a
//! network of byte pipes, a clock that jumps, and an oracle that knows what each client must hear and what each
//! counter must say. Some worlds have rooms with rules (history and recovery, overflow, presence), compression, echoes,
//! connections of a dialect with a state and binary messages (`tests/sixth`),
//! rooms that are walked in steps from few members on, or shards that do not run for a while. All of a run follows from
//! its seed; what fails says which.
//!
//! Further worlds, in `tests/simulation/cluster`, are two and three nodes joined by a toy broker that delays, doubles, and
//! loses what is on its way when a link is cut.
//!
//! ```text
//! cargo test --test simulation                                        # 3,000 seeds, a quarter of a minute
//! FANWIRE_SIMULATION_SEED=7 cargo test --test simulation every_seed   # one seed again
//! FANWIRE_SIMULATION_SEEDS=100000 cargo test --test simulation every_seed
//! FANWIRE_SIMULATION_SECONDS=28800 cargo test --test simulation every_seed   # a night of seeds never run before
//! cargo test --features mutations --test simulation   # each of base::Mutation's mistakes must be found
//! tests/mistakes                                      # and those in features by the tests of the documents' rows
//! ```

pub mod api;
pub mod auth;
pub mod base;
mod batch;
mod callbacks;
pub mod calls;
pub mod config;
pub mod dialect;
pub mod guide;
mod handle;
mod handler;
pub mod hub;
pub mod io;
pub mod metrics;
pub mod model;
mod node;
pub mod shard;
pub mod webhook;
pub mod wire;

pub use batch::Batch;
pub use callbacks::{Connect, Disconnect, Join, Leave, Publish, blocking};
pub use handle::{Handle, HandleError};
pub use handler::{CustomRequest, HandlerError, Outcome};
pub use io::{Answer, Ended};
pub use node::{Builder, Server};

/// The README's Rust example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
