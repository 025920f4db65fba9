//! `hufu archive`: what is old, as Parquet partitions.

use std::path::PathBuf;

use clap::Subcommand;
use hufu_proof::Digest;

use super::examples;

/// `hufu archive`.
#[derive(Debug, Subcommand)]
pub enum Archive {
    /// Write the heights that are in no partition yet into the folder that `[archive]`
    /// of the node's configuration names, and declare each partition on the ledger. A
    /// partition is there whole or not at all; the next run goes on after the last one.
    #[command(after_help = examples::ARCHIVE_CREATE)]
    Create {
        /// Up to which height. Default: the newest that can be proved.
        #[arg(long, value_name = "HEIGHT")]
        to: Option<u64>,
    },
    /// Show the node's partitions, and which of them are declared on the ledger.
    #[command(after_help = examples::ARCHIVE_LIST)]
    List,
    /// Verify a partition offline, given only the genesis file. Exit status 1 and the
    /// reason when it does not hold.
    #[command(after_help = examples::ARCHIVE_VERIFY)]
    Verify {
        /// The partition's folder.
        partition: PathBuf,
        /// The genesis file: all that needs to be trusted.
        #[arg(long, value_name = "FILE")]
        genesis: PathBuf,
        /// Ask the node as well whether the partition is the one that its member
        /// declared on the ledger last.
        #[arg(long)]
        node: bool,
    },
    /// Write the receipt of a transaction in a partition, for `hufu verify`. No node is
    /// needed.
    #[command(after_help = examples::ARCHIVE_RECEIPT)]
    Receipt {
        /// The partition's folder.
        partition: PathBuf,
        /// The transaction's identifier.
        transaction: Digest,
        /// The genesis file.
        #[arg(long, value_name = "FILE")]
        genesis: PathBuf,
        /// Where to write it (PEM).
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Get a partition from the node, and verify it. What was interrupted goes on where
    /// it was.
    #[command(after_help = examples::ARCHIVE_FETCH)]
    Fetch {
        /// The partition's first height.
        first: u64,
        /// The folder in which its folder is made.
        #[arg(long, value_name = "DIRECTORY")]
        into: PathBuf,
    },
    /// Verify a partition and copy it into the folder that `[archive]` of the
    /// configuration names: from then on the node has its transactions, receipts and
    /// blocks again.
    #[command(after_help = examples::ARCHIVE_RESTORE)]
    Restore {
        /// The partition's folder.
        partition: PathBuf,
    },
}
