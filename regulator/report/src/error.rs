//! Why a report does not convince, and how large one may be.

use hufu_proof::receipt::ReceiptError;
use hufu_proof::{Digest, Name, SignerFault};

use crate::canonical::CanonicalError;

/// Largest report file, in bytes.
pub const MAX_REPORT: usize = 64 * 1024 * 1024;

/// Why a report does not convince.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReportError {
    /// Larger than a report may be.
    #[error("the report is {0} bytes; at most {MAX_REPORT} are accepted")]
    TooLarge(usize),
    /// Not a report.
    #[error("not a report: {0}")]
    Malformed(String),
    /// Not in the one form that it may have.
    #[error("the report is not in its exact form: {0}")]
    Canonical(#[from] CanonicalError),
    /// What is shown is not what the data says.
    #[error("the report's presentation does not hold: {0}")]
    Presentation(String),
    /// Of a version of the presentation that this program does not know.
    #[error(
        "the report is of presentation `{0}`, which this program does not know; use a newer one, \
         or the JSON form"
    )]
    OtherPresentation(String),
    /// The content contradicts itself.
    #[error("the report contradicts itself: {0}")]
    Content(String),
    /// It belongs to another consortium.
    #[error("the report is of consortium `{name}` with genesis {digest}, not of this one")]
    OtherConsortium {
        /// The name in the report.
        name: Name,
        /// The genesis digest in the report.
        digest: Digest,
    },
    /// The anchor is not final.
    #[error("the report's anchor does not hold: {0}")]
    Anchor(ReceiptError),
    /// Signed by someone who is no member.
    #[error("the report is signed by `{0}`, who is not a member of the consortium")]
    UnknownSigner(Name),
    /// The signature does not verify.
    #[error(
        "the signature of `{0}` does not verify: the file was altered or the member did not sign it"
    )]
    Signature(Name),
    /// The signer did not sign.
    #[error("the report could not be signed")]
    Signer(#[source] SignerFaultText),
}

/// [`SignerFault`] as a comparable cause.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SignerFaultText(pub String);

impl From<SignerFault> for ReportError {
    fn from(fault: SignerFault) -> Self {
        Self::Signer(SignerFaultText(fault.to_string()))
    }
}
