use super::keys::{
    ED25519, FAULTS_MAX, FirstFault, HMAC, KEYS_MAX, Key, KeyError, KeyFault, KeySet, P256, P384, RSA, mark,
};
use super::pem::{mark_of_rsa, rsa_fits};
use crate::base::is_json_object;
use crate::config::TokenAlgorithm;
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// Bytes of a key of Ed25519.
const ED25519_BYTES: usize = 32;

/// Bytes of a coordinate on P-256 and on P-384.
const P256_BYTES: usize = 32;
const P384_BYTES: usize = 48;

/// Bytes of an RSA exponent: 3 in practice.
const EXPONENT_BYTES_MAX: usize = 8;

/// Longest `kid`, in bytes.
const KID_BYTES_MAX: usize = 255;

/// Characters of a `kid` in the log.
const KID_SHOWN: usize = 64;

/// Numbers of keys, padded or not: unlike a token, a key means the same however it is written.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A set as it is written (RFC 7517 section 5), or a key alone.
#[derive(Deserialize)]
struct Set<'s> {
    #[serde(borrow)]
    keys: Option<Vec<&'s RawValue>>,
    kty: Option<IgnoredAny>,
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

/// Why a key is skipped.
enum Skip {
    /// It is for something else, or of a kind that is not known here.
    Foreign,
    /// It is meant for tokens, and this is wrong with it.
    Faulty(String),
}

use Skip::{Faulty, Foreign};

/// The keys of a JSON Web Key Set that can be used, or the one of a key alone. Others are skipped, as RFC 7517 section 5
/// wants it: sets have keys for other purposes, and of kinds yet to come.
///
/// Secrets (`oct`) are taken where `secrets` says so: a set that is published cannot have any.
///
/// # Errors
/// It is no set, has too many keys, or none that can be used.
pub(super) fn read(text: &str, secrets: bool) -> Result<KeySet, KeyError> {
    // Some programs write a byte order mark, which a reader may pass over (RFC 8259 section 8.1).
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let set: Set<'_> = object(text).ok_or(KeyError::NoSet)?;
    let written = match set {
        Set { keys: Some(keys), .. } => keys,
        Set { kty: Some(_), .. } => vec![serde_json::from_str(text).map_err(|_| KeyError::NoSet)?],
        Set { keys: None, kty: None } => return Err(KeyError::NoSet),
    };
    let mut set = KeySet::default();
    for (index, raw) in written.into_iter().enumerate() {
        let parsed = object::<Written>(raw.get()).ok_or_else(|| Faulty("it is not a JSON Web Key".into()));
        let kid = parsed.as_ref().ok().and_then(|written| written.kid.clone());
        match parsed.and_then(|written| usable(written, secrets)) {
            Ok(_) if set.keys.len() == KEYS_MAX => return Err(KeyError::TooMany),
            Ok(key) => set.keys.push(key),
            Err(skip) => {
                set.skipped += 1;
                if let Faulty(why) = skip
                    && set.faults.len() < FAULTS_MAX
                {
                    set.faults.push(KeyFault { key: shown(kid.as_deref(), index), why });
                }
            }
        }
    }
    if set.keys.is_empty() {
        return Err(KeyError::NoneUsable(FirstFault(set.faults.into_iter().next())));
    }
    Ok(set)
}

/// What an object says. A struct is read from an array too.
fn object<'t, T: Deserialize<'t>>(text: &'t str) -> Option<T> {
    if is_json_object(text.as_bytes()) { serde_json::from_str(text).ok() } else { None }
}

/// A key's name in the log.
fn shown(kid: Option<&str>, index: usize) -> String {
    match kid {
        Some(kid) => format!("{:?}", kid.chars().take(KID_SHOWN).collect::<String>()),
        None => format!("number {}", index + 1),
    }
}

