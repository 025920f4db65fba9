//! Where a transaction is, by its identifier: borsh of [`Place`].

use borsh::{BorshDeserialize, BorshSerialize};
use hufu_proof::{Digest, LogIndex, codec};
use hufu_store::{Space, Store, Write};

use crate::error::MachineError;

/// Where a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Place {
    /// Its entry in the log.
    pub(crate) log_index: LogIndex,
    /// Where it begins in its encoded block.
    pub(crate) offset: u32,
    /// Its encoded length in bytes.
    pub(crate) length: u32,
    /// Whether its signature was good, so that its identifier is taken.
    pub(crate) taken: bool,
}

pub(crate) fn write(id: &Digest, place: &Place) -> Write {
    Write::put(Space::Transactions, *id.as_bytes(), codec::encode(place))
}

pub(crate) fn read(
    store: &dyn Store,
    id: &Digest,
    height: u64,
) -> Result<Option<Place>, MachineError> {
    let row = store.read(Space::Transactions, id.as_bytes(), height)?;
    row.map(|row| {
        codec::decode("place of a transaction", &row, 64)
            .map_err(|error| MachineError::undecodable("transaction index", error))
    })
    .transpose()
}
