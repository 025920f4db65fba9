//! What this crate asks of the ledger. The appliance implements it.
//!
//! The rule that the whole crate keeps: **no certificate is signed before its
//! entry is final on the ledger.** The order within one issuance is: pending
//! row durable here, entry final there, signature, certificate durable here,
//! answer. So `record` must be idempotent: after a crash the same entry is
//! submitted again, and the first record is the answer.

use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::algorithm::PublicKey;
use crate::serial::Serial;
use crate::time::UnixTime;

/// One certificate about to be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuanceEntry {
    /// Serial number, unique under this issuing key.
    pub serial: Serial,
    /// Name of the profile.
    pub profile: String,
    /// The TBSCertificate, DER: what will be signed, to the byte.
    pub tbs: Vec<u8>,
    /// The subject's public key.
    pub public_key: PublicKey,
    /// The subject's distinguished name as text (RFC 4514).
    pub subject: String,
    /// The member that the certificate belongs to.
    pub owner: String,
    /// Start of validity.
    pub not_before: UnixTime,
    /// End of validity.
    pub not_after: UnixTime,
    /// SHA-256 over the evidence of a TPM attestation, where there was one.
    pub attestation: Option<[u8; 32]>,
}

/// An entry that is final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The entry's serial number.
    pub serial: Serial,
    /// The height of the block that holds it.
    pub height: u64,
    /// The transaction that holds it.
    pub transaction: [u8; 32],
}

/// What the ledger knows about a serial number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateStatus {
    /// No entry.
    Unknown,
    /// An entry, not revoked.
    Good,
    /// Revoked or on hold.
    Revoked {
        /// When it took effect.
        at: UnixTime,
        /// Why.
        reason: RevocationReason,
    },
}

/// One line of a revocation list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The certificate.
    pub serial: Serial,
    /// When it took effect.
    pub at: UnixTime,
    /// Why.
    pub reason: RevocationReason,
    /// End of the certificate's validity.
    pub not_after: UnixTime,
}

/// Reasons of RFC 5280 section 5.3.1 that are used here. `removeFromCRL` (8)
/// belongs to delta CRLs and `unused` (7) is not a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RevocationReason {
    /// 0.
    Unspecified,
    /// 1: the device's or member's key is out.
    KeyCompromise,
    /// 2: the authority's key is out.
    CaCompromise,
    /// 3: the owner changed.
    AffiliationChanged,
    /// 4: replaced by a newer certificate.
    Superseded,
    /// 5: taken out of service.
    CessationOfOperation,
    /// 6: suspended; the only one that can be lifted.
    CertificateHold,
    /// 9.
    PrivilegeWithdrawn,
    /// 10.
    AaCompromise,
}

impl RevocationReason {
    /// All of them.
    pub const ALL: [RevocationReason; 9] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::CaCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
        Self::CertificateHold,
        Self::PrivilegeWithdrawn,
        Self::AaCompromise,
    ];

    /// The CRLReason value.
    pub const fn code(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::CaCompromise => 2,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
            Self::CertificateHold => 6,
            Self::PrivilegeWithdrawn => 9,
            Self::AaCompromise => 10,
        }
    }

    /// From a CRLReason value.
    pub fn from_code(code: u8) -> Option<RevocationReason> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }

    /// The name RFC 5280 gives it, as `openssl` prints and takes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "keyCompromise",
            Self::CaCompromise => "cACompromise",
            Self::AffiliationChanged => "affiliationChanged",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessationOfOperation",
            Self::CertificateHold => "certificateHold",
            Self::PrivilegeWithdrawn => "privilegeWithdrawn",
            Self::AaCompromise => "aACompromise",
        }
    }

    /// Whether a revocation for this reason may be given the other one later.
    /// Its date stays. What is compromised may be found out late, and no reason
    /// may be replaced by any; a hold becomes a revocation, of which the ledger
    /// keeps the date of its own.
    pub fn may_become(self, other: RevocationReason) -> bool {
        match (self, other) {
            (_, Self::CertificateHold) => false,
            (Self::CertificateHold, _) => true,
            (Self::KeyCompromise, _) => false,
            (_, Self::KeyCompromise) => true,
            (Self::Unspecified, other) => other != Self::Unspecified,
            _ => false,
        }
    }

    /// From its name; letters' case does not matter.
    pub fn from_name(name: &str) -> Option<RevocationReason> {
        Self::ALL.into_iter().find(|reason| reason.name().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for RevocationReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The ledger did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerFault {
    /// It refused: asking again gives the same answer.
    #[error("refused: {code}: {reason}")]
    Refused {
        /// Stable code.
        code: String,
        /// Sentence for the caller.
        reason: String,
    },
    /// It did not take the entries, and nothing of them is recorded.
    #[error("not available: {reason}")]
    Unavailable {
        /// For the log.
        reason: String,
        /// When to ask again.
        retry_after: Duration,
    },
    /// It is not known whether the entries were recorded (no finality within
    /// the time allowed).
    #[error("outcome unknown: {reason}")]
    Unknown {
        /// For the log.
        reason: String,
    },
}

/// The ledger as issuance and status services see it.
pub trait IssuanceLedger: Send + Sync + 'static {
    /// Whether the ledger would take the entry as it stands: hosts, roles and
    /// the device of a certificate are its owner's to give. Asked with the very
    /// TBS that would be signed, before anything is spent on it.
    ///
    /// # Errors
    /// [`LedgerFault::Refused`] with the reason and the remedy.
    fn permits(&self, entry: &IssuanceEntry) -> Result<(), LedgerFault>;

    /// Records entries and returns when they are final, in the order given.
    ///
    /// All or nothing; an entry that is already recorded with the same TBS is
    /// answered with its first record. At most [`crate::limits::BATCH`]
    /// entries at once.
    fn record(
        &self,
        entries: Vec<IssuanceEntry>,
    ) -> BoxFuture<'_, Result<Vec<Recorded>, LedgerFault>>;

    /// Revokes a certificate, or gives another reason for a revocation that
    /// stands and keeps its date ([`RevocationReason::may_become`]); returns
    /// when that is final.
    fn revoke(
        &self,
        serial: Serial,
        reason: RevocationReason,
        at: UnixTime,
    ) -> BoxFuture<'_, Result<Recorded, LedgerFault>>;

    /// The status of a certificate, as of the last finalized height.
    fn status(&self, serial: Serial) -> BoxFuture<'_, Result<CertificateStatus, LedgerFault>>;

    /// The member that the registry names as the owner of a device; `None` if
    /// it has no such device.
    fn device_owner(&self, device: String) -> BoxFuture<'_, Result<Option<String>, LedgerFault>>;

    /// All revocations in effect as of the last finalized height.
    fn revoked(&self) -> BoxFuture<'_, Result<Vec<Revocation>, LedgerFault>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_round_trip_by_code_and_name() {
        for reason in RevocationReason::ALL {
            assert_eq!(RevocationReason::from_code(reason.code()), Some(reason));
            assert_eq!(RevocationReason::from_name(reason.name()), Some(reason));
        }
        assert_eq!(RevocationReason::from_code(7), None);
        assert_eq!(RevocationReason::from_code(8), None);
        assert_eq!(
            RevocationReason::from_name("KEYCOMPROMISE"),
            Some(RevocationReason::KeyCompromise)
        );
    }
}
