//! A copy of a store into another engine, row by row as they are stored: every
//! version of every key, so that what the copy answers is what its source
//! answered.
//!
//! # How it goes
//!
//! Rows go over in pages. With each page, in one transaction, goes a record of
//! how far the copy is ([`Progress`]): a copy that was interrupted goes on behind
//! the last page that arrived. Then both stores are read once more and compared,
//! and only then the target's applied height is set. Until then nothing of it is
//! visible, and nobody can open it but to go on.
//!
//! # What it rests on
//!
//! That the source does not change meanwhile: whoever copies sees to it, and asks
//! the source's applied height again at the end. Rows of a height that was
//! staged and not flipped stay behind. A target that has anything else than an
//! unfinished copy is refused; an unfinished copy of another height is removed
//! from it, because its source has moved on.

use crate::limits::ROW_OVERHEAD;
use crate::record::{decode_applied, encode_applied};
use crate::rows::plain;
use crate::{Applied, Row, Space, Store, StoreError, layout};

/// What the rows of a page weigh in a transaction of the cluster. The last one may
/// be over it, by less than what is left to a transaction's limit.
const PAGE: usize = 800_000;

/// What a row weighs: its key is in it, with the longest prefix, and at both ends of
/// what the cluster watches for conflicts.
fn weight((key, row): &Row) -> usize {
    3 * (key.len() + 65) + row.len() + ROW_OVERHEAD
}

/// An engine that can be copied from and into.
pub trait Portable: Store {
    /// Rows of `space` behind the stored key `after`, as they are stored, of
    /// heights up to `height`: until they weigh `enough` or there are no more.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn stored(
        &self,
        space: Space,
        after: Option<&[u8]>,
        height: u64,
        enough: usize,
    ) -> Result<Page, StoreError>;

    /// The row under a stored key, as it is stored, whether it is visible or not.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn stored_row(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// How far a copy into this store is that is not finished.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn unfinished(&self) -> Result<Option<Progress>, StoreError>;

    /// Begins a copy, in a store that has nothing or an unfinished copy, which is
    /// removed.
    ///
    /// # Errors
    /// [`StoreError::Occupied`] for any other; [`StoreError`].
    fn begin_copy(&self, progress: &Progress) -> Result<(), StoreError>;

    /// Adds rows as they are stored, and says with them how far the copy is.
    ///
    /// # Errors
    /// [`StoreError`]; what was not added is to be added again.
    fn add(&self, space: Space, rows: Vec<Row>, progress: &Progress) -> Result<(), StoreError>;

    /// Makes the copied height visible.
    ///
    /// # Errors
    /// [`StoreError`].
    fn finish_copy(&self, applied: Applied) -> Result<(), StoreError>;
}

/// Rows as they are stored.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In the order of their keys.
    pub rows: Vec<Row>,
    weight: usize,
    bytes: usize,
}

impl Page {
    /// Takes a row if it is of a height up to `height`.
    pub(crate) fn take(&mut self, space: Space, row: Row, height: u64) -> Result<(), StoreError> {
        let (key, value) = &row;
        let of = if space.is_versioned() {
            let split = layout::split_versioned_key(key);
            split.ok_or_else(|| StoreError::damaged(format!("a key of the space `{space}`")))?.1
        } else {
            plain(space, value)?.0
        };
        if of <= height {
            self.weight += weight(&row);
            self.bytes += key.len() + value.len();
            self.rows.push(row);
        }
        Ok(())
    }

    /// Whether it has its rows.
    pub(crate) fn is_full(&self, enough: usize) -> bool {
        self.weight >= enough
    }

    /// The key behind which the next page begins; `None` after the last one.
    fn next(&self, enough: usize) -> Option<&[u8]> {
        let last = self.rows.last().filter(|_| self.is_full(enough));
        last.map(|(key, _)| key.as_slice())
    }
}

/// How far a copy is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is copied.
    pub of: Applied,
    /// The space that it is in; `None` when every row has arrived.
    pub space: Option<Space>,
    /// The last stored key that has arrived of this space.
    pub after: Option<Vec<u8>>,
    /// Rows that have arrived.
    pub rows: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
}

impl Progress {
    fn begin(of: Applied) -> Self {
        Self { of, space: Space::ALL.first().copied(), after: None, rows: 0, bytes: 0 }
    }

