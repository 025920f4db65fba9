//! The store under the ledger: ordered keys, state versioned by height, and one
//! atomic step that makes a height visible.
//!
//! # The model
//!
//! A store holds *spaces* ([`Space`]) of rows. In the *versioned* spaces a row is
//! a value of a key at a height, and a read asks for the value *as of* a
//! height. Rows of *plain* spaces are written once: blocks, headers, log and
//! tree nodes.
//!
//! A height is written in two steps:
//!
//! 1. [`Store::stage`] writes everything of height *h*. Rows name *h*, and what
//!    is staged follows from the block alone, so staging again after a crash
//!    writes the same rows again. Nothing staged is visible.
//! 2. [`Store::flip`] is one small durable transaction. It checks that the
//!    applied height is *h − 1* and that the caller still holds the store, and
//!    sets the applied height. From then on rows of *h* are visible, and stay
//!    so after a crash.
//!
//! # Fence
//!
//! Whoever opens a store takes its next *epoch*. Writes of an older holder fail
//! with [`StoreError::Fenced`]; a machine that was thought dead cannot write
//! beside its successor.
//!
//! # Limits
//!
//! The limits of FoundationDB ([`limits`]) hold in every engine, so that a test
//! cannot pass on what a cluster would refuse. [`large`] splits values that are
//! over them.
//!
//! # Engines
//!
//! [`EmbeddedStore`] is a directory of this machine; [`FoundationStore`] is a
//! FoundationDB cluster, whose client library is opened only by who opens such
//! a store. One suite tests both (feature `testing`). [`copy`] moves a record from one
//! to the other, and [`Incoming`] takes one in that comes from elsewhere.
//!
//! # What it is not
//!
//! It knows nothing of blocks, state keys or proofs; it forgets only what it is
//! told to ([`Store::prune`]); it does not encrypt; and it is no security
//! boundary: whoever can write its files can change what it says, which the
//! state root in finalized headers reveals.

#[cfg(feature = "testing")]
pub mod conformance;
pub mod copy;
pub mod embedded;
mod error;
pub mod foundationdb;
mod incoming;
pub mod large;
mod layout;
pub mod limits;
mod prune;
mod record;
mod rows;
mod space;
#[cfg(feature = "testing")]
pub mod watched;

pub use embedded::EmbeddedStore;
pub use error::StoreError;
pub use foundationdb::FoundationStore;
pub use incoming::Incoming;
pub use prune::{Old, Pruned};
pub use space::Space;

/// What the store has applied: the last flipped height.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The height.
    pub height: u64,
    /// Digest of its block.
    pub block: [u8; 32],
    /// What executing it resulted in, encoded by the state machine; at most
    /// [`limits::MAX_COMMITMENT`] bytes.
    pub commitment: Vec<u8>,
}

/// One row to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Where.
    pub space: Space,
    /// The key, at most [`limits::MAX_KEY`] bytes.
    pub key: Vec<u8>,
    /// The value, at most [`limits::MAX_VALUE`] bytes; `None` removes the key
    /// from a versioned space as of this height, and is refused elsewhere.
    pub value: Option<Vec<u8>>,
}

impl Write {
    /// A row with a value.
    pub fn put(space: Space, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self { space, key: key.into(), value: Some(value.into()) }
    }

    /// A key that holds nothing from this height on.
    pub fn remove(space: Space, key: impl Into<Vec<u8>>) -> Self {
        Self { space, key: key.into(), value: None }
    }
}

/// Keys from `start` (included) to `end` (excluded; `None` is the end of the
/// space), in the order of their bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRange {
    /// First key.
    pub start: Vec<u8>,
    /// Key after the last.
    pub end: Option<Vec<u8>>,
}

impl KeyRange {
    /// Every key.
    pub fn all() -> Self {
        Self::default()
    }

    /// Every key that begins with `prefix`.
    pub fn prefix(prefix: &[u8]) -> Self {
        let mut end = prefix.to_vec();
        // The next prefix of the same length or shorter: drop what cannot grow.
        while let Some(last) = end.pop() {
            if last < u8::MAX {
                end.push(last + 1);
                return Self { start: prefix.to_vec(), end: Some(end) };
            }
        }
        Self { start: prefix.to_vec(), end: None }
    }

