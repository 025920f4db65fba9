//! What is old leaves the store: blocks and events, versions of the state, and
//! nodes of the state tree from before a height. Each member chooses its own;
//! what the consortium agrees on does not depend on it.
//!
//! What stays for ever is what proofs are made of: headers, commitments,
//! certificates of finality, the log with its tiles, where each transaction is,
//! and how epochs ended. So a transaction whose body has left is still found by
//! its identifier, a body from elsewhere gets its receipt ([`Reader::receipt_of`]),
//! and a duplicate is known as one.
//!
//! # The order of steps
//!
//! First the height is recorded from which on everything is kept; from then on
//! nobody reads what is older ([`MachineError::Pruned`]). Then it leaves, a part
//! at a time ([`Pruner::step`]), from rows that a crash finds again: each part
//! can be done twice, and how far they came is recorded behind them.
//!
//! - Bodies are keyed by height, so a range of them goes.
//! - A node of the tree is not needed any more when the tree of a later height has
//!   another one in its place: [`crate::stale`].
//! - Versions of the state are looked for in all of the state, once enough is old.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use hufu_proof::Height;
use hufu_store::{KeyRange, Old, Pruned, Space};

use crate::error::MachineError;
use crate::kept::{Progress, Sweep, check};
use crate::reader::Reader;
use crate::{chain, stale};

/// Heights before the last executed one that stay under all circumstances: what
/// headers that are not final yet may commit to, many times over.
pub const ALWAYS_KEPT: u64 = 256;

/// Heights whose bodies leave in one part.
const BODIES: u64 = 256;

/// Nodes that leave in one part, about.
const NODES: usize = 4_096;

/// Versions that are looked at in one part.
const VERSIONS: usize = 8_192;

/// A space is not written anew for less, in bytes.
const COMPACT_AFTER: u64 = 32 * 1024 * 1024;

impl Reader {
    /// The earliest height whose block and state can be read here.
    pub fn kept_from(&self) -> Height {
        Height(self.shared().kept_from.load(Ordering::Acquire))
    }

    /// That a height is not kept any more, if it is not.
    ///
    /// # Errors
    /// [`MachineError::Pruned`].
    pub(crate) fn check_kept(&self, height: Height) -> Result<(), MachineError> {
        check(height, self.kept_from())
    }

    /// Lets what is old leave; there is to be one at a time.
    pub fn pruner(&self) -> Pruner {
        Pruner { reader: self.clone(), rows: 0, bytes: BTreeMap::new(), given_back: 0 }
    }
}

/// Lets what is old leave the store.
pub struct Pruner {
    reader: Reader,
    rows: u64,
    /// What has left since a space was written anew.
    bytes: BTreeMap<Space, u64>,
    given_back: u64,
}

