//! The cluster as the source or the target of a copy.

use std::sync::PoisonError;

use crate::copy::{Page, Portable, Progress};
use crate::foundationdb::ffi::Transaction;
use crate::foundationdb::keys::{Memory, Stop};
use crate::foundationdb::{FoundationStore, Options, Purpose};
use crate::record::encode_applied;
use crate::{Applied, Row, Space, StoreError};

/// Rows that are asked for at once.
const ROWS: usize = 4_096;

impl FoundationStore {
    /// Opens or creates a store on a cluster to copy another one into it, and takes
    /// it over from whoever copies into it.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_target(options: &Options) -> Result<Self, StoreError> {
        Self::open_for(options, Purpose::CopyInto)
    }

    /// How far a copy is, and for a holder that is not fenced.
    fn unfinished_in(&self, transaction: &Transaction) -> Result<Option<Progress>, Stop> {
        let copy = transaction.get(&self.keys.memory(Memory::Copy), false);
        self.check_fence(transaction.get(&self.keys.memory(Memory::Epoch), false))?;
        Ok(copy.value()?.map(|row| Progress::decode(&row)).transpose()?)
    }
}

impl Portable for FoundationStore {
    fn stored(
        &self,
        space: Space,
        after: Option<&[u8]>,
        height: u64,
        enough: usize,
    ) -> Result<Page, StoreError> {
        let behind = |key: &[u8]| [key, &[0]].concat();
        let begin = self.keys.row(space, after.unwrap_or_default());
        let begin = if after.is_some() { behind(&begin) } else { begin };
        let mut page = Page::default();
        let next = |key: &[u8]| Ok(behind(key));
        self.pages(begin, &self.keys.end(space), ROWS, ROWS, next, |rows| {
            for (key, row) in rows {
                let key = self.keys.stored(space, &key)?.to_vec();
                page.take(space, (key, row), height)?;
                if page.is_full(enough) {
                    return Ok(0);
                }
            }
            Ok(ROWS)
        })?;
        Ok(page)
    }

    fn stored_row(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let key = self.keys.row(space, key);
        self.session.read_now(|transaction| transaction.get(&key, true).value())
    }

    fn unfinished(&self) -> Result<Option<Progress>, StoreError> {
        let key = self.keys.memory(Memory::Copy);
        let row = self.session.read_now(|transaction| transaction.get(&key, true).value())?;
        row.map(|row| Progress::decode(&row)).transpose()
    }

    fn begin_copy(&self, progress: &Progress) -> Result<(), StoreError> {
        let mut writer = self.writer()?;
        let begun = self.session.write(|transaction| {
            let unfinished = self.unfinished_in(transaction)?.is_some();
            let found = self.look(transaction)?;
            let height = found.applied.map(|applied| applied.height);
            if height.is_some() || (found.staged.is_some() && !unfinished) {
                return Err(StoreError::Occupied { height }.into());
            }
            for space in Space::ALL {
                transaction.clear_range(&self.keys.row(space, b""), &self.keys.end(space));
            }
            transaction.set(&self.keys.memory(Memory::Copy), &progress.encode());
            Ok(())
        });
        begun.map_err(|failed| self.failed(&mut writer, failed))?;
        self.session.renew();
        Ok(())
    }

    fn add(&self, space: Space, rows: Vec<Row>, progress: &Progress) -> Result<(), StoreError> {
        let mut writer = self.writer()?;
        let added = self.session.write(|transaction| {
            if self.unfinished_in(transaction)?.is_none_or(|found| found.of != progress.of) {
                return Err(StoreError::damaged("its record of a copy").into());
            }
            for (key, row) in &rows {
                transaction.set(&self.keys.row(space, key), row);
            }
            transaction.set(&self.keys.memory(Memory::Copy), &progress.encode());
            Ok(())
        });
        added.map_err(|failed| self.failed(&mut writer, failed))?;
        self.session.renew();
        Ok(())
    }

    fn finish_copy(&self, applied: Applied) -> Result<(), StoreError> {
        let mut writer = self.writer()?;
        let finished = self.session.write(|transaction| {
            if self.look(transaction)?.applied.as_ref() == Some(&applied) {
                return Ok(());
            }
            if self.unfinished_in(transaction)?.is_none_or(|found| found.of != applied) {
                return Err(StoreError::damaged("its record of a copy").into());
            }
            transaction.set(&self.keys.memory(Memory::Applied), &encode_applied(&applied));
            transaction.clear(&self.keys.memory(Memory::Copy));
            Ok(())
        });
        finished.map_err(|failed| self.failed(&mut writer, failed))?;
        self.session.renew();
        *self.visible.write().unwrap_or_else(PoisonError::into_inner) = Some(applied);
        Ok(())
    }
}
