//! Keys: what can be one, and what a policy does with them. Tokens as such are tested in tests/access/tokens.rs, with
//! those that others made.

use super::*;
use crate::config::Secret;

const PEM: &str = include_str!("../../../tests/tokens/public.pem");
const JWKS: &str = include_str!("../../../tests/tokens/jwks.json");

/// A key of 1024 bits.
const SMALL_RSA: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDTgrtXV6NLhvzCknJDGhro6TLu
Ga+5swm9ilu597n7DmdEI0CkSoX7hdq2l6jjAhRehNlZgtgvhobhlnGp9eHZ+qok
tmndsN1mqMThn9dr7mM5Z/D0hwTfjS1nSvP1VfiQEBp+kt/ecx50Sku8Q9UvYS8Y
lF74oppsfnqcwtBWWwIDAQAB
-----END PUBLIC KEY-----
";

fn with_pem(pem: &str) -> Result<TokenPolicy, KeyError> {
    let texts = KeyTexts { pem: Some(pem), jwks: None };
    TokenPolicy::new(&Tokens::default(), texts).map_err(|wrong| {
        assert_eq!(wrong.setting, "jwt_public_key_file");
        wrong.error
    })
}

fn with_jwks(jwks: &str) -> Result<TokenPolicy, KeyError> {
    let texts = KeyTexts { pem: None, jwks: Some(jwks) };
    TokenPolicy::new(&Tokens::default(), texts).map_err(|wrong| {
        assert_eq!(wrong.setting, "jwt_jwks_file");
        wrong.error
    })
}

#[test]
fn a_file_may_have_several_keys() {
    assert_eq!(with_pem(PEM).unwrap().fixed().len(), 3);
    let twice = format!("{PEM}\r\n{}", PEM.replace('\n', "\r\n"));
    assert_eq!(with_pem(&twice).unwrap().fixed().len(), 6);
}

#[test]
fn what_is_no_public_key_is_told() {
    assert_eq!(with_pem("").unwrap_err(), KeyError::NoPem);
    assert_eq!(with_pem("secret").unwrap_err(), KeyError::NoPem);
    assert_eq!(with_pem(SMALL_RSA).unwrap_err(), KeyError::RsaBits(1024));
    for label in ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY"] {
        let text = format!("{PEM}-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
        assert_eq!(with_pem(&text).unwrap_err(), KeyError::Private);
    }
    let certificate = PEM.replace("PUBLIC KEY", "CERTIFICATE");
    assert_eq!(with_pem(&certificate).unwrap_err(), KeyError::NotAKey("CERTIFICATE".into()));
    for wrong in [
        "-----BEGIN ",
        "-----BEGIN PUBLIC KEY-----",
        "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
        "-----BEGIN PUBLIC KEY-----\n????\n-----END PUBLIC KEY-----",
    ] {
        assert_eq!(with_pem(wrong).unwrap_err(), KeyError::Unreadable, "{wrong}");
    }
    let many = PEM.repeat(22);
    assert_eq!(with_pem(&many).unwrap_err(), KeyError::TooMany);
}

#[test]
fn keys_of_a_set_for_something_else_are_skipped() {
    let keys = with_jwks(JWKS).unwrap();
    assert_eq!((keys.fixed().len(), keys.fixed().skipped()), (3, 3));
    for wrong in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[]"#, "{\"keys\":[]}\0"] {
        assert_eq!(with_jwks(wrong).unwrap_err(), KeyError::NoSet, "{wrong}");
    }
    let many = format!(r#"{{"keys":[{}{{}}]}}"#, "{},".repeat(64));
    assert_eq!(with_jwks(&many).unwrap_err(), KeyError::TooMany);
    let short = "AQAB";
    for key in [
        "".to_owned(),
        "1".to_owned(),
        r#"{"kty":"RSA"}"#.to_owned(),
        format!(r#"{{"kty":"RSA","n":"{short}","e":"{short}"}}"#),
        format!(r#"{{"kty":"EC","crv":"P-256","x":"{short}","y":"{short}"}}"#),
        format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{short}"}}"#),
        r#"{"kty":"oct","k":""}"#.to_owned(),
        r#"{"kty":"oct","k":"AQAB","alg":"RS256"}"#.to_owned(),
        r#"{"kty":"oct","k":"AQAB","alg":"none"}"#.to_owned(),
        r#"{"kty":"oct","k":"AQAB","use":"enc"}"#.to_owned(),
        r#"{"kty":"oct","k":"AQAB","key_ops":["sign"]}"#.to_owned(),
    ] {
        let set = format!(r#"{{"keys":[{key}]}}"#);
        assert_eq!(with_jwks(&set).unwrap_err(), KeyError::NoneUsable, "{key}");
    }
}

#[test]
fn a_secret_in_a_set_is_for_files() {
    let set = r#"{"keys":[{"kty":"oct","k":"AQAB","alg":"HS512"}]}"#;
    let policy = with_jwks(set).unwrap();
    assert_eq!(policy.fixed().len(), 1);
    assert_eq!(policy.read_fetched(set).unwrap_err(), KeyError::NoneUsable);
}

#[test]
fn allowed_algorithms_narrow_the_keys() {
    let only =
        |algorithm| Tokens { algorithms: vec![algorithm], secret: Secret::new("s"), ..Tokens::default() };
    let wrong = TokenPolicy::new(&only(TokenAlgorithm::Es256), KeyTexts::default()).unwrap_err();
    assert_eq!(wrong.to_string(), "jwt_secret: jwt_algorithms has none for the key");
    let policy = TokenPolicy::new(&only(TokenAlgorithm::Hs512), KeyTexts::default()).unwrap();
    assert_eq!(policy.fixed().keys[0].algorithms[..], [TokenAlgorithm::Hs512]);
    assert_eq!(policy.read_fetched(JWKS).unwrap_err(), KeyError::NotAllowed("set"));
}

#[test]
fn fetched_keys_replace_those_before_and_outlive_a_change_of_the_rest() {
    let policy = TokenPolicy::new(&Tokens::default(), KeyTexts::default()).unwrap();
    let keys = policy.read_fetched(JWKS).unwrap();
    let policy = policy.with_fetched(keys);
    assert_eq!((policy.fixed().len(), policy.fetched().len()), (0, 3));
    let narrow = Tokens { algorithms: vec![TokenAlgorithm::EdDsa], ..Tokens::default() };
    let changed = TokenPolicy::new(&narrow, KeyTexts::default()).unwrap().with_fetched_of(&policy);
    assert_eq!(changed.fetched().len(), 1);
    assert!(policy.with_fetched(KeySet::default()).fetched().is_empty());
}

#[test]
fn no_key_is_shown() {
    let tokens = Tokens { secret: Secret::new("topsecret"), ..Tokens::default() };
    let shown = format!("{:?}", TokenPolicy::new(&tokens, KeyTexts::default()).unwrap());
    assert!(!shown.contains("topsecret") && !shown.contains("116, 111, 112"), "{shown}");
}
