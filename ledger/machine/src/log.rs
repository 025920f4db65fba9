//! The Merkle log of what became of every transaction (RFC 9162 §2.1), stored
//! so that any path can be made and witnesses can be served tiles.
//!
//! | space | row | holds |
//! |---|---|---|
//! | log | last entry | a [`Run`]: outcomes and leaf hashes of entries of one block |
//! | tiles | last tile + level | a node of level 8, 16, 24, … : the root of a full tile |
//!
//! Numbers are big-endian, eight bytes (levels one). Runs and nodes are under the
//! last entry and tile that they cover, so that rows are written in the order of
//! their keys, and the store need not merge what it wrote. The identifier of a
//! transaction is in its block and nowhere in the log; the nodes between are
//! computed from leaf hashes.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use borsh::{BorshDeserialize, BorshSerialize};
use hufu_proof::merkle;
use hufu_proof::{Digest, Height, LogEntry, LogIndex, Outcome, codec};
use hufu_store::limits::MAX_VALUE;
use hufu_store::{KeyRange, Space, Store, Write};

use crate::error::MachineError;

/// Hashes in a full tile.
const TILE: u64 = 256;
/// Levels in a tile.
const TILE_LEVELS: u8 = 8;
/// Most entries of a run: 66 kB of a row's 90.
const MAX_RUN: usize = 2_000;

/// Of a node of level 8, 16, 24, …
fn node_key(level: u8, index: u64) -> Vec<u8> {
    let last = ((index + 1) << (level - TILE_LEVELS)) - 1;
    [&last.to_be_bytes()[..], &[level]].concat()
}

/// Entries of one block that follow one another.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Run {
    /// The block.
    pub height: Height,
    /// Place in the block of the first.
    pub index: u32,
    /// What became of each transaction, and the leaf hash of its entry.
    pub entries: Vec<(Outcome, Digest)>,
}

/// The growing end of the log.
#[derive(Clone)]
pub(crate) struct Log {
    size: u64,
    /// The newest complete node of each level.
    newest: Vec<Digest>,
}

impl Log {
    /// An empty log.
    pub(crate) fn new() -> Self {
        Self { size: 0, newest: Vec::new() }
    }

    /// The log of `size` entries that the store holds.
    pub(crate) fn open(store: &dyn Store, size: u64) -> Result<Self, MachineError> {
        let reader = LogReader::new(store, size);
        let levels = (u64::BITS - size.leading_zeros()) as u8;
        // A level without a bit in the size is not read before it is written.
        let wanted: Vec<(u8, u64)> = (0..levels)
            .filter(|level| size >> level & 1 == 1)
            .map(|level| (level, (size >> level) - 1))
            .collect();
        let mut newest = vec![Digest::default(); usize::from(levels)];
        let below = reader.below(&wanted)?;
        for (level, index) in wanted {
            newest[usize::from(level)] = below.node(level, index)?;
        }
        Ok(Self { size, newest })
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
        self.newest.get(usize::from(level)).copied().ok_or_else(damaged)
    }

    /// Appends the entries of a block; what is to be stored goes to `writes`.
    pub(crate) fn append(
        &mut self,
        height: Height,
        entries: &[LogEntry],
        writes: &mut Vec<Write>,
    ) -> Result<(), MachineError> {
        for entries in entries.chunks(MAX_RUN) {
            let Some(first) = entries.first() else { continue };
            let mut run = Run { height, index: first.index, entries: Vec::new() };
            for entry in entries {
                let leaf = entry.leaf();
                self.append_leaf(leaf, writes)?;
                run.entries.push((entry.outcome, leaf));
            }
            let last = (self.size - 1).to_be_bytes();
            writes.push(Write::put(Space::Log, last, codec::encode(&run)));
        }
        Ok(())
    }

    /// Appends entries that another member tells of.
    pub(crate) fn append_runs(
        &mut self,
        runs: &[Run],
        writes: &mut Vec<Write>,
    ) -> Result<(), MachineError> {
        for run in runs {
            let mut index = run.index;
            for entries in run.entries.chunks(MAX_RUN) {
                for (_, leaf) in entries {
                    self.append_leaf(*leaf, writes)?;
                }
                let part = Run { height: run.height, index, entries: entries.to_vec() };
                let last = (self.size - 1).to_be_bytes();
                writes.push(Write::put(Space::Log, last, codec::encode(&part)));
                // At most `MAX_RUN`.
                index = index.saturating_add(entries.len() as u32);
            }
        }
        Ok(())
    }

    fn append_leaf(&mut self, leaf: Digest, writes: &mut Vec<Write>) -> Result<(), MachineError> {
        let completed = merkle::append(self.size, leaf, |level, _| self.newest(level))?;
        for (level, at, hash) in completed {
            match self.newest.get_mut(usize::from(level)) {
                Some(newest) => *newest = hash,
                None => self.newest.push(hash),
            }
            if level > 0 && level.is_multiple_of(TILE_LEVELS) {
                writes.push(Write::put(Space::Tiles, node_key(level, at), *hash.as_bytes()));
            }
        }
        self.size += 1;
        Ok(())
    }
}

