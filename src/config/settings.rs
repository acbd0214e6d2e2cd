use super::access::AccessTable;
use super::account::AccountLimits;
use super::endpoint::Endpoint;
use super::hook::{HookEvent, HookSettings};
use super::listen::ListenAddress;
use super::preset::{self, Preset};
use super::relations::OUTBOX_BYTES;
use super::rule::RoomRule;
use super::tokens::{Secret, Tokens};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// A validated configuration of one node. [`Config::default`] is what runs with nothing configured.
///
/// Fields that a program sets itself are checked by [`crate::Builder::start`], by the same rules as a file's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The document whose defaults hold for what is not configured otherwise.
    pub preset: Preset,
    /// Whether a warning about the configuration refuses it.
    pub strict: bool,
    /// Whether to serve at all (`WEBSOCKET_ENABLED` of the document).
    pub enabled: bool,
    /// Address to listen on.
    pub host: IpAddr,
    /// TCP port to listen on; 0 lets the system choose.
    pub port: u16,
    /// Whether to listen on TCP at all.
    pub tcp: bool,
    /// Whether other servers may listen on the same TCP port, where they say so too. The kernel spreads connections
    /// over all of them, and they know nothing of each other's rooms.
    pub reuse_port: bool,
    /// Unix socket to listen on as well.
    pub unix_socket: Option<PathBuf>,
    /// Permissions of the Unix socket's file, as chmod(2) has them: to connect takes the right to write.
    pub unix_socket_mode: u32,
    /// Group of the Unix socket's file, by name or number; none: that of the process.
    pub unix_socket_group: Option<String>,
    /// Where health, metrics and the API are served for operators, apart from clients; none: with the clients only.
    pub admin_listen: Vec<ListenAddress>,
    /// Whether metrics and the API are served there alone.
    pub admin_only: bool,
    /// What stands before every path, such as `/realtime`; empty or with a leading and no trailing slash.
    pub path_prefix: String,
    /// Number of shards; 0 is one per core.
    pub shards: usize,
    /// Whether each shard's thread is pinned to a core.
    pub pin_threads: PinThreads,
    /// Whether many connections are sent the same bytes in one submission to the kernel, where it has io_uring.
    pub io_uring: bool,
    /// How the kernel chooses the shard of a new connection.
    pub flow_affinity: FlowAffinity,
    /// Connections that wait in the kernel to be accepted, per shard.
    pub listen_backlog: u32,
    /// Whether connections from trusted proxies begin with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// Networks whose word about a client's address is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Origins that browsers may connect from; none: the host name that was addressed.
    pub allowed_origins: Vec<String>,
    /// Host names that web pages may address where no origins are listed; none: all, and on this machine its own.
    pub allowed_hosts: Vec<String>,
    /// Keys of the HTTP API; none: only the server's own user and root, on this machine, and nobody behind proxies.
    pub api_keys: Vec<Secret>,
    /// How clients say who they are.
    pub tokens: Tokens,
    /// Where clients connect.
    pub endpoints: Vec<Endpoint>,
    /// Rooms that the greeting of `topics` names.
    pub available_rooms: Vec<String>,
    /// What holds for rooms, by the patterns of their names; the first that matches counts.
    pub room_rules: Vec<RoomRule>,
    /// Who may do what in which rooms.
    pub access: AccessTable,
    /// Whether clients may broadcast; `None`: see [`Config::lets_clients_broadcast`].
    pub client_broadcast: Option<bool>,
    /// Whether a client's own messages come back to it.
    pub deliver_to_sender: bool,
    /// Whether `/echo` sends every message back, for testing frames; open to all who can connect.
    pub echo: bool,
    /// Least severe level that is logged: `off`, `error`, `warn`, `info`, `debug`, `trace`.
    pub log_level: String,
    /// Form of the log.
    pub log_format: LogFormat,
    /// Compression of messages.
    pub deflate: Deflate,
    /// Bounds on what peers can cause.
    pub limits: Limits,
    /// Deadlines.
    pub times: Times,
    /// Bounds of HTTP requests.
    pub http: HttpLimits,
    /// Options of the sockets.
    pub socket: SocketOptions,
    /// What the backend is asked and told.
    pub hook: HookSettings,
}

