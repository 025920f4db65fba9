//! What this device has sent of a stream: a journal beside its keys, so that a
//! second run after a fault sends nothing twice.
//!
//! The ledger takes each batch of a signer once, in order, but it cannot know
//! that two batches hold the same rows of one file. The journal does: for every
//! batch that the ledger acknowledged it has a line with the number of rows sent
//! so far from the beginning of a file, and a digest over all of them. A file
//! whose first rows have that digest goes on after them, however it is called
//! now and however large its batches are; a file that grew as well.
//!
//! Before a batch is sent, it is kept, signed, in a file of its own. If what
//! became of it is not known when the run ends, the next run asks the ledger,
//! and sends the very same transaction again if the ledger does not have it: one
//! transaction is recorded once. The journal is a memory; the ledger is the
//! truth, and where it says otherwise, the run ends.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use borsh::{BorshDeserialize, BorshSerialize};
use hufu_proof::codec::{self, MAX_TRANSACTION};
use hufu_proof::{Digest, IdentityId, Name, Sequence, Transaction, Value};
use serde::{Deserialize, Serialize};

use hufu_configuration::files;

/// Largest journal that is read, in bytes: some hundred thousand batches.
const MAX_JOURNAL: u64 = 64 * 1024 * 1024;

/// A batch that the ledger acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// Rows of the file up to its end.
    pub rows: u64,
    /// The digest over them ([`Running`]).
    pub digest: Digest,
    /// Its number in the stream.
    pub sequence: Sequence,
    /// Who signed it.
    pub identity: IdentityId,
    /// Its transaction.
    pub transaction: Digest,
}

/// A batch on its way.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Underway {
    /// Rows of the file up to its end.
    pub rows: u64,
    /// The digest over them.
    pub digest: Digest,
    /// Its number in the stream.
    pub sequence: Sequence,
    /// What was signed.
    pub transaction: Transaction,
}

/// A digest over rows from the beginning of a file, for one stream of one
/// consortium. The signer is not part of it: a device that has a new key does
/// not send again what it sent with the one before.
#[derive(Clone, Copy)]
pub struct Running {
    digest: Digest,
    rows: u64,
}

impl Running {
    /// Before the first row.
    pub fn start(chain: &Digest, contract: &Name, stream: &Name) -> Self {
        let parts = (chain, contract, stream);
        let digest = Digest::of_parts(&[b"hufu sent rows v1\0", &codec::encode(&parts)]);
        Self { digest, rows: 0 }
    }

    /// After one more row.
    #[must_use]
    pub fn with(self, row: &[Value]) -> Self {
        let digest = Digest::of_parts(&[self.digest.as_bytes(), &codec::encode(row)]);
        Self { digest, rows: self.rows + 1 }
    }

    /// After more rows.
    #[must_use]
    pub fn with_all(self, rows: &[Vec<Value>]) -> Self {
        rows.iter().fold(self, |running, row| running.with(row))
    }

    /// The digest, and the number of rows it is over.
    pub fn parts(self) -> (u64, Digest) {
        (self.rows, self.digest)
    }
}

/// The journal of one stream. Another run that has it open keeps this one out.
pub struct Journal {
    file: File,
    path: PathBuf,
    underway: PathBuf,
    acknowledged: Vec<Acknowledged>,
}

impl Journal {
    /// Opens the journal of a stream in the device's state directory.
    ///
    /// # Errors
    /// A sentence with the path: another run has it, or it cannot be read.
    pub fn open(state: &Path, contract: &Name, stream: &Name) -> anyhow::Result<Self> {
        let path = state.join(format!("sent-{contract}-{stream}.jsonl"));
        let underway = state.join(format!("sending-{contract}-{stream}.bin"));
        let what = || format!("the journal {}", path.display());
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(&path)
            .with_context(what)?;
        file.try_lock().with_context(|| {
            format!("{}: another `hufu device send` of this device is at work", path.display())
        })?;
        let mut text = Vec::new();
        (&file).take(MAX_JOURNAL + 1).read_to_end(&mut text).with_context(what)?;
        anyhow::ensure!(
            text.len() as u64 <= MAX_JOURNAL,
            "{} is over {MAX_JOURNAL} bytes; move it away: files that were sent are then sent \
             again if they are given again",
            path.display()
        );
        // A line that power cut off was not acted upon: its batch is still kept
        // as underway.
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let mut acknowledged = Vec::new();
        for (number, line) in text[..whole].split(|byte| *byte == b'\n').enumerate() {
            if !line.is_empty() {
                let line = serde_json::from_slice(line);
                acknowledged.push(line.with_context(|| {
                    format!("{} is damaged in line {}; move it away", path.display(), number + 1)
                })?);
            }
        }
        if whole < text.len() {
            file.set_len(whole as u64).with_context(what)?;
            file.seek(SeekFrom::End(0)).with_context(what)?;
        }
        Ok(Self { file, path, underway, acknowledged })
    }

    /// The batch with which the longest beginning of `rows` that was sent ends.
    pub fn reached(&self, start: Running, rows: &[Vec<Value>]) -> Option<Acknowledged> {
        let mut by_parts: HashMap<(u64, Digest), Acknowledged> = HashMap::new();
        for one in &self.acknowledged {
            by_parts.insert((one.rows, one.digest), *one);
        }
        if by_parts.is_empty() {
            return None;
        }
        let mut running = start;
        let mut reached = None;
        for row in rows {
            running = running.with(row);
            reached = by_parts.get(&running.parts()).copied().or(reached);
        }
        reached
    }

