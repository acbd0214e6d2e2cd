//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::compare::options::Compare;
use crate::template::{Keepalive, Templates};

/// Puts load on a WebSocket server and says what it can carry.
#[derive(Debug, Parser)]
#[command(version, about, args_override_self = true)]
pub struct Cli {
    /// The load pattern.
    #[command(subcommand)]
    pub pattern: Pattern,
}

/// The load patterns.
#[derive(Debug, Subcommand)]
pub enum Pattern {
    /// Publish to rooms and measure every copy at every member.
    Fanout(Fanout),
    /// Hold many quiet connections and measure their memory.
    ///
    /// Start the server anew for it: memory kept from earlier connections is not seen a second time.
    Idle(Idle),
    /// Connect, join, leave and close, over and over.
    Churn(Churn),
    /// Publish while some members do not read.
    Slow(Slow),
    /// Let one client flood the server and measure the round trips of others, without it and with it.
    ///
    /// The server must be on this machine and have its default configuration. The exit status is 1 when the others
    /// feel too much of it.
    Attack(Attack),
    /// Be the bare epoll server, the yardstick.
    Floor(Floor),
    /// Measure several servers beside each other, in rounds, and write a table, JSON and a page with plots.
    Compare(Compare),
}

impl Pattern {
    /// The options that all patterns of load have.
    pub fn common(&self) -> Option<&Common> {
        match self {
            Self::Fanout(options) => Some(&options.common),
            Self::Idle(options) => Some(&options.common),
            Self::Churn(options) => Some(&options.common),
            Self::Slow(options) => Some(&options.common),
            Self::Attack(_) | Self::Floor(_) | Self::Compare(_) => None,
        }
    }
}

/// What an attack needs to know.
#[derive(Clone, Debug, Args)]
pub struct Attack {
    /// The server, ws://host:port/path, as its quiet clients reach it.
    pub url: String,
    /// What the attackers do.
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(crate::attack::NAMES))]
    pub kind: String,
    /// Connections that attack.
    #[arg(long, default_value_t = 1)]
    pub attackers: u32,
    /// Quiet clients, each with a round trip in 10 ms.
    #[arg(long, default_value_t = 8)]
    pub clients: u32,
    /// Seconds to measure without the attack, and as many with it.
    #[arg(long, default_value_t = 5.0)]
    pub duration: f64,
    /// How many times the p99 without the attack the p99 with it may be.
    #[arg(long, default_value_t = 3.0)]
    pub ratio_max: f64,
    /// What the p99 with the attack may be at the most, in ms.
    #[arg(long, default_value_t = 30.0)]
    pub p99_max_ms: f64,
    /// Print one JSON object instead of the table.
    #[arg(long)]
    pub json: bool,
}

/// What every pattern of load needs to know.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// The server, ws://host:port/path; {room} in the path is filled in.
    pub url: String,
    /// What carries the connections: `fastwebsockets` tells whether the figures of the own client hold.
    #[arg(long, value_enum, default_value = "own")]
    pub client: Client,
    /// Load threads; cores minus 1 when not given.
    #[arg(long)]
    pub threads: Option<usize>,
    /// Cores to pin the load threads to, in turn, such as 2,3.
    #[arg(long, value_delimiter = ',')]
    pub pin: Vec<usize>,
    /// Protocol whose texts are the defaults of the following options.
    #[arg(long, value_enum, default_value = "rooms")]
    pub preset: Preset,
    /// Frame that joins, {room} filled in; give it several times for several frames.
    #[arg(long)]
    pub join: Vec<String>,
    /// Text that the server must have sent before the first, second, ... --join goes out; empty: none.
    #[arg(long)]
    pub join_after: Vec<String>,
    /// Frame that leaves a room; empty: only closing does.
    #[arg(long)]
    pub leave: Option<String>,
    /// Frame that publishes, {room}, {payload} and {payload_bytes} (its length) filled in.
    #[arg(long)]
    pub publish: Option<String>,
    /// Text that acknowledges a join; empty: the server sends none, wait until nothing more comes.
    #[arg(long)]
    pub joined_marker: Option<String>,
    /// Text that acknowledges a leave; empty: the server sends none.
    #[arg(long)]
    pub left_marker: Option<String>,
    /// Frame by which the server asks whether this side is alive, above WebSocket's own pings.
    #[arg(long, requires = "keepalive_answer")]
    pub keepalive: Option<String>,
    /// Frame that answers --keepalive.
    #[arg(long, requires = "keepalive")]
    pub keepalive_answer: Option<String>,
    /// --keepalive is a line within a frame, with its line end, instead of a whole frame.
    #[arg(long, requires = "keepalive")]
    pub keepalive_line: bool,
    /// Before the number in a room's name.
    #[arg(long, default_value = "load-")]
    pub room_prefix: String,
    /// Further header field of the upgrade, 'Name: value'; may be repeated.
    #[arg(long)]
    pub header: Vec<String>,
    /// Secret by which each connection brings a token (HS256) of a user of its own, all of one tenant.
    #[arg(long)]
    pub token_secret: Option<String>,
    /// Process id of the server, for its CPU time and memory; several are added up, such as 71,72.
    #[arg(long, value_delimiter = ',')]
    pub pid: Vec<u32>,
    /// Loopback source addresses; as many as the connections need when not given.
    #[arg(long)]
    pub sources: Option<usize>,
    /// Connections under way at once, over all threads.
    #[arg(long, default_value_t = 256)]
    pub connecting: usize,
    /// Longest time to connect and join, in seconds.
    #[arg(long, default_value_t = 60.0)]
    pub join_timeout: f64,
    /// Longest wait for what is still under way at the end, in seconds.
    #[arg(long, default_value_t = 5.0)]
    pub drain: f64,
    /// Print one JSON object instead of the table.
    #[arg(long)]
    pub json: bool,
}

