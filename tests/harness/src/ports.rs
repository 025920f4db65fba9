//! Free ports of the loopback interface.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::bail;
use rand::Rng as _;

/// Below the range from which the system takes ports for outgoing connections:
/// a node that was killed must find its ports free when it comes back.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// `count` addresses with ports that nobody listens on.
///
/// # Errors
/// When the range has no such ports.
pub fn free(count: usize) -> anyhow::Result<Vec<SocketAddr>> {
    let mut held = Vec::with_capacity(count);
    let mut random = rand::rng();
    for _ in 0..10_000 {
        if held.len() == count {
            // Released only together, so that they differ.
            return held.iter().map(|listener: &TcpListener| Ok(listener.local_addr()?)).collect();
        }
        let port = random.random_range(RANGE);
        held.extend(TcpListener::bind((Ipv4Addr::LOCALHOST, port)));
    }
    bail!("found only {} of {count} free loopback ports in {RANGE:?}", held.len())
}
