//! PKCS#10 requests (RFC 2986) for a P-256 key that only signs, as a TPM's
//! does.
//!
//! A device's name follows IEEE 802.1AR §8.6: the subject carries a serial
//! number.

use const_oid::ObjectIdentifier;
use const_oid::db::{rfc4519, rfc5912};
use der::asn1::{BitString, PrintableString, SetOfVec, UintRef, Utf8StringRef};
use der::{Any, Decode, Encode, Sequence};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};
use x509_cert::request::{CertReq, CertReqInfo, Version};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

/// Upper bounds in characters (RFC 5280 annex A.1: `ub-common-name` and
/// others; X.520 `ub-serial-number`).
const MAX_TEXT: usize = 64;

/// What a device calls itself. Empty members are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// `countryName`, two letters.
    pub country: String,
    /// `organizationName`.
    pub organization: String,
    /// `organizationalUnitName`.
    pub organizational_unit: String,
    /// `commonName`.
    pub common_name: String,
    /// `serialNumber`, the device's, unique for its maker: letters, digits and
    /// ` '()+,-./:=?`.
    pub serial_number: String,
}

/// Why a request cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CsrError<S> {
    /// A member of the subject cannot stand in a name.
    #[error("{field} cannot be written: {reason}")]
    Subject {
        /// The member.
        field: &'static str,
        /// What is wrong.
        reason: &'static str,
    },
    /// The subject is empty.
    #[error("the subject needs a common name or a serial number")]
    NoSubject,
    /// DER encoding failed.
    #[error("the request cannot be encoded")]
    Encoding(#[source] der::Error),
    /// The key did not sign.
    #[error("the key did not sign the request")]
    Sign(#[source] S),
}

impl<S> From<der::Error> for CsrError<S> {
    fn from(error: der::Error) -> Self {
        Self::Encoding(error)
    }
}

/// Writes a request in DER.
///
/// `spki_der` is the key's `SubjectPublicKeyInfo`; `sign` returns `r ‖ s`, 32
/// bytes each, of ECDSA with SHA-256 over the message it is given.
///
/// # Errors
/// [`CsrError`].
pub fn build<S>(
    subject: &Subject,
    spki_der: &[u8],
    sign: impl FnOnce(&[u8]) -> Result<[u8; 64], S>,
) -> Result<Vec<u8>, CsrError<S>> {
    let info = CertReqInfo {
        version: Version::V1,
        subject: name(subject)?,
        public_key: SubjectPublicKeyInfoOwned::from_der(spki_der)?,
        attributes: SetOfVec::default(),
    };
    let signature = sign(&info.to_der()?).map_err(CsrError::Sign)?;
    let request = CertReq {
        info,
        algorithm: AlgorithmIdentifierOwned {
            oid: rfc5912::ECDSA_WITH_SHA_256,
            // RFC 5758 §3.2: absent.
            parameters: None,
        },
        signature: BitString::from_bytes(&ecdsa_der(&signature)?)?,
    };
    Ok(request.to_der()?)
}

/// `ECDSA-Sig-Value` (RFC 3279 §2.2.3).
#[derive(Sequence)]
struct EcdsaSigValue<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

/// Turns `r ‖ s` into the DER form that X.509 wants.
///
/// # Errors
/// None for any 64 bytes; the type is that of the encoder.
pub fn ecdsa_der(fixed: &[u8; 64]) -> Result<Vec<u8>, der::Error> {
    let (r, s) = fixed.split_at(32);
    EcdsaSigValue { r: UintRef::new(r)?, s: UintRef::new(s)? }.to_der()
}

fn name<S>(subject: &Subject) -> Result<Name, CsrError<S>> {
    if subject.common_name.is_empty() && subject.serial_number.is_empty() {
        return Err(CsrError::NoSubject);
    }
    let members: [(&'static str, ObjectIdentifier, &str, bool); 5] = [
        ("countryName", rfc4519::C, &subject.country, true),
        ("organizationName", rfc4519::O, &subject.organization, false),
        ("organizationalUnitName", rfc4519::OU, &subject.organizational_unit, false),
        ("commonName", rfc4519::CN, &subject.common_name, false),
        ("serialNumber", rfc4519::SERIAL_NUMBER, &subject.serial_number, true),
    ];
    let mut sequence = RdnSequence::default();
    for (field, oid, text, printable) in members {
        if text.is_empty() {
            continue;
        }
        let refuse = |reason| CsrError::Subject { field, reason };
        if text.chars().count() > MAX_TEXT {
            return Err(refuse("it has more than 64 characters"));
        }
        if text.chars().any(char::is_control) {
            return Err(refuse("it has control characters"));
        }
        let value = if printable {
            let text = PrintableString::new(text).map_err(|_| {
                refuse("only letters, digits, spaces and '()+,-./:=? are allowed in it")
            })?;
            Any::encode_from(&text)?
        } else {
            Any::encode_from(&Utf8StringRef::new(text)?)?
        };
        if oid == rfc4519::C && text.len() != 2 {
            return Err(refuse("it must be a code of two letters"));
        }
        let attribute = AttributeTypeAndValue { oid, value };
        sequence.push(RelativeDistinguishedName::try_from(vec![attribute])?);
    }
    Ok(Name::from_der(&sequence.to_der()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `SubjectPublicKeyInfo` of a recorded key.
    fn spki() -> Vec<u8> {
        let public = include_bytes!("../tests/fixtures/key.pub");
        let public = crate::attest::Public::from_tpm2b(public).unwrap();
        public.p256_spki_der().unwrap()
    }

    fn subject(common_name: &str, serial_number: &str, country: &str) -> Subject {
        Subject {
            country: country.to_owned(),
            common_name: common_name.to_owned(),
            serial_number: serial_number.to_owned(),
            ..Subject::default()
        }
    }

    fn refused(subject: &Subject) -> &'static str {
        let sign = |_: &[u8]| -> Result<[u8; 64], ()> { panic!("signed a refused subject") };
        match build(subject, &spki(), sign) {
            Err(CsrError::Subject { field, .. }) => field,
            Err(CsrError::NoSubject) => "nothing",
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_cannot_stand_in_a_name_is_refused_before_the_key_signs() {
        assert_eq!(refused(&subject("", "", "CN")), "nothing");
        assert_eq!(refused(&subject("pump\n", "", "")), "commonName");
        assert_eq!(refused(&subject(&"长".repeat(65), "", "")), "commonName");
        assert_eq!(refused(&subject("", "SN_7", "")), "serialNumber");
        assert_eq!(refused(&subject("pump", "", "CHN")), "countryName");
    }

    #[test]
    fn the_key_signs_exactly_what_the_request_carries() {
        let mut signed = Vec::new();
        let request = build(&subject("pump", "SN-7", "CN"), &spki(), |message| {
            signed = message.to_vec();
            Ok::<_, ()>([0x81; 64])
        })
        .unwrap();
        let parsed = CertReq::from_der(&request).unwrap();
        assert_eq!(parsed.info.to_der().unwrap(), signed);
        assert_eq!(parsed.info.public_key.to_der().unwrap(), spki());
        assert_eq!(parsed.info.subject.to_string(), "SERIALNUMBER=SN-7,CN=pump,C=CN");
        assert_eq!(parsed.signature.raw_bytes(), ecdsa_der(&[0x81; 64]).unwrap());
    }

    #[test]
    fn small_and_high_integers_are_written_as_der_wants() {
        let mut fixed = [0; 64];
        fixed[31] = 1;
        fixed[32] = 0x80;
        let der = ecdsa_der(&fixed).unwrap();
        assert_eq!(der[..7], [0x30, 0x26, 2, 1, 1, 2, 0x21]);
        assert_eq!(der[7..9], [0, 0x80]);
    }
}
