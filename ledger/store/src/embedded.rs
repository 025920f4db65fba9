//! The embedded engine: a directory, on `fjall`.
//!
//! One keyspace per space, and one for what the engine remembers of itself.
//! Staged rows go to the operating system; the flip flushes the journal to the
//! disk, and because there is one journal in the order of writing, everything
//! before the flip is on the disk with it. A failed write or flush poisons the
//! handle: what is on disk is then uncertain, and only opening again tells.

mod copy;
mod journal;
mod prune;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use fjall::config::{BloomConstructionPolicy, FilterPolicy, FilterPolicyEntry};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Readable};

use crate::layout;
use crate::limits::{MAX_COMMITMENT, MAX_TRANSACTION, ROW_OVERHEAD};
use crate::record::{FORMAT, Staged, decode_applied, decode_staged, encode_applied, encode_staged};
use crate::rows::{check_sizes, digest, encode_row, plain, versioned};
use crate::{Applied, KeyRange, Old, Pruned, Row, Space, Store, StoreError, Write};

pub use journal::Recovery;

/// Journals larger than this make memtables go to disk, which bounds the time
/// that opening takes after a crash. Bytes.
const MAX_JOURNAL: u64 = 128 * 1024 * 1024;

/// A memtable larger than this goes to disk. Bytes.
const MAX_MEMTABLE: u64 = 16 * 1024 * 1024;

/// After how many skipped versions a scan seeks instead of stepping.
const SEEK_AFTER: usize = 16;

/// How the embedded engine is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Memory for blocks read from disk, in bytes.
    pub cache: u64,
    /// Threads that flush and compact. While one of several compacts, the first
    /// of them turns in circles with what is left to compact (`fjall` 3.1 keeps
    /// it free for flushes that way), which takes a whole core.
    pub workers: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache: 64 * 1024 * 1024, workers: 1 }
    }
}

/// What a store is opened for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Use,
    CopyInto,
}

/// A store in a directory of this machine.
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    epoch: u64,
}

struct Shared {
    database: Database,
    meta: Keyspace,
    spaces: BTreeMap<Space, Keyspace>,
    /// Serialises writers, and what they must know.
    writer: Mutex<Writer>,
    applied: RwLock<Option<Applied>>,
    /// The epoch that may write.
    current: AtomicU64,
    recovery: Recovery,
}

struct Writer {
    staged: Option<Staged>,
    poisoned: bool,
}

