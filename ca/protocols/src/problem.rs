//! What a refusal is over HTTP: its status, its title, the problem document.

use std::time::Duration;

use ::http::StatusCode;
use hufu_issuance::{CaError, FormError, StoreError};
use serde::Serialize;

/// A request that came to nothing: by issuance's rules, or by the protocol's
/// own.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// Issuance refused or failed.
    #[error(transparent)]
    Issuance(#[from] CaError),

    /// The `Content-Type` is not the one this resource takes.
    #[error("this resource takes Content-Type {expected}, not {given}")]
    ContentType {
        /// What it takes.
        expected: &'static str,
        /// What was sent (sanitised).
        given: String,
    },

    /// The attestation was refused.
    #[error("{detail}")]
    Attestation {
        /// Stable reason of the attestation check, which is the code.
        reason: String,
        /// Sentence with the remedy.
        detail: String,
    },

    /// There is nothing at that path.
    #[error("there is nothing at {path}; {known}")]
    NoResource {
        /// The path (sanitised).
        path: String,
        /// What there is instead.
        known: &'static str,
    },

    /// The path takes another method.
    #[error("this resource does not take {method}; {known}")]
    Method {
        /// The method.
        method: String,
        /// What it takes.
        known: &'static str,
    },
}

impl From<FormError> for ProtocolError {
    fn from(error: FormError) -> Self {
        CaError::Form(error).into()
    }
}

impl From<StoreError> for ProtocolError {
    fn from(error: StoreError) -> Self {
        CaError::Store(error).into()
    }
}

/// All codes with their HTTP status and a short title: interface, never renamed.
pub const CODES: &[(&str, u16, &str)] = &[
    ("request.malformed", 400, "The request is malformed"),
    ("request.too-large", 413, "The request is too large"),
    ("request.content-type", 415, "The content type is not taken here"),
    ("request.method", 405, "The method is not taken here"),
    ("csr.signature-invalid", 400, "No proof of possession"),
    ("csr.algorithm-refused", 400, "The algorithm is not accepted"),
    ("csr.subject-invalid", 400, "The subject breaks a rule"),
    ("csr.extension-refused", 400, "A requested extension is refused"),
    ("client.unauthenticated", 401, "A client certificate or token is needed"),
    ("client.certificate-invalid", 403, "The client certificate is not accepted"),
    ("client.certificate-expired", 403, "The client certificate is not valid now"),
    ("client.certificate-revoked", 403, "The client certificate is revoked"),
    ("client.role-missing", 403, "The client lacks the role"),
    ("enrolment-token.other-profile", 403, "The enrolment token is for another profile"),
    ("enrolment-token.spent", 403, "The enrolment token is spent"),
    ("renewal.refused", 403, "The certificate cannot be renewed here"),
    ("profile.unknown", 404, "No such profile"),
    ("profile.invalid", 500, "A profile is invalid"),
    ("quota.exhausted", 403, "The quota is used up"),
    ("quota.today", 429, "The quota of today is used up"),
    ("attestation.missing", 403, "The key is not attested"),
    ("attestation.refused", 403, "The attestation was refused"),
    ("key.revoked", 403, "The key was revoked"),
    ("key.taken", 409, "The key belongs to another"),
    ("device.taken", 403, "The device belongs to another"),
    ("certificate.revoked", 409, "The certificate is revoked already"),
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

impl ProtocolError {
    /// The stable code, one of [`CODES`].
    pub fn code(&self) -> &'static str {
        match self {
            Self::Issuance(error) => error.code(),
            Self::ContentType { .. } => "request.content-type",
            Self::Attestation { .. } => "attestation.refused",
            Self::NoResource { .. } => "resource.unknown",
            Self::Method { .. } => "request.method",
        }
    }

    /// The HTTP status, from [`CODES`].
    pub fn status(&self) -> StatusCode {
        let known = CODES.iter().find(|(code, _, _)| *code == self.code());
        known
            .and_then(|(_, status, _)| StatusCode::from_u16(*status).ok())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The short title of the code, from [`CODES`].
    pub fn title(&self) -> &'static str {
        let known = CODES.iter().find(|(code, _, _)| *code == self.code());
        known.map_or("Internal fault", |(_, _, title)| title)
    }

    /// The sentence for the caller.
    pub fn sentence(&self) -> String {
        match self {
            Self::Issuance(error) => error.sentence(),
            other => other.to_string(),
        }
    }

    /// When it makes sense to ask again.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Issuance(error) => error.retry_after(),
            _ => None,
        }
    }

    /// Whether the fault is on our side, so that it is logged as an error.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::Issuance(error) if error.is_ours())
    }
}

/// An RFC 9457 problem document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// `urn:hufu:problem:CODE`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Short title of the code.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What is wrong and how to mend it.
    pub detail: String,
    /// The stable code.
    pub code: String,
}

impl Problem {
    /// The problem document for an error.
    pub fn of(error: &ProtocolError) -> Problem {
        // An attestation's refusal has codes of its own, which a device's
        // agent knows.
        let code = match error {
            ProtocolError::Attestation { reason, .. } => reason.as_str(),
            other => other.code(),
        };
        Problem {
            kind: format!("urn:hufu:problem:{code}"),
            title: error.title().to_owned(),
            status: error.status().as_u16(),
            detail: error.sentence(),
            code: code.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hufu_issuance::LedgerFault;

    #[test]
    fn every_code_is_in_the_table_once() {
        let mut seen = std::collections::BTreeSet::new();
        for (code, status, title) in CODES {
            assert!(seen.insert(code), "{code} twice");
            assert!(StatusCode::from_u16(*status).is_ok());
            assert!(!title.is_empty());
        }
        let status = |error: CaError| ProtocolError::from(error).status().as_u16();
        assert_eq!(status(CaError::Busy), 503);
        assert_eq!(status(CaError::Unauthenticated), 401);
        assert_eq!(status(CaError::TokenSpent { keys: 1 }), 403);
    }

    #[test]
    fn whose_fault_it_is_agrees_with_the_status() {
        let fault = LedgerFault::Unknown { reason: String::new() };
        let refused = LedgerFault::Refused { code: String::new(), reason: String::new() };
        for error in [
            CaError::Busy,
            CaError::Stopping,
            CaError::Store(StoreError::Poisoned),
            CaError::Internal(""),
            CaError::Ledger(fault),
            CaError::Ledger(refused),
            CaError::KeyTaken,
            CaError::Form(FormError::Random),
            CaError::Form(FormError::ProofOfPossession),
        ] {
            let error = ProtocolError::from(error);
            assert_eq!(error.is_ours(), error.status().is_server_error(), "{error}");
        }
    }

    #[test]
    fn a_refused_attestation_says_so_once() {
        let error = ProtocolError::Attestation {
            reason: "ek-untrusted".to_owned(),
            detail: "the chain ends at nobody known".to_owned(),
        };
        let problem = Problem::of(&error);
        assert_eq!(problem.code, "ek-untrusted");
        assert_eq!(problem.title, "The attestation was refused");
        assert!(!problem.detail.contains("refused"));
    }
}
