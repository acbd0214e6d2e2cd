//! Tokens and keys that PyJWT made (tests/tokens/make.py): kept ones always, new ones where it is installed.

use crate::common::{client_python, left_out, tests_path};
use fanwire::auth::token::{KeyTexts, TokenError, TokenPolicy};
use fanwire::config::{Secret, TokenAlgorithm, Tokens};
use fanwire::model::{Identity, Life};
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// What make.py wrote into a folder.
struct Made {
    now: u64,
    secret: String,
    cases: Vec<Value>,
    jwks: String,
    pem: String,
}

impl Made {
    fn read(folder: &Path) -> Self {
        let text = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
        let tokens: Value = serde_json::from_str(&text("tokens.json")).unwrap();
        Self {
            now: tokens["now"].as_u64().unwrap(),
            secret: tokens["secret"].as_str().unwrap().to_owned(),
            cases: tokens["cases"].as_array().unwrap().clone(),
            jwks: text("jwks.json"),
            pem: text("public.pem"),
        }
    }

    /// The policies that the cases name.
    fn policies(&self) -> HashMap<&'static str, TokenPolicy> {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        let bare = Tokens { leeway: Duration::ZERO, ..Tokens::default() };
        let secret = Tokens { secret: Secret::new(&self.secret), ..bare.clone() };
        let strict = Tokens {
            audience: words(&["fanwire"]),
            issuer: words(&["them", "me"]),
            user_claims: words(&["who"]),
            ..secret.clone()
        };
        let leeway = Tokens { leeway: Duration::from_secs(30), ..secret.clone() };
        let tenants = Tokens { tenants: words(&["a2", "a1"]), ..secret.clone() };
        let only = Tokens { algorithms: vec![TokenAlgorithm::Rs256], ..bare.clone() };
        let (none, pem) = (KeyTexts::default(), KeyTexts { pem: Some(&self.pem), jwks: None });
        let jwks = KeyTexts { pem: None, jwks: Some(&self.jwks) };
        let all = KeyTexts { pem: Some(&self.pem), jwks: Some(&self.jwks) };
        [
            ("none", &bare, none),
            ("secret", &secret, none),
            ("pem", &bare, pem),
            ("jwks", &bare, jwks),
            ("all", &secret, all),
            ("strict", &strict, none),
            ("leeway", &leeway, none),
            ("tenants", &tenants, none),
            ("only RS256", &only, pem),
        ]
        .map(|(name, tokens, texts)| (name, TokenPolicy::new(tokens, texts).unwrap()))
        .into()
    }

    fn check(&self) {
        let policies = self.policies();
        let mut labels = HashSet::new();
        for case in &self.cases {
            let (name, policy) = (case["name"].as_str().unwrap(), case["policy"].as_str().unwrap());
            let result = policies[policy].verify(case["token"].as_str().unwrap(), self.now);
            match case["expect"].as_str() {
                Some(label) => {
                    assert_eq!(
                        result.as_ref().map_err(|error| error.label()),
                        Err(label),
                        "{policy}: {name}"
                    );
                    labels.insert(label);
                }
                None => {
                    let result = result.map(|identity| Identity { token: None, ..identity });
                    assert_eq!(result, Ok(identity(&case["expect"], self.now)), "{policy}: {name}");
                }
            }
        }
        // All but those that are about connections, and of settings with tests of their own.
        let elsewhere = [
            TokenError::Missing,
            TokenError::RoleMissing,
            TokenError::IdentityChanged,
            TokenError::UserMissing,
            TokenError::ExpiryMissing,
        ];
        for error in TokenError::ALL.iter().filter(|error| !elsewhere.contains(error)) {
            assert!(labels.contains(error.label()), "no case has {error:?}");
        }
    }
}

/// Who a case expects, by a token that is checked at `now`.
fn identity(expected: &Value, now: u64) -> Identity {
    let name = |key: &str| expected[key].as_str().map(Box::from);
    let roles = expected["roles"].as_array().into_iter().flatten();
    Identity {
        user: name("user"),
        tenant: name("tenant"),
        roles: roles.map(|role| role.as_str().unwrap().into()).collect(),
        info: None,
        life: expected["exp"].as_u64().map(|ends_unix_s| Life::new(now, ends_unix_s)),
        token: None,
    }
}

#[test]
fn kept_tokens_are_judged_as_their_maker_says() {
    Made::read(&tests_path("tokens")).check();
}

#[test]
fn new_tokens_are_judged_as_their_maker_says() {
    let Some(python) = client_python() else { return left_out("tokens::new", "PyJWT") };
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new(python).arg(tests_path("tokens/make.py")).arg(folder.path()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Made::read(folder.path()).check();
}

/// Every change of one character of a good token makes it a bad one: nothing of a token is without meaning.
#[test]
fn no_changed_token_is_good() {
    let made = Made::read(&tests_path("tokens"));
    let policies = made.policies();
    let mut good = 0;
    for case in made.cases.iter().filter(|case| case["expect"].is_object()) {
        let policy = &policies[case["policy"].as_str().unwrap()];
        let token = case["token"].as_str().unwrap();
        good += 1;
        // All places of a cheap one; of the others, whose check takes longer, some.
        let step = if token.len() < 200 { 1 } else { 7 };
        for at in (good % step..token.len()).step_by(step) {
            for new in
                ['A', 'z', '_', '.', '=', '\0'].into_iter().filter(|new| !token[at..].starts_with(*new))
            {
                let changed = format!("{}{new}{}", &token[..at], &token[at + 1..]);
                assert!(policy.verify(&changed, made.now).is_err(), "{} at {at}: {changed}", case["name"]);
            }
            assert!(policy.verify(&token[..at], made.now).is_err());
        }
    }
    assert!(good > 20, "{good}");
}
