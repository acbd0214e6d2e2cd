//! What is published and who gets it, in which order, what is kept and what is told of a loss.

#[path = "../common/mod.rs"]
mod common;

mod concurrency;
mod history;
mod overflow;
mod overflow_order;
mod presence;
mod publishing;
mod recovery;
mod reports;
mod rules_together;
