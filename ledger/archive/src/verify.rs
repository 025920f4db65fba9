//! Whether a partition holds.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::vec;

use hufu_proof::transaction::Batch;
use hufu_proof::{
    Block, Commitment, Digest, Genesis, Header, Height, LogEntry, Name, Outcome, Payload,
    Transaction, UnixMillis,
};
use sha2::{Digest as _, Sha256};

use crate::about::{OfContract, TableKind};
use crate::cell::Cell;
use crate::declared;
use crate::error::ArchiveError;
use crate::manifest::{BLOCKS, MANIFEST, Manifest, TRANSACTIONS};
use crate::partition::{Partition, decode, entry, place};
use crate::rows::{self, Recorded};
use crate::schema::{self, Column, OF_STREAM, RECORDED};
use crate::table::TableReader;
use crate::tree::Tree;

/// Bytes of a file that are read at a time.
const PIECE: usize = 256 * 1024;

/// What a partition has, after it was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Blocks in it.
    pub blocks: u64,
    /// Transactions in it.
    pub transactions: u64,
    /// The time of its first and of its last block.
    pub times: (UnixMillis, UnixMillis),
    /// The contracts' tables, by their files' names, with the rows in them.
    pub tables: BTreeMap<String, u64>,
    /// The final header that its last block and its log were checked against.
    pub anchor: Header,
    /// Where its member declared it, if the partition shows that.
    pub declared: Option<Declared>,
}

/// That the member declared a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Declared {
    /// The block that has the declaration.
    pub height: Height,
    /// The declaration's identifier.
    pub transaction: Digest,
}

pub(crate) fn verify(partition: &Partition, genesis: &Genesis) -> Result<Verified, ArchiveError> {
    let manifest = partition.manifest();
    let expected = genesis.digest();
    if manifest.genesis != expected {
        return Err(ArchiveError::OtherConsortium { found: manifest.genesis, expected });
    }
    if manifest.consortium != genesis.consortium {
        let problem = "`consortium` is not the name in the genesis file";
        return Err(ArchiveError::file(MANIFEST, problem));
    }
    for (name, file) in &manifest.files {
        if digest_of(partition, name)? != file.sha256 {
            return Err(ArchiveError::file(name, "its SHA-256 is not the one in manifest.json"));
        }
    }
    let proof = partition.proof()?;
    proof.check(manifest, genesis)?;
    let (transactions, times) = contents(partition, manifest)?;
    let declared = partition.declaration()?;
    let declared = declared
        .map(|bytes| declared::check(&bytes, manifest, &partition.digest(), genesis))
        .transpose()?;
    let rows = |name: &str| manifest.files.get(name).and_then(|file| file.rows);
    Ok(Verified {
        blocks: manifest.last.since(manifest.first) + 1,
        transactions,
        times,
        tables: manifest
            .contract_files()
            .map(|name| (name.to_owned(), rows(name).unwrap_or_default()))
            .collect(),
        anchor: proof.anchor()?.clone(),
        declared,
    })
}

fn digest_of(partition: &Partition, name: &str) -> Result<Digest, ArchiveError> {
    let path = partition.directory().join(name);
    let failed = || ArchiveError::io("cannot read", &path);
    let mut file = File::open(&path).map_err(failed())?;
    let mut digest = Sha256::new();
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece).map_err(failed())? {
            0 => return Ok(Digest(digest.finalize().into())),
            count => digest.update(&piece[..count]),
        }
    }
}

/// That a table is one of the partition's, and has as many rows as the manifest says.
pub(crate) fn check_table(
    table: &TableReader,
    name: &str,
    manifest: &Manifest,
) -> Result<(), ArchiveError> {
    table.about.check(name, manifest)?;
    let own = match name {
        BLOCKS => Some(schema::blocks()),
        TRANSACTIONS => Some(schema::transactions()),
        _ => None,
    };
    if own.is_some() != table.about.table.is_none() || own.is_some_and(|own| own != table.columns) {
        return Err(ArchiveError::file(name, "its columns are not those of such a table"));
    }
    let expected = manifest.files.get(name).and_then(|file| file.rows);
    if Some(table.rows()) != expected {
        let problem = format!(
            "{} rows, and manifest.json says {}",
            table.rows(),
            expected.unwrap_or_default()
        );
        return Err(ArchiveError::file(name, problem));
    }
    Ok(())
}

/// The rows of a table, one after another.
struct Rows {
    name: String,
    table: TableReader,
    group: usize,
    rows: vec::IntoIter<Vec<Cell>>,
}

impl Rows {
    fn open(partition: &Partition, name: &str) -> Result<Self, ArchiveError> {
        let table = TableReader::open(partition.directory(), name)?;
        check_table(&table, name, partition.manifest())?;
        Ok(Self { name: name.to_owned(), table, group: 0, rows: Vec::new().into_iter() })
    }

