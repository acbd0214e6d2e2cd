//! Where the server listens, who may reach it, and its endpoints.

use super::key;
use crate::config::key::Key;
use crate::config::kind::Kind;

pub(super) const SERVER: &[Key] = &[
    key("preset", Kind::Preset(|c| &mut c.preset), "Protocol document whose ports, paths and limits are the defaults"),
    key("strict", Kind::Bool(|c| &mut c.strict), "Whether warnings about the configuration refuse the start").reloaded(),
    key("enabled", Kind::Bool(|c| &mut c.enabled), "Whether to serve at all").document("enabled"),
    key("host", Kind::Address(|c| &mut c.host), "Address to listen on; localhost is 127.0.0.1, and :: is all of IPv4 and IPv6").document("host"),
    key("port", Kind::Port(|c| &mut c.port), "TCP port to listen on; 0: the system chooses").document("port"),
    key("tcp", Kind::Bool(|c| &mut c.tcp), "Whether to listen on TCP; false asks for unix_socket"),
    key(
        "reuse_port",
        Kind::Bool(|c| &mut c.reuse_port),
        "Whether other servers that say so too may listen on the same TCP port: they share its connections, not rooms",
    ),
    key("unix_socket", Kind::Path(|c| &mut c.unix_socket), "Unix socket to listen on as well"),
    key(
        "unix_socket_mode",
        Kind::Mode(|c| &mut c.unix_socket_mode),
        "Permissions of the Unix socket's file; to connect takes the right to write",
    ),
    key(
        "unix_socket_group",
        Kind::Group(|c| &mut c.unix_socket_group),
        "Group of the Unix socket's file, such as that of a proxy; none: that of the process",
    ),
    key(
        "admin_listen",
        Kind::Listen(|c| &mut c.admin_listen),
        "Where /health, /ready, /metrics and /v1/ are served for operators, whatever clients do at the other listeners",
    ),
    key(
        "admin_only",
        Kind::Bool(|c| &mut c.admin_only),
        "Whether admin_listen alone serves /metrics, /openapi.json and /v1/; /health and /ready stay everywhere",
    ),
    key("path_prefix", Kind::Prefix(|c| &mut c.path_prefix), "What a proxy leaves before every path"),
    key("shards", Kind::Shards(|c| &mut c.shards), "Threads; 0: one per core"),
    key(
        "pin_threads",
        Kind::Pin(|c| &mut c.pin_threads),
        "Whether each shard stays on one core; auto: if there is a shard for each core and no quota of processor time",
    ),
    key(
        "io_uring",
        Kind::Bool(|c| &mut c.io_uring),
        "Whether 128 and more connections are sent the same bytes in one submission, where the kernel has io_uring",
    ),
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
        "Origins that browsers may connect from, such as https://*.example.com; none: the host name that was addressed",
    )
    .reloaded(),
    key(
        "allowed_hosts",
        Kind::Hosts(|c| &mut c.allowed_hosts),
        "Host names that web pages may address, where no origins are listed; none: all, and on this machine localhost",
    )
    .reloaded(),
    key(
        "api_keys",
        Kind::Secrets(|c| &mut c.api_keys),
        "Keys of the HTTP API; none: only the server's own user and root, on this machine. Others see flags: prefer the environment or file",
    )
    .variable("FANWIRE_API_KEY")
    .reloaded(),
    key("endpoints", Kind::Endpoints(|c| &mut c.endpoints), "Paths at which clients connect, and what holds there"),
    key(
        "available_rooms",
        Kind::Texts(|c| &mut c.available_rooms),
        "Rooms that the greeting of topics names to clients",
    ),
];
