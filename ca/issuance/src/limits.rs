//! Every size limit of this crate, in one place.
//!
//! A limit is checked before the bytes are parsed, so that what a stranger
//! declares never decides how much is allocated.

use std::time::Duration;

/// Largest certification request, DER, in bytes. A P-384 request with a dozen
/// names is under 1 kB.
pub const CSR_DER: usize = 8 * 1024;

/// Largest text of a request, in bytes: base64, PEM, UTF-16, with words around it.
pub const REQUEST_TEXT: usize = 16 * 1024;

/// Largest certificate this crate parses, DER, in bytes.
pub const CERTIFICATE_DER: usize = 16 * 1024;

/// Largest PEM bundle, in bytes, and the most certificates in it.
pub const PEM_BUNDLE: usize = 256 * 1024;

/// Most certificates in one PEM bundle.
pub const PEM_CERTIFICATES: usize = 16;

/// Most relative distinguished names in a requested subject.
pub const SUBJECT_ATTRIBUTES: usize = 8;

/// Most characters in one subject attribute (RFC 5280 appendix A.1 `ub-name`
/// members that are used here are all 64, but country).
pub const SUBJECT_VALUE: usize = 64;

/// Most names in a requested subject alternative name.
pub const SAN_NAMES: usize = 16;

/// Most octets in one requested alternative name.
pub const SAN_VALUE: usize = 253;

/// Largest OCSP request, in bytes (over POST, or decoded from a GET path).
pub const OCSP_REQUEST: usize = 4 * 1024;

/// Most certificates asked for in one OCSP request.
pub const OCSP_CERTIFICATES: usize = 16;

/// Largest nonce echoed, in octets (RFC 9654 section 2.1).
pub const OCSP_NONCE: usize = 128;

/// Completed attestations remembered at once.
pub const ATTESTATIONS: usize = 65_536;

/// How long a completed attestation may be used for an enrolment.
pub const ATTESTATION_AGE: Duration = Duration::from_secs(600);

/// Most issuance entries in one ledger batch.
pub const BATCH: usize = 256;

/// Batches at work at once.
pub const BATCHES: usize = 8;

/// How long a batch waits to fill.
pub const BATCH_WAIT: Duration = Duration::from_millis(10);

/// Enrolments waiting for the ledger or the token before new ones get 503.
pub const IN_FLIGHT: usize = 4096;

/// Largest profile file, in bytes.
pub const PROFILE_FILE: usize = 16 * 1024;

/// Most octets in a member's name.
pub const MEMBER_NAME: usize = 64;

/// Largest revocation list of the root that is read back, DER, in bytes.
pub const ROOT_LIST: usize = 64 * 1024;
