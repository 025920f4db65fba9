//! Writes a partition.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use hufu_machine::{Event, MachineError, Reader, Replay};
use hufu_proof::{Digest, Header, Height, Name, Payload, codec};

use crate::about::{About, Described};
use crate::error::ArchiveError;
use crate::folder::{PARTIAL, name_of};
use crate::limits::{BYTES, MAX_AFTER, MAX_HEIGHTS, TRANSACTIONS};
use crate::manifest::{self, FORMAT, FileEntry, MANIFEST, Manifest, PROOF};
use crate::partition::Partition;
use crate::proof::Proof;
use crate::rows::{self, Recorded};
use crate::schema;
use crate::table::TableWriter;
use crate::tables::Tables;

/// What is to be written, and where.
pub struct Wanted<'a> {
    /// The ledger.
    pub reader: &'a Reader,
    /// Whose archive it is.
    pub member: &'a Name,
    /// The first height, from 1 on. The state as of the height before must be kept.
    pub first: Height,
    /// The last height. The partition ends there, or a few heights later, where a header
    /// commits to it; earlier, when there is much in it.
    pub last: Height,
    /// The folder of partitions.
    pub directory: &'a Path,
}

/// Writes the blocks from the first height on as a partition, a folder of its own in the
/// folder of partitions: whole, or nothing of it. `stop` is asked at each height.
///
/// # Errors
/// [`ArchiveError`].
pub fn create(wanted: &Wanted<'_>, stop: &dyn Fn() -> bool) -> Result<Partition, ArchiveError> {
    let Wanted { first, last, directory, .. } = *wanted;
    if first.get() == 0 || last < first || last.since(first) >= MAX_HEIGHTS {
        let problem = format!("it begins at 1 or later and has at most {MAX_HEIGHTS} heights");
        return Err(ArchiveError::Range { first, last, problem });
    }
    fs::create_dir_all(directory).map_err(ArchiveError::io("cannot make", directory))?;
    let partial = directory.join(PARTIAL);
    remove(&partial)?;
    fs::create_dir(&partial).map_err(ArchiveError::io("cannot make", &partial))?;
    let placed = write(wanted, &partial, stop).and_then(|manifest| {
        let path = directory.join(name_of(manifest.first, manifest.last));
        place(&partial, &path).map(|()| path)
    });
    match placed {
        Ok(path) => Partition::open(&path),
        Err(error) => {
            // What the next run finds of it is removed then.
            let _ = fs::remove_dir_all(&partial);
            Err(error)
        }
    }
}

/// Removes a folder, if it is there.
pub(crate) fn remove(directory: &Path) -> Result<(), ArchiveError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(ArchiveError::io("cannot remove", directory)(error))
        }
        _ => Ok(()),
    }
}

/// Gives a complete folder its name, durably.
pub(crate) fn place(partial: &Path, path: &Path) -> Result<(), ArchiveError> {
    if path.exists() {
        return Err(ArchiveError::Exists { path: path.to_owned() });
    }
    let synced = |directory: &Path| {
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(ArchiveError::io("cannot write", directory))
    };
    synced(partial)?;
    fs::rename(partial, path).map_err(ArchiveError::io("cannot make", path))?;
    synced(path.parent().unwrap_or(Path::new(".")))
}

/// Writes a file durably.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<FileEntry, ArchiveError> {
    let failed = ArchiveError::io("cannot write", path);
    let written = File::create_new(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(failed)?;
    Ok(FileEntry { sha256: Digest::of(bytes), bytes: bytes.len() as u64, rows: None })
}

/// A partition that is being written.
struct Writing<'a> {
    blocks: TableWriter,
    transactions: TableWriter,
    tables: Tables<'a>,
    /// Transactions so far, and bytes of cells, about.
    count: u64,
    bytes: u64,
}

