use crate::config::Secret;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt::Write;

/// The header that carries a request's signatures.
pub const SIGNATURE_HEADER: &str = "fanwire-signature";

/// The value of [`SIGNATURE_HEADER`]: `t=UNIX,v1=HEX`, where `HEX` is HMAC-SHA256 (RFC 2104, FIPS 180-4) of the time,
/// a full stop and the body, in lower case. With several secrets there is a `v1` for each, so that a backend that
/// knows one of them finds its own while secrets are exchanged.
///
/// The time is signed so that a request that somebody has overheard is of no use later: a backend refuses those that
/// are older than some minutes.
pub fn signature(secrets: &[Secret], unix_s: u64, body: &[u8]) -> String {
    let mut value = format!("t={unix_s}");
    for secret in secrets {
        value.push_str(",v1=");
        for byte in hmac(secret.reveal().as_bytes(), &[unix_s.to_string().as_bytes(), b".", body]) {
            // Writing to a String does not fail.
            let _ = write!(value, "{byte:02x}");
        }
    }
    value
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // RFC 2104 section 3: longer keys are hashed, shorter ones padded, so that any length will do.
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// RFC 4231 section 4: test cases 1 to 4, 6 and 7.
    #[test]
    fn the_vectors_of_rfc_4231_hold() {
        let cases: [(&[u8], &[u8], &str); 6] = [
            (&[0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (&[0xaa; 20], &[0xdd; 50], "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
            (
                &(1..=25).collect::<Vec<u8>>(),
                &[0xcd; 50],
                "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
            ),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
            (
                &[0xaa; 131],
                b"This is a test using a larger than block-size key and a larger than block-size data. The key \
                needs to be hashed before being used by the HMAC algorithm.",
                "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
            ),
        ];
        for (key, data, expected) in cases {
            assert_eq!(hex(&hmac(key, &[data])), expected);
            let (front, back) = data.split_at(3);
            assert_eq!(hex(&hmac(key, &[front, back])), expected, "in two parts");
        }
    }

    #[test]
    fn time_body_and_secret_all_count() {
        let secrets = ["one".into(), "two".into()];
        let both = signature(&secrets, 1_700_000_000, b"{}");
        let first = signature(&secrets[..1], 1_700_000_000, b"{}");
        let hex = first.strip_prefix("t=1700000000,v1=").unwrap();
        assert!(hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)));
        assert!(both.starts_with(&first) && both.matches(",v1=").count() == 2);
        assert_ne!(both[first.len()..], first["t=1700000000".len()..]);
        assert_ne!(signature(&secrets[..1], 1_700_000_001, b"{}")[13..], first[13..]);
        assert_ne!(signature(&secrets[..1], 1_700_000_000, b"{ }"), first);
    }
}
