//! What a refusal of issuance is over HTTP: a code of the doors' one table, and a
//! sentence.

use hufu_door::{Code, Problem};
use hufu_issuance::{CaError, FormError, StoreError};

/// The problem that an error of issuance is told as.
pub fn problem(error: &CaError) -> Problem {
    let code = Code::named(error.code()).unwrap_or(Code::Internal);
    let problem = Problem::new(code, error.sentence());
    match error.retry_after() {
        Some(wait) => problem.retry_after(wait),
        None => problem,
    }
}

/// Why a request came to nothing: by issuance's rules, or by the protocol's own.
#[derive(Debug)]
pub(crate) enum Refused {
    Issuance(CaError),
    Protocol(Problem),
}

impl From<CaError> for Refused {
    fn from(error: CaError) -> Self {
        Self::Issuance(error)
    }
}

impl From<FormError> for Refused {
    fn from(error: FormError) -> Self {
        Self::Issuance(error.into())
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Issuance(error.into())
    }
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self::Protocol(problem)
    }
}

impl Refused {
    /// The problem that is told.
    pub(crate) fn problem(&self) -> Problem {
        match self {
            Self::Issuance(error) => problem(error),
            Self::Protocol(problem) => problem.clone(),
        }
    }

    /// Logs it, once, at the edge, with its causes, which nobody is told.
    pub(crate) fn log(&self, service: &'static str, who: &str) {
        let error = match self {
            Self::Protocol(problem) => {
                let (code, detail) = (problem.code(), problem.detail());
                return tracing::warn!(service, who, %code, "refused: {detail}");
            }
            Self::Issuance(error) => error,
        };
        let mut causes = String::new();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            causes.push_str(": ");
            causes.push_str(&cause.to_string());
            source = cause.source();
        }
        if error.is_ours() {
            tracing::error!(service, who, code = error.code(), "{error}{causes}");
        } else {
            tracing::warn!(service, who, code = error.code(), "refused: {error}{causes}");
        }
    }

    /// The problem that is told, logged.
    pub(crate) fn tell(self, service: &'static str, who: &str) -> Problem {
        self.log(service, who);
        self.problem()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hufu_issuance::LedgerFault;

    #[test]
    fn every_error_has_its_code_in_the_one_table() {
        let status = |error: CaError| problem(&error).status().as_u16();
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
            assert_eq!(error.is_ours(), problem(&error).status().is_server_error(), "{error}");
        }
    }
}
