//! permessage-deflate as a client does it (RFC 7692 section 7.2), with no context taken over in either direction.

use fanwire::model::Compression;
use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, Status};

/// An empty stored block, which is left out on the wire.
const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];

/// Inflates a message with no larger window than was agreed.
pub fn inflate(compression: Compression, payload: &[u8]) -> Result<Vec<u8>, String> {
    if compression == Compression::None {
        return Err("a compressed message to one who never agreed to it".into());
    }
    let input = [payload, &TAIL].concat();
    let mut state = Decompress::new_with_window_bits(false, compression.window_bits());
    let mut out = Vec::with_capacity(4096);
    loop {
        let at = state.total_in() as usize;
        let status = state.decompress_vec(&input[at..], &mut out, FlushDecompress::Sync);
        match status.map_err(|error| format!("a compressed message: {error}"))? {
            Status::BufError | Status::Ok if out.len() == out.capacity() => out.reserve(out.len()),
            Status::Ok if (state.total_in() as usize) < input.len() => {}
            _ if state.total_in() as usize == input.len() => return Ok(out),
            _ => return Err("a compressed message does not end where it should".into()),
        }
    }
}

/// Compresses a message.
pub fn deflate(compression: Compression, payload: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::new(1);
    let mut state = Compress::new_with_window_bits(level, false, compression.window_bits());
    let mut out = Vec::with_capacity(payload.len() + 1024);
    let status = state.compress_vec(payload, &mut out, FlushCompress::Sync);
    assert!(status.is_ok() && state.total_in() == payload.len() as u64, "{status:?}");
    out.strip_suffix(&TAIL).expect("a flush ends so").to_vec()
}
