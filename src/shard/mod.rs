//! The state machine of one shard: connections, rooms, outboxes, ticks and timers. No system call and no clock.
//!
//! # Calling contract
//! One thread owns a [`Shard`]. It calls [`Shard::open`], [`Shard::receive`], [`Shard::writable`], [`Shard::lost`]
//! and [`Shard::mail`] as things happen, in any order and number; then, to end the turn, [`Shard::advance`] and
//! [`Shard::flush`]; then it hands every batch of [`Shard::take_outgoing`] to the other shards. Publications to rooms
//! that remember do not wait for that: they go through [`Parts::post`] while the room is locked. Effects on
//! connections go out through the [`Sockets`] that is passed in. Every call is given the time and none asks for it
//! elsewhere. [`Shard::deadline_ms`] tells when `advance` must be called next if nothing happens before.
//!
//! A turn takes in a bounded amount (see `turn`). Whoever drives a shard may always call it, but keeps turns short by
//! asking [`Shard::is_sated`] and [`Shard::is_sated_with_mail`] between its calls, and must do three things more: call
//! [`Shard::resume_mail`] in each turn before it hands over mail; have another turn at once if [`Shard::has_more`];
//! and ask [`Shard::reading`] before it reads for a connection: what comes of one that is paused or held is not lost,
//! but has no bound while it goes on being handed over.
//!
//! # Invariants
//! - A connection is a member of rooms only while it is open.
//! - Nothing is written past a backlog, see `owed`.
//! - While mail is put off, mail that comes goes behind it.
//! - Every byte of a backlog is in the node's budget.
//! - A backlog that was cut because it passed a bound is not written to before its connection is evicted: the peer
//!   gets what came before the gap, and then the close frame.

mod conn;
mod fanout;
mod input;
mod inspect;
mod life;
mod output;
mod policy;
mod sockets;
#[cfg(test)]
mod tests;
mod turn;
#[cfg(test)]
mod worst_tests;

#[doc(hidden)]
use crate::auth::token::TokenError;
use crate::base::{Key, Slab};
use crate::config::{Config, SHARDS_MAX};
use crate::hub::{Hub, Rooms};
use crate::metrics::{ShardLabels, ShardMetrics};
use crate::model::{CloseReason, DropReason, Locator, Refusal};
use conn::Conn;
pub use fanout::accept::Origin;
use fanout::encode::Encoder;
use fanout::filter::FilterDesk;
pub use fanout::frame_batch::FrameBatch;
pub use fanout::mail::{Mail, Message, Ordered, Post, Published, Reply, Request, Selected};
use fanout::mailer::Mailer;
use fanout::presence::Telling;
pub use fanout::tally::Tally;
use fanout::wide::Wide;
use input::handlers::Program;
pub use input::handlers::{CustomRequest, Handler, Handlers, Respond};
pub use input::hook::{Decided, FORWARDED_MAX};
use input::inputs::Inputs;
#[doc(hidden)]
pub use inspect::Inspection;
use life::agents::Agents;
use life::closing::Endings;
pub use life::opening::Newcomer;
pub use life::terms::Route;
use life::timers::Timers;
use output::blocked::Blocked;
use output::owed::Owed;
use output::palette::Palette;
use policy::Policy;
pub use policy::identity::TurnedAway;
pub use policy::users::{UserPart, UsersPlace};
use rand::SeedableRng;
use rand::rngs::StdRng;
pub use sockets::{Sent, Sockets};
use std::sync::Arc;
use turn::Turn;
pub use turn::{Reading, StepLimits};

/// The labels that a shard counts by.
pub const LABELS: ShardLabels = ShardLabels {
    close_reasons: CloseReason::LABELS,
    drop_reasons: DropReason::LABELS,
    refusals: Refusal::LABELS,
    token_failures: &TokenError::LABELS,
};

/// Connections of one shard at the most: 16 million sockets are beyond any core.
const CONNECTIONS_MAX: u32 = Locator::SLOTS_MAX;

const _: () = assert!(SHARDS_MAX <= Locator::SHARDS_MAX);