/// Whether each shard's thread stays on one core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PinThreads {
    /// If there are as many shards as cores that the process may use, and no quota of processor time is below that.
    /// With fewer shards the kernel places the threads: several servers of one machine would all take its first cores.
    #[default]
    Auto,
    /// Always; shards beyond the number of cores share them.
    Always,
    /// Never.
    Never,
}

/// How the kernel chooses the shard of a new TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowAffinity {
    /// By a hash of the addresses (plain `SO_REUSEPORT`).
    Off,
    /// The shard whose core handles the packets, by `SO_INCOMING_CPU` on each listener (socket(7)).
    IncomingCpu,
    /// The shard whose number is the core that handles the packets, by a classic BPF program
    /// (`SO_ATTACH_REUSEPORT_CBPF`, socket(7)).
    Cbpf,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One line of text per event.
    Text,
    /// One JSON object per line and event.
    Json,
}

/// Compression of messages (permessage-deflate, RFC 7692).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deflate {
    /// Whether it is negotiated with clients that offer it.
    pub enabled: bool,
    /// Bytes of a publication from which on it is compressed.
    pub min_bytes: usize,
    /// How hard to compress: 1 (fast) to 9 (small), as zlib counts.
    pub level: u32,
}

/// Bounds on what peers can cause. A count of 0 is no limit, where the field says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// WebSocket connections of the node; 0: no limit.
    pub connections_max: u32,
    /// Members of one room; 0: no limit.
    pub connections_per_room_max: u32,
    /// Connections from one IP address, from their acceptance on; HTTP requests apart; 0: no limit.
    pub connections_per_ip_max: u32,
    /// Leading bits that make IPv4 addresses one address.
    pub client_ipv4_prefix_length: u32,
    /// Leading bits that make IPv6 addresses one address.
    pub client_ipv6_prefix_length: u32,
    /// What the connections of one user may have together. Users are per tenant.
    pub per_user: AccountLimits,
    /// What the connections of one tenant may have together.
    pub per_tenant: AccountLimits,
    /// Rooms that one connection is in.
    pub rooms_per_connection_max: u32,
    /// Bytes of one message, its fragments together.
    pub message_bytes_max: usize,
    /// Fragments of one message: each costs work, even an empty one.
    pub fragments_max: u32,
    /// Depth of nesting of a message's JSON.
    pub json_depth_max: u32,
    /// Messages a second of one connection; 0: no limit.
    pub messages_per_s: u32,
    /// Messages at once of a connection that was quiet; 0: as many as in one second.
    pub messages_burst: u32,
    /// Bytes of messages a second of one connection; 0: no limit.
    pub bytes_per_s: u32,
    /// Bytes of messages at once of a connection that was quiet; 0: as many as in one second.
    pub bytes_burst: u32,
    /// Bytes of histories a second that are gone through for one connection, for its recoveries and snapshots; 0: no
    /// limit.
    pub replay_bytes_per_s: u32,
    /// Bytes of histories at once for a connection that was quiet; 0: as many as in one second.
    pub replay_bytes_burst: u32,
    /// Attempts to authenticate by message a second of one connection, those that fail too; 0: no limit.
    pub auths_per_s: u32,
    /// Attempts at once of a connection that was quiet; 0: as many as in one second.
    pub auths_burst: u32,
    /// Bytes that may wait for one connection.
    pub outbox_bytes_max: usize,
    /// Messages that may wait for one connection.
    pub outbox_messages_max: u32,
    /// Bytes that may wait for all connections of the node together; over it the largest backlog is evicted.
    pub outboxes_bytes_max: usize,
    /// Bytes that all unfinished messages of the node may hold together; over it the largest is dropped with its
    /// connection.
    pub inputs_bytes_max: usize,
    /// Bytes that the memberships of the node may be charged, for names of rooms above all; over it nobody joins.
    pub memberships_bytes_max: usize,
    /// Bytes in a shard's mailbox over which the shards that feed it stop to read.
    pub mailbox_bytes_max: usize,
    /// Bytes of the histories of all rooms; over it the rooms used longest ago are forgotten.
    pub history_bytes_max: usize,
    /// Bytes of these that one tenant may have; 0: a quarter of them. Over it the tenant's own go.
    pub history_bytes_per_tenant_max: usize,
}

