//! What kind of world a seed makes: its limits, its habits, how rough its network is. Each seed has its own few
//! tight limits, because a world in which every limit is tight never gets anywhere.

use super::random::Random;
use super::{rules, speech};
use fanwire::config::{Config, RoomPolicy};
use fanwire::shard::StepLimits;
use std::fmt;
use std::time::Duration;

/// The kind of world.
#[derive(Debug)]
pub struct Plan {
    pub shards: usize,
    pub config: Config,
    /// Clients, each of which may connect again and again.
    pub clients: usize,
    /// Rooms in use.
    pub rooms: usize,
    pub steps: usize,
    /// Whether one read may bring many messages. Where the members of a room are bounded it may not: then the model
    /// could not tell whether an eviction in the middle made a place free in time.
    pub bursts: bool,
    /// Largest filling of a publication, in bytes.
    pub data_bytes_max: usize,
    /// What a transport takes before it refuses, when it does not stall.
    pub capacity: usize,
    /// Weights of a client's acts: ask, read, stall, go on, say something wrong, control frame, close, cut.
    pub acts: [usize; 8],
    /// Weights of the asks: join, leave, say, shout, ping, echo, wrong, who.
    pub asks: [usize; 8],
    /// What holds for each room.
    pub policies: Vec<RoomPolicy>,
    /// Each source of messages has an order of its own: so it is where rooms have rules, or are walked.
    pub streams: bool,
    /// From how few members on rooms are walked in steps, if they are.
    pub wide: Option<StepLimits>,
    /// Connections that a turn writes to while more are owed something.
    pub turn_writes: usize,
    /// Work for one connection's input before it is paused.
    pub input_max: u64,
    /// Percent of connections that agree on compression, and of those that are echoes.
    pub deflate_percent: usize,
    pub echo_percent: usize,
    /// Whether some connections speak the sixth dialect.
    pub sixth: bool,
    /// Whether shards do not run for a while.
    pub sleeps: bool,
    /// Percent of steps in which time passes.
    pub time_percent: usize,
    /// Whether the end is a drain.
    pub drains: bool,
}

/// Connections that turns write to in some worlds.
const TURN_WRITES: [usize; 5] = [1, 2, 3, usize::MAX, usize::MAX];

/// How rooms are walked, and to how many connections a turn writes.
pub fn step_limits(random: &mut Random) -> StepLimits {
    StepLimits {
        members_min: random.between(1, 4),
        step_members: random.between(1, 3),
        waiting_bytes_max: random.pick(&[300, 3000, 1 << 18]),
        turn_writes: random.pick(&TURN_WRITES),
        ..StepLimits::default()
    }
}

