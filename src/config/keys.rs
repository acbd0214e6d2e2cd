use super::key::Key;
use super::kind::Kind;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
const KIB: usize = 1024;
const GIB: usize = 1024 * 1024 * 1024;

/// A key that no document names and only a restart changes.
const fn key(name: &'static str, kind: Kind, help: &'static str) -> Key {
    Key { name, kind, document: None, variable: None, reload: false, help }
}

impl Key {
    const fn document(mut self, path: &'static str) -> Self {
        self.document = Some(path);
        self
    }

    const fn variable(mut self, name: &'static str) -> Self {
        self.variable = Some(name);
        self
    }

    const fn reloaded(mut self) -> Self {
        self.reload = true;
        self
    }
}

/// Every key, in the order of the help.
pub(super) const KEYS: &[Key] = &[
    key("preset", Kind::Preset(|c| &mut c.preset), "Protocol document whose ports, paths and limits are the defaults"),
    key("enabled", Kind::Bool(|c| &mut c.enabled), "Whether to serve at all").document("enabled"),
    key("host", Kind::Address(|c| &mut c.host), "Address to listen on").document("host"),
    key("port", Kind::Port(|c| &mut c.port), "TCP port to listen on; 0: the system chooses").document("port"),
    key("unix_socket", Kind::Path(|c| &mut c.unix_socket), "Unix socket to listen on as well"),
    key("path_prefix", Kind::Prefix(|c| &mut c.path_prefix), "What a proxy leaves before every path"),
    key("shards", Kind::Shards(|c| &mut c.shards), "Threads; 0: one per core"),
    key("pin_threads", Kind::Bool(|c| &mut c.pin_threads), "Whether each shard stays on one core"),
    key(
        "flow_affinity",
        Kind::Affinity(|c| &mut c.flow_affinity),
        "How the kernel finds the shard of a new connection: by a hash (off), or by the core that gets its packets",
    ),
    key(
        "listen_backlog",
        Kind::Count { at: |c| &mut c.listen_backlog, min: 1, max: 65_535 },
        "Connections of a shard that wait to be accepted; the kernel's somaxconn bounds it",
    ),
    key(
        "proxy_protocol",
        Kind::Bool(|c| &mut c.proxy_protocol),
        "Whether connections from trusted_proxies begin with a PROXY header, version 1 or 2",
    ),
    key(
        "trusted_proxies",
        Kind::Networks(|c| &mut c.trusted_proxies),
        "Networks whose X-Forwarded-For, Forwarded and PROXY headers are believed",
    ),
    key(
        "allowed_origins",
        Kind::Origins(|c| &mut c.allowed_origins),
        "Origins that browsers may connect from; none: the host name that was addressed",
    )
    .reloaded(),
    key(
        "api_keys",
        Kind::Secrets(|c| &mut c.api_keys),
        "Keys of the HTTP API; none: requests of this machine only. Others see flags: prefer the environment or file",
    )
    .variable("FANWIRE_API_KEY")
    .reloaded(),
    key("endpoints", Kind::Endpoints(|c| &mut c.endpoints), "Paths at which clients connect, and what holds there"),
    key(
        "available_rooms",
        Kind::Texts(|c| &mut c.available_rooms),
        "Rooms that the greeting of topics names to clients",
    ),
    key(
        "jwt_secret",
        Kind::Secret(|c| &mut c.tokens.secret),
        "Key of clients' tokens signed with HS256, HS384 or HS512. Others see flags: prefer the environment or file",
    )
    .reloaded(),
    key(
        "jwt_public_key_file",
        Kind::Path(|c| &mut c.tokens.public_key_file),
        "File with the public keys (PEM) of tokens signed with RS256, ES256 or EdDSA",
    )
    .reloaded(),
    key(
        "jwt_jwks_file",
        Kind::Path(|c| &mut c.tokens.jwks_file),
        "File with the keys of tokens as a JSON Web Key Set",
    )
    .reloaded(),
    key(
        "jwt_jwks_url",
        Kind::Url(|c| &mut c.tokens.jwks_url),
        "Where the keys of tokens are fetched as a JSON Web Key Set, again and again",
    ),
    key(
        "jwt_algorithms",
        Kind::Algorithms(|c| &mut c.tokens.algorithms),
        "Algorithms of tokens that are accepted; none: those of the keys",
    )
    .reloaded(),
    key(
        "jwt_audience",
        Kind::Words { at: |c| &mut c.tokens.audience, max: 64 },
        "Audiences, one of which a token must be for; none: all",
    )
    .reloaded(),
    key(
        "jwt_issuer",
        Kind::Words { at: |c| &mut c.tokens.issuer, max: 64 },
        "Issuers, one of which a token must be from; none: all",
    )
    .reloaded(),
    key(
        "jwt_leeway",
        Kind::Time { at: |c| &mut c.tokens.leeway, min: Duration::ZERO, max: Duration::from_secs(300) },
        "How far the clocks of issuers may be wrong",
    )
    .reloaded(),
    key(
        "jwt_user_claims",
        Kind::Words { at: |c| &mut c.tokens.user_claims, max: 8 },
        "Claims that name the user; the first that is there counts",
    )
    .reloaded(),
    key(
        "jwt_tenant_claims",
        Kind::Words { at: |c| &mut c.tokens.tenant_claims, max: 8 },
        "Claims that name the tenant; the first that is there counts",
    )
    .reloaded(),
    key(
        "jwt_roles_claims",
        Kind::Words { at: |c| &mut c.tokens.roles_claims, max: 8 },
        "Claims that name the roles, a list or one; the first that is there counts",
    )
    .reloaded(),
    key(
        "jwt_expiry_warning",
        Kind::TimeOrOff { at: |c| &mut c.tokens.expiry_warning, min: SECOND, max: DAY },
        "How long before its token ends a client is warned; 0: it is not",
    )
    .reloaded(),
    key(
        "tenants",
        Kind::Words { at: |c| &mut c.tokens.tenants, max: 100_000 },
        "Tenants that are active; none: all are",
    )
    .reloaded(),
    key(
        "room_rules",
        Kind::Rules(|c| &mut c.room_rules),
        "History, last value, presence and overflow of rooms, by patterns of their names; the first match counts",
    ),
    key(
        "access_rules",
        Kind::Access(|c| &mut c.access.rules),
        "Who may join, publish, see who is present and get what is past, by patterns of rooms' names; the first match counts",
    )
    .reloaded(),
    key(
        "access_default",
        Kind::AccessDefault(|c| &mut c.access.default),
        "Whether clients may do everything or nothing in rooms that no access rule matches",
    )
    .reloaded(),
    key("client_broadcast", Kind::Bool(|c| &mut c.client_broadcast), "Whether clients may broadcast to all").reloaded(),
    key("deliver_to_sender", Kind::Bool(|c| &mut c.deliver_to_sender), "Whether own messages come back"),
    key(
        "echo",
        Kind::Bool(|c| &mut c.echo),
        "Whether /echo sends every message back, to anyone and up to 16 MiB: for diagnosis, not for the public",
    )
    .reloaded(),
    key(
        "deflate",
        Kind::Bool(|c| &mut c.deflate.enabled),
        "Whether publications are compressed for clients that offer permessage-deflate",
    )
    .reloaded(),
    key(
        "deflate_min_bytes",
        Kind::Size { at: |c| &mut c.deflate.min_bytes, min: 1, max: GIB },
        "Bytes of a publication from which on it is compressed",
    )
    .reloaded(),
    key(
        "deflate_level",
        Kind::Count { at: |c| &mut c.deflate.level, min: 1, max: 9 },
        "How hard to compress: 1 is fastest, 9 smallest",
    )
    .reloaded(),
    key("log_level", Kind::Level(|c| &mut c.log_level), "Least severe level that is logged").reloaded(),
    key("log_format", Kind::Format(|c| &mut c.log_format), "Form of the log on standard error"),
    key(
        "connections_max",
        Kind::Count { at: |c| &mut c.limits.connections_max, min: 0, max: 10_000_000 },
        "Connections of the node; 0: no limit",
    )
    .document("limits.max_connections")
    .reloaded(),
    key(
        "connections_per_room_max",
        Kind::Count { at: |c| &mut c.limits.connections_per_room_max, min: 0, max: 10_000_000 },
        "Members of one room; 0: no limit",
    )
    .document("limits.max_connections_per_room")
    .reloaded(),
    key(
        "connections_per_ip_max",
        Kind::Count { at: |c| &mut c.limits.connections_per_ip_max, min: 0, max: 10_000_000 },
        "Connections from one address; 0: no limit",
    )
    .reloaded(),
    key(
        "connections_per_user_max",
        Kind::Count { at: |c| &mut c.limits.per_user.connections_max, min: 0, max: 10_000_000 },
        "Connections of one user of a tenant; 0: no limit",
    )
    .reloaded(),
    key(
        "connections_per_tenant_max",
        Kind::Count { at: |c| &mut c.limits.per_tenant.connections_max, min: 0, max: 10_000_000 },
        "Connections of one tenant; 0: no limit",
    )
    .reloaded(),
    key(
        "rooms_per_connection_max",
        Kind::Count { at: |c| &mut c.limits.rooms_per_connection_max, min: 1, max: 1_000_000 },
        "Rooms one connection is in: each costs memory until it leaves",
    )
    .reloaded(),
    key(
        "rooms_per_user_max",
        Kind::Count { at: |c| &mut c.limits.per_user.rooms_max, min: 0, max: 10_000_000 },
        "Memberships of all connections of one user, a room counted for each; 0: no limit",
    )
    .reloaded(),
    key(
        "rooms_per_tenant_max",
        Kind::Count { at: |c| &mut c.limits.per_tenant.rooms_max, min: 0, max: 10_000_000 },
        "Memberships of all connections of one tenant, a room counted for each; 0: no limit",
    )
    .reloaded(),
    key(
        "message_bytes_max",
        Kind::Size { at: |c| &mut c.limits.message_bytes_max, min: 128, max: 64 * 1024 * KIB },
        "One message of a client, its fragments together",
    )
    .document("max_message_size")
    .variable("WEBSOCKET_MAX_PAYLOAD")
    .reloaded(),
    key(
        "fragments_max",
        Kind::Count { at: |c| &mut c.limits.fragments_max, min: 1, max: 1_000_000 },
        "Fragments of one message: even empty ones cost work",
    )
    .reloaded(),
    key(
        "json_depth_max",
        Kind::Count { at: |c| &mut c.limits.json_depth_max, min: 2, max: 10_000 },
        "Depth of nesting of a message: deep JSON breaks receivers",
    )
    .reloaded(),
    key(
        "messages_per_s",
        Kind::Count { at: |c| &mut c.limits.messages_per_s, min: 0, max: 10_000_000 },
        "Messages a second of one connection; 0: no limit",
    )
    .reloaded(),
    key(
        "messages_burst",
        Kind::Count { at: |c| &mut c.limits.messages_burst, min: 0, max: 10_000_000 },
        "Messages at once after a pause; 0: as many as in one second",
    )
    .reloaded(),
    key(
        "messages_per_s_user",
        Kind::Count { at: |c| &mut c.limits.per_user.messages_per_s, min: 0, max: 10_000_000 },
        "Messages a second of all connections of one user; 0: no limit",
    )
    .reloaded(),
    key(
        "messages_burst_user",
        Kind::Count { at: |c| &mut c.limits.per_user.messages_burst, min: 0, max: 10_000_000 },
        "Messages at once of these after a pause; 0: as many as in one second",
    )
    .reloaded(),
    key(
        "messages_per_s_tenant",
        Kind::Count { at: |c| &mut c.limits.per_tenant.messages_per_s, min: 0, max: 10_000_000 },
        "Messages a second of all connections of one tenant; 0: no limit",
    )
    .reloaded(),
    key(
        "messages_burst_tenant",
        Kind::Count { at: |c| &mut c.limits.per_tenant.messages_burst, min: 0, max: 10_000_000 },
        "Messages at once of these after a pause; 0: as many as in one second",
    )
    .reloaded(),
    key(
        "bytes_per_s",
        Kind::Size32 { at: |c| &mut c.limits.bytes_per_s, min: 1, max: u32::MAX },
        "Bytes a second of one connection; 0: no limit",
    )
    .reloaded(),
    key(
        "bytes_burst",
        Kind::Size32 { at: |c| &mut c.limits.bytes_burst, min: 1, max: u32::MAX },
        "Bytes at once after a pause; 0: as many as in one second",
    )
    .reloaded(),
    key(
        "outbox_bytes_max",
        Kind::Size { at: |c| &mut c.limits.outbox_bytes_max, min: 4 * KIB, max: GIB },
        "Bytes that may wait for one connection",
    )
    .reloaded(),
    key(
        "outbox_messages_max",
        Kind::Count { at: |c| &mut c.limits.outbox_messages_max, min: 1, max: 1_000_000 },
        "Messages that may wait for one connection",
    )
    .reloaded(),
    key(
        "outbox_bytes_per_user_max",
        Kind::Size { at: |c| &mut c.limits.per_user.outbox_bytes_max, min: 0, max: 1024 * GIB },
        "Bytes that may wait for all connections of one user; over it the largest backlog of these is evicted; 0: no limit",
    )
    .reloaded(),
    key(
        "outbox_bytes_per_tenant_max",
        Kind::Size { at: |c| &mut c.limits.per_tenant.outbox_bytes_max, min: 0, max: 1024 * GIB },
        "Bytes that may wait for all connections of one tenant; over it the largest backlog of these is evicted; 0: no limit",
    )
    .reloaded(),
    key(
        "outboxes_bytes_max",
        Kind::Size { at: |c| &mut c.limits.outboxes_bytes_max, min: 1024 * KIB, max: 1024 * GIB },
        "Bytes that may wait for all connections; over it the largest backlog is evicted",
    )
    .reloaded(),
    key(
        "mailbox_bytes_max",
        Kind::Size { at: |c| &mut c.limits.mailbox_bytes_max, min: 1024 * KIB, max: 64 * GIB },
        "Bytes on their way to one shard over which the others stop to read",
    )
    .reloaded(),
    key(
        "history_bytes_max",
        Kind::Size { at: |c| &mut c.limits.history_bytes_max, min: 64 * KIB, max: 1024 * GIB },
        "Bytes of the histories of all rooms; over it the rooms used longest ago are forgotten",
    )
    .reloaded(),
    key(
        "ping_interval",
        Kind::TimeOrOff { at: |c| &mut c.times.ping_interval, min: SECOND, max: DAY },
        "Time between pings; 0: none",
    )
    .document("ping_interval")
    .reloaded(),
    key(
        "pong_wait",
        Kind::TimeOrOff { at: |c| &mut c.times.pong_wait, min: SECOND, max: DAY },
        "Time without a sign of life after which a connection is closed; longer than ping_interval; 0: never",
    )
    .document("pong_wait")
    .reloaded(),
    key(
        "write_wait",
        Kind::Time { at: |c| &mut c.times.write_wait, min: SECOND, max: DAY },
        "Time in which a connection, HTTP as well, must take some of what waits for it",
    )
    .document("write_wait")
    .reloaded(),
    key(
        "idle_timeout",
        Kind::TimeOrOff { at: |c| &mut c.times.idle_timeout, min: SECOND, max: DAY },
        "Time without a message after which a connection is closed; 0: never",
    )
    .variable("WEBSOCKET_CONNECTION_TIMEOUT")
    .reloaded(),
    key(
        "cleanup_interval",
        Kind::IgnoredTime { default: "300s", min: SECOND, max: DAY },
        "Accepted and without effect: an idle connection is closed when idle_timeout is over, without a sweep",
    )
    .variable("WEBSOCKET_CLEANUP_INTERVAL"),
    key(
        "handshake_timeout",
        Kind::Time { at: |c| &mut c.times.handshake_timeout, min: SECOND, max: Duration::from_secs(600) },
        "Time until a new connection has sent its request",
    )
    .document("timeout"),
    key(
        "close_wait",
        Kind::Time { at: |c| &mut c.times.close_wait, min: SECOND, max: Duration::from_secs(600) },
        "Time for a peer to answer a close",
    ),
    key(
        "drain_timeout",
        Kind::Time { at: |c| &mut c.times.drain_timeout, min: Duration::ZERO, max: DAY },
        "Time over which a shutdown closes all connections",
    )
    .reloaded(),
    key(
        "presence_interval",
        Kind::Time { at: |c| &mut c.times.presence_interval, min: Duration::from_millis(10), max: Duration::from_secs(3600) },
        "Time over which joins and leaves of a room with presence are told together",
    )
    .reloaded(),
    key(
        "ready_timeout",
        Kind::Time { at: |c| &mut c.times.ready_timeout, min: Duration::from_millis(10), max: Duration::from_secs(60) },
        "Time in which a canary must come through every shard for /ready",
    ),
    key(
        "http_body_bytes_max",
        Kind::Size { at: |c| &mut c.http.body_bytes_max, min: 128, max: 64 * 1024 * KIB },
        "Body of one HTTP request",
    ),
    key(
        "http_header_bytes_max",
        Kind::Size { at: |c| &mut c.http.header_bytes_max, min: 8 * KIB, max: 1024 * KIB },
        "Head of one HTTP request",
    ),
    key(
        "http_headers_max",
        Kind::Count { at: |c| &mut c.http.headers_max, min: 8, max: 1024 },
        "Header fields of one HTTP request",
    ),
    key(
        "http_request_timeout",
        Kind::Time { at: |c| &mut c.http.request_timeout, min: Duration::from_millis(100), max: DAY },
        "Time for one HTTP request to be read and answered",
    ),
    key(
        "http_connections_max",
        Kind::Count { at: |c| &mut c.http.connections_max, min: 1, max: 1_000_000 },
        "Connections of a shard that are not WebSocket, or not yet",
    ),
    key(
        "tcp_notsent_lowat",
        Kind::Size32 { at: |c| &mut c.socket.notsent_lowat_bytes, min: 1, max: GIB as u32 },
        "TCP_NOTSENT_LOWAT: what the kernel hides of a slow reader's backlog; 0: the kernel's default",
    ),
    key(
        "tcp_send_buffer",
        Kind::Size32 { at: |c| &mut c.socket.send_buffer_bytes, min: 4096, max: GIB as u32 },
        "SO_SNDBUF; 0: the kernel tunes it",
    ),
    key(
        "tcp_receive_buffer",
        Kind::Size32 { at: |c| &mut c.socket.receive_buffer_bytes, min: 4096, max: GIB as u32 },
        "SO_RCVBUF; 0: the kernel tunes it",
    ),
    key(
        "tcp_user_timeout",
        Kind::TimeOrOff { at: |c| &mut c.socket.user_timeout, min: SECOND, max: DAY },
        "TCP_USER_TIMEOUT: time in which a peer must acknowledge; 0: the kernel's default",
    ),
    key("hook_url", Kind::HookUrl(|c| &mut c.hook.url), "Where the backend hook is sent; none: no hook"),
    key(
        "hook_secret",
        Kind::Secrets(|c| &mut c.hook.secrets),
        "Key that requests to the backend are signed with; a second one while keys are exchanged",
    ),
    key(
        "hook_events",
        Kind::HookEvents(|c| &mut c.hook.events),
        "What the backend is asked (connect, join, publish) and told (disconnect, message)",
    ),
    key(
        "hook_headers",
        Kind::Headers(|c| &mut c.hook.headers),
        "Header fields of an upgrade request that the backend sees, such as cookie or authorization",
    ),
    key(
        "hook_timeout",
        Kind::Time { at: |c| &mut c.hook.timeout, min: Duration::from_millis(10), max: Duration::from_secs(30) },
        "Time for the backend to answer",
    ),
    key(
        "hook_concurrency",
        Kind::Count { at: |c| &mut c.hook.concurrency, min: 1, max: 1024 },
        "Requests to the backend at once",
    ),
    key(
        "hook_queue_max",
        Kind::Count { at: |c| &mut c.hook.queue_max, min: 1, max: 1_000_000 },
        "Requests to the backend that wait; more are failures at once",
    ),
    key(
        "hook_queue_bytes_max",
        Kind::Size { at: |c| &mut c.hook.queue_bytes_max, min: 64 * KIB, max: GIB },
        "Bytes of requests to the backend that wait",
    ),
    key(
        "hook_retries",
        Kind::Count { at: |c| &mut c.hook.retries, min: 0, max: 20 },
        "How often a notice that did not arrive is sent again, after 0.5 s and then twice as long each time",
    ),
    key(
        "hook_on_failure",
        Kind::OnFailure(|c| &mut c.hook.on_failure),
        "What holds when the backend does not decide",
    ),
    key(
        "hook_breaker_failures",
        Kind::Count { at: |c| &mut c.hook.breaker_failures, min: 0, max: 1_000_000 },
        "Failures in a row after which the backend is not asked for a while; 0: it always is",
    ),
    key(
        "hook_breaker_pause",
        Kind::Time { at: |c| &mut c.hook.breaker_pause, min: Duration::from_millis(10), max: Duration::from_secs(3600) },
        "How long it is not asked then, before one request tries it again",
    ),
    key(
        "read_buffer_size",
        Kind::Ignored { default: "1024" },
        "Accepted and without effect: no connection has a read buffer of its own",
    )
    .document("read_buffer_size"),
    key(
        "write_buffer_size",
        Kind::Ignored { default: "1024" },
        "Accepted and without effect: no connection has a write buffer of its own",
    )
    .document("write_buffer_size"),
];

/// The key of that name in the file.
pub(super) fn by_name(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The key that the rooms document has at that path below `websocket:`.
pub(super) fn by_document_path(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.document == Some(path))
}