impl EmbeddedStore {
    /// Opens or creates the store in the directory `path`.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process has it open, and
    /// [`StoreError`] for what cannot be read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(path, &Options::default())
    }

    /// Opens or creates the store in the directory `path`.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(path: impl AsRef<Path>, options: &Options) -> Result<Self, StoreError> {
        Self::open_for(path.as_ref(), options, Purpose::Use)
    }

    fn open_for(path: &Path, options: &Options, purpose: Purpose) -> Result<Self, StoreError> {
        std::fs::create_dir_all(path).map_err(|error| io_error(error, path))?;
        let open = || {
            Database::builder(path)
                .cache_size(options.cache)
                .worker_threads(options.workers.max(1))
                .max_journaling_size(MAX_JOURNAL)
                .open()
        };
        let (database, recovery) = journal::open_repairing(path, open)?;
        let keyspace = |name: &str| {
            database
                .keyspace(name, || {
                    let filter = BloomConstructionPolicy::BitsPerKey(10.0);
                    KeyspaceCreateOptions::default()
                        .max_memtable_size(MAX_MEMTABLE)
                        .filter_policy(FilterPolicy::all(FilterPolicyEntry::Bloom(filter)))
                })
                .map_err(|error| engine_error(error, path))
        };
        let meta = keyspace("meta")?;
        let mut spaces = BTreeMap::new();
        for space in Space::ALL {
            spaces.insert(space, keyspace(space.name())?);
        }
        let get = |key: &str| meta.get(key.as_bytes()).map_err(|error| engine_error(error, path));
        match get("format")? {
            Some(found) if *found == *FORMAT.as_bytes() => {}
            Some(found) => {
                return Err(StoreError::Format {
                    found: String::from_utf8_lossy(&found).into_owned(),
                    expected: FORMAT,
                });
            }
            None => {}
        }
        if purpose == Purpose::Use && get(copy::RECORD)?.is_some() {
            return Err(StoreError::CopyUnfinished);
        }
        let damaged = |what: &str| StoreError::damaged(format!("its record of {what}"));
        let applied = get("applied")?
            .map(|row| decode_applied(&row).ok_or_else(|| damaged("the applied height")))
            .transpose()?;
        let staged = get("staged")?
            .map(|row| decode_staged(&row).ok_or_else(|| damaged("the staged height")))
            .transpose()?;
        let epoch = match get("epoch")? {
            None => 0,
            Some(row) => u64::from_be_bytes((*row).try_into().map_err(|_| damaged("the epoch"))?),
        };
        let shared = Shared {
            database,
            meta,
            spaces,
            writer: Mutex::new(Writer { staged, poisoned: false }),
            applied: RwLock::new(applied),
            current: AtomicU64::new(epoch),
            recovery,
        };
        let epoch = shared.next_epoch()?;
        Ok(Self { shared: Arc::new(shared), epoch })
    }

    /// Takes the store over from this holder, whose writes fail from now on.
    ///
    /// # Errors
    /// [`StoreError`] when the new epoch cannot be written.
    pub fn take_over(&self) -> Result<Self, StoreError> {
        let epoch = self.shared.next_epoch()?;
        Ok(Self { shared: Arc::clone(&self.shared), epoch })
    }

    /// What opening found and mended.
    pub fn recovery(&self) -> Recovery {
        self.shared.recovery
    }

    /// Locks out other writers, after checking that this holder may write.
    fn writer(&self) -> Result<MutexGuard<'_, Writer>, StoreError> {
        let writer = self.shared.lock();
        let current = self.shared.current.load(Ordering::Acquire);
        if current != self.epoch {
            return Err(StoreError::Fenced { held: self.epoch, current });
        }
        if writer.poisoned { Err(StoreError::Poisoned) } else { Ok(writer) }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Writer> {
        // A thread that panicked while it wrote left the disk as a crash would.
        self.writer.lock().unwrap_or_else(|poison: PoisonError<_>| {
            let mut writer = poison.into_inner();
            writer.poisoned = true;
            writer
        })
    }

    fn next_epoch(&self) -> Result<u64, StoreError> {
        let mut writer = self.lock();
        if writer.poisoned {
            return Err(StoreError::Poisoned);
        }
        let epoch = self.current.load(Ordering::Acquire).saturating_add(1);
        let mut batch = self.database.batch();
        batch.insert(&self.meta, "format", FORMAT.as_bytes());
        batch.insert(&self.meta, "epoch", epoch.to_be_bytes());
        self.commit(&mut writer, batch, true)?;
        self.current.store(epoch, Ordering::Release);
        Ok(epoch)
    }

    /// Commits `batch`; a failure poisons the writer.
    fn commit(
        &self,
        writer: &mut Writer,
        batch: OwnedWriteBatch,
        durable: bool,
    ) -> Result<(), StoreError> {
        let mode = if durable { PersistMode::SyncData } else { PersistMode::Buffer };
        batch.durability(Some(mode)).commit().map_err(|error| {
            writer.poisoned = true;
            self.engine_error(error)
        })
    }

    fn engine_error(&self, error: fjall::Error) -> StoreError {
        engine_error(error, self.meta.path())
    }

    fn keyspace(&self, space: Space) -> &Keyspace {
        // Every space is opened in `open_with`.
        &self.spaces[&space]
    }

    fn applied_height(&self) -> Option<u64> {
        let applied = self.applied.read().unwrap_or_else(PoisonError::into_inner);
        applied.as_ref().map(|applied| applied.height)
    }

    /// Writes `rows`, in as few transactions as the limits allow; `last` goes
    /// into the last one.
    fn write_rows(
        &self,
        writer: &mut Writer,
        rows: impl Iterator<Item = (Space, Vec<u8>, Option<Vec<u8>>)>,
        last: Option<Staged>,
    ) -> Result<(), StoreError> {
        let mut batch = self.database.batch();
        let mut size = 0;
        for (space, key, value) in rows {
            let row = key.len() + value.as_ref().map_or(0, Vec::len) + ROW_OVERHEAD;
            if size + row > MAX_TRANSACTION {
                let full = std::mem::replace(&mut batch, self.database.batch());
                self.commit(writer, full, false)?;
                size = 0;
            }
            size += row;
            match value {
                Some(value) => batch.insert(self.keyspace(space), key, value),
                None => batch.remove(self.keyspace(space), key),
            }
        }
        if let Some(staged) = last {
            batch.insert(&self.meta, "staged", encode_staged(&staged));
        }
        self.commit(writer, batch, false)
    }

    /// Removes every row of `height`, which was staged with other content and
    /// never flipped. Reads everything; it happens only when a new version of
    /// the software executes the block that its predecessor died in.
    fn purge(&self, writer: &mut Writer, height: u64) -> Result<(), StoreError> {
        let mut rows = Vec::new();
        for space in Space::ALL {
            for guard in self.keyspace(space).iter() {
                let (key, value) = guard.into_inner().map_err(|error| self.engine_error(error))?;
                let of = if space.is_versioned() {
                    layout::split_versioned_key(&key).map(|(_, height)| height)
                } else {
                    layout::split_plain_value(&value).map(|(height, _)| height)
                };
                if of == Some(height) {
                    rows.push((space, key.to_vec(), None));
                }
            }
        }
        self.write_rows(writer, rows.into_iter(), None)
    }
}

