//! Everything that makes a system call or lies between threads.

pub mod mailbox;
mod sync;
