//! Just enough X.509 to follow an EK certificate to a manufacturer's root.
//!
//! Signatures are verified over the bytes that came, not over a re-encoding.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P256_SHA512_ASN1, ECDSA_P384_SHA256_ASN1,
    ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA512_ASN1, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, UnparsedPublicKey,
    VerificationAlgorithm,
};
use const_oid::ObjectIdentifier;
use const_oid::db::{rfc5280, rfc5912};
use der::asn1::{AnyRef, UintRef};
use der::referenced::OwnedToRef;
use der::{Decode, Encode, Reader, Sequence, SliceReader};
use x509_cert::Certificate;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAltName};
use x509_cert::spki::AlgorithmIdentifierRef;

use super::Curve;
use super::limits::{MAX_CERTIFICATE, MAX_EXTENSIONS};

/// Extensions whose critical form we know what to do with. Policies are
/// recognised and not restricted; name and policy constraints are not
/// processed, so that a critical one ends the path.
const RECOGNISED: [ObjectIdentifier; 5] = [
    rfc5280::ID_CE_BASIC_CONSTRAINTS,
    rfc5280::ID_CE_KEY_USAGE,
    rfc5280::ID_CE_EXT_KEY_USAGE,
    rfc5280::ID_CE_SUBJECT_ALT_NAME,
    rfc5280::ID_CE_CERTIFICATE_POLICIES,
];

/// A certificate's subject key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CertificateKey {
    /// Modulus and exponent, big-endian without leading zeros.
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    /// SEC1 uncompressed point.
    Ecc { curve: Curve, point: Vec<u8> },
}

/// A parsed certificate beside the bytes it came in.
#[derive(Clone, Debug)]
pub(super) struct ParsedCertificate {
    der: Vec<u8>,
    tbs: Vec<u8>,
    subject: Vec<u8>,
    issuer: Vec<u8>,
    key: Option<CertificateKey>,
    inner: Certificate,
}

impl ParsedCertificate {
    /// Parses one certificate in DER.
    pub(super) fn from_der(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > MAX_CERTIFICATE {
            return Err(format!(
                "a certificate has {} bytes, at most {MAX_CERTIFICATE} are read",
                bytes.len()
            ));
        }
        let inner = Certificate::from_der(bytes).map_err(|error| error.to_string())?;
        let tbs = tbs_bytes(bytes).map_err(|error| error.to_string())?;
        let certificate = inner.tbs_certificate();
        if certificate.extensions().map_or(0, Vec::len) > MAX_EXTENSIONS {
            return Err(format!("a certificate has over {MAX_EXTENSIONS} extensions"));
        }
        // RFC 5280 §4.1.1.2
        if certificate.signature() != inner.signature_algorithm() {
            return Err("the two signature algorithms of a certificate differ".to_owned());
        }
        let name = |name: &x509_cert::name::Name| name.to_der().map_err(|error| error.to_string());
        Ok(Self {
            der: bytes.to_vec(),
            tbs: tbs.to_vec(),
            subject: name(certificate.subject())?,
            issuer: name(certificate.issuer())?,
            key: subject_key(&inner),
            inner,
        })
    }

    pub(super) fn der(&self) -> &[u8] {
        &self.der
    }

    pub(super) fn subject(&self) -> &[u8] {
        &self.subject
    }

    pub(super) fn issuer(&self) -> &[u8] {
        &self.issuer
    }

    pub(super) fn key(&self) -> Option<&CertificateKey> {
        self.key.as_ref()
    }

    pub(super) fn subject_text(&self) -> String {
        self.inner.tbs_certificate().subject().to_string()
    }

    pub(super) fn issuer_text(&self) -> String {
        self.inner.tbs_certificate().issuer().to_string()
    }

    /// Within its validity (RFC 5280 §4.1.2.5, both ends included).
    pub(super) fn is_valid_at(&self, now: SystemTime) -> bool {
        let now = now
            .duration_since(UNIX_EPOCH)
            .map_or(Duration::ZERO, |now| Duration::from_secs(now.as_secs()));
        let validity = self.inner.tbs_certificate().validity();
        validity.not_before.to_unix_duration() <= now
            && now <= validity.not_after.to_unix_duration()
    }

