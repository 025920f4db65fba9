//! Why the guard refuses, and the kinds of votes.

use std::path::PathBuf;

use crate::application::Round;

/// Why the guard refuses.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuardError {
    /// Another process holds the guard.
    #[error(
        "{path} is held by another process: this member's validator already runs; stop it first"
    )]
    Held {
        /// The lock file.
        path: PathBuf,
    },
    /// It belongs to another consortium.
    #[error("{path} belongs to another consortium; each needs its own data directory")]
    Foreign {
        /// The guard file.
        path: PathBuf,
    },
    /// It is damaged before its last record.
    #[error(
        "{path} is damaged at byte {offset}; voting with this key is unsafe until the members \
         have replaced the key"
    )]
    Corrupt {
        /// The guard file.
        path: PathBuf,
        /// Where the damage begins.
        offset: u64,
    },
    /// The vote contradicts a recorded one.
    #[error("a {phase} vote in {round} would contradict a recorded vote")]
    Conflict {
        /// Where.
        round: Round,
        /// Its phase.
        phase: Phase,
    },
    /// The vote is in a view whose records are gone.
    #[error("a {phase} vote in {round} is below the guard's floor")]
    BelowFloor {
        /// Where.
        round: Round,
        /// Its phase.
        phase: Phase,
    },
    /// This validator was restored, and the ledger has not moved on since.
    #[error(
        "this validator was restored from a backup and waits for the ledger to move on before it \
         votes again"
    )]
    Restored,
    /// The file cannot be read or written.
    #[error("cannot use {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// An earlier write failed.
    #[error("an earlier write to the guard failed; restart the node when the disk is well again")]
    Poisoned,
}

/// The kind of a vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// For a block to go on to finalization.
    Notarize = 1,
    /// For giving up a view.
    Nullify = 2,
    /// For making a block irreversible.
    Finalize = 3,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Notarize => "notarize",
            Self::Nullify => "nullify",
            Self::Finalize => "finalize",
        })
    }
}

impl Phase {
    pub(super) fn decode(code: u8) -> Option<Self> {
        [Self::Notarize, Self::Nullify, Self::Finalize].into_iter().find(|one| *one as u8 == code)
    }
}