/// Deadlines. Zero is no deadline, where the field says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Times {
    /// Time between pings to a connection; zero: no pings.
    pub ping_interval: Duration,
    /// Time without a sign of life after which a connection is closed; zero: no such deadline.
    pub pong_wait: Duration,
    /// Time in which the kernel must take some of what waits for a connection.
    pub write_wait: Duration,
    /// Time without a message from a client after which it is closed; zero: no such deadline.
    pub idle_timeout: Duration,
    /// Time between two sweeps that close what has idled for `idle_timeout`, at most that; zero: no sweeps, each is
    /// closed when it is due.
    pub cleanup_interval: Duration,
    /// Time from the first byte of a message to its last; zero: no such deadline.
    pub message_timeout: Duration,
    /// Time for TLS, PROXY header and request head, until the upgrade is answered.
    pub handshake_timeout: Duration,
    /// Time for the peer to answer a close frame and take what is left.
    pub close_wait: Duration,
    /// Time from the signal to stop until connections are closed: `/ready` says no, and all else goes on.
    pub drain_delay: Duration,
    /// Time over which a shutdown closes all connections.
    pub drain_timeout: Duration,
    /// Time over which joins and leaves of a room with presence are told together.
    pub presence_interval: Duration,
    /// Time that a user must be gone from a room whose presence names users before members are told; zero: at once.
    pub presence_grace: Duration,
    /// Time in which a canary publication must come through every shard for `/ready`.
    pub ready_timeout: Duration,
}

/// Bounds of HTTP requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Bytes of a request's body.
    pub body_bytes_max: usize,
    /// Bytes of a request's head.
    pub header_bytes_max: usize,
    /// Header fields of a request.
    pub headers_max: u32,
    /// Time for a request to be read and answered.
    pub request_timeout: Duration,
    /// Places of a shard for connections that are no WebSocket, or not yet.
    pub connections_max: u32,
}

/// Options of the sockets, set on the listeners and inherited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// `TCP_NOTSENT_LOWAT` in bytes: what the kernel takes beyond what the peer's window lets out. Without it the
    /// kernel hides megabytes of a slow reader's backlog from `outbox_bytes_max`. 0: the kernel's default.
    pub notsent_lowat_bytes: u32,
    /// `SO_SNDBUF` in bytes; 0: the kernel's own tuning.
    pub send_buffer_bytes: u32,
    /// `SO_RCVBUF` in bytes; 0: the kernel's own tuning.
    pub receive_buffer_bytes: u32,
    /// `TCP_USER_TIMEOUT`: time in which sent bytes must be acknowledged; zero: the kernel's default.
    pub user_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            preset: Preset::None,
            strict: false,
            enabled: true,
            host: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port: 8081,
            tcp: true,
            reuse_port: false,
            unix_socket: None,
            // The server's user and group: without a key the API trusts requests that come by it.
            unix_socket_mode: 0o660,
            unix_socket_group: None,
            admin_listen: Vec::new(),
            admin_only: false,
            path_prefix: String::new(),
            shards: 0,
            pin_threads: PinThreads::Auto,
            io_uring: true,
            flow_affinity: FlowAffinity::Off,
            listen_backlog: 4096,
            proxy_protocol: false,
            trusted_proxies: Vec::new(),
            allowed_origins: Vec::new(),
            allowed_hosts: Vec::new(),
            api_keys: Vec::new(),
            tokens: Tokens::default(),
            endpoints: preset::endpoints(Preset::None),
            available_rooms: preset::available_rooms(),
            room_rules: preset::report_rules(),
            access: AccessTable::protected(),
            client_broadcast: None,
            deliver_to_sender: true,
            echo: false,
            log_level: "info".to_owned(),
            log_format: LogFormat::Text,
            deflate: Deflate::default(),
            limits: Limits::default(),
            times: Times::default(),
            http: HttpLimits::default(),
            socket: SocketOptions::default(),
            hook: HookSettings::default(),
        }
    }
}

impl Config {
    /// Whether clients may broadcast: as configured, and else in the preset `rooms`, whose document has it, and without
    /// a preset as long as no connection can be known, as a broadcast is then for all who may come in.
    pub fn lets_clients_broadcast(&self) -> bool {
        self.client_broadcast.unwrap_or_else(|| match self.preset {
            Preset::Rooms => true,
            Preset::None => !self.knows_identities(),
            Preset::Channels | Preset::Topics | Preset::Tenants => false,
        })
    }

