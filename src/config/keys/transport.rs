//! HTTP and the options of sockets.

use super::{DAY, GIB, KIB, SECOND, key};
use crate::config::key::Key;
use crate::config::kind::Kind;
use std::time::Duration;

pub(super) const TRANSPORT: &[Key] = &[
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
        "Places of a shard for connections that are no WebSocket, or not yet; when all are taken, the oldest silent one goes",
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
];
