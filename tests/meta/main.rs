//! The project held against its own laws: layers, the checklist of the documents, what the documentation names.

#[path = "../common/mod.rs"]
mod common;

mod architecture;
mod blocks;
mod checklist;
mod documentation;
mod guide;
mod recipes;
mod samples;
mod source;
mod stage;
mod tables;