/// Reads the log as it was at some size. What is asked of it is known before the
/// first row is read, and read in a few rounds, whatever the size.
pub(crate) struct LogReader<'a> {
    store: &'a dyn Store,
    size: u64,
}

/// What nodes are computed from.
struct Below {
    /// Leaf hashes by tile, all those that are in the log.
    tiles: BTreeMap<u64, Vec<Digest>>,
    /// Nodes of level 8, 16, 24, … by level and index.
    nodes: BTreeMap<(u8, u64), Digest>,
}

/// The level whose nodes a node is computed from, and which: leaves are level 0.
fn below(level: u8, index: u64) -> (u8, Range<u64>) {
    let above = level % TILE_LEVELS;
    (level - above, index << above..(index + 1) << above)
}

impl Below {
    /// A complete node.
    fn node(&self, level: u8, index: u64) -> Result<Digest, MachineError> {
        let (base, range) = below(level, index);
        if base == 0 {
            let tile = range.start / TILE;
            let within = (range.start - tile * TILE) as usize..(range.end - tile * TILE) as usize;
            let leaves = self.tiles.get(&tile).and_then(|leaves| leaves.get(within));
            return leaves.map(merkle::root).ok_or_else(damaged);
        }
        let nodes: Option<Vec<Digest>> =
            range.map(|at| self.nodes.get(&(base, at)).copied()).collect();
        nodes.map(|nodes| merkle::root(&nodes)).ok_or_else(damaged)
    }
}

fn damaged() -> MachineError {
    MachineError::damaged("transaction log")
}

impl<'a> LogReader<'a> {
    pub(crate) fn new(store: &'a dyn Store, size: u64) -> Self {
        Self { store, size }
    }

    /// Reads what complete nodes are computed from.
    fn below(&self, nodes: &[(u8, u64)]) -> Result<Below, MachineError> {
        let (mut tiles, mut wanted) = (BTreeMap::new(), BTreeSet::new());
        for (level, index) in nodes {
            let (base, range) = below(*level, *index);
            if base > 0 {
                wanted.extend(range.map(|at| (base, at)));
                continue;
            }
            let tile = range.start / TILE;
            if let Entry::Vacant(missing) = tiles.entry(tile) {
                let end = ((tile + 1) * TILE).min(self.size);
                missing.insert(self.leaves(tile * TILE, end)?);
            }
        }
        let keys: Vec<Vec<u8>> = wanted.iter().map(|(level, at)| node_key(*level, *at)).collect();
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let rows = match keys[..] {
            [] => Vec::new(),
            _ => self.store.read_many(Space::Tiles, &keys, u64::MAX)?,
        };
        let mut nodes = BTreeMap::new();
        for (node, row) in wanted.into_iter().zip(rows) {
            let hash = row.and_then(|row| row.try_into().ok()).map(Digest);
            nodes.insert(node, hash.ok_or_else(damaged)?);
        }
        Ok(Below { tiles, nodes })
    }

    /// The hashes of the complete subtrees that the log consists of, the largest first.
    pub(crate) fn subtrees(&self) -> Result<Vec<Digest>, MachineError> {
        let levels = (u64::BITS - self.size.leading_zeros()) as u8;
        let wanted: Vec<(u8, u64)> = (0..levels)
            .rev()
            .filter(|level| self.size >> level & 1 == 1)
            .map(|level| (level, (self.size >> level) - 1))
            .collect();
        let below = self.below(&wanted)?;
        wanted.into_iter().map(|(level, index)| below.node(level, index)).collect()
    }

    /// The inclusion path of entry `index`, which is in the log.
    pub(crate) fn path(&self, index: LogIndex) -> Result<Vec<Digest>, MachineError> {
        let mut wanted = Vec::new();
        merkle::stored_path(index.get(), self.size, |level, at| {
            wanted.push((level, at));
            Ok::<_, MachineError>(Digest::default())
        })?;
        let below = self.below(&wanted)?;
        merkle::stored_path(index.get(), self.size, |level, at| below.node(level, at))
    }

    /// The runs that have entries `begin..end`, which must be in the log, each
    /// with the index of its first entry.
    pub(crate) fn runs(&self, begin: u64, end: u64) -> Result<Vec<(u64, Run)>, MachineError> {
        if begin >= end {
            return Ok(Vec::new());
        }
        // Most often one run has them all, and it is the one with the last.
        let from = |start: u64| KeyRange { start: start.to_be_bytes().to_vec(), end: None };
        let rows = self.store.scan(Space::Log, &from(end - 1), u64::MAX, 1)?;
        let last = decode_run(rows.first().ok_or_else(damaged)?)?;
        let mut runs = Vec::new();
        if last.0 > begin {
            let end = Some(last.0.to_be_bytes().to_vec());
            let range = KeyRange { end, ..from(begin) };
            for row in self.store.scan(Space::Log, &range, u64::MAX, usize::MAX)? {
                runs.push(decode_run(&row)?);
            }
        }
        runs.push(last);
        let mut next = begin;
        for (first, run) in &runs {
            // The first may begin before; every other one where its predecessor ends.
            if *first > next || (next > begin && *first != next) {
                return Err(damaged());
            }
            next = first + run.entries.len() as u64;
        }
        if next < end { Err(damaged()) } else { Ok(runs) }
    }

