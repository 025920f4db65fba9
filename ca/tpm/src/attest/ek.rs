//! Endorsement key certificates (TCG EK Credential Profile 2.5) and the
//! manufacturers whose roots are trusted.

use std::collections::BTreeMap;
use std::time::SystemTime;

use aws_lc_rs::digest;
use const_oid::ObjectIdentifier;

use super::limits::{MAX_CHAIN, MAX_MANUFACTURER_CERTIFICATES, MAX_PATH, MAX_PATH_SIGNATURES};
use super::requirements::check_endorsement_key;
use super::x509::{CertificateKey, ParsedCertificate};
use super::{AttestationError, Public};

/// `tcg-kp-EKCertificate`.
const EK_CERTIFICATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.8.1");
const TPM_MANUFACTURER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.2.1");
const TPM_MODEL: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.2.2");
const TPM_VERSION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.2.3");

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Why a file of manufacturers' certificates is refused. The operator mends
/// it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RootsError {
    /// A block is not a certificate.
    #[error("certificate {index} (counted from 1) is malformed: {reason}")]
    Malformed {
        /// Which one, counted from one.
        index: usize,
        /// What is wrong.
        reason: String,
    },
    /// A certificate is not one of an authority.
    #[error("certificate {index} (counted from 1), of {subject:?}, is not that of an authority")]
    NotAnAuthority {
        /// Which one, counted from one.
        index: usize,
        /// Its subject.
        subject: String,
    },
    /// There are too many.
    #[error("there are more than {MAX_MANUFACTURER_CERTIFICATES} manufacturer certificates")]
    TooMany,
    /// No certificate is self-issued.
    #[error("there is no root certificate (subject equal to issuer) among them")]
    NoRoot,
}

/// Certificates of TPM manufacturers.
///
/// Self-issued ones are trust anchors. The others help to build a path and are
/// not trusted by themselves: many TPMs hold only the EK certificate, and the
/// intermediates are published by the manufacturer.
#[derive(Clone, Debug, Default)]
pub struct ManufacturerRoots {
    anchors: BTreeMap<Vec<u8>, Vec<ParsedCertificate>>,
    intermediates: Vec<ParsedCertificate>,
}

/// An EK certificate that leads to a known root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedEk {
    /// SHA-256 of the certificate in DER.
    pub certificate_sha256: [u8; 32],
    /// Subject of the root it leads to (RFC 4514).
    pub root: String,
    /// `tpmManufacturer`, such as `id:49465800`, if the certificate says so.
    pub manufacturer: Option<String>,
    /// `tpmModel`, if the certificate says so.
    pub model: Option<String>,
    /// `tpmVersion`, the firmware's, if the certificate says so.
    pub version: Option<String>,
}

impl ManufacturerRoots {
    /// Reads a PEM bundle. Text between the certificates is skipped.
    ///
    /// # Errors
    /// [`RootsError`] names the certificate that is refused.
    pub fn from_pem(pem: &str) -> Result<Self, RootsError> {
        let mut roots = Self::default();
        let mut rest = pem;
        let mut index = 0;
        while let Some((_, from)) = rest.split_once(BEGIN) {
            index += 1;
            if index > MAX_MANUFACTURER_CERTIFICATES {
                return Err(RootsError::TooMany);
            }
            let malformed = |reason: String| RootsError::Malformed { index, reason };
            let (body, after) =
                from.split_once(END).ok_or_else(|| malformed("it has no END line".to_owned()))?;
            rest = after;
            let (_, bytes) = der::pem::decode_vec(format!("{BEGIN}{body}{END}\n").as_bytes())
                .map_err(|error| malformed(error.to_string()))?;
            let certificate = ParsedCertificate::from_der(&bytes).map_err(malformed)?;
            if !certificate.may_issue(0) {
                return Err(RootsError::NotAnAuthority {
                    index,
                    subject: certificate.subject_text(),
                });
            }
            if certificate.subject() == certificate.issuer() {
                roots.anchors.entry(certificate.subject().to_vec()).or_default().push(certificate);
            } else {
                roots.intermediates.push(certificate);
            }
        }
        if roots.anchors.is_empty() {
            return Err(RootsError::NoRoot);
        }
        Ok(roots)
    }

