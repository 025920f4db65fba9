//! Blocks, headers, commitments, certificates of finality and events, by
//! height, in the plain spaces of a store.
//!
//! | space | row | holds |
//! |---|---|---|
//! | headers | `h` + height | the header |
//! | headers | `e` + number of an epoch but 0 | the first height of the epoch |
//! | headers | `c` + height | the [`Commitment`] after executing the height |
//! | headers | `o` + number of an epoch but 0 | how the epoch before ended, once the state then has left |
//! | headers | `p` | what has left ([`crate::prune`]) |
//! | headers | `s` | the height of the snapshot that the record begins with, where it does |
//! | blocks | height (large) | the block |
//! | events | height (large) | of the height's events what is not in its block and the log |
//! | finality | height | the certificate of finality, where one was given |

use borsh::BorshDeserialize;
use hufu_proof::codec::{self, MAX_BLOCK, MAX_PROOF};
use hufu_proof::{Block, Commitment, FinalityCertificate, Handover, Header, Height, Transaction};
use hufu_store::{KeyRange, Space, Store, StoreError, Write, large};

use crate::error::MachineError;

/// Most bytes of an encoded header or commitment.
const MAX_HEADER: usize = 1_024;

/// Where the height of the snapshot is that the record begins with.
const SNAPSHOT: &[u8] = b"s";

fn header_key(height: Height) -> Vec<u8> {
    [&b"h"[..], &height.to_be_bytes()].concat()
}

fn commitment_key(height: Height) -> Vec<u8> {
    [&b"c"[..], &height.to_be_bytes()].concat()
}

/// The rows of a height.
pub(crate) fn writes(
    header: &Header,
    block: &[u8],
    commitment: &Commitment,
    told: &[u8],
) -> Result<Vec<Write>, StoreError> {
    let height = header.height;
    let key = height.to_be_bytes();
    let mut writes = vec![header_write(header), commitment_write(commitment)];
    writes.extend(large::writes(Space::Blocks, &key, block)?);
    writes.extend(large::writes(Space::Events, &key, told)?);
    Ok(writes)
}

/// The row of a header.
pub(crate) fn header_write(header: &Header) -> Write {
    Write::put(Space::Headers, header_key(header.height), codec::encode(header))
}

/// The row of what a height resulted in.
pub(crate) fn commitment_write(commitment: &Commitment) -> Write {
    Write::put(Space::Headers, commitment_key(commitment.height), codec::encode(commitment))
}

/// The row of a snapshot that the record begins with.
pub(crate) fn snapshot_write(height: Height) -> Write {
    Write::put(Space::Headers, SNAPSHOT, height.to_be_bytes())
}

/// The height of the snapshot that the record begins with, where it does.
pub(crate) fn snapshot(store: &dyn Store) -> Result<Option<Height>, MachineError> {
    let row = store.read_latest(Space::Headers, SNAPSHOT)?;
    let height = |row: Vec<u8>| {
        let row = row.try_into().map_err(|_| MachineError::damaged("record of a snapshot"))?;
        Ok(Height::from_be_bytes(row))
    };
    row.map(height).transpose()
}

/// The row of an epoch.
pub(crate) fn epoch_write(number: u64, first: Height) -> Write {
    Write::put(
        Space::Headers,
        [&b"e"[..], &number.to_be_bytes()].concat(),
        first.to_be_bytes().to_vec(),
    )
}

/// The first heights of the epochs that follow epoch 0, in their order.
pub(crate) fn epochs(store: &dyn Store) -> Result<Vec<Height>, MachineError> {
    let rows = store.scan(Space::Headers, &KeyRange::prefix(b"e"), u64::MAX, usize::MAX)?;
    let first = |(_, row): (Vec<u8>, Vec<u8>)| {
        let row = row.try_into().map_err(|_| MachineError::damaged("epochs"))?;
        Ok(Height::from_be_bytes(row))
    };
    rows.into_iter().map(first).collect()
}

fn handover_key(epoch: u64) -> Vec<u8> {
    [&b"o"[..], &epoch.to_be_bytes()].concat()
}

/// The row that says how the epoch before `epoch` ended.
pub(crate) fn handover_write(epoch: u64, handover: &Handover) -> Write {
    Write::put(Space::Headers, handover_key(epoch), codec::encode(handover))
}

/// How the epoch before `epoch` ended, where that is recorded.
pub(crate) fn handover(store: &dyn Store, epoch: u64) -> Result<Option<Handover>, MachineError> {
    let row = store.read_latest(Space::Headers, &handover_key(epoch))?;
    row.map(|row| decode("end of an epoch", &row, MAX_PROOF)).transpose()
}

