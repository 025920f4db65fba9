//! PKCS#10 certification requests (RFC 2986): parsed strictly, proved, and
//! reduced to what a profile may look at.
//!
//! A request is only a request: the subject and alternative names are looked
//! at by the profile, key usages that were asked for are the profile's own
//! business, and anything that would make an authority is refused loudly
//! rather than dropped.

use der::oid::ObjectIdentifier;
use der::{Decode, Encode};
use x509_cert::ext::Extensions;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, KeyUsages};
use x509_cert::request::CertReq;

use crate::algorithm::{PublicKey, SignatureAlgorithm, strict};
use crate::error::CaError;
use crate::names::{self, AlternativeName};
use crate::subject::Subject;
use crate::{limits, oid};

/// A request whose signature was verified with the key inside it.
#[derive(Clone, Debug)]
pub struct CertificationRequest {
    subject: Subject,
    public_key: PublicKey,
    alternative_names: Vec<AlternativeName>,
    der: Vec<u8>,
}

impl CertificationRequest {
    /// Parses DER and verifies the proof of possession.
    ///
    /// # Errors
    /// Too large, not DER, an algorithm other than P-256, P-384 or Ed25519, a
    /// signature by another key, a subject or extension that breaks a rule.
    pub fn from_der(der: &[u8]) -> Result<CertificationRequest, CaError> {
        if der.len() > limits::CSR_DER {
            return Err(CaError::TooLarge {
                what: "certification request",
                limit: limits::CSR_DER,
            });
        }
        let request: CertReq = strict("certification request", der)?;
        let spki = request
            .info
            .public_key
            .to_der()
            .map_err(|error| CaError::malformed("subjectPublicKeyInfo", error))?;
        // The key before the signature: RSA is refused by name.
        let public_key = PublicKey::from_spki_der(&spki)?;
        let algorithm = SignatureAlgorithm::from_identifier(&request.algorithm)?;
        let signed = request
            .info
            .to_der()
            .map_err(|error| CaError::malformed("certificationRequestInfo", error))?;
        let signature = request
            .signature
            .as_bytes()
            .ok_or_else(|| CaError::malformed("signature", "unused bits"))?;
        if !public_key.verify(algorithm, &signed, signature) {
            return Err(CaError::ProofOfPossession);
        }
        let subject = Subject::from_name(&request.info.subject)?;
        let alternative_names = requested_names(&request)?;
        Ok(CertificationRequest { subject, public_key, alternative_names, der: der.to_vec() })
    }

    /// The requested subject.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The key to be certified.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The requested alternative names.
    pub fn alternative_names(&self) -> &[AlternativeName] {
        &self.alternative_names
    }

    /// The request as it came.
    pub fn der(&self) -> &[u8] {
        &self.der
    }
}

fn requested_names(request: &CertReq) -> Result<Vec<AlternativeName>, CaError> {
    let mut found = None;
    for attribute in request.info.attributes.iter() {
        // Other attributes (challengePassword, unstructuredName) may stand
        // there and mean nothing here, as RFC 2986 section 4.1 allows.
        if attribute.oid != oid::EXTENSION_REQUEST {
            continue;
        }
        let value = match (attribute.values.len(), attribute.values.get(0)) {
            (1, Some(value)) if found.is_none() => value,
            _ => {
                return Err(CaError::malformed(
                    "extensionRequest",
                    "must stand once, with one value",
                ));
            }
        };
        let extensions: Extensions =
            value.decode_as().map_err(|error| CaError::malformed("extensionRequest", error))?;
        found = Some(extensions);
    }
    let mut alternative_names = Vec::new();
    let mut seen = Vec::<ObjectIdentifier>::new();
    for extension in found.unwrap_or_default() {
        if seen.contains(&extension.extn_id) {
            return Err(refused(&extension.extn_id, "stands twice; give it once"));
        }
        seen.push(extension.extn_id);
        let value = extension.extn_value.as_bytes();
        match extension.extn_id {
            oid::SUBJECT_ALT_NAME => alternative_names = names::parse(value)?,
            oid::BASIC_CONSTRAINTS => {
                let constraints = BasicConstraints::from_der(value)
                    .map_err(|_| refused(&extension.extn_id, "does not decode"))?;
                if constraints.ca || constraints.path_len_constraint.is_some() {
                    return Err(refused(
                        &extension.extn_id,
                        "asks for an authority's certificate; leave it out or say CA:FALSE",
                    ));
                }
            }
            oid::KEY_USAGE => {
                let usage = KeyUsage::from_der(value)
                    .map_err(|_| refused(&extension.extn_id, "does not decode"))?;
                if usage.0.contains(KeyUsages::KeyCertSign) || usage.0.contains(KeyUsages::CRLSign)
                {
                    return Err(refused(
                        &extension.extn_id,
                        "asks for keyCertSign or cRLSign, which only the ceremony gives; leave them out",
                    ));
                }
            }
            // What the profile sets anyway may be named in a request.
            oid::EXTENDED_KEY_USAGE | oid::SUBJECT_KEY_IDENTIFIER => {}
            _ => {
                return Err(refused(
                    &extension.extn_id,
                    "is not certified here; leave it out (subjectAltName is the one that is read)",
                ));
            }
        }
    }
    Ok(alternative_names)
}

fn refused(extension: &ObjectIdentifier, detail: &str) -> CaError {
    CaError::Extension { extension: oid::name_of(extension), detail: detail.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request() -> &'static [u8] {
        static REQUEST: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        REQUEST.get_or_init(|| {
            let key = rcgen::KeyPair::generate().unwrap();
            let names = vec!["a.example.org".to_owned()];
            let mut parameters = rcgen::CertificateParams::new(names).unwrap();
            parameters.distinguished_name.push(rcgen::DnType::OrganizationName, "maker");
            parameters.serialize_request(&key).unwrap().der().to_vec()
        })
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(CertificationRequest::from_der(&bytes).is_err());
        }

        #[test]
        fn a_request_with_changed_bytes_is_refused(
            changes in proptest::collection::vec((any::<usize>(), 1u8..), 1..4)
        ) {
            let mut altered = request().to_vec();
            for (position, change) in changes {
                let position = position % altered.len();
                altered[position] ^= change;
            }
            let outcome = CertificationRequest::from_der(&altered);
            prop_assert!(altered == request() || outcome.is_err());
        }

        #[test]
        fn bytes_cut_out_or_put_in_are_refused(at in any::<usize>(), cut in 0usize..20, put in proptest::collection::vec(any::<u8>(), 0..20)) {
            let mut altered = request().to_vec();
            let at = at % altered.len();
            let end = (at + cut).min(altered.len());
            altered.splice(at..end, put);
            let outcome = CertificationRequest::from_der(&altered);
            prop_assert!(altered == request() || outcome.is_err());
        }
    }

    #[test]
    fn a_request_says_what_it_asks_for() {
        let request = CertificationRequest::from_der(request()).unwrap();
        assert_eq!(request.alternative_names(), [AlternativeName::Dns("a.example.org".to_owned())]);
        assert_eq!(request.subject().to_text(), "O=maker,CN=rcgen self signed cert");
    }
}