    /// The part of this range after `key`, to continue a scan that ended there.
    pub fn after(&self, key: &[u8]) -> Self {
        let mut start = key.to_vec();
        start.push(0);
        Self { start, end: self.end.clone() }
    }
}

/// A key with its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Ordered keys, versioned state, atomic heights.
pub trait Store: Send + Sync {
    /// The epoch this holder took when it opened the store.
    fn fence(&self) -> u64;

    /// The last flipped height; `None` before the first flip.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn applied(&self) -> Result<Option<Applied>, StoreError>;

    /// Asks what another process has applied, where this holder only reads, and
    /// shows what is there up to it from now on. Whether that is more than before.
    /// Who writes a store knows without asking.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer; [`StoreError::WentBack`] when it
    /// is at an earlier height than it was.
    fn refresh(&self) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// Writes every row of `height`, which is one more than the applied height
    /// (0 in an empty store). One call holds everything of the height, each key
    /// with at most one value (of two, an engine keeps either). Calling
    /// again with the same rows is the same as calling once; calling with other
    /// rows first removes the rows of the earlier call.
    ///
    /// # Errors
    /// [`StoreError`]; sizes are checked before the first row is written.
    fn stage(&self, height: u64, writes: Vec<Write>) -> Result<(), StoreError>;

    /// Makes the staged height `applied.height` visible, durably. Flipping to
    /// what is applied already is accepted, because a caller may not know
    /// whether an earlier attempt arrived.
    ///
    /// # Errors
    /// [`StoreError::NotNext`], [`StoreError::NotStaged`],
    /// [`StoreError::Fenced`], or what the engine met.
    fn flip(&self, applied: Applied) -> Result<(), StoreError>;

    /// Adds plain rows that belong to an applied height but arrive later, such
    /// as a certificate of finality. They are visible at once, and durable with
    /// the next flip at the latest.
    ///
    /// # Errors
    /// [`StoreError`]; versioned spaces are refused.
    fn attach(&self, height: u64, writes: Vec<Write>) -> Result<(), StoreError>;

    /// The value of `key` as of `height`, or as of the applied height if that is
    /// less. Plain spaces ignore the height apart from that.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn read(&self, space: Space, key: &[u8], height: u64) -> Result<Option<Vec<u8>>, StoreError>;

    /// Whether a read goes to another machine, so that it pays to find out what
    /// will be read before it is read.
    fn is_remote(&self) -> bool {
        false
    }

    /// The values of `keys`, in their order, as [`Self::read`] gives each. The
    /// engine asks for all of them before it waits for the first: a round trip
    /// to a cluster costs what a thousand reads of a directory cost.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn read_many(
        &self,
        space: Space,
        keys: &[&[u8]],
        height: u64,
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError>;

    /// The value of `key` as of the applied height.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn read_latest(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(space, key, u64::MAX)
    }

    /// At most `limit` rows of `range` as of `height`, in the order of their
    /// keys. [`KeyRange::after`] the last row continues.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn scan(
        &self,
        space: Space,
        range: &KeyRange,
        height: u64,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError>;

    /// Removes what is old from a space, for good. It is not undone by a crash
    /// and may be lost by one: call it again. Rows of heights that are not
    /// applied stay.
    ///
    /// # Errors
    /// [`StoreError::Unsupported`] for what the space has none of,
    /// [`StoreError::NotNext`] for versions of a height that is not applied, or
    /// what the engine meets.
    fn prune(&self, space: Space, old: Old<'_>) -> Result<Pruned, StoreError>;

    /// Gives back the room that what left a space still takes, where the engine
    /// does not by itself; takes as long as writing anew what is left of it.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read or written.
    fn compact(&self, space: Space) -> Result<(), StoreError> {
        let _ = space;
        Ok(())
    }

    /// Bytes that a space takes of the machine's disk; `None` where that is
    /// another machine's.
    fn disk_space(&self, space: Space) -> Option<u64> {
        let _ = space;
        None
    }
}
