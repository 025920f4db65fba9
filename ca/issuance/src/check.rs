//! Offline check of a certificate, for `hufu verify`: is it under the given
//! hierarchy, what does it say, and which bytes does the ledger entry hold.
//!
//! Time is not looked at: whether it was valid and not revoked at some moment
//! is for the caller, who has the ledger's word for both.

use hufu_proof::Role;

use crate::algorithm::{PublicKey, sha256};
use crate::certificate::Certificate;
use crate::form::FormError;
use crate::names::AlternativeName;
use crate::requester::member_and_roles;
use crate::serial::Serial;
use crate::subject::Subject;
use crate::time::UnixTime;

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateSummary {
    /// Serial number.
    pub serial: Serial,
    /// Subject, RFC 4514 text.
    pub subject: String,
    /// Issuer, RFC 4514 text.
    pub issuer: String,
    /// Start of validity (inclusive).
    pub not_before: UnixTime,
    /// End of validity (inclusive).
    pub not_after: UnixTime,
    /// The subject's key.
    pub public_key: PublicKey,
    /// Alternative names.
    pub alternative_names: Vec<AlternativeName>,
    /// Member and roles, if it is a member's.
    pub member: Option<(String, Vec<Role>)>,
    /// SHA-256 of the certificate, DER.
    pub sha256: [u8; 32],
}

/// Checks that `certificate` is signed by `issuing`, that by `root`, and that
/// by itself; returns what it says and its TBSCertificate (DER), to be compared
/// with the issuance entry on the ledger.
///
/// # Errors
/// Which of the three does not hold, and why.
pub fn check_certificate(
    certificate: &[u8],
    issuing: &[u8],
    root: &[u8],
) -> Result<(CertificateSummary, Vec<u8>), FormError> {
    let of = |name: &str, error: FormError| match error {
        FormError::Certificate(detail) => FormError::Certificate(format!("{name}: {detail}")),
        other => FormError::Certificate(format!("{name}: {other}")),
    };
    let root = Certificate::from_der(root).map_err(|error| of("root certificate", error))?;
    let issuing =
        Certificate::from_der(issuing).map_err(|error| of("issuing certificate", error))?;
    let certificate =
        Certificate::from_der(certificate).map_err(|error| of("certificate", error))?;
    root.check_signed(&root).map_err(|error| of("root certificate", error))?;
    root.check_signed(&issuing).map_err(|error| of("issuing certificate", error))?;
    issuing.check_signed(&certificate).map_err(|error| of("certificate", error))?;
    let summary = CertificateSummary {
        serial: certificate.serial().clone(),
        subject: certificate.subject()?.to_text(),
        issuer: Subject::from_der(&certificate.issuer_der()?)?.to_text(),
        not_before: certificate.not_before(),
        not_after: certificate.not_after(),
        public_key: certificate.public_key().clone(),
        alternative_names: certificate.alternative_names()?,
        member: member_and_roles(&certificate)?,
        sha256: sha256(certificate.der()),
    };
    Ok((summary, certificate.tbs().to_vec()))
}

/// The public key in a certificate (DER), without checking anything else.
pub fn public_key_of(certificate: &[u8]) -> Result<PublicKey, FormError> {
    Ok(Certificate::from_der(certificate)?.public_key().clone())
}
