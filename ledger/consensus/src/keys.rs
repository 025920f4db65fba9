//! P-256 keys as the consensus engine wants them, over a signer that may be a
//! token.
//!
//! commonware's own P-256 types are not among its stable parts, so these are
//! ours. The private half is never here: [`Identity`] asks a
//! [`hufu_proof::Signer`]. Verification is by aws-lc-rs, with the point parsed
//! once.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use bytes::BufMut;
use commonware_codec::{Buf, Error as CodecError, FixedSize, Read, ReadExt as _, Write};
use commonware_utils::{Array, Span, union_unique};
use hufu_proof::finality::{VOTE_KEY_LENGTH, VOTE_SIGNATURE_LENGTH};
use hufu_proof::{Algorithm, Signer};

use crate::error::Error;

/// Half of the order of P-256, rounded down, big-endian. A signature whose `s`
/// is above it has a twin below it, which anyone can compute.
const HALF_ORDER: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0x80, 0x00, 0x00, 0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xde, 0x73, 0x7d, 0x56, 0xd3, 0x8b, 0xcf, 0x42, 0x79, 0xdc, 0xe5, 0x61, 0x7e, 0x31, 0x92, 0xa8,
];

/// The order of P-256, big-endian.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// A member's vote key: a compressed SEC 1 point of P-256 that has been checked
/// to lie on the curve.
#[derive(Clone)]
pub struct PublicKey {
    bytes: [u8; VOTE_KEY_LENGTH],
    parsed: Arc<ParsedPublicKey>,
}

impl PublicKey {
    /// Parses a compressed point.
    ///
    /// # Errors
    /// [`Error::Key`] when it is not a point of P-256.
    pub fn new(bytes: [u8; VOTE_KEY_LENGTH]) -> Result<Self, Error> {
        // Infinity and the uncompressed forms do not fit the length or the
        // prefix, so each key has one encoding.
        if !matches!(bytes[0], 2 | 3) {
            return Err(Error::Key("a vote key must be a compressed point"));
        }
        let parsed = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, bytes)
            .map_err(|_| Error::Key("a vote key must be a point of P-256"))?;
        Ok(Self { bytes, parsed: Arc::new(parsed) })
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; VOTE_KEY_LENGTH] {
        &self.bytes
    }

    /// Whether `signature` is this key's over exactly `message`.
    pub fn verifies(&self, message: &[u8], signature: &Signature) -> bool {
        self.parsed.verify_sig(message, &signature.0).is_ok()
    }
}

impl TryFrom<&hufu_proof::PublicKey> for PublicKey {
    type Error = Error;

    fn try_from(key: &hufu_proof::PublicKey) -> Result<Self, Error> {
        if key.algorithm() != Algorithm::EcdsaP256 {
            return Err(Error::Key("a vote key must be ecdsa-p256"));
        }
        let bytes = key
            .as_bytes()
            .try_into()
            .map_err(|_| Error::Key("a vote key must be a compressed point"))?;
        Self::new(bytes)
    }
}

/// An ECDSA P-256 signature, `r ‖ s`, low-S.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signature([u8; VOTE_SIGNATURE_LENGTH]);

impl Signature {
    /// Takes a signature that a token made, which may be high-S.
    pub fn normalized(mut bytes: [u8; VOTE_SIGNATURE_LENGTH]) -> Self {
        if bytes[32..] > HALF_ORDER[..] {
            let mut borrow = 0u16;
            for index in (0..32).rev() {
                let difference =
                    256 + u16::from(ORDER[index]) - u16::from(bytes[32 + index]) - borrow;
                bytes[32 + index] = difference as u8;
                borrow = u16::from(difference < 256);
            }
        }
        Self(bytes)
    }

    /// Takes bytes that must already be low-S, and so of one form.
    pub fn strict(bytes: [u8; VOTE_SIGNATURE_LENGTH]) -> Option<Self> {
        (bytes[32..] <= HALF_ORDER[..]).then_some(Self(bytes))
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; VOTE_SIGNATURE_LENGTH] {
        &self.0
    }
}

macro_rules! fixed_bytes {
    ($type:ident, $length:expr, $bytes:tt, $build:expr) => {
        impl Write for $type {
            fn write(&self, buffer: &mut impl BufMut) {
                self.$bytes.write(buffer);
            }
        }

        impl Read for $type {
            type Cfg = ();

            fn read_cfg(buffer: &mut impl Buf, _: &()) -> Result<Self, CodecError> {
                let bytes = <[u8; $length]>::read(buffer)?;
                #[allow(clippy::redundant_closure_call)]
                ($build)(bytes)
            }
        }

        impl FixedSize for $type {
            const SIZE: usize = $length;
        }

        impl Span for $type {}
        impl Array for $type {}

        impl AsRef<[u8]> for $type {
            fn as_ref(&self) -> &[u8] {
                &self.$bytes
            }
        }

        impl Deref for $type {
            type Target = [u8];

            fn deref(&self) -> &[u8] {
                &self.$bytes
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, formatter)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&crate::hexadecimal(&self.$bytes))
            }
        }
    };
}

fixed_bytes!(PublicKey, VOTE_KEY_LENGTH, bytes, |bytes| PublicKey::new(bytes)
    .map_err(|_| CodecError::Invalid("PublicKey", "not a compressed point of P-256")));
