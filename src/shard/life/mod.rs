//! How a connection begins, how it is kept alive and how it ends.

pub(super) mod agents;
pub(super) mod closing;
pub(super) mod drain;
pub(super) mod log;
pub(super) mod opening;
pub(super) mod terms;
pub(super) mod timers;
pub(super) mod wall;
