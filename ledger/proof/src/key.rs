//! Public keys and signatures, each with its algorithm.

use std::fmt;
use std::io::{Error, ErrorKind, Read};
use std::str::FromStr;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::as_text::{debug_as_text, serde_as_text};
use crate::identifier::{Digest, IdentityId, bounded_bytes};

/// A signature algorithm. The code is what is encoded; codes are never reused.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
#[borsh(use_discriminant = true)]
#[non_exhaustive]
#[repr(u8)]
pub enum Algorithm {
    /// Ed25519 (RFC 8032), verified by the rules of ZIP 215 so that single and
    /// batch verification always agree.
    Ed25519 = 1,
    /// ECDSA on P-256 with SHA-256 (FIPS 186-5).
    EcdsaP256 = 2,
    /// ECDSA on P-384 with SHA-384 (FIPS 186-5).
    EcdsaP384 = 3,
}

impl Algorithm {
    /// Every one, in the order of the codes.
    pub const ALL: [Self; 3] = [Self::Ed25519, Self::EcdsaP256, Self::EcdsaP384];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::EcdsaP256 => "ecdsa-p256",
            Self::EcdsaP384 => "ecdsa-p384",
        }
    }

    /// Length of an encoded public key in bytes: Ed25519 point, or compressed
    /// SEC 1 point.
    pub fn public_key_length(self) -> usize {
        match self {
            Self::Ed25519 => 32,
            Self::EcdsaP256 => 33,
            Self::EcdsaP384 => 49,
        }
    }

    /// Length of a signature in bytes: `R ‖ S`, or `r ‖ s` big-endian.
    pub fn signature_length(self) -> usize {
        match self {
            Self::Ed25519 | Self::EcdsaP256 => 64,
            Self::EcdsaP384 => 96,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|one| one.name() == text);
        found.ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join("`, `");
            format!("unknown algorithm `{text}`; known are `{known}`")
        })
    }
}

serde_as_text!(Algorithm, PublicKey, Signature);
debug_as_text!(PublicKey, Signature);

/// Why a key or signature is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The bytes have the wrong length for the algorithm.
    #[error("an {algorithm} {what} has {expected} bytes, not {actual}")]
    Length {
        /// The algorithm.
        algorithm: Algorithm,
        /// `public key` or `signature`.
        what: &'static str,
        /// Bytes it must have.
        expected: usize,
        /// Bytes it has.
        actual: usize,
    },
    /// The public key is not a point of its curve.
    #[error("the {0} public key is not a point of its curve")]
    Point(Algorithm),
    /// Key and signature are of different algorithms.
    #[error("the signature is {signature} but the key is {key}")]
    Mismatch {
        /// The key's algorithm.
        key: Algorithm,
        /// The signature's algorithm.
        signature: Algorithm,
    },
    /// The signature does not verify.
    #[error("the {0} signature does not verify")]
    Signature(Algorithm),
}

macro_rules! algorithm_and_bytes {
    ($(#[$doc:meta])* $type:ident, $what:literal, $length:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize)]
        pub struct $type {
            algorithm: Algorithm,
            bytes: Vec<u8>,
        }

        impl $type {
            /// Checks the length of `bytes` for `algorithm`.
            ///
            /// # Errors
            /// [`KeyError::Length`].
            pub fn new(algorithm: Algorithm, bytes: &[u8]) -> Result<Self, KeyError> {
                let expected = algorithm.$length();
                if bytes.len() == expected {
                    Ok(Self { algorithm, bytes: bytes.to_vec() })
                } else {
                    Err(KeyError::Length { algorithm, what: $what, expected, actual: bytes.len() })
                }
            }

            /// Its algorithm.
            pub fn algorithm(&self) -> Algorithm {
                self.algorithm
            }

            /// Its bytes, as [`Algorithm`] describes them.
            pub fn as_bytes(&self) -> &[u8] {
                &self.bytes
            }
        }

        impl BorshDeserialize for $type {
            fn deserialize_reader<R: Read>(reader: &mut R) -> std::io::Result<Self> {
                let algorithm = Algorithm::deserialize_reader(reader)?;
                let bytes = bounded_bytes(reader, algorithm.$length())?;
                Self::new(algorithm, &bytes)
                    .map_err(|error| Error::new(ErrorKind::InvalidData, error))
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "{}:{}", self.algorithm, hex::encode(&self.bytes))
            }
        }

        impl FromStr for $type {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let (algorithm, bytes) = text
                    .split_once(':')
                    .ok_or_else(|| concat!("a ", $what, " is written ALGORITHM:HEX").to_owned())?;
                let algorithm: Algorithm = algorithm.parse()?;
                let bytes = hex::decode(bytes).map_err(|error| error.to_string())?;
                Self::new(algorithm, &bytes).map_err(|error| error.to_string())
            }
        }
    };
}

