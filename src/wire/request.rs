//! What HTTP asks of the head of every request, beside what hyper checks.

use hyper::header::{HOST, HeaderMap, TRANSFER_ENCODING};
use hyper::http::uri::Authority;
use hyper::{StatusCode, Uri, Version};

/// What is wrong with a request's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// RFC 9112 section 3.2: one valid Host, where HTTP/1.0 may do without.
    #[error("the request must have one Host header, a host with or without a port")]
    Host,
    /// RFC 9112 section 6.1: chunked is applied once. Another server in between might take the second line for the
    /// only one, and so find another end of the body.
    #[error("there are two Transfer-Encoding headers: send one")]
    CodedTwice,
    /// RFC 9112 section 6.1: codings other than chunked are not known here.
    #[error("the only transfer coding known here is chunked")]
    Coding,
}

impl RequestError {
    /// The HTTP status that tells the client.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Host | Self::CodedTwice => StatusCode::BAD_REQUEST,
            Self::Coding => StatusCode::NOT_IMPLEMENTED,
        }
    }
}

/// Checks a request's head and finds the host that it is for: that of an absolute target, which overrides the
/// header (RFC 9112 section 3.2.2), or else that of the header.
///
/// # Errors
/// The first thing that is wrong.
pub fn check<'r>(
    version: Version,
    target: &'r Uri,
    headers: &'r HeaderMap,
) -> Result<Option<&'r str>, RequestError> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => {
            Some(host.to_str().ok().filter(|host| is_host(host)).ok_or(RequestError::Host)?)
        }
        (None, _) if version < Version::HTTP_11 => None,
        _ => return Err(RequestError::Host),
    };
    let codings = headers.get_all(TRANSFER_ENCODING);
    if codings.iter().nth(1).is_some() {
        return Err(RequestError::CodedTwice);
    }
    if !codings.iter().all(|coding| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked")) {
        return Err(RequestError::Coding);
    }
    Ok(target.authority().map(Authority::as_str).or(host))
}

/// Whether `text` is empty, which a client sends that addresses no host, or a host with an optional port.
fn is_host(text: &str) -> bool {
    text.is_empty() || !text.contains('@') && text.parse::<Authority>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use RequestError::{CodedTwice, Coding, Host};

    fn of(
        version: Version,
        target: &str,
        lines: &[(&'static str, &'static str)],
    ) -> Result<Option<String>, RequestError> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        check(version, &target.parse().unwrap(), &headers).map(|host| host.map(str::to_owned))
    }

    #[test]
    fn there_is_one_host() {
        for host in ["a.example", "a.example:80", "[::1]:8081", "", "127.0.0.1"] {
            assert_eq!(of(Version::HTTP_11, "/x", &[("host", host)]), Ok(Some(host.to_owned())));
        }
        for host in ["a b", "user@a", "a/b", "a?b", "[::1"] {
            assert_eq!(of(Version::HTTP_11, "/x", &[("host", host)]), Err(Host), "{host}");
            assert_eq!(of(Version::HTTP_10, "/x", &[("host", host)]), Err(Host), "{host}");
        }
        let twice = [("host", "a"), ("host", "a")];
        assert_eq!(of(Version::HTTP_11, "/x", &twice), Err(Host));
        assert_eq!(of(Version::HTTP_10, "/x", &twice), Err(Host));
        assert_eq!(of(Version::HTTP_11, "/x", &[]), Err(Host));
        assert_eq!(of(Version::HTTP_10, "/x", &[]), Ok(None));
    }

    #[test]
    fn an_absolute_target_overrides_the_header() {
        let host = of(Version::HTTP_11, "http://a.example:80/x", &[("host", "b.example")]);
        assert_eq!(host, Ok(Some("a.example:80".to_owned())));
        assert_eq!(of(Version::HTTP_11, "http://a.example/x", &[]), Err(Host));
    }

    #[test]
    fn chunked_is_the_only_coding() {
        let coded = |coding| of(Version::HTTP_11, "/x", &[("host", "a"), ("transfer-encoding", coding)]);
        assert_eq!(coded("Chunked"), Ok(Some("a".to_owned())));
        for coding in ["gzip, chunked", "chunked, chunked", "identity"] {
            assert_eq!(coded(coding), Err(Coding), "{coding}");
        }
        let twice = [("host", "a"), ("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")];
        assert_eq!(of(Version::HTTP_11, "/x", &twice), Err(CodedTwice));
    }
}
