//! JSON Web Tokens (RFC 7519, signed as RFC 7515 has it): who the holder of one is, or why it is refused.
//!
//! A token is bounded in length before anything of it is decoded; its header only says which of the configured keys
//! to try; its claims are not looked at before its signature is right. Each key is for algorithms of its own, whatever
//! a token's header says, so the text of a public key is never taken for a shared secret (RFC 8725 section 3.1).

mod claims;
mod compact;
mod desk;
mod error;
mod jwks;
mod keys;
mod path;
mod pem;
#[cfg(test)]
mod tests;

pub use compact::TOKEN_BYTES_MAX;
pub use desk::TokenDesk;
pub use error::TokenError;
pub use keys::{FirstFault, KeyError, KeyFault, KeySet};

use crate::base::{Mutation, mutated};
use crate::config::{TokenAlgorithm, Tokens};
use crate::model::{Identity, TokenMark};
use claims::ClaimRules;
use compact::{Compact, Header};
use std::collections::HashSet;
use std::sync::Arc;

/// What the files of a configuration say, read by the caller.
#[derive(Debug, Clone, Copy, Default)]
pub struct KeyTexts<'t> {
    /// Of `jwt_public_key_file`.
    pub pem: Option<&'t str>,
    /// Of `jwt_jwks_file`.
    pub jwks: Option<&'t str>,
}

/// Which keys could not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {error}")]
pub struct PolicyError {
    /// The setting that they come from.
    pub setting: &'static str,
    /// Why.
    pub error: KeyError,
}

/// How tokens are checked: compiled once from the configuration, then only read. Clones share all of it. The default
/// has no keys and refuses all.
#[derive(Debug, Clone, Default)]
pub struct TokenPolicy {
    rules: Arc<Rules>,
    /// Keys of the configuration.
    fixed: Arc<KeySet>,
    /// Keys that were fetched.
    fetched: Arc<KeySet>,
}

#[derive(Debug, Default)]
struct Rules {
    claims: ClaimRules,
    algorithms: Vec<TokenAlgorithm>,
    tenants: HashSet<Box<str>>,
    /// Whether a token must name a user and a tenant.
    of_tenants: bool,
    /// Whether keys are fetched.
    fetches: bool,
}

impl TokenPolicy {
    /// Compiles a configuration.
    ///
    /// # Errors
    /// Keys that cannot be used, with the setting that they come from.
    pub fn new(tokens: &Tokens, texts: KeyTexts<'_>) -> Result<Self, PolicyError> {
        let mut fixed = KeySet::default();
        let mut add = |setting, keys: Result<KeySet, KeyError>| {
            let wrong = |error| PolicyError { setting, error };
            let keys = keys.map_err(wrong)?.allow(&tokens.algorithms);
            if keys.is_empty() {
                return Err(wrong(KeyError::NotAllowed("key")));
            }
            fixed.skipped += keys.skipped;
            fixed.faults.extend(keys.faults);
            fixed.keys.extend(keys.keys);
            Ok(())
        };
        if !tokens.secret.is_empty() {
            add("jwt_secret", Ok(KeySet::of_secret(tokens.secret.reveal())))?;
        }
        if let Some(text) = texts.pem {
            add("jwt_public_key_file", pem::read(text))?;
        }
        if let Some(text) = texts.jwks {
            add("jwt_jwks_file", jwks::read(text, true))?;
        }
        let rules = Rules {
            claims: ClaimRules::new(tokens),
            algorithms: tokens.algorithms.clone(),
            tenants: tokens.tenants.iter().map(|tenant| tenant.as_str().into()).collect(),
            of_tenants: tokens.of_tenants,
            fetches: tokens.jwks_url.is_some(),
        };
        Ok(Self { rules: Arc::new(rules), fixed: Arc::new(fixed), fetched: Arc::default() })
    }

    /// The keys of a JSON Web Key Set that was fetched, as far as they can be used under this policy.
    ///
    /// # Errors
    /// It is no set, or has no key that can be used.
    pub fn read_fetched(&self, jwks: &str) -> Result<KeySet, KeyError> {
        let keys = jwks::read(jwks, false)?.allow(&self.rules.algorithms);
        if keys.is_empty() { Err(KeyError::NotAllowed("set")) } else { Ok(keys) }
    }

    /// The same policy with these keys in place of those that were fetched before.
    pub fn with_fetched(&self, keys: KeySet) -> Self {
        Self { fetched: Arc::new(keys), ..self.clone() }
    }

    /// The same fetched keys under another policy, for a configuration that changed; what that one no longer allows
    /// is left out.
    pub fn with_fetched_of(&self, other: &Self) -> Self {
        self.with_fetched(KeySet::clone(&other.fetched).allow(&self.rules.algorithms))
    }

    /// The keys that were fetched.
    pub fn fetched(&self) -> &KeySet {
        &self.fetched
    }

