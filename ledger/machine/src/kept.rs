//! The record of what has left the store ([`crate::prune`]), which whoever reads
//! has to know.

use borsh::{BorshDeserialize, BorshSerialize};
use hufu_proof::{Height, codec};
use hufu_store::{Space, Store, StoreError, Write};

use crate::error::MachineError;

/// Where the record of what has left is, among the headers.
const KEY: &[u8] = b"p";

/// Most bytes of the record: a state key, and some numbers.
const MAX_RECORD: usize = 16 * 1024;

/// What has left the store, and what is on its way.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Progress {
    /// Everything as of this height and later is there.
    pub(crate) kept_from: Height,
    /// Bodies before this height have left.
    pub(crate) bodies: Height,
    /// Nodes that were replaced up to this height have left.
    pub(crate) tree: Height,
    /// Versions that are not seen as of this height have left.
    pub(crate) versions: Height,
    /// The sweep for versions that is under way.
    pub(crate) sweep: Option<Sweep>,
}

/// A look at all versions.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Sweep {
    /// As of which height they have to be seen to stay.
    pub(crate) height: Height,
    /// Whether it is in the second of the two spaces.
    pub(crate) usage: bool,
    /// The key to go on from.
    pub(crate) from: Vec<u8>,
}

impl Progress {
    pub(crate) fn load(store: &dyn Store) -> Result<Self, MachineError> {
        let Some(row) = store.read_latest(Space::Headers, KEY)? else {
            return Ok(Self::default());
        };
        codec::decode("record of what has left", &row, MAX_RECORD)
            .map_err(|error| MachineError::undecodable("record of what has left", error))
    }

    pub(crate) fn save(&self, store: &dyn Store, applied: Height) -> Result<(), StoreError> {
        let write = Write::put(Space::Headers, KEY, codec::encode(self));
        store.attach(applied.get(), vec![write])
    }

    /// A sweep reads all of the state, so what is old has to be worth it: as many
    /// heights as are kept.
    pub(crate) fn sweep_is_due(&self, applied: Height) -> bool {
        let old = self.kept_from.since(self.versions);
        old > 0 && old >= applied.since(self.kept_from)
    }
}

/// The earliest height as of which everything is there.
pub(crate) fn kept_from(store: &dyn Store) -> Result<Height, MachineError> {
    Ok(Progress::load(store)?.kept_from)
}

/// That a height is kept.
pub(crate) fn check(height: Height, kept_from: Height) -> Result<(), MachineError> {
    if height < kept_from {
        return Err(MachineError::Pruned { height, kept_from });
    }
    Ok(())
}
