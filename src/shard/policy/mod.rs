//! Who connections are, what the rules allow them, and what users and tenants have together.

pub(super) mod access;
pub(super) mod accounts;
pub(super) mod audience;
pub(super) mod identity;
pub(super) mod users;
