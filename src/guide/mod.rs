//! The guide: how to use, embed and run Fanwire.
//!
//! To use it: [`dialects`], one chapter for each ([`rooms`], [`channels`], [`topics`], [`tenants`]), [`recipes`] to copy,
//! [`client`] for browsers, [`http`] to publish from a backend, [`errors`] with what a client does next. What rooms do:
//! [`room_rules`] (history, recovery, loss, presence), [`endpoints`] (batches, paces, filters, snapshots). What clients
//! are allowed: [`identity`], [`access`], [`limits`], [`hook`]. To run it: [`configuration`], [`operating`], [`metrics`], [`websocket`]. To build on it:
//! [`embedding`], [`testing`], [`glossary`], [`comparison`], [`architecture`] with the libraries that were tried.
//!
//! The same text is in the repository as `src/guide/*.md`. Each conversation, command and program in it is run by a test
//! (`tests/meta/guide.rs`), each block of Rust is compiled.

mod pages;

pub use pages::{Page, page};

/// Definitions of the links between chapters: in the text of a chapter they lead to files, in this documentation to modules.
/// Of two definitions of one name the first counts (CommonMark 0.31, section 4.7).
macro_rules! links {
    ([$($name:ident)*]) => {
        concat!($("[", stringify!($name), "]: crate::guide::", stringify!($name), "\n"),*)
    };
}

/// One module for each chapter, `NAME.md` in this folder.
macro_rules! chapters {
    (@ $all:tt $($name:ident)*) => { $(
        #[doc = links!($all)]
        #[doc = include_str!(concat!(stringify!($name), ".md"))]
        pub mod $name {}
    )* };
    ($($name:ident)*) => { chapters!(@ [$($name)*] $($name)*); };
}

chapters! {
    dialects rooms channels topics tenants
    room_rules endpoints
    identity access limits
    recipes client hook http
    configuration errors metrics operating
    websocket embedding comparison testing glossary
    architecture
}
