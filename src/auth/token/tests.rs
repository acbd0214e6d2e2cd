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
    assert_eq!(with_pem(PEM).unwrap().fixed().len(), 4);
    let twice = format!("{PEM}\r\n{}", PEM.replace('\n', "\r\n"));
    assert_eq!(with_pem(&twice).unwrap().fixed().len(), 8);
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
    assert_eq!((keys.fixed().len(), keys.fixed().skipped()), (5, 3));
    assert_eq!(keys.fixed().faults(), [], "other purposes and kinds are nothing to tell of");
    for wrong in [
        "",
        "[]",
        "{}",
        r#"[[{"kty":"RSA"}],null]"#,
        r#"{"keys":null}"#,
        r#"{"keys":{}}"#,
        r#"{"keys":[]"#,
        "{\"keys\":[]}\0",
    ] {
        assert_eq!(with_jwks(wrong).unwrap_err(), KeyError::NoSet, "{wrong}");
    }
    let one = r#"{"kty":"oct","k":"AQAB"}"#;
    let many = |foreign: usize, ours: usize| {
        format!(r#"{{"keys":[{}{}{one}]}}"#, "{},".repeat(foreign), format!("{one},").repeat(ours))
    };
    assert_eq!(with_jwks(&many(100, 64)).unwrap_err(), KeyError::TooMany);
    let kept = with_jwks(&many(100, 63)).unwrap();
    assert_eq!((kept.fixed().len(), kept.fixed().skipped(), kept.fixed().faults().len()), (64, 100, 8));
    let (short, long) = ("AQAB", "A".repeat(10_000));
    for (key, why) in [
        ("1".to_owned(), "key number 1: it is not a JSON Web Key"),
        (r#"["RSA"]"#.to_owned(), "key number 1: it is not a JSON Web Key"),
        (r#"{"kty":"RSA","kid":"a"}"#.to_owned(), r#"key "a": `n` is missing"#),
        (r#"{"kty":"RSA","kid":"a\nb","n":"é"}"#.to_owned(), r#"key "a\nb": `n` is not base64url"#),
        (format!(r#"{{"kty":"RSA","n":"{short}","e":"{short}"}}"#), "an RSA key has 17 bits"),
        (format!(r#"{{"kty":"RSA","n":"{long}","e":"{short}"}}"#), "an RSA key has 0 bits"),
        (
            format!(r#"{{"kty":"EC","crv":"P-256","x":"{short}{long}","y":"{short}"}}"#),
            "`x` must have 32 bytes",
        ),
        (r#"{"kty":"EC","crv":"P-384","x":"AQAB"}"#.to_owned(), "`y` is missing"),
        (format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{short}"}}"#), "`x` must have 32 bytes"),
        (r#"{"kty":"oct","k":""}"#.to_owned(), "`k` is empty"),
        (r#"{"kty":"oct","k":"AQAB","alg":"RS256"}"#.to_owned(), "`alg` is not of the key's kind"),
        (r#"{"kty":"oct","k":"AQAB","alg":"none"}"#.to_owned(), ""),
        (r#"{"kty":"oct","k":"AQAB","use":"enc"}"#.to_owned(), ""),
        (r#"{"kty":"oct","k":"AQAB","key_ops":["sign"]}"#.to_owned(), ""),
        (r#"{"kty":"EC","crv":"P-521","x":"AQAB","y":"AQAB"}"#.to_owned(), ""),
    ] {
        let set = format!(r#"{{"keys":[{key}]}}"#);
        let error = with_jwks(&set).unwrap_err();
        let KeyError::NoneUsable(FirstFault(fault)) = &error else { panic!("{key:.80}: {error}") };
        assert_eq!(fault.is_none(), why.is_empty(), "{key:.80}: {error}");
        assert!(error.to_string().contains(why), "{key:.80}: {error}");
    }
}

#[test]
fn harmless_oddities_of_a_set_are_taken() {
    let one = r#"{"kty":"oct","k":"c2VjcmV0","alg":"HS256"}"#;
    for set in [
        one.to_owned(),
        format!("\u{feff}{{\"keys\":[{one}]}}"),
        r#" {"keys":[{"kty":"oct","k":"c2VjcmV0cw==","kid":null}],"more":1} "#.to_owned(),
    ] {
        assert_eq!(with_jwks(&set).unwrap().fixed().len(), 1, "{set}");
    }
}

#[test]
fn a_secret_in_a_set_is_for_files() {
    let set = r#"{"keys":[{"kty":"oct","k":"AQAB","alg":"HS512"}]}"#;
    let policy = with_jwks(set).unwrap();
    assert_eq!(policy.fixed().len(), 1);
    assert_eq!(policy.read_fetched(set).unwrap_err(), KeyError::NoneUsable(FirstFault(None)));
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
    assert_eq!((policy.fixed().len(), policy.fetched().len()), (0, 5));
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
