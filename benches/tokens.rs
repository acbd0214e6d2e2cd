//! What a token costs at connect, as a ratio to the signature library's own check of the same token in the same run.
//!
//! ```text
//! cargo bench --bench tokens
//! ```
//!
//! `check` is `TokenPolicy::verify`; `decode` is `jsonwebtoken::decode` into a struct of the three claims, which is
//! what a program would call without this one; `signature` is `jsonwebtoken::crypto::verify`, which reads neither
//! header nor claims. Each is the least of many short rounds, taken in turn. Fails where a check takes more than
//! [`RATIO_MAX`] of `decode`.

use fanwire::auth::token::{KeyTexts, TokenPolicy};
use fanwire::config::{Secret, Tokens};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, crypto, decode};
use serde::Deserialize;
use serde_json::Value;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

/// The most a check may take of the library's own.
const RATIO_MAX: f64 = 1.3;

const ROUNDS: usize = 200;
const PER_ROUND: u32 = 50;

const PEM: &str = include_str!("../tests/tokens/public.pem");
const JWKS: &str = include_str!("../tests/tokens/jwks.json");

#[derive(Deserialize)]
#[expect(dead_code, non_snake_case, reason = "read and thrown away")]
struct Claims {
    userId: String,
    tenantId: String,
    roles: Vec<String>,
    exp: u64,
}

fn main() -> ExitCode {
    let made: Value = serde_json::from_str(include_str!("../tests/tokens/tokens.json")).expect("JSON");
    let (now, secret) = (made["now"].as_u64().expect("a time"), made["secret"].as_str().expect("a secret"));
    let tokens = Tokens { secret: Secret::new(secret), ..Tokens::default() };
    let texts = KeyTexts { pem: None, jwks: Some(JWKS) };
    let policy = TokenPolicy::new(&tokens, texts).expect("good keys");
    let token_of = |name: &str| {
        let cases = made["cases"].as_array().expect("cases");
        let case = cases.iter().find(|case| case["name"] == name).expect("make.py has it");
        case["token"].as_str().expect("text")
    };
    let cases = [
        (Algorithm::HS256, token_of("HS256"), DecodingKey::from_secret(secret.as_bytes())),
        (Algorithm::RS256, token_of("RS256 by JWKS"), pem_key("RS256", DecodingKey::from_rsa_pem)),
        (Algorithm::ES256, token_of("ES256 by JWKS"), pem_key("ES256", DecodingKey::from_ec_pem)),
        (Algorithm::EdDSA, token_of("EdDSA by JWKS"), pem_key("EdDSA", DecodingKey::from_ed_pem)),
    ];
    println!(
        "{:<8} {:>10} {:>10} {:>12} {:>14}",
        "", "check, us", "to decode", "to signature", "bytes of token"
    );
    let mut over = 0;
    for (algorithm, token, key) in cases {
        // The kept tokens end some day; the library asks the clock.
        let mut validation = Validation::new(algorithm);
        validation.validate_exp = false;
        let (message, signature) = token.rsplit_once('.').expect("three parts");
        let [check, decode, signature] = least([
            &mut || drop(black_box(policy.verify(black_box(token), now).expect("a good token"))),
            &mut || drop(black_box(decode::<Claims>(black_box(token), &key, &validation).expect("good"))),
            &mut || {
                let message = black_box(message).as_bytes();
                assert!(crypto::verify(signature, message, &key, algorithm).expect("a good key"));
            },
        ]);
        let name = format!("{algorithm:?}");
        over += u32::from(check / decode > RATIO_MAX);
        let (to_decode, to_signature) = (check / decode, check / signature);
        println!("{name:<8} {check:>10.2} {to_decode:>10.2} {to_signature:>12.2} {:>14}", token.len());
    }
    if over > 0 {
        println!("{over} over {RATIO_MAX} of the library's own check");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// The key under that name in the kept file.
fn pem_key(name: &str, read: fn(&[u8]) -> jsonwebtoken::errors::Result<DecodingKey>) -> DecodingKey {
    let (_, rest) = PEM.split_once(&format!("{name}\n")).expect("make.py has it");
    let (block, _) = rest.split_once("-----END").expect("an end");
    read(format!("{block}-----END PUBLIC KEY-----\n").as_bytes()).expect("a good key")
}

/// The least time of each, in microseconds: what disturbs only ever adds.
fn least(mut works: [&mut dyn FnMut(); 3]) -> [f64; 3] {
    let mut least = [f64::INFINITY; 3];
    for _ in 0..ROUNDS {
        for (work, least) in works.iter_mut().zip(&mut least) {
            let start = Instant::now();
            (0..PER_ROUND).for_each(|_| work());
            *least = least.min(start.elapsed().as_secs_f64() * 1e6 / f64::from(PER_ROUND));
        }
    }
    least
}