    /// No critical extension is one we would ignore.
    pub(super) fn is_understood(&self) -> bool {
        self.inner
            .tbs_certificate()
            .extensions()
            .into_iter()
            .flatten()
            .all(|extension| !extension.critical || RECOGNISED.contains(&extension.extn_id))
    }

    /// May issue certificates with `below` authorities between itself and the
    /// end of the path.
    pub(super) fn may_issue(&self, below: usize) -> bool {
        let certificate = self.inner.tbs_certificate();
        let authority = match certificate.get_extension::<BasicConstraints>() {
            Ok(Some((_, constraints))) => {
                constraints.ca
                    && constraints.path_len_constraint.is_none_or(|most| below <= usize::from(most))
            }
            _ => false,
        };
        let signs = match certificate.get_extension::<KeyUsage>() {
            Ok(Some((_, usage))) => usage.key_cert_sign(),
            Ok(None) => true,
            Err(_) => false,
        };
        authority && signs && self.is_understood()
    }

    /// Basic constraints, absent or not saying that it is an authority.
    pub(super) fn is_end_entity(&self) -> bool {
        match self.inner.tbs_certificate().get_extension::<BasicConstraints>() {
            Ok(Some((_, constraints))) => !constraints.ca,
            Ok(None) => true,
            Err(_) => false,
        }
    }

    /// Key usage: `Err` when it cannot be read.
    pub(super) fn key_usage(&self) -> Result<Option<KeyUsage>, ()> {
        match self.inner.tbs_certificate().get_extension::<KeyUsage>() {
            Ok(found) => Ok(found.map(|(_, usage)| usage)),
            Err(_) => Err(()),
        }
    }

    /// Extended key usage: `Err` when it cannot be read.
    pub(super) fn extended_key_usage(&self) -> Result<Option<Vec<ObjectIdentifier>>, ()> {
        match self.inner.tbs_certificate().get_extension::<ExtendedKeyUsage>() {
            Ok(found) => Ok(found.map(|(_, usage)| usage.0)),
            Err(_) => Err(()),
        }
    }

    /// The text of an attribute in a directory name of the subject alternative
    /// name, where TPM manufacturers put theirs.
    pub(super) fn alternative_attribute(&self, oid: ObjectIdentifier) -> Option<String> {
        let (_, names) = self.inner.tbs_certificate().get_extension::<SubjectAltName>().ok()??;
        names.0.iter().find_map(|name| match name {
            GeneralName::DirectoryName(name) => {
                name.iter().find(|attribute| attribute.oid == oid).and_then(|attribute| {
                    std::str::from_utf8(attribute.value.value())
                        .ok()
                        .filter(|text| !text.chars().any(char::is_control))
                        .map(str::to_owned)
                })
            }
            _ => None,
        })
    }

    /// Signed with the key of `issuer`.
    pub(super) fn is_signed_by(&self, issuer: &Self) -> bool {
        let Some(signature) = self.inner.signature().as_bytes() else {
            return false;
        };
        let algorithm = self.inner.signature_algorithm().owned_to_ref();
        match &issuer.key {
            Some(CertificateKey::Rsa { modulus, exponent }) => rsa_algorithm(&algorithm)
                .is_some_and(|parameters| {
                    PublicKeyComponents { n: modulus, e: exponent }
                        .verify(parameters, &self.tbs, signature)
                        .is_ok()
                }),
            Some(CertificateKey::Ecc { curve, point }) => ecdsa_algorithm(*curve, &algorithm)
                .is_some_and(|algorithm| {
                    UnparsedPublicKey::new(algorithm, point).verify(&self.tbs, signature).is_ok()
                }),
            None => false,
        }
    }
}

/// The first element of the outermost sequence, as it came.
fn tbs_bytes(bytes: &[u8]) -> der::Result<&[u8]> {
    let mut reader = SliceReader::new(bytes)?;
    reader.sequence(|reader| {
        let tbs = reader.tlv_bytes()?;
        reader.drain(reader.remaining_len())?;
        Ok(tbs)
    })
}

