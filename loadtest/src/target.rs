//! Where to connect, and from which address.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _};

use anyhow::{Context as _, Result, bail};

use crate::template::{ROOM, fill_room};

/// Connections that one source address carries before the next is used: the kernel's usual range of
/// ephemeral ports holds 28,232, and some are in use or in TIME_WAIT.
pub const CONNECTIONS_PER_SOURCE: usize = 25_000;

/// A parsed `ws://host:port/path`.
#[derive(Clone, Debug)]
pub struct Target {
    /// The resolved address.
    pub address: SocketAddr,
    /// Value of the `Host` field.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// Addresses to bind to in turn; empty leaves the choice to the kernel.
    pub sources: Vec<IpAddr>,
}

impl Target {
    /// Parses and resolves a URL.
    ///
    /// # Errors
    /// A scheme other than `ws`, or a host that does not resolve.
    pub fn parse(url: &str) -> Result<Self> {
        let Some(rest) = url.strip_prefix("ws://") else { bail!("the URL must begin with ws://") };
        let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let with_port = if has_port { authority.to_owned() } else { format!("{authority}:80") };
        let address = with_port
            .to_socket_addrs()
            .with_context(|| format!("{authority} does not resolve"))?
            .next()
            .with_context(|| format!("{authority} has no address"))?;
        Ok(Self { address, host: authority.into(), path: path.into(), sources: Vec::new() })
    }

    /// Whether the path names a room.
    pub fn wants_room(&self) -> bool {
        self.path.contains(ROOM)
    }

    /// The path, for a room where it names one.
    pub fn path_for(&self, room: Option<&str>) -> Cow<'_, str> {
        room.map_or(Cow::Borrowed(&*self.path), |room| Cow::Owned(fill_room(&self.path, room)))
    }

    /// Spreads `connections` over loopback source addresses (127.0.0.1, 127.0.0.2, ...), as many as
    /// are needed, or `wanted`.
    ///
    /// # Errors
    /// When several are wanted but the target is not an IPv4 loopback address.
    pub fn spread(&mut self, connections: usize, wanted: Option<usize>) -> Result<()> {
        let loopback = matches!(self.address.ip(), IpAddr::V4(ip) if ip.is_loopback());
        let count = wanted.unwrap_or_else(|| connections.div_ceil(CONNECTIONS_PER_SOURCE));
        if count <= 1 {
            return Ok(());
        }
        if !loopback {
            bail!(
                "{count} source addresses are needed, which works only towards 127.0.0.0/8 (see --sources)"
            );
        }
        // 127.0.0.1 upwards; the bound keeps the last octets in range.
        if count > 60_000 {
            bail!("at most 60000 source addresses");
        }
        self.sources = (1..=count as u32).map(|n| IpAddr::V4(Ipv4Addr::from(0x7f00_0000 + n))).collect();
        Ok(())
    }

    /// The source of connection number `index`.
    pub fn source(&self, index: usize) -> Option<IpAddr> {
        self.sources.get(index % self.sources.len().max(1)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let target = Target::parse("ws://127.0.0.1:9001/ws?token=a").unwrap();
        assert_eq!(target.address, "127.0.0.1:9001".parse().unwrap());
        assert_eq!((target.host.as_str(), target.path.as_str()), ("127.0.0.1:9001", "/ws?token=a"));
        assert_eq!(Target::parse("ws://127.0.0.1").unwrap().address.port(), 80);
        assert_eq!(Target::parse("ws://[::1]").unwrap().address, "[::1]:80".parse().unwrap());
        assert!(Target::parse("http://127.0.0.1/").is_err());
    }

    #[test]
    fn many_connections_get_several_sources() {
        let mut target = Target::parse("ws://127.0.0.1:1/").unwrap();
        target.spread(25_000, None).unwrap();
        assert_eq!(target.source(5), None);
        target.spread(100_000, None).unwrap();
        assert_eq!(target.sources.len(), 4);
        assert_eq!(target.source(5), Some("127.0.0.2".parse().unwrap()));
        let mut far = Target::parse("ws://192.0.2.1:1/").unwrap();
        assert!(far.spread(100_000, None).is_err());
    }
}
