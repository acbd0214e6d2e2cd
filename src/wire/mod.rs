//! Bytes of the network to frames, and back. Pure: no I/O, and nothing of the crate but this folder.

mod browsers;
mod build;
mod deflate;
mod extensions;
mod forwarded;
mod frame;
mod handshake;
mod head;
mod layout;
mod message;
mod proxy;
mod request;

pub use browsers::has_broken_deflate;
pub use build::{
    EMPTY_FRAME_BYTES, TextAt, compressed_frame, compressed_text_frame, frame_in_place, text_frame,
    write_close, write_ping, write_pong,
};
pub use deflate::{Deflater, Inflater};
pub use extensions::{DeflateOffer, MalformedExtensions, deflate_offer};
pub use forwarded::client_ip;
pub use frame::{FrameLimits, Header, Opcode, Parsed, ProtocolError, parse_header, unmask};
pub use handshake::{Handshake, HandshakeError, check as check_handshake, is_upgrade};
pub use head::{PLAIN_HEAD_BYTES_MAX, PlainHead, parse_plain};
pub use layout::{Layout, Part, Parts, frames, message};
pub use message::{Assembler, Event, accept, finish, whole_text};
pub use proxy::{ProxyError, ProxyParsed, parse as parse_proxy_header};
pub use request::{RequestError, check as check_request};