/// The time of a call.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Microseconds since the node started; never goes back.
    pub us: u64,
    /// Wall clock, Unix milliseconds; may jump.
    pub unix_ms: u64,
}

impl Now {
    /// Milliseconds since the node started.
    pub const fn ms(self) -> u64 {
        self.us / 1000
    }

    /// Tenths of a second since the node started.
    pub const fn ds(self) -> u32 {
        (self.us / 100_000) as u32
    }

    /// Milliseconds since a moment in tenths of a second since the node started; zero if that is to come.
    pub const fn ms_since_ds(self, ds: u32) -> u64 {
        self.ds().saturating_sub(ds) as u64 * 100
    }

    /// What the wall clock would have shown `ms` milliseconds ago, by what it shows now: Unix milliseconds.
    pub const fn unix_ms_ago(self, ms: u64) -> u64 {
        self.unix_ms.saturating_sub(ms)
    }
}

/// What a shard is made of.
pub struct Parts {
    /// Its index among the node's shards.
    pub index: usize,
    /// Number of the node's shards.
    pub shards: usize,
    /// What it shares with the others.
    pub hub: Arc<Hub>,
    /// The configuration at the start.
    pub config: Arc<Config>,
    /// Its counters.
    pub metrics: Arc<ShardMetrics>,
    /// Custom handlers.
    pub handlers: Handlers,
    /// How their answers come back.
    pub respond: Respond,
    /// How mail gets to any shard at once.
    pub post: Post,
    /// Seed of the generator that makes connection ids and the jitter: from the system's generator, so that nobody can
    /// predict an id, but the same again where all of a run is to be the same.
    pub seed: [u8; 32],
}

/// What the shard gives to a new connection.
struct Newcomers {
    agents: Agents,
    /// For connection ids and jitter.
    random: StdRng,
}

/// One shard. See the module's documentation for the calling contract.
pub struct Shard {
    hub: Arc<Hub>,
    config: Arc<Config>,
    metrics: Arc<ShardMetrics>,
    program: Program,
    mailer: Mailer,
    conns: Slab<Conn>,
    owed: Owed,
    palette: Palette,
    encoder: Encoder,
    /// Messages that have not come whole.
    inputs: Inputs,
    rooms: Rooms,
    policy: Policy,
    newcomers: Newcomers,
    timers: Timers,
    filters: FilterDesk,
    /// Publications to very many members.
    wide: Wide,
    turn: Turn,
    blocked: Blocked,
    endings: Endings,
    telling: Telling,
}

impl Shard {
    /// A shard without connections.
    pub fn new(parts: Parts) -> Self {
        let Parts { index, shards, hub, config, metrics, handlers, respond, post, seed } = parts;
        let sweeps = index == 0 && hub.directory.remembers();
        Self {
            filters: FilterDesk::new(hub.clone(), metrics.clone()),
            hub,
            policy: Policy::new(&config),
            config,
            metrics,
            program: Program { handlers, respond },
            mailer: Mailer::new(index, shards, post),
            conns: Slab::new(CONNECTIONS_MAX),
            owed: Owed::default(),
            palette: Palette::default(),
            encoder: Encoder::default(),
            inputs: Inputs::default(),
            rooms: Rooms::new(index),
            newcomers: Newcomers { agents: Agents::default(), random: StdRng::from_seed(seed) },
            timers: Timers::new(sweeps),
            wide: Wide::default(),
            turn: Turn::default(),
            blocked: Blocked::default(),
            endings: Endings::default(),
            telling: Telling::default(),
        }
    }

    /// The configuration in force.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Number of connections, closing ones included.
    pub fn connections(&self) -> usize {
        self.conns.len()
    }

    /// How many bytes clients have given back since this was last asked: of unfinished messages and of names of rooms.
    pub fn take_freed(&mut self) -> usize {
        self.inputs.take_freed() + self.rooms.take_freed()
    }

    /// The live key of a slot, to tell a stale event.
    pub fn key(&self, slot: u32) -> Option<Key> {
        self.conns.key(slot)
    }
}
