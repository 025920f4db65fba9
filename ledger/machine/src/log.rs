//! The Merkle log of what became of every transaction (RFC 9162 §2.1), stored
//! so that any path can be made and witnesses can be served tiles.
//!
//! | space | row | holds |
//! |---|---|---|
//! | log | index | the [`LogEntry`] |
//! | tiles | tile + `0` | the 256 leaf hashes of a full tile |
//! | tiles | last tile + level | a node of level 8, 16, 24, … : the root of a full tile |
//!
//! Numbers are big-endian, eight bytes (levels one). A node is under the last
//! tile that it covers, so that rows are written in the order of their keys,
//! and the store need not merge what it wrote. The nodes between are computed
//! from a tile, and the last, partial tile from its entries.

use std::cell::RefCell;

use hufu_proof::merkle;
use hufu_proof::{Digest, LogEntry, LogIndex, codec};
use hufu_store::{KeyRange, Space, Store, Write};

use crate::error::MachineError;

/// Hashes in a full tile.
const TILE: u64 = 256;
/// Levels in a tile.
const TILE_LEVELS: u8 = 8;
/// Most bytes of an encoded entry.
const MAX_ENTRY: usize = 128;

fn tile_key(tile: u64) -> Vec<u8> {
    [&tile.to_be_bytes()[..], &[0]].concat()
}

/// Of a node of level 8, 16, 24, …
fn node_key(level: u8, index: u64) -> Vec<u8> {
    let last = ((index + 1) << (level - TILE_LEVELS)) - 1;
    [&last.to_be_bytes()[..], &[level]].concat()
}

/// The growing end of the log.
#[derive(Clone)]
pub(crate) struct Log {
    size: u64,
    /// The newest complete node of each level.
    newest: Vec<Digest>,
    /// Leaf hashes of the tile that is not full yet.
    tile: Vec<Digest>,
}

impl Log {
    /// An empty log.
    pub(crate) fn new() -> Self {
        Self { size: 0, newest: Vec::new(), tile: Vec::new() }
    }

    /// The log of `size` entries that the store holds.
    pub(crate) fn open(store: &dyn Store, size: u64) -> Result<Self, MachineError> {
        let reader = LogReader::new(store, size);
        let levels = (u64::BITS - size.leading_zeros()) as u8;
        let mut newest = vec![Digest::default(); usize::from(levels)];
        for level in 0..levels {
            // A level without a bit in the size is not read before it is written.
            if size >> level & 1 == 1 {
                newest[usize::from(level)] = reader.node(level, (size >> level) - 1)?;
            }
        }
        let tile =
            if size.is_multiple_of(TILE) { Vec::new() } else { reader.leaves(size / TILE)? };
        Ok(Self { size, newest, tile })
    }

    /// Entries in it.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The index that the next entry gets.
    pub(crate) fn next(&self) -> LogIndex {
        LogIndex(self.size)
    }

    /// Its root.
    pub(crate) fn root(&self) -> Result<Digest, MachineError> {
        merkle::stored_root(self.size, |level, _| self.newest(level))
    }

    fn newest(&self, level: u8) -> Result<Digest, MachineError> {
        self.newest
            .get(usize::from(level))
            .copied()
            .ok_or_else(|| MachineError::damaged("transaction log"))
    }

    /// Appends an entry; what is to be stored goes to `writes`.
    pub(crate) fn append(
        &mut self,
        entry: &LogEntry,
        writes: &mut Vec<Write>,
    ) -> Result<(), MachineError> {
        let index = self.size;
        let bytes = codec::encode(entry);
        let leaf = merkle::leaf_hash(&bytes);
        writes.push(Write::put(Space::Log, index.to_be_bytes(), bytes));
        let completed = merkle::append(index, leaf, |level, _| self.newest(level))?;
        for (level, at, hash) in completed {
            match self.newest.get_mut(usize::from(level)) {
                Some(newest) => *newest = hash,
                None => self.newest.push(hash),
            }
            if level > 0 && level.is_multiple_of(TILE_LEVELS) {
                writes.push(Write::put(Space::Tiles, node_key(level, at), *hash.as_bytes()));
            }
        }
        self.tile.push(leaf);
        if self.tile.len() as u64 == TILE {
            let hashes: Vec<u8> = self.tile.iter().flat_map(|hash| hash.0).collect();
            writes.push(Write::put(Space::Tiles, tile_key(index / TILE), hashes));
            self.tile.clear();
        }
        self.size += 1;
        Ok(())
    }
}

/// Reads nodes of the log as it was at some size.
pub(crate) struct LogReader<'a> {
    store: &'a dyn Store,
    size: u64,
    /// The tile read last, because a path reads one several times.
    last: RefCell<Option<(u64, Vec<Digest>)>>,
}

