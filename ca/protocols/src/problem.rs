//! What a refusal is over HTTP: a code of the doors' one table, and a sentence.

use std::time::Duration;

use ::http::StatusCode;
use hufu_door::{Code, Problem};
use hufu_issuance::{CaError, FormError, StoreError};

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

impl ProtocolError {
    /// The stable code, of the doors' one table.
    pub fn code(&self) -> Code {
        match self {
            Self::Issuance(error) => Code::named(error.code()).unwrap_or(Code::Internal),
            Self::ContentType { .. } => Code::MediaType,
            Self::Attestation { reason, .. } => {
                Code::named(reason).unwrap_or(Code::AttestationRefused)
            }
            Self::NoResource { .. } => Code::NotFound,
            Self::Method { .. } => Code::Method,
        }
    }

    /// The HTTP status of the code.
    pub fn status(&self) -> StatusCode {
        self.code().status()
    }

    /// The refusal that is told.
    pub fn problem(&self) -> Problem {
        let problem = Problem::new(self.code(), self.sentence());
        match self.retry_after() {
            Some(wait) => problem.retry_after(wait),
            None => problem,
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use hufu_issuance::LedgerFault;

    #[test]
    fn every_error_has_its_code_in_the_one_table() {
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
        let problem = error.problem();
        assert_eq!(problem.code().as_str(), "ek-untrusted");
        assert_eq!(problem.code().title(), "The attestation was refused");
        assert!(!problem.detail().contains("refused"));
    }
}
