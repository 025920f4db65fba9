//! What is in a backup, and its way in and out.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};

use age::stream::StreamWriter;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::error::BackupError;
use crate::head::{self, Head, Plan};
use crate::share::{self, Share};

/// Most entries of a backup.
pub const MAX_ENTRIES: usize = 4096;

/// Largest manifest, in bytes.
const MAX_MANIFEST: usize = 2 * 1024 * 1024;

/// Largest entry, in bytes.
const MAX_SIZE: u64 = 1 << 40;

/// Longest part of a path, in bytes, and most parts.
const MAX_PART: usize = 128;
const MAX_PARTS: usize = 4;

/// Bytes that are passed on at a time.
const PIECE: usize = 64 * 1024;

/// What is in a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// SHA-256 of the head, hexadecimal.
    pub head_sha256: String,
    /// The entries, in their order.
    pub entries: Vec<Entry>,
}

/// One thing in a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Where it belongs: names of letters, digits, `.`, `-` and `_`, with `/`
    /// between; none begins with a dot.
    pub path: String,
    /// Its length in bytes.
    pub size: u64,
    /// SHA-256 of its bytes, hexadecimal.
    pub sha256: String,
}

impl Manifest {
    fn parse(line: &[u8], head: &str) -> Result<Self, BackupError> {
        let manifest: Self = serde_json::from_slice(line).map_err(|error| {
            BackupError::Manifest { field: "manifest", problem: error.to_string() }
        })?;
        manifest.check(head)?;
        Ok(manifest)
    }

    fn check(&self, head: &str) -> Result<(), BackupError> {
        let refuse = |field, problem: String| Err(BackupError::Manifest { field, problem });
        if self.head_sha256 != head {
            return refuse("head_sha256", "the head was altered".to_owned());
        }
        if self.entries.len() > MAX_ENTRIES {
            return refuse("entries", format!("there are over {MAX_ENTRIES}"));
        }
        let mut paths = BTreeSet::new();
        for entry in &self.entries {
            let parts: Vec<&str> = entry.path.split('/').collect();
            if parts.len() > MAX_PARTS || !parts.iter().all(|part| is_name(part)) {
                return refuse("entries.path", format!("{:?} is not a path", entry.path));
            }
            if !paths.insert(&entry.path) {
                return refuse("entries.path", format!("`{}` is there twice", entry.path));
            }
            if entry.size > MAX_SIZE {
                return refuse("entries.size", format!("`{}` is too large", entry.path));
            }
            if entry.sha256.len() != 64 || hex::decode(&entry.sha256).is_err() {
                return refuse("entries.sha256", format!("`{}` has none", entry.path));
            }
        }
        Ok(())
    }
}

fn is_name(part: &str) -> bool {
    (1..=MAX_PART).contains(&part.len())
        && !part.starts_with('.')
        && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// Writes a backup.
pub struct Sealer<W: Write> {
    out: StreamWriter<W>,
    head: Head,
    entries: Vec<Entry>,
    /// The entry that is being written.
    entry: usize,
    left: u64,
    hasher: Sha256,
}

impl<W: Write> Sealer<W> {
    /// Begins the backup of `entries`, whose bytes are to be given to
    /// [`Self::write`].
    ///
    /// # Errors
    /// [`BackupError`] when it is not possible like this.
    pub fn new(plan: &Plan, entries: Vec<Entry>, mut out: W) -> Result<Self, BackupError> {
        let (identity, head) = share::deal(plan)?;
        let lines = head.lines()?;
        Head::parse(&lines)?;
        let manifest = Manifest { head_sha256: head::digest(&lines), entries };
        manifest.check(&manifest.head_sha256)?;
        let mut line = serde_json::to_vec(&manifest).map_err(|error| BackupError::Manifest {
            field: "manifest",
            problem: error.to_string(),
        })?;
        line.push(b'\n');
        if line.len() > MAX_MANIFEST {
            return Err(BackupError::Manifest {
                field: "entries",
                problem: "their names are too long together".to_owned(),
            });
        }
        out.write_all(&lines).map_err(BackupError::Write)?;
        let recipient = identity.to_public();
        let encryptor = age::Encryptor::with_recipients(std::iter::once(&recipient as _))
            .map_err(|error| BackupError::Write(io::Error::other(error)))?;
        let mut out = encryptor.wrap_output(out).map_err(BackupError::Write)?;
        out.write_all(&line).map_err(BackupError::Write)?;
        let entries = manifest.entries;
        let left = entries.first().map_or(0, |entry| entry.size);
        let mut sealer = Self { out, head, entries, entry: 0, left, hasher: Sha256::new() };
        sealer.pass()?;
        Ok(sealer)
    }

    /// The head that was written.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The next bytes of the entries, one after the other.
    ///
    /// # Errors
    /// [`BackupError::Changed`] when they are not those that were announced.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), BackupError> {
        while !bytes.is_empty() {
            if self.entry == self.entries.len() {
                return Err(BackupError::Changed("the last entry".to_owned()));
            }
            let count = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
            let (now, later) = bytes.split_at(count);
            self.hasher.update(now);
            self.out.write_all(now).map_err(BackupError::Write)?;
            self.left -= now.len() as u64;
            bytes = later;
            self.pass()?;
        }
        Ok(())
    }

    /// Goes on to the next entry that has bytes to come.
    fn pass(&mut self) -> Result<(), BackupError> {
        while self.left == 0
            && let Some(entry) = self.entries.get(self.entry)
        {
            if hex::encode(self.hasher.finalize_reset()) != entry.sha256 {
                return Err(BackupError::Changed(entry.path.clone()));
            }
            self.entry += 1;
            self.left = self.entries.get(self.entry).map_or(0, |entry| entry.size);
        }
        Ok(())
    }

    /// Ends the backup.
    ///
    /// # Errors
    /// [`BackupError::Changed`] when an entry was not written to its end.
    pub fn finish(self) -> Result<W, BackupError> {
        match self.entries.get(self.entry) {
            Some(entry) => Err(BackupError::Changed(entry.path.clone())),
            None => self.out.finish().map_err(BackupError::Write),
        }
    }
}

