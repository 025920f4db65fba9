//! The engine on a FoundationDB cluster of the member's own, for a record that
//! has outgrown one machine.
//!
//! # Client library
//!
//! FoundationDB is spoken to through its client library `libfdb_c.so`, which is
//! opened when the first store of a process is opened, and not before: a
//! machine without it builds and runs everything else. It is opened once in a
//! process, with one set of TLS files.
//!
//! # Stage and flip
//!
//! What is staged is split into transactions far below what the cluster takes.
//! The first one announces the content by its digest, the last one says that
//! the rest is there, and between them they run side by side. Each reads the
//! fence, so that a commit of an older holder fails whenever it arrives, and
//! each notes its keys in a list, so that content that was never flipped is
//! removed without reading the store. The flip reads fence, applied height and
//! what is staged, and sets the applied height.
//!
//! # What is not known
//!
//! After a commit whose outcome is not known (`commit_unknown_result`) a
//! transaction runs again: it reads the fence and the applied height anew and
//! sets the same rows, or finds that the height is applied. Where it is still
//! not known at the end of its time, the applied height is read once more, and
//! before its next write the handle takes the next epoch, which fails whatever is
//! under way, and learns the applied height anew. It does so only while nobody
//! else has taken the store over: beside the epoch is a number that each handle
//! draws for itself. A handle that copies into the store takes no more writes
//! ([`StoreError::Poisoned`]); it is opened again.
//!
//! # Reads
//!
//! What is visible is bounded by the applied height, which the holder knows
//! without asking: nobody else flips. One that was fenced reads on as of the
//! last height of its own. Reads share a transaction for up to a second, which
//! saves a round trip each; what is read is as of a height and does not change
//! meanwhile. Nothing is read from versionstamps.
//!
//! # What it is not
//!
//! No security boundary: whoever reaches the cluster with its TLS files reads
//! and changes everything. Values are not encrypted.

mod copy;
mod ffi;
mod follow;
mod keys;
mod parts;
mod prune;
mod scan;
mod session;

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use crate::limits::MAX_COMMITMENT;
use crate::record::{FORMAT, Staged, decode_applied, decode_staged, encode_applied, encode_staged};
use crate::rows::{check_sizes, digest, plain, versioned};
use crate::{Applied, KeyRange, Old, Pruned, Row, Space, Store, StoreError, Write, layout};
use ffi::{Client, Code, Future, Rows, TlsOption, Transaction, Unusable, Value, Wanted};
use keys::{Keys, Memory, Stop};
use parts::{Part, listed, split};
use session::{Failed, Session};

/// How the client library is called where nothing else is configured.
pub const LIBRARY: &str = "libfdb_c.so";

/// Transactions of one height that are under way at once.
const AT_ONCE: usize = 8;

/// Reads that are under way at once. Each brings a value of at most 90 kB.
const READS: usize = 1_000;

/// How a store on FoundationDB is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// The file that names the cluster's coordinators. The client library
    /// rewrites it when those change.
    pub cluster_file: PathBuf,
    /// What all keys of this store begin with: 1 to 64 letters, digits and
    /// `-_./`. Two stores on one cluster need two.
    pub prefix: String,
    /// The client library: a path, or a name that the system's loader finds.
    pub library: PathBuf,
    /// TLS to the cluster; without it, everything is sent in clear.
    pub tls: Option<Tls>,
    /// How long a transaction may take, its retries included, before the
    /// cluster counts as unavailable. At least five seconds for a real cluster,
    /// which may take as long to recover from the loss of a machine.
    pub deadline: Duration,
}

/// Files for TLS to the cluster, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// This client's certificate, with those between it and an authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities that the cluster's certificates come from.
    pub authorities: PathBuf,
    /// What else is asked of the cluster's certificates, as FoundationDB writes
    /// it (`Check.Valid=1,...`).
    pub verify: Option<String>,
}

impl Options {
    /// The store under `prefix` on the cluster that `cluster_file` names: the
    /// client library of the system, no TLS, 30 s for a transaction.
    pub fn new(cluster_file: impl Into<PathBuf>, prefix: impl Into<String>) -> Self {
        Self {
            cluster_file: cluster_file.into(),
            prefix: prefix.into(),
            library: LIBRARY.into(),
            tls: None,
            deadline: Duration::from_secs(30),
        }
    }