    /// How many roots are trusted.
    #[must_use]
    pub fn root_count(&self) -> usize {
        self.anchors.values().map(Vec::len).sum()
    }

    /// Checks that the first certificate of `chain` (DER; the others are
    /// intermediates in any order) is an EK certificate for `ek`, and that a
    /// path of at most [`MAX_PATH`] certificates, all valid at `now`, leads
    /// from it to a root.
    ///
    /// # Errors
    /// [`EkCertificateMalformed`], [`EkUntrusted`], [`EkExpired`], [`EkUsage`],
    /// [`EkAttributes`], [`EkMismatch`].
    ///
    /// [`EkCertificateMalformed`]: AttestationError::EkCertificateMalformed
    /// [`EkUntrusted`]: AttestationError::EkUntrusted
    /// [`EkExpired`]: AttestationError::EkExpired
    /// [`EkUsage`]: AttestationError::EkUsage
    /// [`EkAttributes`]: AttestationError::EkAttributes
    /// [`EkMismatch`]: AttestationError::EkMismatch
    pub fn verify_ek_certificate<C: AsRef<[u8]>>(
        &self,
        chain: &[C],
        ek: &Public,
        now: SystemTime,
    ) -> Result<VerifiedEk, AttestationError> {
        let malformed = |reason| AttestationError::EkCertificateMalformed { reason };
        if chain.is_empty() || chain.len() > MAX_CHAIN {
            return Err(malformed(format!(
                "it has {} certificates, 1 to {MAX_CHAIN} are read",
                chain.len()
            )));
        }
        let presented = chain
            .iter()
            .map(|certificate| ParsedCertificate::from_der(certificate.as_ref()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(malformed)?;
        let Some((leaf, others)) = presented.split_first() else {
            return Err(malformed("it is empty".to_owned()));
        };
        check_usage(leaf)?;
        check_endorsement_key(ek)?;
        check_same_key(leaf, ek)?;
        let root = self.find_root(leaf, others, now)?;

        let mut certificate_sha256 = [0; 32];
        let hash = digest::digest(&digest::SHA256, leaf.der());
        certificate_sha256.copy_from_slice(hash.as_ref());
        Ok(VerifiedEk {
            certificate_sha256,
            root,
            manufacturer: leaf.alternative_attribute(TPM_MANUFACTURER),
            model: leaf.alternative_attribute(TPM_MODEL),
            version: leaf.alternative_attribute(TPM_VERSION),
        })
    }

    fn find_root(
        &self,
        leaf: &ParsedCertificate,
        others: &[ParsedCertificate],
        now: SystemTime,
    ) -> Result<String, AttestationError> {
        if !leaf.is_valid_at(now) {
            return Err(AttestationError::EkExpired { subject: leaf.subject_text() });
        }
        let mut search = Search {
            roots: self,
            others,
            now,
            signatures_left: MAX_PATH_SIGNATURES,
            expired: None,
        };
        match (search.from(leaf, 0), search.expired) {
            (Some(root), _) => Ok(root.subject_text()),
            (None, Some(subject)) => Err(AttestationError::EkExpired { subject }),
            (None, None) => Err(AttestationError::EkUntrusted { issuer: leaf.issuer_text() }),
        }
    }
}

/// A bounded search for a path to a root.
struct Search<'a> {
    roots: &'a ManufacturerRoots,
    others: &'a [ParsedCertificate],
    now: SystemTime,
    signatures_left: usize,
    /// Subject of an authority that would have done but for its validity.
    expired: Option<String>,
}

impl<'a> Search<'a> {
    /// Follows `certificate`, which has `below` authorities between itself and
    /// the end entity (itself included, if it is one).
    fn from(
        &mut self,
        certificate: &ParsedCertificate,
        below: usize,
    ) -> Option<&'a ParsedCertificate> {
        let roots = self.roots;
        for root in roots.anchors.get(certificate.issuer()).into_iter().flatten() {
            if self.is_issued(certificate, root, below) {
                return Some(root);
            }
        }
        // The end entity, `below` authorities, one more, and the root.
        if below + 3 > MAX_PATH {
            return None;
        }
        for next in self.others.iter().chain(&roots.intermediates) {
            if next.subject() == certificate.issuer()
                && next.subject() != next.issuer()
                && self.is_issued(certificate, next, below)
                && let Some(root) = self.from(next, below + 1)
            {
                return Some(root);
            }
        }
        None
    }