    /// Leaf hashes `begin..end`, which must be in the log.
    fn leaves(&self, begin: u64, end: u64) -> Result<Vec<Digest>, MachineError> {
        let mut leaves = Vec::new();
        for (first, run) in self.runs(begin, end)? {
            let within = (first..end).zip(run.entries).filter(|(index, _)| *index >= begin);
            leaves.extend(within.map(|(_, (_, leaf))| leaf));
        }
        Ok(leaves)
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
            return self.leaves(begin, end).map(Some);
        }
        let level = TILE_LEVELS * level;
        let nodes: Vec<(u8, u64)> = (begin..end).map(|at| (level, at)).collect();
        let below = self.below(&nodes)?;
        nodes.iter().map(|(level, at)| below.node(*level, *at)).collect::<Result<_, _>>().map(Some)
    }
}

/// A row of the log, with the index of its first entry.
fn decode_run((key, row): &(Vec<u8>, Vec<u8>)) -> Result<(u64, Run), MachineError> {
    let last = u64::from_be_bytes(key.as_slice().try_into().map_err(|_| damaged())?);
    let run: Run = codec::decode("run of log entries", row, MAX_VALUE)
        .map_err(|error| MachineError::undecodable("transaction log", error))?;
    let count = run.entries.len() as u64;
    let first = last.checked_add(1).and_then(|end| end.checked_sub(count));
    let first = first.filter(|_| count > 0).ok_or_else(damaged)?;
    Ok((first, run))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hufu_store::{Applied, EmbeddedStore};

    fn entries(height: u64, count: u32) -> Vec<LogEntry> {
        let entry = |index: u32| LogEntry {
            transaction: Digest::of(
                &[height.to_be_bytes(), u64::from(index).to_be_bytes()].concat(),
            ),
            height: Height(height),
            index,
            outcome: if index.is_multiple_of(3) { Outcome::Policy } else { Outcome::Accepted },
        };
        (0..count).map(entry).collect()
    }

    /// Blocks of no entry, of one, of less and more than a tile, and of more than
    /// a run; what is read of them at every size is what is computed from all.
    #[test]
    fn what_is_stored_of_runs_gives_every_node() {
        let directory = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(directory.path()).unwrap();
        let counts = [0, 1, 1, 3, 250, 256, 0, 600, MAX_RUN as u32 + 77, 5, 1];
        let (mut log, mut leaves, mut sizes) = (Log::new(), Vec::new(), Vec::new());
        for (height, count) in counts.into_iter().enumerate() {
            let height = height as u64;
            let block = entries(height, count);
            let mut writes = Vec::new();
            log.append(Height(height), &block, &mut writes).unwrap();
            store.stage(height, writes).unwrap();
            store.flip(Applied { height, block: [0; 32], commitment: Vec::new() }).unwrap();
            leaves.extend(block.iter().map(LogEntry::leaf));
            sizes.push(log.size());
            assert_eq!(log.root().unwrap(), merkle::root(&leaves));
            let opened = Log::open(&store, log.size()).unwrap();
            assert_eq!(opened.root().unwrap(), merkle::root(&leaves));
        }
        for size in sizes.into_iter().filter(|size| *size > 0) {
            let reader = LogReader::new(&store, size);
            let root = merkle::root(&leaves[..size as usize]);
            for index in [0, size / 3, size / 2, size - 1] {
                let path = reader.path(LogIndex(index)).unwrap();
                let leaf = leaves[index as usize];
                let found = merkle::root_from_path(index, size, leaf, &path);
                assert_eq!(found, Some(root), "{index} of {size}");
            }
            for (begin, end) in [(0, 0), (0, 1), (0, size), (size - 1, size), (size / 3, size / 2)]
            {
                let within = &leaves[begin as usize..end as usize];
                assert_eq!(reader.leaves(begin, end).unwrap(), within);
            }
            let tile = (size / TILE).saturating_sub(1);
            let expected = (size >= TILE).then(|| {
                let whole = &leaves[(tile * TILE) as usize..((tile + 1) * TILE) as usize];
                vec![merkle::root(whole)]
            });
            assert_eq!(reader.tile(1, tile, 1).unwrap(), expected);
        }
        assert!(LogReader::new(&store, log.size()).runs(0, log.size() + 1).is_err());
    }
}
