//! What can go wrong, and whose fault it is.

use std::path::PathBuf;

use hufu_proof::SignerFault;

/// An error of the ordering layer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller's configuration does not make sense.
    #[error("{field}: {problem}")]
    Config {
        /// The field of [`crate::Config`].
        field: &'static str,
        /// What is wrong with it and how to mend it.
        problem: String,
    },
    /// A key is not one that can vote.
    #[error("{0}")]
    Key(&'static str),
    /// The token did not sign. The node abstains and tries again in a later
    /// view; mend the token.
    #[error("the vote is not signed")]
    Signer(#[source] SignerFault),
    /// A vote would contradict one that was signed before.
    #[error(transparent)]
    Guard(#[from] crate::guard::GuardError),
    /// The ordering layer has stopped, and with it this request.
    #[error("the ordering layer has stopped")]
    Stopped,
    /// The data directory cannot be used.
    #[error("cannot use {path}")]
    Directory {
        /// The directory or file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The consensus engine's own storage failed.
    #[error("the consensus storage `{part}` does not open: {reason}")]
    Storage {
        /// Which part of it.
        part: &'static str,
        /// What it said.
        reason: String,
    },
}
