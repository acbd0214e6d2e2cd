//! Which requests may use the API: the facts of each, and how fast keys can be tried.

use super::cors;
use super::server::{Http, Via};
use crate::api::ApiError;
use crate::auth::{self, Denied};
use crate::base::{Gcra, Rate};
use crate::config::Config;
use crate::io::turn::far_end::FarEnd;
use crate::wire;
use hyper::header::{self, HeaderMap};
use std::cell::OnceCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Wrong keys that an address may send before each further one is answered late.
const WRONG_KEYS: Rate = Rate { per_s: 1, burst: 10 };

/// How late that is.
const DELAY: Duration = Duration::from_secs(1);

/// Addresses whose wrong keys are counted at a time.
const ADDRESSES_MAX: usize = 4096;

/// Bits of an IPv6 address that tell one network from another; the rest is the client's to choose (RFC 4291 section 2.5.4).
const NETWORK_V6: u128 = !0 << 64;

/// A connection that requests to the API come by.
pub(in crate::io) struct Origin {
    /// The client's address as a PROXY header tells it, or else the peer's; `None`: a Unix socket.
    pub peer: Option<SocketAddr>,
    pub far_end: FarEnd,
    /// Whether the far end is of the server's user: found out once, at the first request for which it matters.
    same_user: OnceCell<bool>,
}

impl Origin {
    pub fn new(peer: Option<SocketAddr>, far_end: FarEnd) -> Self {
        Self { peer, far_end, same_user: OnceCell::new() }
    }
}

/// Counts the wrong keys of each address, so that guessing is slow. A right key is never refused for them: a program that
/// shares an address with a guesser, behind a proxy for one, would be locked out.
#[derive(Debug, Default)]
pub struct WrongKeys {
    by_address: HashMap<Option<IpAddr>, Gcra>,
}

impl WrongKeys {
    /// Counts one. Returns whether its answer may come at once.
    fn count(&mut self, address: Option<IpAddr>, now_ns: u64) -> bool {
        let address = address.map(network);
        if self.by_address.len() >= ADDRESSES_MAX && !self.by_address.contains_key(&address) {
            self.by_address.retain(|_, wrong| !wrong.is_full(now_ns));
            // So many at once are one guesser with many addresses.
            if self.by_address.len() >= ADDRESSES_MAX {
                return false;
            }
        }
        self.by_address.entry(address).or_default().check(&WRONG_KEYS, 1, now_ns)
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & NETWORK_V6).into(),
        v4 => v4,
    }
}

impl Http {
    /// Checks that a request may use the API. Answers late where an address has sent many wrong keys.
    pub(super) async fn check_key(
        &self,
        headers: &HeaderMap,
        host: Option<&str>,
        origin: &Origin,
        config: &Config,
    ) -> Result<(), ApiError> {
        let keyless = config.api_keys.is_empty();
        let facts = auth::PeerFacts {
            ip: origin.peer.map(|peer| peer.ip()),
            host,
            same_user: keyless && *origin.same_user.get_or_init(|| origin.far_end.is_of_same_user()),
            // No proxy stands before the admin listener.
            behind_proxy: self.via == Via::Public && config.is_behind_proxy(),
            forwarded: headers.keys().any(|name| auth::is_forwarding_header(name.as_str())),
            foreign_page: cors::is_foreign_page(headers, host, &config.allowed_origins),
        };
        let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Err(denied) = auth::authorize(&config.api_keys, authorization, facts) else { return Ok(()) };
        if denied == Denied::KeyWrong {
            let client = origin.peer.map(|peer| wire::client_ip(headers, peer.ip(), &config.trusted_proxies));
            self.slow_down(client).await;
        }
        Err(ApiError::unauthorized(denied.to_string()))
    }

    async fn slow_down(&self, client: Option<IpAddr>) {
        let now_ns = self.node.clock.now().us * 1000;
        let at_once = self
            .node
            .wrong_keys
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .count(client, now_ns);
        if !at_once {
            self.metrics().api_keys_delayed.inc();
            tokio::time::sleep(DELAY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn the_eleventh_wrong_key_of_an_address_waits() {
        let mut wrong = WrongKeys::default();
        let guesser = "192.0.2.1".parse().ok();
        let answers: Vec<_> = (0..12).map(|_| wrong.count(guesser, S)).collect();
        assert_eq!(answers.iter().filter(|at_once| **at_once).count(), 10, "{answers:?}");
        assert!(wrong.count("192.0.2.2".parse().ok(), S), "another address");
        assert!(wrong.count(None, S), "a Unix socket");
        assert!(wrong.count(guesser, 2 * S) && !wrong.count(guesser, 2 * S), "one a second");
    }

    #[test]
    fn a_network_of_ipv6_is_one_guesser() {
        let mut wrong = WrongKeys::default();
        for n in 0..10 {
            assert!(wrong.count(format!("2001:db8::{n}").parse().ok(), S), "{n}");
        }
        assert!(!wrong.count("2001:db8::ffff:1".parse().ok(), S));
        assert!(wrong.count("2001:db8:0:1::1".parse().ok(), S));
        let mapped = "::ffff:192.0.2.1".parse().unwrap();
        assert_eq!(network(mapped), "192.0.2.1".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn the_table_is_bounded_and_forgets() {
        let mut wrong = WrongKeys::default();
        let address = |n: usize| Some(IpAddr::from((n as u32).to_be_bytes()));
        assert!((0..ADDRESSES_MAX).all(|n| wrong.count(address(n), S)));
        assert!(!wrong.count(address(ADDRESSES_MAX), S));
        assert_eq!(wrong.by_address.len(), ADDRESSES_MAX);
        assert!(wrong.count(address(ADDRESSES_MAX), 100 * S));
        assert_eq!(wrong.by_address.len(), 1);
    }
}