fixed_bytes!(Signature, VOTE_SIGNATURE_LENGTH, 0, |bytes| Signature::strict(bytes)
    .ok_or(CodecError::Invalid("Signature", "s is in the upper half")));

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for PublicKey {}

impl PartialOrd for PublicKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PublicKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.bytes.cmp(&other.bytes)
    }
}

impl Hash for PublicKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes.hash(state);
    }
}

impl commonware_cryptography::Signature for Signature {}

impl commonware_cryptography::Verifier for PublicKey {
    type Signature = Signature;

    fn verify(&self, namespace: &[u8], message: &[u8], signature: &Signature) -> bool {
        self.verifies(&union_unique(namespace, message), signature)
    }
}

impl commonware_cryptography::PublicKey for PublicKey {}

/// This node as its peers know it: its vote key, held by a signer.
///
/// The peer-to-peer handshake signs a hash under an empty namespace, so its
/// messages begin with a zero byte; votes begin with the length of their
/// namespace, which is never zero. One key can therefore serve both.
#[derive(Clone)]
pub struct Identity {
    signer: Arc<dyn Signer>,
    public_key: PublicKey,
}

impl Identity {
    /// Asks `signer` for its key once.
    ///
    /// # Errors
    /// [`Error::Key`] when the key is not a P-256 key.
    pub fn new(signer: Arc<dyn Signer>) -> Result<Self, Error> {
        let public_key = PublicKey::try_from(&signer.public_key())?;
        Ok(Self { signer, public_key })
    }

    /// The public half.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Signs exactly `message`.
    ///
    /// # Errors
    /// [`Error::Signer`] when the token does not sign, or signs what does not
    /// verify: a token that makes wrong signatures must not vote.
    pub fn sign(&self, message: &[u8]) -> Result<Signature, Error> {
        let signature = self.signer.sign(message).map_err(Error::Signer)?;
        let bytes: [u8; VOTE_SIGNATURE_LENGTH] = match signature.algorithm() {
            Algorithm::EcdsaP256 => signature.as_bytes().try_into().ok(),
            _ => None,
        }
        .ok_or_else(|| fault("it made a signature that is not ecdsa-p256"))?;
        let signature = Signature::normalized(bytes);
        if self.public_key.verifies(message, &signature) {
            Ok(signature)
        } else {
            Err(fault("it made a signature that its own public key does not verify"))
        }
    }
}

fn fault(text: &str) -> Error {
    Error::Signer(hufu_proof::SignerFault(text.to_owned()))
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Identity").field(&self.public_key).finish()
    }
}

impl commonware_math::algebra::Random for Identity {
    fn random(_: impl rand_core::CryptoRng) -> Self {
        // The trait asks for it; only commonware's tests call it. A key in a
        // token is not made up on the way.
        unreachable!("an identity comes from a signer, never from a random number")
    }
}

impl commonware_cryptography::Signer for Identity {
    type Signature = Signature;
    type PublicKey = PublicKey;

    fn public_key(&self) -> PublicKey {
        self.public_key.clone()
    }

    fn sign(&self, namespace: &[u8], message: &[u8]) -> Signature {
        match Self::sign(self, &union_unique(namespace, message)) {
            Ok(signature) => signature,
            Err(error) => {
                // The trait cannot say no. A signature that verifies for nobody
                // makes this one handshake fail, and it is tried again.
                tracing::warn!(%error, "the handshake with a peer is not signed");
                Signature([1; VOTE_SIGNATURE_LENGTH])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SoftwareSigner;
    use commonware_codec::{DecodeExt as _, Encode as _};
    use proptest::prelude::*;

    #[test]
    fn a_software_key_signs_and_verifies() {
        let identity = Identity::new(SoftwareSigner::shared(7)).unwrap();
        let signature = identity.sign(b"message").unwrap();
        assert!(identity.public_key().verifies(b"message", &signature));
        assert!(!identity.public_key().verifies(b"massage", &signature));
        let decoded = PublicKey::decode(identity.public_key().encode()).unwrap();
        assert_eq!(&decoded, identity.public_key());
        assert_eq!(Signature::decode(signature.encode()).unwrap(), signature);
    }

    #[test]
    fn a_high_s_signature_is_made_low_and_refused_when_received() {
        let identity = Identity::new(SoftwareSigner::shared(3)).unwrap();
        let low = identity.sign(b"message").unwrap();
        let parsed = p256::ecdsa::Signature::from_slice(low.as_bytes()).unwrap();
        let (r, s) = parsed.split_scalars();
        let high = p256::ecdsa::Signature::from_scalars(r, -s).unwrap();
        let high: [u8; 64] = high.to_bytes().into();
        assert_eq!(Signature::strict(high), None);
        assert!(Signature::decode(high.to_vec()).is_err());
        assert_eq!(Signature::normalized(high), low);
        assert_eq!(Signature::normalized(*low.as_bytes()), low);
    }

    #[test]
    fn what_is_not_a_point_is_refused() {
        assert!(PublicKey::new([0; 33]).is_err());
        let mut bytes = [0xff; 33];
        bytes[0] = 2;
        assert!(PublicKey::new(bytes).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_keys_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = PublicKey::decode(bytes.clone());
            let _ = Signature::decode(bytes);
        }
    }
}