    fn is_issued(
        &mut self,
        certificate: &ParsedCertificate,
        issuer: &ParsedCertificate,
        below: usize,
    ) -> bool {
        if !issuer.may_issue(below) {
            return false;
        }
        let Some(left) = self.signatures_left.checked_sub(1) else {
            return false;
        };
        self.signatures_left = left;
        if !certificate.is_signed_by(issuer) {
            return false;
        }
        if !issuer.is_valid_at(self.now) {
            self.expired = Some(issuer.subject_text());
            return false;
        }
        true
    }
}

/// Key usage (RSA: keyEncipherment; on a curve: keyAgreement), extended key
/// usage and basic constraints, each checked when present.
fn check_usage(leaf: &ParsedCertificate) -> Result<(), AttestationError> {
    let refuse = |reason| Err(AttestationError::EkUsage { reason });
    if !leaf.is_understood() {
        return refuse("it has an unknown critical extension");
    }
    if !leaf.is_end_entity() {
        return refuse("it is the certificate of an authority");
    }
    let Ok(usage) = leaf.key_usage() else {
        return refuse("its key usage cannot be read");
    };
    if let Some(usage) = usage {
        match leaf.key() {
            Some(CertificateKey::Rsa { .. }) if !usage.key_encipherment() => {
                return refuse("its key usage lacks keyEncipherment");
            }
            Some(CertificateKey::Ecc { .. }) if !usage.key_agreement() => {
                return refuse("its key usage lacks keyAgreement");
            }
            _ => {}
        }
    }
    match leaf.extended_key_usage() {
        Ok(None) => Ok(()),
        Ok(Some(usages)) if usages.contains(&EK_CERTIFICATE) => Ok(()),
        Ok(Some(_)) => refuse("its extended key usage lacks tcg-kp-EKCertificate (2.23.133.8.1)"),
        Err(()) => refuse("its extended key usage cannot be read"),
    }
}

fn check_same_key(leaf: &ParsedCertificate, ek: &Public) -> Result<(), AttestationError> {
    let same = match leaf.key() {
        Some(CertificateKey::Rsa { modulus, exponent }) => {
            ek.rsa().is_some_and(|(ek_modulus, ek_exponent)| {
                let bytes = ek_exponent.to_be_bytes();
                let from = bytes.iter().position(|byte| *byte != 0).unwrap_or(3);
                modulus == ek_modulus && Some(exponent.as_slice()) == bytes.get(from..)
            })
        }
        Some(CertificateKey::Ecc { curve, point }) => ek
            .uncompressed_point()
            .is_some_and(|(ek_curve, ek_point)| *curve == ek_curve && *point == ek_point),
        None => {
            return Err(AttestationError::EkUsage {
                reason: "its key is neither RSA nor on P-256 or P-384",
            });
        }
    };
    if same { Ok(()) } else { Err(AttestationError::EkMismatch) }
}

/// Checks that a certificate (DER) holds the key of a public area, and nothing
/// else: for a device that looks for its own EK.
///
/// # Errors
/// [`AttestationError::EkCertificateMalformed`], [`AttestationError::EkUsage`],
/// [`AttestationError::EkMismatch`].
pub fn certificate_is_for(certificate: &[u8], ek: &Public) -> Result<(), AttestationError> {
    let certificate = ParsedCertificate::from_der(certificate)
        .map_err(|reason| AttestationError::EkCertificateMalformed { reason })?;
    check_same_key(&certificate, ek)
}
