//! What can go wrong, and who is to mend it.

use std::path::PathBuf;

use hufu_proof::{Digest, Name};
use rusqlite::ErrorCode;
use serde::{Deserialize, Serialize};

/// A fault of the read model itself: of this machine, not of a caller.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadModelError {
    /// SQLite did not do it.
    #[error("the read model could not {action}")]
    Storage {
        /// What it was doing.
        action: &'static str,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// An earlier fault left this handle unusable.
    #[error("the read model failed before; open it again, it continues from its last height")]
    Poisoned,
    /// The file is not a usable read model.
    #[error("the read model {path} is damaged; remove it, it is rebuilt from the ledger")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// The file belongs to another consortium.
    #[error("the read model {path} is of consortium {found}, not {expected}; use another folder")]
    OtherConsortium {
        /// The file.
        path: PathBuf,
        /// The genesis digest in it.
        found: Digest,
        /// This node's genesis digest.
        expected: Digest,
    },
    /// A height is missing between the last applied one and this.
    #[error("height {found} does not follow; the read model waits for height {expected}")]
    Gap {
        /// The next height it needs.
        expected: u64,
        /// The height it was given.
        found: u64,
    },
    /// The events are not those of one executed block.
    #[error("the events of height {height} are not in order: {problem}")]
    Events {
        /// The height.
        height: u64,
        /// What is wrong.
        problem: String,
    },
    /// A contract became active, and nobody knows its tables.
    #[error("the package of contract `{contract}` with digest {digest} is not available")]
    NoPackage {
        /// The contract.
        contract: Name,
        /// The package.
        digest: Digest,
    },
}

impl ReadModelError {
    /// Whether it may pass by itself, as when the disk has no room. The height was
    /// rolled back, and may be given again.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Storage { source, .. } if matches!(
            source.sqlite_error_code(),
            Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure)
        ))
    }
}

/// What a query may use up of, counted the same way on every node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Measure {
    /// Steps of SQLite's machine.
    Steps,
    /// Rows of the result.
    Rows,
    /// Bytes of the result.
    Bytes,
    /// Bytes of one value.
    ValueBytes,
}

impl std::fmt::Display for Measure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Steps => "steps",
            Self::Rows => "rows",
            Self::Bytes => "bytes",
            Self::ValueBytes => "bytes in a value",
        })
    }
}

/// Why a query or control gets no answer: the caller's to mend, but for those
/// that are [of this machine](Problem::is_of_this_machine).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Too long.
    #[error("the query is {size} bytes; at most {limit} are accepted")]
    TooLong {
        /// Bytes.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// Not SQL of the accepted kind.
    #[error("at byte {at}: {message}")]
    Syntax {
        /// Where, in bytes from the start.
        at: usize,
        /// What is wrong.
        message: String,
    },
    /// It uses what a query may not use.
    #[error(
        "{0} is not allowed; a query is one SELECT over contract tables with deterministic functions"
    )]
    Forbidden(String),
    /// SQLite does not accept it.
    #[error("{message}")]
    Sql {
        /// What SQLite said.
        message: String,
    },
    /// It stopped at a fault of its own while it ran: an overflow, malformed JSON.
    #[error("while it ran: {message}")]
    Failed {
        /// What SQLite said.
        message: String,
    },
    /// A parameter is not declared or not given.
    #[error("parameter `:{0}` has no value; declare it, or give it one")]
    Parameter(String),
    /// A parameter is given that the text does not use.
    #[error("there is no parameter `:{0}` in the query")]
    UnknownParameter(String),
    /// The height is not there yet.
    #[error("height {asked} is not applied yet; the last one is {applied}")]
    Height {
        /// The height asked for.
        asked: u64,
        /// The last one that can be asked for.
        applied: u64,
    },
    /// A value in the result is a floating number.
    #[error(
        "column `{0}` gives a floating number; compute with whole numbers, in the smallest unit"
    )]
    Float(String),
    /// A limit was reached that is the same on every node.
    #[error("the query needs more than {limit} {what}; narrow it down")]
    Limit {
        /// Of what.
        what: Measure,
        /// How many.
        limit: u64,
    },
    /// It took longer than it may here.
    #[error("the query needs more than {seconds} seconds; narrow it down")]
    Time {
        /// How many.
        seconds: u64,
    },
    /// It needed more memory than it may here.
    #[error("the query needs more memory than one gets; narrow it down")]
    Memory,
    /// Nobody waits for the answer any more.
    #[error("nobody waits for the answer any more")]
    Abandoned,
    /// What ran it ended.
    #[error("no answer came from the process of the query: {0}; ask again")]
    Gone(String),
    /// It names a table of whose rows nothing says whether the caller may see
    /// them.
    #[error("`{table}` is not shown to who does not see the whole consortium: {untold}")]
    Withheld {
        /// The table.
        table: String,
        /// What nothing says.
        untold: Untold,
    },
    /// The result lacks the column that says what a finding is about.
    #[error("the result has no column `{subject}`, which `-- subject:` names; it has {columns}")]
    Subject {
        /// The column named.
        subject: String,
        /// The columns there are.
        columns: String,
    },
    /// The read model itself failed.
    #[error("the read model failed: {0}")]
    Fault(String),
}

impl Problem {
    /// Whether it tells more of this machine, now, than of the query: elsewhere, or
    /// later, there may be an answer. Nothing that must come out the same everywhere
    /// may follow from it.
    pub fn is_of_this_machine(&self) -> bool {
        matches!(
            self,
            Self::Time { .. } | Self::Memory | Self::Abandoned | Self::Gone(_) | Self::Fault(_)
        )
    }

    /// Whether the query had begun to look at rows, so that how it ended tells
    /// something of them.
    pub fn has_looked(&self) -> bool {
        self.is_of_this_machine()
            || matches!(self, Self::Limit { .. } | Self::Float(_) | Self::Failed { .. })
    }
}

/// What nothing says of a table's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Untold {
    /// In which jurisdiction they are.
    Jurisdiction,
    /// Whose they are.
    Owner,
}

impl std::fmt::Display for Untold {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Jurisdiction => "nothing says in which jurisdiction its rows are",
            Self::Owner => "nothing says whose its rows are",
        })
    }
}

impl From<ReadModelError> for Problem {
    fn from(error: ReadModelError) -> Self {
        Self::Fault(error.to_string())
    }
}
