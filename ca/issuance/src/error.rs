//! What can go wrong, who is at fault, and what each interface answers.
//!
//! Every variant has a stable code ([`CaError::code`]) and an HTTP status
//! ([`CaError::status`]); [`CODES`] is the whole table. EST answers with the
//! sentence as plain text (RFC 7030 section 4.2.3 allows it), the JSON
//! interfaces with an RFC 9457 problem document ([`crate::Problem`]). Nothing
//! secret stands in a message: what belongs to the inside is in the source
//! and goes to the log only.

use std::time::Duration;

use http::StatusCode;

use crate::ledger::LedgerFault;
use crate::lint::Finding;
use crate::signer::SignFault;

/// Any failure of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaError {
    /// A request that is not what the interface takes. The caller mends it.
    #[error("{what} is malformed: {detail}")]
    Malformed {
        /// Which input.
        what: &'static str,
        /// What and where.
        detail: String,
    },

    /// Larger than the limit of [`crate::limits`].
    #[error("{what} is larger than {limit} bytes; send one of at most that size")]
    TooLarge {
        /// Which input.
        what: &'static str,
        /// The limit, in bytes.
        limit: usize,
    },

    /// The `Content-Type` is not the one this resource takes.
    #[error("this resource takes Content-Type {expected}, not {given}")]
    ContentType {
        /// What it takes.
        expected: &'static str,
        /// What was sent (sanitised).
        given: String,
    },

    /// The certification request is not signed by the key inside it.
    #[error(
        "the certification request's signature does not verify with the public key inside it; \
         sign the request with the private key of that public key"
    )]
    ProofOfPossession,

    /// A key or signature algorithm that the profile does not take.
    #[error("{what} {given} is not accepted; use one of {accepted}")]
    Algorithm {
        /// "public key algorithm", "signature algorithm", ...
        what: &'static str,
        /// What was given.
        given: String,
        /// What would be accepted.
        accepted: String,
    },

    /// The requested subject breaks a rule of the profile.
    #[error("subject field {field}: {detail}")]
    Subject {
        /// The attribute.
        field: String,
        /// The rule and the remedy.
        detail: String,
    },

    /// A requested extension or attribute that no requester may set.
    #[error("requested extension {extension}: {detail}")]
    Extension {
        /// Its name or object identifier.
        extension: String,
        /// The rule and the remedy.
        detail: String,
    },

    /// Neither a client certificate nor an enrolment token that is known and
    /// in time.
    #[error(
        "this operation needs a client certificate of this authority in the TLS handshake, or (simpleenroll only) a valid enrolment token by HTTP Basic"
    )]
    Unauthenticated,

    /// The client certificate is not of this authority, or not fit for the use.
    #[error("the client certificate is not accepted: {0}")]
    ClientCertificate(String),

    /// The client certificate's time is over, or not begun.
    #[error("the client certificate is valid from {not_before} to {not_after}, not now; renew it")]
    ClientCertificateExpired {
        /// Start.
        not_before: String,
        /// End.
        not_after: String,
    },

    /// The client certificate is revoked or on hold on the ledger.
    #[error("the client certificate was revoked on the ledger ({reason}); ask for a new one")]
    ClientCertificateRevoked {
        /// RFC 5280 reason.
        reason: &'static str,
    },

    /// The right certificate with the wrong role.
    #[error("the client certificate lacks the role this needs: one of {needed}")]
    Role {
        /// Roles that would do.
        needed: String,
    },

    /// No profile of that name.
    #[error("there is no profile {name:?}; this authority has {known}")]
    ProfileUnknown {
        /// The label asked for.
        name: String,
        /// All names.
        known: String,
    },

    /// A profile's file does not say what it must.
    #[error("profile {name}: {detail}")]
    ProfileInvalid {
        /// The profile.
        name: String,
        /// Which key, and what it may be.
        detail: String,
    },

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

    /// The attestation was refused.
    #[error("the attestation was refused: {detail}")]
    Attestation {
        /// Stable reason of the attestation check.
        reason: String,
        /// Sentence with the remedy.
        detail: String,
    },

    /// A certificate of this very key was revoked.
    #[error("a certificate of this key was revoked; make a new key and ask again")]
    KeyRevoked,

    /// The key is certified for another member, or is the authority's own.
    #[error("this key is already certified for another member; make a new key and ask again")]
    KeyTaken,

    /// The certificate was not signed because lint found something.
    #[error("the certificate would break {}", findings(.0))]
    Lint(Vec<Finding>),

    /// The ledger refused or could not take the issuance entry.
    #[error("the ledger did not take the entry")]
    Ledger(#[source] LedgerFault),

    /// The token could not sign.
    #[error("the token cannot sign now; ask again later")]
    Token(#[source] SignFault),

    /// The certificate store failed; nothing more is issued until a restart.
    #[error("the certificate store failed; nothing is issued until it is reopened")]
    Store(#[source] rusqlite::Error),

    /// A former failure of the store stopped it.
    #[error(
        "the certificate store stopped after a failure; nothing is issued until it is reopened"
    )]
    StorePoisoned,

    /// More work than may wait.
    #[error("too many enrolments are under way; ask again shortly")]
    Busy,

    /// The process is stopping.
    #[error("the service is stopping; ask again shortly")]
    Stopping,

    /// Nothing with that serial number or path.
    #[error("{0} is not known here")]
    NotFound(String),

    /// What the certificate says is not what its issuer or the ledger says.
    #[error("the certificate does not hold: {0}")]
    Certificate(String),

    /// A value of our own making does not encode: a defect.
    #[error("a value could not be encoded")]
    Encoding(#[source] der::Error),

    /// A defect that is none of the above.
    #[error("internal fault: {0}")]
    Internal(&'static str),
}

fn findings(findings: &[Finding]) -> String {
    findings
        .iter()
        .map(|finding| format!("{} ({}): {}", finding.rule, finding.section, finding.detail))
        .collect::<Vec<_>>()
        .join("; ")
}

/// All codes with their HTTP status and a short title: interface, never renamed.
pub const CODES: &[(&str, u16, &str)] = &[
    ("request.malformed", 400, "The request is malformed"),
    ("request.too-large", 413, "The request is too large"),
    ("request.content-type", 415, "The content type is not taken here"),
    ("csr.signature-invalid", 400, "No proof of possession"),
    ("csr.algorithm-refused", 400, "The algorithm is not accepted"),
    ("csr.subject-invalid", 400, "The subject breaks a rule"),
    ("csr.extension-refused", 400, "A requested extension is refused"),
    ("client.unauthenticated", 401, "A client certificate or token is needed"),
    ("client.certificate-invalid", 403, "The client certificate is not accepted"),
    ("client.certificate-expired", 403, "The client certificate is not valid now"),
    ("client.certificate-revoked", 403, "The client certificate is revoked"),
    ("client.role-missing", 403, "The client lacks the role"),
    ("profile.unknown", 404, "No such profile"),
    ("profile.invalid", 500, "A profile is invalid"),
    ("quota.exhausted", 403, "The quota is used up"),
    ("quota.today", 429, "The quota of today is used up"),
    ("attestation.missing", 403, "The key is not attested"),
    ("attestation.refused", 403, "The attestation was refused"),
    ("key.revoked", 403, "The key was revoked"),
    ("key.taken", 409, "The key belongs to another"),
    ("lint.refused", 400, "The certificate would break a standard"),
    ("ledger.refused", 403, "The ledger refused the entry"),
    ("ledger.unavailable", 503, "The ledger is not available"),
    ("token.unavailable", 503, "The token is not available"),
    ("store.failed", 503, "The certificate store failed"),
    ("service.busy", 503, "Too much work is waiting"),
    ("service.stopping", 503, "The service is stopping"),
    ("resource.unknown", 404, "No such resource"),
    ("certificate.invalid", 400, "The certificate does not hold"),
    ("internal", 500, "Internal fault"),
];

impl CaError {
    /// The stable machine code, one of [`CODES`].
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "request.malformed",
            Self::TooLarge { .. } => "request.too-large",
            Self::ContentType { .. } => "request.content-type",
            Self::ProofOfPossession => "csr.signature-invalid",
            Self::Algorithm { .. } => "csr.algorithm-refused",
            Self::Subject { .. } => "csr.subject-invalid",
            Self::Extension { .. } => "csr.extension-refused",
            Self::Unauthenticated => "client.unauthenticated",
            Self::ClientCertificate(_) => "client.certificate-invalid",
            Self::ClientCertificateExpired { .. } => "client.certificate-expired",
            Self::ClientCertificateRevoked { .. } => "client.certificate-revoked",
            Self::Role { .. } => "client.role-missing",
            Self::ProfileUnknown { .. } => "profile.unknown",
            Self::ProfileInvalid { .. } => "profile.invalid",
            Self::QuotaExhausted { .. } => "quota.exhausted",
            Self::QuotaToday { .. } => "quota.today",
            Self::AttestationMissing { .. } => "attestation.missing",
            Self::Attestation { .. } => "attestation.refused",
            Self::KeyRevoked => "key.revoked",
            Self::KeyTaken => "key.taken",
            Self::Lint(_) => "lint.refused",
            Self::Ledger(LedgerFault::Refused { .. }) => "ledger.refused",
            Self::Ledger(_) => "ledger.unavailable",
            Self::Token(_) => "token.unavailable",
            Self::Store(_) | Self::StorePoisoned => "store.failed",
            Self::Busy => "service.busy",
            Self::Stopping => "service.stopping",
            Self::NotFound(_) => "resource.unknown",
            Self::Certificate(_) => "certificate.invalid",
            Self::Encoding(_) | Self::Internal(_) => "internal",
        }
    }

    /// The HTTP status, from [`CODES`].
    pub fn status(&self) -> StatusCode {
        let code = self.code();
        CODES
            .iter()
            .find(|(known, _, _)| *known == code)
            .and_then(|(_, status, _)| StatusCode::from_u16(*status).ok())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The short title of the code, from [`CODES`].
    pub fn title(&self) -> &'static str {
        let code = self.code();
        CODES
            .iter()
            .find(|(known, _, _)| *known == code)
            .map_or("Internal fault", |(_, _, title)| title)
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
            Self::Store(_) | Self::StorePoisoned => Some(Duration::from_secs(60)),
            _ => None,
        }
    }

    /// The sentence for the caller: this error's own, with the ledger's
    /// refusal where there is one. Other sources stay inside.
    pub fn sentence(&self) -> String {
        match self {
            Self::Ledger(LedgerFault::Refused { code, reason }) => {
                format!("the ledger refused the entry: {code}: {reason}")
            }
            Self::Ledger(_) => "the ledger cannot take the entry now; ask again later".to_owned(),
            other => other.to_string(),
        }
    }

    /// Whether the fault is on our side, so that it is logged as an error.
    pub fn is_ours(&self) -> bool {
        self.status().is_server_error()
    }

    pub(crate) fn malformed(what: &'static str, detail: impl ToString) -> CaError {
        CaError::Malformed { what, detail: detail.to_string() }
    }

    pub(crate) fn encoding(error: der::Error) -> CaError {
        CaError::Encoding(error)
    }

    /// The same error for another waiter of the same request: errors hold
    /// sources that cannot be cloned, so those are told again in words.
    pub(crate) fn echo(&self) -> CaError {
        match self {
            Self::Ledger(fault) => Self::Ledger(fault.clone()),
            Self::Token(fault) => Self::Token(fault.clone()),
            Self::Store(_) | Self::StorePoisoned => Self::StorePoisoned,
            Self::Lint(findings) => Self::Lint(findings.clone()),
            Self::Stopping => Self::Stopping,
            Self::Busy => Self::Busy,
            _ => Self::Internal("the batch failed"),
        }
    }
}

impl From<rusqlite::Error> for CaError {
    fn from(error: rusqlite::Error) -> CaError {
        CaError::Store(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_in_the_table_once() {
        let mut seen = std::collections::BTreeSet::new();
        for (code, status, title) in CODES {
            assert!(seen.insert(code), "{code} twice");
            assert!(StatusCode::from_u16(*status).is_ok());
            assert!(!title.is_empty());
        }
        let error = CaError::Busy;
        assert_eq!(error.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(error.retry_after(), Some(Duration::from_secs(1)));
        assert_eq!(CaError::Unauthenticated.status(), StatusCode::UNAUTHORIZED);
    }
}
