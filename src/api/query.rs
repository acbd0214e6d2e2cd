//! Queries, and percent-encoding. Two libraries decode; here is what they pass on and is refused.

use super::{ApiError, Param};
use std::borrow::Cow;
use std::str::FromStr;

/// Undoes percent-encoding (RFC 3986 section 2.1) of at most `bytes_max` decoded bytes of UTF-8. `what` names the value in
/// the refusal.
///
/// # Errors
/// A 400: a `%` that encodes nothing, too many bytes, or bytes that are not UTF-8.
pub fn percent_decode(text: &str, bytes_max: usize, what: &str) -> Result<String, ApiError> {
    check_encoding(text, what)?;
    let decoded: Vec<u8> = percent_encoding::percent_decode_str(text).take(bytes_max + 1).collect();
    if decoded.len() > bytes_max {
        return Err(ApiError::bad_request(format!("{what} is longer than {bytes_max} bytes")));
    }
    String::from_utf8(decoded).map_err(|_| ApiError::bad_request(format!("{what} is not UTF-8")))
}

/// The libraries pass on a `%` that encodes nothing.
fn check_encoding(text: &str, what: &str) -> Result<(), ApiError> {
    let is_encoded =
        |after: &str| after.as_bytes().get(..2).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
    if text.split('%').skip(1).all(is_encoded) {
        return Ok(());
    }
    Err(ApiError::bad_request(format!("{what} has a % without two hex digits")))
}

/// Parameters of a query in the form encoding of the URL standard, each known and given at most once.
#[derive(Debug, Default)]
pub(super) struct Params<'r> {
    known: &'static [Param],
    given: Vec<(Cow<'r, str>, Cow<'r, str>)>,
}

impl<'r> Params<'r> {
    /// Splits and decodes `query`; refuses a name that is not among the `known` ones, or is given twice.
    pub(super) fn parse(query: Option<&'r str>, known: &'static [Param]) -> Result<Self, ApiError> {
        let query = query.unwrap_or("");
        check_encoding(query, "the query")?;
        // The library would replace these bytes.
        if percent_encoding::percent_decode_str(query).decode_utf8().is_err() {
            return Err(ApiError::bad_request("the query is not UTF-8"));
        }
        let mut given: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if !known.iter().any(|known| known.name == name) {
                let known: Vec<&str> = known.iter().map(|known| known.name).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                let text = format!("unknown parameter {name:.40?} (known here: {known})");
                return Err(ApiError::bad_request(text));
            }
            if given.iter().any(|(other, _)| *other == name) {
                return Err(ApiError::bad_request(format!("parameter {name} is given twice")));
            }
            given.push((name, value));
        }
        Ok(Self { known, given })
    }

    /// The text of a parameter, at most `bytes_max` bytes, without control characters.
    pub(super) fn text(&self, name: &str, bytes_max: usize) -> Result<Option<String>, ApiError> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        if raw.len() > bytes_max {
            return Err(ApiError::bad_request(format!("{name} is longer than {bytes_max} bytes")));
        }
        if raw.chars().any(char::is_control) {
            return Err(ApiError::bad_request(format!("{name} contains a control character")));
        }
        Ok(Some(raw.to_owned()))
    }

    /// A number from 1 to `max`, or `default` where it is not given.
    pub(super) fn limit(&self, name: &str, default: u32, max: u32) -> Result<u32, ApiError> {
        let Some(raw) = self.raw(name) else { return Ok(default) };
        let number = digits(raw).filter(|number| (1..=max).contains(number));
        number.ok_or_else(|| ApiError::bad_request(format!("{name} must be a number from 1 to {max}")))
    }

    /// A number, if it is given.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        let number = digits(raw);
        number.map(Some).ok_or_else(|| ApiError::bad_request(format!("{name} must be a number from 0 on")))
    }

    fn raw(&self, name: &str) -> Option<&str> {
        debug_assert!(self.known.iter().any(|known| known.name == name), "the table has no {name} here");
        self.given.iter().find(|(given, _)| *given == name).map(|(_, value)| &**value)
    }
}