impl Store for EmbeddedStore {
    fn fence(&self) -> u64 {
        self.epoch
    }

    fn applied(&self) -> Result<Option<Applied>, StoreError> {
        let applied = self.shared.applied.read().unwrap_or_else(PoisonError::into_inner);
        Ok(applied.clone())
    }

    fn stage(&self, height: u64, writes: Vec<Write>) -> Result<(), StoreError> {
        check_sizes(&writes, true)?;
        let digest = digest(&writes);
        let mut writer = self.writer()?;
        let applied = self.shared.applied_height();
        if Some(height) != applied.map_or(Some(0), |applied| applied.checked_add(1)) {
            return Err(StoreError::NotNext { applied, height });
        }
        if let Some(earlier) = writer.staged.filter(|earlier| earlier.height == height) {
            if earlier.digest != digest {
                self.shared.purge(&mut writer, height)?;
            } else if earlier.complete {
                return Ok(());
            }
        }
        // The content is announced before the first row, so that whoever finds
        // leftovers knows whether they are of the same content.
        let mut staged = Staged { height, digest, complete: false };
        self.shared.write_rows(&mut writer, std::iter::empty(), Some(staged))?;
        writer.staged = Some(staged);
        staged.complete = true;
        let rows = writes.into_iter().map(|write| encode_row(height, write));
        self.shared.write_rows(&mut writer, rows, Some(staged))?;
        writer.staged = Some(staged);
        Ok(())
    }

    fn flip(&self, applied: Applied) -> Result<(), StoreError> {
        if applied.commitment.len() > MAX_COMMITMENT {
            return Err(StoreError::CommitmentTooLarge(applied.commitment.len()));
        }
        let mut writer = self.writer()?;
        {
            let current = self.shared.applied.read().unwrap_or_else(PoisonError::into_inner);
            if current.as_ref() == Some(&applied) {
                return Ok(());
            }
            let height = current.as_ref().map(|current| current.height);
            if Some(applied.height) != height.map_or(Some(0), |height| height.checked_add(1)) {
                return Err(StoreError::NotNext { applied: height, height: applied.height });
            }
        }
        if !writer.staged.is_some_and(|staged| staged.height == applied.height && staged.complete) {
            return Err(StoreError::NotStaged(applied.height));
        }
        let mut batch = self.shared.database.batch();
        batch.insert(&self.shared.meta, "applied", encode_applied(&applied));
        self.shared.commit(&mut writer, batch, true)?;
        *self.shared.applied.write().unwrap_or_else(PoisonError::into_inner) = Some(applied);
        Ok(())
    }

    fn attach(&self, height: u64, writes: Vec<Write>) -> Result<(), StoreError> {
        check_sizes(&writes, false)?;
        let mut writer = self.writer()?;
        let applied = self.shared.applied_height();
        if applied.is_none_or(|applied| height > applied) {
            return Err(StoreError::NotNext { applied, height });
        }
        let rows = writes.into_iter().map(|write| encode_row(height, write));
        self.shared.write_rows(&mut writer, rows, None)
    }

    fn read(&self, space: Space, key: &[u8], height: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(applied) = self.shared.applied_height() else { return Ok(None) };
        let keyspace = self.shared.keyspace(space);
        let engine = |error| self.shared.engine_error(error);
        if !space.is_versioned() {
            let Some(row) = keyspace.get(key).map_err(engine)? else { return Ok(None) };
            let (written, value) = plain(space, &row)?;
            return Ok((written <= applied).then(|| value.to_vec()));
        }
        let newest = layout::versioned_key(key, height.min(applied));
        let oldest = layout::versioned_key(key, 0);
        let Some(guard) = keyspace.range(newest..=oldest).next() else { return Ok(None) };
        let row = guard.value().map_err(engine)?;
        Ok(versioned(space, &row)?.map(<[u8]>::to_vec))
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
        height: u64,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let Some(applied) = self.shared.applied_height() else { return Ok(Vec::new()) };
        let height = height.min(applied);
        if space.is_versioned() {
            self.scan_versioned(space, range, height, limit)
        } else {
            self.scan_plain(space, range, applied, limit)
        }
    }

