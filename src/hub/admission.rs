use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// Counts the node's connections, in all and by address, and refuses those over a limit. Exact across shards.
#[derive(Debug, Default)]
pub struct Admission {
    connections: AtomicU32,
    /// Only addresses with a connection are in the map, so it is bounded by the connections.
    by_ip: Mutex<HashMap<IpAddr, u32, RandomState>>,
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
    /// Connections admitted and not yet released.
    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Admits a connection from `ip` (`None`: a Unix socket, which has no address) unless a limit (0 = none) is
    /// reached. Give it back with [`Admission::release`].
    pub fn admit(&self, ip: Option<IpAddr>, node_max: u32, ip_max: u32) -> Result<(), Refused> {
        self.connections
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (node_max == 0 || n < node_max).then_some(n + 1))
            .map_err(|_| Refused::Node)?;
        if let Some(ip) = ip {
            let mut by_ip = self.by_ip.lock().unwrap_or_else(PoisonError::into_inner);
            let count = by_ip.get(&ip).copied().unwrap_or(0);
            if ip_max != 0 && count >= ip_max {
                self.connections.fetch_sub(1, Ordering::Relaxed);
                return Err(Refused::Ip);
            }
            by_ip.insert(ip, count + 1);
        }
        Ok(())
    }

    /// Gives back what [`Admission::admit`] gave.
    pub fn release(&self, ip: Option<IpAddr>) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
        if let Some(ip) = ip {
            let mut by_ip = self.by_ip.lock().unwrap_or_else(PoisonError::into_inner);
            match by_ip.get_mut(&ip) {
                Some(count) if *count > 1 => *count -= 1,
                _ => {
                    by_ip.remove(&ip);
                }
            }
        }
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
        assert!(admission.by_ip.lock().unwrap().is_empty());
    }
}
