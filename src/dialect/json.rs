//! What the dialects that speak JSON share.

/// Appends `text` as a JSON string, quotes included.
///
/// Escapes only what RFC 8259 section 7 demands: the quote, the backslash, and U+0000 to U+001F.
pub(super) fn push_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    // Names hardly ever need an escape, so look for the next byte that does and copy all before it at once.
    while let Some(at) = rest.iter().position(|&byte| needs_escape(byte)) {
        out.extend_from_slice(&rest[..at]);
        push_escape(rest[at], out);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

const fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn push_escape(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        _ => {
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

/// Appends a number in decimal.
pub(super) fn push_number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Whether arrays and objects in `raw` nest at most `max` deep.
///
/// One pass without recursion, and it ends at the first bracket that is too deep, so that a message made of
/// brackets alone costs no stack. Does not check that `raw` is JSON: for text that is not, the answer means nothing
/// but is still given.
pub(super) fn check_depth(raw: &str, max: u32) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_string_comes_back(text in any::<String>()) {
            let mut out = Vec::new();
            push_string(&text, &mut out);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }

    #[test]
    fn control_characters_are_escaped() {
        let mut out = Vec::new();
        push_string("a\"\\\n\r\t\0\u{1f}\u{7f}é", &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "\"a\\\"\\\\\\n\\r\\t\\u0000\\u001f\u{7f}é\"");
    }

    #[test]
    fn numbers_are_decimal() {
        let mut out = Vec::new();
        push_number(u64::MAX, &mut out);
        assert_eq!(out, b"18446744073709551615");
    }

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
            assert!(check_depth(raw, depth), "{raw} at {depth}");
            assert!(depth == 0 || !check_depth(raw, depth - 1), "{raw} under {depth}");
        }
        assert!(!check_depth(&"[".repeat(100_000), 64));
        assert!(check_depth("]]]]]]][", 1));
    }
}
