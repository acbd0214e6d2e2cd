//! Tokens against those that PyJWT made, and against a plain reading of the claims.
//!
//! The input is a token; or, after an `s`, a header and, after a line feed, claims, which are signed here with the
//! right secret; or, after an `n`, the same for a policy whose claims are nested and lists. It holds that
//! - under keys of every kind, no token is good but kept ones, byte for byte: whatever is made of them is refused, and
//!   a refusal does not tell the token;
//! - a signed token is never refused for its signature, and is good only if its header asks for HS256 and nothing
//!   more, and then names whom a plain reading of the claims names;
//! - claims that are an object, written anew so that no name is there twice, are accepted exactly when the plain
//!   reading accepts them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fanwire::auth::token::{KeyTexts, TOKEN_BYTES_MAX, TokenError, TokenPolicy};
use fanwire::config::{Secret, Tokens};
use fanwire::model::{Identity, Life};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, HashSet};
use std::sync::LazyLock;

/// What the tokens of tests/tokens are made for.
struct Kept {
    now: u64,
    secret: String,
    /// All there are: tests/access/tokens.rs holds that the bad ones are refused, each under its own policy.
    tokens: HashSet<String>,
    policy: TokenPolicy,
    nested: TokenPolicy,
}

static KEPT: LazyLock<Kept> = LazyLock::new(|| {
    let tokens: Value = serde_json::from_str(include_str!("../../tokens/tokens.json")).expect("JSON");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let cases = tokens["cases"].as_array().expect("cases");
    let secret = text(&tokens["secret"]);
    let configured = Tokens { secret: Secret::new(&secret), ..Tokens::default() };
    let texts = KeyTexts {
        pem: Some(include_str!("../../tokens/public.pem")),
        jwks: Some(include_str!("../../tokens/jwks.json")),
    };
    let names = |claims: &[Name]| claims.iter().map(|claim| claim.0.to_owned()).collect();
    let nested = Tokens {
        user_claims: names(NESTED.user),
        tenant_claims: names(NESTED.tenant),
        roles_claims: names(NESTED.roles),
        ..configured.clone()
    };
    Kept {
        nested: TokenPolicy::new(&nested, KeyTexts::default()).expect("a good secret"),
        now: tokens["now"].as_u64().expect("a time"),
        tokens: cases.iter().map(|case| text(&case["token"])).collect(),
        policy: TokenPolicy::new(&configured, texts).expect("good keys"),
        secret,
    }
});

type Fields<'f> = BTreeMap<String, &'f RawValue>;

/// As the policy's default has it.
const LEEWAY_S: u64 = 1;

