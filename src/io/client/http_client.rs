//! A small HTTP/1.1 client for the few servers that the node itself asks: the backend of the hook, a key server.
//!
//! One [`HttpClient`] talks to one origin, over `http` or `https`, on connections that it keeps. Everything is bounded:
//! the time to connect, the time of the whole exchange (so that an answer that drips is no way to hold it), the head
//! and the body of the answer. Redirects are answers like others: no request goes where the configuration did not say.
//!
//! # Why not the pooling client of hyper-util
//!
//! Its `client::legacy::Client` (0.1) sends a request again only where nothing of it was written. A server that ends a
//! kept connection just as the next request leaves (Node's default is 5 s) lets it be written, and then resets: the
//! caller gets the error, without knowing whether the connection was a kept one and whether an answer had begun, and
//! cannot ask for a new connection, as the pool may hand out another that is dead. The loop around it would be as long
//! as the pool here, and its connector for TLS is a further crate.

mod heard;
#[cfg(feature = "tls")]
mod tls;
#[cfg(not(feature = "tls"))]
#[path = "http_client/no_tls.rs"]
mod tls;

use bytes::Bytes;
use heard::Heard;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tls::Tls;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Bytes of an answer's head, and hyper's buffer for it: a few header fields with generous values.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Header fields of an answer.
const HEADERS_MAX: usize = 64;

/// What the node calls itself.
const USER_AGENT: &str = concat!("fanwire/", env!("CARGO_PKG_VERSION"));

/// How long an unused connection is kept: shorter than most servers and balancers do (60 s and more).
const IDLE_MAX: Duration = Duration::from_secs(30);

/// Bounds of an exchange.
#[derive(Debug, Clone, Copy)]
pub struct ClientLimits {
    /// Time for name, TCP and TLS.
    pub connect_timeout: Duration,
    /// Time for all, from the name to the last byte of the answer.
    pub timeout: Duration,
    /// Bytes of the answer's body.
    pub body_bytes_max: usize,
    /// Unused connections that are kept.
    pub idle_max: usize,
}

/// What came back.
#[derive(Debug)]
pub struct ClientAnswer {
    /// Any status, redirects too.
    pub status: StatusCode,
    /// Its header fields.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// Why nothing came back. None of the texts holds a header or a query, which may be secrets.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection in time, or none at all.
    #[error("cannot connect to {origin}: {source}")]
    Connect {
        /// Scheme, host and port.
        origin: String,
        /// What the system says.
        source: io::Error,
    },
    /// The exchange took too long.
    #[error("no whole answer in time")]
    Timeout,
    /// The connection broke or spoke no HTTP.
    #[error("the exchange failed: {0}")]
    Exchange(#[from] hyper::Error),
    /// More body than wanted.
    #[error("the answer is larger than {bytes_max} bytes")]
    TooLarge {
        /// The bound.
        bytes_max: usize,
        /// The answer's status.
        status: StatusCode,
    },
    /// The body broke off.
    #[error("the answer broke off")]
    Body,
}

/// Why a URL is none that can be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientUrlError {
    /// Not of the form `http://host[:port]/path`, or `https`.
    #[error("the URL must be http:// or https:// with a host, and without user and password")]
    Form,
    /// There is nothing to check certificates by.
    #[error("https needs the system's certificates: {0}")]
    Certificates(String),
    /// The program was built without the feature `tls`.
    #[error("https needs a program that is built with the feature tls")]
    NoTls,
}

/// A client of one origin. Needs a tokio runtime with I/O and time where it is used.
pub struct HttpClient {
    host: String,
    port: u16,
    host_header: HeaderValue,
    path: PathAndQuery,
    tls: Option<Tls>,
    limits: ClientLimits,
    /// Last in, first out: what is not needed stays unused and goes.
    idle: Mutex<Vec<(Instant, Connection)>>,
}

