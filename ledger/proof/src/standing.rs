//! How a member stands in the consortium. The others decide it by proposals
//! ([`crate::transaction::Proposal::Standing`]); the member has no say.
//!
//! | | good | suspended | dismissed |
//! |---|---|---|---|
//! | its keys, its devices and clients sign | yes | no | no |
//! | it proposes and approves, and its approvals count | yes | no | no |
//! | its node votes | yes | not from the next epoch on | not from the next epoch on |
//! | its node follows the ledger, and it reads what is its own | yes | yes | no |
//! | it supervises, as a regulator | yes | no | no |
//! | certificates are issued for it | yes | no | no |
//! | what it signed, and whose its assets are | stands | stands | stands |
//! | it can come back | | yes, by a proposal | never, nor its name or keys |

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::transaction::Outcome;

/// How a member stands.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Standing {
    /// It has all that a member has.
    #[default]
    Good = 0,
    /// It reads and does nothing else until it is readmitted.
    Suspended = 1,
    /// It is gone for good; what it did stays.
    Dismissed = 2,
}

impl Standing {
    /// Longest reason for a change of it, in bytes.
    pub const MAX_REASON: usize = 256;

    /// Its name, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Suspended => "suspended",
            Self::Dismissed => "dismissed",
        }
    }

    /// What becomes of what is signed for a member that stands so; `None` where
    /// it is heard.
    pub fn refusal(self) -> Option<Outcome> {
        match self {
            Self::Good => None,
            Self::Suspended => Some(Outcome::MemberSuspended),
            Self::Dismissed => Some(Outcome::MemberDismissed),
        }
    }
}
