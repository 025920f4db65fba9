//! Limits that every engine enforces. They are FoundationDB's, with room for
//! the key prefixes and version suffixes that an engine adds
//! (`known-limitations` in its documentation: 10 kB a key, 100 kB a value,
//! 10 MB a transaction, of which it advises to use 1 MB).

/// Largest key in bytes, as the caller gives it and as it is stored with its
/// height. What is left to 10 kB is for the prefix of a store on a cluster.
pub const MAX_KEY: usize = 9_900;

/// Largest value in bytes.
pub const MAX_VALUE: usize = 90_000;

/// Largest transaction in bytes: keys, values and [`ROW_OVERHEAD`] for each
/// row. Staging that is larger is split.
pub const MAX_TRANSACTION: usize = 1_000_000;

/// What a row is counted as, beyond its key and value, in bytes.
pub const ROW_OVERHEAD: usize = 64;

/// Largest [`crate::Applied::commitment`] in bytes.
pub const MAX_COMMITMENT: usize = 4_096;