    /// Whether there is a place to fetch keys from.
    pub fn fetches(&self) -> bool {
        self.rules.fetches
    }

    /// The keys of the configuration itself.
    pub fn fixed(&self) -> &KeySet {
        &self.fixed
    }

    /// Who the holder of `token` is at `now_unix_s`, and that their tenant is active.
    ///
    /// Costs memory in proportion to [`TOKEN_BYTES_MAX`] at most, and few signature checks, whatever the token says.
    ///
    /// # Errors
    /// Why it is refused. [`TokenError::KeyUnknown`] and [`TokenError::NoKeys`] may pass when keys are fetched again.
    pub fn verify(&self, token: &str, now_unix_s: u64) -> Result<Identity, TokenError> {
        let compact = Compact::split(token)?;
        let header = compact.header()?;
        let header = Header::read(&header)?;
        let signature = compact.signature()?;
        let sets = [&*self.fixed, &*self.fetched];
        let key = keys::check(sets, header.algorithm, header.kid.as_deref(), compact.message, &signature)?;
        let claims::Read { identity, issuer, ends } =
            self.rules.claims.read(&compact.claims()?, now_unix_s)?;
        let identity = Identity { token: Some(TokenMark::new(key, issuer, ends)), ..identity };
        if self.rules.of_tenants {
            of_tenant(&identity)?;
        }
        self.check_tenant(identity.tenant.as_deref())?;
        Ok(identity)
    }

    /// Whether a token that is refused for `error` is not meant for this server: it has another form, names a key or an
    /// algorithm that nobody here has, or another issuer than the configured ones. What it claims is not checked.
    pub fn is_foreign(&self, token: &str, error: TokenError) -> bool {
        match error {
            TokenError::TooLong
            | TokenError::Parts
            | TokenError::Base64
            | TokenError::Header
            | TokenError::Critical
            | TokenError::Unsigned
            | TokenError::AlgorithmUnknown
            | TokenError::AlgorithmRefused
            | TokenError::KeyUnknown
            | TokenError::Issuer => true,
            TokenError::Signature => {
                let claims = Compact::split(token).and_then(|compact| compact.claims());
                claims.is_ok_and(|claims| self.rules.claims.is_of_another_issuer(&claims))
            }
            TokenError::Missing
            | TokenError::NoKeys
            | TokenError::Claims
            | TokenError::Expired
            | TokenError::NotYetValid
            | TokenError::Audience
            | TokenError::ExpiryMissing
            | TokenError::Name
            | TokenError::TenantMissing
            | TokenError::UserMissing
            | TokenError::TenantInactive
            | TokenError::RoleMissing
            | TokenError::IdentityChanged => false,
        }
    }

    /// Whether a token that was accepted by another policy would be by this one, as far as is known of it, and when what it
    /// says ends at the latest. Of who is known without a token nothing is asked.
    ///
    /// # Errors
    /// Why it would be refused.
    pub fn review(&self, identity: &Identity, now_unix_s: u64) -> Result<Option<u64>, TokenError> {
        let Some(token) = identity.token else { return Ok(identity.ends_unix_s()) };
        if !self.fixed.has_signed(token) && !self.fetched.has_signed(token) {
            return Err(TokenError::KeyUnknown);
        }
        self.rules.claims.review(token)?;
        if self.rules.of_tenants {
            of_tenant(identity)?;
        }
        self.check_tenant(identity.tenant.as_deref())?;
        Ok(self.rules.claims.session_end(identity.ends_unix_s(), now_unix_s))
    }

    /// Whether a user of a tenant must be named with its tenant, because there are tenants.
    pub fn has_tenants(&self) -> bool {
        self.rules.of_tenants || !self.rules.tenants.is_empty()
    }

    /// Whether all that are known must have a user and a tenant.
    pub fn is_of_tenants(&self) -> bool {
        self.rules.of_tenants
    }

    /// Whether a tenant is active: all are where none are listed, and none at all is needed there.
    fn check_tenant(&self, tenant: Option<&str>) -> Result<(), TokenError> {
        match tenant {
            _ if self.rules.tenants.is_empty() => Ok(()),
            _ if mutated(Mutation::AnyTenant) => Ok(()),
            None => Err(TokenError::TenantMissing),
            Some(tenant) if self.rules.tenants.contains(tenant) => Ok(()),
            Some(_) => Err(TokenError::TenantInactive),
        }
    }
}

/// Whether somebody is a user of a tenant, where nobody else is let in.
///
/// # Errors
/// What is missing.
pub fn of_tenant(identity: &Identity) -> Result<(), TokenError> {
    match identity {
        Identity { tenant: None, .. } => Err(TokenError::TenantMissing),
        Identity { user: None, .. } => Err(TokenError::UserMissing),
        _ => Ok(()),
    }
}
