use super::keys::{ED25519, KEYS_MAX, Key, KeyError, KeySet, P256, P384, RSA, RSA_BITS, mark};
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{AlgorithmFamily, DecodingKey};

const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";

/// Bytes of an uncompressed point on P-256 and on P-384, and of a key of Ed25519.
const P256_BYTES: usize = 65;
const P384_BYTES: usize = 97;
const ED25519_BYTES: usize = 32;

/// The public keys of a PEM text (RFC 7468), one or several. What stands between the blocks is comment.
///
/// # Errors
/// No key, or one that cannot be used: of several in a file that somebody wrote, none may be lost silently.
pub(super) fn read(text: &str) -> Result<KeySet, KeyError> {
    let mut keys = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(BEGIN) {
        let block = &rest[at..];
        let (label, body) = block[BEGIN.len()..].split_once(DASHES).ok_or(KeyError::Unreadable)?;
        if label.contains("PRIVATE") {
            return Err(KeyError::Private);
        }
        if !matches!(label, "PUBLIC KEY" | "RSA PUBLIC KEY") {
            let label = label.chars().take(40).filter(|c| !c.is_control()).collect();
            return Err(KeyError::NotAKey(label));
        }
        let end = format!("-----END {label}-----");
        let body_len = body.find(&end).ok_or(KeyError::Unreadable)?;
        let len = block.len() - body.len() + body_len + end.len();
        if keys.len() == KEYS_MAX {
            return Err(KeyError::TooMany);
        }
        keys.push(key(&block.as_bytes()[..len])?);
        rest = &block[len..];
    }
    if keys.is_empty() { Err(KeyError::NoPem) } else { Ok(KeySet { keys, ..KeySet::default() }) }
}

fn key(block: &[u8]) -> Result<Key, KeyError> {
    // Each refuses what is of another kind.
    let readers = [DecodingKey::from_rsa_pem, DecodingKey::from_ec_pem, DecodingKey::from_ed_pem];
    let key = readers.iter().find_map(|read| read(block).ok()).ok_or(KeyError::Unreadable)?;
    let bytes = key.try_get_as_bytes().map_err(|_| KeyError::Unreadable)?;
    let (algorithms, mark) = match (key.family(), bytes) {
        (AlgorithmFamily::Rsa, _) => {
            let (modulus, exponent) = (DEFAULT_PROVIDER.key_utils.rsa_pub_components_from_public_key)(bytes)
                .map_err(|_| KeyError::Unreadable)?;
            rsa_fits(&modulus)?;
            (RSA, mark_of_rsa(&modulus, &exponent))
        }
        (AlgorithmFamily::Ec, [4, ..]) if bytes.len() == P256_BYTES => (P256, mark(&[bytes])),
        (AlgorithmFamily::Ec, [4, ..]) if bytes.len() == P384_BYTES => (P384, mark(&[bytes])),
        (AlgorithmFamily::Ed, _) if bytes.len() == ED25519_BYTES => (ED25519, mark(&[bytes])),
        _ => return Err(KeyError::Unreadable),
    };
    Ok(Key { kid: None, algorithms: algorithms.into(), key, mark })
}

/// The mark of an RSA key, however its numbers are written.
pub(super) fn mark_of_rsa(modulus: &[u8], exponent: &[u8]) -> u32 {
    let number = |bytes: &[u8]| bytes.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<_>>();
    mark(&[&number(modulus), &number(exponent)])
}

/// Whether an RSA key with this modulus has bits enough, and not too many.
pub(super) fn rsa_fits(modulus: &[u8]) -> Result<(), KeyError> {
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let bits = match modulus.get(zeros) {
        Some(first) => (modulus.len() - zeros) * 8 - first.leading_zeros() as usize,
        None => 0,
    };
    if RSA_BITS.contains(&bits) { Ok(()) } else { Err(KeyError::RsaBits(bits)) }
}
