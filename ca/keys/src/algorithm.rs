//! The key algorithms custody can make and use, and their encodings.
//!
//! Algorithms are data: whoever stores a public key or a signature from here
//! stores [`KeyAlgorithm`] with it and asks it for sizes.

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use serde::{Deserialize, Serialize};

/// DER of the object identifier 1.2.840.10045.3.1.7 (prime256v1).
const OID_P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// DER of the object identifier 1.3.132.0.34 (secp384r1).
const OID_P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
/// DER of the object identifier 1.3.101.112 (id-Ed25519, RFC 8410 §3).
const OID_ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
/// DER of PrintableString "edwards25519", the PKCS#11 3.0 curveName form.
const NAME_ED25519: &[u8] = b"\x13\x0cedwards25519";
/// DER of the object identifier 1.3.6.1.4.1.11591.15.1, which some tokens
/// from before RFC 8410 use for Ed25519.
const OID_ED25519_OLD: &[u8] = &[0x06, 0x09, 0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x0f, 0x01];

/// `SubjectPublicKeyInfo` up to the point (RFC 5480 §2), P-256, uncompressed.
const SPKI_P256: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// The same for P-384.
const SPKI_P384: &[u8] = &[
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b,
    0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
];
/// The same for Ed25519 (RFC 8410 §4).
const SPKI_ED25519: &[u8] =
    &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// What a key is and, with it, how it signs.
///
/// ECDSA keys always sign with the hash of their own strength: SHA-256 for
/// P-256, SHA-384 for P-384.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum KeyAlgorithm {
    /// ECDSA on NIST P-256 with SHA-256.
    P256,
    /// ECDSA on NIST P-384 with SHA-384.
    P384,
    /// Ed25519 (pure), RFC 8032.
    Ed25519,
}

impl KeyAlgorithm {
    /// Every algorithm, for iteration.
    pub const ALL: [Self; 3] = [Self::P256, Self::P384, Self::Ed25519];

    /// Stable name: `p256`, `p384`, `ed25519`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::P256 => "p256",
            Self::P384 => "p384",
            Self::Ed25519 => "ed25519",
        }
    }

    /// Bytes of [`Key::public_key`](crate::Key::public_key): 33, 49 or 32.
    #[must_use]
    pub fn public_key_len(self) -> usize {
        match self {
            Self::P256 => 33,
            Self::P384 => 49,
            Self::Ed25519 => 32,
        }
    }

    /// Bytes of [`Key::sign`](crate::Key::sign): 64, 96 or 64.
    #[must_use]
    pub fn signature_len(self) -> usize {
        match self {
            Self::P256 | Self::Ed25519 => 64,
            Self::P384 => 96,
        }
    }

    /// Bytes of the digest that the token signs; `None` where the token takes
    /// the message itself.
    #[must_use]
    pub fn digest_len(self) -> Option<usize> {
        match self {
            Self::P256 => Some(32),
            Self::P384 => Some(48),
            Self::Ed25519 => None,
        }
    }

    /// DER of the X.509 signature `AlgorithmIdentifier`: ecdsa-with-SHA256 or
    /// -SHA384 without parameters (RFC 5758 §3.2), id-Ed25519 (RFC 8410 §3).
    #[must_use]
    pub fn signature_algorithm_der(self) -> &'static [u8] {
        match self {
            Self::P256 => &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02],
            Self::P384 => &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03],
            Self::Ed25519 => &[0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70],
        }
    }

    /// DER of CKA_EC_PARAMS for key generation, in the order to try.
    pub(crate) fn ec_params(self) -> &'static [&'static [u8]] {
        match self {
            Self::P256 => &[OID_P256],
            Self::P384 => &[OID_P384],
            Self::Ed25519 => &[OID_ED25519, NAME_ED25519],
        }
    }

    /// The algorithm whose curve a token's CKA_EC_PARAMS names.
    pub(crate) fn from_ec_params(der: &[u8]) -> Option<Self> {
        match der {
            OID_P256 => Some(Self::P256),
            OID_P384 => Some(Self::P384),
            OID_ED25519 | NAME_ED25519 | OID_ED25519_OLD => Some(Self::Ed25519),
            _ => None,
        }
    }

    /// `SubjectPublicKeyInfo` around a point: uncompressed SEC 1, or the 32
    /// octets of Ed25519.
    pub(crate) fn spki_der(self, point: &[u8]) -> Vec<u8> {
        let prefix = match self {
            Self::P256 => SPKI_P256,
            Self::P384 => SPKI_P384,
            Self::Ed25519 => SPKI_ED25519,
        };
        [prefix, point].concat()
    }

    /// Hashes `message` as this algorithm wants it; `None` for Ed25519.
    pub(crate) fn digest(self, message: &[u8]) -> Option<Vec<u8>> {
        let hash = match self {
            Self::P256 => &aws_lc_rs::digest::SHA256,
            Self::P384 => &aws_lc_rs::digest::SHA384,
            Self::Ed25519 => return None,
        };
        Some(aws_lc_rs::digest::digest(hash, message).as_ref().to_vec())
    }

    /// Whether `signature` (fixed size) over `message` is by the key whose
    /// uncompressed point (or 32 Ed25519 bytes) is `point`.
    pub(crate) fn verify(self, point: &[u8], message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &'static dyn VerificationAlgorithm = match self {
            Self::P256 => &signature::ECDSA_P256_SHA256_FIXED,
            Self::P384 => &signature::ECDSA_P384_SHA384_FIXED,
            Self::Ed25519 => &signature::ED25519,
        };
        UnparsedPublicKey::new(algorithm, point).verify(message, signature).is_ok()
    }
}

impl std::fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use p256::pkcs8::EncodePublicKey;

    #[test]
    fn spki_is_what_rustcrypto_writes() {
        let secret = p256::SecretKey::from_slice(&[7; 32]).unwrap();
        let public = secret.public_key();
        let point = p256::elliptic_curve::sec1::ToSec1Point::to_sec1_point(&public, false);
        assert_eq!(
            KeyAlgorithm::P256.spki_der(point.as_bytes()),
            public.to_public_key_der().unwrap().as_bytes()
        );
        let secret = p384::SecretKey::from_slice(&[7; 48]).unwrap();
        let public = secret.public_key();
        let point = p384::elliptic_curve::sec1::ToSec1Point::to_sec1_point(&public, false);
        assert_eq!(
            KeyAlgorithm::P384.spki_der(point.as_bytes()),
            public.to_public_key_der().unwrap().as_bytes()
        );
    }

    #[test]
    fn ec_params_are_recognised_again() {
        for algorithm in KeyAlgorithm::ALL {
            for params in algorithm.ec_params() {
                assert_eq!(KeyAlgorithm::from_ec_params(params), Some(algorithm));
            }
        }
        assert_eq!(KeyAlgorithm::from_ec_params(b""), None);
        assert_eq!(KeyAlgorithm::from_ec_params(&OID_P256[..9]), None);
    }
}
