//! Bounds: rates, connections, outboxes, memory, and a fair share for each client.

#[path = "../common/mod.rs"]
mod common;

mod accounts;
mod accounts_outboxes;
mod door;
mod fairness;
mod fairness_arrivals;
mod inputs;
mod limits;
mod memory;
mod outboxes;
