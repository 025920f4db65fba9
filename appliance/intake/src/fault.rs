//! Why nothing was taken in.

use std::time::Duration;

use hufu_door::{Code, Problem};
use hufu_proof::{IdentityId, Name, Outcome, UnixMillis};

/// Why the ledger does not take in, or does not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IntakeFault {
    /// There is no such thing.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// The transaction can never be in a block; the ledger did not take it.
    #[error("the transaction was refused before it was taken in: {0}")]
    Refused(Outcome),
    /// The transaction is signed by somebody for whom the caller does not answer.
    #[error(
        "the transaction is signed by identity {signer}, which answers to member `{member}`; \
         connect as that signer, or as a client of that member or of the device's owner"
    )]
    ForeignSigner {
        /// Who signed.
        signer: IdentityId,
        /// The member that answers for the signer.
        member: Name,
    },
    /// The signer, or the member that answers for it, has used up what may be
    /// recorded of it in a day.
    #[error("{detail}")]
    OverBudget {
        /// Who, and until when.
        detail: String,
        /// When the day ends, milliseconds since 1970.
        ends_ms: UnixMillis,
        /// How long that is.
        retry_after: Duration,
    },
    /// Too much waits.
    #[error("the ledger is busy")]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// The transaction was taken in but is not final yet.
    #[error("the transaction is not final yet")]
    Pending,
    /// This node reads, and another one takes in.
    #[error("{0}")]
    FrontEnd(String),
    /// The node stops, or lost its store, token or quorum.
    #[error("the ledger does not answer: {0}")]
    Unavailable(String),
}

impl From<IntakeFault> for Problem {
    fn from(fault: IntakeFault) -> Self {
        let detail = fault.to_string();
        match fault {
            IntakeFault::NotFound(_) => Self::new(Code::NotFound, detail),
            IntakeFault::Refused(outcome) => {
                Self::new(Code::TransactionRefused, detail).with("outcome", outcome.code())
            }
            IntakeFault::ForeignSigner { .. } => Self::new(Code::ForeignSigner, detail),
            IntakeFault::OverBudget { ends_ms, retry_after, .. } => {
                Self::new(Code::OverBudget, detail)
                    .with("ends_ms", ends_ms.get())
                    .retry_after(retry_after)
            }
            IntakeFault::Busy { retry_after } => {
                Self::new(Code::Busy, detail).retry_after(retry_after)
            }
            IntakeFault::Pending => {
                Self::new(Code::NotAnchored, detail).retry_after(Duration::from_secs(1))
            }
            IntakeFault::FrontEnd(_) => Self::new(Code::FrontEnd, detail),
            IntakeFault::Unavailable(_) => {
                Self::new(Code::Unavailable, detail).retry_after(Duration::from_secs(5))
            }
        }
    }
}
