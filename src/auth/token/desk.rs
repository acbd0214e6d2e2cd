use super::{KeyError, TokenError, TokenPolicy};
use crate::base::Seldom;
use crate::model::Identity;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use tokio::sync::Notify;

/// The policy in force, for all shards: it changes when the configuration is read again and when keys are fetched.
#[derive(Debug, Default)]
pub struct TokenDesk {
    policy: RwLock<TokenPolicy>,
    /// Woken when a token could not be checked for want of a key.
    wanted: Notify,
    fetches: AtomicU64,
    fetch_failures: AtomicU64,
    /// When each reason for which tokens are refused was told, by [`TokenError::index`].
    told: [Seldom; TokenError::ALL.len()],
}

impl TokenDesk {
    /// A desk with its first policy.
    pub fn new(policy: TokenPolicy) -> Self {
        Self { policy: RwLock::new(policy), ..Self::default() }
    }

    /// A token was refused, at `now_ms` of the shards' clock. `Some` if it is time to tell of it in the log: how many
    /// there are to tell of.
    pub fn refused(&self, error: TokenError, now_ms: u64) -> Option<u64> {
        self.told[error.index()].happened(now_ms)
    }

    /// The policy in force.
    pub fn policy(&self) -> TokenPolicy {
        // Replaced as a whole, so it is whole whatever happened to who held the lock.
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether tokens can be checked at all: there is a key, or a place to fetch keys from.
    pub fn is_configured(&self) -> bool {
        let policy = self.policy();
        policy.fetches() || !policy.fixed().is_empty()
    }

    /// Whether no token can be checked, because keys are to be fetched and none ever were.
    pub fn waits_for_keys(&self) -> bool {
        let policy = self.policy();
        policy.fetches() && policy.fixed().is_empty() && policy.fetched().is_empty()
    }

    /// Whether a user alone names nobody; see [`TokenPolicy::has_tenants`].
    pub fn has_tenants(&self) -> bool {
        self.policy().has_tenants()
    }

    /// As [`TokenPolicy::verify`], by the policy in force. Where only a key is missing, fetching is asked for.
    ///
    /// # Errors
    /// Why the token is refused.
    pub fn verify(&self, token: &str, now_unix_s: u64) -> Result<Identity, TokenError> {
        // Not under the lock: a check takes as long as a signature does.
        let result = self.policy().verify(token, now_unix_s);
        if let Err(TokenError::KeyUnknown | TokenError::NoKeys | TokenError::AlgorithmRefused) = result {
            self.wanted.notify_one();
        }
        result
    }

    /// Waits until a token came whose key is not known. Several such tokens are one.
    pub async fn keys_wanted(&self) {
        self.wanted.notified().await;
    }

    /// Takes over another configuration. Keys that were fetched stay.
    pub fn replace(&self, policy: &TokenPolicy) {
        let mut here = self.policy.write().unwrap_or_else(PoisonError::into_inner);
        *here = policy.with_fetched_of(&here);
    }

    /// Takes over a key set that was fetched, and tells how many of its keys can be used. Where it has none, the keys
    /// from before stay.
    ///
    /// # Errors
    /// It is no set, or has no key that can be used.
    pub fn take_fetched(&self, jwks: &str) -> Result<usize, KeyError> {
        let mut here = self.policy.write().unwrap_or_else(PoisonError::into_inner);
        let keys = here.read_fetched(jwks)?;
        let count = keys.len();
        *here = here.with_fetched(keys);
        Ok(count)
    }

    /// Counts a fetch.
    pub fn count_fetch(&self, failed: bool) {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        self.fetch_failures.fetch_add(u64::from(failed), Ordering::Relaxed);
    }

    /// Fetches of keys so far, and how many of them failed.
    pub fn fetches(&self) -> (u64, u64) {
        (self.fetches.load(Ordering::Relaxed), self.fetch_failures.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::token::KeyTexts;
    use crate::config::{Secret, Tokens};

    const JWKS: &str = include_str!("../../../tests/tokens/jwks.json");

    #[test]
    fn fetched_keys_outlive_bad_fetches_and_reloads() {
        let desk = TokenDesk::default();
        assert!(!desk.is_configured());
        assert_eq!(desk.take_fetched(JWKS), Ok(5));
        for bad in ["", "{}", r#"{"keys":[]}"#, "<html>"] {
            assert!(desk.take_fetched(bad).is_err());
        }
        let tokens = Tokens { secret: Secret::new("s"), ..Tokens::default() };
        desk.replace(&TokenPolicy::new(&tokens, KeyTexts::default()).unwrap());
        assert_eq!((desk.policy().fixed().len(), desk.policy().fetched().len()), (1, 5));
        assert!(desk.is_configured());
    }

    #[test]
    fn a_desk_waits_for_the_first_keys_that_are_fetched() {
        let fetches = Tokens { jwks_url: Some("http://a/".into()), ..Tokens::default() };
        let desk = TokenDesk::new(TokenPolicy::new(&fetches, KeyTexts::default()).unwrap());
        assert!(desk.waits_for_keys() && !TokenDesk::default().waits_for_keys());
        desk.take_fetched(JWKS).unwrap();
        assert!(!desk.waits_for_keys());
        let also = Tokens { secret: Secret::new("s"), ..fetches };
        let desk = TokenDesk::new(TokenPolicy::new(&also, KeyTexts::default()).unwrap());
        assert!(!desk.waits_for_keys(), "there is another key");
    }

    #[tokio::test]
    async fn an_unknown_key_is_asked_for_once() {
        let desk = TokenDesk::default();
        for _ in 0..3 {
            // {"alg":"HS256"}
            assert_eq!(desk.verify("eyJhbGciOiJIUzI1NiJ9.e30.AA", 0), Err(TokenError::NoKeys));
        }
        desk.keys_wanted().await;
        assert_eq!(desk.verify("no token", 0), Err(TokenError::Parts));
        let again = tokio::time::timeout(std::time::Duration::from_millis(20), desk.keys_wanted()).await;
        assert!(again.is_err(), "asked for twice");
    }
}
