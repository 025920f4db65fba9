//! Problem documents (RFC 9457), and the one table of their codes.
//!
//! A code has one status and one title at every door. Codes are interface:
//! they are never renamed and never used again for something else.

use std::fmt;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

/// The media type (RFC 9457 §3).
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Has the stable code of a refusal, in every form of it.
pub const CODE_HEADER: HeaderName = HeaderName::from_static("hufu-code");

/// Has the sentence of a refusal that has no body.
pub const DETAIL_HEADER: HeaderName = HeaderName::from_static("hufu-reason");

macro_rules! codes {
    ($($variant:ident = $code:literal, $status:literal, $title:literal;)*) => {
        /// The stable code of a problem.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = concat!("`", $code, "`, ", stringify!($status), ": ", $title, ".")] $variant,)*
        }

        impl Code {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Code, HTTP status and title.
            const fn row(self) -> (&'static str, u16, &'static str) {
                match self { $(Self::$variant => ($code, $status, $title),)* }
            }
        }
    };
}

codes! {
    // Who asks.
    Anonymous = "anonymous", 401, "A client certificate of a member is needed";
    CredentialMissing = "credential-missing", 401, "A client certificate or token is needed";
    CertificateRefused = "certificate-refused", 403, "The client certificate is not accepted";
    CertificateUnknown = "certificate-unknown", 403, "The client certificate is not on the ledger";
    CertificateExpired = "certificate-expired", 403, "The client certificate is not valid now";
    CertificateRevoked = "certificate-revoked", 403, "The client certificate is revoked";
    RoleMissing = "role-missing", 403, "The client certificate lacks the role";
    NotAnAdministrator = "not-an-administrator", 403, "Only an administrator of this member may do this";
    NotARegulator = "not-a-regulator", 403, "Only a regulator may do this";
    NotPermitted = "not-permitted", 403, "The contract's policy does not permit this";
    OutsideJurisdiction = "outside-jurisdiction", 403, "Outside the regulator's jurisdiction";
    ForeignSigner = "foreign-signer", 403, "The transaction is signed by somebody else";
    CodeMissing = "code-missing", 401, "The one-time code is needed";
    CodeWrong = "code-wrong", 401, "The one-time code is not right";
    SetupClosed = "setup-closed", 403, "The setup endpoint is closed";
    // What is asked.
    RequestMalformed = "request-malformed", 400, "The request is not of the form it must have";
    RequestTooLarge = "request-too-large", 413, "The request is larger than it may be";
    RequestTooSlow = "request-too-slow", 408, "The request came in too slowly";
    MediaType = "media-type", 415, "The content type is not accepted";
    Method = "method", 405, "The method is not offered here";
    NotFound = "not-found", 404, "There is no such thing";
    // How much of it.
    TooManyRequests = "too-many-requests", 429, "The caller holds as much as one caller may";
    OverBudget = "over-budget", 429, "What may be recorded is used up for now";
    Busy = "busy", 503, "Too many requests wait";
    // The ledger and what is read from it.
    NotKept = "not-kept", 410, "This member does not keep it any more";
    NotAnchored = "not-anchored", 409, "No final header commits to this height yet";
    QueryRefused = "query-refused", 422, "The query is not accepted";
    QueryTooLarge = "query-too-large", 422, "The query needs more than it may";
    ReportTooLarge = "report-too-large", 422, "The report would be larger than a report may be";
    TransactionRefused = "transaction-refused", 422, "The transaction was refused";
    PackageRefused = "package-refused", 422, "The contract package does not pass";
    Conflict = "conflict", 409, "It contradicts what is there";
    // Certificates.
    CsrSignatureInvalid = "csr-signature-invalid", 400, "No proof of possession";
    CsrAlgorithmRefused = "csr-algorithm-refused", 400, "The algorithm is not accepted";
    CsrSubjectInvalid = "csr-subject-invalid", 400, "The subject breaks a rule";
    CsrExtensionRefused = "csr-extension-refused", 400, "A requested extension is refused";
    ProfileUnknown = "profile-unknown", 404, "No such profile";
    ProfileInvalid = "profile-invalid", 500, "A profile is invalid";
    QuotaExhausted = "quota-exhausted", 403, "The quota is used up";
    QuotaToday = "quota-today", 429, "The quota of today is used up";
    AttestationMissing = "attestation-missing", 403, "The key is not attested";
    AttestationRefused = "attestation-refused", 403, "The attestation was refused";
    KeyRevoked = "key-revoked", 403, "The key was revoked";
    KeyTaken = "key-taken", 409, "The key belongs to another";
    LintRefused = "lint-refused", 400, "The certificate would break a standard";
    LedgerRefused = "ledger-refused", 403, "The ledger refused the entry";
    AlreadyRevoked = "already-revoked", 409, "The certificate is revoked already";
    DeviceTaken = "device-taken", 403, "The device belongs to another";
    EnrolmentTokenOtherProfile = "enrolment-token-other-profile", 403, "The enrolment token is for another profile";
    EnrolmentTokenSpent = "enrolment-token-spent", 403, "The enrolment token is spent";
    RenewalRefused = "renewal-refused", 403, "The certificate cannot be renewed here";
    CertificateInvalid = "certificate-invalid", 400, "The certificate does not hold";
    NotTheAuthority = "not-the-authority", 404, "Another member runs the authority";
    // Attestation: the codes of the check, which devices' agents know.
    EkCertificateMalformed = "ek-certificate-malformed", 403, "The attestation was refused";
    EkUntrusted = "ek-untrusted", 403, "The attestation was refused";
    EkExpired = "ek-expired", 403, "The attestation was refused";
    EkUsage = "ek-usage", 403, "The attestation was refused";
    EkMalformed = "ek-malformed", 403, "The attestation was refused";
    EkAttributes = "ek-attributes", 403, "The attestation was refused";
    EkMismatch = "ek-mismatch", 403, "The attestation was refused";
    AkMalformed = "ak-malformed", 403, "The attestation was refused";
    AkNotRestricted = "ak-not-restricted", 403, "The attestation was refused";
    AkAttributes = "ak-attributes", 403, "The attestation was refused";
    KeyMalformed = "key-malformed", 403, "The attestation was refused";
    KeyNotFixedTpm = "key-not-fixed-tpm", 403, "The attestation was refused";
    KeyNotFixedParent = "key-not-fixed-parent", 403, "The attestation was refused";
    KeyImported = "key-imported", 403, "The attestation was refused";
    KeyAttributes = "key-attributes", 403, "The attestation was refused";
    KeyMismatch = "key-mismatch", 403, "The attestation was refused";
    AttestMalformed = "attest-malformed", 403, "The attestation was refused";
    SignatureMalformed = "signature-malformed", 403, "The attestation was refused";
    CertifySignature = "certify-signature", 403, "The attestation was refused";
    CertifyNonce = "certify-nonce", 403, "The attestation was refused";
    WrongSecret = "wrong-secret", 403, "The attestation was refused";
    ChallengeUnknown = "challenge-unknown", 403, "The attestation was refused";
    ChallengeSpent = "challenge-spent", 403, "The attestation was refused";
    ChallengeExpired = "challenge-expired", 403, "The attestation was refused";
    ChallengesFull = "challenges-full", 403, "The attestation was refused";
    Randomness = "randomness", 403, "The attestation was refused";
    Cryptography = "cryptography", 403, "The attestation was refused";
    // Setup and the machine.
    ConfigurationRefused = "configuration-refused", 422, "The configuration is not accepted";
    ConfigurationOnTrial = "configuration-on-trial", 409, "Another configuration is on trial";
    NoTrial = "no-trial", 409, "No configuration is on trial";
    WitnessesRefused = "witnesses-refused", 422, "The witnesses are not accepted";
    PinRefused = "pin-refused", 422, "The PIN is not accepted";
    CeremonyFailed = "ceremony-failed", 422, "The key ceremony did not succeed";
    CeremonyHeld = "ceremony-held", 409, "The key ceremony was held";
    GenesisRefused = "genesis-refused", 422, "The genesis file is not accepted";
    GenesisSet = "genesis-set", 409, "The machine has a genesis file";
    ChainRefused = "chain-refused", 422, "The certificate chain is not accepted";
    TooEarly = "too-early", 409, "Something else comes first";
    BackupRefused = "backup-refused", 422, "The backup cannot be made like this";
    ShareRefused = "share-refused", 422, "The share is not accepted";
    SharesMissing = "shares-missing", 409, "More shares are needed";
    RestoreRefused = "restore-refused", 422, "The backup is not accepted";
    MachineNotNew = "machine-not-new", 409, "The machine is not new";
    ResetRefused = "reset-refused", 422, "The reset is not accepted";
    ExtensionRefused = "extension-refused", 422, "The extension is not accepted";
    DiskRefused = "disk-refused", 422, "The disk is not accepted";
    UpgradeRefused = "upgrade-refused", 422, "The update is not accepted";
    NodeNotReady = "node-not-ready", 503, "The node does not answer yet";
    NoAppliance = "no-appliance", 404, "This node is not on an appliance";
    FrontEnd = "front-end", 421, "This front-end only reads; the member's validator does it";
    // Our own faults.
    LedgerUnavailable = "ledger-unavailable", 503, "The ledger is not available";
    TokenUnavailable = "token-unavailable", 503, "The token is not available";
    StoreFailed = "store-failed", 503, "The certificate store failed";
    Stopping = "stopping", 503, "The service is stopping";
    Unavailable = "unavailable", 503, "The service cannot answer now";
    Internal = "internal", 500, "A fault of our own";
}