    fn network(&self) -> Vec<TlsOption> {
        let Some(tls) = &self.tls else { return Vec::new() };
        let mut options = vec![
            TlsOption::Certificate(tls.certificate.clone()),
            TlsOption::Key(tls.key.clone()),
            TlsOption::Authorities(tls.authorities.clone()),
        ];
        options.extend(tls.verify.clone().map(TlsOption::VerifyPeers));
        options
    }

    /// Every file can be opened: the client library says of a missing one that
    /// the cluster does not answer. And coordinators are reached by TLS where
    /// there are files for it: the library would do without.
    fn check_files(&self) -> Result<(), StoreError> {
        let tls = self.tls.iter();
        let tls = tls.flat_map(|tls| [&tls.certificate, &tls.key, &tls.authorities]);
        for path in std::iter::once(&self.cluster_file).chain(tls) {
            if let Err(source) = std::fs::File::open(path) {
                return Err(StoreError::File { path: path.clone(), source });
            }
        }
        let path = &self.cluster_file;
        let text = std::fs::read_to_string(path)
            .map_err(|source| StoreError::File { path: path.clone(), source })?;
        let mut lines = text.lines().map(str::trim);
        let line = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
        // What is no cluster file is the library's to refuse.
        if let Some((_, addresses)) = line.and_then(|line| line.split_once('@')) {
            let tls = self.tls.is_some();
            if addresses.split(',').any(|address| address.trim().ends_with(":tls") != tls) {
                return Err(StoreError::Tls { path: path.clone(), tls });
            }
        }
        Ok(())
    }
}

/// A store on a FoundationDB cluster.
pub struct FoundationStore {
    session: Session,
    keys: Keys,
    prefix: usize,
    /// The epoch that it took, or, where it only reads, the one that it found.
    epoch: AtomicU64,
    /// What tells this handle from every other one.
    number: u64,
    purpose: Purpose,
    /// Serialises writers of this holder.
    writer: Mutex<Writer>,
    /// The applied height that reads are bounded by.
    visible: RwLock<Option<Applied>>,
    version: String,
}

/// What a store is opened for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Use,
    CopyInto,
    Read,
}

#[derive(Default)]
struct Writer {
    /// A thread panicked while it wrote.
    poisoned: bool,
    /// What an earlier write did is not known.
    unsettled: bool,
}

/// What a writing transaction finds.
struct Found {
    applied: Option<Applied>,
    staged: Option<Staged>,
}

/// What became of the announcement of a height.
enum Begun {
    /// Its rows can be written.
    Announced,
    /// They are there already.
    Complete,
    /// Other rows are there.
    Other,
}

impl FoundationStore {
    /// Opens or creates a store on a cluster, and takes it over from whoever
    /// has it.
    ///
    /// # Errors
    /// [`StoreError::ClientLibrary`] and its like when there is no usable client
    /// library; [`StoreError::Prefix`] and [`StoreError::File`] for options that
    /// cannot be used; [`StoreError::Unavailable`] when the cluster does not
    /// answer in time; [`StoreError::Format`] when other rows are under the
    /// prefix.
    pub fn open(options: &Options) -> Result<Self, StoreError> {
        Self::open_for(options, Purpose::Use)
    }

    fn open_for(options: &Options, purpose: Purpose) -> Result<Self, StoreError> {
        let keys = Keys::new(&options.prefix)?;
        options.check_files()?;
        let client = Client::start(&options.library, options.network())
            .map_err(|unusable| unusable_client(unusable, &options.library))?;
        let cluster_file = ffi::path(options.cluster_file.as_os_str()).ok_or_else(|| {
            let source = std::io::ErrorKind::InvalidFilename.into();
            StoreError::File { path: options.cluster_file.clone(), source }
        })?;
        let session = Session::new(client, &cluster_file, options.deadline)?;
        let number = RandomState::new().build_hasher().finish();
        let (epoch, visible) = match purpose {
            Purpose::Read => follow::look(&session, &keys)?,
            _ => session.write(|transaction| take_over(&keys, transaction, purpose, number))?,
        };
        Ok(Self {
            session,
            keys,
            prefix: options.prefix.len(),
            epoch: AtomicU64::new(epoch),
            number,
            purpose,
            writer: Mutex::default(),
            visible: RwLock::new(visible),
            version: client.version(),
        })
    }

