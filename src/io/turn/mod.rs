//! The loop of a shard's thread: sockets are accepted, polled, read and written, mailboxes drained, the clock read.

pub(super) mod clock;
pub(super) mod cores;
pub(super) mod descriptors;
pub(super) mod door;
pub(super) mod driver;
pub(super) mod far_end;
pub(super) mod listener;
pub(super) mod listening;
pub mod mailbox;
pub(super) mod parcel;
pub(super) mod places;
pub(super) mod read_queue;
#[cfg(feature = "io-uring")]
pub(super) mod ring;
#[cfg(not(feature = "io-uring"))]
#[path = "no_ring.rs"]
pub(super) mod ring;
pub(super) mod seat;
pub(super) mod serve;
pub(super) mod socket_table;
pub(super) mod sync;
pub(super) mod sys;
pub(super) mod unix_listener;