fn write(
    wanted: &Wanted<'_>,
    partial: &Path,
    stop: &dyn Fn() -> bool,
) -> Result<Manifest, ArchiveError> {
    let Wanted { reader, member, first, .. } = *wanted;
    let damaged = |what: &str| MachineError::Damaged { what: what.to_owned(), source: None };
    let before = reader.header(first.minus(1))?.ok_or_else(|| damaged("header"))?;
    let log_begin = reader.commitment(before.height)?.ok_or_else(|| damaged("commitment"))?;
    let log_begin = log_begin.log_size;
    let state = reader.state_at(before.height)?;
    let active: BTreeMap<Name, Digest> =
        state.contracts()?.into_iter().map(|(name, record)| (name, record.digest)).collect();
    let mut writing = Writing {
        blocks: TableWriter::new(partial, manifest::BLOCKS, schema::blocks())?,
        transactions: TableWriter::new(partial, manifest::TRANSACTIONS, schema::transactions())?,
        tables: Tables::new(reader, partial, active),
        count: 0,
        bytes: 0,
    };
    let (mut end, mut height) = (wanted.end(wanted.last)?, first);
    let mut full = false;
    let last = loop {
        if stop() {
            return Err(ArchiveError::Interrupted);
        }
        let replay = reader.replay(height)?.ok_or_else(|| damaged("block"))?;
        let last = replay.block.header.clone();
        writing.height(&replay)?;
        if !full && (writing.count >= TRANSACTIONS || writing.bytes >= BYTES) {
            full = true;
            end = end.min(wanted.end(height)?);
        }
        if height >= end {
            break last;
        }
        height = height.next();
    };
    let proof = wanted.proof(&last)?;
    let executed = proof.anchor()?.executed;
    let about = About {
        format: FORMAT.to_owned(),
        member: member.clone(),
        genesis: reader.chain(),
        first,
        last: last.height,
        table: None,
        columns: Vec::new(),
    };
    let described = |columns: Vec<schema::Column>| About {
        columns: columns.iter().map(|column| Described::new(column, None)).collect(),
        ..about.clone()
    };
    let Writing { blocks, transactions, tables, .. } = writing;
    let mut files: BTreeMap<String, FileEntry> = tables.finish(&about)?.into_iter().collect();
    files.extend([
        blocks.finish(&described(schema::blocks()))?,
        transactions.finish(&described(schema::transactions()))?,
        (PROOF.to_owned(), write_file(&partial.join(PROOF), &codec::encode(&proof))?),
    ]);
    let manifest = Manifest {
        format: FORMAT.to_owned(),
        member: member.clone(),
        consortium: reader.genesis().consortium.clone(),
        genesis: reader.chain(),
        first,
        last: last.height,
        before: before.digest(),
        block: last.digest(),
        state_root: executed.state_root,
        log_root: executed.log_root,
        log_begin,
        log_end: executed.log_size,
        log_left: reader.log_subtrees(log_begin)?,
        files,
    };
    let bytes = manifest.to_bytes();
    // What cannot be read again is not left there.
    Manifest::parse(&bytes)?;
    write_file(&partial.join(MANIFEST), &bytes)?;
    Ok(manifest)
}

impl Wanted<'_> {
    /// The first height at or after `height` whose result a final header commits to.
    fn end(&self, height: Height) -> Result<Height, ArchiveError> {
        let anchor = self.reader.anchor(height)?;
        let (header, _) =
            anchor.ok_or(ArchiveError::NotFinal { first: self.first, last: height })?;
        Ok(header.executed.height)
    }

    /// How the block with this header became final.
    fn proof(&self, last: &Header) -> Result<Proof, ArchiveError> {
        let (first, height) = (self.first, last.height);
        let anchor = self.reader.anchor(height)?;
        let (anchor, finality) = anchor.ok_or(ArchiveError::NotFinal { first, last: height })?;
        if anchor.height.since(height) > MAX_AFTER as u64 {
            let problem = format!("the header that commits to it is {} later", anchor.height);
            return Err(ArchiveError::Range { first, last: height, problem });
        }
        let mut after = Vec::new();
        for height in height.next().through(anchor.height) {
            let damaged = || MachineError::Damaged { what: "header".to_owned(), source: None };
            after.push(self.reader.header(height)?.ok_or_else(damaged)?);
        }
        Ok(Proof { after, finality })
    }
}

impl Writing<'_> {
    /// Takes a height in.
    fn height(&mut self, replay: &Replay) -> Result<(), ArchiveError> {
        let Replay { block, events } = replay;
        let header = &block.header;
        self.blocks.push(rows::block(header, block.transactions.len() as u64))?;
        let recorded = Recorded { height: header.height, time: header.time_ms, log_index: 0 };
        let mut at = recorded;
        for event in events {
            if let Event::Transaction { log_index, .. } = event {
                at = Recorded { log_index: log_index.get(), ..recorded };
                self.count += 1;
            }
            self.bytes += self.event(replay, at, event)? as u64;
        }
        self.tables.relieve()
    }

    /// Takes an event in; bytes that were added, about.
    fn event(
        &mut self,
        Replay { block, .. }: &Replay,
        at: Recorded,
        event: &Event,
    ) -> Result<usize, ArchiveError> {
        let odd = |what: String| MachineError::Damaged { what, source: None };
        match event {
            Event::Transaction { id, index, outcome, member, .. } => {
                let transaction = block.transactions.get(*index as usize);
                let transaction =
                    transaction.ok_or_else(|| odd(format!("events of height {}", at.height)))?;
                let became = (id, *outcome, member.as_ref());
                self.transactions.push(rows::transaction(at, *index, transaction, became))
            }
            Event::Contract { contract, digest, .. } => {
                self.tables.deployed(contract, *digest);
                Ok(0)
            }
            Event::Asset { contract, asset_type, key, created, asset, .. } => {
                self.tables.asset(at, (contract, asset_type, key), *created, asset)
            }
            Event::Rows { index, device, .. } => {
                let transaction = block.transactions.get(*index as usize);
                match transaction.map(|transaction| &transaction.body.payload) {
                    Some(Payload::Append(batch)) => self.tables.rows(at, device, batch),
                    _ => Err(odd(format!("rows of height {}", at.height)).into()),
                }
            }
            _ => Ok(0),
        }
    }
}

/// Where a partition would be.
pub(crate) fn path_of(directory: &Path, first: Height, last: Height) -> PathBuf {
    directory.join(name_of(first, last))
}