/// Protocols whose texts are known.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Preset {
    /// The native protocol.
    Rooms,
    /// None: the upgrade joins, closing leaves, what is sent is published as it is.
    None,
}

impl Common {
    /// The preset's texts with those of the options in their place.
    pub fn templates(&self) -> Templates {
        let mut templates = match self.preset {
            Preset::Rooms => Templates::rooms(),
            Preset::None => Templates::none(),
        };
        if !self.join.is_empty() {
            templates.join.clone_from(&self.join);
        }
        let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        templates.join_after = self.join_after.iter().map(some).collect();
        if let Some((ask, answer)) = self.keepalive.clone().zip(self.keepalive_answer.clone()) {
            templates.keepalive = Some(Keepalive { ask, answer, is_line: self.keepalive_line });
        }
        if let Some(leave) = &self.leave {
            templates.leave.clone_from(leave);
        }
        if let Some(publish) = &self.publish {
            templates.publish.clone_from(publish);
        }
        for (given, marker) in [
            (&self.joined_marker, &mut templates.joined_marker),
            (&self.left_marker, &mut templates.left_marker),
        ] {
            if let Some(text) = given {
                *marker = some(text);
            }
        }
        templates
    }

    /// Load threads to start.
    pub fn threads(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        self.threads.unwrap_or(cores.saturating_sub(1)).max(1)
    }
}

/// When to measure.
#[derive(Clone, Copy, Debug, Args)]
pub struct Times {
    /// Measured time in seconds.
    #[arg(long, default_value_t = 10.0)]
    pub duration: f64,
    /// Time of load before measuring, in seconds.
    #[arg(long, default_value_t = 1.0)]
    pub warmup: f64,
}

/// Options of `fanout`.
#[derive(Debug, Args)]
pub struct Fanout {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: Common,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub times: Times,
    /// Rooms.
    #[arg(long, default_value_t = 1)]
    pub rooms: u32,
    /// Members of each room.
    #[arg(long, default_value_t = 100)]
    pub members: u32,
    /// Publishers of each room; they are its first members unless separate.
    #[arg(long, default_value_t = 1)]
    pub publishers: u32,
    /// Publishers are connections of their own.
    #[arg(long)]
    pub separate_publishers: bool,
    /// Separate publishers join too: the room has that many more members.
    #[arg(long, requires = "separate_publishers")]
    pub publishers_join: bool,
    /// The server does not send a publisher its own messages.
    #[arg(long)]
    pub no_echo: bool,
    /// Messages per second over all publishers, sent at times fixed in advance.
    #[arg(long, default_value_t = 100.0)]
    pub rate: f64,
    /// Flat out instead: each room has so many messages under way, a new one as soon as one has come
    /// back to its publisher.
    #[arg(long, conflicts_with = "rate", value_parser = clap::value_parser!(u32).range(1..))]
    pub in_flight: Option<u32>,
    /// Bytes of a message's payload, about 50 at least.
    #[arg(long, default_value_t = 100)]
    pub size: usize,
}

