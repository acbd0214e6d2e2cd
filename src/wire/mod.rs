//! Bytes of the network to frames, and back.
