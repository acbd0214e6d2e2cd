//! The load patterns: what each runs and what it reports.

pub mod churn;
pub mod fanout;
pub mod idle;
pub mod parts;
pub mod slow;
