//! A record as of one height that comes from elsewhere, a part at a time, and is
//! made visible at its end.
//!
//! It is a copy ([`crate::copy`]) whose source is not a store: rows go in with a
//! note of how far they are, durably, so that an interruption costs the part that
//! was on its way. Whoever takes it in reads it as if it were applied already;
//! nobody else sees any of it, and nobody can open the store but to go on.

use std::sync::Arc;

use crate::copy::{Portable, Progress};
use crate::limits::{MAX_TRANSACTION, ROW_OVERHEAD};
use crate::rows::{check_sizes, encode_row, plain, versioned};
use crate::{Applied, KeyRange, Old, Pruned, Row, Space, Store, StoreError, Write, layout};

/// Bytes of rows that are read at a time.
const PAGE: usize = 400_000;

/// A record that comes in. As a [`Store`] it reads what has come, all of it of one
/// height; it is written by [`Self::add`].
pub struct Incoming {
    target: Arc<dyn Portable>,
    progress: Progress,
}

impl Incoming {
    /// Goes on with a record of `of` in `target`, or begins one: `target` has to be
    /// empty, or to hold an unfinished one, which is removed if it is of another height.
    ///
    /// # Errors
    /// [`StoreError::Occupied`] when it has a record of its own; what the engine meets.
    pub fn open(target: Arc<dyn Portable>, of: &Applied) -> Result<Self, StoreError> {
        if let Some(there) = target.applied()? {
            return Err(StoreError::Occupied { height: Some(there.height) });
        }
        let progress = match target.unfinished()?.filter(|progress| progress.of == *of) {
            Some(progress) => progress,
            None => {
                let progress =
                    Progress { of: of.clone(), space: None, after: None, rows: 0, bytes: 0 };
                target.begin_copy(&progress)?;
                progress
            }
        };
        Ok(Self { target, progress })
    }

    /// What is being taken into `target`, if anything is.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn unfinished(target: &dyn Portable) -> Result<Option<Applied>, StoreError> {
        Ok(target.unfinished()?.map(|progress| progress.of))
    }

    /// What was noted with the last rows that came: where they are, and how far.
    pub fn note(&self) -> Option<(Space, &[u8])> {
        Some((self.progress.space?, self.progress.after.as_deref().unwrap_or_default()))
    }

    /// Rows that have come, and bytes of their keys and values.
    pub fn size(&self) -> (u64, u64) {
        (self.progress.rows, self.progress.bytes)
    }

    /// Adds rows of any spaces durably, in as few transactions as the limits allow,
    /// and notes with the last of them how far they are. Rows that were added before
    /// may be added again.
    ///
    /// # Errors
    /// [`StoreError`]; what was not noted is to be added again.
    pub fn add(&mut self, writes: Vec<Write>, note: (Space, Vec<u8>)) -> Result<(), StoreError> {
        check_sizes(&writes, true)?;
        let mut next = self.progress.clone();
        let mut by_space: Vec<(Space, Vec<Row>)> = Vec::new();
        let mut room = 0;
        for write in writes {
            let (space, key, value) = encode_row(self.progress.of.height, write);
            let value = value.unwrap_or_default();
            // As an engine counts them: keys are in what it watches for conflicts, too.
            let weight = 3 * (key.len() + 65) + value.len() + ROW_OVERHEAD;
            next.rows += 1;
            next.bytes += (key.len() + value.len()) as u64;
            match by_space.last_mut() {
                Some((last, rows)) if *last == space && room >= weight => {
                    room -= weight;
                    rows.push((key, value));
                }
                _ => {
                    room = (MAX_TRANSACTION * 4 / 5).saturating_sub(weight);
                    by_space.push((space, vec![(key, value)]));
                }
            }
        }
        (next.space, next.after) = (Some(note.0), Some(note.1));
        let last = by_space.pop().unwrap_or((note.0, Vec::new()));
        for (space, rows) in by_space {
            self.target.add(space, rows, &self.progress)?;
        }
        self.target.add(last.0, last.1, &next)?;
        self.progress = next;
        Ok(())
    }

    /// Makes the record visible, durably.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn finish(self) -> Result<(), StoreError> {
        self.target.finish_copy(self.progress.of)
    }

    /// What a stored row holds; `None` for a removal.
    fn value(space: Space, row: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match space.is_versioned() {
            true => Ok(versioned(space, row)?.map(<[u8]>::to_vec)),
            false => Ok(Some(plain(space, row)?.1.to_vec())),
        }
    }

    /// The key that a stored key is of.
    fn key(space: Space, stored: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        if !space.is_versioned() {
            return Ok(stored);
        }
        let split = layout::split_versioned_key(&stored);
        Ok(split.ok_or_else(|| StoreError::damaged(format!("a key of the space `{space}`")))?.0)
    }
}

impl Store for Incoming {
    fn fence(&self) -> u64 {
        self.target.fence()
    }

    fn applied(&self) -> Result<Option<Applied>, StoreError> {
        Ok(Some(self.progress.of.clone()))
    }

    fn stage(&self, height: u64, _: Vec<Write>) -> Result<(), StoreError> {
        Err(StoreError::NotNext { applied: Some(self.progress.of.height), height })
    }

    fn flip(&self, applied: Applied) -> Result<(), StoreError> {
        Err(StoreError::NotStaged(applied.height))
    }

    fn attach(&self, _: u64, _: Vec<Write>) -> Result<(), StoreError> {
        Err(StoreError::ReadOnly)
    }

    fn read(&self, space: Space, key: &[u8], _: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let stored = match space.is_versioned() {
            true => layout::versioned_key(key, self.progress.of.height),
            false => key.to_vec(),
        };
        match self.target.stored_row(space, &stored)? {
            Some(row) => Self::value(space, &row),
            None => Ok(None),
        }
    }

    fn is_remote(&self) -> bool {
        self.target.is_remote()
    }

    fn read_many(
        &self,
        space: Space,
        keys: &[&[u8]],
        height: u64,
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        keys.iter().map(|key| self.read(space, key, height)).collect()
    }

    fn scan(
        &self,
        space: Space,
        range: &KeyRange,
        _: u64,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let height = self.progress.of.height;
        let mut rows = Vec::new();
        // No stored key of a versioned space is the beginning of one.
        let mut after = match space.is_versioned() {
            true => layout::escape_open(&range.start),
            false => range.start.clone(),
        };
        if !space.is_versioned()
            && let Some(row) = self.target.stored_row(space, &after)?
            && let Some(value) = Self::value(space, &row)?
            && range.end.as_ref().is_none_or(|end| range.start < *end)
        {
            rows.push((range.start.clone(), value));
        }
        while rows.len() < limit {
            let page = self.target.stored(space, Some(&after), height, PAGE)?;
            let full = page.is_full(PAGE);
            let Some((last, _)) = page.rows.last() else { break };
            after = last.clone();
            for (stored, row) in page.rows {
                let key = Self::key(space, stored)?;
                if rows.len() == limit || range.end.as_ref().is_some_and(|end| key >= *end) {
                    return Ok(rows);
                }
                if let Some(value) = Self::value(space, &row)? {
                    rows.push((key, value));
                }
            }
            if !full {
                break;
            }
        }
        rows.truncate(limit);
        Ok(rows)
    }

    fn prune(&self, _: Space, _: Old<'_>) -> Result<Pruned, StoreError> {
        Err(StoreError::ReadOnly)
    }
}
