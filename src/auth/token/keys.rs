use super::error::TokenError;
use crate::config::TokenAlgorithm;
use crate::model::TokenMark;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm, DecodingKey};
use smallvec::SmallVec;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::RangeInclusive;

/// Most keys of one set.
pub(super) const KEYS_MAX: usize = 64;

/// Most faults that are kept of one set, for the log.
pub(super) const FAULTS_MAX: usize = 8;

/// Most keys that one token is tried with, which matters for those without a `kid`: each costs a signature check, some
/// 60 us.
const TRIED_MAX: usize = 4;

/// The same for signatures of more than [`LONG_BYTES`]: a check costs the square of an RSA key's bits, 250 us where it has
/// 8192.
const TRIED_LONG_MAX: usize = 2;

/// Bytes of a signature by an RSA key of 4096 bits.
const LONG_BYTES: usize = 512;

/// Bits of an RSA key: fewer are no security (RFC 7518 section 3.3), more cost more than they give.
pub(super) const RSA_BITS: RangeInclusive<usize> = 2048..=8192;

/// Why keys cannot be used. None of them is shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No PEM block, or something else beside them.
    #[error("there is no public key in PEM form (-----BEGIN PUBLIC KEY-----)")]
    NoPem,
    /// A private key lies where a public one belongs.
    #[error("there is a private key: only the public key belongs here")]
    Private,
    /// A certificate, whose validity nobody would check.
    #[error(
        "there is a {0} where a public key belongs: `openssl x509 -pubkey -noout` extracts a certificate's"
    )]
    NotAKey(String),
    /// A key that is none, or of a kind that no algorithm is for.
    #[error("a key cannot be read: RSA, EC on P-256 and P-384, and Ed25519 can be")]
    Unreadable,
    /// An RSA key with too few or too many bits.
    #[error("an RSA key has {0} bits, {min} to {max} can be used", min = RSA_BITS.start(), max = RSA_BITS.end())]
    RsaBits(usize),
    /// Not the JSON of a key set.
    #[error("there is no JSON Web Key Set (an object with an array `keys`, or one key)")]
    NoSet,
    /// More than can be held.
    #[error("there are more than {KEYS_MAX} keys that can be used")]
    TooMany,
    /// Nothing in the set can be used.
    #[error("no key of the set can be used: RSA, EC on P-256 and P-384, and Ed25519 can be{0}")]
    NoneUsable(FirstFault),
    /// The configured algorithms leave a key without one.
    #[error("jwt_algorithms has none for the {0}")]
    NotAllowed(&'static str),
}

/// A key of a set that is meant for tokens and cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFault {
    /// Its `kid`, printable and cut, or its place in the set.
    pub key: String,
    /// What is wrong with it.
    pub why: String,
}

/// The first fault of a set, for the words of an error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FirstFault(pub Option<KeyFault>);

impl fmt::Display for FirstFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(KeyFault { key, why }) => write!(f, "; key {key}: {why}"),
            None => Ok(()),
        }
    }
}

/// One key, with what it may be used for.
#[derive(Clone)]
pub(super) struct Key {
    /// Its name in a key set. Keys from elsewhere have none.
    pub kid: Option<Box<str>>,
    /// What it is for, all of one family: the key is never used otherwise, whatever a token says.
    pub algorithms: SmallVec<[TokenAlgorithm; 6]>,
    pub key: DecodingKey,
    /// Tells it from other keys, whatever it was read from; see [`mark`].
    pub mark: u32,
}

impl Key {
    /// What marks tokens that are signed by this key with an algorithm.
    fn mark_of(&self, algorithm: TokenAlgorithm) -> u32 {
        mark(&[&self.mark.to_le_bytes(), algorithm.name().as_bytes()])
    }

    /// Whether `signature` is this key's for `message`.
    fn verifies(&self, algorithm: TokenAlgorithm, message: &[u8], signature: &Vec<u8>) -> bool {
        // Asked for by name: the crate's own choice panics in a program that also has its other backend.
        let verifier = (DEFAULT_PROVIDER.verifier_factory)(&library_name(algorithm), &self.key);
        verifier.is_ok_and(|verifier| verifier.verify(message, signature).is_ok())
    }
}

/// Keys stay out of every log.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} for {:?}", self.kid, self.algorithms)
    }
}

/// Keys that tokens are checked with.
#[derive(Debug, Clone, Default)]
pub struct KeySet {
    pub(super) keys: Vec<Key>,
    /// Keys that were left out because they cannot be used.
    pub(super) skipped: usize,
    /// What is wrong with some of these, [`FAULTS_MAX`] at most.
    pub(super) faults: Vec<KeyFault>,
}

impl KeySet {
    /// Number of keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many keys of the source were left out because they are for something else.
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// What is wrong with those of these that are meant for tokens; the first few.
    pub fn faults(&self) -> &[KeyFault] {
        &self.faults
    }

