//! The folder of partitions, from which transactions and blocks are read that have left
//! the store.

use std::fs;
use std::path::{Path, PathBuf};

use hufu_proof::{Genesis, Height, Transaction};

use crate::create::{path_of, place, remove};
use crate::error::ArchiveError;
use crate::partition::Partition;

/// The folder that a partition is in until it is complete.
pub(crate) const PARTIAL: &str = ".partial";

/// The folder that one from elsewhere is in until it is complete.
const RESTORING: &str = ".restoring";

/// Digits of a height in a name, so that names are in the order of heights.
const DIGITS: usize = 12;

/// The name of the folder of a partition.
pub fn name_of(first: Height, last: Height) -> String {
    format!("{:0DIGITS$}-{:0DIGITS$}", first.get(), last.get())
}

fn heights_of(name: &str) -> Option<(Height, Height)> {
    let (first, last) = name.split_once('-')?;
    let (first, last) = (Height(first.parse().ok()?), Height(last.parse().ok()?));
    (name_of(first, last) == name).then_some((first, last))
}

/// A folder of partitions.
#[derive(Clone, Debug)]
pub struct Folder {
    directory: PathBuf,
}

/// A partition in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its first height.
    pub first: Height,
    /// Its last height.
    pub last: Height,
    /// Where it is.
    pub path: PathBuf,
}

impl Folder {
    /// The folder at `directory`, which need not be there yet.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The partitions in it, in the order of their heights. Nothing is looked into.
    ///
    /// # Errors
    /// [`ArchiveError::Io`].
    pub fn partitions(&self) -> Result<Vec<Kept>, ArchiveError> {
        let failed = || ArchiveError::io("cannot read", &self.directory);
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            read => read.map_err(failed())?,
        };
        let mut kept = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed())?;
            let name = entry.file_name();
            if let Some((first, last)) = name.to_str().and_then(heights_of) {
                kept.push(Kept { first, last, path: entry.path() });
            }
        }
        kept.sort_by_key(|one| (one.first, one.last));
        Ok(kept)
    }

    /// The partition that has `height`, if one has.
    ///
    /// # Errors
    /// [`ArchiveError`] of a partition that has it and is not sound at first sight.
    pub fn partition(&self, height: Height) -> Result<Option<Partition>, ArchiveError> {
        let kept = self.partitions()?;
        let found = kept.iter().find(|one| (one.first..=one.last).contains(&height));
        found.map(|one| Partition::open(&one.path)).transpose()
    }

    /// The transactions of the block of a height, whose Merkle root is for the caller to
    /// compare with the header's; `None` where no partition has it.
    ///
    /// # Errors
    /// [`ArchiveError`] of a partition that should have them.
    pub fn transactions(&self, height: Height) -> Result<Option<Vec<Transaction>>, ArchiveError> {
        let Some(partition) = self.partition(height)? else { return Ok(None) };
        partition.transactions(height).map(Some)
    }

    /// Verifies a partition from elsewhere and takes a copy of it into the folder, whole or
    /// not at all.
    ///
    /// # Errors
    /// [`ArchiveError`]; where there is one of the same heights already,
    /// [`ArchiveError::Exists`].
    pub fn restore(&self, from: &Path, genesis: &Genesis) -> Result<Partition, ArchiveError> {
        let directory = &self.directory;
        fs::create_dir_all(directory).map_err(ArchiveError::io("cannot make", directory))?;
        let restoring = directory.join(RESTORING);
        remove(&restoring)?;
        fs::create_dir(&restoring).map_err(ArchiveError::io("cannot make", &restoring))?;
        let restored = Self::take(from, &restoring, genesis).and_then(|partition| {
            let manifest = partition.manifest();
            let path = path_of(directory, manifest.first, manifest.last);
            place(&restoring, &path)?;
            Partition::open(&path)
        });
        if restored.is_err() {
            // What the next one finds of it is removed then.
            let _ = fs::remove_dir_all(&restoring);
        }
        restored
    }

    /// Copies first and verifies the copy, so that nothing changes in between.
    fn take(from: &Path, to: &Path, genesis: &Genesis) -> Result<Partition, ArchiveError> {
        let source = Partition::open(from)?;
        for name in source.present()? {
            let (from, to) = (from.join(&name), to.join(&name));
            fs::copy(&from, &to).map_err(ArchiveError::io("cannot write", &to))?;
            fs::File::open(&to)
                .and_then(|file| file.sync_all())
                .map_err(ArchiveError::io("cannot write", &to))?;
        }
        let copy = Partition::open(to)?;
        copy.verify(genesis)?;
        Ok(copy)
    }
}
