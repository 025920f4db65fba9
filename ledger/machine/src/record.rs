//! What the state holds under its keys. Each record is stored as borsh.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};
use hufu_proof::transaction::IdentityKind;
use hufu_proof::{Digest, IdentityId, Name, PublicKey, Serial};
use serde::{Deserialize, Serialize};

/// Whether an identity may sign.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum IdentityStatus {
    /// It may, within its validity.
    Active = 0,
    /// Its certificate is on hold; it may again when the hold is lifted.
    Suspended = 1,
    /// Its certificate is revoked, or its member has another key; it may never
    /// again.
    Revoked = 2,
}

/// A key that may sign, and who answers for it. Under [`crate::key::identity`].
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct IdentityRecord {
    /// The key.
    pub key: PublicKey,
    /// What its holder is.
    pub kind: IdentityKind,
    /// The member that answers for it.
    pub owner: Name,
    /// The subject of its certificate: for a device, its device identifier; for
    /// a member, the member's name.
    pub subject: String,
    /// Whether it may sign.
    pub status: IdentityStatus,
    /// Its current certificate; members have none.
    pub serial: Option<Serial>,
    /// Begin of validity, milliseconds since 1970.
    pub not_before: u64,
    /// End of validity, milliseconds since 1970.
    pub not_after: u64,
}

impl IdentityRecord {
    /// Whether it may sign in a block of this time.
    pub fn is_active_at(&self, time_ms: u64) -> bool {
        self.status == IdentityStatus::Active
            && (self.not_before..=self.not_after).contains(&time_ms)
    }
}

/// Where a certificate stands.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "kebab-case", tag = "status")]
#[repr(u8)]
pub enum CertificateStatus {
    /// Neither revoked nor on hold. Whether it has expired is for its dates to
    /// say.
    Good = 0,
    /// On hold (`certificateHold`, RFC 5280 §5.3.1).
    Held {
        /// Since this block time, milliseconds since 1970.
        at_ms: u64,
    } = 1,
    /// Revoked for good.
    Revoked {
        /// CRLReason (RFC 5280 §5.3.1).
        reason: u8,
        /// At this block time, milliseconds since 1970.
        at_ms: u64,
    } = 2,
}

/// A recorded certificate. Under [`crate::key::certificate`].
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct CertificateRecord {
    /// Where it stands.
    pub status: CertificateStatus,
    /// Whose key it certifies.
    pub identity: IdentityId,
    /// The profile it was made by.
    pub profile: Name,
    /// What the key may do on the ledger.
    pub kind: IdentityKind,
    /// The member that answers for the subject.
    pub owner: Name,
    /// The subject, for people.
    pub subject: String,
    /// Begin of validity, milliseconds since 1970.
    pub not_before: u64,
    /// End of validity, milliseconds since 1970.
    pub not_after: u64,
    /// SHA-256 of the to-be-signed certificate, which is in the transaction.
    pub tbs: Digest,
    /// Digest of the evidence that the key lives in hardware.
    pub attestation: Option<Digest>,
    /// The transaction that recorded it.
    pub transaction: Digest,
    /// The time of the block that recorded it, milliseconds since 1970.
    pub recorded_ms: u64,
}

/// A member of the consortium. Under [`crate::key::member`].
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct MemberRecord {
    /// Its name for people, by language.
    pub title: BTreeMap<String, String>,
    /// What it is to the consortium.
    pub kinds: BTreeSet<Name>,
    /// Verifies its votes.
    pub vote_key: PublicKey,
    /// Verifies its transactions, receipts and reports.
    pub statement_key: PublicKey,
    /// What it may see as a supervisor.
    pub jurisdictions: BTreeSet<Name>,
}

/// The active version of a contract. Under [`crate::key::contract`].
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct ContractRecord {
    /// Its version.
    pub version: String,
    /// The package's digest.
    pub digest: Digest,
    /// The height at which it became active.
    pub since: u64,
}

/// A deployed version of a contract, for ever. Under [`crate::key::version`].
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct VersionRecord {
    /// The package's digest.
    pub digest: Digest,
    /// The height at which it became active.
    pub since: u64,
    /// The packages of the contracts that were active then, which it was
    /// checked against; so that it compiles to the same for ever.
    pub dependencies: BTreeMap<Name, Digest>,
}

/// A proposal. Under [`crate::key::proposal`].
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct ProposalRecord {
    /// Who proposed it.
    pub proposer: Name,
    /// The height at which it was proposed.
    pub proposed: u64,
    /// Who has approved it, the proposer included.
    pub approvals: BTreeSet<Name>,
    /// The height at which it took effect.
    pub enacted: Option<u64>,
}
