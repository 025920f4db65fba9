//! How large a partition and its parts may be: what is larger is not written, and
//! refused when it is read.

/// Most heights in a partition.
pub const MAX_HEIGHTS: u64 = 1_000_000;

/// Most transactions in a partition.
pub const MAX_TRANSACTIONS: u64 = 4_000_000;

/// When this many transactions are in a partition, it ends.
pub(crate) const TRANSACTIONS: u64 = 1_000_000;

/// When the cells of a partition have this many bytes, before compression, it ends.
pub(crate) const BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// Largest file of a partition, in bytes.
pub const MAX_FILE: u64 = 8 * 1024 * 1024 * 1024;

/// Most files in a partition, beside manifest and declaration.
pub const MAX_FILES: usize = 1_024;

/// Largest manifest, in bytes.
pub const MAX_MANIFEST: u64 = 1024 * 1024;

/// Most headers between the last block of a partition and the one that commits to it.
pub const MAX_AFTER: usize = 4_096;

/// Largest proof, in bytes: what any proof may have, and the headers.
pub const MAX_PROOF: usize = hufu_proof::codec::MAX_PROOF + MAX_AFTER * 512;

/// Largest file with a declaration's receipt, in bytes.
pub const MAX_DECLARATION: u64 = 2 * hufu_proof::codec::MAX_PROOF as u64;

/// Largest description of a Parquet file at its end, in bytes.
pub(crate) const MAX_FOOTER: u64 = 32 * 1024 * 1024;

/// Most columns of a table.
pub(crate) const MAX_COLUMNS: usize = 4_096;

/// Rows after which a row group is written.
pub(crate) const GROUP_ROWS: usize = 16_384;

/// Bytes of cells after which a row group is written.
pub(crate) const GROUP_BYTES: usize = 8 * 1024 * 1024;

/// Bytes of cells in all tables together after which all of them are written.
pub(crate) const BUFFERED: usize = 64 * 1024 * 1024;

/// Most rows of a row group that are read.
pub(crate) const MAX_GROUP_ROWS: usize = 4 * GROUP_ROWS;

/// Most bytes of a row group that are read, before compression.
pub(crate) const MAX_GROUP_BYTES: i64 = 8 * GROUP_BYTES as i64;
