//! What the dialects that speak JSON share when they write.

use crate::base::{is_short_and_plain, iso8601, json_special};
use crate::model::{ConnectionId, Identity, NamedMembers, Person};

/// Appends `text` as a JSON string, quotes included.
///
/// Escapes only what RFC 8259 section 7 demands: the quote, the backslash, and U+0000 to U+001F.
pub(super) fn push_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    // As nearly all names are.
    if is_short_and_plain(text.as_bytes()) {
        out.extend_from_slice(text.as_bytes());
    } else {
        push_escaped(text.as_bytes(), out);
    }
    out.push(b'"');
}

/// Looks for the next byte that needs an escape and copies all before it at once.
#[inline(never)]
fn push_escaped(bytes: &[u8], out: &mut Vec<u8>) {
    let mut from = 0;
    loop {
        let at = json_special(bytes, from);
        out.extend_from_slice(&bytes[from..at]);
        let Some(byte) = bytes.get(at) else { break };
        push_escape(*byte, out);
        from = at + 1;
    }
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

/// Appends an array of strings.
pub(super) fn push_strings<'a>(texts: impl Iterator<Item = &'a str>, out: &mut Vec<u8>) {
    out.push(b'[');
    for (index, text) in texts.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_string(text, out);
    }
    out.push(b']');
}

/// Appends the id of a connection as a string.
pub(super) fn push_id(id: ConnectionId, out: &mut Vec<u8>) {
    let mut buffer = [0; 36];
    out.push(b'"');
    out.extend_from_slice(id.encode(&mut buffer).as_bytes());
    out.push(b'"');
}

/// Appends an array of the ids of connections.
fn push_ids(ids: &[ConnectionId], out: &mut Vec<u8>) {
    out.push(b'[');
    for (index, id) in ids.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_id(*id, out);
    }
    out.push(b']');
}

/// Appends an array of members of a room.
pub(super) fn push_named(named: NamedMembers<'_>, out: &mut Vec<u8>) {
    let people = match named {
        NamedMembers::Ids(ids) => return push_ids(ids, out),
        NamedMembers::People(people) => people,
    };
    out.push(b'[');
    for (index, person) in people.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_person(person, out);
    }
    out.push(b']');
}

/// Appends `{"client_id":…,"user":…,"tenant":…,"info":…}`; what is not known is left out.
fn push_person(person: &Person, out: &mut Vec<u8>) {
    let start = out.len();
    let name = |name: &str, out: &mut Vec<u8>| {
        out.extend_from_slice(if out.len() == start { b"{\"" } else { b",\"" });
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
    };
    if let Some(id) = person.client_id {
        name("client_id", out);
        push_id(id, out);
    }
    if let Some(Identity { user, tenant, info, .. }) = person.identity.as_deref() {
        for (key, value) in [("user", user), ("tenant", tenant)] {
            if let Some(value) = value {
                name(key, out);
                push_string(value, out);
            }
        }
        if let Some(info) = info {
            name("info", out);
            out.extend_from_slice(info.as_bytes());
        }
    }
    if out.len() == start {
        out.push(b'{');
    }
    out.push(b'}');
}

/// Appends a time, given as Unix time in milliseconds, as a string in ISO 8601.
pub(super) fn push_time(unix_ms: u64, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(&iso8601(unix_ms));
    out.push(b'"');
}

/// Appends a number in decimal.
pub(super) fn push_number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Begins an object with its `type`.
pub(super) fn begin(kind: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":");
    push_string(kind, out);
}

/// Appends the field `data`, if there is any: JSON as it stands.
pub(super) fn data_field(data: Option<&str>, out: &mut Vec<u8>) {
    if let Some(data) = data {
        out.extend_from_slice(b",\"data\":");
        out.extend_from_slice(data.as_bytes());
    }
}

/// Appends the field `offset`, where a room has a history.
pub(super) fn offset_field(offset: Option<u64>, out: &mut Vec<u8>) {
    if let Some(offset) = offset {
        out.extend_from_slice(b",\"offset\":");
        push_number(offset, out);
    }
}

/// Ends an object with its `timestamp` as [`push_time`] writes it.
pub(super) fn end_at(unix_ms: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"timestamp\":");
    push_time(unix_ms, out);
    out.push(b'}');
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
}
