//! What a node runs in.

use commonware_runtime::{Clock, Metrics, Spawner, Storage};
use rand_core::CryptoRng;

/// What a node runs in: commonware's tokio runtime in the product, its
/// deterministic runtime in tests.
pub trait Environment:
    Spawner + Metrics + Clock + Storage + CryptoRng + Send + Sync + 'static
{
}

impl<E> Environment for E where
    E: Spawner + Metrics + Clock + Storage + CryptoRng + Send + Sync + 'static
{
}
