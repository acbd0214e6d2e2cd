//! One small file over HTTP or HTTPS.

use crate::io::client::http_client::{ClientError, ClientLimits, ClientUrlError, HttpClient};
use bytes::Bytes;
use hyper::header::{ACCEPT, CACHE_CONTROL, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};
use std::io::{self, ErrorKind};
use std::time::Duration;

/// Fetches one file, each time over a new connection: it does so every few minutes.
pub(super) struct Fetcher(HttpClient);

/// What came.
#[derive(Debug)]
pub(super) struct Fetched {
    pub text: String,
    /// How long it is good, as the answer says (RFC 9111 section 5.2.2.1).
    pub max_age: Option<Duration>,
}

/// Why nothing came. The address is not told: its query may have a secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A redirect is none that is followed: whoever can make one could lead anywhere.
    #[error("the answer's status is {0}")]
    Status(StatusCode),
    #[error("the answer is not UTF-8")]
    NotText,
}

impl Fetcher {
    /// For `url`, an `http` or `https` address, whose file has at most `bytes_max` bytes and comes within `timeout`.
    pub fn new(url: &str, bytes_max: usize, timeout: Duration) -> io::Result<Self> {
        let limits =
            ClientLimits { connect_timeout: timeout, timeout, body_bytes_max: bytes_max, idle_max: 0 };
        let invalid =
            |error: ClientUrlError| io::Error::new(ErrorKind::InvalidInput, format!("jwt_jwks_url: {error}"));
        HttpClient::new(url, limits).map(Self).map_err(invalid)
    }

    pub fn host(&self) -> &str {
        self.0.host()
    }

    pub async fn fetch(&self) -> Result<Fetched, FetchError> {
        let accept = HeaderValue::from_static("application/jwk-set+json, application/json");
        let headers = HeaderMap::from_iter([(ACCEPT, accept)]);
        let answer = self.0.ask(Method::GET, headers, Bytes::new()).await?;
        if answer.status != StatusCode::OK {
            return Err(FetchError::Status(answer.status));
        }
        let max_age = max_age(&answer.headers);
        let text = String::from_utf8(answer.body.into()).map_err(|_| FetchError::NotText)?;
        Ok(Fetched { text, max_age })
    }
}

/// How long an answer says that it is good; no time at all where it is not to be kept.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let lines = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let directives = lines.flat_map(|line| line.split(',')).map(str::trim);
    directives
        .filter_map(|directive| match directive.split_once('=') {
            Some((name, value)) if name.eq_ignore_ascii_case("max-age") => {
                value.trim_matches('"').parse().ok().map(Duration::from_secs)
            }
            None if ["no-store", "no-cache"].iter().any(|name| directive.eq_ignore_ascii_case(name)) => {
                Some(Duration::ZERO)
            }
            _ => None,
        })
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_is_read_of_cache_control() {
        for (lines, seconds) in [
            (&["max-age=300"][..], Some(300)),
            (&["public, MAX-AGE=\"60\""], Some(60)),
            (&["public", "max-age=9, no-cache"], Some(0)),
            (&["No-Store"], Some(0)),
            (&["s-maxage=5", "max-age=-1", "max-age"], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(CACHE_CONTROL, line.parse().unwrap());
            }
            assert_eq!(max_age(&headers), seconds.map(Duration::from_secs), "{lines:?}");
        }
    }
}
