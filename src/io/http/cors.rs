//! Which web pages may read the answers of the HTTP side (<https://fetch.spec.whatwg.org/#http-cors-protocol>).
//!
//! Those of the origins in `allowed_origins`; where it is empty, none but the server's own. Cookies play no part:
//! `Access-Control-Allow-Credentials` is never sent, and a page that has a key sends it as `Authorization`.

use super::reply::Reply;
use crate::api::ApiError;
use crate::auth;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Response, StatusCode};

/// What a page may send beside what any page may.
const REQUEST_HEADERS: &str = "authorization, content-type, idempotency-key";

/// What a page may read beside what any page may.
const RESPONSE_HEADERS: &str = "allow, idempotent-replayed, retry-after, www-authenticate";

/// Seconds for which a browser may keep the answer to a preflight: a page whose origin is taken off the list is refused
/// within that time, whatever its browser remembers.
const MAX_AGE_S: &str = "600";

/// What CORS makes of one request.
pub(super) struct Cors {
    /// The page's origin, or `*`, where the page may read the answer.
    allow_origin: Option<HeaderValue>,
    /// Whether another page might have got another answer.
    varies: bool,
    is_preflight: bool,
}

impl Cors {
    /// Of a request, by the list of allowed origins.
    pub fn of(method: &Method, headers: &HeaderMap, list: &[String]) -> Self {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        // Two origins are none that was allowed.
        let origin = origins.next().filter(|_| origins.next().is_none());
        let all = list.iter().any(|entry| entry == "*");
        let allow_origin = match origin {
            Some(_) if all => Some(HeaderValue::from_static("*")),
            Some(origin) if !list.is_empty() => {
                let text = origin.to_str().ok();
                text.filter(|text| auth::allowed(Some(text), None, list)).map(|_| origin.clone())
            }
            _ => None,
        };
        let asks = headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) && origin.is_some();
        Self {
            allow_origin,
            varies: !list.is_empty() && !all,
            is_preflight: asks && method == Method::OPTIONS,
        }
    }

    /// What a preflight is told in place of the 405 for its `OPTIONS`; any other error stays what it is.
    ///
    /// # Errors
    /// The error, or a 403 where the page is not allowed.
    pub fn preflight(&self, error: ApiError) -> Result<Reply, ApiError> {
        let Some(methods) = error.allow.filter(|_| self.is_preflight) else { return Err(error) };
        if self.allow_origin.is_none() {
            let text = "this Origin is not allowed: add it to allowed_origins (FANWIRE_ALLOWED_ORIGINS)";
            return Err(ApiError::forbidden(text));
        }
        let mut reply = Response::new(Full::default());
        *reply.status_mut() = StatusCode::NO_CONTENT;
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_METHODS, methods),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS),
            (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE_S),
        ] {
            reply.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        Ok(reply)
    }

    /// Says on an answer who may read it.
    pub fn mark(self, reply: &mut Reply) {
        let headers = reply.headers_mut();
        if self.varies {
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
        if let Some(origin) = self.allow_origin {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            if !self.is_preflight {
                let exposed = HeaderValue::from_static(RESPONSE_HEADERS);
                headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
            }
        }
    }
}

/// Whether the request comes from a web page of another site. Who allows all of them to connect (`*`) has not thereby
/// given them the API.
pub(super) fn is_foreign_page(headers: &HeaderMap, host: Option<&str>, list: &[String]) -> bool {
    if !headers.contains_key(header::ORIGIN) {
        return false;
    }
    let named: Vec<String> = list.iter().filter(|entry| *entry != "*").cloned().collect();
    let allowed = |origin: &HeaderValue| {
        // An Origin that is no text is no origin that was allowed.
        auth::allowed(Some(origin.to_str().unwrap_or("")), host, &named)
    };
    !headers.get_all(header::ORIGIN).iter().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: Method, origins: &[&'static str], asks: bool, list: &[&str]) -> Cors {
        let mut headers = HeaderMap::new();
        for origin in origins {
            headers.append(header::ORIGIN, HeaderValue::from_static(origin));
        }
        if asks {
            headers.insert(header::ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("POST"));
        }
        let list: Vec<String> = list.iter().map(ToString::to_string).collect();
        Cors::of(&method, &headers, &list)
    }

    fn marked(origins: &[&'static str], list: &[&str]) -> (Option<String>, Option<String>) {
        let mut reply = Response::new(Full::default());
        of(Method::GET, origins, false, list).mark(&mut reply);
        let header = |name| reply.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(header(header::ACCESS_CONTROL_ALLOW_CREDENTIALS), None);
        (header(header::ACCESS_CONTROL_ALLOW_ORIGIN), header(header::VARY))
    }

    #[test]
    fn pages_of_the_list_may_read() {
        let (list, vary) = (["https://a.example", "null"], || Some("Origin".to_owned()));
        for (origin, list, expected) in [
            ("https://a.example", &list[..], (Some("https://a.example".to_owned()), vary())),
            ("null", &list, (Some("null".to_owned()), vary())),
            ("https://a.example:8443", &list, (None, vary())),
            ("https://a.example.evil", &list, (None, vary())),
            ("https://b.example", &list, (None, vary())),
            ("*", &list, (None, vary())),
            ("https://b.example", &["*"], (Some("*".to_owned()), None)),
            ("https://a.example", &[], (None, None)),
        ] {
            assert_eq!(marked(&[origin], list), expected, "{origin} {list:?}");
        }
        assert_eq!(marked(&[], &list), (None, vary()), "a cache may serve it to pages");
        assert_eq!(marked(&["https://a.example", "https://a.example"], &list), (None, vary()));
    }

    #[test]
    fn a_preflight_is_told_the_methods_of_its_path() {
        let list = ["https://a.example"];
        let no = || ApiError::method_not_allowed("GET, HEAD");
        let reply = of(Method::OPTIONS, &list, true, &list).preflight(no()).unwrap();
        assert_eq!(reply.status(), 204);
        assert_eq!(reply.headers()[header::ACCESS_CONTROL_ALLOW_METHODS], "GET, HEAD");
        let refused = of(Method::OPTIONS, &["https://b.example"], true, &list).preflight(no());
        assert_eq!(refused.unwrap_err().status, 403);
        for (method, origins, asks) in
            [(Method::OPTIONS, &list[..], false), (Method::OPTIONS, &[], true), (Method::PUT, &list, true)]
        {
            assert_eq!(of(method, origins, asks, &list).preflight(no()).unwrap_err(), no());
        }
        let none = || ApiError::not_found("no such path");
        assert_eq!(of(Method::OPTIONS, &list, true, &list).preflight(none()).unwrap_err(), none());
    }
}