algorithm_and_bytes! {
    /// A public key, written `ALGORITHM:HEX`.
    PublicKey, "public key", public_key_length
}
algorithm_and_bytes! {
    /// A signature, written `ALGORITHM:HEX`.
    Signature, "signature", signature_length
}

impl PublicKey {
    /// The identity that holds this key.
    pub fn identity(&self) -> IdentityId {
        IdentityId(Digest::of_parts(&[&[self.algorithm as u8], &self.bytes]))
    }

    /// Checks that it is a point of its curve in the encoding that
    /// [`Algorithm`] describes, which no signature has shown yet.
    ///
    /// # Errors
    /// [`KeyError::Point`].
    pub fn check(&self) -> Result<(), KeyError> {
        let compressed = matches!(self.bytes.first(), Some(2 | 3));
        let is_point = match self.algorithm {
            Algorithm::Ed25519 => {
                ed25519_zebra::VerificationKey::try_from(self.bytes.as_slice()).is_ok()
            }
            Algorithm::EcdsaP256 => {
                compressed && p256::ecdsa::VerifyingKey::from_sec1_bytes(&self.bytes).is_ok()
            }
            Algorithm::EcdsaP384 => {
                compressed && p384::ecdsa::VerifyingKey::from_sec1_bytes(&self.bytes).is_ok()
            }
        };
        if is_point { Ok(()) } else { Err(KeyError::Point(self.algorithm)) }
    }

    /// Verifies `signature` over `message` in portable Rust.
    ///
    /// # Errors
    /// [`KeyError`] says what does not fit.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), KeyError> {
        if self.algorithm != signature.algorithm {
            return Err(KeyError::Mismatch { key: self.algorithm, signature: signature.algorithm });
        }
        let point = |_| KeyError::Point(self.algorithm);
        let refused = KeyError::Signature(self.algorithm);
        match self.algorithm {
            Algorithm::Ed25519 => {
                let key = ed25519_zebra::VerificationKey::try_from(self.bytes.as_slice())
                    .map_err(|_| KeyError::Point(self.algorithm))?;
                let parsed = ed25519_zebra::Signature::try_from(signature.as_bytes())
                    .map_err(|_| refused.clone())?;
                key.verify(&parsed, message).map_err(|_| refused)
            }
            Algorithm::EcdsaP256 => {
                use p256::ecdsa::signature::Verifier as _;
                let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(&self.bytes).map_err(point)?;
                let parsed = p256::ecdsa::Signature::from_slice(signature.as_bytes())
                    .map_err(|_| refused.clone())?;
                key.verify(message, &parsed).map_err(|_| refused)
            }
            Algorithm::EcdsaP384 => {
                use p384::ecdsa::signature::Verifier as _;
                let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(&self.bytes).map_err(point)?;
                let parsed = p384::ecdsa::Signature::from_slice(signature.as_bytes())
                    .map_err(|_| refused.clone())?;
                key.verify(message, &parsed).map_err(|_| refused)
            }
        }
    }
}

/// Who signs for the ledger. The product's signers live in a PKCS#11 token or
/// a TPM; the ledger only asks.
pub trait Signer: Send + Sync {
    /// The key that verifies what this signer signs.
    fn public_key(&self) -> PublicKey;

    /// Signs `message`; blocks until the token answers.
    ///
    /// # Errors
    /// [`SignerFault`] when the token is busy, gone or refuses.
    fn sign(&self, message: &[u8]) -> Result<Signature, SignerFault>;
}

/// A signer did not sign; the text says why and what can be done.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the signer did not sign: {0}")]
pub struct SignerFault(pub String);
