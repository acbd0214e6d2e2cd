//! The project held against its own laws: layers, the checklist of the documents, what the documentation names.

#[path = "../common/mod.rs"]
mod common;

mod architecture;
mod checklist;
mod documentation;
mod source;
