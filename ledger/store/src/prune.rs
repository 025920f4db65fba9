//! What leaves a store for good.

use crate::KeyRange;

/// What is to leave a space ([`crate::Store::prune`]).
#[derive(Clone, Copy, Debug)]
pub enum Old<'a> {
    /// Rows of a plain space by their keys; a key without a row is passed over.
    Rows(&'a [Vec<u8>]),
    /// All rows of a range of a plain space.
    Range(&'a KeyRange),
    /// Of a versioned space, in the order of keys from `from` on, the versions
    /// that no read as of `height` or later finds: of each key all before the
    /// newest one at or before `height`, and that one too if it is a removal.
    Versions {
        /// The first key.
        from: &'a [u8],
        /// The earliest height that is still read; at most the applied one.
        height: u64,
        /// After how many looked-at versions to stop. A key is always finished.
        limit: usize,
    },
}

/// What left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Rows, where the engine counts them: a range leaves a cluster uncounted.
    pub rows: u64,
    /// Bytes of their keys and values, likewise.
    pub bytes: u64,
    /// The key to go on from; `None` when the space was looked through to its end.
    pub next: Option<Vec<u8>>,
}

/// Finds, among the versions of a space in their order (keys ascending, newest
/// first), those that nobody sees.
pub(crate) struct Unseen {
    height: u64,
    key: Option<Vec<u8>>,
    /// Whether the version of the key was passed that is seen as of `height`.
    seen: bool,
}

impl Unseen {
    pub(crate) fn as_of(height: u64) -> Self {
        Self { height, key: None, seen: false }
    }

    /// Whether the next version may go.
    pub(crate) fn may_go(&mut self, key: &[u8], written: u64, removal: bool) -> bool {
        if self.key.as_deref() != Some(key) {
            self.key = Some(key.to_vec());
            self.seen = false;
        }
        if written > self.height {
            return false;
        }
        let older = std::mem::replace(&mut self.seen, true);
        older || removal
    }

    /// Whether `key` is another one than the last version's.
    pub(crate) fn is_next_key(&self, key: &[u8]) -> bool {
        self.key.as_deref() != Some(key)
    }
}
