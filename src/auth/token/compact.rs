use super::error::TokenError;
use crate::base::is_json_object;
use crate::config::TokenAlgorithm;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;

/// Bytes of a token: beyond this it is not looked at. What is decoded of it is three quarters of that, so the memory
/// that a token costs has this bound too.
pub const TOKEN_BYTES_MAX: usize = 8192;

/// The three parts of a token in compact form (RFC 7515 section 7.1), still encoded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Compact<'t> {
    header: &'t str,
    claims: &'t str,
    signature: &'t str,
    /// What is signed: header, dot, and claims.
    pub message: &'t [u8],
}

impl<'t> Compact<'t> {
    pub fn split(token: &'t str) -> Result<Self, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Parts)?;
        let (header, claims) = message.split_once('.').ok_or(TokenError::Parts)?;
        if claims.contains('.') || header.is_empty() || claims.is_empty() {
            return Err(TokenError::Parts);
        }
        Ok(Self { header, claims, signature, message: message.as_bytes() })
    }

    pub fn header(&self) -> Result<String, TokenError> {
        String::from_utf8(decode(self.header)?).map_err(|_| TokenError::Header)
    }

    pub fn claims(&self) -> Result<String, TokenError> {
        String::from_utf8(decode(self.claims)?).map_err(|_| TokenError::Claims)
    }

    pub fn signature(&self) -> Result<Vec<u8>, TokenError> {
        decode(self.signature)
    }
}

/// Exactly one text decodes to given bytes: padding, blanks and loose bits at the end are refused, so that a token
/// cannot be changed without its bytes changing.
fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Base64)
}

/// What a token's header says (RFC 7515 section 4) as far as it matters. Keys that it brings along or points to
/// (`jwk`, `jku`, `x5c`, `x5u`) do not: only the configuration says which keys are believed.
#[derive(Debug)]
pub(super) struct Header<'h> {
    pub algorithm: TokenAlgorithm,
    pub kid: Option<Cow<'h, str>>,
}

/// A header as it is written. A field that is there twice is an error.
#[derive(Deserialize)]
struct Written<'h> {
    #[serde(borrow)]
    alg: Cow<'h, str>,
    /// Null is as good as missing: libraries write it where no `kid` was given.
    #[serde(default, borrow, deserialize_with = "text")]
    kid: Option<Cow<'h, str>>,
    #[serde(default, deserialize_with = "is_there")]
    crit: bool,
    /// RFC 7797: the payload is not encoded. It must be listed in `crit`, which some who issue tokens forget.
    #[serde(default, deserialize_with = "is_there")]
    b64: bool,
}

/// Whatever the value is.
fn is_there<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(from).map(|_| true)
}

/// Text, borrowed where it has no escapes, or null.
fn text<'de: 'h, 'h, D: Deserializer<'de>>(from: D) -> Result<Option<Cow<'h, str>>, D::Error> {
    #[derive(Deserialize)]
    struct Text<'h>(#[serde(borrow)] Cow<'h, str>);
    Ok(Option::<Text<'h>>::deserialize(from)?.map(|Text(text)| text))
}

impl<'h> Header<'h> {
    pub fn read(json: &'h str) -> Result<Self, TokenError> {
        // A struct is read from an array too.
        if !is_json_object(json.as_bytes()) {
            return Err(TokenError::Header);
        }
        let header: Written<'h> = serde_json::from_str(json).map_err(|_| TokenError::Header)?;
        if header.crit || header.b64 {
            return Err(TokenError::Critical);
        }
        let unknown = if header.alg.eq_ignore_ascii_case("none") {
            TokenError::Unsigned
        } else {
            TokenError::AlgorithmUnknown
        };
        let algorithm = TokenAlgorithm::from_name(&header.alg).ok_or(unknown)?;
        Ok(Self { algorithm, kid: header.kid })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_three_parts() {
        let parts = Compact::split("aa.bb.cc").unwrap();
        assert_eq!((parts.header, parts.claims, parts.signature), ("aa", "bb", "cc"));
        assert_eq!(parts.message, b"aa.bb");
        for token in ["", ".", "..", "aa", "aa.bb", ".bb.cc", "aa..cc", "aa.bb.cc.dd", "aa.bb.cc.dd.ee"] {
            assert_eq!(Compact::split(token).unwrap_err(), TokenError::Parts, "{token}");
        }
        let longest = format!("aa.bb.{}", "c".repeat(TOKEN_BYTES_MAX - 6));
        assert!(Compact::split(&longest).is_ok());
        assert_eq!(Compact::split(&(longest + "c")).unwrap_err(), TokenError::TooLong);
    }

    #[test]
    fn bytes_have_one_spelling() {
        assert_eq!(decode("YWI").unwrap(), b"ab");
        for part in ["YWI=", "YWJ", "YW I", "YWI\n", "YW+/", "Y", "YWIé"] {
            assert_eq!(decode(part), Err(TokenError::Base64), "{part:?}");
        }
    }

    #[test]
    fn headers_are_read_strictly() {
        let header = Header::read(r#"{"typ":"JWT","alg":"ES256","kid":"a\u0062","x":[1]}"#).unwrap();
        assert_eq!((header.algorithm, header.kid.as_deref()), (TokenAlgorithm::Es256, Some("ab")));
        assert_eq!(Header::read(r#"{"alg":"HS256","kid":null}"#).unwrap().kid, None);
        assert_eq!(Header::read(r#"{"alg":"Ed25519"}"#).unwrap().algorithm, TokenAlgorithm::EdDsa);
        let refused = |json: &str| Header::read(json).unwrap_err();
        for json in [
            "",
            "{",
            "null",
            "[]",
            "{}",
            r#"{"alg":null}"#,
            r#"{"alg":1}"#,
            r#"{"alg":["HS256"]}"#,
            r#"{"alg":"HS256"} x"#,
            r#"{"alg":"HS256","kid":1}"#,
            r#"["HS256"]"#,
            r#"["HS256",null,false,false]"#,
            r#"{"alg":"none","alg":"HS256"}"#,
            r#"{"alg":"HS256","kid":"a","kid":"b"}"#,
        ] {
            assert_eq!(refused(json), TokenError::Header, "{json}");
        }
        for crit in ["[]", r#"["exp"]"#, "null", "1", "{}"] {
            let json = format!(r#"{{"alg":"HS256","crit":{crit}}}"#);
            assert_eq!(refused(&json), TokenError::Critical, "{json}");
        }
        assert_eq!(refused(r#"{"alg":"HS256","b64":false}"#), TokenError::Critical);
        for none in ["none", "None", "NONE", "nOnE"] {
            assert_eq!(refused(&format!(r#"{{"alg":"{none}"}}"#)), TokenError::Unsigned);
        }
        for unknown in ["", "hs256", "HS256 ", "ES512", "ES256K", "Ed448", "none\u{200b}", "dir"] {
            assert_eq!(refused(&format!(r#"{{"alg":"{unknown}"}}"#)), TokenError::AlgorithmUnknown);
        }
    }
}