    fn prune(&self, space: Space, old: Old<'_>) -> Result<Pruned, StoreError> {
        self.remove_old(space, old)
    }

    fn compact(&self, space: Space) -> Result<(), StoreError> {
        self.rewrite(space)
    }

    fn disk_space(&self, space: Space) -> Option<u64> {
        Some(self.shared.keyspace(space).disk_space())
    }
}

impl EmbeddedStore {
    fn scan_plain(
        &self,
        space: Space,
        range: &KeyRange,
        applied: u64,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let keyspace = self.shared.keyspace(space);
        let snapshot = self.shared.database.snapshot();
        let mut rows = Vec::new();
        for guard in
            snapshot.range::<&[u8], _>(keyspace, bounds(&range.start, range.end.as_deref()))
        {
            if rows.len() == limit {
                break;
            }
            let (key, row) = guard.into_inner().map_err(|error| self.shared.engine_error(error))?;
            let (written, value) = plain(space, &row)?;
            if written <= applied {
                rows.push((key.to_vec(), value.to_vec()));
            }
        }
        Ok(rows)
    }

    fn scan_versioned(
        &self,
        space: Space,
        range: &KeyRange,
        height: u64,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let keyspace = self.shared.keyspace(space);
        let snapshot = self.shared.database.snapshot();
        let end = range.end.as_deref().map(layout::escape_open);
        let mut start = layout::escape_open(&range.start);
        let mut rows = Vec::new();
        // A key with many versions is left by seeking past them.
        'seek: loop {
            let mut settled: Option<Vec<u8>> = None;
            let mut skipped = 0;
            for guard in snapshot.range::<&[u8], _>(keyspace, bounds(&start, end.as_deref())) {
                if rows.len() == limit {
                    return Ok(rows);
                }
                let (encoded, row) =
                    guard.into_inner().map_err(|error| self.shared.engine_error(error))?;
                let (key, written) = layout::split_versioned_key(&encoded)
                    .ok_or_else(|| StoreError::damaged(format!("a key of the space `{space}`")))?;
                let too_new = written > height;
                if too_new || settled.as_ref() == Some(&key) {
                    skipped += 1;
                    if skipped >= SEEK_AFTER {
                        start = if too_new {
                            layout::versioned_key(&key, height)
                        } else {
                            let mut after = layout::versioned_key(&key, 0);
                            after.push(0);
                            after
                        };
                        continue 'seek;
                    }
                    continue;
                }
                skipped = 0;
                if let Some(value) = versioned(space, &row)? {
                    rows.push((key.clone(), value.to_vec()));
                }
                settled = Some(key);
            }
            return Ok(rows);
        }
    }
}

type Bounds<'a> = (std::ops::Bound<&'a [u8]>, std::ops::Bound<&'a [u8]>);

fn bounds<'a>(start: &'a [u8], end: Option<&'a [u8]>) -> Bounds<'a> {
    use std::ops::Bound::{Excluded, Included, Unbounded};
    match end {
        // The engine panics on a range that ends before it starts.
        Some(end) if end <= start => (Included(start), Excluded(start)),
        Some(end) => (Included(start), Excluded(end)),
        None => (Included(start), Unbounded),
    }
}

fn io_error(error: std::io::Error, path: &Path) -> StoreError {
    engine_error(fjall::Error::Io(error), path)
}

/// Names what the engine said.
fn engine_error(error: fjall::Error, path: &Path) -> StoreError {
    use fjall::{Error, LsmError};
    use std::io::ErrorKind;
    let kind = match &error {
        Error::Io(error) | Error::Storage(LsmError::Io(error)) => Some(error.kind()),
        _ => None,
    };
    match (&error, kind) {
        (_, Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)) => {
            StoreError::Full(error.into())
        }
        (Error::Locked, _) => StoreError::Locked { path: path.to_owned() },
        (Error::Poisoned, _) => StoreError::Poisoned,
        (_, Some(ErrorKind::InvalidData | ErrorKind::UnexpectedEof)) => {
            StoreError::Damaged { what: "a file ends early".into(), source: Some(error.into()) }
        }
        (Error::Io(_) | Error::Storage(LsmError::Io(_)), _) => StoreError::Io(error.into()),
        (Error::InvalidVersion(found), _) => StoreError::Format {
            found: found.map_or_else(|| "unknown".into(), |found| format!("{found:?}")),
            expected: FORMAT,
        },
        _ => StoreError::Damaged { what: error.to_string(), source: Some(error.into()) },
    }
}
