//! File, environment and flags to one validated value.