/// Options of `idle`.
#[derive(Debug, Args)]
pub struct Idle {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: Common,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub times: Times,
    /// Connections.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..1 << 24))]
    pub connections: u32,
    /// Rooms they are dealt to; 0: they join none.
    #[arg(long, default_value_t = 100)]
    pub rooms: u32,
    /// Longest wait until the server's memory is steady, in seconds.
    #[arg(long, default_value_t = 20.0)]
    pub steady: f64,
}

/// Options of `churn`.
#[derive(Debug, Args)]
pub struct Churn {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: Common,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub times: Times,
    /// Cycles per second, begun at times fixed in advance; flat out when not given.
    #[arg(long)]
    pub rate: Option<f64>,
    /// Cycles under way at once; with --rate the most allowed.
    #[arg(long, default_value_t = 64)]
    pub concurrency: usize,
    /// Rooms, used in turn.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    pub rooms: u32,
    /// A cycle that takes longer fails, in seconds.
    #[arg(long, default_value_t = 5.0)]
    pub cycle_timeout: f64,
}

/// Options of `slow`.
#[derive(Debug, Args)]
pub struct Slow {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: Common,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub times: Times,
    /// Members of the room.
    #[arg(long, default_value_t = 100)]
    pub members: u32,
    /// Members that stop reading after the join.
    #[arg(long, default_value_t = 10)]
    pub stalled: u32,
    /// Publishers; they are the first members.
    #[arg(long, default_value_t = 1)]
    pub publishers: u32,
    /// The server does not send a publisher its own messages.
    #[arg(long)]
    pub no_echo: bool,
    /// Messages per second.
    #[arg(long, default_value_t = 1000.0)]
    pub rate: f64,
    /// Bytes of a message's payload.
    #[arg(long, default_value_t = 1000)]
    pub size: usize,
    /// Receive buffer of stalled members in bytes; 0: the kernel's choice, which may hide megabytes.
    #[arg(long, default_value_t = 0)]
    pub stalled_rcvbuf: usize,
}

/// Options of `floor`.
#[derive(Clone, Debug, Args)]
pub struct Floor {
    /// Port on 127.0.0.1; 0 takes a free one. It is printed.
    #[arg(long, default_value_t = 9100)]
    pub port: u16,
    /// Threads, each pinned to a core; all cores when not given.
    #[arg(long)]
    pub threads: Option<usize>,
    /// Cores to pin the threads to, in turn; the first ones when not given.
    #[arg(long, value_delimiter = ',')]
    pub pin: Vec<usize>,
    /// How members are written to.
    #[arg(long, value_enum, default_value = "batch")]
    pub mode: Mode,
    /// Cut or pad forwarded frames, header included, to this many bytes; 0: leave them as they come.
    #[arg(long, default_value_t = 0)]
    pub frame_bytes: usize,
    /// A member that the kernel takes nothing for is cut off beyond this many bytes.
    #[arg(long, default_value_t = 8 << 20)]
    pub backlog_bytes: usize,
}

/// Which client puts the load on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Client {
    /// Sockets and frames of this tool: hundreds of thousands of connections.
    Own,
    /// The library fastwebsockets on tokio's sockets: thousands of connections.
    Fastwebsockets,
}

/// How the bare server writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// One write for each member and message.
    Send,
    /// One write for each member and round of the loop.
    Batch,
    /// As send, but with one io_uring submission for the nth messages of all rooms.
    Uring,
    /// As batch, but with one io_uring submission for all members.
    UringBatch,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_replace_the_presets_texts() {
        let line =
            ["loadtest", "fanout", "ws://h:1/", "--join", "40", "--join", "j{room}", "--joined-marker", ""];
        let Pattern::Fanout(fanout) = Cli::parse_from(line).pattern else { panic!("not fanout") };
        let templates = fanout.common.templates();
        assert_eq!(templates.join, ["40", "j{room}"]);
        assert_eq!(templates.joined_marker, None);
        assert_eq!(templates.publish, Templates::rooms().publish);
    }
}
