//! OCSP requests (RFC 6960 section 4.1).

use der::asn1::{Any, ObjectIdentifier, OctetString};
use der::{Decode, Encode, Enumerated, Sequence};
use hufu_issuance::{FormError, limits, oid};
use spki::AlgorithmIdentifierOwned;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::{Extension, Extensions};
use x509_cert::serial_number::SerialNumber;

/// Version; there is only one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumerated)]
#[asn1(type = "INTEGER")]
#[repr(u8)]
pub enum Version {
    /// v1
    #[default]
    V1 = 0,
}

/// OCSPRequest.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct OcspRequest {
    /// What is asked.
    pub tbs_request: TbsRequest,
    /// The asker's signature, which is not looked at: status is public.
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    pub optional_signature: Option<Any>,
}

/// TBSRequest.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct TbsRequest {
    /// v1
    #[asn1(context_specific = "0", default = "Default::default", tag_mode = "EXPLICIT")]
    pub version: Version,
    /// Who asks.
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    pub requestor_name: Option<GeneralName>,
    /// About which certificates.
    pub request_list: Vec<SingleRequest>,
    /// Nonce and others.
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT", optional = "true")]
    pub request_extensions: Option<Extensions>,
}

/// Request.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct SingleRequest {
    /// About which certificate.
    pub req_cert: CertId,
    /// Extensions for this one.
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    pub single_request_extensions: Option<Extensions>,
}

/// CertID.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct CertId {
    /// With which the two hashes were made.
    pub hash_algorithm: AlgorithmIdentifierOwned,
    /// Of the issuer's Name, DER.
    pub issuer_name_hash: OctetString,
    /// Of the issuer's key, without tag, length and unused bits.
    pub issuer_key_hash: OctetString,
    /// The certificate's serial number.
    pub serial_number: SerialNumber,
}

/// A request that keeps the limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// About which certificates, 1 to [`limits::OCSP_CERTIFICATES`].
    pub certificates: Vec<CertId>,
    /// The nonce extension's value (an OCTET STRING, DER), to be echoed.
    pub nonce: Option<Vec<u8>>,
}

impl Request {
    /// Parses DER.
    ///
    /// # Errors
    /// Too large, not DER, no certificate or too many, a nonce that is empty
    /// or longer than 128 octets (RFC 9654 section 2.1), an unknown critical
    /// extension.
    pub fn from_der(der: &[u8]) -> Result<Request, FormError> {
        const WHAT: &str = "OCSP request";
        if der.len() > limits::OCSP_REQUEST {
            return Err(FormError::TooLarge { what: WHAT, limit: limits::OCSP_REQUEST });
        }
        let request =
            OcspRequest::from_der(der).map_err(|error| FormError::malformed(WHAT, error))?;
        let asked = request.tbs_request.request_list.len();
        if asked == 0 || asked > limits::OCSP_CERTIFICATES {
            return Err(FormError::malformed(
                WHAT,
                format!(
                    "asks about {asked} certificates; 1 to {} are answered",
                    limits::OCSP_CERTIFICATES
                ),
            ));
        }
        let mut nonce = None;
        for extension in request.tbs_request.request_extensions.iter().flatten() {
            if extension.extn_id == oid::OCSP_NONCE {
                if nonce.is_some() {
                    return Err(FormError::malformed(WHAT, "holds two nonces"));
                }
                nonce = Some(nonce_of(extension)?);
            } else {
                refuse_critical(extension)?;
            }
        }
        let mut certificates = Vec::with_capacity(asked);
        for single in request.tbs_request.request_list {
            for extension in single.single_request_extensions.iter().flatten() {
                refuse_critical(extension)?;
            }
            certificates.push(single.req_cert);
        }
        Ok(Request { certificates, nonce })
    }

    /// Encodes a request without signature or requestor.
    pub fn to_der(&self) -> Result<Vec<u8>, FormError> {
        let nonce = self.nonce.as_ref().map(|nonce| {
            Ok(vec![Extension {
                extn_id: oid::OCSP_NONCE,
                critical: false,
                extn_value: OctetString::new(nonce.as_slice())?,
            }])
        });
        let request = OcspRequest {
            tbs_request: TbsRequest {
                version: Version::V1,
                requestor_name: None,
                request_list: self
                    .certificates
                    .iter()
                    .map(|certificate| SingleRequest {
                        req_cert: certificate.clone(),
                        single_request_extensions: None,
                    })
                    .collect(),
                request_extensions: nonce.transpose().map_err(FormError::encoding)?,
            },
            optional_signature: None,
        };
        request.to_der().map_err(FormError::encoding)
    }
}

