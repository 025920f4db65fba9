//! Certificates of this authority, read strictly.

use der::asn1::ObjectIdentifier;
use der::{Decode, Encode};
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, KeyUsage, KeyUsages, SubjectKeyIdentifier,
};

use crate::algorithm::{PublicKey, SignatureAlgorithm, strict};
use crate::form::FormError;
use crate::names::{self, AlternativeName};
use crate::serial::Serial;
use crate::subject::{Subject, name_der};
use crate::time::UnixTime;
use crate::{limits, oid};

/// A certificate, parsed from strict DER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    tbs: Vec<u8>,
    inner: x509_cert::Certificate,
    public_key: PublicKey,
    serial: Serial,
}

impl Certificate {
    /// Parses DER.
    ///
    /// # Errors
    /// Too large, not DER, a key or signature of an algorithm that this
    /// authority does not use.
    pub fn from_der(der: &[u8]) -> Result<Certificate, FormError> {
        if der.len() > limits::CERTIFICATE_DER {
            return Err(FormError::TooLarge {
                what: "certificate",
                limit: limits::CERTIFICATE_DER,
            });
        }
        let inner: x509_cert::Certificate = strict("certificate", der)?;
        let tbs = inner.tbs_certificate();
        if tbs.signature() != inner.signature_algorithm() {
            return Err(FormError::malformed(
                "certificate",
                "signatureAlgorithm differs inside and outside the TBSCertificate",
            ));
        }
        SignatureAlgorithm::from_identifier(inner.signature_algorithm())?;
        let spki = tbs.subject_public_key_info().to_der().map_err(FormError::encoding)?;
        let public_key = PublicKey::from_spki_der(&spki)?;
        let serial = Serial::from_bytes(tbs.serial_number().as_bytes())?;
        let tbs = tbs.to_der().map_err(FormError::encoding)?;
        Ok(Certificate { der: der.to_vec(), tbs, public_key, serial, inner })
    }

    /// The certificate, DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The TBSCertificate, DER: what the ledger entry holds.
    pub fn tbs(&self) -> &[u8] {
        &self.tbs
    }

    /// The subject's key.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The serial number.
    pub fn serial(&self) -> &Serial {
        &self.serial
    }

    /// Start of validity (inclusive).
    pub fn not_before(&self) -> UnixTime {
        UnixTime::from_x509(&self.inner.tbs_certificate().validity().not_before)
    }

    /// End of validity (inclusive).
    pub fn not_after(&self) -> UnixTime {
        UnixTime::from_x509(&self.inner.tbs_certificate().validity().not_after)
    }

    /// The subject.
    pub fn subject(&self) -> Result<Subject, FormError> {
        Subject::from_name(self.inner.tbs_certificate().subject())
    }

    /// The subject's Name, DER.
    pub fn subject_der(&self) -> Result<Vec<u8>, FormError> {
        name_der(self.inner.tbs_certificate().subject())
    }

    /// The issuer's Name, DER.
    pub fn issuer_der(&self) -> Result<Vec<u8>, FormError> {
        name_der(self.inner.tbs_certificate().issuer())
    }

    /// Alternative names; none if there is no such extension.
    pub fn alternative_names(&self) -> Result<Vec<AlternativeName>, FormError> {
        self.extension(&oid::SUBJECT_ALT_NAME).map_or(Ok(Vec::new()), names::parse)
    }

    /// Whether basicConstraints says cA.
    pub fn is_authority(&self) -> Result<bool, FormError> {
        let Some(value) = self.extension(&oid::BASIC_CONSTRAINTS) else { return Ok(false) };
        BasicConstraints::from_der(value)
            .map(|constraints| constraints.ca)
            .map_err(|error| FormError::malformed("basicConstraints", error))
    }

    /// Whether keyUsage allows signing certificates.
    pub fn may_sign_certificates(&self) -> Result<bool, FormError> {
        let Some(value) = self.extension(&oid::KEY_USAGE) else { return Ok(false) };
        KeyUsage::from_der(value)
            .map(|usage| usage.0.contains(KeyUsages::KeyCertSign))
            .map_err(|error| FormError::malformed("keyUsage", error))
    }

    /// The subjectKeyIdentifier.
    pub fn subject_key_identifier(&self) -> Result<Option<Vec<u8>>, FormError> {
        let Some(value) = self.extension(&oid::SUBJECT_KEY_IDENTIFIER) else { return Ok(None) };
        SubjectKeyIdentifier::from_der(value)
            .map(|identifier| Some(identifier.0.as_bytes().to_vec()))
            .map_err(|error| FormError::malformed("subjectKeyIdentifier", error))
    }

    /// The keyIdentifier of the authorityKeyIdentifier.
    pub fn authority_key_identifier(&self) -> Result<Option<Vec<u8>>, FormError> {
        let Some(value) = self.extension(&oid::AUTHORITY_KEY_IDENTIFIER) else { return Ok(None) };
        AuthorityKeyIdentifier::from_der(value)
            .map(|identifier| identifier.key_identifier.map(|key| key.as_bytes().to_vec()))
            .map_err(|error| FormError::malformed("authorityKeyIdentifier", error))
    }

    /// Whether the signature is by `key`.
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        let Ok(algorithm) = SignatureAlgorithm::from_identifier(self.inner.signature_algorithm())
        else {
            return false;
        };
        self.inner
            .signature()
            .as_bytes()
            .is_some_and(|signature| key.verify(algorithm, &self.tbs, signature))
    }

    pub(crate) fn extension(&self, identifier: &ObjectIdentifier) -> Option<&[u8]> {
        self.inner
            .tbs_certificate()
            .extensions()?
            .iter()
            .find(|extension| extension.extn_id == *identifier)
            .map(|extension| extension.extn_value.as_bytes())
    }

    /// Checks that `self` is an authority's certificate that signed `child`.
    ///
    /// # Errors
    /// Which of it does not hold.
    pub fn check_signed(&self, child: &Certificate) -> Result<(), FormError> {
        let wrong = |detail: &str| Err(FormError::Certificate(detail.to_owned()));
        if child.issuer_der()? != self.subject_der()? {
            return wrong("its issuer is another authority");
        }
        if !self.is_authority()? || !self.may_sign_certificates()? {
            return wrong("its issuer's certificate may not sign certificates");
        }
        if let Some(identifier) = child.authority_key_identifier()?
            && self.subject_key_identifier()?.is_some_and(|own| own != identifier)
        {
            return wrong("its authorityKeyIdentifier names another key");
        }
        if !child.is_signed_by(&self.public_key) {
            return wrong("its signature is not by its issuer's key");
        }
        Ok(())
    }
}
