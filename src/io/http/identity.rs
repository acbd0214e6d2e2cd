//! Who a client says it is when it connects: where its token stands in the request, and what comes of it.

use crate::auth;
use crate::auth::token::{TOKEN_BYTES_MAX, TokenDesk, TokenError, of_tenant};
use crate::base::{Mutation, mutated};
use crate::config::{Auth, Endpoint, Tokens};
use crate::model::Identity;
use hyper::header::{AUTHORIZATION, COOKIE, HeaderMap};
use std::borrow::Cow;
use std::sync::Arc;

/// Cookies of one request that are looked at: each may cost some checks of a signature.
const COOKIES_MAX: usize = 2;

/// Where a request may say who it is from.
pub(super) struct Brought<'r> {
    /// The query of its target.
    pub query: &'r str,
    pub headers: &'r HeaderMap,
    /// Tokens among the subprotocols that it offers.
    pub offered: &'r [String],
    /// The names of the parameter and the cookie.
    pub names: &'r Tokens,
    /// Whether the backend may say who comes without a token.
    pub backend_names: bool,
}

/// Who comes in at `endpoint`; nobody known where that is allowed.
///
/// Where no keys are configured, nobody can be known, and an endpoint where this is optional does not look at tokens.
///
/// # Errors
/// Why this client may not come in.
pub(super) fn who(
    desk: &TokenDesk,
    endpoint: &Endpoint,
    brought: &Brought<'_>,
    now_unix_s: u64,
) -> Result<Option<Arc<Identity>>, TokenError> {
    match endpoint.auth {
        Auth::Off => return Ok(None),
        Auth::Optional if !desk.is_configured() => return Ok(None),
        Auth::Optional | Auth::Required => {}
    }
    let identity = match token(brought)? {
        Some(token) => Ok(desk.verify(&token, now_unix_s)?),
        None => of_cookies(desk, brought, now_unix_s)?,
    };
    let identity = match identity {
        Ok(identity) => identity,
        Err(_) if endpoint.auth == Auth::Optional => return Ok(None),
        // A cookie of another program says nothing, and so is no obstacle.
        Err(_) if brought.backend_names => return Err(TokenError::Missing),
        Err(error) => return Err(error),
    };
    if endpoint.is_of_tenants() {
        of_tenant(&identity)?;
    }
    match &endpoint.role {
        Some(role) if !identity.has_role(role) && !mutated(Mutation::AnyRole) => Err(TokenError::RoleMissing),
        _ => Ok(Some(Arc::new(identity))),
    }
}

/// The token of a request that was put there for this server: that of the query, else of `Authorization: Bearer`
/// (RFC 6750 section 2.1), else of a subprotocol, the first that is not empty.
///
/// # Errors
/// One of these places has several, or one that is no text: nobody knows which is meant.
fn token<'r>(brought: &Brought<'r>) -> Result<Option<Cow<'r, str>>, TokenError> {
    if let Some(token) = of_query(brought.query, &brought.names.query_parameters)? {
        return Ok(Some(token));
    }
    if let Some(token) = of_header(brought.headers)? {
        return Ok(Some(Cow::Borrowed(token)));
    }
    match brought.offered {
        [] => Ok(None),
        [token] => Ok(Some(Cow::Borrowed(token))),
        _ => Err(TokenError::Parts),
    }
}

/// Who a cookie says it is: the first that is not foreign. A browser sends the cookies of all programs of a domain, so
/// one of another program may have the name; its error is inside where there is no better one, or that none is there.
///
/// # Errors
/// A token of ours that is bad.
fn of_cookies(
    desk: &TokenDesk,
    brought: &Brought<'_>,
    now_unix_s: u64,
) -> Result<Result<Identity, TokenError>, TokenError> {
    let mut foreign = TokenError::Missing;
    for value in cookies(brought.headers, &brought.names.cookies).take(COOKIES_MAX) {
        match desk.verify(value, now_unix_s) {
            Ok(identity) => return Ok(Ok(identity)),
            Err(error) if !desk.policy().is_foreign(value, error) => return Err(error),
            Err(error) if foreign == TokenError::Missing => foreign = error,
            Err(_) => {}
        }
    }
    Ok(Err(foreign))
}

