//! Who a client says it is when it connects: where its token stands in the request, and what comes of it.

use crate::api;
use crate::auth;
use crate::auth::token::{TOKEN_BYTES_MAX, TokenDesk, TokenError};
use crate::base::{Mutation, mutated};
use crate::config::{Auth, Endpoint};
use crate::model::Identity;
use hyper::header::{AUTHORIZATION, COOKIE, HeaderMap};
use std::borrow::Cow;
use std::sync::Arc;

/// Name of the parameter of the query and of the cookie.
const NAME: &str = "token";

/// Who comes in at `endpoint`; nobody known where that is allowed.
///
/// Where no keys are configured, nobody can be known, and an endpoint where this is optional does not look at tokens.
///
/// # Errors
/// Why this client may not come in.
pub(super) fn who(
    desk: &TokenDesk,
    endpoint: &Endpoint,
    query: Option<&str>,
    headers: &HeaderMap,
    now_unix_s: u64,
) -> Result<Option<Arc<Identity>>, TokenError> {
    match endpoint.auth {
        Auth::Off => return Ok(None),
        Auth::Optional if !desk.is_configured() => return Ok(None),
        Auth::Optional | Auth::Required => {}
    }
    let Some(token) = token(query, headers)? else {
        return if endpoint.auth == Auth::Required { Err(TokenError::Missing) } else { Ok(None) };
    };
    let identity = desk.verify(&token, now_unix_s)?;
    match &endpoint.role {
        Some(role) if !identity.has_role(role) && !mutated(Mutation::AnyRole) => Err(TokenError::RoleMissing),
        _ => Ok(Some(Arc::new(identity))),
    }
}

/// The token of a request: of the query, else of `Authorization: Bearer` (RFC 6750 section 2.1), else of a cookie, the
/// first that is not empty.
///
/// # Errors
/// The query or the header has several, or one that is no text: nobody knows which is meant.
fn token<'r>(query: Option<&'r str>, headers: &'r HeaderMap) -> Result<Option<Cow<'r, str>>, TokenError> {
    let of_query = of_query(query.unwrap_or_default())?;
    let of_header = match of_query {
        Some(_) => None,
        None => of_header(headers)?.map(Cow::Borrowed),
    };
    Ok(of_query.or(of_header).or_else(|| of_cookie(headers).map(Cow::Borrowed)))
}

fn of_query(query: &str) -> Result<Option<Cow<'_, str>>, TokenError> {
    let values = query.split('&').filter_map(|pair| pair.strip_prefix(NAME)?.strip_prefix('='));
    let mut values = values.filter(|value| !value.is_empty());
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(TokenError::Parts);
    }
    if !value.contains(['%', '+']) {
        return Ok(Some(Cow::Borrowed(value)));
    }
    // Three bytes can stand for one, so what is longer is too long in any case.
    if value.len() > 3 * TOKEN_BYTES_MAX {
        return Err(TokenError::TooLong);
    }
    let decoded = api::percent_decode(value, true, value.len(), NAME).map_err(|_| TokenError::Parts)?;
    Ok(Some(Cow::Owned(decoded)))
}

/// A header of another scheme is not meant for this: proxies that ask for a password leave theirs, say.
fn of_header(headers: &HeaderMap) -> Result<Option<&str>, TokenError> {
    let mut found = None;
    for value in headers.get_all(AUTHORIZATION) {
        let text = value.to_str().map_err(|_| TokenError::Parts)?;
        if let Some(token) = auth::bearer(text)
            && found.replace(token).is_some()
        {
            return Err(TokenError::Parts);
        }
    }
    Ok(found)
}

/// The first cookie of the name: the one with the longer path comes first (RFC 6265 section 5.4).
fn of_cookie(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let values = lines.flat_map(|line| line.split(';')).filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        (name.trim_ascii() == NAME).then(|| value.trim_ascii())
    });
    // A value may stand in quotes (section 4.1.1).
    let mut values = values
        .map(|value| value.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(value));
    values.find(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(query: Option<&str>, lines: &[(&'static str, &str)]) -> Result<Option<String>, TokenError> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        token(query, &headers).map(|token| token.map(Cow::into_owned))
    }

    #[test]
    fn a_token_stands_in_one_of_three_places() {
        let one = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(found(Some("a=b&token=t.t.t&c"), &[]), one("t.t.t"));
        assert_eq!(found(Some("token=t%2Et+%C3%A9"), &[]), one("t.t é"));
        assert_eq!(found(None, &[("authorization", "bearer  t.t.t ")]), one("t.t.t"));
        assert_eq!(found(None, &[("cookie", "a=b; token=t.t.t;c=d")]), one("t.t.t"));
        assert_eq!(found(None, &[("cookie", "a=b"), ("cookie", "token=\"t\"; token=u")]), one("t"));
        // The first place that has one counts.
        let lines = [("authorization", "Bearer h"), ("cookie", "token=c")];
        assert_eq!(found(Some("token=q"), &lines), one("q"));
        assert_eq!(found(Some("token="), &lines), one("h"));
        assert_eq!(found(Some("x=y"), &lines[1..]), one("c"));
    }

    #[test]
    fn other_things_are_no_tokens() {
        for query in ["", "tokens=a", "atoken=a", "Token=a", "token", "x=token=a"] {
            assert_eq!(found(Some(query), &[]), Ok(None), "{query}");
        }
        for header in ["Basic dXNlcjpw", "Bearer", "Bearer ", "BearerX t", "Token t", ""] {
            assert_eq!(found(None, &[("authorization", header)]), Ok(None), "{header}");
        }
        for cookie in ["", "token", "xtoken=a", "Token=a", "a=token=b", "token=", "token=\"\"", ";;="] {
            assert_eq!(found(None, &[("cookie", cookie)]), Ok(None), "{cookie}");
        }
    }

    #[test]
    fn two_tokens_in_one_place_are_refused() {
        assert_eq!(found(Some("token=a&token=b"), &[]), Err(TokenError::Parts));
        assert_eq!(found(Some("token=a%zz"), &[]), Err(TokenError::Parts));
        assert_eq!(found(Some("token=%ff"), &[]), Err(TokenError::Parts));
        let twice = [("authorization", "Bearer a"), ("authorization", "Bearer b")];
        assert_eq!(found(None, &twice), Err(TokenError::Parts));
    }
}
