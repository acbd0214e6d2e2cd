//! What connections are owed, and how it is written: the lists of a tick, the order of writes, backlogs, pace.

pub(super) mod backlog;
pub(super) mod blocked;
pub(super) mod budget;
pub(super) mod hold;
pub(super) mod outbox;
pub(super) mod overflow;
pub(super) mod owed;
pub(super) mod palette;
pub(super) mod rounds;