/// A claim as it is configured, and the way to it where there is none of exactly this name.
type Name = (&'static str, &'static [&'static str]);

/// Which claims say who somebody is.
struct Names {
    user: &'static [Name],
    tenant: &'static [Name],
    roles: &'static [Name],
}

/// Those of the defaults.
const TOP: Names = Names {
    user: &[("userId", &["userId"]), ("sub", &["sub"])],
    tenant: &[("tenantId", &["tenantId"]), ("organizationId", &["organizationId"])],
    roles: &[("roles", &["roles"])],
};

/// Paths, a dot of a name's own, an address, and scopes.
const NESTED: Names = Names {
    user: &[("id.user", &["id", "user"]), ("sub", &["sub"])],
    tenant: &[("id.tenant", &["id", "tenant"]), ("a.b.c", &["a", "b", "c"])],
    roles: &[
        ("https://x.y/r", &["https://x", "y/r"]),
        (r"id.my\.app.roles", &["id", "my.app", "roles"]),
        ("scope", &["scope"]),
        ("id.scope", &["id", "scope"]),
    ],
};

/// Checks all that is said above.
pub fn check(data: &[u8]) {
    let (policy, names) = match data.first() {
        Some(b's') => (&KEPT.policy, &TOP),
        Some(b'n') => (&KEPT.nested, &NESTED),
        _ => return check_token(&String::from_utf8_lossy(data)),
    };
    let parts = &data[1..];
    let cut = parts.iter().position(|byte| *byte == b'\n').unwrap_or(parts.len());
    check_signed(policy, names, &parts[..cut], parts.get(cut + 1..).unwrap_or_default());
}

fn check_token(token: &str) {
    match KEPT.policy.verify(token, KEPT.now) {
        Ok(identity) => assert!(KEPT.tokens.contains(token), "{identity:?} by a changed token"),
        Err(error) => check_refusal(error, token),
    }
}

fn check_refusal(error: TokenError, token: &str) {
    assert_eq!(error == TokenError::TooLong, token.len() > TOKEN_BYTES_MAX);
    let said = format!("{error} {error:?} {} {}", error.told(), error.label());
    // What is a piece of our own words, blanks and all, is not told by them.
    assert!(token.len() < 32 || token.contains(' ') || !said.contains(token));
}

/// A token of these parts with the right signature.
fn signed(header: &[u8], claims: &[u8]) -> String {
    let message = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
    let key = EncodingKey::from_secret(KEPT.secret.as_bytes());
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("a secret signs");
    format!("{message}.{signature}")
}

fn check_signed(policy: &TokenPolicy, names: &Names, header: &[u8], claims: &[u8]) {
    let token = signed(header, claims);
    let parsed: Option<Value> = serde_json::from_slice(claims).ok();
    // What is remembered of the token is no word of its claims.
    let verify =
        |token: &str| policy.verify(token, KEPT.now).map(|identity| Identity { token: None, ..identity });
    match verify(&token) {
        Ok(identity) => {
            // As with the claims: what nobody reads is not looked into.
            let header: Fields<'_> = serde_json::from_slice(header).expect("a header that was read");
            let algorithm: Option<String> = serde_json::from_str(header["alg"].get()).ok();
            let kid = header.get("kid").map(|kid| kid.get());
            assert!(kid.is_none_or(|kid| kid.starts_with('"') || kid == "null"), "{kid:?}");
            assert_eq!(algorithm.as_deref(), Some("HS256"));
            assert!(!header.contains_key("crit") && !header.contains_key("b64"), "{header:?}");
            // Claims that nobody reads may be too deep or too great for the oracle.
            if let Some(claims) = &parsed {
                assert_eq!(read(claims, names).as_ref(), Some(&identity), "{claims}");
            }
        }
        Err(error) => {
            check_refusal(error, &token);
            let header: Option<Value> = serde_json::from_slice(header).ok();
            let ours = header.is_some_and(|header| header["alg"] == "HS256");
            assert!(!ours || error != TokenError::Signature);
        }
    }
    if let Some(claims) = parsed.filter(Value::is_object) {
        let anew = signed(br#"{"alg":"HS256"}"#, claims.to_string().as_bytes());
        if anew.len() <= TOKEN_BYTES_MAX {
            assert_eq!(verify(&anew).ok(), read(&claims, names), "{claims}");
        }
    }
}

/// The first of these claims that is there, and whether its text is a list.
fn first<'v>(claims: &'v Value, names: &[Name]) -> Option<(&'v Value, bool)> {
    names.iter().find_map(|(name, path)| {
        let exact = claims.get(*name).filter(|value| !value.is_null());
        let value = exact.or_else(|| path.iter().try_fold(claims, |at, segment| at.get(*segment)))?;
        (!value.is_null()).then_some((value, path.last() == Some(&"scope")))
    })
}

/// Whom the claims name, if they hold now, as the documentation has it.
fn read(claims: &Value, names: &Names) -> Option<Identity> {
    let all = claims;
    let claims = all.as_object()?;
    // A time that is there must be a number; what is before 1970 is 0.
    let seconds = |name: &str| match claims.get(name) {
        Some(value) => Some(Some(value.as_u64().or_else(|| value.as_f64().map(|number| number as u64))?)),
        None => Some(None),
    };
    let expires_unix_s = seconds("exp")?.map(|at| at.saturating_add(LEEWAY_S));
    if expires_unix_s.is_some_and(|at| at <= KEPT.now)
        || seconds("nbf")?.is_some_and(|at| at > KEPT.now + LEEWAY_S)
    {
        return None;
    }
    let name = |value: &Value| Some(Box::<str>::from(value.as_str().filter(|name| Identity::is_name(name))?));
    let user = match first(all, names.user) {
        Some((Value::Number(number), _)) if !number.is_f64() => Some(number.to_string().into()),
        Some((value, _)) => Some(name(value)?),
        None => None,
    };
    let tenant = match first(all, names.tenant) {
        Some((value, _)) => Some(name(value)?),
        None => None,
    };
    let roles = match first(all, names.roles) {
        Some((Value::Array(roles), _)) if roles.len() <= Identity::ROLES_MAX => {
            roles.iter().map(name).collect::<Option<_>>()?
        }
        Some((Value::String(words), true)) => {
            let words: Vec<_> = words.split(' ').filter(|word| !word.is_empty()).collect();
            if words.len() > Identity::ROLES_MAX || !words.iter().all(|word| Identity::is_name(word)) {
                return None;
            }
            words.into_iter().map(Box::from).collect()
        }
        Some((value, _)) => [name(value)?].into_iter().collect(),
        None => Default::default(),
    };
    let life = expires_unix_s.map(|ends_unix_s| Life::new(KEPT.now, ends_unix_s));
    Some(Identity { user, tenant, roles, info: None, life, token: None })
}
