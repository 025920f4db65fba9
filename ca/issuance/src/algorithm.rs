//! Key and signature algorithms as data: what a key is, and how a signature
//! by it is verified.
//!
//! Nothing here assumes a size that it did not read from the algorithm. RSA is
//! recognised and refused: device and member keys are elliptic here.

use std::fmt;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1,
    ED25519, UnparsedPublicKey, VerificationAlgorithm,
};
use der::asn1::ObjectIdentifier;
use der::{Decode, Encode};
use serde::{Deserialize, Serialize};
use spki::SubjectPublicKeyInfoRef;

use crate::form::FormError;
use crate::{oid, tlv};

/// Public key algorithms that this authority certifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum KeyAlgorithm {
    /// ECDSA over NIST P-256 (RFC 5480).
    #[serde(rename = "p256")]
    P256,
    /// ECDSA over NIST P-384 (RFC 5480).
    #[serde(rename = "p384")]
    P384,
    /// Ed25519 (RFC 8410).
    #[serde(rename = "ed25519")]
    Ed25519,
}

impl KeyAlgorithm {
    /// All of them.
    pub const ALL: [KeyAlgorithm; 3] = [Self::P256, Self::P384, Self::Ed25519];

    /// The name used in profiles, messages and on the ledger.
    pub const fn name(self) -> &'static str {
        match self {
            Self::P256 => "p256",
            Self::P384 => "p384",
            Self::Ed25519 => "ed25519",
        }
    }

    /// Length of the raw public key, in octets: an uncompressed point
    /// (SEC 1 section 2.3.3), or 32 for Ed25519.
    pub const fn public_key_len(self) -> usize {
        match self {
            Self::P256 => 65,
            Self::P384 => 97,
            Self::Ed25519 => 32,
        }
    }

    /// The signature algorithm that a key of this kind signs certificates with.
    pub const fn signature(self) -> SignatureAlgorithm {
        match self {
            Self::P256 => SignatureAlgorithm::EcdsaSha256,
            Self::P384 => SignatureAlgorithm::EcdsaSha384,
            Self::Ed25519 => SignatureAlgorithm::Ed25519,
        }
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Signature algorithms in certificates, requests, CRLs and OCSP responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SignatureAlgorithm {
    /// `ecdsa-with-SHA256` (RFC 5758 section 3.2).
    EcdsaSha256,
    /// `ecdsa-with-SHA384` (RFC 5758 section 3.2).
    EcdsaSha384,
    /// `id-Ed25519` (RFC 8410 section 3).
    Ed25519,
}

impl SignatureAlgorithm {
    /// Its object identifier. All of them have absent parameters.
    pub const fn oid(self) -> ObjectIdentifier {
        match self {
            Self::EcdsaSha256 => oid::ECDSA_SHA256,
            Self::EcdsaSha384 => oid::ECDSA_SHA384,
            Self::Ed25519 => oid::ED25519,
        }
    }

    /// The AlgorithmIdentifier in DER.
    pub fn to_der(self) -> Vec<u8> {
        tlv::sequence(&[&tlv::oid(&self.oid())])
    }

    /// From an AlgorithmIdentifier; parameters must be absent.
    pub(crate) fn from_identifier(
        identifier: &spki::AlgorithmIdentifierOwned,
    ) -> Result<Self, FormError> {
        let parameters = identifier.parameters.as_ref().map(|parameters| parameters.to_der());
        let parameters = parameters.transpose().map_err(FormError::encoding)?;
        Self::from_parts(&identifier.oid, parameters.as_deref())
    }

    /// From the parts of an AlgorithmIdentifier; parameters (DER) must be absent.
    pub(crate) fn from_parts(
        algorithm: &ObjectIdentifier,
        parameters: Option<&[u8]>,
    ) -> Result<Self, FormError> {
        let name = oid::name_of(algorithm);
        let refused = |given: String| FormError::Algorithm {
            what: "signature algorithm",
            given,
            accepted: "ecdsa-with-SHA256, ecdsa-with-SHA384, Ed25519 (all without parameters)"
                .to_owned(),
        };
        let known = [Self::EcdsaSha256, Self::EcdsaSha384, Self::Ed25519]
            .into_iter()
            .find(|known| known.oid() == *algorithm);
        match (known, parameters) {
            (Some(known), None) => Ok(known),
            (Some(_), Some([0x05, 0x00])) => Err(refused(format!("{name} with NULL parameters"))),
            (Some(_), Some(_)) => Err(refused(format!("{name} with parameters"))),
            (None, _) => Err(refused(name)),
        }
    }
}

/// A public key: its algorithm and its raw octets.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PublicKey {
    algorithm: KeyAlgorithm,
    raw: Vec<u8>,
}