/// The row of a certificate of finality.
pub(crate) fn finality_write(height: Height, certificate: &FinalityCertificate) -> Write {
    Write::put(Space::Finality, height.to_be_bytes(), codec::encode(certificate))
}

fn decode<T: BorshDeserialize>(
    what: &'static str,
    row: &[u8],
    limit: usize,
) -> Result<T, MachineError> {
    codec::decode(what, row, limit).map_err(|error| MachineError::undecodable(what, error))
}

pub(crate) fn header(store: &dyn Store, height: Height) -> Result<Option<Header>, MachineError> {
    let row = store.read_latest(Space::Headers, &header_key(height))?;
    row.map(|row| decode("header", &row, MAX_HEADER)).transpose()
}

/// Headers `begin..end`, all of which must be there.
pub(crate) fn headers(
    store: &dyn Store,
    begin: Height,
    end: Height,
) -> Result<Vec<Header>, MachineError> {
    let range = KeyRange { start: header_key(begin), end: Some(header_key(end)) };
    let count = usize::try_from(end.since(begin)).unwrap_or(usize::MAX);
    let rows = store.scan(Space::Headers, &range, u64::MAX, count)?;
    if rows.len() != count {
        return Err(MachineError::damaged("chain of headers"));
    }
    rows.iter().map(|(_, row)| decode("header", row, MAX_HEADER)).collect()
}

pub(crate) fn commitment(
    store: &dyn Store,
    height: Height,
) -> Result<Option<Commitment>, MachineError> {
    let row = store.read_latest(Space::Headers, &commitment_key(height))?;
    row.map(|row| decode("commitment", &row, MAX_HEADER)).transpose()
}

pub(crate) fn block(store: &dyn Store, height: Height) -> Result<Option<Block>, MachineError> {
    let bytes = large::read(store, Space::Blocks, &height.to_be_bytes(), u64::MAX)?;
    // A block may be larger in the store than on the network: nothing here
    // relies on the network's limit.
    bytes.map(|bytes| decode("block", &bytes, MAX_BLOCK.max(bytes.len()))).transpose()
}

/// A transaction at `offset` of the block of `height`, without reading the rest.
pub(crate) fn transaction(
    store: &dyn Store,
    height: Height,
    offset: u32,
    length: u32,
) -> Result<Transaction, MachineError> {
    let key = height.to_be_bytes();
    let length = length as usize;
    let bytes = large::read_part(store, Space::Blocks, &key, u64::MAX, offset as usize, length)?;
    decode("transaction", &bytes, length)
}

/// What is stored of a height's events.
pub(crate) fn told(store: &dyn Store, height: Height) -> Result<Option<Vec<u8>>, MachineError> {
    Ok(large::read(store, Space::Events, &height.to_be_bytes(), u64::MAX)?)
}

pub(crate) fn finality(
    store: &dyn Store,
    height: Height,
) -> Result<Option<FinalityCertificate>, MachineError> {
    let row = store.read_latest(Space::Finality, &height.to_be_bytes())?;
    row.map(|row| decode("finality certificate", &row, MAX_PROOF)).transpose()
}

/// The first certificate at or after `height`, with its height.
pub(crate) fn next_finality(
    store: &dyn Store,
    height: Height,
) -> Result<Option<(Height, FinalityCertificate)>, MachineError> {
    let range = KeyRange { start: height.to_be_bytes().to_vec(), end: None };
    let rows = store.scan(Space::Finality, &range, u64::MAX, 1)?;
    let Some((key, row)) = rows.into_iter().next() else { return Ok(None) };
    let key = key.try_into().map_err(|_| MachineError::damaged("finality certificate"))?;
    Ok(Some((Height::from_be_bytes(key), decode("finality certificate", &row, MAX_PROOF)?)))
}

/// The newest height at most `applied` that has a certificate, if one of the
/// last `within` heights has one.
pub(crate) fn last_certified(
    store: &dyn Store,
    applied: Height,
    within: u64,
) -> Result<Option<Height>, MachineError> {
    let start = applied.minus(within).to_be_bytes().to_vec();
    let range = KeyRange { start, end: None };
    let rows = store.scan(Space::Finality, &range, u64::MAX, usize::MAX)?;
    let Some((key, _)) = rows.into_iter().next_back() else { return Ok(None) };
    let key = key.try_into().map_err(|_| MachineError::damaged("finality certificate"))?;
    Ok(Some(Height::from_be_bytes(key)))
}
