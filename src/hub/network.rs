use std::net::{IpAddr, Ipv6Addr};

/// Bits of an IPv4 address.
const V4_BITS: u32 = 32;

/// Bits of an IPv6 address.
const V6_BITS: u32 = 128;

/// What counts as one address where addresses have limits: the addresses that share so many leading bits. A provider
/// gives each customer a whole IPv6 network (RFC 6177: a /64 at least), so that single IPv6 addresses bound nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefixes {
    /// Of IPv4 addresses, in bits; at most 32.
    pub v4_bits: u32,
    /// Of IPv6 addresses, in bits; at most 128.
    pub v6_bits: u32,
}

impl Default for Prefixes {
    fn default() -> Self {
        Self { v4_bits: V4_BITS, v6_bits: 64 }
    }
}

/// The addresses that count as one. IPv4 networks are kept as the IPv6 addresses to which they are mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(u128);

impl Prefixes {
    /// The network of an address. An IPv4 address mapped to IPv6 is IPv4.
    pub fn network(self, ip: IpAddr) -> Network {
        let (ip, bits) = match ip.to_canonical() {
            IpAddr::V4(ip) => (ip.to_ipv6_mapped(), V6_BITS - V4_BITS + self.v4_bits.min(V4_BITS)),
            IpAddr::V6(ip) => (ip, self.v6_bits.min(V6_BITS)),
        };
        let mask = u128::MAX.checked_shl(V6_BITS - bits).unwrap_or(0);
        Network(u128::from(ip) & mask)
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        IpAddr::V6(Ipv6Addr::from(self.0)).to_canonical().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_counts_by_its_network_and_an_ipv4_address_by_itself() {
        let prefixes = Prefixes::default();
        let network = |ip: &str| prefixes.network(ip.parse().unwrap());
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff::9"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        assert_eq!(network("192.0.2.1"), network("::ffff:192.0.2.1"));
        assert_eq!(network("192.0.2.1").to_string(), "192.0.2.1");
        assert_eq!(network("2001:db8:1:2::1").to_string(), "2001:db8:1:2::");
    }

    #[test]
    fn the_lengths_are_free() {
        let network = |v4_bits, v6_bits, ip: &str| Prefixes { v4_bits, v6_bits }.network(ip.parse().unwrap());
        assert_eq!(network(24, 56, "192.0.2.1"), network(24, 56, "192.0.2.200"));
        assert_ne!(network(24, 56, "192.0.2.1"), network(24, 56, "192.0.3.1"));
        assert_eq!(network(24, 56, "2001:db8:1:2::1"), network(24, 56, "2001:db8:1:3::1"));
        assert_ne!(network(32, 128, "2001:db8::1"), network(32, 128, "2001:db8::2"));
        assert_eq!(network(0, 0, "2001:db8::1"), network(0, 0, "::1"));
        assert_ne!(network(0, 0, "192.0.2.1"), network(0, 0, "::1"), "IPv4 is apart");
    }
}
