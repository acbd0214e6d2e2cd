//! Everything that makes a system call: sockets, the event loop, mailboxes, the clock, HTTP.

mod admin;
mod admin_listener;
mod browser;
mod clock;
mod connections;
mod cores;
mod cors;
mod counted;
mod deciders;
mod descriptors;
mod door;
mod driver;
mod endpoint;
mod far_end;
mod hook;
mod http;
mod http_client;
mod identity;
mod key_check;
mod keys;
mod linger;
mod listener;
mod listening;
mod log;
pub mod mailbox;
mod outage;
mod pages;
mod parcel;
mod places;
mod program;
mod proxy;
mod publish;
mod read_queue;
mod refused;
mod reply;
#[cfg(feature = "io-uring")]
mod ring;
#[cfg(not(feature = "io-uring"))]
#[path = "no_ring.rs"]
mod ring;
mod seat;
mod serve;
mod shared;
mod socket_table;
mod stalled;
mod stream;
mod subprotocol;
mod sync;
mod sys;
mod turns;
mod unix_listener;
mod upgrade;
mod users;

pub use admin::handle_admins;
pub use admin_listener::{AdminListener, bind_admin};
pub use clock::Clock;
pub use cores::cores_to_pin;
pub use deciders::Deciders;
pub use descriptors::Descriptors;
pub use driver::GiveBack;
pub use hook::Hook;
pub use http_client::{ClientAnswer, ClientError, ClientLimits, ClientUrlError, HttpClient};
pub use keys::{KeysError, start_fetching, token_policy};
pub use listener::bind_tcp;
pub use log::LogWriter;
pub use parcel::{Parcel, ShardMailbox, ShardWaker, poll_and_waker, post};
pub use program::{Callback, Callbacks, Place, Program};
pub use serve::ShardThread;
pub use shared::{Answer, Ended, NodeShared};
pub use unix_listener::{SocketFile, bind_unix, group_id};

/// Open files wanted: a million connections and some. The kernel's own bound is `fs.nr_open`.
const OPEN_FILES_WANTED: u64 = 1_048_576;

/// Raises the limit of open files as far as the process may; returns it.
pub fn raise_open_files() -> std::io::Result<u64> {
    sys::raise_open_files(OPEN_FILES_WANTED)
}