impl Code {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The title, the same for every problem of this code.
    pub const fn title(self) -> &'static str {
        self.row().2
    }

    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        // A test meets every row.
        StatusCode::from_u16(self.row().1).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The code that is written so.
    pub fn named(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == text)
    }

    /// The code of a refusal of which only the status is known: one that a
    /// library gave.
    pub fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => Self::NotFound,
            StatusCode::METHOD_NOT_ALLOWED => Self::Method,
            StatusCode::PAYLOAD_TOO_LARGE => Self::RequestTooLarge,
            StatusCode::REQUEST_TIMEOUT => Self::RequestTooSlow,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::MediaType,
            StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable,
            status if status.is_client_error() => Self::RequestMalformed,
            _ => Self::Internal,
        }
    }

    /// How a client may say who it is, where nobody is known (RFC 9110
    /// §11.6.1).
    const fn challenge(self) -> Option<&'static str> {
        match self {
            Self::Anonymous => Some("Mutual"),
            Self::CredentialMissing => Some("Basic realm=\"enrolment\", charset=\"UTF-8\""),
            Self::CodeMissing | Self::CodeWrong => Some("Bearer"),
            _ => None,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A problem document.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    code: Code,
    detail: String,
    retry_after: Option<Duration>,
    more: Map<String, Value>,
}

