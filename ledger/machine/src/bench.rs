//! What benches measure that is not public otherwise.

use std::sync::Arc;

use hufu_proof::{Digest, Height, codec};
use hufu_store::{Applied, Store};

use crate::error::MachineError;
use crate::tree::{self, NodeCache, node_cache};

/// Keys in each height while the tree is filled.
const FILL: u64 = 10_000;

/// A state tree alone, on a store.
pub struct StateRoot {
    store: Arc<dyn Store>,
    nodes: NodeCache,
    keys: u64,
    height: Height,
}

impl StateRoot {
    /// A tree of `keys` keys, stored.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn new(store: Arc<dyn Store>, keys: u64) -> Result<Self, MachineError> {
        let mut bench = Self { store, nodes: node_cache(), keys, height: Height::ZERO };
        for begin in (0..keys).step_by(FILL as usize) {
            bench.write(begin..(begin + FILL).min(keys), true)?;
        }
        Ok(bench)
    }

    /// The root after changing `count` keys that are spread over all.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn update(&mut self, count: u64) -> Result<Digest, MachineError> {
        let stride = (self.keys / count).max(1);
        self.write((0..count).map(|at| at * stride), false)
    }

    fn write(
        &mut self,
        keys: impl Iterator<Item = u64>,
        keep: bool,
    ) -> Result<Digest, MachineError> {
        let value = self.height.to_be_bytes();
        let keys: Vec<[u8; 8]> = keys.map(u64::to_be_bytes).collect();
        let pairs: Vec<(&[u8], &[u8])> =
            keys.iter().map(|key| (key.as_slice(), value.as_slice())).collect();
        let update = tree::update(&*self.store, &self.nodes, self.height, &pairs)?;
        let root = update.root;
        if keep {
            let writes = update.writes().collect();
            self.store.stage(self.height.get(), writes)?;
            let commitment = codec::encode(&root);
            self.store.flip(Applied { height: self.height.get(), block: root.0, commitment })?;
            update.remember(&self.nodes);
            self.height = self.height.next();
        }
        Ok(root)
    }
}
