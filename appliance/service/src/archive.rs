//! The member's archive (`[archive]`): partitions of what is old, written before it
//! leaves, declared on the ledger, and read when somebody asks for what has left.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use hufu_archive::{ArchiveError, DECLARATION, Folder, Kept, Partition, Wanted, create};
use hufu_configuration::{Config, bundle, files};
use hufu_machine::record::ArchiveRecord;
use hufu_machine::{MachineError, Reader};
use hufu_node::Ledger;
use hufu_proof::transaction::Payload;
use hufu_proof::{Block, Declaration, Digest, Height, Name};
use serde_json::{Value, json};

use crate::submit::Submitter;
use crate::yielding::waiting;

/// How long the proof of a declaration is waited for: it is in one of the next headers.
const PATIENCE: Duration = Duration::from_secs(10);

/// The member's archive.
pub struct Archive {
    member: Name,
    folder: Folder,
    heights: u64,
    /// Whoever writes or declares a partition.
    working: tokio::sync::Mutex<()>,
    /// What was read of partitions: they do not change.
    read: Mutex<BTreeMap<PathBuf, Summary>>,
    stop: Arc<AtomicBool>,
}

/// What is known of a partition without its files.
#[derive(Clone)]
pub(crate) struct Summary {
    pub(crate) member: Name,
    pub(crate) digest: Digest,
    pub(crate) bytes: u64,
}

/// A partition of this member's that is there and on the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Archived {
    /// Its first height.
    pub first: Height,
    /// Its last height.
    pub last: Height,
    /// The digest of its manifest.
    pub manifest: Digest,
}

impl Archive {
    /// The archive that a configuration names.
    pub fn of(config: &Config) -> Option<Arc<Self>> {
        let named = config.archive.as_ref()?;
        Some(Arc::new(Self {
            member: config.member.name.clone(),
            folder: Folder::new(&named.directory),
            heights: named.heights,
            working: tokio::sync::Mutex::default(),
            read: Mutex::default(),
            stop: Arc::default(),
        }))
    }

    /// How many heights are in a partition.
    pub fn heights(&self) -> u64 {
        self.heights
    }

