//! What is asked of the archive: blocks and transactions that have left the store, by
//! whoever asks this node; the partitions themselves, by the member's administrators.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::sync::Arc;

use axum::extract::State;
use hufu_archive::{DECLARATION, MANIFEST, Partition};
use hufu_door::body::{Json, Path, Query, whole_number};
use hufu_door::{Code, Problem};
use hufu_machine::record::ArchiveRecord;
use hufu_machine::{Found, MachineError};
use hufu_proof::{Block, Digest, Height, Name};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::archive::{Archive, Summary};
use crate::node::Node;
use crate::refusal::Answer;

/// Bytes of a file that are given out at a time.
const PIECE: u64 = 4 * 1024 * 1024;

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
    for kept in archive.folder().partitions().map_err(anyhow::Error::from)? {
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
    let folder = node.own_archive()?.folder().clone();
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