    /// Reads on where all that was read was taken.
    fn fill(&mut self) -> Result<(), ArchiveError> {
        while self.rows.as_slice().is_empty() && self.group < self.table.groups() {
            self.rows = self.table.read_rows(self.group)?.into_iter();
            self.group += 1;
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Vec<Cell>>, ArchiveError> {
        self.fill()?;
        Ok(self.rows.next())
    }

    fn peek(&mut self) -> Result<Option<&Vec<Cell>>, ArchiveError> {
        self.fill()?;
        Ok(self.rows.as_slice().first())
    }

    fn refused(&self, problem: impl Into<String>) -> ArchiveError {
        ArchiveError::file(&self.name, problem)
    }
}

/// That a row is the one that it must be.
fn check_row(
    name: &str,
    columns: &[Column],
    found: &[Cell],
    expected: &[Cell],
    at: &str,
) -> Result<(), ArchiveError> {
    if found.len() != expected.len() {
        return Err(ArchiveError::file(name, format!("{at} has other columns than it must have")));
    }
    let differs = columns.iter().zip(found.iter().zip(expected)).find(|(_, (a, b))| a != b);
    match differs {
        None => Ok(()),
        Some((column, _)) => {
            let problem = format!("{at}: `{}` is not what follows from the blocks", column.name);
            Err(ArchiveError::file(name, problem))
        }
    }
}

/// Checks blocks, transactions and tables; how many transactions there are, and the time of
/// the first and of the last block.
fn contents(
    partition: &Partition,
    manifest: &Manifest,
) -> Result<(u64, (UnixMillis, UnixMillis)), ArchiveError> {
    let mut blocks = Rows::open(partition, BLOCKS)?;
    let mut transactions = Rows::open(partition, TRANSACTIONS)?;
    let mut tables = Tables::open(partition)?;
    let mut tree = Tree::new(manifest.log_begin, &manifest.log_left);
    let (mut parent, mut height) = (manifest.before, manifest.first);
    let mut times: Option<(UnixMillis, UnixMillis)> = None;
    while let Some(row) = blocks.next()? {
        let (header, count) = header(&row, manifest.genesis, parent, height)
            .ok_or_else(|| blocks.refused(format!("height {height} is not a block's")))?;
        let at = format!("height {height}");
        check_row(BLOCKS, &blocks.table.columns, &row, &rows::block(&header, count), &at)?;
        let first = times.map_or(header.time_ms, |(first, _)| first);
        times = Some((first, header.time_ms));
        let mut of_block = Vec::new();
        for position in 0..count {
            let row = transactions.next()?;
            let row = row.ok_or_else(|| transactions.refused(format!("{at} has fewer of them")))?;
            let recorded = Recorded { height, time: header.time_ms, log_index: tree.size() };
            let columns = &transactions.table.columns;
            let (entry, transaction) = logged(columns, &row, recorded, position)?;
            tree.push(entry.leaf());
            tables.check(recorded, entry.outcome, &transaction)?;
            of_block.push(transaction);
        }
        if Block::transactions_root(&of_block) != header.transactions_root {
            return Err(transactions.refused(format!("{at} had other transactions")));
        }
        (parent, height) = (header.digest(), height.next());
    }
    if parent != manifest.block || height != manifest.last.next() {
        return Err(blocks.refused("its last block is not the one in manifest.json"));
    }
    if transactions.next()?.is_some() {
        return Err(transactions.refused("there are more of them than the blocks have"));
    }
    tables.check_end()?;
    let root = tree.root().ok();
    if tree.size() != manifest.log_end || root != Some(manifest.log_root) {
        return Err(transactions.refused(
            "what became of them does not lead to the root of the log in the final header",
        ));
    }
    let times = times.ok_or_else(|| blocks.refused("it has no block"))?;
    Ok((tree.size() - manifest.log_begin, times))
}

/// The header of a row, with the number of its transactions.
fn header(row: &[Cell], chain: Digest, parent: Digest, height: Height) -> Option<(Header, u64)> {
    let [_, time, _, _, version, count, root, executed, state_root, log_size, log_root] = row
    else {
        return None;
    };
    let digest = |cell: &Cell| cell.as_text().and_then(|text| text.parse::<Digest>().ok());
    let header = Header {
        version: u8::try_from(version.as_number()?).ok()?,
        chain,
        height,
        parent,
        time_ms: UnixMillis(time.as_number()?),
        transactions_root: digest(root)?,
        executed: Commitment {
            height: Height(executed.as_number()?),
            state_root: digest(state_root)?,
            log_size: log_size.as_number()?,
            log_root: digest(log_root)?,
        },
    };
    Some((header, count.as_number()?))
}

/// The log entry and the transaction of a row.
fn logged(
    columns: &[Column],
    row: &[Cell],
    recorded: Recorded,
    position: u64,
) -> Result<(LogEntry, Transaction), ArchiveError> {
    let at = format!("height {}, position {position}", recorded.height);
    let short = || ArchiveError::file(TRANSACTIONS, format!("{at} has other columns"));
    let cell = |place: usize| row.get(place).ok_or_else(short);
    let entry = entry(
        cell(place::HEIGHT)?,
        cell(place::POSITION)?,
        cell(place::ID)?,
        cell(place::OUTCOME)?,
    )?;
    let (_, transaction) = decode(cell(place::SIGNED)?)?;
    // The only cell that does not follow from the transaction and its outcome.
    let member = match cell(place::MEMBER)?.as_text() {
        None => None,
        Some(text) => Some(Name::new(text).map_err(|_| {
            ArchiveError::file(TRANSACTIONS, format!("{at}: `member` is no name of one"))
        })?),
    };
    let position = u32::try_from(position).map_err(|_| short())?;
    let became = (&transaction.id(), entry.outcome, member.as_ref());
    let expected = rows::transaction(recorded, position, &transaction, became);
    check_row(TRANSACTIONS, columns, row, &expected, &at)?;
    Ok((entry, transaction))
}

/// The tables of contracts, read along with the transactions.
struct Tables {
    tables: Vec<(OfContract, Rows)>,
}

impl Tables {
    fn open(partition: &Partition) -> Result<Self, ArchiveError> {
        let mut tables = Vec::new();
        for name in partition.manifest().contract_files() {
            let rows = Rows::open(partition, name)?;
            let of = rows.table.about.table.clone();
            let of = of.ok_or_else(|| rows.refused("it is no contract's table"))?;
            let mut begins = RECORDED.to_vec();
            if of.kind == TableKind::Stream {
                begins.extend(OF_STREAM);
            }
            let columns = &rows.table.columns;
            let same = columns.len() >= begins.len()
                && columns.iter().zip(&begins).all(|(column, (name, kind))| {
                    column.name == *name && column.kind == *kind && !column.optional
                });
            if !same {
                return Err(rows.refused("it does not begin with the columns that it must have"));
            }
            tables.push((of, rows));
        }
        Ok(Self { tables })
    }

    /// Takes the rows of a transaction: there are some only if it took effect, and those of
    /// a batch are the ones that were signed.
    fn check(
        &mut self,
        at: Recorded,
        outcome: Outcome,
        transaction: &Transaction,
    ) -> Result<(), ArchiveError> {
        let batch = match &transaction.body.payload {
            Payload::Append(batch) if outcome.is_accepted() => Some(batch),
            _ => None,
        };
        let mut streamed = 0;
        for (of, rows) in &mut self.tables {
            while rows.peek()?.and_then(|row| row.get(2)).and_then(Cell::as_number)
                == Some(at.log_index)
            {
                let Some(row) = rows.next()? else { break };
                if row.get(..3) != Some(&at.cells()[..]) || !outcome.is_accepted() {
                    let problem = format!("a row of log entry {} is of no block", at.log_index);
                    return Err(rows.refused(problem));
                }
                if of.kind == TableKind::Stream {
                    check_streamed(of, rows, &row, at, batch, streamed)?;
                    streamed += 1;
                }
            }
        }
        match batch {
            Some(Batch { contract, stream, rows, .. }) if rows.len() != streamed => {
                let name = format!("stream.{contract}.{stream}.parquet");
                let (log_index, signed) = (at.log_index, rows.len());
                let problem =
                    format!("log entry {log_index} has {streamed} rows, and {signed} were signed");
                Err(ArchiveError::file(&name, problem))
            }
            _ => Ok(()),
        }
    }

    /// That no row is left.
    fn check_end(&mut self) -> Result<(), ArchiveError> {
        for (_, rows) in &mut self.tables {
            if rows.peek()?.is_some() {
                return Err(rows.refused("it has rows of no block, or not in the order of the log"));
            }
        }
        Ok(())
    }
}

/// That a row of a stream is the one that was signed at `position` of the batch.
fn check_streamed(
    of: &OfContract,
    rows: &Rows,
    row: &[Cell],
    at: Recorded,
    batch: Option<&Batch>,
    position: usize,
) -> Result<(), ArchiveError> {
    let what = format!("log entry {}, row {position}", at.log_index);
    let batch = batch.filter(|batch| batch.contract == of.contract && batch.stream == of.name);
    let signed = batch.and_then(|batch| Some((batch, batch.rows.get(position)?)));
    let (Some((batch, values)), Some(device)) = (signed, row.get(RECORDED.len())) else {
        return Err(rows.refused(format!("{what} was not signed")));
    };
    let mut expected = at.cells();
    // Which asset the signer is, the ledger's state says.
    expected.push(device.clone());
    expected.extend([batch.sequence.get(), position as u64].map(Cell::number));
    expected.extend(values.iter().map(Cell::from));
    check_row(&rows.name, &rows.table.columns, row, &expected, &what)
}