impl<'a> LogReader<'a> {
    pub(crate) fn new(store: &'a dyn Store, size: u64) -> Self {
        Self { store, size, last: RefCell::new(None) }
    }

    /// The inclusion path of entry `index`, which is in the log.
    pub(crate) fn path(&self, index: LogIndex) -> Result<Vec<Digest>, MachineError> {
        merkle::stored_path(index.get(), self.size, |level, at| self.node(level, at))
    }

    /// Entry number `index`.
    pub(crate) fn entry(&self, index: LogIndex) -> Result<Option<LogEntry>, MachineError> {
        let row = self.store.read_latest(Space::Log, &index.to_be_bytes())?;
        row.map(|row| decode_entry(&row)).transpose()
    }

    /// Entries `begin..end`.
    pub(crate) fn entries(
        &self,
        begin: LogIndex,
        end: LogIndex,
    ) -> Result<Vec<LogEntry>, MachineError> {
        let range =
            KeyRange { start: begin.to_be_bytes().to_vec(), end: Some(end.to_be_bytes().to_vec()) };
        let count = usize::try_from(end.since(begin)).unwrap_or(usize::MAX);
        let rows = self.store.scan(Space::Log, &range, u64::MAX, count)?;
        if rows.len() != count {
            return Err(MachineError::damaged("transaction log"));
        }
        rows.iter().map(|(_, row)| decode_entry(row)).collect()
    }

    /// A complete node.
    pub(crate) fn node(&self, level: u8, index: u64) -> Result<Digest, MachineError> {
        let (base, above) = (level - level % TILE_LEVELS, level % TILE_LEVELS);
        let (begin, end) = (index << above, (index + 1) << above);
        if base == 0 {
            let tile = begin / TILE;
            let mut last = self.last.borrow_mut();
            if last.as_ref().is_none_or(|(of, _)| *of != tile) {
                *last = Some((tile, self.leaves(tile)?));
            }
            let leaves = last.as_ref().map_or(&[][..], |(_, leaves)| leaves);
            let range = (begin % TILE) as usize..(end - tile * TILE) as usize;
            let leaves = leaves.get(range);
            return leaves
                .map(merkle::root)
                .ok_or_else(|| MachineError::damaged("transaction log"));
        }
        let keys: Vec<Vec<u8>> = (begin..end).map(|at| node_key(base, at)).collect();
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let mut nodes = Vec::with_capacity(keys.len());
        for row in self.store.read_many(Space::Tiles, &keys, u64::MAX)? {
            let hash = row.and_then(|row| row.try_into().ok()).map(Digest);
            nodes.push(hash.ok_or_else(|| MachineError::damaged("transaction log"))?);
        }
        Ok(merkle::root(&nodes))
    }

    /// Nodes `begin..begin + width` of level `8 × level`, all of them complete, or
    /// nothing. They are in one tile.
    pub(crate) fn tile(
        &self,
        level: u8,
        begin: u64,
        width: u64,
    ) -> Result<Option<Vec<Digest>>, MachineError> {
        let complete = self.size.checked_shr(u32::from(TILE_LEVELS) * u32::from(level));
        let end = begin.checked_add(width).filter(|end| *end <= complete.unwrap_or(0));
        let Some(end) = end else { return Ok(None) };
        if level == 0 {
            let mut leaves = self.leaves(begin / TILE)?;
            leaves.truncate(usize::try_from(width).unwrap_or(usize::MAX));
            return Ok(Some(leaves));
        }
        (begin..end)
            .map(|at| self.node(TILE_LEVELS * level, at))
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// The leaf hashes of a tile, all those that are in the log.
    fn leaves(&self, tile: u64) -> Result<Vec<Digest>, MachineError> {
        let (begin, end) = (tile * TILE, ((tile + 1) * TILE).min(self.size));
        if end - begin < TILE {
            let entries = self.entries(LogIndex(begin), LogIndex(end))?;
            return Ok(entries.iter().map(LogEntry::leaf).collect());
        }
        let row = self.store.read_latest(Space::Tiles, &tile_key(tile))?.unwrap_or_default();
        let (hashes, rest) = row.as_chunks::<32>();
        if hashes.len() as u64 != TILE || !rest.is_empty() {
            return Err(MachineError::damaged("transaction log"));
        }
        Ok(hashes.iter().map(|hash| Digest(*hash)).collect())
    }
}

fn decode_entry(row: &[u8]) -> Result<LogEntry, MachineError> {
    codec::decode("log entry", row, MAX_ENTRY)
        .map_err(|error| MachineError::undecodable("transaction log", error))
}
