//! The member's archive (`[archive]`): partitions of what is old, written before it
//! leaves, declared on the ledger, and read when somebody asks for what has left.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use axum::extract::State;
use hufu_archive::{ArchiveError, DECLARATION, Folder, Kept, MANIFEST, Partition, Wanted, create};
use hufu_configuration::{Config, bundle, files};
use hufu_door::body::{Json, Path, Query, whole_number};
use hufu_door::{Code, Problem};
use hufu_machine::record::ArchiveRecord;
use hufu_machine::{Found, MachineError, Reader};
use hufu_node::Ledger;
use hufu_proof::transaction::Payload;
use hufu_proof::{Block, Declaration, Digest, Height, Name};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::node::{Node, RECEIPT};
use crate::refusal::Answer;
use crate::submit::Submitter;
use crate::yielding::waiting;

/// Bytes of a file that are given out at a time.
const PIECE: u64 = 4 * 1024 * 1024;

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
struct Summary {
    member: Name,
    digest: Digest,
    bytes: u64,
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

    /// Ends what is being written.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    fn summary(&self, kept: &Kept) -> Result<Summary, ArchiveError> {
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
    tokio::time::timeout(RECEIPT, proved)
        .await
        .unwrap_or_else(|_| Err(hufu_node::Error::Pending.into()))
}

impl Node {
    /// The block of a height, from the store or the archive.
    ///
    /// # Errors
    /// [`MachineError::Pruned`] where neither has it any more; what the store meets.
    pub fn block(&self, height: Height) -> Result<Option<Block>, MachineError> {
        let reader = self.ledger.reader();
        match reader.block(height) {
            Err(gone @ MachineError::Pruned { .. }) => {
                let archived = self.archive.as_ref().map(|archive| archive.block(reader, height));
                archived.transpose()?.flatten().map(Some).ok_or(gone)
            }
            read => read,
        }
    }

    /// A transaction and where it is, from the store or the archive.
    ///
    /// # Errors
    /// As [`Self::block`].
    pub fn transaction(&self, id: &Digest) -> Result<Option<Found>, MachineError> {
        let reader = self.ledger.reader();
        match reader.transaction(id) {
            Err(gone @ MachineError::Pruned { .. }) => {
                let Some((log_index, entry)) = reader.entry(id)? else { return Err(gone) };
                let block = self.block(entry.height)?;
                let transactions = block.map(|block| block.transactions).unwrap_or_default();
                let transaction = transactions.into_iter().nth(entry.index as usize);
                transaction
                    .map(|transaction| Some(Found { transaction, entry, log_index }))
                    .ok_or(gone)
            }
            read => read,
        }
    }

    fn own_archive(&self) -> anyhow::Result<&Arc<Archive>> {
        self.archive.as_ref().ok_or_else(|| {
            let detail = "this node has no archive: name a folder under `[archive] directory` of \
                          its configuration, and start it again";
            Problem::new(Code::NotFound, detail).into()
        })
    }
}

/// The partitions that are here.
pub async fn list(State(node): State<Arc<Node>>) -> Answer<Json<Value>> {
    let archive = node.own_archive()?;
    let state = node.ledger.reader().state()?;
    let mut partitions = Vec::new();
    for kept in archive.folder.partitions().map_err(anyhow::Error::from)? {
        let Summary { member, digest, bytes } =
            archive.summary(&kept).map_err(anyhow::Error::from)?;
        let record = state.archive(&member, kept.first)?;
        partitions.push(json!({
            "first": kept.first,
            "last": kept.last,
            "member": member,
            "manifest": digest,
            "bytes": bytes,
            "declared": record.is_some_and(|record| record.manifest == digest),
            "path": kept.path,
        }));
    }
    Ok(Json(json!({ "partitions": partitions, "up_to": archive.up_to(node.ledger.reader())? })))
}

/// Up to which height.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Make {
    to: Option<Height>,
}

/// Writes and declares the next partition.
pub async fn make(
    State(node): State<Arc<Node>>,
    Json(Make { to }): Json<Make>,
) -> Answer<Json<Value>> {
    node.own_archive()?;
    let anchored = node.ledger.reader().latest_anchor()?;
    let newest = anchored.map_or(Height::ZERO, |(header, _)| header.executed.height);
    let end = to.unwrap_or(newest);
    if end > newest {
        let detail = format!("to: height {end} cannot be proved yet; the last one is {newest}");
        return Err(Problem::new(Code::NotAnchored, detail).into());
    }
    // It goes on when who asked does not wait any more.
    let making = node.clone();
    let made =
        tokio::spawn(async move { making.own_archive()?.advance(&making.submitter, end).await });
    let made = made.await??;
    let up_to = node.own_archive()?.up_to(node.ledger.reader())?;
    Ok(Json(json!({
        "made": made.map(|made| json!({
            "first": made.first, "last": made.last, "manifest": made.manifest,
        })),
        "up_to": up_to,
        "more": up_to < end,
    })))
}

/// From where on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Piece {
    #[serde(default)]
    from: u64,
}

/// A piece of a file of a partition.
pub async fn file(
    State(node): State<Arc<Node>>,
    Path((first, name)): Path<(String, String)>,
    Query(Piece { from }): Query<Piece>,
) -> Answer<Vec<u8>> {
    let first = Height(whole_number("first", &first)?);
    let none = |what: String| Problem::new(Code::NotFound, format!("no {what}"));
    let folder = node.own_archive()?.folder.clone();
    let read = tokio::task::spawn_blocking(move || {
        let kept = folder.partitions()?;
        let kept = kept.into_iter().find(|kept| kept.first == first);
        let kept = kept.ok_or_else(|| none(format!("partition begins at height {first}")))?;
        let partition = Partition::open(&kept.path)?;
        let known = partition.manifest().files.contains_key(&name);
        if !known && name != MANIFEST && name != DECLARATION {
            return Err(none(format!("file of the partition is called `{name}`")).into());
        }
        let path = partition.directory().join(&name);
        if !path.exists() {
            return Err(none(format!("file {name} is in the partition")).into());
        }
        anyhow::Ok(read_piece(&path, from)?)
    });
    Ok(read.await??)
}

fn read_piece(path: &std::path::Path, from: u64) -> std::io::Result<Vec<u8>> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let mut file = std::fs::File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut piece = Vec::new();
    file.take(PIECE).read_to_end(&mut piece)?;
    Ok(piece)
}

/// What a member declared of its archive.
pub async fn declared(
    State(node): State<Arc<Node>>,
    Path(member): Path<Name>,
) -> Answer<Json<Value>> {
    let declared = node.ledger.reader().state()?.archives(&member)?;
    let one = |(first, record): (Height, ArchiveRecord)| {
        let ArchiveRecord { last, manifest, transaction } = record;
        json!({ "first": first, "last": last, "manifest": manifest, "transaction": transaction })
    };
    Ok(Json(Value::Array(declared.into_iter().map(one).collect())))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section is one look-up or insertion.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
