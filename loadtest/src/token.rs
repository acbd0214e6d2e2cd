//! Tokens (RFC 7519, HS256) by which a server knows each connection as a user of its own.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde::Serialize;

/// How long a token is good, in seconds: longer than any run.
const LIFE_S: u64 = 24 * 3600;

/// What a token says.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Claims {
    user_id: String,
    tenant_id: &'static str,
    exp: u64,
}

/// Makes the tokens of one run.
#[derive(Clone, Debug)]
pub struct Tokens {
    key: EncodingKey,
    expires_unix_s: u64,
}

impl Tokens {
    /// Signs with this secret.
    ///
    /// # Errors
    /// When the clock is before 1970.
    pub fn new(secret: &str) -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock")?;
        Ok(Self { key: EncodingKey::from_secret(secret.as_bytes()), expires_unix_s: now.as_secs() + LIFE_S })
    }

    /// The header field of connection number `number`: all are of one tenant, each of its own user.
    pub fn field(&self, number: usize) -> String {
        format!("Authorization: Bearer {}", self.token(number))
    }

    fn token(&self, number: usize) -> String {
        let claims =
            Claims { user_id: format!("user-{number}"), tenant_id: "load", exp: self.expires_unix_s };
        // Fails for keys of another algorithm and for claims that are no JSON; these are neither.
        encode(&Header::default(), &claims, &self.key).expect("a secret signs HS256")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected one was made by Python's `hmac` and `base64`.
    #[test]
    fn a_token_is_as_others_make_it() {
        let tokens = Tokens { expires_unix_s: 1_800_000_000, ..Tokens::new("secret").unwrap() };
        let expected = [
            "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9",
            "eyJ1c2VySWQiOiJ1c2VyLTciLCJ0ZW5hbnRJZCI6ImxvYWQiLCJleHAiOjE4MDAwMDAwMDB9",
            "QrEKuy6Tj7RkG7WBtJREEdXblG6mT-9bqvvRjwd3wFU",
        ];
        assert_eq!(tokens.token(7), expected.join("."));
        assert_eq!(tokens.field(7), format!("Authorization: Bearer {}", tokens.token(7)));
        assert_ne!(tokens.token(7), tokens.token(8));
    }
}
