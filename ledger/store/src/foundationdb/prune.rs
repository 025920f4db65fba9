//! What is old leaves the cluster: ranges at once, versions a page at a time,
//! each in a transaction that reads the fence.

use crate::foundationdb::FoundationStore;
use crate::foundationdb::ffi::Transaction;
use crate::foundationdb::keys::Memory;
use crate::limits::{MAX_TRANSACTION, ROW_OVERHEAD};
use crate::prune::Unseen;
use crate::rows::versioned;
use crate::{KeyRange, Old, Pruned, Space, StoreError, layout};

impl FoundationStore {
    pub(super) fn remove_old(&self, space: Space, old: Old<'_>) -> Result<Pruned, StoreError> {
        let Some(applied) = self.visible() else { return Ok(Pruned::default()) };
        match old {
            Old::Rows(_) | Old::Range(_) if space.is_versioned() => {
                Err(StoreError::Unsupported { space, what: "removals of rows" })
            }
            Old::Versions { .. } if !space.is_versioned() => {
                Err(StoreError::Unsupported { space, what: "removals of versions" })
            }
            Old::Rows(keys) => {
                let mut pruned = Pruned::default();
                let stored: Vec<Vec<u8>> =
                    keys.iter().map(|key| self.keys.row(space, key)).collect();
                self.clear(&stored, &mut pruned)?;
                Ok(pruned)
            }
            Old::Range(range) => self.remove_range(space, range),
            Old::Versions { height, .. } if height > applied => {
                Err(StoreError::NotNext { applied: Some(applied), height })
            }
            Old::Versions { from, height, limit } => {
                self.remove_versions(space, from, height, limit)
            }
        }
    }

    fn remove_range(&self, space: Space, range: &KeyRange) -> Result<Pruned, StoreError> {
        let begin = self.keys.row(space, &range.start);
        let end = range
            .end
            .as_ref()
            .map_or_else(|| self.keys.end(space), |end| self.keys.row(space, end));
        if begin >= end {
            return Ok(Pruned::default());
        }
        self.commit_removal(|transaction| transaction.clear_range(&begin, &end))?;
        Ok(Pruned::default())
    }

    fn remove_versions(
        &self,
        space: Space,
        from: &[u8],
        height: u64,
        limit: usize,
    ) -> Result<Pruned, StoreError> {
        let begin = self.keys.row(space, &layout::escape_open(from));
        let end = self.keys.end(space);
        let mut pruned = Pruned::default();
        let mut unseen = Unseen::as_of(height);
        let mut looked_at = 0;
        let after = |key: &[u8]| Ok([key, &[0]].concat());
        self.pages(begin, &end, usize::MAX, 1, after, |rows| {
            let mut keys = Vec::new();
            for (stored, row) in rows {
                let (key, written) = layout::split_versioned_key(self.keys.stored(space, &stored)?)
                    .ok_or_else(|| StoreError::damaged(format!("a key of the space `{space}`")))?;
                if looked_at >= limit && unseen.is_next_key(&key) {
                    pruned.next = Some(key);
                    break;
                }
                looked_at += 1;
                if unseen.may_go(&key, written, versioned(space, &row)?.is_none()) {
                    pruned.bytes += (stored.len() + row.len()) as u64;
                    keys.push(stored);
                }
            }
            self.clear(&keys, &mut pruned)?;
            Ok(if pruned.next.is_some() { 0 } else { usize::MAX })
        })?;
        Ok(pruned)
    }

    /// Removes rows, in as few transactions as the limits allow.
    fn clear(&self, mut stored: &[Vec<u8>], pruned: &mut Pruned) -> Result<(), StoreError> {
        while !stored.is_empty() {
            let mut size = 0;
            let fits = |key: &&Vec<u8>| {
                // The key, and both ends of what the cluster watches for conflicts.
                size += 3 * key.len() + ROW_OVERHEAD;
                size <= MAX_TRANSACTION
            };
            let count = stored.iter().take_while(fits).count().max(1);
            let (now, later) = stored.split_at(count);
            self.commit_removal(|transaction| now.iter().for_each(|key| transaction.clear(key)))?;
            pruned.rows += now.len() as u64;
            stored = later;
        }
        Ok(())
    }

    /// Commits what `remove` takes out, unless this holder is fenced.
    fn commit_removal(&self, remove: impl Fn(&Transaction)) -> Result<(), StoreError> {
        let mut writer = self.writer()?;
        let removed = self.session.write(|transaction| {
            self.check_fence(transaction.get(&self.keys.memory(Memory::Epoch), false))?;
            remove(transaction);
            Ok(())
        });
        removed.map_err(|failed| self.failed(&mut writer, failed))
    }
}
