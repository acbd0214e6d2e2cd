//! Tokens (RFC 7519, HS256) by which a server knows each connection as a user of its own.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// How long a token is good, in seconds: longer than any run.
const LIFE_S: u64 = 24 * 3600;

/// Makes the tokens of one run.
#[derive(Clone, Debug)]
pub struct Tokens {
    keyed: Hmac<Sha256>,
    expires_unix_s: u64,
}

impl Tokens {
    /// Signs with this secret.
    ///
    /// # Errors
    /// When the clock is before 1970.
    pub fn new(secret: &str) -> Result<Self> {
        let keyed = Hmac::new_from_slice(secret.as_bytes()).context("the secret")?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock")?;
        Ok(Self { keyed, expires_unix_s: now.as_secs() + LIFE_S })
    }

    /// The header field of connection number `number`: all are of one tenant, each of its own user.
    pub fn field(&self, number: usize) -> String {
        format!("Authorization: Bearer {}", self.token(number))
    }

    fn token(&self, number: usize) -> String {
        let expires = self.expires_unix_s;
        let claims = format!(r#"{{"userId":"user-{number}","tenantId":"load","exp":{expires}}}"#);
        let mut token = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature = self.keyed.clone().chain_update(&token).finalize().into_bytes();
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        token
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
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9",
            "eyJ1c2VySWQiOiJ1c2VyLTciLCJ0ZW5hbnRJZCI6ImxvYWQiLCJleHAiOjE4MDAwMDAwMDB9",
            "Sf-VW3CayWf0vygAHT2vgZGewmaFO88nyBh0bbN0mSE",
        ];
        assert_eq!(tokens.token(7), expected.join("."));
        assert_eq!(tokens.field(7), format!("Authorization: Bearer {}", tokens.token(7)));
        assert_ne!(tokens.token(7), tokens.token(8));
    }
}
