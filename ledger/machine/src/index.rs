//! Where a transaction is, by its identifier: borsh of [`Place`].

use std::collections::HashMap;

use borsh::{BorshDeserialize, BorshSerialize};
use hufu_proof::{Digest, Height, LogEntry, LogIndex, Outcome, codec};
use hufu_store::{Space, Store, Write};

use crate::error::MachineError;

/// Where a transaction is, and what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Place {
    /// Its entry in the log.
    pub(crate) log_index: LogIndex,
    /// Its block.
    pub(crate) height: Height,
    /// Its place in the block.
    pub(crate) index: u32,
    /// What became of it.
    pub(crate) outcome: Outcome,
    /// Where it begins in its encoded block.
    pub(crate) offset: u32,
    /// Its encoded length in bytes.
    pub(crate) length: u32,
    /// Whether its signature was good, so that its identifier is taken.
    pub(crate) taken: bool,
}

impl Place {
    /// From its row.
    pub(crate) fn decode(row: &[u8]) -> Result<Self, MachineError> {
        codec::decode("place of a transaction", row, 64)
            .map_err(|error| MachineError::undecodable("transaction index", error))
    }

    /// The log's entry of the transaction `id`, which is here.
    pub(crate) fn entry(&self, id: Digest) -> LogEntry {
        let Self { height, index, outcome, .. } = *self;
        LogEntry { transaction: id, height, index, outcome }
    }
}

pub(crate) fn write(id: &Digest, place: &Place) -> Write {
    Write::put(Space::Transactions, *id.as_bytes(), codec::encode(place))
}

pub(crate) fn read(
    store: &dyn Store,
    id: &Digest,
    height: u64,
) -> Result<Option<Place>, MachineError> {
    store
        .read(Space::Transactions, id.as_bytes(), height)?
        .map(|row| Place::decode(&row))
        .transpose()
}

/// Where those of `ids` are that are anywhere, read at once.
pub(crate) fn read_many(
    store: &dyn Store,
    ids: &[&Digest],
    height: u64,
) -> Result<HashMap<Digest, Place>, MachineError> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let keys: Vec<&[u8]> = ids.iter().map(|id| id.as_bytes().as_slice()).collect();
    let rows = store.read_many(Space::Transactions, &keys, height)?;
    let found = ids.iter().zip(rows).filter_map(|(id, row)| Some((**id, row?)));
    found.map(|(id, row)| Ok((id, Place::decode(&row)?))).collect()
}
