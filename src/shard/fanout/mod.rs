//! The way of a publication from its encoding to the members here and the mailboxes of the other shards.

pub(super) mod accept;
pub(super) mod arrive;
pub(super) mod bundle;
pub(super) mod encode;
pub(super) mod filter;
pub(super) mod frame_batch;
pub(super) mod mail;
pub(super) mod mailer;
pub(super) mod ordered;
pub(super) mod presence;
pub(super) mod publish;
pub(super) mod recovery;
pub(super) mod select;
#[cfg(test)]
mod select_tests;
pub(super) mod tally;
pub(super) mod wide;
#[cfg(test)]
mod wide_tests;