fn of_query<'r>(query: &'r str, names: &[String]) -> Result<Option<Cow<'r, str>>, TokenError> {
    let pairs = form_urlencoded::parse(query.as_bytes());
    let named = |name: &str| names.iter().any(|known| known == name);
    let mut values = pairs.filter(|(name, value)| named(name) && !value.is_empty()).map(|(_, value)| value);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(TokenError::Parts);
    }
    if value.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::TooLong);
    }
    // The library passes on a `%` that encodes nothing, and replaces bytes that are not UTF-8. No token has either.
    if value.contains(['%', char::REPLACEMENT_CHARACTER]) {
        return Err(TokenError::Parts);
    }
    Ok(Some(value))
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

/// The cookies of these names that are not empty, in the order of the request: the one with the longer path comes first
/// (RFC 6265 section 5.4).
fn cookies<'r>(headers: &'r HeaderMap, names: &[String]) -> impl Iterator<Item = &'r str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let values = lines.flat_map(|line| line.split(';')).filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        names.iter().any(|known| known == name.trim_ascii()).then(|| value.trim_ascii())
    });
    // A value may stand in quotes (section 4.1.1).
    let values = values
        .map(|value| value.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(value));
    values.filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::token::{KeyTexts, TokenPolicy};
    use crate::config::Secret;

    /// What a request with these lines brings, by the names of `tokens`.
    fn with<T>(
        query: &str,
        lines: &[(&'static str, &str)],
        offered: &[&str],
        tokens: &Tokens,
        then: impl Fn(&Brought<'_>) -> T,
    ) -> T {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        let offered: Vec<_> = offered.iter().map(ToString::to_string).collect();
        then(&Brought { query, headers: &headers, offered: &offered, names: tokens, backend_names: false })
    }

    /// The token of a request, or its first cookie.
    fn found(
        query: &str,
        lines: &[(&'static str, &str)],
        offered: &[&str],
    ) -> Result<Option<String>, TokenError> {
        with(query, lines, offered, &Tokens::default(), |brought| {
            let cookie = cookies(brought.headers, &brought.names.cookies).next().map(Cow::Borrowed);
            Ok(token(brought)?.or(cookie).map(Cow::into_owned))
        })
    }

    #[test]
    fn a_token_stands_in_one_of_four_places() {
        let one = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(found("a=b&token=t.t.t&c", &[], &[]), one("t.t.t"));
        assert_eq!(found("token=t%2Et+%C3%A9", &[], &[]), one("t.t é"));
        assert_eq!(found("", &[("authorization", "bearer  t.t.t ")], &[]), one("t.t.t"));
        assert_eq!(found("", &[], &["t.t.t"]), one("t.t.t"));
        assert_eq!(found("", &[("cookie", "a=b; token=t.t.t;c=d")], &[]), one("t.t.t"));
        assert_eq!(found("", &[("cookie", "a=b"), ("cookie", "token=\"t\"; token=u")], &[]), one("t"));
        // The first place that has one counts.
        let lines = [("authorization", "Bearer h"), ("cookie", "token=c")];
        assert_eq!(found("token=q", &lines, &["p"]), one("q"));
        assert_eq!(found("token=", &lines, &["p"]), one("h"));
        assert_eq!(found("x=y", &lines[1..], &["p"]), one("p"));
        assert_eq!(found("x=y", &lines[1..], &[]), one("c"));
    }

    #[test]
    fn other_things_are_no_tokens() {
        for query in ["", "tokens=a", "atoken=a", "Token=a", "token", "x=token=a"] {
            assert_eq!(found(query, &[], &[]), Ok(None), "{query}");
        }
        for header in ["Basic dXNlcjpw", "Bearer", "Bearer ", "BearerX t", "Token t", ""] {
            assert_eq!(found("", &[("authorization", header)], &[]), Ok(None), "{header}");
        }
        for cookie in ["", "token", "xtoken=a", "Token=a", "a=token=b", "token=", "token=\"\"", ";;="] {
            assert_eq!(found("", &[("cookie", cookie)], &[]), Ok(None), "{cookie}");
        }
    }

    #[test]
    fn two_tokens_in_one_place_are_refused() {
        assert_eq!(found("token=a&token=b", &[], &[]), Err(TokenError::Parts));
        assert_eq!(found("token=a%zz", &[], &[]), Err(TokenError::Parts));
        assert_eq!(found("token=%ff", &[], &[]), Err(TokenError::Parts));
        assert_eq!(found("", &[], &["a", "b"]), Err(TokenError::Parts));
        let twice = [("authorization", "Bearer a"), ("authorization", "Bearer b")];
        assert_eq!(found("", &twice, &[]), Err(TokenError::Parts));
    }

    #[test]
    fn names_are_as_configured() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let tokens = Tokens {
            query_parameters: names(&["access_token", "jwt"]),
            cookies: names(&["__Host-jwt"]),
            ..Tokens::default()
        };
        let query = |query| with(query, &[], &[], &tokens, |b| token(b).map(|t| t.map(Cow::into_owned)));
        assert_eq!(query("token=a"), Ok(None));
        assert_eq!(query("token=a&jwt=b"), Ok(Some("b".to_owned())));
        assert_eq!(query("access_token=a&jwt=b"), Err(TokenError::Parts));
        let cookie = [("cookie", "token=a; __Host-jwt=b")];
        let of: Vec<String> = with("", &cookie, &[], &tokens, |b| {
            cookies(b.headers, &b.names.cookies).map(str::to_owned).collect()
        });
        assert_eq!(of, ["b"]);
    }

    #[test]
    fn a_cookie_of_another_program_is_no_bad_token() {
        // Signed by Python: by this secret and issuer, by others, and by ours but long over.
        const OURS: &str =
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1IiwiaXNzIjoidXMifQ.1sIojt6s-rWrcrUhyT82afbQX6QpkErQbZiCRLBkVL8";
        const THEIRS: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1IiwiaXNzIjoidGhlbSJ9.1v920q_Eupiw_GPKCrKMBi0w7Ww6yqZqZ5iaIAU8BIE";
        const EXPIRED: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1IiwiaXNzIjoidXMiLCJleHAiOjF9.pl0I4dM9Y4nftvSlU9FDXSwquHG3g6WPw697BKM9AaU";
        let policy = |issuer: &[&str]| {
            let issuer = issuer.iter().map(ToString::to_string).collect();
            let tokens = Tokens {
                secret: Secret::new("a secret of 32 bytes for a cookie"),
                issuer,
                ..Tokens::default()
            };
            TokenDesk::new(TokenPolicy::new(&tokens, KeyTexts::default()).unwrap())
        };
        let (any, ours) = (policy(&[]), policy(&["us"]));
        let ask = |desk: &TokenDesk, auth, cookie: &str| {
            let endpoint = Endpoint { auth, ..Endpoint::new("/ws", "rooms") };
            let lines = [("cookie", cookie)];
            with("", &lines, &[], &Tokens::default(), |brought| {
                let who = who(desk, &endpoint, brought, 1_800_000_000);
                who.map(|who| who.and_then(|who| who.user.clone()))
            })
        };
        let user = || Ok(Some(Box::from("u")));
        let optional = |desk, cookie: String| ask(desk, Auth::Optional, &cookie);
        assert_eq!(optional(&ours, format!("token={OURS}")), user());
        for (cookie, error) in [
            ("abc123".to_owned(), TokenError::Parts),
            ("a.b.c".to_owned(), TokenError::Base64),
            ("e30.e30.e30".to_owned(), TokenError::Header),
            ("x".repeat(9000), TokenError::TooLong),
            (THEIRS.to_owned(), TokenError::Signature),
        ] {
            assert_eq!(optional(&ours, format!("token={cookie}")), Ok(None), "{cookie:.40}");
            assert_eq!(optional(&ours, format!("token={cookie}; token={OURS}")), user(), "{cookie:.40}");
            assert_eq!(ask(&ours, Auth::Required, &format!("token={cookie}")), Err(error), "{cookie:.40}");
        }
        // One of ours that is bad is refused, and so is one of whom nobody knows, where no issuer is configured.
        assert_eq!(optional(&ours, format!("token={EXPIRED}")), Err(TokenError::Expired));
        assert_eq!(optional(&any, format!("token={THEIRS}")), Err(TokenError::Signature));
        assert_eq!(optional(&ours, format!("token=a; token=b; token={OURS}")), Ok(None), "two are looked at");
    }
}