    /// The one key of a shared secret.
    pub(super) fn of_secret(secret: &str) -> Self {
        let key = DecodingKey::from_secret(secret.as_bytes());
        let mark = mark(&[secret.as_bytes()]);
        Self { keys: vec![Key { kid: None, algorithms: HMAC.into(), key, mark }], ..Self::default() }
    }

    /// Whether a token was signed by one of these keys, with an algorithm that it is still for.
    pub(super) fn has_signed(&self, token: TokenMark) -> bool {
        let by = |key: &Key| key.algorithms.iter().any(|algorithm| token.is_by(key.mark_of(*algorithm)));
        self.keys.iter().any(by)
    }

    /// Leaves only algorithms of `allowed`, where there are any, and only keys that have some left.
    pub(super) fn allow(mut self, allowed: &[TokenAlgorithm]) -> Self {
        if !allowed.is_empty() {
            for key in &mut self.keys {
                key.algorithms.retain(|algorithm| allowed.contains(algorithm));
            }
            let before = self.keys.len();
            self.keys.retain(|key| !key.algorithms.is_empty());
            self.skipped += before - self.keys.len();
        }
        self
    }
}

/// A number that tells keys and issuers apart while the process runs, and from which neither is found again.
pub(super) fn mark(parts: &[&[u8]]) -> u32 {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    hasher.finish() as u32
}

/// Checks `signature` of `message` with those of `sets` that the header's `algorithm` and `kid` lead to. Gives the mark of
/// tokens that are signed like that.
pub(super) fn check(
    sets: [&KeySet; 2],
    algorithm: TokenAlgorithm,
    kid: Option<&str>,
    message: &[u8],
    signature: &Vec<u8>,
) -> Result<u32, TokenError> {
    let all = || sets.into_iter().flat_map(|set| &set.keys);
    if all().next().is_none() {
        return Err(TokenError::NoKeys);
    }
    let of_algorithm = || all().filter(|key| key.algorithms.contains(&algorithm));
    if of_algorithm().next().is_none() {
        return Err(TokenError::AlgorithmRefused);
    }
    // A named key is only used for tokens that name it, or none; one without a name for all that name no other.
    let named = kid.is_some() && of_algorithm().any(|key| key.kid.as_deref() == kid);
    let tried_max = if signature.len() > LONG_BYTES { TRIED_LONG_MAX } else { TRIED_MAX };
    let mut tried = 0;
    for key in of_algorithm() {
        let fits = match kid {
            Some(_) if named => key.kid.as_deref() == kid,
            Some(_) => key.kid.is_none(),
            None => true,
        };
        if !fits {
            continue;
        }
        if key.verifies(algorithm, message, signature) {
            return Ok(key.mark_of(algorithm));
        }
        tried += 1;
        if tried == tried_max {
            break;
        }
    }
    Err(if tried == 0 { TokenError::KeyUnknown } else { TokenError::Signature })
}

/// The algorithms of a shared secret.
pub(super) const HMAC: &[TokenAlgorithm] =
    &[TokenAlgorithm::Hs256, TokenAlgorithm::Hs384, TokenAlgorithm::Hs512];

/// Those of an RSA key that does not say for which it is.
pub(super) const RSA: &[TokenAlgorithm] = &[
    TokenAlgorithm::Rs256,
    TokenAlgorithm::Rs384,
    TokenAlgorithm::Rs512,
    TokenAlgorithm::Ps256,
    TokenAlgorithm::Ps384,
    TokenAlgorithm::Ps512,
];

/// That of a key on P-256, as each curve has one hash (RFC 7518 section 3.4).
pub(super) const P256: &[TokenAlgorithm] = &[TokenAlgorithm::Es256];

/// That of a key on P-384.
pub(super) const P384: &[TokenAlgorithm] = &[TokenAlgorithm::Es384];

/// That of a key of Ed25519.
pub(super) const ED25519: &[TokenAlgorithm] = &[TokenAlgorithm::EdDsa];

const fn library_name(algorithm: TokenAlgorithm) -> Algorithm {
    match algorithm {
        TokenAlgorithm::Hs256 => Algorithm::HS256,
        TokenAlgorithm::Hs384 => Algorithm::HS384,
        TokenAlgorithm::Hs512 => Algorithm::HS512,
        TokenAlgorithm::Rs256 => Algorithm::RS256,
        TokenAlgorithm::Rs384 => Algorithm::RS384,
        TokenAlgorithm::Rs512 => Algorithm::RS512,
        TokenAlgorithm::Ps256 => Algorithm::PS256,
        TokenAlgorithm::Ps384 => Algorithm::PS384,
        TokenAlgorithm::Ps512 => Algorithm::PS512,
        TokenAlgorithm::Es256 => Algorithm::ES256,
        TokenAlgorithm::Es384 => Algorithm::ES384,
        TokenAlgorithm::EdDsa => Algorithm::EdDSA,
    }
}