impl PublicKey {
    /// From raw octets: an uncompressed point, or 32 octets for Ed25519. That
    /// the point is on its curve is checked when a signature is verified.
    pub fn new(algorithm: KeyAlgorithm, raw: Vec<u8>) -> Result<PublicKey, FormError> {
        let uncompressed = algorithm == KeyAlgorithm::Ed25519 || raw.first() == Some(&0x04);
        if raw.len() != algorithm.public_key_len() || !uncompressed {
            return Err(FormError::malformed(
                "public key",
                format!(
                    "a {algorithm} key has {} octets{}, this one has {}",
                    algorithm.public_key_len(),
                    if algorithm == KeyAlgorithm::Ed25519 {
                        ""
                    } else {
                        ", uncompressed (first octet 04)"
                    },
                    raw.len()
                ),
            ));
        }
        Ok(PublicKey { algorithm, raw })
    }

    /// From a SubjectPublicKeyInfo in DER. RSA and other curves are refused
    /// by name.
    pub fn from_spki_der(spki: &[u8]) -> Result<PublicKey, FormError> {
        let parsed = SubjectPublicKeyInfoRef::try_from(spki)
            .map_err(|error| FormError::malformed("subjectPublicKeyInfo", error))?;
        let refused = |given: String| FormError::Algorithm {
            what: "public key algorithm",
            given,
            accepted: "P-256, P-384, Ed25519".to_owned(),
        };
        let algorithm = if parsed.algorithm.oid == oid::EC_PUBLIC_KEY {
            let curve = parsed
                .algorithm
                .parameters
                .and_then(|parameters| parameters.decode_as::<ObjectIdentifier>().ok())
                .ok_or_else(|| refused("EC without a named curve".to_owned()))?;
            match curve {
                oid::P256 => KeyAlgorithm::P256,
                oid::P384 => KeyAlgorithm::P384,
                other => return Err(refused(format!("EC curve {}", oid::name_of(&other)))),
            }
        } else if parsed.algorithm.oid == oid::ED25519 && parsed.algorithm.parameters.is_none() {
            KeyAlgorithm::Ed25519
        } else if parsed.algorithm.oid == oid::ED25519 {
            return Err(refused("Ed25519 with parameters (there must be none)".to_owned()));
        } else {
            return Err(refused(oid::name_of(&parsed.algorithm.oid)));
        };
        let raw = parsed
            .subject_public_key
            .as_bytes()
            .ok_or_else(|| FormError::malformed("subjectPublicKey", "unused bits"))?;
        PublicKey::new(algorithm, raw.to_vec())
    }

    /// The SubjectPublicKeyInfo in DER (RFC 5480 section 2, RFC 8410 section 4).
    pub fn to_spki_der(&self) -> Vec<u8> {
        let algorithm = match self.algorithm {
            KeyAlgorithm::P256 => {
                tlv::sequence(&[&tlv::oid(&oid::EC_PUBLIC_KEY), &tlv::oid(&oid::P256)])
            }
            KeyAlgorithm::P384 => {
                tlv::sequence(&[&tlv::oid(&oid::EC_PUBLIC_KEY), &tlv::oid(&oid::P384)])
            }
            KeyAlgorithm::Ed25519 => tlv::sequence(&[&tlv::oid(&oid::ED25519)]),
        };
        tlv::sequence(&[&algorithm, &tlv::bit_string(&self.raw)])
    }

