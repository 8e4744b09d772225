//! Where nothing is sent to unless the channel allows it: what an address of a name in the wrong hands
//! could reach from this machine and not from outside.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// A name has no address that may be connected to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{host} is {address}, {what}: nothing is sent there unless the channel has allow_private = true"
)]
pub(crate) struct Refused {
    host: String,
    address: IpAddr,
    what: &'static str,
}

/// Looks up names and passes on those addresses that may be connected to. They are what is connected
/// to: a name is not looked up a second time.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    allow_private: bool,
    resolver: DefaultResolver,
}

impl Guard {
    /// `allow_private`: all addresses are good.
    pub fn new(allow_private: bool) -> Guard {
        Guard { allow_private, resolver: DefaultResolver::default() }
    }
}

impl Resolver for Guard {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let all = self.resolver.resolve(uri, config, timeout)?;
        let host = uri.host().unwrap_or_default();
        let (mut good, mut refused) = (self.empty(), None);
        for address in all.iter() {
            match allowed(host, address.ip(), self.allow_private) {
                Ok(()) => good.push(*address),
                Err(why) => refused = Some(why),
            }
        }
        match refused {
            Some(why) if good.is_empty() => Err(ureq::Error::Other(Box::new(why))),
            _ => Ok(good),
        }
    }
}

/// Whether an address may be connected to.
pub(crate) fn allowed(host: &str, address: IpAddr, allow_private: bool) -> Result<(), Refused> {
    match private(address).filter(|_| !allow_private) {
        Some(what) => Err(Refused { host: host.to_owned(), address, what }),
        None => Ok(()),
    }
}

/// What an address is that is not a public one.
fn private(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => private_v4(address),
        IpAddr::V6(address) => private_v6(address),
    }
}

fn private_v4(address: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        (0, ..) => Some("no address of a machine"),
        (127, ..) => Some("this machine"),
        (10, ..) | (192, 168, _) => Some("a private address"),
        (172, 16..=31, _) => Some("a private address"),
        (169, 254, _) => Some("a link-local address, as those of metadata services are"),
        (100, 64..=127, _) => Some("an address behind a carrier's translation"),
        (192, 0, 0) | (198, 18..=19, _) => Some("an address for special uses"),
        (192, 0, 2) | (198, 51, 100) | (203, 0, 113) => Some("an address of documentation"),
        (192, 88, 99) => Some("an address of a relay"),
        (224..=239, ..) => Some("a multicast address"),
        (240..=255, ..) => Some("a reserved address"),
        _ => None,
    }
}

fn private_v6(address: Ipv6Addr) -> Option<&'static str> {
    let parts = address.segments();
    let inner = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        private_v4(Ipv4Addr::new(a, b, c, d))
    };
    match parts {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("no address of a machine"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("this machine"),
        // An address of version 4 in one of version 6: mapped, compatible, translated.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0, 0, 0, 0, 0, 0, high, low] => inner(high, low),
        [0, 0, 0, 0, 0xffff, 0, high, low] => inner(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => inner(high, low),
        [0x64, 0xff9b, 1, ..] => Some("an address of a translator's own network"),
        [0x2002, high, low, ..] => inner(high, low),
        [0x2001, 0, ..] => Some("an address of a tunnel"),
        [0x2001, 0xdb8, ..] => Some("an address of documentation"),
        [0x100, 0, 0, 0, ..] => Some("an address that is thrown away"),
        [first, ..] if first & 0xfe00 == 0xfc00 => Some("a private address"),
        [first, ..] if first & 0xffc0 == 0xfe80 => Some("a link-local address"),
        [first, ..] if first & 0xffc0 == 0xfec0 => Some("a site-local address"),
        [first, ..] if first & 0xff00 == 0xff00 => Some("a multicast address"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_refused(text: &str) -> bool {
        allowed("host", text.parse().unwrap(), false).is_err()
    }

    #[test]
    fn what_only_this_machine_could_reach_is_refused() {
        for address in [
            "127.0.0.1",
            "127.255.255.254",
            "0.0.0.0",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.255.255",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.0.170",
            "198.18.0.1",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:10.1.2.3",
            "::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "fd00:ec2::254",
            "fc00::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(is_refused(address), "{address}");
            assert!(allowed("host", address.parse().unwrap(), true).is_ok(), "{address}");
        }
        for address in [
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.0.1",
            "172.32.0.1",
            "169.253.0.1",
            "192.167.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
            "2a00:1450::1",
        ] {
            assert!(!is_refused(address), "{address}");
        }
        let metadata = "169.254.169.254".parse().unwrap();
        assert_eq!(
            allowed("hooks.example", metadata, false).unwrap_err().to_string(),
            "hooks.example is 169.254.169.254, a link-local address, as those of metadata services \
             are: nothing is sent there unless the channel has allow_private = true"
        );
    }

    proptest! {
        /// Whatever is refused is refused in each of its disguises.
        #[test]
        fn an_address_in_another_one_is_the_same(bits in any::<u32>()) {
            let plain = Ipv4Addr::from(bits);
            let [a, b, c, d] = plain.octets().map(u16::from);
            let (high, low) = (a << 8 | b, c << 8 | d);
            for disguise in [
                plain.to_ipv6_mapped(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            ] {
                prop_assert_eq!(private_v4(plain).is_some(), private_v6(disguise).is_some());
            }
        }
    }
}