    /// Whether a connection can be known: by a token, or by the backend or the embedding program when it connects.
    pub fn knows_identities(&self) -> bool {
        let by_backend = self.hook.is_asked(HookEvent::Connect);
        by_backend || self.tokens.has_keys() || !self.tokens.tenants.is_empty()
    }
}

impl Default for Deflate {
    fn default() -> Self {
        // Level 3: of 1 KiB of JSON rows it leaves 214 bytes in 13 us, level 1 leaves 290 in 8 us and level 6 as many
        // as level 3 in as long; on longer messages higher levels cost far more than they save (see tuning.md). Below
        // 256 bytes the headers of frame, TCP and IP, which nothing compresses, weigh as much as what would be saved.
        Self { enabled: false, min_bytes: 256, level: 3 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 0,
            connections_per_room_max: 0,
            connections_per_ip_max: 0,
            client_ipv4_prefix_length: 32,
            // What a provider gives one customer at the least (RFC 6177 section 2).
            client_ipv6_prefix_length: 64,
            per_user: AccountLimits::default(),
            per_tenant: AccountLimits::default(),
            rooms_per_connection_max: 1000,
            message_bytes_max: 512_000,
            fragments_max: 1024,
            json_depth_max: 64,
            messages_per_s: 0,
            messages_burst: 0,
            bytes_per_s: 0,
            bytes_burst: 0,
            // A client that comes back to a hundred rooms of 100 messages of 1 KiB goes through 11 MiB. Later the same
            // costs the shard no more than a message of 1 MiB a second does.
            replay_bytes_per_s: MIB as u32,
            replay_bytes_burst: 16 * MIB as u32,
            // A token is renewed once in minutes; a check of a signature costs as much as a hundred messages.
            auths_per_s: 1,
            auths_burst: 5,
            outbox_bytes_max: OUTBOX_BYTES,
            outbox_messages_max: 8192,
            outboxes_bytes_max: 256 * MIB,
            // 262 messages of the default's largest size at once: more uploads than a node has under way unless it is
            // made to.
            inputs_bytes_max: 128 * MIB,
            // A million connections with a room of their own, or 30 million memberships in rooms that others are in.
            memberships_bytes_max: 1024 * MIB,
            mailbox_bytes_max: 64 * MIB,
            history_bytes_max: 256 * MIB,
            history_bytes_per_tenant_max: 0,
        }
    }
}

impl Limits {
    /// Whether users or tenants are counted.
    #[inline]
    pub fn has_accounts(&self) -> bool {
        self.per_user.is_on() || self.per_tenant.is_on()
    }
}

impl Default for Times {
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_secs(54),
            pong_wait: Duration::from_secs(60),
            write_wait: Duration::from_secs(10),
            idle_timeout: Duration::ZERO,
            cleanup_interval: Duration::ZERO,
            // 512 kB in that time are 70 kbit/s.
            message_timeout: Duration::from_secs(60),
            handshake_timeout: Duration::from_secs(30),
            close_wait: Duration::from_secs(5),
            drain_delay: Duration::ZERO,
            drain_timeout: Duration::from_secs(10),
            presence_interval: Duration::from_secs(1),
            presence_grace: Duration::from_secs(5),
            ready_timeout: Duration::from_secs(1),
        }
    }
}

impl Times {
    /// Time between two sweeps that close idle connections, where there are sweeps. They are no further apart than
    /// `idle_timeout`, so that a connection idles no longer than twice that.
    pub fn sweep_interval(&self) -> Option<Duration> {
        let Self { idle_timeout, cleanup_interval, .. } = self;
        let interval = *cleanup_interval.min(idle_timeout);
        (!interval.is_zero()).then_some(interval)
    }
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            body_bytes_max: MIB,
            header_bytes_max: 16 * KIB,
            headers_max: 64,
            request_timeout: Duration::from_secs(10),
            connections_max: 1024,
        }
    }
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            notsent_lowat_bytes: 16 * 1024,
            send_buffer_bytes: 0,
            receive_buffer_bytes: 0,
            user_timeout: Duration::ZERO,
        }
    }
}
