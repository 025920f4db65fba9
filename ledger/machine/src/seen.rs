//! Which transactions were recorded lately, so that each is looked for once.
//!
//! A transaction is looked for when it is admitted. What was not there then can
//! only have been recorded since; the identifiers of the last heights are kept,
//! and tell. So its block need not look again. It is a memory of what the store
//! says and never says anything else.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hufu_contract::cache::Generations;
use hufu_proof::{Digest, Height};

/// Heights whose transactions are remembered: what a transaction waits for its
/// block, under any load that is not turned away.
const HEIGHTS: usize = 64;

/// Identifiers that are remembered as not recorded.
const LOOKED_FOR: usize = 131_072;

/// What is remembered.
pub(crate) struct Seen {
    memory: Mutex<Memory>,
}

struct Memory {
    /// Transactions recorded at the last heights, the newest first.
    recorded: VecDeque<(Height, HashSet<Digest>)>,
    /// The newest height.
    applied: Height,
    /// What was not recorded as of a height.
    absent: Generations<Digest, Height>,
}

impl Seen {
    /// When `applied` is the last executed height.
    pub(crate) fn new(applied: Height) -> Self {
        let absent = Generations::new(LOOKED_FOR);
        Self { memory: Mutex::new(Memory { recorded: VecDeque::new(), applied, absent }) }
    }

    /// Whether it is known that the transaction is not recorded.
    pub(crate) fn is_absent(&self, id: &Digest) -> bool {
        self.lock().is_absent(id)
    }

    /// Those of `ids` that may be recorded.
    pub(crate) fn unknown<'a>(&self, ids: impl Iterator<Item = &'a Digest>) -> Vec<&'a Digest> {
        let mut memory = self.lock();
        ids.filter(|id| !memory.is_absent(id)).collect()
    }

    /// Notes that a transaction was not recorded as of `height`.
    pub(crate) fn absent(&self, id: Digest, height: Height) {
        self.lock().absent.insert(id, height);
    }

    /// Notes which transactions were recorded at `height`, after it is durable.
    pub(crate) fn executed(&self, height: Height, ids: HashSet<Digest>) {
        let mut memory = self.lock();
        memory.recorded.truncate(HEIGHTS - 1);
        memory.recorded.push_front((height, ids));
        memory.applied = height;
    }

    /// Forgets what was looked for: another process has executed up to `applied`, and
    /// what it recorded is not told here.
    pub(crate) fn forget(&self, applied: Height) {
        let absent = Generations::new(LOOKED_FOR);
        *self.lock() = Memory { recorded: VecDeque::new(), applied, absent };
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        // Every change is a single insertion, but for that of a height, which is
        // known in part to nobody: nothing in it panics.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn is_absent(&mut self, id: &Digest) -> bool {
        let Some(since) = self.absent.get(id).copied() else { return false };
        let later = self.recorded.iter().take_while(|(height, _)| *height > since);
        let mut heights = 0;
        for (_, ids) in later {
            if ids.contains(id) {
                return false;
            }
            heights += 1;
        }
        // Every height since is remembered.
        self.applied.since(since) <= heights
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> Digest {
        Digest::of(&number.to_be_bytes())
    }

    #[test]
    fn forgets_what_another_process_may_have_recorded() {
        let seen = Seen::new(Height(9));
        seen.absent(id(1), Height(9));
        assert!(seen.is_absent(&id(1)));
        seen.forget(Height(12));
        assert!(!seen.is_absent(&id(1)));
        // Looked for before, and noted after.
        seen.absent(id(1), Height(9));
        assert!(!seen.is_absent(&id(1)));
        seen.absent(id(1), Height(12));
        assert!(seen.is_absent(&id(1)));
    }

    #[test]
    fn knows_only_what_was_looked_for_and_not_recorded_since() {
        let seen = Seen::new(Height(9));
        assert!(!seen.is_absent(&id(1)));
        seen.absent(id(1), Height(9));
        seen.absent(id(2), Height(9));
        seen.absent(id(3), Height(8));
        assert!(seen.is_absent(&id(1)));
        // Height 9 is not remembered.
        assert!(!seen.is_absent(&id(3)));
        seen.executed(Height(10), HashSet::from([id(2), id(4)]));
        let ids = [1, 2, 3, 4].map(id);
        assert_eq!(seen.unknown(ids.iter()), [&ids[1], &ids[2], &ids[3]]);
        for height in 11..=9 + HEIGHTS as u64 {
            seen.executed(Height(height), HashSet::new());
            assert!(seen.is_absent(&id(1)));
            assert!(!seen.is_absent(&id(2)));
        }
        // One more, and height 10 is forgotten.
        seen.executed(Height(10 + HEIGHTS as u64), HashSet::new());
        assert!(!seen.is_absent(&id(1)));
    }
}
