use super::*;

const MAX: usize = 1 << 20;

fn inflate(payload: &[u8]) -> Result<String, ProtocolError> {
    inflate_to(payload, MAX)
}

fn inflate_to(payload: &[u8], max: usize) -> Result<String, ProtocolError> {
    match Inflater::default().inflate(true, payload, max)? {
        Event::Text(text) => Ok(text.to_owned()),
        other => panic!("{other:?}"),
    }
}

fn deflate(window_bits: u8, level: u32, payload: &[u8]) -> Vec<u8> {
    Deflater::default().compress(window_bits, level, payload).expect("it gets smaller").to_vec()
}

/// JSON of about that many bytes, with repeats near and far.
fn json(len: usize) -> Vec<u8> {
    let mut text = String::from("[");
    let mut random = 1_u64;
    while text.len() < len {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text += &format!("{{\"symbol\":\"T{}\",\"price\":{}}},", (random >> 40) % 100, random >> 44);
    }
    text.push_str("null]");
    text.into_bytes()
}

fn bytes(hex: &str) -> Vec<u8> {
    hex.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

/// RFC 7692 section 7.2.3, but for 7.2.3.2, which takes a window over.
#[test]
fn the_examples_of_the_rfc() {
    for payload in [
        "f2 48 cd c9 c9 07 00",
        "00 05 00 fa ff 48 65 6c 6c 6f 00",
        "f3 48 cd c9 c9 07 00 00",
        "f2 48 05 00 00 00 ff ff ca c9 c9 07 00",
    ] {
        assert_eq!(inflate(&bytes(payload)).unwrap(), "Hello", "{payload}");
    }
    assert_eq!(inflate(&[0]).unwrap(), "");
    assert_eq!(inflate(&[]).unwrap(), "");
    // Section 7.2.3.2: the second message refers back to the first, which was ruled out.
    assert_eq!(inflate(&bytes("f2 00 11 00 00")), Err(ProtocolError::InvalidDeflate));
}

#[test]
fn messages_come_back_from_every_window_and_level() {
    for len in [1_000, 5_000, 100_000] {
        let payload = json(len);
        for window_bits in [9, 12, 15] {
            for level in 1..=9 {
                let compressed = deflate(window_bits, level, &payload);
                assert!(compressed.len() < payload.len() / 2, "{} of {len}", compressed.len());
                assert_eq!(inflate(&compressed).unwrap().as_bytes(), payload);
                let mut strict = Decompress::new_with_window_bits(false, window_bits);
                let mut back = Vec::with_capacity(payload.len() + 1);
                strict.decompress_vec(&compressed, &mut back, FlushDecompress::None).unwrap();
                assert_eq!(back, payload, "within a window of 2^{window_bits}");
            }
        }
    }
}

#[test]
fn every_message_stands_for_itself() {
    let mut deflater = Deflater::default();
    let first = deflater.compress(15, 3, &json(2_000)).unwrap().to_vec();
    deflater.compress(15, 3, &json(9_000)).unwrap();
    deflater.compress(12, 3, &json(2_000)).unwrap();
    assert_eq!(deflater.compress(15, 3, &json(2_000)).unwrap(), first);
    assert_ne!(deflater.compress(15, 1, &json(2_000)).unwrap(), first, "another level");
    let mut inflater = Inflater::default();
    for broken in [&first[..first.len() / 2], &[0xff; 9], &first[1..]] {
        assert_eq!(inflater.inflate(true, broken, MAX), Err(ProtocolError::InvalidDeflate));
        let again = inflater.inflate(true, &first, MAX).unwrap();
        assert!(matches!(again, Event::Text(text) if text.as_bytes() == json(2_000)));
    }
}

#[test]
fn what_gets_no_smaller_is_left() {
    let mut random = 88_172_645_463_325_252_u64;
    let noise: Vec<u8> = (0..100_000)
        .map(|_| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random as u8
        })
        .collect();
    for len in [0, 1, 5, 1_000, 100_000] {
        assert_eq!(Deflater::default().compress(15, 6, &noise[..len]), None, "{len}");
    }
}

