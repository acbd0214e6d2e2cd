//! One small file over HTTP or HTTPS.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CACHE_CONTROL, HOST, HeaderMap, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

/// Most bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Fetches one file, each time over a new connection: it does so every few minutes.
pub(super) struct Fetcher {
    uri: Uri,
    host: String,
    port: u16,
    tls: Option<TlsConnector>,
    bytes_max: usize,
}

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
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// A redirect is none that is followed: whoever can make one could lead anywhere.
    #[error("the answer's status is {0}")]
    Status(StatusCode),
    #[error("the answer is over {0} bytes, or broke off")]
    Body(usize),
    #[error("the answer is not UTF-8")]
    NotText,
}

impl Fetcher {
    /// For `url`, an `http` or `https` address.
    pub fn new(url: &str, bytes_max: usize) -> io::Result<Self> {
        let invalid = |what: String| io::Error::new(ErrorKind::InvalidInput, what);
        let uri: Uri = url.parse().map_err(|error| invalid(format!("jwt_jwks_url: {error}")))?;
        let host = uri.host().ok_or_else(|| invalid("jwt_jwks_url has no host".to_owned()))?;
        let host = host.trim_matches(['[', ']']).to_owned();
        let secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let tls = secure.then(connector).transpose()?;
        Ok(Self { uri, host, port, tls, bytes_max })
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    pub async fn fetch(&self) -> Result<Fetched, FetchError> {
        let stream =
            TcpStream::connect((self.host.as_str(), self.port)).await.map_err(FetchError::Connect)?;
        let Some(tls) = &self.tls else { return self.ask(stream).await };
        let name = ServerName::try_from(self.host.clone())
            .map_err(|error| FetchError::Connect(io::Error::other(error)))?;
        self.ask(tls.connect(name, stream).await.map_err(FetchError::Connect)?).await
    }

    async fn ask<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Result<Fetched, FetchError> {
        let mut builder = http1::Builder::new();
        builder.max_buf_size(HEAD_BYTES_MAX);
        let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        let target = self.uri.path_and_query().map_or("/", |target| target.as_str());
        // What the configuration took for an address has an authority, which is a header's value.
        let request = Request::get(target)
            .header(HOST, self.uri.authority().map_or("", |authority| authority.as_str()))
            .header(USER_AGENT, concat!("fanwire/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, "application/jwk-set+json, application/json")
            .body(Empty::<Bytes>::new())
            .map_err(|error| FetchError::Connect(io::Error::other(error)))?;
        let exchange = async {
            let response = sender.send_request(request).await?;
            if response.status() != StatusCode::OK {
                return Err(FetchError::Status(response.status()));
            }
            let max_age = max_age(response.headers());
            let body = Limited::new(response.into_body(), self.bytes_max).collect().await;
            let body = body.map_err(|_| FetchError::Body(self.bytes_max))?.to_bytes();
            let text = String::from_utf8(body.into()).map_err(|_| FetchError::NotText)?;
            Ok(Fetched { text, max_age })
        };
        tokio::pin!(exchange);
        tokio::select! {
            biased;
            fetched = &mut exchange => fetched,
            // When the connection is at its end, the rest of the answer is there or never comes.
            ended = connection => {
                let fetched = exchange.await;
                match (ended, fetched) {
                    (Err(error), Err(_)) => Err(error.into()),
                    (_, fetched) => fetched,
                }
            }
        }
    }
}

/// TLS as the system's certificates have it.
fn connector() -> io::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        return Err(io::Error::other(
            "jwt_jwks_url: there are no certificates of authorities on this machine (package ca-certificates)",
        ));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error: rustls::Error| io::Error::other(error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
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