impl Problem {
    /// A problem of this code. The detail names the thing and the remedy, and
    /// does not repeat the title.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), retry_after: None, more: Map::new() }
    }

    /// A request that is not of the form it must have.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(Code::RequestMalformed, detail)
    }

    /// A fault of our own, whose cause is told in the log only.
    pub fn internal(what: &str, cause: &dyn fmt::Display) -> Self {
        tracing::error!(%cause, "{what}");
        Self::new(Code::Internal, format!("{what}; the log of this machine says why"))
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

    /// Adds a remedy to the detail.
    #[must_use]
    pub fn advise(mut self, remedy: &str) -> Self {
        self.detail.push_str("; ");
        self.detail.push_str(remedy);
        self
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.code.status()
    }

    /// What is wrong, and the remedy.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Whether it passes by itself.
    pub fn is_temporary(&self) -> bool {
        self.retry_after.is_some()
    }

    /// The document.
    pub fn document(&self) -> Value {
        let mut document = json!({
            "type": format!("urn:hufu:problem:{}", self.code),
            "title": self.code.title(),
            "status": self.status().as_u16(),
            "detail": self.detail,
            "code": self.code.as_str(),
        });
        if let Value::Object(members) = &mut document {
            members.extend(self.more.clone());
        }
        document
    }

    /// The same as plain text, for EST (RFC 7030 §4.2.3) and OCSP. A 401 has no
    /// body: Bouncy Castle's client cannot close one that has.
    pub fn into_text(self) -> Response {
        let anonymous = self.status() == StatusCode::UNAUTHORIZED;
        let body = match anonymous {
            true => String::new(),
            false => format!("{}: {}\n", self.code, self.detail),
        };
        let mut response = (self.status(), body).into_response();
        let headers = response.headers_mut();
        if anonymous {
            headers.remove(header::CONTENT_TYPE);
            let printable: String =
                self.detail.chars().filter(|one| (' '..='~').contains(one)).collect();
            if let Ok(detail) = HeaderValue::from_str(&printable) {
                headers.insert(DETAIL_HEADER, detail);
            }
        } else {
            let kind = HeaderValue::from_static("text/plain; charset=utf-8");
            headers.insert(header::CONTENT_TYPE, kind);
        }
        self.finish(headers);
        response
    }

    fn finish(&self, headers: &mut HeaderMap) {
        headers.insert(CODE_HEADER, HeaderValue::from_static(self.code.as_str()));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        if let Some(challenge) = self.code.challenge() {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.code.title(), self.detail)
    }
}

