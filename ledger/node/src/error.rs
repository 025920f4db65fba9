//! Why the ledger does not do what was asked.

use std::time::Duration;

/// Why the ledger does not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The sender is at fault: the transaction can never be in a block.
    #[error("refused before it was taken in: {}", .0.code())]
    Refused(hufu_proof::Outcome),
    /// Too much waits; the sender may try again.
    #[error("too many transactions wait; try again in {} ms", retry_after.as_millis())]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// It did not become final in the time allowed; it may yet.
    #[error("not final in the time allowed; ask for its receipt later")]
    Pending,
    /// It left the queue because its last height passed.
    #[error("its last height passed before it was in a block; sign it anew")]
    Expired,
    /// Nothing new is taken in for now: see [`crate::Ledger::take_in`].
    #[error("this node takes nothing in now; `hufu status` says why")]
    Closed,
    /// The member's token does not sign now.
    #[error("the member's token does not sign now: {0}")]
    Token(String),
    /// The node stops or has failed.
    #[error("the node has stopped")]
    Stopped,
    /// The state machine or its store failed.
    #[error("the state machine failed")]
    Machine(#[from] hufu_machine::MachineError),
    /// Ordering did not start or failed.
    #[error("ordering failed")]
    Consensus(#[from] hufu_consensus::Error),
    /// The runtime did not start.
    #[error("the runtime did not start: {0}")]
    Runtime(String),
}
