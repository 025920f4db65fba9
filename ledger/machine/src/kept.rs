//! The record of what has left the store ([`crate::prune`]), which whoever reads
//! has to know.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use borsh::{BorshDeserialize, BorshSerialize};
use hufu_proof::{Height, codec};
use hufu_store::{Space, Store, StoreError, Write};

use crate::error::MachineError;

/// Where the record of what has left is, among the headers.
const KEY: &[u8] = b"p";

/// Most bytes of the record: a state key, and some numbers.
const MAX_RECORD: usize = 16 * 1024;

/// For how many heights after the last question about it a height is kept that
/// somebody takes a snapshot of.
pub const HELD: u64 = 8_192;

/// For how many heights after the first question about it a height is kept at most.
pub const HELD_AT_MOST: u64 = 262_144;

/// Heights that somebody takes a snapshot of, and that do not leave meanwhile: since
/// when, and when each was asked for last.
#[derive(Default)]
pub(crate) struct Held(Mutex<BTreeMap<Height, (Height, Height)>>);

impl Held {
    /// Notes that somebody takes `height`, when `applied` is the last executed one.
    pub(crate) fn hold(&self, height: Height, applied: Height) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.entry(height).or_insert((applied, applied)).1 = applied;
    }

    /// The earliest height that somebody takes.
    pub(crate) fn earliest(&self, applied: Height) -> Option<Height> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|_, (first, last)| {
            applied.since(*first) <= HELD_AT_MOST && applied.since(*last) <= HELD
        });
        held.keys().next().copied()
    }
}

/// The record of a store whose record begins with a snapshot of `height`: what is
/// before was never there.
pub(crate) fn from_snapshot(height: Height) -> Write {
    let progress =
        Progress { kept_from: height, bodies: height, tree: height, versions: height, sweep: None };
    Write::put(Space::Headers, KEY, codec::encode(&progress))
}

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
