//! The machine's own addresses, from the kernel's tables.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Where a listener at `listen` can be reached from outside: its address, or
/// all of the machine's.
pub fn reachable(listen: SocketAddr) -> Vec<String> {
    if !listen.ip().is_unspecified() {
        return vec![listen.to_string()];
    }
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let mut found = version_4(&read("/proc/net/fib_trie"));
    if listen.is_ipv6() {
        found.extend(version_6(&read("/proc/net/if_inet6")));
    }
    found.into_iter().map(|ip| SocketAddr::new(ip, listen.port()).to_string()).collect()
}

/// Addresses in `/proc/net/fib_trie`: a line with one, then a line that says
/// that it is the host's.
fn version_4(table: &str) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    let mut candidate: Option<Ipv4Addr> = None;
    for line in table.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            candidate = address.parse().ok();
        } else if line == "/32 host LOCAL"
            && let Some(address) = candidate.take()
            && !address.is_loopback()
            && !found.contains(&address.into())
        {
            found.push(address.into());
        }
    }
    found
}

/// Global addresses in `/proc/net/if_inet6`: address, index, prefix length,
/// scope, flags, name.
fn version_6(table: &str) -> Vec<IpAddr> {
    table
        .lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let address = u128::from_str_radix(words.next()?, 16).ok()?;
            let scope = words.nth(2)?;
            (scope == "00").then(|| Ipv6Addr::from(address).into())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 127.0.0.1\n        /32 host LOCAL\n     \
             |-- 192.0.2.0\n        /24 link UNICAST\n     |-- 192.0.2.2\n        /32 host LOCAL\n\
             Local:\n     |-- 192.0.2.2\n        /32 host LOCAL\n";
        assert_eq!(version_4(trie), ["192.0.2.2".parse::<IpAddr>().unwrap()]);
        let table = "fe8000000000000000fc00fffe000001 04 40 20 80     eth0\n\
             00000000000000000000000000000001 01 80 10 80       lo\n\
             fd000000000000000000000000000002 04 40 00 82     eth0\n";
        assert_eq!(version_6(table), ["fd00::2".parse::<IpAddr>().unwrap()]);
        for nonsense in ["", "\n\n", "|-- \n/32 host LOCAL", "x y z", "12"] {
            assert!(version_4(nonsense).is_empty() && version_6(nonsense).is_empty());
        }
    }

    #[test]
    fn an_address_that_was_chosen_is_the_one() {
        assert_eq!(reachable("127.0.0.1:8440".parse().unwrap()), ["127.0.0.1:8440"]);
        assert!(!reachable("[::]:8440".parse().unwrap()).iter().any(|one| one.contains("127.")));
    }

    proptest! {
        #[test]
        fn no_table_is_too_strange(table in "(?s).{0,400}", lines in "([|]-- |/32 host LOCAL|\n|[0-9a-f.: ]){0,60}") {
            for text in [&table, &lines] {
                let _ = (version_4(text), version_6(text));
            }
        }
    }
}
