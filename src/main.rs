//! The `fanwire` binary.
fn main() {}