impl CertId {
    /// The hash algorithm, if it is one that is answered.
    pub(crate) fn hash(&self) -> Option<ObjectIdentifier> {
        let plain =
            self.hash_algorithm.parameters.as_ref().is_none_or(|parameters| parameters.is_null());
        let known = [oid::SHA1, oid::SHA256].contains(&self.hash_algorithm.oid);
        (plain && known).then_some(self.hash_algorithm.oid)
    }
}

/// The nonce's value: an OCTET STRING of 1 to 128 octets. Clients older than
/// RFC 8954 put the bare octets there; they are echoed as they are.
fn nonce_of(extension: &Extension) -> Result<Vec<u8>, FormError> {
    let value = extension.extn_value.as_bytes();
    let octets = OctetString::from_der(value).map_or(value.len(), |inner| inner.as_bytes().len());
    if octets == 0 || octets > limits::OCSP_NONCE {
        return Err(FormError::malformed(
            "OCSP nonce",
            format!("has {octets} octets; use 1 to {}", limits::OCSP_NONCE),
        ));
    }
    Ok(value.to_vec())
}

fn refuse_critical(extension: &Extension) -> Result<(), FormError> {
    if extension.critical {
        return Err(FormError::malformed(
            "OCSP request",
            format!("extension {} is critical and not known", extension.extn_id),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hufu_issuance::tlv;
    use proptest::prelude::*;

    fn certificate() -> impl Strategy<Value = CertId> {
        (any::<bool>(), any::<[u8; 20]>(), proptest::collection::vec(1u8..=0x7f, 1..=20)).prop_map(
            |(sha1, hash, serial)| CertId {
                hash_algorithm: AlgorithmIdentifierOwned {
                    oid: if sha1 { oid::SHA1 } else { oid::SHA256 },
                    parameters: sha1.then(|| Any::from(der::asn1::Null)),
                },
                issuer_name_hash: OctetString::new(&hash[..]).unwrap(),
                issuer_key_hash: OctetString::new(&hash[..]).unwrap(),
                serial_number: SerialNumber::new(&serial).unwrap(),
            },
        )
    }

    proptest! {
        #[test]
        fn requests_round_trip(
            certificates in proptest::collection::vec(certificate(), 1..=16),
            nonce in proptest::option::of(proptest::collection::vec(any::<u8>(), 1..=128)),
        ) {
            let nonce = nonce.map(|nonce| tlv::octet_string(&nonce));
            let request = Request { certificates, nonce };
            let der = request.to_der().unwrap();
            prop_assert_eq!(Request::from_der(&der).unwrap(), request);
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Request::from_der(&bytes);
        }

        #[test]
        fn altered_requests_do_not_panic(
            certificate in certificate(), position in 0usize..60, value in any::<u8>()
        ) {
            let request = Request { certificates: vec![certificate], nonce: None };
            let mut der = request.to_der().unwrap();
            let position = position % der.len();
            der[position] = value;
            let _ = Request::from_der(&der);
        }
    }

    #[test]
    fn limits_are_kept() {
        let id = CertId {
            hash_algorithm: AlgorithmIdentifierOwned { oid: oid::SHA256, parameters: None },
            issuer_name_hash: OctetString::new(&[1u8; 32][..]).unwrap(),
            issuer_key_hash: OctetString::new(&[1u8; 32][..]).unwrap(),
            serial_number: SerialNumber::new(&[1]).unwrap(),
        };
        let many = Request { certificates: vec![id.clone(); 17], nonce: None };
        assert!(Request::from_der(&many.to_der().unwrap()).is_err());
        let none = Request { certificates: vec![], nonce: None };
        assert!(Request::from_der(&none.to_der().unwrap()).is_err());
        for length in [0, 129] {
            let long = Request {
                certificates: vec![id.clone()],
                nonce: Some(tlv::octet_string(&vec![1; length])),
            };
            assert!(Request::from_der(&long.to_der().unwrap()).is_err());
        }
        assert_eq!(
            Request::from_der(&vec![0x30; limits::OCSP_REQUEST + 1]).unwrap_err().code(),
            "request-too-large"
        );
    }
}