#[test]
fn a_message_cut_anywhere_is_refused() {
    let payload = json(600);
    let compressed = deflate(15, 6, &payload);
    for cut in 1..compressed.len() {
        assert_eq!(inflate(&compressed[..cut]), Err(ProtocolError::InvalidDeflate), "{cut}");
    }
    // A stored block that is shorter than it says takes the tail for its own and ends too early.
    assert_eq!(inflate(&bytes("00 09 00 f6 ff 48 65 6c 6c 6f")), Err(ProtocolError::InvalidDeflate));
}

#[test]
fn nothing_broken_gets_through_as_another_message() {
    let payload = json(300);
    let compressed = deflate(15, 6, &payload);
    for at in 0..compressed.len() {
        for bit in 0..8 {
            let mut broken = compressed.clone();
            broken[at] ^= 1 << bit;
            // Many still are DEFLATE, of something else: no panic, and no more than the bound.
            if let Ok(text) = inflate_to(&broken, 400) {
                assert!(text.len() <= 400);
            }
        }
    }
    for garbage in ["07", "ff ff ff", "04", "02 00 00 ff", "f2 48 cd c9 c9 07 00 06"] {
        assert_eq!(inflate(&bytes(garbage)), Err(ProtocolError::InvalidDeflate), "{garbage}");
    }
}

#[test]
fn bombs_are_refused() {
    let zeros = deflate(15, 9, &vec![b'0'; MAX]);
    assert!(zeros.len() < 1_100, "{}", zeros.len());
    let mut inflater = Inflater::default();
    for max in [MAX - 1, 512_000, 100_000, 1] {
        assert_eq!(inflater.inflate(false, &zeros, max), Err(ProtocolError::TooBig), "{max}");
        assert!(inflater.out.capacity() <= (max + 1).max(KEPT_BYTES), "{}", inflater.out.capacity());
    }
    assert_eq!(ProtocolError::TooBig.close_code(), 1009);
    assert_eq!(ProtocolError::InvalidDeflate.close_code(), 1002);
    // Twice: the inner stays as it is, for only one layer is taken off.
    let nested =
        Deflater::default().compress(15, 9, &zeros).map(<[u8]>::to_vec).expect("zeros' blocks repeat");
    let inner = inflater.inflate(false, &nested, MAX).unwrap();
    assert_eq!(inner, Event::Binary(&zeros));
}

#[test]
fn the_bounds_are_exact() {
    let payload = json(10_000);
    let compressed = deflate(15, 6, &payload);
    assert!(inflate_to(&compressed, payload.len()).is_ok());
    assert_eq!(inflate_to(&compressed, payload.len() - 1), Err(ProtocolError::TooBig));
}

#[test]
fn messages_may_be_as_regular_as_they_like() {
    for pattern in ["x", "0123456789", "{\"price\":100.25,\"symbol\":\"ACME\"},\n"] {
        let regular = pattern.repeat(MAX / pattern.len());
        let compressed = deflate(15, 6, regular.as_bytes());
        assert!(compressed.len() * 150 < regular.len(), "{pattern}: {}", compressed.len());
        assert_eq!(inflate_to(&compressed, regular.len()).as_deref(), Ok(&*regular), "{pattern}");
    }
}

#[test]
fn text_is_utf8_when_it_is_inflated() {
    let wrong = bytes("00 03 00 fc ff 61 ff 62 00");
    assert_eq!(inflate(&wrong), Err(ProtocolError::InvalidUtf8));
    assert_eq!(Inflater::default().inflate(false, &wrong, MAX), Ok(Event::Binary(b"a\xffb")));
}

#[test]
fn memory_of_a_large_message_is_given_back() {
    let (mut deflater, mut inflater) = (Deflater::default(), Inflater::default());
    let compressed = deflater.compress(15, 1, &json(3 * KEPT_BYTES)).unwrap().to_vec();
    inflater.inflate(true, &compressed, 4 * KEPT_BYTES).unwrap();
    assert!(inflater.out.capacity() > KEPT_BYTES);
    let small = deflater.compress(15, 1, &json(1_000)).unwrap().to_vec();
    inflater.inflate(true, &small, MAX).unwrap();
    assert!(inflater.out.capacity() <= KEPT_BYTES && deflater.out.capacity() <= KEPT_BYTES);
}