    /// The batch of which the last run did not know what became of it.
    ///
    /// # Errors
    /// A sentence with the path.
    pub fn underway(&self) -> anyhow::Result<Option<Underway>> {
        if !self.underway.exists() {
            return Ok(None);
        }
        let limit = MAX_TRANSACTION + 1024;
        let bytes = files::read(&self.underway, limit as u64)?;
        let kept: Underway = codec::decode("a batch underway", &bytes, limit)
            .with_context(|| format!("{} is damaged", self.underway.display()))?;
        let id = kept.transaction.id();
        Ok((!self.acknowledged.iter().any(|one| one.transaction == id)).then_some(kept))
    }

    /// Keeps a batch, durably, before it is sent.
    ///
    /// # Errors
    /// A sentence with the path.
    pub fn keep(&mut self, underway: &Underway) -> anyhow::Result<()> {
        files::write(&self.underway, &codec::encode(underway))
    }

    /// Writes down, durably, that the ledger has the batch.
    ///
    /// # Errors
    /// A sentence with the path.
    pub fn acknowledge(&mut self, underway: &Underway) -> anyhow::Result<()> {
        let Underway { rows, digest, sequence, transaction } = underway;
        let identity = transaction.body.signer.identity();
        let (rows, digest, sequence) = (*rows, *digest, *sequence);
        let line = Acknowledged { rows, digest, sequence, identity, transaction: transaction.id() };
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        self.file
            .write_all(&text)
            .and_then(|()| self.file.sync_data())
            .with_context(|| format!("the journal {}", self.path.display()))?;
        self.acknowledged.push(line);
        self.forget()
    }

    /// Gives up a batch that the ledger will never have.
    ///
    /// # Errors
    /// A sentence with the path.
    pub fn forget(&mut self) -> anyhow::Result<()> {
        files::remove(&self.underway).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hufu_proof::transaction::{Batch, Body, Payload};
    use hufu_proof::{Algorithm, PublicKey, Signature};

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn rows(range: std::ops::Range<i64>) -> Vec<Vec<Value>> {
        range.map(|number| vec![Value::Decimal(number)]).collect()
    }

    fn start() -> Running {
        Running::start(&Digest::of(b"chain"), &name("contract"), &name("stream"))
    }

    fn open(directory: &Path) -> anyhow::Result<Journal> {
        Journal::open(directory, &name("contract"), &name("stream"))
    }

    /// The batch that ends after `all`.
    fn batch(sequence: Sequence, all: &[Vec<Value>]) -> Underway {
        let signer = PublicKey::new(Algorithm::Ed25519, &[7; 32]).unwrap();
        let payload = Payload::Append(Batch {
            contract: name("contract"),
            stream: name("stream"),
            sequence,
            rows: all.to_vec(),
        });
        let body = Body {
            chain: Digest::of(b"chain"),
            signer,
            nonce: sequence.get(),
            expires: hufu_proof::Height(9),
            payload,
        };
        let signature = Signature::new(Algorithm::Ed25519, &[1; 64]).unwrap();
        let (rows, digest) = start().with_all(all).parts();
        Underway { rows, digest, sequence, transaction: Transaction { body, signature } }
    }

    #[test]
    fn a_file_goes_on_after_the_rows_that_were_acknowledged() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = open(directory.path()).unwrap();
        assert_eq!(journal.reached(start(), &rows(0..8)), None);
        for (sequence, end) in [(1, 3), (2, 6)] {
            let underway = batch(Sequence(sequence), &rows(0..end));
            journal.keep(&underway).unwrap();
            assert_eq!(journal.underway().unwrap().as_ref(), Some(&underway));
            journal.acknowledge(&underway).unwrap();
            assert_eq!(journal.underway().unwrap(), None);
        }
        drop(journal);
        let journal = open(directory.path()).unwrap();
        let reached = |rows: Vec<Vec<Value>>| {
            journal.reached(start(), &rows).map_or((0, 0), |one| (one.rows, one.sequence.get()))
        };
        assert_eq!(reached(rows(0..8)), (6, 2));
        // A file that grew, a shorter one, and others.
        assert_eq!(reached(rows(0..100)), (6, 2));
        assert_eq!(reached(rows(0..4)), (3, 1));
        assert_eq!(reached(rows(0..2)), (0, 0));
        assert_eq!(reached(rows(1..9)), (0, 0));
        let other = Running::start(&Digest::of(b"other"), &name("contract"), &name("stream"));
        assert_eq!(journal.reached(other, &rows(0..8)), None);
    }

    #[test]
    fn what_power_cut_off_is_not_believed() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = open(directory.path()).unwrap();
        journal.acknowledge(&batch(Sequence(1), &rows(0..3))).unwrap();
        let underway = batch(Sequence(2), &rows(0..6));
        journal.keep(&underway).unwrap();
        let path = journal.path.clone();
        drop(journal);
        OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"{\"rows\":6,\"di")
            .unwrap();
        let mut journal = open(directory.path()).unwrap();
        assert_eq!(journal.reached(start(), &rows(0..8)).unwrap().rows, 3);
        assert_eq!(journal.underway().unwrap(), Some(underway.clone()));
        journal.acknowledge(&underway).unwrap();
        drop(journal);
        assert_eq!(open(directory.path()).unwrap().reached(start(), &rows(0..8)).unwrap().rows, 6);
        std::fs::write(&path, "no journal\n").unwrap();
        let error = format!("{:#}", open(directory.path()).err().unwrap());
        assert!(error.contains("damaged in line 1"), "{error}");
    }

    #[test]
    fn two_runs_at_once_are_kept_apart() {
        let directory = tempfile::tempdir().unwrap();
        let _journal = open(directory.path()).unwrap();
        let error = format!("{:#}", open(directory.path()).err().unwrap());
        assert!(error.contains("is at work"), "{error}");
    }
}
