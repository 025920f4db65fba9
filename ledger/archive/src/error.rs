//! Why a partition is not written or not taken.

use std::io;
use std::path::{Path, PathBuf};

use hufu_machine::MachineError;
use hufu_proof::receipt::ReceiptError;
use hufu_proof::{Digest, Height};

/// Why a partition is not written or not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The operating system refused.
    #[error("{doing} {}", path.display())]
    Io {
        /// What was being done, as the beginning of a sentence.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// A file is not what the manifest says, or not what a partition has.
    #[error("{file}: {problem}; take another copy of the partition")]
    File {
        /// Its name in the partition.
        file: String,
        /// What is wrong.
        problem: String,
    },
    /// The proof does not hold.
    #[error(
        "proof.bin: it does not show that the last block is final; take another copy of the partition"
    )]
    Proof(#[source] ReceiptError),
    /// The receipt of the declaration does not hold.
    #[error(
        "declaration.pem: {problem}; get it again from the member, or remove it to verify the partition without it"
    )]
    Declaration {
        /// What is wrong.
        problem: String,
        /// Why, where the receipt does not verify.
        #[source]
        source: Option<ReceiptError>,
    },
    /// It is of another consortium.
    #[error(
        "manifest.json: the partition is of the consortium with genesis digest {found}, and the genesis file has {expected}; use the genesis file of that consortium"
    )]
    OtherConsortium {
        /// The genesis digest in the manifest.
        found: Digest,
        /// The one it was checked against.
        expected: Digest,
    },
    /// There is nothing final to archive.
    #[error(
        "there is nothing to archive from height {first} on up to {last}: no final header commits to it yet; wait for the next blocks"
    )]
    NotFinal {
        /// The first height that was asked for.
        first: Height,
        /// The last one.
        last: Height,
    },
    /// Heights that cannot be archived together.
    #[error("heights {first} to {last} cannot be a partition: {problem}")]
    Range {
        /// The first height that was asked for.
        first: Height,
        /// The last one.
        last: Height,
        /// Why not, and what can be.
        problem: String,
    },
    /// There is such a partition already.
    #[error("{} is there already; move it away to write it anew", path.display())]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// Whoever asked wants no more.
    #[error(
        "the archive was interrupted; what was not complete is removed, and the next run begins there"
    )]
    Interrupted,
    /// The ledger does not answer.
    #[error("the ledger")]
    Ledger(#[from] MachineError),
    /// What the ledger says does not fit a table.
    #[error(
        "{table}: {problem}; this is a fault of the software: report it, and switch the archive off until it is mended"
    )]
    Table {
        /// The table's file.
        table: String,
        /// What does not fit.
        problem: String,
    },
}

impl ArchiveError {
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }

    pub(crate) fn file(file: &str, problem: impl Into<String>) -> Self {
        Self::File { file: file.to_owned(), problem: problem.into() }
    }

    pub(crate) fn table(table: &str, problem: impl Into<String>) -> Self {
        Self::Table { table: table.to_owned(), problem: problem.into() }
    }
}
