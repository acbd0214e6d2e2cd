use super::keys::{KEYS_MAX, Key, KeyError, KeySet, algorithms_of};
use super::pem::rsa_fits;
use crate::config::TokenAlgorithm;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Bytes of a coordinate on P-256, and of a key of Ed25519.
const KEY_BYTES: usize = 32;

/// Bytes of an RSA exponent: 3 in practice.
const EXPONENT_BYTES_MAX: usize = 8;

/// Longest `kid`, in bytes.
const KID_BYTES_MAX: usize = 255;

/// A set as it is written (RFC 7517 section 5).
#[derive(Deserialize)]
struct Set<'s> {
    #[serde(borrow)]
    keys: Vec<&'s RawValue>,
}

/// A key as it is written (RFC 7517 section 4, RFC 7518 section 6, RFC 8037 section 2).
#[derive(Deserialize)]
struct Written {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
}

/// The keys of a JSON Web Key Set that can be used. Others are skipped, as RFC 7517 section 5 wants it: sets have keys
/// for other purposes, and of kinds yet to come.
///
/// Secrets (`oct`) are taken where `secrets` says so: a set that is published cannot have any.
///
/// # Errors
/// It is no set, has too many keys, or none that can be used.
pub(super) fn read(text: &str, secrets: bool) -> Result<KeySet, KeyError> {
    let set: Set<'_> = serde_json::from_str(text).map_err(|_| KeyError::NoSet)?;
    if set.keys.len() > KEYS_MAX {
        return Err(KeyError::TooMany);
    }
    let written = set.keys.iter().map(|raw| serde_json::from_str::<Written>(raw.get()).ok());
    let keys: Vec<_> = written.filter_map(|written| written.and_then(|key| usable(key, secrets))).collect();
    let skipped = set.keys.len() - keys.len();
    if keys.is_empty() { Err(KeyError::NoneUsable) } else { Ok(KeySet { keys, skipped }) }
}

fn usable(written: Written, secrets: bool) -> Option<Key> {
    let signs = written.usage.as_deref().is_none_or(|usage| usage == "sig");
    let verifies = written.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
    let kid_fits = written.kid.as_ref().is_none_or(|kid| kid.len() <= KID_BYTES_MAX);
    if !(signs && verifies && kid_fits) {
        return None;
    }
    let key = match (written.kty.as_str(), written.crv.as_deref()) {
        ("RSA", _) => {
            let modulus = bytes(&written.n)?;
            let exponent = bytes(&written.e).filter(|e| (1..=EXPONENT_BYTES_MAX).contains(&e.len()))?;
            rsa_fits(&modulus).ok()?;
            DecodingKey::from_rsa_raw_components(&modulus, &exponent)
        }
        ("EC", Some("P-256")) => {
            // An uncompressed point (SEC 1 section 2.3.3).
            let point = [vec![4], coordinate(&written.x)?, coordinate(&written.y)?].concat();
            DecodingKey::from_ec_der(&point)
        }
        ("OKP", Some("Ed25519")) => DecodingKey::from_ed_der(&coordinate(&written.x)?),
        ("oct", _) if secrets => {
            DecodingKey::from_secret(&bytes(&written.k).filter(|secret| !secret.is_empty())?)
        }
        _ => return None,
    };
    let family = algorithms_of(key.family());
    let algorithms = match written.alg.as_deref() {
        // RFC 9864 calls EdDSA on this curve by the curve's name.
        Some("Ed25519") if family == [TokenAlgorithm::EdDsa] => family.into(),
        Some(name) => {
            let algorithm = TokenAlgorithm::from_name(name).filter(|named| family.contains(named))?;
            [algorithm].as_slice().into()
        }
        None => family.into(),
    };
    Some(Key { kid: written.kid.map(String::into_boxed_str), algorithms, key })
}

fn bytes(text: &Option<String>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.as_ref()?).ok()
}

fn coordinate(text: &Option<String>) -> Option<Vec<u8>> {
    bytes(text).filter(|bytes| bytes.len() == KEY_BYTES)
}
