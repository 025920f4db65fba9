//! Problem documents (RFC 9457), and the one table of their codes.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::ledger::LedgerFault;

/// The media type (RFC 9457 §3).
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Code, HTTP status and title of every problem. Codes are never reused.
pub const PROBLEMS: &[(&str, u16, &str)] = &[
    ("anonymous", 401, "A client certificate of a member is needed"),
    ("certificate-refused", 403, "The client certificate is not accepted"),
    ("not-an-administrator", 403, "Only an administrator of this member may do this"),
    ("not-anchored", 409, "No final header commits to this height yet"),
    ("not-a-regulator", 403, "Only a regulator may do this"),
    ("not-found", 404, "There is no such thing"),
    ("not-permitted", 403, "The contract's policy does not permit this"),
    ("outside-jurisdiction", 403, "Outside the regulator's jurisdiction"),
    ("query-refused", 422, "The query is not accepted"),
    ("query-too-large", 422, "The query needs more than it may"),
    ("report-too-large", 422, "The report would be larger than a report may be"),
    ("request-malformed", 400, "The request is not of the form it must have"),
    ("request-too-large", 413, "The request is larger than it may be"),
    ("media-type", 415, "The content type is not accepted"),
    ("method", 405, "The method is not offered here"),
    ("transaction-refused", 422, "The transaction was refused"),
    ("unavailable", 503, "The service cannot answer now"),
    ("busy", 503, "Too many requests wait"),
    ("internal", 500, "A fault of this node"),
];

/// A problem document.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiProblem {
    code: &'static str,
    detail: String,
    retry_after: Option<Duration>,
    more: Map<String, Value>,
}

impl ApiProblem {
    /// A problem of this code, which is in [`PROBLEMS`]. The detail names the
    /// thing and the remedy.
    pub fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), retry_after: None, more: Map::new() }
    }

    /// Says when to try again, in whole seconds, at least one.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Adds an extension member (RFC 9457 §3.2).
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.row().1).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn row(&self) -> (&'static str, u16, &'static str) {
        let found = PROBLEMS.iter().find(|row| row.0 == self.code);
        // The test of the table meets every code that the source uses.
        *found.unwrap_or(&("internal", 500, "A fault of this node"))
    }
}

impl IntoResponse for ApiProblem {
    fn into_response(self) -> Response {
        let (code, status, title) = self.row();
        let mut document = json!({
            "type": format!("urn:hufu:problem:{code}"),
            "title": title,
            "status": status,
            "detail": self.detail,
            "code": code,
        });
        if let Value::Object(members) = &mut document {
            members.extend(self.more.clone());
        }
        let kind = HeaderValue::from_static(MEDIA_TYPE);
        let mut response =
            (self.status(), [(header::CONTENT_TYPE, kind)], document.to_string()).into_response();
        if let Some(wait) = self.retry_after {
            let seconds = HeaderValue::from(wait.as_secs().max(1));
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        if code == "anonymous" {
            let scheme = HeaderValue::from_static("Mutual");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

impl From<LedgerFault> for ApiProblem {
    fn from(fault: LedgerFault) -> Self {
        let detail = fault.to_string();
        match fault {
            LedgerFault::NotFound(_) => Self::new("not-found", detail),
            LedgerFault::NotPermitted(_) => Self::new("not-permitted", detail),
            LedgerFault::Refused(outcome) => {
                Self::new("transaction-refused", detail).with("outcome", outcome.code())
            }
            LedgerFault::Busy { retry_after } => Self::new("busy", detail).retry_after(retry_after),
            LedgerFault::Pending => {
                Self::new("not-anchored", detail).retry_after(Duration::from_secs(1))
            }
            LedgerFault::Unavailable(_) => {
                Self::new("unavailable", detail).retry_after(Duration::from_secs(5))
            }
        }
    }
}

impl From<hufu_readmodel::Problem> for ApiProblem {
    fn from(problem: hufu_readmodel::Problem) -> Self {
        use hufu_readmodel::Problem;
        let detail = problem.to_string();
        match problem {
            Problem::Limit { .. } | Problem::TooLong { .. } => Self::new("query-too-large", detail),
            Problem::Height { applied, .. } => {
                Self::new("not-found", detail).with("applied_height", applied)
            }
            Problem::Fault(cause) => {
                tracing::error!(%cause, "the read model failed");
                Self::new("internal", "the read model failed; the log of this node says why")
            }
            _ => Self::new("query-refused", detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_errors() {
        for (index, (code, status, title)) in PROBLEMS.iter().enumerate() {
            assert!((400..600).contains(status) && !title.is_empty());
            assert!(PROBLEMS[index + 1..].iter().all(|other| other.0 != *code), "{code} twice");
        }
    }

    #[test]
    fn every_code_in_the_source_is_in_the_table() {
        let sources = [
            include_str!("problem.rs"),
            include_str!("routes.rs"),
            include_str!("run.rs"),
            include_str!("answer.rs"),
            include_str!("submit.rs"),
        ];
        let mut met = 0;
        for source in sources {
            // This very test speaks of the call as well.
            let source = source.split("#[cfg(test)]").next().unwrap();
            for part in source.split("ApiProblem::new(").skip(1) {
                let Some(code) = part.trim_start().strip_prefix('"') else { continue };
                let code = code.split('"').next().unwrap();
                assert!(PROBLEMS.iter().any(|row| row.0 == code), "{code} is not in the table");
                met += 1;
            }
        }
        assert!(met > 10);
    }
}
