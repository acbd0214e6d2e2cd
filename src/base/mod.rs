//! What every other part may use and what knows nothing of them.

mod field;
mod gcra;
mod json;
mod pattern;
mod slab;
mod wheel;

pub use field::{json_field, json_text};
pub use gcra::{Gcra, Rate};
pub use json::json_depth_within;
pub use pattern::{Pattern, PatternError};
pub use slab::{Key, Slab};
pub use wheel::Wheel;
