//! What is old leaves the embedded engine: row by row, in transactions of the
//! usual size, and the room they took when a space is written anew.
//!
//! The engine has no removal of a range, and a removed row takes room until the
//! tables that have it are merged with its removal, which of old rows nobody
//! writes near again is never. So [`EmbeddedStore::rewrite`] merges a whole space.

use fjall::Readable as _;

use super::{EmbeddedStore, bounds};
use crate::layout;
use crate::limits::{MAX_TRANSACTION, ROW_OVERHEAD};
use crate::prune::Unseen;
use crate::rows::{plain, versioned};
use crate::{KeyRange, Old, Pruned, Space, StoreError};

/// Rows on their way out.
#[derive(Default)]
struct Leaving {
    keys: Vec<Vec<u8>>,
    size: usize,
    pruned: Pruned,
}

impl EmbeddedStore {
    pub(super) fn remove_old(&self, space: Space, old: Old<'_>) -> Result<Pruned, StoreError> {
        // Fenced holders are told so also where nothing is old.
        drop(self.writer()?);
        let Some(applied) = self.shared.applied_height() else { return Ok(Pruned::default()) };
        match old {
            Old::Rows(_) | Old::Range(_) if space.is_versioned() => {
                Err(StoreError::Unsupported { space, what: "removals of rows" })
            }
            Old::Versions { .. } if !space.is_versioned() => {
                Err(StoreError::Unsupported { space, what: "removals of versions" })
            }
            Old::Rows(keys) => self.remove_rows(space, keys, applied),
            Old::Range(range) => self.remove_range(space, range, applied),
            Old::Versions { height, .. } if height > applied => {
                Err(StoreError::NotNext { applied: Some(applied), height })
            }
            Old::Versions { from, height, limit } => {
                self.remove_versions(space, from, height, limit)
            }
        }
    }

    fn remove_rows(
        &self,
        space: Space,
        keys: &[Vec<u8>],
        applied: u64,
    ) -> Result<Pruned, StoreError> {
        let keyspace = self.shared.keyspace(space);
        let mut leaving = Leaving::default();
        for key in keys {
            let row = keyspace.get(key).map_err(|error| self.shared.engine_error(error))?;
            if let Some(row) = row
                && plain(space, &row)?.0 <= applied
            {
                self.leave(space, &mut leaving, key, row.len())?;
            }
        }
        self.left(space, leaving)
    }

    fn remove_range(
        &self,
        space: Space,
        range: &KeyRange,
        applied: u64,
    ) -> Result<Pruned, StoreError> {
        let keyspace = self.shared.keyspace(space);
        let snapshot = self.shared.database.snapshot();
        let mut leaving = Leaving::default();
        let bounds = bounds(&range.start, range.end.as_deref());
        for guard in snapshot.range::<&[u8], _>(keyspace, bounds) {
            let (key, row) = guard.into_inner().map_err(|error| self.shared.engine_error(error))?;
            if plain(space, &row)?.0 <= applied {
                self.leave(space, &mut leaving, &key, row.len())?;
            }
        }
        self.left(space, leaving)
    }

    fn remove_versions(
        &self,
        space: Space,
        from: &[u8],
        height: u64,
        limit: usize,
    ) -> Result<Pruned, StoreError> {
        let keyspace = self.shared.keyspace(space);
        let snapshot = self.shared.database.snapshot();
        let mut leaving = Leaving::default();
        let mut unseen = Unseen::as_of(height);
        let start = layout::escape_open(from);
        for (looked_at, guard) in
            snapshot.range::<&[u8], _>(keyspace, bounds(&start, None)).enumerate()
        {
            let (encoded, row) =
                guard.into_inner().map_err(|error| self.shared.engine_error(error))?;
            let (key, written) = layout::split_versioned_key(&encoded)
                .ok_or_else(|| StoreError::damaged(format!("a key of the space `{space}`")))?;
            if looked_at >= limit && unseen.is_next_key(&key) {
                leaving.pruned.next = Some(key);
                break;
            }
            if unseen.may_go(&key, written, versioned(space, &row)?.is_none()) {
                self.leave(space, &mut leaving, &encoded, row.len())?;
            }
        }
        self.left(space, leaving)
    }

    /// Takes a row along; writes when there are enough.
    fn leave(
        &self,
        space: Space,
        leaving: &mut Leaving,
        key: &[u8],
        value: usize,
    ) -> Result<(), StoreError> {
        leaving.pruned.rows += 1;
        leaving.pruned.bytes += (key.len() + value) as u64;
        leaving.size += key.len() + ROW_OVERHEAD;
        leaving.keys.push(key.to_vec());
        if leaving.size > MAX_TRANSACTION / 2 { self.write_out(space, leaving) } else { Ok(()) }
    }

    fn write_out(&self, space: Space, leaving: &mut Leaving) -> Result<(), StoreError> {
        leaving.size = 0;
        let rows = leaving.keys.drain(..).map(|key| (space, key, None));
        let mut writer = self.writer()?;
        self.shared.write_rows(&mut writer, rows, None)
    }

    fn left(&self, space: Space, mut leaving: Leaving) -> Result<Pruned, StoreError> {
        if !leaving.keys.is_empty() {
            self.write_out(space, &mut leaving)?;
        }
        Ok(leaving.pruned)
    }

    /// Merges all of a space, with what was removed from it.
    pub(super) fn rewrite(&self, space: Space) -> Result<(), StoreError> {
        let keyspace = self.shared.keyspace(space);
        let engine = |error| self.shared.engine_error(error);
        keyspace.rotate_memtable_and_wait().map_err(engine)?;
        keyspace.major_compact().map_err(engine)
    }
}