/// A connection with the task that drives it, which ends with it: an exchange that is given up closes it.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// Bytes that came so far.
    heard: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl HttpClient {
    /// A client for a URL. For `https` it reads the system's certificates (`SSL_CERT_FILE` names others).
    ///
    /// # Errors
    /// If the URL is none that can be asked, or there are no certificates.
    pub fn new(url: &str, limits: ClientLimits) -> Result<Self, ClientUrlError> {
        let uri: Uri = url.parse().map_err(|_| ClientUrlError::Form)?;
        let authority = uri.authority().ok_or(ClientUrlError::Form)?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(ClientUrlError::Form);
        }
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(ClientUrlError::Form),
        };
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let tls = is_tls.then(|| Tls::new(&host)).transpose()?;
        Ok(Self {
            port: authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            host_header: HeaderValue::from_str(authority.as_str()).map_err(|_| ClientUrlError::Form)?,
            path: uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")),
            host,
            tls,
            limits,
            idle: Mutex::default(),
        })
    }

    /// The host, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Scheme, host and port, for logs: not the path and query, which may hold secrets.
    pub fn origin(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}:{}", self.host, self.port)
    }

    /// Asks once. A connection that was kept, and ends before a byte of the answer comes, is replaced by a new one, on
    /// which the request is sent once more. So a request can arrive twice. It must be one that may: a GET, or a request
    /// whose id tells the server that it has it already.
    ///
    /// # Errors
    /// If no whole answer comes within the bounds.
    pub async fn ask(
        &self,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<ClientAnswer, ClientError> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = self.path.clone().into();
        *request.headers_mut() = headers;
        request.headers_mut().insert(header::HOST, self.host_header.clone());
        request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        let exchange = self.exchange(request);
        tokio::time::timeout(self.limits.timeout, exchange).await.map_err(|_| ClientError::Timeout)?
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<ClientAnswer, ClientError> {
        if let Some(kept) = self.take_idle() {
            let heard = kept.heard.clone();
            let before = heard.load(Ordering::Relaxed);
            match self.exchange_on(kept, request.clone()).await {
                // It ended while it was kept: by FIN, or by a reset on reading (ECONNRESET) or writing (EPIPE).
                Err(ClientError::Exchange(_)) if heard.load(Ordering::Relaxed) == before => {}
                // The server ended it for want of a request, and its words met one (RFC 9110 section 15.5.9).
                Ok(answer) if answer.status == StatusCode::REQUEST_TIMEOUT => {}
                done => return done,
            }
        }
        let connection = self.connect().await?;
        self.exchange_on(connection, request).await
    }

    async fn exchange_on(
        &self,
        mut connection: Connection,
        request: Request<Full<Bytes>>,
    ) -> Result<ClientAnswer, ClientError> {
        let (parts, body) = connection.sender.send_request(request).await?.into_parts();
        let bytes_max = self.limits.body_bytes_max;
        let body = match Limited::new(body, bytes_max).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                return Err(ClientError::TooLarge { bytes_max, status: parts.status });
            }
            Err(_) => return Err(ClientError::Body),
        };
        self.keep(connection);
        Ok(ClientAnswer { status: parts.status, headers: parts.headers, body })
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(since, connection)| since.elapsed() < IDLE_MAX && !connection.sender.is_closed());
        idle.pop().map(|(_, connection)| connection)
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.limits.idle_max && !connection.sender.is_closed() {
            idle.push((Instant::now(), connection));
        }
    }

    async fn connect(&self) -> Result<Connection, ClientError> {
        let failed = |source| ClientError::Connect { origin: self.origin(), source };
        let timeout = self.limits.connect_timeout;
        match tokio::time::timeout(timeout, self.connect_untimed()).await {
            Ok(connected) => connected.map_err(failed),
            Err(_) => Err(failed(io::ErrorKind::TimedOut.into())),
        }
    }

    async fn connect_untimed(&self) -> io::Result<Connection> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        // One write per request, each waited for: nothing to gain by waiting for more.
        stream.set_nodelay(true)?;
        match &self.tls {
            Some(tls) => start(tls.connect(stream).await?).await,
            None => start(stream).await,
        }
    }
}

async fn start(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> io::Result<Connection> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
    let (stream, heard) = Heard::new(stream);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // What it ends with, the exchange tells; between exchanges it is the other side's right to close.
    let task = tokio::spawn(async move { drop(connection.await) });
    Ok(Connection { sender, heard, task })
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").field("origin", &self.origin()).finish_non_exhaustive()
    }
}
