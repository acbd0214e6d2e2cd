//! Everything that makes a system call: sockets, the event loop, mailboxes, the clock, HTTP.

mod driver;
mod endpoint;
mod http;
mod listener;
mod log;
pub mod mailbox;
mod proxy;
mod publish;
mod read_queue;
mod reply;
mod serve;
mod shared;
mod socket_table;
mod stalled;
mod stream;
mod sync;
mod sys;

pub use driver::{Clock, Parcel, ShardMailbox, ShardWaker, poll_and_waker, post};
pub use listener::{bind_tcp, bind_unix};
pub use log::LogWriter;
pub use serve::ShardThread;
pub use shared::{Answer, Ended, NodeShared};

/// Open files wanted: a million connections and some. The kernel's own bound is `fs.nr_open`.
const OPEN_FILES_WANTED: u64 = 1_048_576;

/// Raises the limit of open files as far as the process may; returns it.
pub fn raise_open_files() -> std::io::Result<u64> {
    sys::raise_open_files(OPEN_FILES_WANTED)
}
