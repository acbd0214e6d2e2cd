use super::{Client, SILENCE};
use std::time::Duration;

/// The mask key of every client frame of a byte conversation.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Between bytes that are sent one by one: long enough for the server to read each alone, most of the time.
const DRIP: Duration = Duration::from_micros(200);

/// Holds a conversation in bytes; the notation is explained at the top of `tests/autobahn/conversations.txt`.
pub fn byte_conversation(client: &mut Client, script: &str) {
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (sign, text) = line.split_once(' ').unwrap_or((line, ""));
        match (sign, text) {
            (">", _) => client.send_bytes(&bytes(text)),
            (">>", _) => {
                for byte in bytes(text) {
                    // What was wrong may have ended the connection before the rest is sent.
                    if !client.try_send_bytes(&[byte]) {
                        break;
                    }
                    std::thread::sleep(DRIP);
                }
            }
            ("<", "nothing") => client.expect_nothing(SILENCE),
            ("<", "end") => assert_eq!(client.read_frame(), None, "the end was to come"),
            ("<", _) => match text.strip_prefix("close ") {
                Some(code) => {
                    let reason = client.expect_close(code.parse().expect("a close code"));
                    assert!(!reason.is_empty(), "the reason says what was wrong");
                }
                None => client.expect_bytes(&bytes(text)),
            },
            _ => panic!("neither sent nor received: {line}"),
        }
    }
}

/// The bytes that a line of a conversation stands for.
pub fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for frame in text.split(" | ") {
        let (head, payload) = frame.split_once('~').unwrap_or((frame, ""));
        out.extend(plain(head));
        if frame.contains('~') {
            out.extend_from_slice(&MASK);
            out.extend(plain(payload).iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        }
    }
    out
}

fn plain(text: &str) -> Vec<u8> {
    text.split_whitespace().flat_map(token).collect()
}

/// `8180`, `'text'`, or one of them and `*COUNT`.
fn token(token: &str) -> Vec<u8> {
    let (what, count) = match token.rsplit_once('*') {
        Some((what, count)) if !count.is_empty() && count.bytes().all(|b| b.is_ascii_digit()) => {
            (what, count.parse().expect("a count"))
        }
        _ => (token, 1),
    };
    let one = match what.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        Some(text) => text.as_bytes().to_vec(),
        None => {
            assert!(what.is_ascii() && what.len() % 2 == 0, "not whole bytes: {what}");
            let byte = |at: usize| u8::from_str_radix(&what[at..at + 2], 16);
            (0..what.len()).step_by(2).map(|at| byte(at).expect("hexadecimal digits")).collect()
        }
    };
    one.repeat(count)
}
