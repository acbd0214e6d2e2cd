//! Everything that makes a system call, in the rooms of its users: `turn` is the loop of a shard's thread, `http` the
//! server, `client` the requests of the server's own. Beside them stand the services of the node, which all shards share
//! ([`NodeShared`]), and the log.

mod admin;
mod client;
mod deciders;
mod http;
mod log;
mod program;
mod shared;
mod turn;
mod users;

pub use admin::handle_admins;
pub use client::hook::Hook;
pub use client::http_client::{ClientAnswer, ClientError, ClientLimits, ClientUrlError, HttpClient};
pub use client::keys::{KeysError, start_fetching, token_policy};
pub use deciders::Deciders;
pub use http::admin_listener::{AdminListener, bind_admin};
pub use log::LogWriter;
pub use program::{Callback, Callbacks, Place, Program};
pub use shared::{Answer, Ended, NodeShared};
pub use turn::clock::Clock;
pub use turn::cores::cores_to_pin;
pub use turn::descriptors::Descriptors;
pub use turn::driver::GiveBack;
pub use turn::listener::bind_tcp;
pub use turn::mailbox;
pub use turn::parcel::{Parcel, ShardMailbox, ShardWaker, poll_and_waker, post};
pub use turn::serve::ShardThread;
pub use turn::unix_listener::{SocketFile, bind_unix, group_id};

/// Open files wanted: a million connections and some. The kernel's own bound is `fs.nr_open`.
const OPEN_FILES_WANTED: u64 = 1_048_576;

/// Raises the limit of open files as far as the process may; returns it.
pub fn raise_open_files() -> std::io::Result<u64> {
    turn::sys::raise_open_files(OPEN_FILES_WANTED)
}