/// A number of digits alone: `parse` would take a leading plus.
fn digits<T: FromStr>(raw: &str) -> Option<T> {
    raw.bytes().all(|byte| byte.is_ascii_digit()).then(|| raw.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: Param = Param { name: "prefix", component: "" };
    const LIMIT: Param = Param { name: "limit", component: "" };
    const OFFSET: Param = Param { name: "offset", component: "" };

    #[test]
    fn percent_encoding_is_undone() {
        let decode = |text| percent_decode(text, 8, "it");
        assert_eq!(decode("a%2Fb%2fc").unwrap(), "a/b/c");
        assert_eq!(decode("%C3%A9+").unwrap(), "é+");
        assert_eq!(decode("%31%32345678").unwrap(), "12345678");
        for bad in
            ["%", "%2", "%zz", "%2g", "%+1", "%C3", "%ff", "%C0%AF", "%ED%A0%80", "123456789", "12345678%"]
        {
            assert_eq!(decode(bad).unwrap_err().status, 400, "{bad}");
        }
    }

    #[test]
    fn parameters_are_known_and_single() {
        let params = Params::parse(Some("limit=5&&prefix=a+b"), &[PREFIX, LIMIT]).unwrap();
        assert_eq!(params.limit("limit", 9, 10).unwrap(), 5);
        assert_eq!(params.text("prefix", 255).unwrap().as_deref(), Some("a b"));
        let encoded = Params::parse(Some("prefi%78=%C3%A9+%2B%3D=&limit=%35"), &[PREFIX, LIMIT]).unwrap();
        assert_eq!(encoded.limit("limit", 9, 10).unwrap(), 5);
        assert_eq!(encoded.text("prefix", 7).unwrap().as_deref(), Some("é +=="));
        assert_eq!(encoded.text("prefix", 5).unwrap_err().status, 400, "six bytes");
        for query in ["limit=%", "limit=%3", "limit=%zz", "%=1", "prefix=%ff", "prefix=%C3&limit=%A9", "%ff"]
        {
            let error = Params::parse(Some(query), &[PREFIX, LIMIT]).unwrap_err();
            assert!(error.status == 400 && error.text.contains("the query"), "{query}: {error}");
        }
        let none = Params::parse(None, &[LIMIT]).unwrap();
        assert_eq!(none.limit("limit", 9, 10).unwrap(), 9);
        for (query, word) in
            [("limits=5", "limits"), ("limit=1&limit=2", "twice"), ("\"\n=1", "unknown"), ("=1", "unknown")]
        {
            let error = Params::parse(Some(query), &[LIMIT]).err().unwrap();
            assert!(error.status == 400 && error.text.contains(word), "{error}");
        }
        for value in ["", "0", "11", "-1", "+1", "1.0", "99999999999", "a", "%2B1", "%20"] {
            let query = format!("limit={value}");
            let params = Params::parse(Some(&query), &[LIMIT]).unwrap();
            assert_eq!(params.limit("limit", 9, 10).unwrap_err().status, 400, "{value}");
        }
        let params = Params::parse(Some("offset=0"), &[OFFSET, LIMIT]).unwrap();
        assert_eq!(params.number("offset").unwrap(), Some(0));
        assert_eq!(params.number("limit").unwrap(), None);
        for value in ["", "-1", "+1", "1.0", "18446744073709551616", "a"] {
            let query = format!("offset={value}");
            let params = Params::parse(Some(&query), &[OFFSET]).unwrap();
            assert_eq!(params.number("offset").unwrap_err().status, 400, "{value}");
        }
        let params = Params::parse(Some("prefix=%00"), &[PREFIX]).unwrap();
        assert_eq!(params.text("prefix", 255).unwrap_err().status, 400);
    }
}
