//! A server over its life: starts, ends, reloads, logs, faults of the machine, the program around it, the soak.

#[path = "../common/mod.rs"]
mod common;

#[path = "../sixth/mod.rs"]
mod sixth;

mod embedding;
mod embedding_callbacks;
mod embedding_dialect;
mod embedding_handlers;
mod faults;
mod faults_logs;
mod faults_panics;
mod faults_time;
mod hostile_config;
mod inside;
mod life;
mod logs;
mod soak;
mod together;