    /// What the client library says of itself: version, source version and
    /// protocol, with commas between them.
    pub fn client_version(&self) -> &str {
        &self.version
    }

    fn writer(&self) -> Result<MutexGuard<'_, Writer>, StoreError> {
        if self.purpose == Purpose::Read {
            return Err(StoreError::ReadOnly);
        }
        // A thread that panicked while it wrote left the cluster as a crash would.
        let mut writer = self.writer.lock().unwrap_or_else(|poison: PoisonError<_>| {
            let mut writer = poison.into_inner();
            writer.poisoned = true;
            writer
        });
        if writer.poisoned || (writer.unsettled && self.purpose != Purpose::Use) {
            return Err(StoreError::Poisoned);
        }
        if writer.unsettled {
            self.take_up()?;
            writer.unsettled = false;
        }
        Ok(writer)
    }

    /// Takes the next epoch after an outcome that is not known, so that whatever
    /// is still on its way fails, and learns what became of it.
    fn take_up(&self) -> Result<(), StoreError> {
        let (epoch, applied) = self.session.write(|transaction| {
            let get = |of| transaction.get(&self.keys.memory(of), false);
            let (epoch, holder, applied) =
                (get(Memory::Epoch), get(Memory::Holder), get(Memory::Applied));
            // Also one that an earlier attempt of this may have taken.
            let current = epoch_in(epoch.value()?)?;
            if holder.value()?.as_deref() != Some(&holder_row(current, self.number)[..]) {
                return Err(StoreError::Fenced { held: self.held(), current }.into());
            }
            let applied = applied_in(applied.value()?)?;
            Ok((take(&self.keys, transaction, current, self.number), applied))
        })?;
        self.epoch.store(epoch, Ordering::Release);
        self.session.renew();
        *self.visible.write().unwrap_or_else(PoisonError::into_inner) = applied;
        Ok(())
    }

    /// The epoch of this handle.
    fn held(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// The height that reads are bounded by.
    fn visible(&self) -> Option<u64> {
        let visible = self.visible.read().unwrap_or_else(PoisonError::into_inner);
        visible.as_ref().map(|applied| applied.height)
    }

    /// Reads what a writer must know, in one round, and fails for a holder that
    /// is fenced. Whoever changes any of it meanwhile makes the commit fail.
    fn look(&self, transaction: &Transaction) -> Result<Found, Stop> {
        let get = |of| transaction.get(&self.keys.memory(of), false);
        let (epoch, applied, staged) =
            (get(Memory::Epoch), get(Memory::Applied), get(Memory::Staged));
        self.check_fence(epoch)?;
        let applied = applied_in(applied.value()?)?;
        let staged = staged.value()?.map(|row| {
            decode_staged(&row)
                .ok_or_else(|| StoreError::damaged("its record of the staged height"))
        });
        Ok(Found { applied, staged: staged.transpose()? })
    }

    fn check_fence(&self, epoch: Future<Value>) -> Result<(), Stop> {
        let (held, current) = (self.held(), epoch_in(epoch.value()?)?);
        if current != held {
            return Err(StoreError::Fenced { held, current }.into());
        }
        Ok(())
    }

    /// What a failed write leaves behind.
    fn failed(&self, writer: &mut Writer, failed: Failed) -> StoreError {
        writer.unsettled |= failed.uncertain;
        failed.error
    }

    fn set_part(&self, transaction: &Transaction, number: usize, part: &Part) {
        for (space, key, value) in &part.rows {
            transaction.set(&self.keys.row(*space, key), value);
        }
        if !part.list.is_empty() {
            // Fits: a height has far fewer parts.
            transaction.set(&self.keys.list(number as u32), &part.list);
        }
    }

    /// Announces what will be staged, with the first of its parts.
    fn begin(&self, staged: Staged, part: &Part) -> Result<Begun, Failed> {
        let height = staged.height;
        self.session.write(|transaction| {
            let found = self.look(transaction)?;
            let applied = found.applied.map(|applied| applied.height);
            if !follows(applied, height) {
                return Err(StoreError::NotNext { applied, height }.into());
            }
            match found.staged.filter(|earlier| earlier.height == height) {
                Some(earlier) if earlier.digest != staged.digest => return Ok(Begun::Other),
                Some(earlier) if earlier.complete => return Ok(Begun::Complete),
                Some(_) => {}
                None => {
                    // Of the height before, which is flipped.
                    let (first, last) = self.keys.lists();
                    transaction.clear_range(&first, &last);
                }
            }
            self.set_part(transaction, 0, part);
            transaction.set(&self.keys.memory(Memory::Staged), &encode_staged(&staged));
            Ok(Begun::Announced)
        })
    }

    /// Writes parts side by side, each with a look at the fence.
    fn write_parts(&self, parts: &[(usize, &Part)]) -> Result<(), Failed> {
        let write = |(number, part): &(usize, &Part)| {
            self.session.write(|transaction| {
                self.check_fence(transaction.get(&self.keys.memory(Memory::Epoch), false))?;
                self.set_part(transaction, *number, part);
                Ok(())
            })
        };
        if let [part] = parts {
            return write(part);
        }
        let next = AtomicUsize::new(0);
        let failed = Mutex::new(None::<Failed>);
        let work = || {
            while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(error) = write(part) {
                    // Nobody takes another one.
                    next.store(parts.len(), Ordering::Relaxed);
                    let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                    let uncertain = failed.as_ref().is_some_and(|earlier| earlier.uncertain);
                    *failed = Some(Failed { uncertain: error.uncertain || uncertain, ..error });
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..parts.len().min(AT_ONCE) {
                scope.spawn(work);
            }
        });
        failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// Says that every row is there, with the last of its parts.
    fn complete(&self, staged: Staged, number: usize, part: &Part) -> Result<(), Failed> {
        self.session.write(|transaction| {
            self.check_fence(transaction.get(&self.keys.memory(Memory::Epoch), false))?;
            self.set_part(transaction, number, part);
            transaction.set(&self.keys.memory(Memory::Staged), &encode_staged(&staged));
            Ok(())
        })
    }

    /// Removes every row of `height`, which was staged with other content and
    /// never flipped: list by list, and each with its rows, so that a purge that
    /// ends early goes on where it ended.
    fn purge(&self, height: u64) -> Result<(), Failed> {
        let (first, last) = self.keys.lists();
        loop {
            let more = self.session.write(|transaction| {
                self.look(transaction)?;
                let (lists, _) = transaction.range(&first, &last, Wanted::Exactly(1)).rows()?;
                let Some((list, keys)) = lists.first() else {
                    transaction.clear(&self.keys.memory(Memory::Staged));
                    return Ok(false);
                };
                let mut plain_rows = Vec::new();
                for (space, key) in listed(keys)? {
                    let stored = self.keys.row(space, key);
                    if space.is_versioned() {
                        transaction.clear(&stored);
                    } else {
                        plain_rows.push((space, transaction.get(&stored, true), stored));
                    }
                }
                for (space, value, stored) in plain_rows {
                    // Another height may have the key meanwhile.
                    let value = value.value()?;
                    let of = value.as_deref().map(|row| plain(space, row)).transpose()?;
                    if of.is_some_and(|(written, _)| written == height) {
                        transaction.clear(&stored);
                    }
                }
                transaction.clear(list);
                Ok(true)
            })?;
            if !more {
                return Ok(());
            }
        }
    }

    /// The applied height as the cluster has it now, after a flip whose outcome
    /// is not known.
    fn settle(&self) -> Result<Option<Applied>, StoreError> {
        let key = self.keys.memory(Memory::Applied);
        applied_in(self.session.read_now(|transaction| transaction.get(&key, true).value())?)
    }
}

impl Store for FoundationStore {
    fn fence(&self) -> u64 {
        self.held()
    }

    fn applied(&self) -> Result<Option<Applied>, StoreError> {
        Ok(self.visible.read().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn refresh(&self) -> Result<bool, StoreError> {
        self.look_again()
    }

    fn stage(&self, height: u64, writes: Vec<Write>) -> Result<(), StoreError> {
        check_sizes(&writes, true)?;
        let digest = digest(&writes);
        let mut writer = self.writer()?;
        let parts = split(height, self.prefix + 1, writes);
        let alone = parts.len() == 1;
        let mut staged = Staged { height, digest, complete: alone };
        let mut staging = || {
            loop {
                match self.begin(staged, &parts[0])? {
                    Begun::Announced => break,
                    Begun::Complete => return Ok(()),
                    Begun::Other => self.purge(height)?,
                }
            }
            let rest: Vec<(usize, &Part)> = parts.iter().enumerate().skip(1).collect();
            if let Some(((number, last), between)) = rest.split_last() {
                self.write_parts(between)?;
                staged.complete = true;
                self.complete(staged, *number, last)?;
            }
            Ok(())
        };
        staging().map_err(|failed| self.failed(&mut writer, failed))
    }

    fn flip(&self, applied: Applied) -> Result<(), StoreError> {
        if applied.commitment.len() > MAX_COMMITMENT {
            return Err(StoreError::CommitmentTooLarge(applied.commitment.len()));
        }
        let mut writer = self.writer()?;
        let height = applied.height;
        let flipped = self.session.write(|transaction| {
            let found = self.look(transaction)?;
            if found.applied.as_ref() == Some(&applied) {
                return Ok(());
            }
            let current = found.applied.map(|current| current.height);
            if !follows(current, height) {
                return Err(StoreError::NotNext { applied: current, height }.into());
            }
            if !found.staged.is_some_and(|staged| staged.height == height && staged.complete) {
                return Err(StoreError::NotStaged(height).into());
            }
            transaction.set(&self.keys.memory(Memory::Applied), &encode_applied(&applied));
            Ok(())
        });
        if let Err(failed) = flipped {
            let done =
                failed.uncertain && self.settle().is_ok_and(|now| now.as_ref() == Some(&applied));
            if !done {
                return Err(self.failed(&mut writer, failed));
            }
        }
        // In this order: whoever sees the height reads in a later transaction.
        self.session.renew();
        *self.visible.write().unwrap_or_else(PoisonError::into_inner) = Some(applied);
        Ok(())
    }

    fn attach(&self, height: u64, writes: Vec<Write>) -> Result<(), StoreError> {
        check_sizes(&writes, false)?;
        let mut writer = self.writer()?;
        for part in split(height, self.prefix + 1, writes) {
            let attached = self.session.write(|transaction| {
                let applied = self.look(transaction)?.applied.map(|applied| applied.height);
                if applied.is_none_or(|applied| height > applied) {
                    return Err(StoreError::NotNext { applied, height }.into());
                }
                for (space, key, value) in &part.rows {
                    transaction.set(&self.keys.row(*space, key), value);
                }
                Ok(())
            });
            attached.map_err(|failed| self.failed(&mut writer, failed))?;
        }
        self.session.renew();
        Ok(())
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn read(&self, space: Space, key: &[u8], height: u64) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.read_many(space, &[key], height)?.pop().flatten())
    }

    fn read_many(
        &self,
        space: Space,
        keys: &[&[u8]],
        height: u64,
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let Some(applied) = self.visible() else { return Ok(vec![None; keys.len()]) };
        let height = height.min(applied);
        let mut values = Vec::with_capacity(keys.len());
        for keys in keys.chunks(READS) {
            if space.is_versioned() {
                let rows = self.session.read(|read| {
                    let asked = keys.iter().map(|key| self.newest(read, space, key, height));
                    // All are asked before the first is waited for.
                    let asked: Vec<Future<Rows>> = asked.collect();
                    asked
                        .into_iter()
                        .map(|rows| Ok(rows.rows()?.0))
                        .collect::<Result<Vec<_>, Code>>()
                })?;
                for rows in rows {
                    let row = rows.first().map(|(_, row)| versioned(space, row)).transpose()?;
                    values.push(row.flatten().map(<[u8]>::to_vec));
                }
            } else {
                let rows = self.session.read(|read| {
                    let asked = keys.iter().map(|key| read.get(&self.keys.row(space, key), true));
                    let asked: Vec<Future<Value>> = asked.collect();
                    asked.into_iter().map(Future::value).collect::<Result<Vec<_>, Code>>()
                })?;
                for row in rows {
                    let row = row.as_deref().map(|row| plain(space, row)).transpose()?;
                    let visible = row.filter(|(written, _)| *written <= applied);
                    values.push(visible.map(|(_, value)| value.to_vec()));
                }
            }
        }
        Ok(values)
    }

    fn scan(
        &self,
        space: Space,
        range: &KeyRange,
        height: u64,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let Some(applied) = self.visible() else { return Ok(Vec::new()) };
        if space.is_versioned() {
            self.scan_versioned(space, range, height.min(applied), limit)
        } else {
            self.scan_plain(space, range, applied, limit)
        }
    }

    fn prune(&self, space: Space, old: Old<'_>) -> Result<Pruned, StoreError> {
        self.remove_old(space, old)
    }
}

impl FoundationStore {
    /// Asks for the newest version of a key that is not newer than `height`.
    fn newest(&self, read: &Transaction, space: Space, key: &[u8], height: u64) -> Future<Rows> {
        let newest = self.keys.row(space, &layout::versioned_key(key, height));
        let mut after = self.keys.row(space, &layout::versioned_key(key, 0));
        after.push(0);
        read.range(&newest, &after, Wanted::Exactly(1))
    }
}

/// Takes the next epoch; returns it with the applied height.
fn take_over(
    keys: &Keys,
    transaction: &Transaction,
    purpose: Purpose,
    number: u64,
) -> Result<(u64, Option<Applied>), Stop> {
    let get = |of| transaction.get(&keys.memory(of), false);
    let (format, epoch, applied) = (get(Memory::Format), get(Memory::Epoch), get(Memory::Applied));
    let copy = get(Memory::Copy);
    let (first, last) = keys.all();
    let something = transaction.range(&first, &last, Wanted::Exactly(1));
    match format.value()? {
        Some(found) => check_format(&found)?,
        None if something.rows()?.0.is_empty() => {}
        None => {
            let found = "of another program".to_owned();
            return Err(StoreError::Format { found, expected: FORMAT }.into());
        }
    }
    if purpose == Purpose::Use && copy.value()?.is_some() {
        return Err(StoreError::CopyUnfinished.into());
    }
    // Also where an earlier attempt may have taken one: then it is skipped.
    let epoch = decode_epoch(epoch.value()?)?.unwrap_or(0);
    let applied = applied_in(applied.value()?)?;
    transaction.set(&keys.memory(Memory::Format), FORMAT.as_bytes());
    Ok((take(keys, transaction, epoch, number), applied))
}

/// Takes the epoch after `current` for the handle of this number; returns it.
fn take(keys: &Keys, transaction: &Transaction, current: u64, number: u64) -> u64 {
    let epoch = current.saturating_add(1);
    transaction.set(&keys.memory(Memory::Epoch), &epoch.to_be_bytes());
    transaction.set(&keys.memory(Memory::Holder), &holder_row(epoch, number));
    epoch
}

/// Who took an epoch.
fn holder_row(epoch: u64, number: u64) -> [u8; 16] {
    (u128::from(epoch) << 64 | u128::from(number)).to_be_bytes()
}

fn check_format(found: &[u8]) -> Result<(), StoreError> {
    if found == FORMAT.as_bytes() {
        return Ok(());
    }
    let found = String::from_utf8_lossy(found).into_owned();
    Err(StoreError::Format { found, expected: FORMAT })
}

/// What the record of the applied height says.
fn applied_in(row: Option<Vec<u8>>) -> Result<Option<Applied>, StoreError> {
    let decode = |row: Vec<u8>| {
        decode_applied(&row).ok_or_else(|| StoreError::damaged("its record of the applied height"))
    };
    row.map(decode).transpose()
}

/// The epoch of a store that somebody holds.
fn epoch_in(row: Option<Vec<u8>>) -> Result<u64, StoreError> {
    decode_epoch(row)?.ok_or_else(|| StoreError::damaged("its epoch is gone"))
}

fn decode_epoch(row: Option<Vec<u8>>) -> Result<Option<u64>, StoreError> {
    let decode = |row: Vec<u8>| row.as_slice().try_into().map(u64::from_be_bytes);
    row.map(decode).transpose().map_err(|_| StoreError::damaged("its record of the epoch"))
}

/// Whether `height` comes next.
fn follows(applied: Option<u64>, height: u64) -> bool {
    applied.map_or(Some(0), |applied| applied.checked_add(1)) == Some(height)
}

fn unusable_client(unusable: Unusable, library: &Path) -> StoreError {
    let library = library.to_owned();
    match unusable {
        Unusable::Library(source) => StoreError::ClientLibrary { library, source: source.into() },
        Unusable::Refused { what, code, said } => {
            StoreError::ClientRefused { library, what, code: code.0, said }
        }
        Unusable::Other => StoreError::ClientInUse,
        Unusable::Thread(source) => StoreError::Io(source.into()),
    }
}
