//! What every other part may use and what knows nothing of them.

mod field;
mod gcra;
mod iso8601;
mod json;
mod json_scan;
mod mutation;
mod pattern;
mod seldom;
mod shared_gcra;
mod slab;
mod template;
mod wheel;

pub use field::{json_field, json_fields, json_text};
pub use gcra::{Gcra, Rate};
pub use iso8601::iso8601;
pub use json::{is_json_object, json_depth_within};
pub use json_scan::{JsonSlice, is_short_and_plain, json_scan, json_scan_each, json_special};
#[cfg(all(feature = "mutations", debug_assertions))]
pub use mutation::mutate;
#[doc(hidden)]
pub use mutation::{Mutation, mutated};
pub use pattern::{Pattern, PatternError, Segment};
pub use seldom::Seldom;
pub use shared_gcra::SharedGcra;
pub use slab::{Key, Slab};
pub use template::fill_template;
pub use wheel::Wheel;
