use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

/// Compresses a message as a client does, without the tail (RFC 7692 section 7.2.1).
pub fn deflate(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 64);
    Compress::new(Compression::best(), false).compress_vec(payload, &mut out, FlushCompress::Sync).unwrap();
    out.strip_suffix(&[0, 0, 0xff, 0xff]).unwrap().to_vec()
}

/// Inflates within a window of 2^`window_bits` bytes, and refuses what refers further back.
pub fn inflate(window_bits: u8, payload: &[u8]) -> String {
    let mut out = Vec::with_capacity(1 << 20);
    let input = [payload, &[0, 0, 0xff, 0xff]].concat();
    let mut state = Decompress::new_with_window_bits(false, window_bits);
    state.decompress_vec(&input, &mut out, FlushDecompress::Sync).unwrap();
    assert_eq!(state.total_in(), input.len() as u64);
    String::from_utf8(out).unwrap()
}

/// A text of about that many bytes that repeats itself, near and far.
pub fn repetitive(len: usize) -> String {
    let mut text = String::new();
    for number in 0_u64.. {
        if text.len() >= len {
            break;
        }
        text += &format!("row {} of {}; ", number * 7919 % 101, number * 104_729 % 997);
    }
    text
}
