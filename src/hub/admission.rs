use super::network::{Network, Prefixes};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Connections that an address may have beyond `connections_per_ip_max` until it is known what they ask for: with all
/// its connections in use, a client still gets an answer that says so, and a probe of the same machine gets its own.
const ASKING_MAX: u32 = 8;

/// The table of addresses gives memory back when less than one part in so many is in use.
const SPARSE: usize = 4;

/// Addresses for which the table keeps memory in any case.
const TABLE_MIN: usize = 64;

/// Counts the node's connections, in all and by address, and refuses those over a limit. Exact across shards.
///
/// A connection counts for its address from its acceptance on ([`Admission::arrive`]) until it ends or turns out to be
/// no WebSocket ([`Admission::depart`]).
#[derive(Debug, Default)]
pub struct Admission {
    connections: AtomicU32,
    prefixes: Prefixes,
    /// Only addresses with a connection are in the table, so the number of open sockets bounds it.
    by_network: Mutex<HashMap<Network, u32, RandomState>>,
}

/// Which limit refused a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// `connections_max` of the node.
    Node,
    /// `connections_per_ip_max`.
    Ip,
}

impl Admission {
    /// Counts by networks of these prefixes.
    pub fn new(prefixes: Prefixes) -> Self {
        Self { prefixes, ..Self::default() }
    }

    /// Connections admitted and not yet released.
    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    /// What counts as one address with this one.
    pub fn network(&self, ip: IpAddr) -> Network {
        self.prefixes.network(ip)
    }

    /// Counts a connection whose request has not come yet, unless its address has `ip_max` (0: no limit) connections
    /// and `ASKING_MAX` more. Give it back with [`Admission::depart`], or turn it into a connection of the node with
    /// [`Admission::admit_arrived`].
    #[must_use]
    pub fn arrive(&self, ip: IpAddr, ip_max: u32) -> bool {
        let network = self.network(ip);
        let mut table = self.table();
        let count = table.get(&network).copied().unwrap_or(0);
        if ip_max != 0 && count >= ip_max.saturating_add(ASKING_MAX) {
            return false;
        }
        table.insert(network, count + 1);
        true
    }

    /// Gives back what [`Admission::arrive`] gave.
    pub fn depart(&self, ip: IpAddr) {
        let network = self.network(ip);
        let mut table = self.table();
        match table.get_mut(&network) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                table.remove(&network);
                if table.capacity() > TABLE_MIN && table.len() < table.capacity() / SPARSE {
                    let len = table.len();
                    table.shrink_to(2 * len);
                }
            }
        }
    }

    /// Admits a connection from `ip` (`None`: a Unix socket, which has no address) unless a limit (0 = none) is
    /// reached. Give it back with [`Admission::release`].
    ///
    /// # Errors
    /// Which limit is reached.
    pub fn admit(&self, ip: Option<IpAddr>, node_max: u32, ip_max: u32) -> Result<(), Refused> {
        self.count_one(node_max)?;
        if let Some(ip) = ip {
            let network = self.network(ip);
            let mut table = self.table();
            let count = table.get(&network).copied().unwrap_or(0);
            if ip_max != 0 && count >= ip_max {
                self.connections.fetch_sub(1, Ordering::Relaxed);
                return Err(Refused::Ip);
            }
            table.insert(network, count + 1);
        }
        Ok(())
    }

    /// Admits a connection that [`Admission::arrive`] has counted, as [`Admission::admit`] does. A connection that is
    /// refused counts as arrived still.
    ///
    /// # Errors
    /// Which limit is reached.
    pub fn admit_arrived(&self, ip: IpAddr, node_max: u32, ip_max: u32) -> Result<(), Refused> {
        self.count_one(node_max)?;
        let count = self.table().get(&self.network(ip)).copied().unwrap_or(0);
        if ip_max != 0 && count > ip_max {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            return Err(Refused::Ip);
        }
        Ok(())
    }

    fn count_one(&self, node_max: u32) -> Result<(), Refused> {
        let more = |n| (node_max == 0 || n < node_max).then_some(n + 1);
        self.connections
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .map_err(|_| Refused::Node)
            .map(drop)
    }

    /// Gives back what [`Admission::admit_arrived`] gave: the connection counts as arrived still.
    pub fn release_to_arrived(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Gives back what [`Admission::admit`] gave.
    pub fn release(&self, ip: Option<IpAddr>) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
        if let Some(ip) = ip {
            self.depart(ip);
        }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Network, u32, RandomState>> {
        self.by_network.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_limits_hold_and_are_given_back() {
        let admission = Admission::default();
        let [a, b] = ["10.0.0.1", "10.0.0.2"].map(|ip| Some(ip.parse().unwrap()));
        assert_eq!(admission.admit(a, 2, 1), Ok(()));
        assert_eq!(admission.admit(a, 2, 1), Err(Refused::Ip));
        assert_eq!(admission.admit(b, 2, 1), Ok(()));
        assert_eq!(admission.admit(None, 2, 1), Err(Refused::Node));
        admission.release(a);
        assert_eq!(admission.admit(a, 2, 1), Ok(()));
        admission.release(a);
        admission.release(b);
        assert_eq!(admission.connections(), 0);
        assert!(admission.table().is_empty());
    }

    #[test]
    fn all_addresses_of_an_ipv6_network_are_one() {
        let admission = Admission::default();
        let ip = |last: u16| Some(format!("2001:db8:1:2::{last:x}").parse().unwrap());
        assert_eq!((1..200).filter(|last| admission.admit(ip(*last), 0, 3).is_ok()).count(), 3);
        assert_eq!(admission.admit(Some("2001:db8:1:3::1".parse().unwrap()), 0, 3), Ok(()));
    }

    #[test]
    fn a_connection_counts_from_its_acceptance_on() {
        let admission = Admission::default();
        let ip: IpAddr = "192.0.2.1".parse().unwrap();
        let arrived = (0..100).filter(|_| admission.arrive(ip, 10)).count() as u32;
        assert_eq!(arrived, 10 + ASKING_MAX);
        assert_eq!(admission.admit_arrived(ip, 0, 10), Err(Refused::Ip), "the silent ones count");
        assert_eq!(admission.admit(Some(ip), 0, 10), Err(Refused::Ip));
        (0..ASKING_MAX).for_each(|_| admission.depart(ip));
        assert_eq!(admission.admit_arrived(ip, 0, 10), Ok(()));
        assert_eq!(admission.connections(), 1);
        admission.release(Some(ip));
        (1..10).for_each(|_| admission.depart(ip));
        assert!(admission.table().is_empty());
        assert!((0..100).all(|_| admission.arrive(ip, 0)), "0 is no limit");
    }

    #[test]
    fn the_table_gives_back_what_a_storm_took() {
        let admission = Admission::default();
        let ips = || (0..100_000_u32).map(|n| IpAddr::from(n.to_be_bytes()));
        assert!(ips().all(|ip| admission.arrive(ip, 1)));
        let taken = admission.table().capacity();
        ips().for_each(|ip| admission.depart(ip));
        assert!(admission.table().capacity() < taken / 100);
    }
}
