//! A partition that is there.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use hufu_proof::codec::MAX_TRANSACTION;
use hufu_proof::{
    Digest, Genesis, Height, LogEntry, LogIndex, Outcome, Receipt, Transaction, codec,
};

use crate::cell::Cell;
use crate::declared::DECLARATION;
use crate::error::ArchiveError;
use crate::limits::{MAX_DECLARATION, MAX_MANIFEST, MAX_PROOF};
use crate::manifest::{MANIFEST, Manifest, PROOF, TRANSACTIONS};
use crate::proof::Proof;
use crate::table::TableReader;
use crate::tree::Tree;
use crate::verify::{self, Verified};

/// Places of columns of `transactions.parquet`.
pub(crate) mod place {
    pub(crate) const HEIGHT: usize = 0;
    pub(crate) const POSITION: usize = 1;
    pub(crate) const ID: usize = 4;
    pub(crate) const OUTCOME: usize = 5;
    pub(crate) const MEMBER: usize = 7;
    pub(crate) const SIGNED: usize = 12;
}

/// A partition that is there; of its files, the manifest was read.
#[derive(Clone, Debug)]
pub struct Partition {
    directory: PathBuf,
    manifest: Manifest,
    digest: Digest,
}

impl Partition {
    /// Reads the manifest, and that the files that it names are there with the sizes that it
    /// says, and no others. Nothing else is looked at: see [`Self::verify`].
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn open(directory: &Path) -> Result<Self, ArchiveError> {
        let bytes = read(directory, MANIFEST, MAX_MANIFEST)?;
        let manifest = Manifest::parse(&bytes)?;
        let digest = Digest::of(&bytes);
        let partition = Self { directory: directory.to_owned(), manifest, digest };
        let present = partition.present()?;
        for name in &present {
            if !partition.manifest.files.contains_key(name)
                && name != MANIFEST
                && name != DECLARATION
            {
                return Err(ArchiveError::file(
                    name,
                    "manifest.json does not name it; move it out of the partition",
                ));
            }
        }
        for (name, file) in &partition.manifest.files {
            if !present.contains(name) {
                return Err(ArchiveError::file(name, "it is missing"));
            }
            let path = directory.join(name);
            let found = fs::metadata(&path).map_err(ArchiveError::io("cannot read", &path))?;
            if found.len() != file.bytes {
                let problem =
                    format!("{} bytes, and manifest.json says {}", found.len(), file.bytes);
                return Err(ArchiveError::file(name, problem));
            }
        }
        Ok(partition)
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What it has.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The digest of its manifest, which its member declares.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The names of the files that are in its folder.
    pub(crate) fn present(&self) -> Result<BTreeSet<String>, ArchiveError> {
        let directory = &self.directory;
        let failed = || ArchiveError::io("cannot read", directory);
        let mut names = BTreeSet::new();
        for entry in fs::read_dir(directory).map_err(failed())? {
            let name = entry.map_err(failed())?.file_name();
            names.insert(name.to_string_lossy().into_owned());
        }
        Ok(names)
    }

    /// The receipt of its declaration, where it is there.
    ///
    /// # Errors
    /// [`ArchiveError::Io`].
    pub(crate) fn declaration(&self) -> Result<Option<Vec<u8>>, ArchiveError> {
        if !self.directory.join(DECLARATION).exists() {
            return Ok(None);
        }
        read(&self.directory, DECLARATION, MAX_DECLARATION).map(Some)
    }

    pub(crate) fn proof(&self) -> Result<Proof, ArchiveError> {
        Proof::decode(&read(&self.directory, PROOF, MAX_PROOF as u64)?)
    }

    /// Verifies all of it, given the genesis file alone; what it proves is in the
    /// documentation of this crate.
    ///
    /// # Errors
    /// [`ArchiveError`] says which file does not hold, and why.
    pub fn verify(&self, genesis: &Genesis) -> Result<Verified, ArchiveError> {
        verify::verify(self, genesis)
    }

    /// The receipt of a transaction in it; `None` where there is no such transaction. Of one
    /// that was recorded more than once, the first one whose signature was good. It is as
    /// good as the files are: who takes it verifies it.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn receipt(&self, id: &Digest) -> Result<Option<Receipt>, ArchiveError> {
        let manifest = &self.manifest;
        let table = self.open_transactions()?;
        let mut tree = Tree::new(manifest.log_begin, &manifest.log_left);
        let mut found: Option<(LogEntry, u64)> = None;
        let mut log_index = manifest.log_begin;
        for group in 0..table.groups() {
            let columns =
                table.read(group, &[place::HEIGHT, place::POSITION, place::ID, place::OUTCOME])?;
            let [heights, positions, ids, outcomes] = &columns[..] else { break };
            for (((height, position), one), outcome) in
                heights.iter().zip(positions).zip(ids).zip(outcomes)
            {
                let entry = entry(height, position, one, outcome)?;
                if entry.transaction == *id
                    && found.is_none_or(|(known, _)| known.outcome == Outcome::Signature)
                {
                    found = Some((entry, log_index));
                }
                tree.push(entry.leaf());
                log_index += 1;
            }
        }
        let Some((entry, log_index)) = found else { return Ok(None) };
        let transaction = self.transaction(id, entry.height, entry.index)?;
        let log_path = tree.path(log_index).map_err(|_| {
            ArchiveError::file(
                TRANSACTIONS,
                "it has another number of rows than manifest.json says",
            )
        })?;
        let proof = self.proof()?;
        let header = proof.anchor()?.clone();
        let log_index = LogIndex(log_index);
        let finality = proof.finality;
        Ok(Some(Receipt { transaction, entry, log_index, log_path, header, finality }))
    }