fn subject_key(certificate: &Certificate) -> Option<CertificateKey> {
    let spki = certificate.tbs_certificate().subject_public_key_info();
    let bits = spki.subject_public_key.as_bytes()?;
    if spki.algorithm.oid == rfc5912::RSA_ENCRYPTION {
        let mut reader = SliceReader::new(bits).ok()?;
        let (modulus, exponent): (UintRef<'_>, UintRef<'_>) = reader
            .sequence(|reader| Ok::<_, der::Error>((reader.decode()?, reader.decode()?)))
            .ok()?;
        reader.finish().ok()?;
        return Some(CertificateKey::Rsa {
            modulus: modulus.as_bytes().to_vec(),
            exponent: exponent.as_bytes().to_vec(),
        });
    }
    if spki.algorithm.oid == rfc5912::ID_EC_PUBLIC_KEY {
        let parameters = spki.algorithm.parameters.as_ref()?;
        let curve = match parameters.decode_as::<ObjectIdentifier>().ok()? {
            rfc5912::SECP_256_R_1 => Curve::P256,
            rfc5912::SECP_384_R_1 => Curve::P384,
            _ => return None,
        };
        if bits.len() == 1 + 2 * curve.length() && bits.first() == Some(&4) {
            let point = bits.to_vec();
            return Some(CertificateKey::Ecc { curve, point });
        }
    }
    None
}

fn rsa_algorithm(algorithm: &AlgorithmIdentifierRef<'_>) -> Option<&'static RsaParameters> {
    match algorithm.oid {
        rfc5912::SHA_256_WITH_RSA_ENCRYPTION => Some(&RSA_PKCS1_2048_8192_SHA256),
        rfc5912::SHA_384_WITH_RSA_ENCRYPTION => Some(&RSA_PKCS1_2048_8192_SHA384),
        rfc5912::SHA_512_WITH_RSA_ENCRYPTION => Some(&RSA_PKCS1_2048_8192_SHA512),
        rfc5912::ID_RSASSA_PSS => pss_algorithm(algorithm.parameters?),
        _ => None,
    }
}

/// `RSASSA-PSS-params` (RFC 4055 §3.1). Defaults stand for SHA-1, so all but
/// the trailer must be there.
#[derive(Sequence)]
struct PssParameters<'a> {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    hash: AlgorithmIdentifierRef<'a>,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT")]
    mask: AlgorithmIdentifierRef<'a>,
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT")]
    salt: u16,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT", optional = "true")]
    trailer: Option<u8>,
}

/// The library wants a salt as long as the digest and one hash for both uses,
/// which is what is deployed.
fn pss_algorithm(parameters: AnyRef<'_>) -> Option<&'static RsaParameters> {
    let parameters: PssParameters<'_> = parameters.decode_as().ok()?;
    let mask: AlgorithmIdentifierRef<'_> = parameters.mask.parameters?.decode_as().ok()?;
    if parameters.mask.oid != rfc5912::ID_MGF_1
        || mask.oid != parameters.hash.oid
        || parameters.trailer.unwrap_or(1) != 1
    {
        return None;
    }
    match (parameters.hash.oid, parameters.salt) {
        (rfc5912::ID_SHA_256, 32) => Some(&RSA_PSS_2048_8192_SHA256),
        (rfc5912::ID_SHA_384, 48) => Some(&RSA_PSS_2048_8192_SHA384),
        (rfc5912::ID_SHA_512, 64) => Some(&RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}

fn ecdsa_algorithm(
    curve: Curve,
    algorithm: &AlgorithmIdentifierRef<'_>,
) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match (curve, algorithm.oid) {
        (Curve::P256, rfc5912::ECDSA_WITH_SHA_256) => &ECDSA_P256_SHA256_ASN1,
        (Curve::P256, rfc5912::ECDSA_WITH_SHA_384) => &ECDSA_P256_SHA384_ASN1,
        (Curve::P256, rfc5912::ECDSA_WITH_SHA_512) => &ECDSA_P256_SHA512_ASN1,
        (Curve::P384, rfc5912::ECDSA_WITH_SHA_256) => &ECDSA_P384_SHA256_ASN1,
        (Curve::P384, rfc5912::ECDSA_WITH_SHA_384) => &ECDSA_P384_SHA384_ASN1,
        (Curve::P384, rfc5912::ECDSA_WITH_SHA_512) => &ECDSA_P384_SHA512_ASN1,
        _ => return None,
    })
}
