//! What can go wrong when a certificate is asked for, and who is at fault.
//!
//! Every failure has a stable code ([`CaError::code`]); what a protocol answers
//! to it is the protocol's. Nothing secret stands in a message: what belongs to
//! the inside is in the source and goes to the log only.

use std::time::Duration;

use crate::form::FormError;
use crate::ledger::LedgerFault;
use crate::lint::Finding;
use crate::signer::SignFault;
use crate::store::StoreError;
use crate::time::UnixTime;

/// Any failure of issuance, revocation and status.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaError {
    /// A request that breaks a rule of form.
    #[error(transparent)]
    Form(#[from] FormError),

    /// Neither a client certificate nor an enrolment token that is known and
    /// in time.
    #[error(
        "this operation needs a client certificate of this authority in the TLS handshake, or (simpleenroll only) a valid enrolment token by HTTP Basic"
    )]
    Unauthenticated,

    /// The client certificate is not of this authority, or not fit for the use.
    #[error("the client certificate is not accepted: {0}")]
    ClientCertificate(String),

    /// The right certificate with the wrong role.
    #[error("the client certificate lacks the role this needs: one of {needed}")]
    Role {
        /// Roles that would do.
        needed: String,
    },

    /// An enrolment token that is not for the profile asked for.
    #[error("the enrolment token is for profile {given}, not for {asked}")]
    TokenProfile {
        /// The token's profile.
        given: String,
        /// The one asked for.
        asked: String,
    },

    /// The enrolment token has enrolled all the keys it is for.
    #[error(
        "the enrolment token has enrolled the {keys} {} that it is for; ask the authority for a new token",
        counted(.keys)
    )]
    TokenSpent {
        /// How many it was for.
        keys: u32,
    },

    /// A certificate that cannot be renewed in this way.
    #[error("the certificate cannot be renewed here: {0}")]
    Renewal(String),

    /// The member has used up what it may issue under the profile.
    #[error(
        "{member} has issued its {limit} certificates under profile {profile}; ask the authority to raise the quota"
    )]
    QuotaExhausted {
        /// The member.
        member: String,
        /// The profile.
        profile: String,
        /// The limit.
        limit: u64,
    },

    /// The member has used up what it may issue today.
    #[error(
        "{member} has issued its {limit} certificates of today under profile {profile}; go on after midnight UTC"
    )]
    QuotaToday {
        /// The member.
        member: String,
        /// The profile.
        profile: String,
        /// The limit.
        limit: u64,
        /// Until the next day begins.
        retry_after: Duration,
    },

    /// The profile wants a key attested by a TPM, and this one is not.
    #[error(
        "profile {profile} needs a key attested by a TPM, and no unused attestation of this key is \
         known; run the attestation (POST /v1/attestation/challenge) and enrol within 10 minutes"
    )]
    AttestationMissing {
        /// The profile.
        profile: String,
    },

    /// A certificate of this very key was revoked.
    #[error("a certificate of this key was revoked; make a new key and ask again")]
    KeyRevoked,

    /// The key is certified for another member, or is the authority's own.
    #[error("this key is already certified for another member; make a new key and ask again")]
    KeyTaken,

    /// The device belongs to another member.
    #[error(
        "device {device} belongs to member {owner}; who owns it asks for its certificates, or transfers it first"
    )]
    DeviceTaken {
        /// The device's serialNumber.
        device: String,
        /// Whose it is.
        owner: String,
    },

    /// The certificate is revoked already, and the new reason does not replace
    /// the one that stands.
    #[error(
        "certificate {serial} was revoked at {at} for {reason}; that can only become keyCompromise, or, from unspecified, another reason"
    )]
    RevokedAlready {
        /// The certificate.
        serial: String,
        /// Since when.
        at: UnixTime,
        /// Why.
        reason: &'static str,
    },

    /// The certificate was not signed because lint found something.
    #[error("the certificate would break {}", findings(.0))]
    Lint(Vec<Finding>),

    /// The ledger refused or could not take the issuance entry.
    #[error("the ledger did not take the entry")]
    Ledger(#[source] LedgerFault),

    /// The token could not sign.
    #[error("the token cannot sign now; ask again later")]
    Token(#[from] SignFault),

    /// The certificate store failed.
    #[error(transparent)]
    Store(#[from] StoreError),

    /// More work than may wait.
    #[error("too many enrolments are under way; ask again shortly")]
    Busy,

    /// The process is stopping.
    #[error("the service is stopping; ask again shortly")]
    Stopping,

    /// Nothing with that serial number or path.
    #[error("{0} is not known here")]
    NotFound(String),

    /// A defect that is none of the above.
    #[error("internal fault: {0}")]
    Internal(&'static str),
}

fn counted(keys: &u32) -> &'static str {
    if *keys == 1 { "key" } else { "keys" }
}

fn findings(findings: &[Finding]) -> String {
    findings
        .iter()
        .map(|finding| format!("{} ({}): {}", finding.rule, finding.section, finding.detail))
        .collect::<Vec<_>>()
        .join("; ")
}

impl CaError {
    /// The stable machine code: interface, never renamed.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Form(error) => error.code(),
            Self::Unauthenticated => "credential-missing",
            Self::ClientCertificate(_) => "certificate-refused",
            Self::Role { .. } => "role-missing",
            Self::TokenProfile { .. } => "enrolment-token-other-profile",
            Self::TokenSpent { .. } => "enrolment-token-spent",
            Self::Renewal(_) => "renewal-refused",
            Self::QuotaExhausted { .. } => "quota-exhausted",
            Self::QuotaToday { .. } => "quota-today",
            Self::AttestationMissing { .. } => "attestation-missing",
            Self::KeyRevoked => "key-revoked",
            Self::KeyTaken => "key-taken",
            Self::DeviceTaken { .. } => "device-taken",
            Self::RevokedAlready { .. } => "already-revoked",
            Self::Lint(_) => "lint-refused",
            Self::Ledger(LedgerFault::Refused { .. }) => "ledger-refused",
            Self::Ledger(_) => "ledger-unavailable",
            Self::Token(_) => "token-unavailable",
            Self::Store(_) => "store-failed",
            Self::Busy => "busy",
            Self::Stopping => "stopping",
            Self::NotFound(_) => "not-found",
            Self::Internal(_) => "internal",
        }
    }

    /// When it makes sense to ask again; `None` where asking again gives the
    /// same answer.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::QuotaToday { retry_after, .. } => Some(*retry_after),
            Self::Ledger(LedgerFault::Refused { .. }) => None,
            Self::Ledger(LedgerFault::Unavailable { retry_after, .. }) => Some(*retry_after),
            Self::Ledger(LedgerFault::Unknown { .. }) => Some(Duration::from_secs(2)),
            Self::Token(fault) => Some(fault.retry_after),
            Self::Busy => Some(Duration::from_secs(1)),
            Self::Stopping => Some(Duration::from_secs(10)),
            Self::Store(_) => Some(Duration::from_secs(60)),
            _ => None,
        }
    }

    /// The sentence for the caller: this error's own, with the ledger's
    /// refusal where there is one. Other sources stay inside.
    pub fn sentence(&self) -> String {
        match self {
            Self::Ledger(LedgerFault::Refused { code, reason }) => {
                format!("the ledger refused the entry: {reason} ({code})")
            }
            Self::Ledger(_) => "the ledger cannot take the entry now; ask again later".to_owned(),
            other => other.to_string(),
        }
    }

    /// Whether the fault is on our side, so that it is logged as an error.
    pub fn is_ours(&self) -> bool {
        match self {
            Self::Form(error) => matches!(
                error,
                FormError::Encoding(_) | FormError::Random | FormError::ProfileInvalid { .. }
            ),
            Self::Ledger(fault) => !matches!(fault, LedgerFault::Refused { .. }),
            Self::Token(_) | Self::Store(_) | Self::Busy | Self::Stopping | Self::Internal(_) => {
                true
            }
            _ => false,
        }
    }

    /// The same error for another waiter of the same request: errors hold
    /// sources that cannot be cloned, so those are told again in words.
    pub(crate) fn echo(&self) -> CaError {
        match self {
            Self::Ledger(fault) => Self::Ledger(fault.clone()),
            Self::Token(fault) => Self::Token(fault.clone()),
            Self::Store(_) => Self::Store(StoreError::Poisoned),
            Self::Lint(findings) => Self::Lint(findings.clone()),
            Self::Stopping => Self::Stopping,
            Self::Busy => Self::Busy,
            _ => Self::Internal("the batch failed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_service_says_when_to_come_again_and_a_refusal_does_not() {
        assert_eq!(CaError::Busy.retry_after(), Some(Duration::from_secs(1)));
        assert!(CaError::Busy.is_ours());
        assert!(!CaError::KeyTaken.is_ours());
        let refused =
            LedgerFault::Refused { code: "conflict".into(), reason: "it is there".into() };
        let error = CaError::Ledger(refused);
        assert_eq!(error.retry_after(), None);
        assert_eq!(error.sentence(), "the ledger refused the entry: it is there (conflict)");
    }

    #[test]
    fn a_spent_token_speaks_of_keys_as_one_speaks() {
        assert!(CaError::TokenSpent { keys: 1 }.to_string().contains("the 1 key that"));
        assert!(CaError::TokenSpent { keys: 2 }.to_string().contains("the 2 keys that"));
    }
}
