//! The embedded engine as the source or the target of a copy.

use std::ops::Bound::{Excluded, Unbounded};
use std::path::Path;
use std::sync::PoisonError;

use crate::copy::{Page, Portable, Progress};
use crate::embedded::{EmbeddedStore, Options, Purpose};
use crate::record::encode_applied;
use crate::{Applied, Row, Space, StoreError};

/// Where it is kept how far a copy is.
pub(super) const RECORD: &str = "copy";

impl EmbeddedStore {
    /// Opens or creates the store in the directory `path` to copy another one into
    /// it.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_target(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_for(path.as_ref(), &Options::default(), Purpose::CopyInto)
    }
}

impl Portable for EmbeddedStore {
    fn stored(
        &self,
        space: Space,
        after: Option<&[u8]>,
        height: u64,
        enough: usize,
    ) -> Result<Page, StoreError> {
        let keyspace = self.shared.keyspace(space);
        let start = after.map_or(Unbounded, Excluded);
        let mut page = Page::default();
        for guard in keyspace.range::<&[u8], _>((start, Unbounded)) {
            let (key, row) = guard.into_inner().map_err(|error| self.shared.engine_error(error))?;
            page.take(space, (key.to_vec(), row.to_vec()), height)?;
            if page.is_full(enough) {
                break;
            }
        }
        Ok(page)
    }

    fn stored_row(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let row = self.shared.keyspace(space).get(key);
        Ok(row.map_err(|error| self.shared.engine_error(error))?.map(|row| row.to_vec()))
    }

    fn unfinished(&self) -> Result<Option<Progress>, StoreError> {
        let row = self.shared.meta.get(RECORD).map_err(|error| self.shared.engine_error(error))?;
        row.map(|row| Progress::decode(&row)).transpose()
    }

    fn begin_copy(&self, progress: &Progress) -> Result<(), StoreError> {
        let mut writer = self.writer()?;
        let height = self.shared.applied_height();
        let unfinished = self.unfinished()?.is_some();
        if height.is_some() || (writer.staged.is_some() && !unfinished) {
            return Err(StoreError::Occupied { height });
        }
        if unfinished {
            for space in Space::ALL {
                let cleared = self.shared.keyspace(space).clear();
                cleared.map_err(|error| self.shared.engine_error(error))?;
            }
        }
        let mut batch = self.shared.database.batch();
        batch.insert(&self.shared.meta, RECORD, progress.encode());
        self.shared.commit(&mut writer, batch, true)
    }

    fn add(&self, space: Space, rows: Vec<Row>, progress: &Progress) -> Result<(), StoreError> {
        let mut writer = self.writer()?;
        let mut batch = self.shared.database.batch();
        for (key, value) in rows {
            batch.insert(self.shared.keyspace(space), key, value);
        }
        batch.insert(&self.shared.meta, RECORD, progress.encode());
        self.shared.commit(&mut writer, batch, true)
    }

    fn finish_copy(&self, applied: Applied) -> Result<(), StoreError> {
        let mut writer = self.writer()?;
        let mut batch = self.shared.database.batch();
        batch.insert(&self.shared.meta, "applied", encode_applied(&applied));
        batch.remove(&self.shared.meta, RECORD);
        self.shared.commit(&mut writer, batch, true)?;
        *self.shared.applied.write().unwrap_or_else(PoisonError::into_inner) = Some(applied);
        Ok(())
    }
}
