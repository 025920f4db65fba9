//! What the machine refuses in setup and of its configuration: problem documents (RFC 9457) with stable
//! codes. Each detail names the field and the remedy.

use std::fmt;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Code, HTTP status and title of every problem. Codes are never reused.
pub const PROBLEMS: &[(&str, u16, &str)] = &[
    ("code-missing", 401, "The one-time code is needed"),
    ("code-wrong", 401, "The one-time code is not right"),
    ("setup-closed", 403, "The setup endpoint is closed"),
    ("request-malformed", 400, "The request is not of the form it must have"),
    ("request-too-large", 413, "The request is larger than it may be"),
    ("media-type", 415, "The content type is not accepted"),
    ("not-found", 404, "There is no such thing"),
    ("method", 405, "The method is not offered here"),
    ("configuration-refused", 422, "The configuration is not accepted"),
    ("configuration-on-trial", 409, "Another configuration is on trial"),
    ("no-trial", 409, "No configuration is on trial"),
    ("witnesses-refused", 422, "The witnesses are not accepted"),
    ("pin-refused", 422, "The PIN is not accepted"),
    ("ceremony-failed", 422, "The key ceremony did not succeed"),
    ("ceremony-held", 409, "The key ceremony was held"),
    ("genesis-refused", 422, "The genesis file is not accepted"),
    ("genesis-set", 409, "The machine has a genesis file"),
    ("certificate-refused", 422, "The certificate is not accepted"),
    ("too-early", 409, "Something else comes first"),
    ("backup-refused", 422, "The backup cannot be made like this"),
    ("share-refused", 422, "The share is not accepted"),
    ("shares-missing", 409, "More shares are needed"),
    ("restore-refused", 422, "The backup is not accepted"),
    ("machine-not-new", 409, "The machine is not new"),
    ("reset-refused", 422, "The reset is not accepted"),
    ("node-not-ready", 503, "The node does not answer yet"),
    ("extension-refused", 422, "The extension is not accepted"),
    ("disk-refused", 422, "The disk is not accepted"),
    ("internal", 500, "A fault of this machine"),
];

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    code: &'static str,
    detail: String,
    retry_after: Option<Duration>,
}

impl Problem {
    /// A problem of this code, which is in [`PROBLEMS`].
    pub fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), retry_after: None }
    }

    /// A fault of this machine: told in the log, and here in short.
    pub fn internal(error: &anyhow::Error) -> Self {
        tracing::error!(error = format!("{error:#}"), "setup");
        Self::new("internal", format!("{error:#}"))
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Whether it passes by itself.
    pub fn is_temporary(&self) -> bool {
        self.retry_after.is_some()
    }

    fn row(&self) -> (&'static str, u16, &'static str) {
        let found = PROBLEMS.iter().find(|row| row.0 == self.code);
        // A test meets every code of the source in the table.
        *found.unwrap_or(&("internal", 500, "A fault of this machine"))
    }

    /// The stable code.
    #[cfg(test)]
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// What is wrong, and the remedy.
    #[cfg(test)]
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.row().2, self.detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (code, status, title) = self.row();
        let document = json!({
            "type": format!("urn:hufu:problem:{code}"),
            "title": title,
            "status": status,
            "detail": self.detail,
            "code": code,
        });
        let kind = HeaderValue::from_static("application/problem+json");
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response =
            (status, [(header::CONTENT_TYPE, kind)], document.to_string()).into_response();
        let headers = response.headers_mut();
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_documented_with_its_status() {
        let documentation = include_str!("../../../docs/appliance.md");
        for (code, status, _) in PROBLEMS {
            assert!(documentation.contains(&format!("| `{code}` | {status}: ")), "{code}");
        }
    }

    #[test]
    fn every_code_in_the_source_is_in_the_table_once() {
        let mut met = 0;
        for source in [
            include_str!("problem.rs"),
            include_str!("provision.rs"),
            include_str!("endpoint.rs"),
            include_str!("extension.rs"),
            include_str!("install.rs"),
            include_str!("configuration.rs"),
            include_str!("backup/mod.rs"),
            include_str!("backup/restore.rs"),
            include_str!("reset/mod.rs"),
        ] {
            let source = source.split("#[cfg(test)]\nmod tests").next().unwrap();
            for part in source.split("Problem::new(").skip(1) {
                let Some(code) = part.trim_start().strip_prefix('"') else { continue };
                let code = code.split('"').next().unwrap();
                let rows = PROBLEMS.iter().filter(|row| row.0 == code).count();
                assert_eq!(rows, 1, "{code}");
                met += 1;
            }
        }
        assert!(met > 15, "{met}");
    }
}