fn usable(written: Written, secrets: bool) -> Result<Key, Skip> {
    let signs = written.usage.as_deref().is_none_or(|usage| usage == "sig");
    let verifies = written.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
    if !(signs && verifies) {
        return Err(Foreign);
    }
    let (key, family, mark) = match (written.kty.as_str(), written.crv.as_deref()) {
        ("RSA", _) => {
            let (modulus, exponent) = (number(&written.n, "n")?, number(&written.e, "e")?);
            rsa_fits(&modulus).map_err(|error| Faulty(error.to_string()))?;
            if !(1..=EXPONENT_BYTES_MAX).contains(&exponent.len()) {
                return Err(Faulty(format!("`e` must have 1 to {EXPONENT_BYTES_MAX} bytes")));
            }
            (DecodingKey::from_rsa_raw_components(&modulus, &exponent), RSA, mark_of_rsa(&modulus, &exponent))
        }
        ("EC", Some("P-256")) => {
            let point = point(&written, P256_BYTES)?;
            (DecodingKey::from_ec_der(&point), P256, mark(&[&point]))
        }
        ("EC", Some("P-384")) => {
            let point = point(&written, P384_BYTES)?;
            (DecodingKey::from_ec_der(&point), P384, mark(&[&point]))
        }
        ("OKP", Some("Ed25519")) => {
            let bytes = bytes(&written.x, "x")?;
            if bytes.len() != ED25519_BYTES {
                return Err(Faulty(format!("`x` must have {ED25519_BYTES} bytes")));
            }
            (DecodingKey::from_ed_der(&bytes), ED25519, mark(&[&bytes]))
        }
        ("oct", _) if secrets => match bytes(&written.k, "k")? {
            secret if secret.is_empty() => return Err(Faulty("`k` is empty".into())),
            secret => (DecodingKey::from_secret(&secret), HMAC, mark(&[&secret])),
        },
        _ => return Err(Foreign),
    };
    if written.kid.as_ref().is_some_and(|kid| kid.len() > KID_BYTES_MAX) {
        return Err(Faulty(format!("`kid` must have at most {KID_BYTES_MAX} bytes")));
    }
    let algorithms = match written.alg.as_deref().map(TokenAlgorithm::from_name) {
        Some(Some(algorithm)) if family.contains(&algorithm) => [algorithm].as_slice().into(),
        Some(Some(_)) => return Err(Faulty("`alg` is not of the key's kind".into())),
        // One for encryption, say, or one that is not known here.
        Some(None) => return Err(Foreign),
        None => family.into(),
    };
    Ok(Key { kid: written.kid.map(String::into_boxed_str), algorithms, key, mark })
}

fn bytes(text: &Option<String>, name: &str) -> Result<Vec<u8>, Skip> {
    let text = text.as_ref().ok_or_else(|| Faulty(format!("`{name}` is missing")))?;
    BASE64URL.decode(text).map_err(|_| Faulty(format!("`{name}` is not base64url")))
}

/// A number without leading zeros. RFC 7518 section 6.3.1.1 wants none and says who writes one: some libraries put a
/// byte for the sign in front.
fn number(text: &Option<String>, name: &str) -> Result<Vec<u8>, Skip> {
    let mut bytes = bytes(text, name)?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.drain(..zeros);
    Ok(bytes)
}

/// An uncompressed point (SEC 1 section 2.3.3). A coordinate may have a byte for the sign in front, or lack its leading
/// zeros, which RFC 7518 section 6.2.1.2 wants.
fn point(written: &Written, bytes: usize) -> Result<Vec<u8>, Skip> {
    let mut point = vec![4];
    for (text, name) in [(&written.x, "x"), (&written.y, "y")] {
        let number = number(text, name)?;
        let zeros = bytes.checked_sub(number.len());
        let zeros = zeros.ok_or_else(|| Faulty(format!("`{name}` must have {bytes} bytes")))?;
        point.resize(point.len() + zeros, 0);
        point.extend_from_slice(&number);
    }
    Ok(point)
}