impl Pruner {
    /// Keeps what is from `height` on, durably with the next height, and not what
    /// is before, which leaves with [`Self::step`]. Never less than before, than
    /// the last heights, than what proofs of epochs are still to be made of, or than
    /// what somebody takes a snapshot of.
    /// Returns the height from which on everything is kept.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn keep_from(&self, height: Height) -> Result<Height, MachineError> {
        let store = self.reader.store();
        let applied = self.reader.height()?;
        let mut progress = Progress::load(store)?;
        let held = self.reader.shared().held.earliest(applied).unwrap_or(Height::MAX);
        let height = height.min(applied.minus(ALWAYS_KEPT)).min(held);
        if height > progress.kept_from {
            let height = self.keep_handovers(height, applied)?.max(progress.kept_from);
            progress.kept_from = height;
            progress.save(store, applied)?;
            self.reader.shared().kept_from.store(height.get(), Ordering::Release);
        }
        Ok(progress.kept_from)
    }

    /// Records how epochs ended, which later cannot be read from the state; the
    /// latest height up to `height` that everything may leave before.
    fn keep_handovers(&self, height: Height, applied: Height) -> Result<Height, MachineError> {
        let Self { reader, .. } = self;
        for next in reader.epochs().iter().skip(1) {
            if chain::handover(reader.store(), next.number)?.is_some() {
                continue;
            }
            let handover = reader.handovers(next.number)?.and_then(|mut known| known.pop());
            let Some(handover) = handover else {
                // Its certificate is not here yet: what the proof is made of stays.
                let last = reader.header(next.first.minus(1))?;
                let last = last.ok_or_else(|| MachineError::damaged("header"))?;
                return Ok(height.min(last.executed.height));
            };
            let write = chain::handover_write(next.number, &handover);
            reader.store().attach(applied.get(), vec![write])?;
        }
        Ok(height)
    }

    /// Does a part of the work; whether there is more.
    ///
    /// # Errors
    /// [`MachineError`] when the store fails.
    pub fn step(&mut self) -> Result<bool, MachineError> {
        if self.compact()? {
            return Ok(true);
        }
        let reader = self.reader.clone();
        let (store, applied) = (reader.store(), reader.height()?);
        let mut progress = Progress::load(store)?;
        if progress.bodies < progress.kept_from {
            let end = progress.bodies.plus(BODIES).min(progress.kept_from);
            let range = KeyRange {
                start: progress.bodies.to_be_bytes().to_vec(),
                end: Some(end.to_be_bytes().to_vec()),
            };
            self.leave(Space::Blocks, Old::Range(&range))?;
            self.leave(Space::Events, Old::Range(&range))?;
            progress.bodies = end;
        } else if progress.tree < progress.kept_from {
            let mut replaced = Vec::new();
            while progress.tree < progress.kept_from && replaced.len() < NODES {
                progress.tree = progress.tree.next();
                replaced.append(&mut stale::replaced(store, progress.tree)?);
            }
            self.leave(Space::Tree, Old::Rows(&replaced))?;
        } else if progress.sweep.is_some() || progress.sweep_is_due(applied) {
            self.sweep(&mut progress)?;
        } else {
            return Ok(false);
        }
        progress.save(store, applied)?;
        Ok(true)
    }

    /// Rows and bytes that have left so far, as far as the engine counts them,
    /// and bytes of the disk that were given back.
    pub fn done(&self) -> (u64, u64) {
        (self.rows, self.given_back)
    }

    fn leave(&mut self, space: Space, old: Old<'_>) -> Result<Option<Vec<u8>>, MachineError> {
        let Pruned { rows, bytes, next } = self.reader.store().prune(space, old)?;
        self.rows += rows;
        *self.bytes.entry(space).or_default() += bytes;
        Ok(next)
    }

    /// Looks at a part of all versions.
    fn sweep(&mut self, progress: &mut Progress) -> Result<(), MachineError> {
        let begin = Sweep { height: progress.kept_from, usage: false, from: Vec::new() };
        let Sweep { height, usage, from } = progress.sweep.take().unwrap_or(begin);
        let space = if usage { Space::Usage } else { Space::State };
        let old = Old::Versions { from: &from, height: height.get(), limit: VERSIONS };
        progress.sweep = match (self.leave(space, old)?, usage) {
            (Some(from), _) => Some(Sweep { height, usage, from }),
            (None, false) => Some(Sweep { height, usage: true, from: Vec::new() }),
            (None, true) => {
                progress.versions = height;
                None
            }
        };
        Ok(())
    }

    /// Gives the room back that what has left of a space still takes of the
    /// machine's disk, if that is worth writing the rest anew: half of it, so that
    /// what is written is in proportion to what left. Whether there was one.
    fn compact(&mut self) -> Result<bool, MachineError> {
        let store = self.reader.store();
        let due = self.bytes.iter().find_map(|(space, bytes)| {
            let whole = store.disk_space(*space)?;
            (*bytes >= COMPACT_AFTER.max(whole / 2)).then_some((*space, whole))
        });
        let Some((space, before)) = due else { return Ok(false) };
        store.compact(space)?;
        self.bytes.remove(&space);
        self.given_back += before.saturating_sub(store.disk_space(space).unwrap_or(before));
        Ok(true)
    }
}
