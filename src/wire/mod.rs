//! Bytes of the network to frames, and back. Pure: no I/O, and nothing of the crate but this folder.

mod build;
mod forwarded;
mod frame;
mod handshake;
mod message;
mod proxy;
mod request;

pub use build::{frame_in_place, write_close, write_ping, write_pong};
pub use forwarded::client_ip;
pub use frame::{FrameLimits, Header, Opcode, Parsed, ProtocolError, parse_header, unmask};
pub use handshake::{Handshake, HandshakeError, check as check_handshake, is_upgrade};
pub use message::{Assembler, Event, accept, finish};
pub use proxy::{ProxyError, ProxyParsed, parse as parse_proxy_header};
pub use request::{RequestError, check as check_request};