    /// The algorithm.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// The raw octets: what stands in the `subjectPublicKey` BIT STRING.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// SHA-1 of the raw octets: the key identifier of RFC 5280 section
    /// 4.2.1.2 method (1). A name, not a security property.
    pub fn key_identifier(&self) -> [u8; 20] {
        let mut identifier = [0; 20];
        identifier.copy_from_slice(digest(&SHA1_FOR_LEGACY_USE_ONLY, &self.raw).as_ref());
        identifier
    }

    /// SHA-256 of the SubjectPublicKeyInfo in DER: how this crate names a key.
    pub fn digest(&self) -> [u8; 32] {
        sha256(&self.to_spki_der())
    }

    /// Whether `signature` (ECDSA: DER `Ecdsa-Sig-Value`; Ed25519: 64 octets)
    /// over `message` is by this key.
    pub fn verify(&self, algorithm: SignatureAlgorithm, message: &[u8], signature: &[u8]) -> bool {
        let verification: &dyn VerificationAlgorithm = match (self.algorithm, algorithm) {
            (KeyAlgorithm::P256, SignatureAlgorithm::EcdsaSha256) => &ECDSA_P256_SHA256_ASN1,
            (KeyAlgorithm::P256, SignatureAlgorithm::EcdsaSha384) => &ECDSA_P256_SHA384_ASN1,
            (KeyAlgorithm::P384, SignatureAlgorithm::EcdsaSha256) => &ECDSA_P384_SHA256_ASN1,
            (KeyAlgorithm::P384, SignatureAlgorithm::EcdsaSha384) => &ECDSA_P384_SHA384_ASN1,
            (KeyAlgorithm::Ed25519, SignatureAlgorithm::Ed25519) => &ED25519,
            _ => return false,
        };
        UnparsedPublicKey::new(verification, &self.raw).verify(message, signature).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({}, {})", self.algorithm, hex::encode(&self.raw))
    }
}

/// SHA-256.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut output = [0; 32];
    output.copy_from_slice(digest(&SHA256, bytes).as_ref());
    output
}

/// SHA-1, for names that standards define with it.
pub fn sha1(bytes: &[u8]) -> [u8; 20] {
    let mut output = [0; 20];
    output.copy_from_slice(digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref());
    output
}

/// Decodes DER and refuses bytes whose canonical encoding differs: what is
/// stored, digested and signed is then exactly what was sent.
pub(crate) fn strict<'a, T>(what: &'static str, bytes: &'a [u8]) -> Result<T, FormError>
where
    T: Decode<'a, Error = der::Error> + Encode,
{
    let value = T::from_der(bytes).map_err(|error| FormError::malformed(what, error))?;
    let again = value.to_der().map_err(|error| FormError::malformed(what, error))?;
    if again != bytes {
        return Err(FormError::malformed(what, "not in DER: its canonical encoding differs"));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spki_round_trips_for_each_algorithm() {
        for algorithm in KeyAlgorithm::ALL {
            let mut raw = vec![0x5a; algorithm.public_key_len()];
            if algorithm != KeyAlgorithm::Ed25519 {
                raw[0] = 4;
            }
            let key = PublicKey::new(algorithm, raw).unwrap();
            assert_eq!(PublicKey::from_spki_der(&key.to_spki_der()).unwrap(), key);
        }
    }

    #[test]
    fn compressed_points_and_wrong_lengths_are_refused() {
        assert!(PublicKey::new(KeyAlgorithm::P256, vec![2; 33]).is_err());
        assert!(PublicKey::new(KeyAlgorithm::P256, vec![2; 65]).is_err());
        assert!(PublicKey::new(KeyAlgorithm::Ed25519, vec![4; 31]).is_err());
    }
}
