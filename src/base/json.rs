/// Whether arrays and objects in `raw` nest at most `max` deep.
///
/// One pass without recursion, and it ends at the first bracket that is too deep, so that a message made of
/// brackets alone costs no stack. Does not check that `raw` is JSON: for text that is not, the answer means nothing
/// but is still given.
pub fn json_depth_within(raw: &str, max: u32) -> bool {
    let bytes = raw.as_bytes();
    // With no more opening brackets than levels allowed, strings included, no nesting can be too deep. This loop
    // has no state and compiles to vector instructions; most messages need nothing else.
    let opening = bytes.iter().filter(|&&byte| matches!(byte, b'[' | b'{')).count();
    if opening <= max as usize {
        return true;
    }
    let mut depth = 0_u32;
    let mut in_string = false;
    let mut escaped = false;
    for &byte in bytes {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                depth += 1;
                if depth > max {
                    return false;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    true
}

/// Whether JSON is an object, if it is valid at all. Readers of a struct must ask: serde takes an array for one as well.
pub fn is_json_object(text: &[u8]) -> bool {
    text.trim_ascii_start().first() == Some(&b'{')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_strings() {
        for (raw, depth) in [
            ("1", 0),
            ("[]", 1),
            ("{\"a\":[{}]}", 3),
            ("[[],[],[[]]]", 3),
            (r#"{"a":"[[[[","b":"\"[[","c":"\\"}"#, 1),
            (r#"["\\",["\\\"[["]]"#, 2),
        ] {
            assert!(json_depth_within(raw, depth), "{raw} at {depth}");
            assert!(depth == 0 || !json_depth_within(raw, depth - 1), "{raw} under {depth}");
        }
        assert!(!json_depth_within(&"[".repeat(100_000), 64));
        assert!(json_depth_within("]]]]]]][", 1));
    }
}
