//! Who somebody is and who may do what: pure decisions on facts that the caller collected. Nothing here does I/O.

mod access;
mod api_key;
mod host;
mod origin;
pub mod token;

pub use access::{Access, Found, Refused};
pub use api_key::{Denied, PeerFacts, authorize, bearer, is_forwarding_header, key_of};
pub use origin::{allowed, host_allowed};