impl Plan {
    pub fn new(random: &mut Random) -> Self {
        let mut config = Config {
            client_broadcast: Some(random.percent(90)),
            deliver_to_sender: random.percent(75),
            ..Config::default()
        };
        let limits = &mut config.limits;
        let tight = |random: &mut Random| random.percent(30);
        if tight(random) {
            limits.connections_max = random.between(2, 10) as u32;
        }
        if tight(random) {
            limits.connections_per_room_max = random.between(1, 5) as u32;
        }
        if tight(random) {
            limits.connections_per_ip_max = random.between(1, 4) as u32;
        }
        if tight(random) {
            limits.rooms_per_connection_max = random.between(1, 3) as u32;
        }
        limits.message_bytes_max = random.pick(&[600, 2000, 70_000]);
        limits.fragments_max = random.pick(&[1, 4, 64]);
        limits.json_depth_max = random.pick(&[2, 5, 64]);
        if tight(random) {
            // Divisors of 10^9, so that the times of tokens are whole nanoseconds here and there.
            limits.messages_per_s = random.pick(&[1, 5, 50]);
            limits.messages_burst = random.pick(&[0, 1, 10]);
        }
        if tight(random) {
            limits.bytes_per_s = random.pick(&[200, 2000]);
            limits.bytes_burst = random.pick(&[0, 400, 5000]);
        }
        limits.outbox_bytes_max = random.pick(&[4096, 16 * 1024, 1024 * 1024]);
        limits.outbox_messages_max = random.pick(&[1, 16, 8192, 8192]);
        limits.outboxes_bytes_max = random.pick(&[20 * 1024, 64 * 1024, 256 * 1024 * 1024]);
        limits.inputs_bytes_max = random.pick(&[1500, 20_000, 128 << 20, 128 << 20]);
        limits.mailbox_bytes_max = random.pick(&[2000, 64 * 1024 * 1024]);
        let times = &mut config.times;
        times.ping_interval = random.pick(&[Duration::ZERO, Duration::from_secs(1), Duration::from_secs(54)]);
        times.pong_wait = match times.ping_interval {
            Duration::ZERO => Duration::ZERO,
            interval => interval + Duration::from_millis(random.between(300, 3000) as u64),
        };
        times.idle_timeout = random.pick(&[Duration::ZERO, Duration::ZERO, Duration::from_secs(3)]);
        times.message_timeout =
            random.pick(&[Duration::ZERO, Duration::from_secs(2), Duration::from_secs(60)]);
        times.cleanup_interval =
            random.pick(&[Duration::ZERO, Duration::from_secs(2), Duration::from_secs(9)]);
        times.write_wait = Duration::from_millis(random.pick(&[1000, 10_000]));
        times.close_wait = Duration::from_millis(random.pick(&[1000, 5000]));
        let has_rules = random.percent(45);
        let policies = speech::ROOMS.map(|_| match has_rules && random.percent(75) {
            true => rules::policy(random),
            false => RoomPolicy::default(),
        });
        let wide = random.percent(35).then(|| step_limits(random));
        config.limits.history_bytes_max = random.pick(&[3000, 20_000, 1 << 28, 1 << 28]);
        config.times.presence_interval = Duration::from_millis(random.pick(&[0, 100, 1000]));
        config.deflate.min_bytes = random.pick(&[0, 100, 1000]);
        config.deflate.level = random.pick(&[1, 3]);
        let streams = has_rules || wide.is_some();
        if streams {
            // Few rooms with many members, of which more is lost and walked.
            let limits = &mut config.limits;
            if random.percent(70) {
                (limits.connections_max, limits.connections_per_ip_max, limits.messages_per_s) = (0, 0, 0);
                (limits.connections_per_room_max, limits.rooms_per_connection_max) = (0, 1000);
            }
        }
        let rooms = random.between(1, if streams { 3 } else { speech::ROOMS.len() });
        // Streams are told apart by one message in each read.
        let bursts = config.limits.connections_per_room_max == 0 && !streams;
        let roomy = config.limits.message_bytes_max >= 2000;
        let (shards, clients) = (random.between(1, 4), random.between(2, 14));
        Self {
            shards,
            clients,
            // Not by a number of its own, as below.
            sixth: clients % 3 == 0,
            rooms,
            steps: random.pick(&[60, 150, 400]),
            bursts,
            data_bytes_max: match (roomy, random.below(4)) {
                (false, _) => 200,
                (true, 0) => 1400,
                (true, 1) if config.limits.message_bytes_max > 66_000 => 66_000,
                (true, _) => 100,
            },
            capacity: random.pick(&[200, 3000, 1_000_000]),
            acts: [
                random.between(20, 60),
                random.between(5, 40),
                random.below(if streams { 25 } else { 12 }),
                random.below(12),
                random.below(3),
                random.below(8),
                random.below(4),
                random.below(4),
            ],
            asks: [
                if streams { random.between(10, 45) } else { random.between(5, 25) },
                random.between(0, 12),
                random.between(10, 60),
                random.below(8),
                random.below(6),
                random.below(6),
                random.below(4),
                if has_rules { random.below(8) } else { random.below(2) },
            ],
            policies: policies.into(),
            streams,
            wide,
            turn_writes: random.pick(&TURN_WRITES),
            // Not by a number of its own, so that each seed is the world that it was. What is paused counts as unfinished
            // input: where the bound on that is tight, the model could not tell whose goes.
            input_max: match config.limits.inputs_bytes_max < 1 << 20 {
                true => 1 << 40,
                false => [1, 5000, StepLimits::default().input_max][rooms % 3],
            },
            deflate_percent: random.pick(&[0, 0, 50]),
            echo_percent: random.pick(&[0, 0, 15]),
            sleeps: random.percent(25),
            time_percent: random.between(5, 25),
            drains: random.percent(40),
            config,
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shards, clients, capacity, bursts, config, .. } = self;
        let Config { deliver_to_sender, client_broadcast, limits, times, .. } = config;
        writeln!(f, "{shards} shards, {clients} clients, transports of {capacity} bytes, bursts: {bursts}")?;
        writeln!(f, "deliver_to_sender: {deliver_to_sender}, client_broadcast: {client_broadcast:?}")?;
        for (room, policy) in speech::ROOMS.iter().zip(&self.policies) {
            if *policy != RoomPolicy::default() {
                writeln!(f, "room {room}: {policy:?}")?;
            }
        }
        let Self { wide, turn_writes, input_max, deflate_percent, echo_percent, sixth, sleeps, .. } = self;
        writeln!(
            f,
            "{wide:?}, {turn_writes} writes, input of {input_max}, {deflate_percent} % deflate, {echo_percent} % echo, sixth: {sixth}, sleeps: {sleeps}"
        )?;
        write!(f, "{limits:?}\n{times:?}")
    }
}
