//! Tokens as somebody who issues them makes them: by the library, with the secret that servers of the tests are given.

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// The key of HS256.
pub const SECRET: &str = "a secret of tests that is long enough";

/// How a server is told [`SECRET`].
pub const SECRET_VARIABLE: (&str, &str) = ("FANWIRE_JWT_SECRET", SECRET);

/// How long the tokens of [`token_of`] are good: longer than any test takes.
const LIFE_S: u64 = 600;

/// Seconds since 1970.
pub fn now_unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// Signs claims.
pub fn sign(claims: &Value) -> String {
    encode(&Header::default(), claims, &EncodingKey::from_secret(SECRET.as_bytes())).expect("a key of HS256")
}

/// A token of a user of a tenant.
pub fn token_of(user: &str, tenant: &str) -> String {
    sign(&json!({"userId": user, "tenantId": tenant, "exp": now_unix_s() + LIFE_S}))
}

/// A path with such a token.
pub fn path_of(path: &str, user: &str, tenant: &str) -> String {
    format!("{path}?token={}", token_of(user, tenant))
}
