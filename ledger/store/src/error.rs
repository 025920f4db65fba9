//! What can go wrong in a store.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use crate::Space;
use crate::limits::{MAX_COMMITMENT, MAX_KEY, MAX_VALUE};

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has the store open.
    #[error(
        "the store in {} is in use by another process; stop that process, or give this one a \
         directory of its own", path.display()
    )]
    Locked {
        /// The store's directory.
        path: PathBuf,
    },
    /// A newer holder took the store over.
    #[error("this holder of the store has epoch {held}, and epoch {current} has taken over; stop")]
    Fenced {
        /// The epoch of whoever called.
        held: u64,
        /// The epoch that may write.
        current: u64,
    },
    /// A key is over the limit. The caller's mistake.
    #[error("a key of the space `{space}` is {size} bytes; at most {MAX_KEY} are accepted")]
    KeyTooLarge {
        /// Where.
        space: Space,
        /// Its size in bytes.
        size: usize,
    },
    /// A value is over the limit. The caller's mistake: see [`crate::large`].
    #[error("a value of the space `{space}` is {size} bytes; at most {MAX_VALUE} are accepted")]
    ValueTooLarge {
        /// Where.
        space: Space,
        /// Its size in bytes.
        size: usize,
    },
    /// The commitment is over the limit. The caller's mistake.
    #[error("the commitment is {0} bytes; at most {MAX_COMMITMENT} are accepted")]
    CommitmentTooLarge(usize),
    /// A plain space cannot forget, and only plain rows are attached.
    #[error("the space `{space}` does not take {what}")]
    Unsupported {
        /// Where.
        space: Space,
        /// What it does not take.
        what: &'static str,
    },
    /// The height is not the one that comes next.
    #[error("height {height} does not follow the applied height {applied:?}")]
    NotNext {
        /// The applied height.
        applied: Option<u64>,
        /// The height asked for.
        height: u64,
    },
    /// The height was not staged completely.
    #[error("height {0} is not staged completely; stage it before the flip")]
    NotStaged(u64),
    /// No room is left, or the process may not write larger files. The store
    /// accepts no more writes until it is reopened.
    #[error("no room to write the store; make room on its disk and restart")]
    Full(#[source] Box<dyn Error + Send + Sync>),
    /// An earlier write or flush failed, so that what is on disk is uncertain.
    #[error("an earlier write of the store failed; restart, it continues from the applied height")]
    Poisoned,
    /// What is on disk is not what was written.
    #[error(
        "the store is damaged ({what}); restore it from a backup or let it catch up from the \
         other members in an empty directory"
    )]
    Damaged {
        /// What did not check out.
        what: String,
        /// What the engine said.
        #[source]
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// The store was written by another version.
    #[error(
        "the store has format {found}; this version reads and writes format {expected}: with the \
         node stopped, move the store aside, and it is filled anew from the ledger's blocks when \
         the node starts"
    )]
    Format {
        /// The format found.
        found: String,
        /// The format of this version.
        expected: &'static str,
    },
    /// FoundationDB's client library is not there, or is something else. The
    /// operator's to install.
    #[error(
        "FoundationDB's client library {} cannot be opened; install the package \
         `foundationdb-clients`, a version 7.3.x, or name the file of the library (`library` in \
         `[store]`)", library.display()
    )]
    ClientLibrary {
        /// The library.
        library: PathBuf,
        /// What the system's loader said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The client library does not do what it was asked for.
    #[error(
        "FoundationDB's client library {} refuses {what}: {said} ({code}); versions 7.3.x of \
         `foundationdb-clients` work, with TLS files that it can read", library.display()
    )]
    ClientRefused {
        /// The library.
        library: PathBuf,
        /// What it was asked for.
        what: &'static str,
        /// FoundationDB's error code.
        code: i32,
        /// What it means, in FoundationDB's words.
        said: String,
    },
    /// A process has one client library, with one set of TLS files.
    #[error(
        "this process has FoundationDB's client library open with other settings; use the same \
         library and TLS files for every store, or restart"
    )]
    ClientInUse,
    /// A prefix of keys that is not accepted.
    #[error(
        "the key prefix `{prefix}` is not 1 to 64 letters, digits and `-_./`; choose another \
         (`prefix` in `[store]`)"
    )]
    Prefix {
        /// The prefix.
        prefix: String,
    },
    /// A file that the engine needs cannot be opened.
    #[error("{} cannot be opened; the store's settings (`[store]`) name it", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// TLS files without coordinators that are reached by TLS, or the other way
    /// round.
    #[error(
        "{} {}; ask FoundationDB's administrator for the right cluster file, or mend \
         `[store.tls]`", path.display(), if *tls {
            "has coordinators without `:tls` behind their ports, which would be spoken to in clear"
        } else {
            "has coordinators with `:tls` behind their ports, and no TLS files are named"
        }
    )]
    Tls {
        /// The cluster file.
        path: PathBuf,
        /// Whether TLS files are named.
        tls: bool,
    },
    /// The cluster did not answer, or not finally.
    #[error(
        "the FoundationDB cluster did not settle a transaction within {} s; look whether it is \
         available and reached from this machine (`fdbcli --exec status`)", after.as_secs_f64()
    )]
    Unavailable {
        /// How long it had.
        after: Duration,
    },
    /// The cluster answered with an error that trying again does not mend.
    #[error(
        "the FoundationDB cluster answered: {said} ({code}); look at its state (`fdbcli --exec \
         'status details'`)"
    )]
    Cluster {
        /// FoundationDB's error code.
        code: i32,
        /// What it means, in FoundationDB's words.
        said: String,
    },
    /// A copy into the store was begun and not finished.
    #[error(
        "a copy into the store is not finished; run `hufu store copy` again, it goes on where it \
         ended"
    )]
    CopyUnfinished,
    /// There is nothing in the store that could be copied.
    #[error("the store has no record to copy: no node was ever started on it")]
    NothingToCopy,
    /// Something else is where a copy should go.
    #[error(
        "the store to copy into has {}; give it an empty directory, or another prefix",
        height.map_or("rows of its own".to_owned(), |height| {
            format!("a record of its own, up to height {height}")
        })
    )]
    Occupied {
        /// Its applied height.
        height: Option<u64>,
    },
    /// A copy is not what its source is.
    #[error(
        "the copy differs from its source in the space `{space}`; it is not used. Remove it and \
         copy again"
    )]
    Different {
        /// Where.
        space: Space,
    },
    /// There is no store where one is to be read.
    #[error(
        "there is no record under this prefix; start the member's node on it first, or mend \
         `cluster_file` and `prefix` in `[store]`"
    )]
    NothingToRead,
    /// The store is at an earlier height than it was.
    #[error(
        "the store was at height {before} and is at {now:?} now: it was put back to an older copy; \
         restart"
    )]
    WentBack {
        /// Where it was.
        before: u64,
        /// Where it is.
        now: Option<u64>,
    },
    /// The store was opened to read.
    #[error("the store is open to read only")]
    ReadOnly,
    /// The disk or the network failed.
    #[error("the store cannot be read or written")]
    Io(#[source] Box<dyn Error + Send + Sync>),
}

impl StoreError {
    /// Whether the store is only away: the same is to be asked again later, and a
    /// write that may have happened too.
    pub fn passes(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// Damage that the engine did not report itself.
    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged { what: what.into(), source: None }
    }
}
