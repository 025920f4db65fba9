//! Who signed a report: the signature block.

use hufu_proof::{FinalityProof, Handover, Name, Signature};
use serde::{Deserialize, Serialize};

/// The only part of a report file that differs between members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignatureBlock {
    /// Who signed.
    pub member: Name,
    /// By the member's statement key.
    pub signature: Signature,
    /// Proof that the anchor is final.
    pub finality: FinalityProof,
    /// How the epochs from the anchor's on gave way to that in which the member
    /// has the key, where it has had another one in the anchor's epoch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub later: Vec<Handover>,
}
