//! The configuration: file, environment and flags become one validated [`Config`].
//!
//! One table, `keys`, tells each key's name, type, range and meaning. The names in the file, in the environment and
//! on the command line, the help, the checks and what a reload may change all come from it.

mod access;
mod account;
#[cfg(feature = "cli")]
mod args;
mod described;
mod endpoint;
mod error;
mod exposure;
mod file;
mod hook;
#[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "the command line alone shows what keys mean"))]
mod key;
#[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "the command line alone shows what keys mean"))]
mod keys;
#[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "the command line alone shows what keys mean"))]
mod kind;
mod list;
mod listen;
mod load;
mod presence;
mod preset;
mod relations;
mod reload;
mod rule;
mod service;
mod settings;
mod tokens;
mod value;
mod variables;
mod warnings;

pub use access::{AccessDefault, AccessRule, AccessTable, Action, Actions, Who};
pub use account::AccountLimits;
#[cfg(feature = "cli")]
pub use args::{Command, Invocation, parse_args};
pub use described::{Described, described};
#[cfg(test)]
pub(crate) use endpoint::parse_endpoints;
pub use endpoint::{Auth, AuthFailure, Endpoint, PathTemplate};
pub use error::ConfigError;
pub use exposure::Exposure;
pub use file::read_file;
pub use hook::{HookEvent, HookEvents, HookSettings, OnFailure};
pub use kind::SHARDS_MAX;
pub use listen::ListenAddress;
pub use load::{Sources, load, remarks};
pub use presence::PresenceMode;
pub use preset::Preset;
pub use reload::Reload;
pub use rule::{HistoryLimits, Overflow, RoomPolicy, RoomRule};
pub use service::{Act, Messages, Past, Snapshot};
pub use settings::{
    Config, Deflate, FlowAffinity, HttpLimits, Limits, LogFormat, PinThreads, SocketOptions, Times,
};
pub use tokens::{Secret, TokenAlgorithm, Tokens};
pub use warnings::Remark;