impl std::error::Error for Problem {}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let kind = HeaderValue::from_static(MEDIA_TYPE);
        let document = self.document().to_string();
        let mut response =
            (self.status(), [(header::CONTENT_TYPE, kind)], document).into_response();
        self.finish(response.headers_mut());
        response
    }
}

/// An error and its causes in one sentence, each said once.
pub fn sentence(error: &(dyn std::error::Error + 'static)) -> String {
    let mut said = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let cause = error.to_string();
        if !said.contains(&cause) {
            if !said.is_empty() {
                said.push_str(": ");
            }
            said.push_str(&cause);
        }
        next = error.source();
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_errors() {
        for (index, code) in Code::ALL.iter().enumerate() {
            let (text, status, title) = code.row();
            assert!((400..600).contains(&status) && !title.is_empty());
            assert!(text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{text}");
            let twice = Code::ALL[index + 1..].iter().find(|other| other.as_str() == text);
            assert_eq!(twice, None, "{text} twice");
            assert_eq!(Code::named(text), Some(*code));
            assert_eq!(code.status().as_u16(), status);
            // RFC 9110 §15.5.2: a 401 says how to do better.
            assert_eq!(status == 401, code.challenge().is_some(), "{text}");
        }
    }

    #[test]
    fn every_code_is_documented() {
        let documented = include_str!("../../../docs/problems.md");
        for code in Code::ALL {
            let (text, status, title) = code.row();
            assert!(documented.contains(&format!("| `{text}` | {status} | {title} |")), "{text}");
        }
    }

    #[test]
    fn a_document_has_what_the_standard_asks_and_when_to_come_again() {
        let problem = Problem::new(Code::Busy, "four run")
            .retry_after(Duration::from_millis(10))
            .with("running", 4);
        let document = problem.document();
        assert_eq!(document["type"], "urn:hufu:problem:busy");
        assert_eq!((&document["status"], &document["running"]), (&503.into(), &4.into()));
        let response = problem.into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        assert_eq!(response.headers()[header::CONTENT_TYPE], MEDIA_TYPE);
    }

    #[test]
    fn an_unauthorised_text_has_no_body_and_its_reason_in_a_header() {
        let response = Problem::new(Code::CredentialMissing, "show\r\nsomething é").into_text();
        assert_eq!(response.headers()[DETAIL_HEADER], "showsomething ");
        assert_eq!(response.headers()[CODE_HEADER], "credential-missing");
        assert!(
            response.headers()[header::WWW_AUTHENTICATE].to_str().unwrap().starts_with("Basic")
        );
        assert_eq!(axum::body::HttpBody::size_hint(response.body()).exact(), Some(0));
    }
}
