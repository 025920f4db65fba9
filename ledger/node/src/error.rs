//! Why the ledger does not do what was asked.

use std::time::Duration;

use hufu_machine::{Over, Period, Whose};
use hufu_proof::{Name, UnixMillis};

/// A budget of a day that is used up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spent {
    /// Whose, and of what.
    pub over: Over,
    /// The member that answers for the signer.
    pub member: Name,
    /// When the day or the second ends.
    pub ends_ms: UnixMillis,
    /// How long that is by the ledger's time.
    pub retry_after: Duration,
}

impl std::fmt::Display for Spent {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { over: Over { whose, period }, member, retry_after, .. } = self;
        match whose {
            Whose::Identity => write!(formatter, "this signer of member `{member}`")?,
            Whose::Member => write!(formatter, "member `{member}`")?,
        }
        if *period == Period::Second {
            return formatter.write_str(
                " has as much waiting as may be recorded of it in a second; send less at once",
            );
        }
        let minutes = retry_after.as_secs().div_ceil(60);
        write!(
            formatter,
            " has used up what may be recorded of it today; the day of the ledger, UTC, ends in \
             {} h {} min",
            minutes / 60,
            minutes % 60
        )
    }
}

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
    /// The signer, or its member, has put on the ledger what it may in a day.
    #[error("{0}")]
    OverBudget(Spent),
    /// It did not become final in the time allowed; it may yet.
    #[error("not final in the time allowed; ask for its receipt later")]
    Pending,
    /// It left the queue because its last height passed.
    #[error("its last height passed before it was in a block; sign it anew")]
    Expired,
    /// Nothing new is taken in for now: see [`crate::Ledger::take_in`].
    #[error("this node takes nothing in now; `hufu status` says why")]
    Closed,
    /// This process reads what the member's validator records.
    #[error(
        "this is a front-end, which reads the member's record and takes no transactions; send \
         them to the member's validator"
    )]
    FrontEnd,
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

impl Error {
    /// Whether the store is only away, so that the same is to be asked again
    /// later.
    pub(crate) fn passes(&self) -> bool {
        matches!(self, Self::Machine(error) if error.passes())
    }
}
