//! Ranges, in pages: the next one is asked for while the last is worked on.

use std::sync::Arc;

use crate::foundationdb::FoundationStore;
use crate::foundationdb::ffi::{Future, Rows, Wanted};
use crate::foundationdb::session::Reader;
use crate::rows::{plain, versioned};
use crate::{KeyRange, Row, Space, StoreError, layout};

/// Rows that a page asks for at most. The cluster ends it earlier where it
/// would be larger than 80 kB.
const PAGE: usize = 4_096;

/// Rows that a page of versions asks for at least.
const FEW: usize = 16;

/// A page that is under way; its transaction lives as long.
struct Ahead {
    rows: Future<Rows>,
    _reader: Arc<Reader>,
}

impl FoundationStore {
    /// Calls `page` with the pages from `begin` to `end` until it wants no more.
    ///
    /// `after` says where to go on after a key of the cluster; `page` gets a
    /// page and returns how many rows it would still take, at least. How many
    /// those are at the beginning is `wanted`.
    pub(super) fn pages(
        &self,
        mut begin: Vec<u8>,
        end: &[u8],
        mut wanted: usize,
        least: usize,
        after: impl Fn(&[u8]) -> Result<Vec<u8>, StoreError>,
        mut page: impl FnMut(Vec<Row>) -> Result<usize, StoreError>,
    ) -> Result<(), StoreError> {
        let size = |wanted: usize| {
            let rows = wanted.clamp(least, PAGE);
            // Fits: a page is small.
            Wanted::Page(rows as u32)
        };
        let mut ahead: Option<Ahead> = None;
        while wanted > 0 && begin.as_slice() < end {
            let first = size(wanted);
            let (rows, more) = match ahead.take() {
                None => self.session.read(|read| read.range(&begin, end, first).rows())?,
                Some(Ahead { rows, _reader }) => rows.rows().or_else(|code| {
                    self.session.read_after(code, |read| read.range(&begin, end, first).rows())
                })?,
            };
            let Some((last, _)) = rows.last() else { return Ok(()) };
            begin = after(last)?;
            // Even if every row of this one counts, it is not the last.
            let left = wanted.saturating_sub(rows.len());
            if more && left > 0 && begin.as_slice() < end {
                let reader = self.session.reader()?;
                let rows = reader.transaction.range(&begin, end, size(left));
                ahead = Some(Ahead { rows, _reader: reader });
            }
            wanted = page(rows)?;
            if !more {
                return Ok(());
            }
        }
        Ok(())
    }

    pub(super) fn scan_plain(
        &self,
        space: Space,
        range: &KeyRange,
        applied: u64,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let begin = self.keys.row(space, &range.start);
        let end = range
            .end
            .as_ref()
            .map_or_else(|| self.keys.end(space), |end| self.keys.row(space, end));
        let mut found = Vec::new();
        let after = |key: &[u8]| Ok([key, &[0]].concat());
        self.pages(begin, &end, limit, 1, after, |rows| {
            for (key, row) in rows.into_iter().take(limit - found.len()) {
                let (written, value) = plain(space, &row)?;
                if written <= applied {
                    found.push((self.keys.stored(space, &key)?.to_vec(), value.to_vec()));
                }
            }
            Ok(limit - found.len())
        })?;
        Ok(found)
    }

    pub(super) fn scan_versioned(
        &self,
        space: Space,
        range: &KeyRange,
        height: u64,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let begin = self.keys.row(space, &layout::escape_open(&range.start));
        let end = range.end.as_ref().map_or_else(
            || self.keys.end(space),
            |end| self.keys.row(space, &layout::escape_open(end)),
        );
        let split = |key: &[u8]| {
            layout::split_versioned_key(self.keys.stored(space, key)?)
                .ok_or_else(|| StoreError::damaged(format!("a key of the space `{space}`")))
        };
        // A page goes on where something can be seen: at the version of this
        // height, or behind a key of which a version was seen.
        let after = |key: &[u8]| {
            let (key, written) = split(key)?;
            Ok(if written > height {
                self.keys.row(space, &layout::versioned_key(&key, height))
            } else {
                let oldest = layout::versioned_key(&key, 0);
                [&self.keys.row(space, &oldest)[..], &[0]].concat()
            })
        };
        let mut found: Vec<Row> = Vec::new();
        let mut settled: Option<Vec<u8>> = None;
        self.pages(begin, &end, limit, FEW, after, |rows| {
            for (key, row) in rows {
                let (key, written) = split(&key)?;
                if written > height || settled.as_ref() == Some(&key) || found.len() == limit {
                    continue;
                }
                if let Some(value) = versioned(space, &row)? {
                    found.push((key.clone(), value.to_vec()));
                }
                settled = Some(key);
            }
            Ok(limit - found.len())
        })?;
        Ok(found)
    }
}