    /// As it is stored: `length of the applied height (four bytes) ‖ applied
    /// height ‖ code of the space, or 0 ‖ rows ‖ bytes ‖ whether there is a key ‖
    /// key`; numbers big-endian.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let of = encode_applied(&self.of);
        // Fits: a commitment is small.
        let mut out = (of.len() as u32).to_be_bytes().to_vec();
        out.extend_from_slice(&of);
        out.push(self.space.map_or(0, Space::code));
        out.extend_from_slice(&self.rows.to_be_bytes());
        out.extend_from_slice(&self.bytes.to_be_bytes());
        out.push(u8::from(self.after.is_some()));
        out.extend_from_slice(self.after.as_deref().unwrap_or_default());
        out
    }

    fn decode_parts(row: &[u8]) -> Option<Self> {
        let (length, row) = row.split_first_chunk::<4>()?;
        let (of, row) = row.split_at_checked(u32::from_be_bytes(*length).try_into().ok()?)?;
        let (code, row) = row.split_first()?;
        let space = match code {
            0 => None,
            code => Some(Space::ALL.into_iter().find(|space| space.code() == *code)?),
        };
        let (rows, row) = row.split_first_chunk::<8>()?;
        let (bytes, row) = row.split_first_chunk::<8>()?;
        let after = match row.split_first()? {
            (0, []) => None,
            (1, key) => Some(key.to_vec()),
            _ => return None,
        };
        let (rows, bytes) = (u64::from_be_bytes(*rows), u64::from_be_bytes(*bytes));
        Some(Self { of: decode_applied(of)?, space, after, rows, bytes })
    }

    pub(crate) fn decode(row: &[u8]) -> Result<Self, StoreError> {
        Self::decode_parts(row).ok_or_else(|| StoreError::damaged("its record of a copy"))
    }
}

/// What a copy is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// It goes on where an earlier one was interrupted.
    Resumed,
    /// Rows go over.
    Copying(Space),
    /// Both stores are read and compared.
    Comparing(Space),
}

/// What a copy has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// What is in both stores.
    pub applied: Applied,
    /// Rows in each, every version counted.
    pub rows: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Whether the target had all of it before, so that it was compared only.
    pub was_there: bool,
}

/// Copies `source` into `target`, compares them, and makes the copy visible.
/// `told` hears of every page, with the rows and bytes until then.
///
/// # Errors
/// [`StoreError::NothingToCopy`]; [`StoreError::Occupied`];
/// [`StoreError::Different`] when the copy is not what its source is; what either
/// store meets.
pub fn copy(
    source: &dyn Portable,
    target: &dyn Portable,
    told: &mut dyn FnMut(Work, u64, u64),
) -> Result<Copied, StoreError> {
    let of = source.applied()?.ok_or(StoreError::NothingToCopy)?;
    match target.applied()? {
        Some(there) if there == of => {
            let (rows, bytes) = compare(source, target, of.height, told)?;
            return Ok(Copied { applied: of, rows, bytes, was_there: true });
        }
        Some(there) => return Err(StoreError::Occupied { height: Some(there.height) }),
        None => {}
    }
    let mut progress = match target.unfinished()?.filter(|progress| progress.of == of) {
        Some(progress) => {
            told(Work::Resumed, progress.rows, progress.bytes);
            progress
        }
        None => {
            let progress = Progress::begin(of.clone());
            target.begin_copy(&progress)?;
            progress
        }
    };
    while let Some(space) = progress.space {
        let page = source.stored(space, progress.after.as_deref(), of.height, PAGE)?;
        progress.rows += page.rows.len() as u64;
        progress.bytes += page.bytes as u64;
        match page.next(PAGE) {
            Some(last) => progress.after = Some(last.to_vec()),
            None => {
                progress.after = None;
                progress.space = Space::ALL.into_iter().find(|next| next.code() > space.code());
            }
        }
        target.add(space, page.rows, &progress)?;
        told(Work::Copying(space), progress.rows, progress.bytes);
    }
    let (rows, bytes) = compare(source, target, of.height, told)?;
    target.finish_copy(of.clone())?;
    Ok(Copied { applied: of, rows, bytes, was_there: false })
}

/// Reads both stores and compares every row; rows and bytes of each.
fn compare(
    source: &dyn Portable,
    target: &dyn Portable,
    height: u64,
    told: &mut dyn FnMut(Work, u64, u64),
) -> Result<(u64, u64), StoreError> {
    let (mut rows, mut bytes) = (0, 0);
    for space in Space::ALL {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let after_key = after.as_deref();
            let page = source.stored(space, after_key, height, PAGE)?;
            if target.stored(space, after_key, height, PAGE)? != page {
                return Err(StoreError::Different { space });
            }
            rows += page.rows.len() as u64;
            bytes += page.bytes as u64;
            told(Work::Comparing(space), rows, bytes);
            let Some(next) = page.next(PAGE) else { break };
            after = Some(next.to_vec());
        }
    }
    Ok((rows, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn progress_round_trips(
            height: u64, block: [u8; 32], rows: u64, bytes: u64,
            space in prop::option::of(prop::sample::select(Space::ALL.to_vec())),
            after in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
            commitment in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let of = Applied { height, block, commitment };
            let progress = Progress { of, space, after, rows, bytes };
            prop_assert_eq!(Progress::decode(&progress.encode()).unwrap(), progress);
        }

        #[test]
        fn arbitrary_records_do_not_panic(row in prop::collection::vec(any::<u8>(), 0..90)) {
            let _ = Progress::decode(&row);
        }
    }
}