/// Where the entries of a backup go. What was written is to be thrown away when
/// opening fails.
pub trait Sink {
    /// Whether a backup with these entries is taken at all.
    ///
    /// # Errors
    /// Why it is not.
    fn accept(&mut self, manifest: &Manifest) -> io::Result<()>;

    /// The next bytes of `entry`.
    ///
    /// # Errors
    /// When they cannot be stored.
    fn write(&mut self, entry: &Entry, bytes: &[u8]) -> io::Result<()>;

    /// `entry` is complete, and its digest is the one of the manifest.
    ///
    /// # Errors
    /// When it cannot be kept.
    fn end(&mut self, entry: &Entry) -> io::Result<()>;
}

/// Opens a backup behind its head.
///
/// # Errors
/// [`BackupError`]; what the sink was given is then nothing.
pub fn unseal(
    input: impl Read,
    lines: &[u8],
    shares: &[Share],
    sink: &mut impl Sink,
) -> Result<Manifest, BackupError> {
    let head = Head::parse(lines)?;
    let identity = share::combine(&head, shares)?;
    let damaged = |place: &str| {
        let place = place.to_owned();
        move |source| BackupError::Damaged { place, source }
    };
    let decryptor = age::Decryptor::new(input).map_err(|error| match error {
        age::DecryptError::Io(source) => damaged("payload")(source),
        other => damaged("payload")(io::Error::other(other)),
    })?;
    let mut opened = decryptor
        .decrypt(std::iter::once(&identity as &dyn age::Identity))
        .map_err(|_| BackupError::Sealed)?;
    let line = manifest_line(&mut opened)?;
    let manifest = Manifest::parse(&line, &head::digest(lines))?;
    let refused = |path: &str| {
        let path = path.to_owned();
        move |source| BackupError::Sink { path, source }
    };
    sink.accept(&manifest).map_err(refused("manifest"))?;
    let mut piece = Zeroizing::new(vec![0; PIECE]);
    for entry in &manifest.entries {
        let (mut left, mut hasher) = (entry.size, Sha256::new());
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE);
            let now = &mut piece[..most];
            opened.read_exact(now).map_err(damaged(&entry.path))?;
            hasher.update(&*now);
            sink.write(entry, now).map_err(refused(&entry.path))?;
            left -= most as u64;
        }
        if hex::encode(hasher.finalize()) != entry.sha256 {
            let source = io::Error::other("its bytes are not those of the manifest");
            return Err(damaged(&entry.path)(source));
        }
        sink.end(entry).map_err(refused(&entry.path))?;
    }
    // The end is authenticated, too.
    let end = opened.read(&mut piece).map_err(damaged("end"))?;
    if end > 0 {
        return Err(BackupError::Form("it goes on after its last entry"));
    }
    Ok(manifest)
}

fn manifest_line(opened: &mut impl Read) -> Result<Vec<u8>, BackupError> {
    let mut line = Vec::new();
    loop {
        let mut byte = [0];
        opened
            .read_exact(&mut byte)
            .map_err(|source| BackupError::Damaged { place: "manifest".to_owned(), source })?;
        if byte[0] == b'\n' {
            return Ok(line);
        }
        if line.len() == MAX_MANIFEST {
            return Err(BackupError::Form("its manifest is over 2 MiB"));
        }
        line.push(byte[0]);
    }
}