    /// The folder of partitions.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Ends what is being written.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    pub(crate) fn summary(&self, kept: &Kept) -> Result<Summary, ArchiveError> {
        if let Some(known) = lock(&self.read).get(&kept.path) {
            return Ok(known.clone());
        }
        let partition = Partition::open(&kept.path)?;
        let manifest = partition.manifest();
        let summary = Summary {
            member: manifest.member.clone(),
            digest: partition.digest(),
            bytes: manifest.files.values().map(|file| file.bytes).sum(),
        };
        lock(&self.read).insert(kept.path.clone(), summary.clone());
        Ok(summary)
    }

    /// This member's partitions, and what the ledger has of each.
    fn own(&self, reader: &Reader) -> anyhow::Result<Vec<(Kept, Summary, Option<ArchiveRecord>)>> {
        let state = reader.state()?;
        let mut own = Vec::new();
        for kept in self.folder.partitions()? {
            let summary = self.summary(&kept)?;
            if summary.member == self.member {
                let record = state.archive(&self.member, kept.first)?;
                let record = record.filter(|record| record.manifest == summary.digest);
                own.push((kept, summary, record));
            }
        }
        Ok(own)
    }

    /// The height up to which everything that is still here is in partitions that are on
    /// the ledger, without a gap; and the one after it that is not on the ledger yet.
    fn covered(&self, reader: &Reader) -> anyhow::Result<(Height, Option<Kept>)> {
        // The next partition wants the state as of the height before its first: so what is
        // kept begins at the last height of the one before.
        let mut covered = reader.kept_from();
        for (kept, _, record) in self.own(reader)? {
            if kept.first > covered.next() || kept.last <= covered {
                continue;
            }
            match record {
                Some(_) => covered = kept.last,
                None => return Ok((covered, Some(kept))),
            }
        }
        Ok((covered, None))
    }

    /// The height up to which everything that is still here is archived.
    ///
    /// # Errors
    /// What the folder or the store meets.
    pub fn up_to(&self, reader: &Reader) -> anyhow::Result<Height> {
        Ok(self.covered(reader)?.0)
    }

    /// Declares the partition that is not declared yet; or else writes the next one, at most
    /// up to the height `end`, and declares that. `None` where there is nothing to do.
    ///
    /// # Errors
    /// What the folder, the store or the ledger meets. What is not complete is done by the
    /// next call.
    pub async fn advance(
        &self,
        submitter: &Submitter,
        end: Height,
    ) -> anyhow::Result<Option<Archived>> {
        let _one = self.working.lock().await;
        let ledger = submitter.ledger();
        let reader = ledger.reader().clone();
        let (covered, waits) = waiting(|| self.covered(&reader))?;
        let partition = match waits {
            Some(kept) => Partition::open(&kept.path)?,
            None if covered < end => self.write(reader, covered.next(), end).await?,
            None => return Ok(None),
        };
        self.declare(&partition, submitter).await.map(Some)
    }

    /// Writes the partition that begins at `first`.
    async fn write(&self, reader: Reader, first: Height, end: Height) -> anyhow::Result<Partition> {
        let last = first.plus(self.heights - 1).min(end);
        let (member, stop) = (self.member.clone(), self.stop.clone());
        let directory = self.folder.directory().to_owned();
        let written = tokio::task::spawn_blocking(move || {
            let wanted =
                Wanted { reader: &reader, member: &member, first, last, directory: &directory };
            create(&wanted, &|| stop.load(Ordering::Acquire))
        });
        let partition = written.await?.context("the archive")?;
        let manifest = partition.manifest();
        tracing::info!(
            first = manifest.first.get(),
            last = manifest.last.get(),
            manifest = %partition.digest(),
            "archived"
        );
        Ok(partition)
    }

    /// Declares a partition, unless the ledger has it, and puts the receipt beside it.
    async fn declare(
        &self,
        partition: &Partition,
        submitter: &Submitter,
    ) -> anyhow::Result<Archived> {
        let manifest = partition.manifest();
        let (first, last, digest) = (manifest.first, manifest.last, partition.digest());
        let ledger = submitter.ledger();
        let known = ledger.reader().state()?.archive(&self.member, first)?;
        let transaction = match known.filter(|known| known.manifest == digest) {
            Some(known) => known.transaction,
            None => {
                let declaration = Declaration::Archive { first, last, manifest: digest };
                let entry = submitter.submit(Payload::Declare(declaration)).await;
                entry.context("the declaration of a partition")?.transaction
            }
        };
        let receipt = receipt(ledger, transaction).await?;
        let path = partition.directory().join(DECLARATION);
        files::write(&path, bundle::receipt(&receipt)?.as_bytes())?;
        Ok(Archived { first, last, manifest: digest })
    }

    /// The block of a height that has left the store, if a partition has it.
    ///
    /// # Errors
    /// What the store meets. A partition that does not hold is as good as none, and logged.
    pub fn block(&self, reader: &Reader, height: Height) -> Result<Option<Block>, MachineError> {
        let Some(header) = reader.header(height)? else { return Ok(None) };
        let transactions = match waiting(|| self.folder.transactions(height)) {
            Ok(Some(transactions)) => transactions,
            Ok(None) => return Ok(None),
            Err(error) => {
                let error = hufu_door::problem::sentence(&error);
                tracing::warn!(error, height = height.get(), "the archive cannot be read");
                return Ok(None);
            }
        };
        if Block::transactions_root(&transactions) != header.transactions_root {
            tracing::warn!(height = height.get(), "the archive has another block; verify it");
            return Ok(None);
        }
        Ok(Some(Block { header, transactions }))
    }

    /// What `hufu status` shows; `waits` is what keeps what is old from leaving.
    pub fn status(&self, reader: &Reader) -> Value {
        let shown = || -> anyhow::Result<Value> {
            let (up_to, waits) = self.covered(reader)?;
            let partitions = self.folder.partitions()?.len();
            let waits = waits.map(|kept| {
                format!("heights {} to {} are not declared yet", kept.first, kept.last)
            });
            Ok(json!({
                "directory": self.folder.directory(),
                "partitions": partitions,
                "up_to": up_to,
                "waits": waits,
            }))
        };
        shown().unwrap_or_else(|error| json!({ "error": hufu_configuration::sentence(&error) }))
    }
}

/// The receipt of a transaction of ours, as soon as a header covers it.
async fn receipt(ledger: &Ledger, transaction: Digest) -> anyhow::Result<hufu_proof::Receipt> {
    let mut applied = ledger.applied();
    let proved = async {
        loop {
            if let Some(receipt) = ledger.reader().receipt(&transaction)? {
                return anyhow::Ok(receipt);
            }
            applied.changed().await.context("the node stops")?;
        }
    };
    tokio::time::timeout(PATIENCE, proved)
        .await
        .unwrap_or_else(|_| Err(hufu_node::Error::Pending.into()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section is one look-up or insertion.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
