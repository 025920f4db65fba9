//! Refusals of this door: problem documents with the codes of the one table.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use hufu_door::{Code, Problem};
use serde_json::Value;

use crate::ledger::LedgerFault;

/// The codes that this door answers with, but for those of its listener
/// (`busy`, `too-many-requests`) and of single certificates.
pub const CODES: &[Code] = &[
    Code::Anonymous,
    Code::CertificateRefused,
    Code::CertificateUnknown,
    Code::CertificateExpired,
    Code::CertificateRevoked,
    Code::NotAnAdministrator,
    Code::NotAnchored,
    Code::NotARegulator,
    Code::NotFound,
    Code::NotPermitted,
    Code::ForeignSigner,
    Code::OutsideJurisdiction,
    Code::QueryRefused,
    Code::QueryTooLarge,
    Code::ReportTooLarge,
    Code::RequestMalformed,
    Code::RequestTooLarge,
    Code::RequestTooSlow,
    Code::MediaType,
    Code::Method,
    Code::TransactionRefused,
    Code::TooManyRequests,
    Code::OverBudget,
    Code::FrontEnd,
    Code::Unavailable,
    Code::Busy,
    Code::Internal,
];

/// A refusal of this door.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiProblem(pub Problem);

impl ApiProblem {
    /// A problem of this code. The detail names the thing and the remedy.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Problem::new(code, detail))
    }

    /// Says when to try again, in whole seconds, at least one.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        Self(self.0.retry_after(wait))
    }

    /// Adds an extension member (RFC 9457 §3.2).
    #[must_use]
    pub fn with(self, name: &str, value: impl Into<Value>) -> Self {
        Self(self.0.with(name, value))
    }
}

impl From<Problem> for ApiProblem {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl IntoResponse for ApiProblem {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

impl From<LedgerFault> for ApiProblem {
    fn from(fault: LedgerFault) -> Self {
        let detail = fault.to_string();
        match fault {
            LedgerFault::NotFound(_) => Self::new(Code::NotFound, detail),
            LedgerFault::Future { executed, .. } => {
                Self::new(Code::NotFound, detail).with("applied_height", executed)
            }
            LedgerFault::Past { asked, kept_from } => {
                Self::new(Code::NotKept, detail).with("height", asked).with("kept_from", kept_from)
            }
            LedgerFault::NotPermitted(_) => Self::new(Code::NotPermitted, detail),
            LedgerFault::Pending => {
                Self::new(Code::NotAnchored, detail).retry_after(Duration::from_secs(1))
            }
            LedgerFault::Unavailable(_) => {
                Self::new(Code::Unavailable, detail).retry_after(Duration::from_secs(5))
            }
        }
    }
}

impl ApiProblem {
    /// What is wrong with a query, in this sentence.
    pub fn of_query(problem: &hufu_readmodel::Problem, detail: String) -> Self {
        use hufu_readmodel::{Problem, Untold};
        match problem {
            Problem::Limit { .. }
            | Problem::TooLong { .. }
            | Problem::Time { .. }
            | Problem::Memory => Self::new(Code::QueryTooLarge, detail),
            Problem::Withheld { untold: Untold::Owner, .. } => {
                Self::new(Code::NotPermitted, detail)
            }
            Problem::Withheld { .. } => Self::new(Code::OutsideJurisdiction, detail),
            Problem::Height { applied, .. } => {
                Self::new(Code::NotFound, detail).with("applied_height", *applied)
            }
            Problem::Gone(_) | Problem::Abandoned => {
                Self::new(Code::Unavailable, detail).retry_after(Duration::from_secs(1))
            }
            Problem::Fault(cause) => {
                tracing::error!(%cause, "the read model failed");
                Self::new(Code::Internal, "the read model failed; the log of this node says why")
            }
            _ => Self::new(Code::QueryRefused, detail),
        }
    }
}

impl From<hufu_readmodel::Problem> for ApiProblem {
    fn from(problem: hufu_readmodel::Problem) -> Self {
        Self::of_query(&problem, problem.to_string())
    }
}
