//! What every other part may use and what knows nothing of them.

mod gcra;
mod slab;
mod wheel;

pub use gcra::{Gcra, Rate};
pub use slab::{Key, Slab};
pub use wheel::Wheel;