    fn open_transactions(&self) -> Result<TableReader, ArchiveError> {
        let table = TableReader::open(&self.directory, TRANSACTIONS)?;
        verify::check_table(&table, TRANSACTIONS, &self.manifest)?;
        Ok(table)
    }

    /// The transaction that was recorded at a place.
    pub(crate) fn transaction(
        &self,
        id: &Digest,
        height: Height,
        position: u32,
    ) -> Result<Transaction, ArchiveError> {
        let mut of_height = self.transactions(height)?;
        let place = position as usize;
        if place < of_height.len() {
            let transaction = of_height.swap_remove(place);
            if transaction.id() == *id {
                return Ok(transaction);
            }
        }
        let problem = format!("transaction {id} is not at place {position} of height {height}");
        Err(ArchiveError::file(TRANSACTIONS, problem))
    }

    /// The transactions of a height of it.
    pub(crate) fn transactions(&self, height: Height) -> Result<Vec<Transaction>, ArchiveError> {
        let table = self.open_transactions()?;
        let wanted = i64::try_from(height.get()).unwrap_or(i64::MAX);
        let mut transactions = Vec::new();
        for group in 0..table.groups() {
            if !table.may_have(group, place::HEIGHT, wanted) {
                continue;
            }
            let columns = table.read(group, &[place::HEIGHT, place::SIGNED])?;
            let [heights, signed] = &columns[..] else { break };
            for (height, signed) in heights.iter().zip(signed) {
                if *height == Cell::Int(wanted) {
                    transactions.push(decode(signed)?.1);
                }
            }
        }
        Ok(transactions)
    }
}

/// A transaction with its bytes.
pub(crate) fn decode(signed: &Cell) -> Result<(&[u8], Transaction), ArchiveError> {
    let refused = |problem: String| ArchiveError::file(TRANSACTIONS, problem);
    let bytes = signed.as_bytes().ok_or_else(|| refused("`signed` is empty".to_owned()))?;
    let transaction = codec::decode("transaction", bytes, MAX_TRANSACTION)
        .map_err(|error| refused(format!("signed: {error}")))?;
    Ok((bytes, transaction))
}

/// The log entry of a row.
pub(crate) fn entry(
    height: &Cell,
    position: &Cell,
    id: &Cell,
    outcome: &Cell,
) -> Result<LogEntry, ArchiveError> {
    let refused = |column: &str| {
        ArchiveError::file(TRANSACTIONS, format!("`{column}` is not what such a column has"))
    };
    let position = position.as_number().and_then(|position| u32::try_from(position).ok());
    let outcome = outcome.as_text().ok_or_else(|| refused("outcome"))?;
    let outcome = serde_json::from_value(serde_json::Value::String(outcome.to_owned()));
    Ok(LogEntry {
        transaction: id.as_text().and_then(|id| id.parse().ok()).ok_or_else(|| refused("id"))?,
        height: height.as_number().map(Height).ok_or_else(|| refused("height"))?,
        index: position.ok_or_else(|| refused("position"))?,
        outcome: outcome.map_err(|_| refused("outcome"))?,
    })
}

/// Reads a file of a partition whole, which may have at most `limit` bytes.
fn read(directory: &Path, name: &str, limit: u64) -> Result<Vec<u8>, ArchiveError> {
    let path = directory.join(name);
    let file = match File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(ArchiveError::file(
                &path.display().to_string(),
                "it is missing, so this is no partition",
            ));
        }
        opened => opened.map_err(ArchiveError::io("cannot read", &path))?,
    };
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(ArchiveError::io("cannot read", &path))?;
    if bytes.len() as u64 > limit {
        return Err(ArchiveError::file(name, format!("over {limit} bytes")));
    }
    Ok(bytes)
}
