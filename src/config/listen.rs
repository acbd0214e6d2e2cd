use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// What stands before the path of a Unix socket.
const UNIX: &str = "unix:";

/// Longest path of a Unix socket, in bytes (unix(7): 108 with the end of the text).
const PATH_BYTES_MAX: usize = 107;

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// A TCP address and port; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl ListenAddress {
    /// Reads `127.0.0.1:9090`, `[::1]:9090`, `localhost:9090`, `unix:/path`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix(UNIX) {
            // U+FFFD stands for bytes that were not UTF-8: the path would be another one.
            let fine = path.starts_with('/')
                && path.len() <= PATH_BYTES_MAX
                && !path.contains(['\0', char::REPLACEMENT_CHARACTER]);
            return fine.then(|| Self::Unix(path.into()));
        }
        if let Some(port) = text.strip_prefix("localhost:") {
            return Some(Self::Tcp((IpAddr::from([127, 0, 0, 1]), port.parse().ok()?).into()));
        }
        text.parse().ok().map(Self::Tcp)
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for text in ["127.0.0.1:9090", "[::1]:0", "0.0.0.0:1", "unix:/run/fanwire/admin.sock"] {
            assert_eq!(ListenAddress::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(ListenAddress::parse("localhost:80"), ListenAddress::parse("127.0.0.1:80"));
        let long = format!("unix:/{}", "x".repeat(107));
        for wrong in [
            "",
            "9090",
            ":9090",
            "127.0.0.1",
            "localhost",
            "localhost:x",
            "example.com:80",
            "::1:9090",
            "1.2.3.4:65536",
            "unix:",
            "unix:relative",
            "unix:/\0",
            "http://127.0.0.1:80",
            &long,
        ] {
            assert_eq!(ListenAddress::parse(wrong), None, "{wrong}");
        }
    }
}
